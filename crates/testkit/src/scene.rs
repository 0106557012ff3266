//! A whole scene for an end-to-end test: a namespace on a real API server, an AWS front with a load balancer, a
//! data path with real requests, clusters, and okrad as a process.
//!
//! Methods panic with the reason and the end of okrad's log: a scene is only used in tests.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a scene is only used in tests"
)]

mod end_state;
mod manifests;
mod okra;
mod okrad;
mod rights;
mod sources;
mod verdict;
mod wait;

pub use end_state::EndState;
pub use okra::Ran;
pub use okrad::Detour;
pub use wait::weights;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use okra_api::{AWSTargetGroup, AWSTargetGroupSpec, Cell, Pause, Request, Verb, names};
use okra_judge::record::{ObjectSeen, RuleState};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    ApiServer,
    cluster::TestCluster,
    data_path::DataPath,
    front::{AwsWorld, Front},
    load::{Load, LoadOptions},
    shared_api_server,
};

/// How long anything may take in a scene before the test fails.
pub const WITHIN: Duration = Duration::from_mins(1);

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A version in the two clusters that a scene gives it, and the requests it answers with that version.
pub const V1: &str = "1.0.0";
/// The version after [`V1`].
pub const V2: &str = "2.0.0";
/// The version after [`V2`].
pub const V3: &str = "3.0.0";

/// The weights of [`Scene::mid_canary`].
pub const MID_CANARY: [(&str, i64); 4] = [("web-1-v1", 40), ("web-2-v1", 40), ("web-1-v2", 10), ("web-2-v2", 10)];

/// The API server of a scene.
pub enum SceneServer {
    /// The one that the scenes of a test binary share.
    Shared(&'static ApiServer),
    /// Its own, for a test that stops or breaks it.
    Own(Box<ApiServer>),
}

impl Deref for SceneServer {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

/// A whole scene.
pub struct Scene {
    /// The API server.
    pub server: SceneServer,
    /// This scene's namespace; also the name of okrad at the front and the id of its installation.
    pub namespace: String,
    /// The AWS front.
    pub front: Arc<Front>,
    /// The load balancer.
    pub world: AwsWorld,
    /// Where requests go.
    pub path: DataPath,
    /// A client with all rights.
    pub client: Client,
    /// Target group name to ARN.
    pub arns: BTreeMap<String, String>,
    /// Target group name to cluster.
    pub clusters: BTreeMap<String, TestCluster>,
    /// The priority at which the scene looks for the Cell's rule.
    pub priority: u32,
    /// okrad's `--lease-duration`: 3 s unless set before it is started.
    pub lease: &'static str,
    /// okrad's `--drift-interval`: 2 s unless set before it is started.
    pub drift_interval: &'static str,
    /// okrad's `--aws-settle`: 500 ms unless set before it is started.
    pub settle: &'static str,
    /// okrad's `--aws-rate-limits`: `aws` unless set before it is started.
    pub rate_limits: &'static str,
    /// More arguments of okrad.
    pub more_args: Vec<String>,
    /// Namespaces besides the scene's own that okrad looks at.
    pub also: Vec<String>,
    /// ARNs of rules that okrad may adopt.
    pub adoptable: Vec<String>,
    versions: BTreeMap<String, String>,
    rested: bool,
    gone: BTreeSet<String>,
    away: BTreeSet<String>,
    cells: watch::Receiver<BTreeMap<String, Cell>>,
    watcher: JoinHandle<()>,
    program: PathBuf,
    dir: tempfile::TempDir,
    okrads: okrad::Okrads,
    requests: u32,
}

impl Scene {
    /// A scene without okrad. `program` is the path of the okrad binary.
    pub async fn new(program: &str, name: &str) -> Self {
        Self::on(SceneServer::Shared(shared_api_server().await), program, name).await
    }

    /// The same with an API server of its own, which the test may stop or break.
    pub async fn with_own_server(program: &str, name: &str) -> Self {
        Self::on(SceneServer::Own(Box::new(ApiServer::start().await)), program, name).await
    }

    async fn on(server: SceneServer, program: &str, name: &str) -> Self {
        server.apply_crds(repository().join("config/crd")).await;
        server.apply_crds(repository().join("config/crd-argo")).await;
        let namespace = server.namespace(name).await;
        let client = server.client("test");
        let front = Arc::new(Front::shared().await.expect("the AWS front starts"));
        let world = AwsWorld::new(&front).await.expect("the load balancer is made");
        let path = DataPath::start(&front, &world.listener).await.expect("the data path starts");
        let (sender, cells) = watch::channel(BTreeMap::new());
        let watcher = tokio::spawn(follow(Api::namespaced(client.clone(), &namespace), front.clone(), sender));
        Self {
            server,
            namespace,
            front,
            world,
            path,
            client,
            arns: BTreeMap::new(),
            clusters: BTreeMap::new(),
            priority: 10,
            lease: "3s",
            drift_interval: "2s",
            settle: "500ms",
            rate_limits: "aws",
            more_args: Vec::new(),
            also: Vec::new(),
            adoptable: Vec::new(),
            versions: BTreeMap::new(),
            rested: false,
            gone: BTreeSet::new(),
            away: BTreeSet::new(),
            cells,
            watcher,
            program: program.into(),
            dir: tempfile::tempdir().expect("a temporary folder"),
            okrads: okrad::Okrads::default(),
            requests: 0,
        }
    }

    /// Two clusters of [`V1`] under load and two of [`V2`] with 20 % of the traffic: `steps` give that first and pause
    /// second. `program` is the path of the okrad binary.
    pub async fn mid_canary(program: &str, name: &str, cell: &str, steps: &str) -> (Self, Load) {
        let mut scene = Self::new(program, name).await;
        scene.serve(cell, steps).await;
        let load = scene.load();
        scene.version(V2).await;
        scene.until_pause(cell, V2, 1).await;
        scene.until_weights(&MID_CANARY).await;
        (scene, load)
    }

    /// okrad runs, and version 1.0.0 serves from `web-1-v1` and `web-2-v1` behind a Cell of this name with two
    /// replicas and these steps.
    pub async fn serve(&mut self, cell: &str, steps: &str) {
        self.start_okrad();
        self.apply(&self.cell_manifest(cell, 2, steps)).await.expect("the Cell is applied");
        self.version(V1).await;
        self.until_stable(cell, V1).await;
        self.until_weights(&[("web-1-v1", 50), ("web-2-v1", 50)]).await;
        self.path.settled(WITHIN).await.expect("the data path follows");
    }

    /// Two clusters of a version, `web-1-v<major>` and `web-2-v<major>`.
    pub async fn version(&mut self, version: &str) {
        let major = version.split('.').next().unwrap_or(version);
        for number in [1, 2] {
            self.cluster(&format!("web-{number}-v{major}"), version).await;
        }
    }

    /// A cluster of a version with its target group and the object that names it.
    pub async fn cluster(&mut self, name: &str, version: &str) {
        self.target_group(name, version).await;
        self.register(name, version).await;
    }

    /// A cluster of a version with its target group, which no object names yet.
    pub async fn target_group(&mut self, name: &str, version: &str) {
        let cluster = TestCluster::start(name, version).await.expect("a cluster starts");
        let arn = self.world.target_group(&self.short(name), &[cluster.address()]).await.expect("a target group");
        self.clusters.insert(name.to_owned(), cluster);
        self.arns.insert(name.to_owned(), arn);
    }

    /// What version a target group has whose object is not made by the scene.
    pub fn expect_version(&mut self, name: &str, version: &str) {
        self.versions.insert(self.arns[name].clone(), version.to_owned());
    }

    /// Creates the object of a target group.
    pub async fn register(&mut self, name: &str, version: &str) {
        let mut object = AWSTargetGroup::new(name, AWSTargetGroupSpec { arn: self.arns[name].clone() });
        object.metadata.labels = Some(BTreeMap::from([
            ("role".to_owned(), "web".to_owned()),
            (names::VERSION_LABEL.to_owned(), version.to_owned()),
        ]));
        self.versions.insert(self.arns[name].clone(), version.to_owned());
        self.away.extend(self.gone.take(&self.arns[name]));
        self.api::<AWSTargetGroup>()
            .create(&PostParams::default(), &object)
            .await
            .expect("the target group is created");
    }

    /// Deletes the object of a target group.
    pub async fn unregister(&mut self, name: &str) {
        self.gone.insert(self.arns[name].clone());
        self.api::<AWSTargetGroup>().delete(name, &DeleteParams::default()).await.expect("the target group is deleted");
    }

    /// Gives a target group's object another version.
    pub async fn relabel(&mut self, name: &str, version: &str) {
        self.versions.insert(self.arns[name].clone(), version.to_owned());
        let patch = json!({"metadata": {"labels": {names::VERSION_LABEL: version}}});
        self.merge::<AWSTargetGroup>(name, &patch).await;
    }

    /// Asks to drain a target group, or takes that back.
    pub async fn drain(&self, name: &str, drain: bool) {
        let value = if drain { json!("true") } else { Value::Null };
        self.merge::<AWSTargetGroup>(name, &json!({"metadata": {"annotations": {names::DRAIN_ANNOTATION: value}}}))
            .await;
    }

    /// Merges a patch into an object.
    pub async fn merge<K>(&self, name: &str, patch: &Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let patched = self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.expect("the object is patched");
    }

    /// A name for AWS: 32 characters at most, new in the account.
    fn short(&self, name: &str) -> String {
        let tail: String = self.namespace.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
        format!("{name}-{tail}").chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect()
    }

    /// The kind's objects in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a manifest as `kubectl apply --server-side` does; the answer is the object or the server's refusal.
    pub async fn apply(&self, manifest: &str) -> kube::Result<DynamicObject> {
        self.apply_as("test", manifest).await
    }

    /// The same for another field manager.
    pub async fn apply_as(&self, manager: &str, manifest: &str) -> kube::Result<DynamicObject> {
        let object: DynamicObject = serde_saphyr::from_str(manifest).expect("the manifest is YAML");
        let types = object.types.clone().expect("the manifest has a kind");
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let gvk = kube::api::GroupVersionKind::gvk(group, version, &types.kind);
        let resource = kube::api::ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let params = PatchParams::apply(manager).force().validation_strict();
        api.patch(object.metadata.name.as_deref().expect("the manifest has a name"), &params, &Patch::Apply(&object))
            .await
    }

    /// Changes the spec of a Cell.
    pub async fn patch_cell(&self, name: &str, spec: Value) {
        self.merge::<Cell>(name, &json!({"spec": spec})).await;
    }

    /// Takes the whole status of a Cell away.
    pub async fn forget_status(&self, name: &str) {
        let mut cell = self.api::<Cell>().get(name).await.expect("the Cell is there");
        cell.status = None;
        let wiped = self.api::<Cell>().replace_status(name, &PostParams::default(), &cell).await;
        assert_eq!(wiped.expect("the status is replaced").status, None);
    }

    /// A person asks something of the rollout that is there now; the answer's words, and whether it was carried out.
    pub async fn ask(&mut self, name: &str, verb: Verb, args: &[(&str, &str)]) -> Result<String, String> {
        let request = self.request(name, verb, args).await;
        self.ask_this(name, &request).await
    }

    /// A request for the rollout and the step that are there now.
    pub async fn request(&mut self, name: &str, verb: Verb, args: &[(&str, &str)]) -> Request {
        self.requests += 1;
        let cell = self.api::<Cell>().get(name).await.expect("the Cell is there");
        let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
        Request {
            id: format!("request-{}", self.requests),
            verb,
            rollout_id: rollout.map(|rollout| rollout.id.clone()),
            step: rollout.map(|rollout| rollout.current_step_index),
            user: "ann".to_owned(),
            args: args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// Makes a request and waits for its answer.
    pub async fn ask_this(&self, name: &str, request: &Request) -> Result<String, String> {
        let text = serde_json::to_string(request).expect("a request is JSON");
        self.merge::<Cell>(name, &json!({"metadata": {"annotations": {names::REQUEST_ANNOTATION: text}}})).await;
        let cell = self
            .until(name, &format!("{:?} is answered", request.verb), |cell| {
                let last = cell.status.as_ref().and_then(|status| status.last_request.as_ref());
                last.is_some_and(|last| last.id == request.id)
            })
            .await;
        let last = cell.status.and_then(|status| status.last_request).expect("there is an answer");
        if last.accepted { Ok(last.message) } else { Err(last.message) }
    }

    /// A steady load on the Cell's host.
    pub fn load(&self) -> Load {
        let options = LoadOptions { per_second: 200, host: Some("example.com".to_owned()), ..LoadOptions::default() };
        Load::start(&self.path.url(), options).expect("the load starts")
    }

    /// The Cell's rule, as AWS holds it now.
    pub fn try_rule(&self) -> Option<RuleState> {
        self.front.rule_at(&self.world.listener, &self.priority.to_string())
    }

    /// The rule's ARN.
    pub fn rule(&self) -> String {
        self.try_rule().expect("the rule is there").arn
    }

    /// Target group name to weight, as AWS holds it now.
    pub fn weights(&self) -> BTreeMap<String, i64> {
        self.named(&self.try_rule().expect("the rule is there").weights)
    }

    /// Every weight map that the rule had, in order.
    pub fn history(&self) -> Vec<BTreeMap<String, i64>> {
        self.front.weights_history(&self.rule()).iter().map(|weights| self.named(weights)).collect()
    }

    fn named(&self, weights: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
        let name =
            |arn: &String| self.arns.iter().find(|(_, own)| *own == arn).map_or(arn.clone(), |(name, _)| name.clone());
        weights.iter().map(|(arn, weight)| (name(arn), *weight)).collect()
    }

    /// The shares in percent that these groups had together, in order, each change once.
    pub fn shares(&self, groups: &[&str]) -> Vec<f64> {
        let arns: Vec<String> = groups.iter().map(|name| self.arns[*name].clone()).collect();
        self.front.share_history(&self.rule(), &arns)
    }

    /// Weights of target groups given with their ARN, as the front wants them for a third party's calls.
    pub fn by_arn<'a>(&'a self, weights: &[(&str, i64)]) -> Vec<(&'a str, i64)> {
        weights.iter().map(|(name, weight)| (self.arns[*name].as_str(), *weight)).collect()
    }

    /// Every Pause of the namespace.
    pub async fn pauses(&self) -> Vec<Pause> {
        self.api::<Pause>().list(&kube::api::ListParams::default()).await.expect("pauses are listed").items
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.watcher.abort();
        if std::thread::panicking() {
            tracing::error!("okrad's log:\n{}", self.log());
        }
    }
}

/// Follows the Cells of a namespace: tells the front of every state, for the judge, and the test of the latest.
async fn follow(api: Api<Cell>, front: Arc<Front>, sender: watch::Sender<BTreeMap<String, Cell>>) {
    loop {
        let Ok(list) = api.list(&kube::api::ListParams::default()).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let version = list.metadata.resource_version.unwrap_or_default();
        let cells = list.items.into_iter().map(|cell| (cell.metadata.name.clone().unwrap_or_default(), cell));
        sender.send_replace(cells.collect());
        let Ok(stream) = api.watch(&WatchParams::default(), &version).await else { continue };
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(event)) = stream.next().await {
            let (cell, is_gone) = match event {
                WatchEvent::Added(cell) | WatchEvent::Modified(cell) => (cell, false),
                WatchEvent::Deleted(cell) => (cell, true),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(_) => break,
            };
            let name = cell.metadata.name.clone().unwrap_or_default();
            front.observe_object(ObjectSeen {
                kind: "Cell".to_owned(),
                namespace: cell.metadata.namespace.clone().unwrap_or_default(),
                name: name.clone(),
                object: if is_gone { Value::Null } else { serde_json::to_value(&cell).unwrap_or_default() },
            });
            sender.send_modify(|cells| {
                if is_gone {
                    cells.remove(&name)
                } else {
                    cells.insert(name, cell)
                };
            });
        }
    }
}

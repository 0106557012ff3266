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

use std::{
    collections::BTreeMap,
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
use okra_judge::{CellRules, Rules, judge, record::ObjectSeen};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    ApiServer,
    cluster::TestCluster,
    data_path::DataPath,
    front::{AwsWorld, Front},
    load::{Load, LoadOptions},
    process::{Process, Spec},
    shared_api_server,
};

/// How long anything may take in a scene before the test fails.
pub const WITHIN: Duration = Duration::from_secs(60);

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A whole scene.
pub struct Scene {
    /// The API server; shared by the scenes of one test binary.
    pub server: &'static ApiServer,
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
    versions: BTreeMap<String, String>,
    gone: Vec<String>,
    cells: watch::Receiver<BTreeMap<String, Cell>>,
    watcher: JoinHandle<()>,
    program: PathBuf,
    dir: tempfile::TempDir,
    okrad: Option<Process>,
    starts: u32,
    requests: u32,
}

impl Scene {
    /// A scene without okrad. `program` is the path of the okrad binary.
    pub async fn new(program: &str, name: &str) -> Self {
        let server = shared_api_server().await;
        server.apply_crds(repository().join("config/crd")).await;
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
            versions: BTreeMap::new(),
            gone: Vec::new(),
            cells,
            watcher,
            program: program.into(),
            dir: tempfile::tempdir().expect("a temporary folder"),
            okrad: None,
            starts: 0,
            requests: 0,
        }
    }

    /// Starts okrad.
    pub fn start_okrad(&mut self) {
        self.starts += 1;
        let log = self.dir.path().join(format!("okrad-{}.log", self.starts));
        let mut spec = Spec::new("okrad", &self.program, log)
            .args(["--namespace", &self.namespace, "--health-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"])
            .args(["--installation-id", &self.namespace, "--lease-duration", "3s", "--aws-settle", "500ms"])
            .args(["--drift-interval", "2s", "--log-format", "text"])
            .arg("--kubeconfig")
            .arg(self.server.kubeconfig("okrad"))
            .env("POD_NAMESPACE", &self.namespace)
            .env("RUST_BACKTRACE", "1");
        for (key, value) in self.front.env(&self.namespace) {
            spec = spec.env(key, value);
        }
        self.okrad = Some(spec.start().expect("okrad starts"));
    }

    /// Ends okrad at once, as a crash does.
    pub fn kill_okrad(&mut self) {
        if let Some(okrad) = self.okrad.as_mut() {
            okrad.kill();
        }
        self.okrad = None;
    }

    /// Asks okrad to stop and waits for it; its exit code.
    pub async fn stop_okrad(&mut self) -> i32 {
        let mut okrad = self.okrad.take().expect("okrad runs");
        okrad.signal("TERM").expect("okrad can be signalled");
        okrad.wait(WITHIN).await.expect("okrad stops")
    }

    /// The end of okrad's log.
    pub fn log(&self) -> String {
        self.okrad.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// A cluster of a version with its target group and the object that names it.
    pub async fn cluster(&mut self, name: &str, version: &str) {
        let cluster = TestCluster::start(name, version).await.expect("a cluster starts");
        let arn = self.world.target_group(&self.short(name), &[cluster.address()]).await.expect("a target group");
        self.clusters.insert(name.to_owned(), cluster);
        self.arns.insert(name.to_owned(), arn);
        self.register(name, version).await;
    }

    /// Creates the object of a target group.
    pub async fn register(&mut self, name: &str, version: &str) {
        let mut object = AWSTargetGroup::new(name, AWSTargetGroupSpec { arn: self.arns[name].clone() });
        object.metadata.labels = Some(BTreeMap::from([
            ("role".to_owned(), "web".to_owned()),
            (names::VERSION_LABEL.to_owned(), version.to_owned()),
        ]));
        self.versions.insert(self.arns[name].clone(), version.to_owned());
        self.api::<AWSTargetGroup>()
            .create(&PostParams::default(), &object)
            .await
            .expect("the target group is created");
    }

    /// Deletes the object of a target group.
    pub async fn unregister(&mut self, name: &str) {
        self.gone.push(self.arns[name].clone());
        self.api::<AWSTargetGroup>().delete(name, &DeleteParams::default()).await.expect("the target group is deleted");
    }

    /// Changes a label of a target group's object.
    pub async fn label(&self, name: &str, key: &str, value: &str) {
        let patch = json!({"metadata": {"labels": {key: value}}});
        self.api::<AWSTargetGroup>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the target group is labelled");
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
        let object: DynamicObject = serde_saphyr::from_str(manifest).expect("the manifest is YAML");
        let types = object.types.clone().expect("the manifest has a kind");
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let gvk = kube::api::GroupVersionKind::gvk(group, version, &types.kind);
        let resource = kube::api::ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let params = PatchParams::apply("test").force().validation_strict();
        api.patch(object.metadata.name.as_deref().expect("the manifest has a name"), &params, &Patch::Apply(&object))
            .await
    }

    /// The seed README's Cell, without its analysis step, with `steps` as YAML.
    pub fn cell_manifest(&self, name: &str, replicas: u32, steps: &str) -> String {
        format!(
            "apiVersion: okra.mumo.co/v1alpha1\nkind: Cell\nmetadata:\n  name: {name}\nspec:\n  ingress:\n    type: \
             AWSApplicationLoadBalancer\n    awsApplicationLoadBalancer:\n      listener:\n        rule:\n          \
             forward: {{}}\n          hosts:\n          - example.com\n          priority: 10\n      listenerARN: {}\n      \
             targetGroupSelector:\n        matchLabels:\n          role: web\n  replicas: {replicas}\n  updateStrategy:\n    \
             canary:\n      steps: {steps}\n    type: Canary\n",
            self.world.listener
        )
    }

    /// Changes the spec of a Cell.
    pub async fn patch_cell(&self, name: &str, spec: Value) {
        let patch = json!({"spec": spec});
        self.api::<Cell>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the Cell is patched");
    }

    /// Waits until something holds of a Cell.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Cell) -> bool) -> Cell {
        let mut cells = self.cells.clone();
        let waited = tokio::time::timeout(WITHIN, cells.wait_for(|cells| cells.get(name).is_some_and(&holds))).await;
        if let Ok(Ok(cells)) = waited {
            return cells[name].clone();
        }
        let cell = self.cells.borrow().get(name).and_then(|cell| cell.status.clone());
        panic!(
            "{what}: it does not come; the Cell says {}\ncalls:\n{}\nokrad:\n{}",
            serde_json::to_string_pretty(&cell).unwrap_or_default(),
            self.front.tail(20),
            self.log()
        )
    }

    /// Waits until a rollout of this version has succeeded and the Cell rests.
    pub async fn until_stable(&self, name: &str, version: &str) -> Cell {
        self.until(name, &format!("{version} is stable"), |cell| {
            cell.status.as_ref().is_some_and(|status| {
                status.stable_version.as_deref() == Some(version)
                    && okra_api::condition::is_true(&status.conditions, okra_api::condition::READY)
                    && status.observed_generation == cell.metadata.generation
            })
        })
        .await
    }

    /// Waits until the rollout is at this step.
    pub async fn until_step(&self, name: &str, step: i32) -> Cell {
        self.until(name, &format!("step {step}"), |cell| {
            let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
            rollout.is_some_and(|rollout| rollout.current_step_index == step && rollout.finished_at.is_none())
        })
        .await
    }

    /// Waits for the words of a Cell's message.
    pub async fn until_says(&self, name: &str, words: &str) -> Cell {
        self.until(name, words, |cell| cell.status.as_ref().is_some_and(|status| status.message.contains(words))).await
    }

    /// A person asks something of the rollout that is there now; the answer's words when it was carried out.
    pub async fn ask(&mut self, name: &str, verb: Verb, args: &[(&str, &str)]) -> Result<String, String> {
        self.requests += 1;
        let id = format!("request-{}", self.requests);
        let cell = self.api::<Cell>().get(name).await.expect("the Cell is there");
        let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
        let request = Request {
            id: id.clone(),
            verb,
            rollout_id: rollout.map(|rollout| rollout.id.clone()),
            step: rollout.map(|rollout| rollout.current_step_index),
            user: "ann".to_owned(),
            args: args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let text = serde_json::to_string(&request).expect("a request is JSON");
        let patch = json!({"metadata": {"annotations": {names::REQUEST_ANNOTATION: text}}});
        self.api::<Cell>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the request is made");
        let cell = self
            .until(name, &format!("{verb:?} is answered"), |cell| {
                let last = cell.status.as_ref().and_then(|status| status.last_request.as_ref());
                last.is_some_and(|last| last.id == id)
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

    /// The rule's ARN.
    pub fn rule(&self) -> String {
        self.front.rule_at(&self.world.listener, "10").expect("the rule is there").arn
    }

    /// Target group name to weight, as AWS holds it now.
    pub fn weights(&self) -> BTreeMap<String, i64> {
        let rule = self.front.rule_at(&self.world.listener, "10").expect("the rule is there");
        let name =
            |arn: &String| self.arns.iter().find(|(_, own)| *own == arn).map_or(arn.clone(), |(name, _)| name.clone());
        rule.weights.iter().map(|(arn, weight)| (name(arn), *weight)).collect()
    }

    /// The shares in percent that these groups had together, in order, each change once.
    pub fn shares(&self, groups: &[&str]) -> Vec<f64> {
        let arns: Vec<String> = groups.iter().map(|name| self.arns[*name].clone()).collect();
        self.front.share_history(&self.rule(), &arns)
    }

    /// Every Pause of the namespace.
    pub async fn pauses(&self) -> Vec<Pause> {
        self.api::<Pause>().list(&kube::api::ListParams::default()).await.expect("pauses are listed").items
    }

    /// Judges everything that happened: `shares` are the canary's shares that the plan allows.
    pub fn judge(&self, cell: &str, shares: &[u32]) {
        let versions: Vec<(&str, &str)> =
            self.versions.iter().map(|(arn, version)| (arn.as_str(), version.as_str())).collect();
        let mut rules = CellRules::new(shares.iter().copied(), versions);
        rules.gone.extend(self.gone.iter().cloned());
        let rules = Rules::alb(&self.namespace, &self.namespace).cell(&format!("{}/{cell}", self.namespace), rules);
        let violations = judge(&self.front.record(), &rules);
        let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(words.is_empty(), "the judge found: {}\ncalls:\n{}", words.join("\n"), self.front.tail(60));
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
        let version = match api.list(&kube::api::ListParams::default()).await {
            Ok(list) => {
                let version = list.metadata.resource_version.unwrap_or_default();
                let cells = list.items.into_iter().map(|cell| (cell.metadata.name.clone().unwrap_or_default(), cell));
                sender.send_replace(cells.collect());
                version
            }
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
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

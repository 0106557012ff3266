use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use okra_api::cluster_set::AnswerState;
use okra_core::cluster_set::{ClusterAuth, ClusterState, FoundCluster};
use okra_provider::{
    Backend as _, BackendError, InventoryAnswer, Namespaces,
    testing::{CallVerb, FakeInventory, Fault, FixedClock, MemoryBackend, RecordingEvents, SeededEntropy},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "argocd";

struct Rig {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    inventory: Arc<FakeInventory>,
    events: Arc<RecordingEvents>,
    controller: ClusterSetController,
}

fn eks(name: &str) -> FoundCluster {
    let arn = format!("arn:aws:eks:us-east-1:123456789012:cluster/{name}");
    FoundCluster {
        id: arn.clone(),
        name: name.to_owned(),
        state: ClusterState::Ready { server: format!("https://{name}.eks"), ca_data: Some("Q0E=".to_owned()) },
        version: Some("1.33".to_owned()),
        region: Some("us-east-1".to_owned()),
        arn: Some(arn),
        tags: [("Service".to_owned(), "demo".to_owned())].into(),
        auth: ClusterAuth::Eks { cluster_name: name.to_owned(), role_arn: None },
    }
}

fn secret_kind() -> Kind {
    Kind::of::<Secret>()
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1))));
        Self::on(backend, clock, Arc::default())
    }

    /// A new process over the same objects.
    fn on(backend: Arc<MemoryBackend>, clock: Arc<FixedClock>, inventory: Arc<FakeInventory>) -> Self {
        let events = Arc::<RecordingEvents>::default();
        let controller = ClusterSetController::new(ClusterSetContext {
            store: Store::new(backend.clone(), Namespaces::All),
            clock: clock.clone(),
            events: events.clone(),
            inventory: inventory.clone(),
            call_timeout: Duration::from_secs(10),
        });
        Self { backend, clock, inventory, events, controller }
    }

    async fn apply(&self, name: &str, more: Value) {
        let mut set = json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "ClusterSet",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "generators": [{"awseks": {"selector": {"matchTags": {"Service": "demo"}}}}],
                "template": {"metadata": {"labels": {"service": "demo"}}},
            },
        });
        for (key, value) in more.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        self.backend.create(&Kind::of::<ClusterSet>(), &set).await.unwrap();
    }

    async fn secret(&self, name: &str, labels: Value, data: Value) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "stringData": data,
        });
        let mut secret = secret;
        let texts = secret["stringData"].take();
        for (key, value) in texts.as_object().unwrap() {
            let bytes = k8s_openapi::ByteString(value.as_str().unwrap().as_bytes().to_vec());
            secret["data"][key] = json!(bytes);
        }
        self.backend.create(&secret_kind(), &secret).await.unwrap();
    }

    fn found(&self, names: &[&str]) {
        let clusters = names.iter().map(|name| eks(name)).collect();
        self.inventory.answer(None, InventoryAnswer::complete("awseks us-east-1", clusters));
    }

    fn fails(&self, state: AnswerState) {
        self.inventory.answer(None, InventoryAnswer::incomplete("awseks us-east-1", state, "no"));
    }

    /// Waits until the caches show what is there.
    async fn catch_up(&self) {
        let caught_up = async {
            loop {
                let sets = self.backend.list(&Kind::of::<ClusterSet>(), None).await.unwrap();
                let labels = ClusterSetController::cluster_secrets();
                let secrets = self.backend.list_labelled(&secret_kind(), None, &labels).await.unwrap_or_default();
                let versions = |values: &[Value]| -> Vec<String> {
                    values
                        .iter()
                        .map(|value| value["metadata"]["resourceVersion"].as_str().unwrap().to_owned())
                        .collect()
                };
                let of = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
                    meta.resource_version.clone().unwrap()
                };
                let seen: Vec<String> = self.controller.sets.list(None).iter().map(|set| of(&set.metadata)).collect();
                let cache = self.controller.secrets.get();
                let seen_secrets = cache.map(|cache| cache.list(None).iter().map(|one| of(&one.metadata)).collect());
                let synced = cache.is_none_or(okra_provider::Cache::is_synced);
                if seen == versions(&sets)
                    && synced
                    && seen_secrets.is_none_or(|seen: Vec<_>| seen == versions(&secrets))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), caught_up).await.expect("the caches do not catch up");
    }

    fn writes(&self) -> usize {
        self.backend.calls().iter().filter(|call| call.verb.writes()).count()
    }

    async fn objects(&self) -> Vec<Value> {
        let mut objects = self.backend.list(&Kind::of::<ClusterSet>(), None).await.unwrap();
        objects.extend(self.backend.list(&secret_kind(), None).await.unwrap_or_default());
        objects
    }

    /// Reconciles until nothing changes any more; failures are tried again.
    async fn settle(&self, name: &str) -> Next {
        for _ in 0..50 {
            self.catch_up().await;
            let before = self.objects().await;
            let next = self.controller.reconcile(&Key::new(NAMESPACE, name)).await;
            let soon = self.clock.now() + SYNCING;
            if let Ok(next) = next
                && self.objects().await == before
                && next.wake_at != Some(soon)
            {
                return next;
            }
        }
        panic!("it does not come to rest: {:#}", self.status(name).await);
    }

    async fn status(&self, name: &str) -> Value {
        let key = Key::new(NAMESPACE, name);
        self.backend.get(&Kind::of::<ClusterSet>(), &key).await.unwrap()["status"].clone()
    }

    async fn names(&self) -> Vec<String> {
        let secrets = self.backend.list(&secret_kind(), None).await.unwrap();
        secrets.iter().map(|secret| Key::of(secret).name).collect()
    }

    fn later(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_readme_is_done_and_then_at_rest() {
    let rig = Rig::new();
    rig.found(&["cdk1", "cdk2"]);
    rig.apply("cell1", json!({})).await;
    let begun = rig.clock.now();
    assert_eq!(rig.settle("cell1").await, Next::at(begun + SignedDuration::from_secs(30)));
    assert_eq!(rig.names().await, ["cdk1", "cdk2"]);
    let status = rig.status("cell1").await;
    assert_eq!((&status["clusters"], &status["message"]), (&json!(2), &json!("2 clusters have Secrets")));
    let told: Vec<String> = rig.events.take().into_iter().map(|note| note.reason).collect();
    assert_eq!(told, ["RegisteredCluster", "RegisteredCluster"]);
    assert_eq!(rig.inventory.queries().len(), 1, "our own writes are no reason to ask again");
    let writes = rig.writes();
    rig.later(30);
    rig.settle("cell1").await;
    assert_eq!((rig.writes(), rig.inventory.queries().len()), (writes, 2), "one question, and nothing is written");
    assert_eq!(rig.inventory.queries()[1].known.len(), 2);
    // What somebody removes by hand is made again, without a question.
    rig.backend
        .delete(&secret_kind(), &Key::new(NAMESPACE, "cdk1"), &okra_provider::Deletion::default())
        .await
        .unwrap();
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["cdk1", "cdk2"]);
    assert_eq!(rig.inventory.queries().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_answer_but_complete_ones_removes_anything() {
    let rig = Rig::new();
    rig.found(&["a", "b"]);
    rig.apply("cell1", json!({"pruneAfter": "60s"})).await;
    rig.secret("theirs", json!({"argocd.argoproj.io/secret-type": "cluster"}), json!({"server": "https://x"})).await;
    rig.settle("cell1").await;
    for state in [AnswerState::Partial, AnswerState::Denied, AnswerState::Throttled, AnswerState::Unreachable] {
        rig.fails(state);
        for _ in 0..5 {
            rig.later(30);
            rig.settle("cell1").await;
        }
        assert_eq!(rig.names().await, ["a", "b", "theirs"], "{state:?}");
        let message = rig.status("cell1").await["message"].as_str().unwrap().to_owned();
        assert!(message.contains("nothing is removed"), "{message}");
    }
    rig.found(&["b"]);
    rig.later(30);
    rig.settle("cell1").await;
    rig.later(30);
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["a", "b", "theirs"], "not for long enough yet");
    rig.later(30);
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["b", "theirs"]);
    assert!(rig.events.take().iter().any(|note| note.reason == "RemovedCluster"));
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_writes_comes_to_the_same_end() {
    async fn story(fault: Option<(u64, bool)>) -> (Vec<String>, Value, bool) {
        let rig = Rig::new();
        if let Some((nth, after_effect)) = fault {
            let mut faults = Vec::new();
            for verb in [CallVerb::Create, CallVerb::UpdateStatus, CallVerb::Update, CallVerb::Delete] {
                let error = BackendError::Unreachable("cut off".to_owned());
                faults.push(Fault { after_effect, ..Fault::nth(verb, nth, error) });
            }
            rig.apply("cell1", json!({"pruneAfter": "60s"})).await;
            for fault in faults {
                rig.backend.inject(fault);
            }
        } else {
            rig.apply("cell1", json!({"pruneAfter": "60s"})).await;
        }
        let mut rig = rig;
        let mut crashed = false;
        for (names, later) in [(&["a", "b", "c"][..], 30), (&["b", "c"], 30), (&["b", "c"], 30), (&["b", "c"], 60)] {
            rig.found(names);
            rig.catch_up().await;
            // A process that dies at a failed write: the next one knows only the objects.
            if rig.controller.reconcile(&Key::new(NAMESPACE, "cell1")).await.is_err() {
                crashed = true;
                rig = Rig::on(rig.backend.clone(), rig.clock.clone(), rig.inventory.clone());
            }
            rig.settle("cell1").await;
            rig.later(later);
        }
        let mut status = rig.status("cell1").await;
        status["conditions"].take();
        status["lastCompleteAt"].take();
        (rig.names().await, status, crashed)
    }
    let (names, status, _) = story(None).await;
    assert_eq!(names, ["b", "c"]);
    let mut crashes = 0;
    for nth in 1..=4 {
        for after_effect in [false, true] {
            let (disturbed, said, crashed) = story(Some((nth, after_effect))).await;
            assert_eq!((disturbed, said), (names.clone(), status.clone()), "write {nth}, {after_effect}");
            crashes += u32::from(crashed);
        }
    }
    assert!(crashes >= 2, "the faults struck");
}

#[tokio::test(start_paused = true)]
async fn two_sets_at_once_make_one_secret_for_each_cluster() {
    let rig = Rig::new();
    rig.found(&[]);
    let named = json!({"template": {"metadata": {"name": "second-{{.cluster.name}}"}}});
    rig.apply("cell1", json!({})).await;
    rig.apply("cell2", named).await;
    rig.settle("cell1").await;
    rig.settle("cell2").await;
    rig.found(&["a", "b"]);
    rig.later(30);
    rig.catch_up().await;
    rig.backend.hold(&secret_kind());
    let (one, two) = (Key::new(NAMESPACE, "cell1"), Key::new(NAMESPACE, "cell2"));
    let _both = futures::future::join(rig.controller.reconcile(&one), rig.controller.reconcile(&two)).await;
    rig.backend.release(&secret_kind());
    rig.settle("cell1").await;
    rig.settle("cell2").await;
    assert_eq!(rig.names().await, ["a", "b"]);
    let refused = rig.status("cell2").await["refused"][0]["message"].as_str().unwrap().to_owned();
    assert!(refused.contains("ClusterSet cell1 keeps Secret a"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_in_the_way_is_told_of_and_left_alone() {
    let rig = Rig::new();
    rig.found(&["a", "b"]);
    rig.secret("a", json!({}), json!({"password": "hunter2"})).await;
    rig.apply("cell1", json!({})).await;
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["a", "b"]);
    let status = rig.status("cell1").await;
    assert_eq!(status["clusters"], json!(1));
    assert!(status["refused"][0]["message"].as_str().unwrap().contains("is no cluster Secret"), "{status}");
    assert!(!status.to_string().contains("hunter2"));
}

const KUBECONFIG: &str = "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
    clusters: [{name: c, cluster: {server: 'https://k8s', certificate-authority-data: Q0E=}}]\n\
    users: [{name: u, user: {token: hunter2}}]\n";

fn config(secret: &Value) -> Value {
    let secret: Secret = serde_json::from_value(secret.clone()).unwrap();
    serde_json::from_str(&okra_core::cluster_set::data_text(&secret, "config")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn clusters_of_other_providers_are_found() {
    let rig = Rig::new();
    let selector = json!({"selector": {"matchLabels": {"env": "prod"}}});
    rig.secret("edge-kubeconfig", json!({"env": "prod"}), json!({"kubeconfig": KUBECONFIG})).await;
    rig.secret("other-kubeconfig", json!({"env": "dev"}), json!({"kubeconfig": KUBECONFIG})).await;
    let exec = KUBECONFIG.replace("token: hunter2", "exec: {command: sh}");
    rig.secret("bad", json!({"env": "prod"}), json!({"value": exec})).await;
    let capi = KUBECONFIG.replace("https://k8s", "https://capi");
    rig.secret("capi-kubeconfig", json!({}), json!({"value": capi})).await;
    rig.secret("login", json!({}), json!({"username": "u", "password": "p"})).await;
    let kind = Kind {
        group: "cluster.x-k8s.io".into(),
        version: "v1beta1".into(),
        kind: "Cluster".into(),
        plural: "clusters".into(),
    };
    rig.backend.serve(&Kind { version: "v1beta2".into(), ..kind.clone() }, false);
    for name in ["capi", "young"] {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Cluster",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"env": "prod"}},
            "spec": {"topology": {"version": "v1.33.1"}},
        });
        rig.backend.create(&kind, &cluster).await.unwrap();
    }
    let listed = json!({"clusters": [
        {"name": "listed", "server": "https://listed", "secretName": "login"},
        {"name": "later", "server": "https://later", "secretName": "none"},
    ]});
    let generators = json!([{"kubeconfigSecret": selector}, {"clusterAPI": selector}, {"list": listed}]);
    let template = json!({"metadata": {"labels": {"env": "prod"}}});
    rig.apply("cell1", json!({"generators": generators, "template": template})).await;
    rig.settle("cell1").await;
    let secrets =
        rig.backend.list_labelled(&secret_kind(), None, &ClusterSetController::cluster_secrets()).await.unwrap();
    let made: Vec<String> = secrets.iter().map(|secret| Key::of(secret).name).collect();
    assert_eq!(made, ["capi", "edge", "listed"]);
    assert_eq!(config(&secrets[1])["bearerToken"], "hunter2");
    assert_eq!(config(&secrets[2]), json!({"username": "u", "password": "p", "tlsClientConfig": {"insecure": false}}));
    let status = rig.status("cell1").await;
    let waiting: Vec<&str> =
        status["waiting"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(waiting, ["bad", "young", "later"]);
    assert!(!status.to_string().contains("hunter2"), "{status}");
    // A second look makes no cluster of the Secrets that the set itself made.
    rig.later(60);
    rig.settle("cell1").await;
    assert_eq!(rig.status("cell1").await["clusters"], json!(3));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_acted_on_is_said() {
    let rig = Rig::new();
    rig.apply("bad", json!({"generators": []})).await;
    assert_eq!(rig.settle("bad").await, Next::IDLE);
    assert!(rig.status("bad").await["message"].as_str().unwrap().starts_with("spec.generators"));
    let rig = Rig::new();
    rig.backend.serve(&secret_kind(), false);
    rig.apply("dir", json!({})).await;
    rig.settle("dir").await;
    assert!(rig.status("dir").await["message"].as_str().unwrap().contains("need a real cluster"));
    assert_eq!(rig.inventory.queries(), [], "nobody is asked in vain");
}

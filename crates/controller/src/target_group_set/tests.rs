use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use okra_api::TargetGroupBinding;
use okra_core::target_group_set::TaggedGroup;
use okra_provider::{
    Backend as _, BackendError, Deletion, Namespaces, Stored,
    testing::{
        CallVerb, FakeRemoteClusters, FakeTargetGroups, Fault, FixedClock, MemoryBackend, RecordingEvents,
        SeededEntropy,
    },
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "argocd";

struct Rig {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    clusters: Arc<FakeRemoteClusters>,
    inventory: Arc<FakeTargetGroups>,
    events: Arc<RecordingEvents>,
    controller: TargetGroupSetController,
}

fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/73e2d6bc24d8a067")
}

fn binding_kind() -> Kind {
    Kind::of::<TargetGroupBinding>()
}

/// A cluster's API server in memory.
struct Remote {
    backend: Arc<MemoryBackend>,
}

impl Remote {
    async fn bind(&self, name: &str, group: &str, version: Option<&str>) {
        let labels = json!({"role": "web", "okra.mumo.co/version": version});
        let mut binding = json!({
            "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"targetGroupARN": arn(group)},
        });
        if version.is_none() {
            binding["metadata"]["labels"].as_object_mut().unwrap().remove("okra.mumo.co/version");
        }
        self.backend.create(&binding_kind(), &binding).await.unwrap();
    }

    async fn unbind(&self, name: &str) {
        let key = Key::new("default", name);
        self.backend.delete(&binding_kind(), &key, &Deletion::default()).await.unwrap();
    }
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1))));
        Self::on(backend, clock, Arc::default())
    }

    /// A new process over the same objects and clusters.
    fn on(backend: Arc<MemoryBackend>, clock: Arc<FixedClock>, clusters: Arc<FakeRemoteClusters>) -> Self {
        let (events, inventory) = (Arc::<RecordingEvents>::default(), Arc::<FakeTargetGroups>::default());
        let controller = TargetGroupSetController::new(TargetGroupSetContext {
            store: Store::new(backend.clone(), Namespaces::All),
            clock: clock.clone(),
            events: events.clone(),
            clusters: clusters.clone(),
            inventory: inventory.clone(),
            call_timeout: Duration::from_secs(10),
        });
        Self { backend, clock, clusters, inventory, events, controller }
    }

    async fn set(&self, name: &str, more: Value) {
        let mut set = json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroupSet",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "generators": [{"awseks": {
                    "bindingSelector": {"matchLabels": {"role": "web"}},
                    "clusterSelector": {"matchLabels": {"service": "demo"}},
                }}],
                "template": {"metadata": {}},
            },
        });
        for (key, value) in more.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        self.backend.create(&Kind::of::<AWSTargetGroupSet>(), &set).await.unwrap();
    }

    /// A cluster with its Secret.
    async fn cluster(&self, name: &str) -> Remote {
        let remote = MemoryBackend::new(self.clock.clone(), Arc::new(SeededEntropy::new(2)));
        let remote = Remote { backend: Arc::new(remote) };
        self.clusters.set(Key::new(NAMESPACE, name), remote.backend.clone());
        self.secret(name).await;
        remote
    }

    async fn secret(&self, name: &str) {
        let texts = [("name", name.to_owned()), ("server", format!("https://{name}"))];
        let data: BTreeMap<&str, ByteString> =
            texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": name, "namespace": NAMESPACE,
                "labels": {"argocd.argoproj.io/secret-type": "cluster", "service": "demo"},
                "annotations": {"okra.mumo.co/cluster-id": format!("arn:aws:eks:us-east-1:1:cluster/{name}")},
            },
            "data": data,
        });
        self.backend.create(&Kind::of::<Secret>(), &secret).await.unwrap();
    }

    async fn until_synced<K: Stored>(&self, backend: &MemoryBackend, cache: &Cache<K>) {
        let shown = async {
            loop {
                let there = backend.list(&Kind::of::<K>(), None).await.unwrap_or_default();
                let there: Vec<Option<&str>> =
                    there.iter().map(|value| value["metadata"]["resourceVersion"].as_str()).collect();
                let seen = cache.list(None);
                let seen: Vec<Option<&str>> = seen.iter().map(|one| one.meta().resource_version.as_deref()).collect();
                if cache.is_synced() && (seen == there || !cache.is_served()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), shown).await.expect("the caches do not catch up");
    }

    /// Waits until the caches show what is there.
    async fn catch_up(&self) {
        let controller = &self.controller;
        self.until_synced(&self.backend, &controller.sets).await;
        self.until_synced(&self.backend, &controller.groups).await;
        self.until_synced(&self.backend, &controller.cluster_sets).await;
    }

    async fn objects(&self) -> Vec<Value> {
        let mut objects = self.backend.list(&Kind::of::<AWSTargetGroupSet>(), None).await.unwrap();
        objects.extend(self.backend.list(&Kind::of::<AWSTargetGroup>(), None).await.unwrap_or_default());
        objects
    }

    /// Reconciles for as long as something changes or is still to be heard of.
    async fn settle(&self, name: &str) -> Next {
        let mut last = (Next::IDLE, 0);
        for _ in 0..200 {
            self.catch_up().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            let before = self.objects().await;
            let next = self.controller.reconcile(&Key::new(NAMESPACE, name)).await;
            let soon = self.clock.now() + SignedDuration::from_secs(1);
            let Ok(next) = next else { continue };
            let rests = self.objects().await == before && next.wake_at.is_none_or(|at| at > soon);
            last = (next, if rests { last.1 + 1 } else { 0 });
            if last.1 == 3 {
                return next;
            }
        }
        panic!("it does not come to rest: {:#}", self.status(name).await);
    }

    async fn status(&self, name: &str) -> Value {
        let key = Key::new(NAMESPACE, name);
        self.backend.get(&Kind::of::<AWSTargetGroupSet>(), &key).await.unwrap()["status"].clone()
    }

    async fn names(&self) -> Vec<String> {
        let groups = self.backend.list(&Kind::of::<AWSTargetGroup>(), None).await.unwrap_or_default();
        groups.iter().map(|group| Key::of(group).name).collect()
    }

    fn writes(&self) -> usize {
        self.backend.calls().iter().filter(|call| call.verb.writes()).count()
    }
}

#[tokio::test(start_paused = true)]
async fn bindings_become_target_groups_and_go_with_them() {
    let rig = Rig::new();
    let cluster = rig.cluster("cdk1").await;
    cluster.bind("web1", "web1", Some("1.0.0")).await;
    rig.set("cell1", json!({})).await;
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web1"]);
    let status = rig.status("cell1").await;
    assert_eq!((&status["targetGroups"], &status["message"]), (&json!(1), &json!("1 target group of 1 cluster")));
    let writes = rig.writes();
    rig.clock.advance(SignedDuration::from_mins(10));
    rig.settle("cell1").await;
    assert_eq!((rig.writes(), rig.inventory.asked()), (writes, 0), "at rest nothing is written and nobody is asked");
    cluster.bind("web2", "web2", Some("2.0.0")).await;
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web1", "default-web2"]);
    cluster.unbind("web1").await;
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web2"]);
    let told: Vec<String> = rig.events.take().into_iter().map(|note| note.reason).collect();
    assert_eq!(told, ["RegisteredTargetGroups", "RegisteredTargetGroups", "RemovedTargetGroups"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_a_cluster_wakes_the_set() {
    let rig = Rig::new();
    let cluster = rig.cluster("cdk1").await;
    rig.set("cell1", json!({})).await;
    rig.settle("cell1").await;
    let mut changes = rig.controller.context.store.changes();
    cluster.bind("web1", "web1", Some("1.0.0")).await;
    let woken = tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap().unwrap();
    assert_eq!(woken, Changed { kind: Kind::of::<AWSTargetGroupSet>(), key: Key::new(NAMESPACE, "cell1") });
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web1"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_cluster_delays_no_other_and_loses_nothing() {
    let rig = Rig::new();
    let (first, second) = (rig.cluster("a").await, rig.cluster("b").await);
    first.bind("web1", "a", Some("1")).await;
    second.bind("web1", "b", Some("1")).await;
    rig.set("cell1", json!({})).await;
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web1", "default-web1-b"]);
    // A new process, and one cluster does not answer; a third Secret cannot be used at all.
    let silent = MemoryBackend::new(rig.clock.clone(), Arc::new(SeededEntropy::new(3)));
    silent.hold(&binding_kind());
    rig.clusters.set(Key::new(NAMESPACE, "b"), Arc::new(silent));
    rig.secret("c").await;
    rig.clusters.refuse(Key::new(NAMESPACE, "c"), "its execProviderConfig would run a program here");
    let rig = Rig::on(rig.backend.clone(), rig.clock.clone(), rig.clusters.clone());
    first.bind("web2", "a2", Some("2")).await;
    rig.catch_up().await;
    // While the first answer may still come, nothing is said of it; the others go on at once.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        rig.controller.reconcile(&Key::new(NAMESPACE, "cell1")).await.unwrap();
    }
    assert_eq!(rig.names().await, ["default-web1", "default-web1-b", "default-web2"]);
    rig.clock.advance(SignedDuration::from_secs(20));
    rig.settle("cell1").await;
    let status = rig.status("cell1").await;
    let unreachable: Vec<&str> =
        status["unreachable"].as_array().unwrap().iter().map(|note| note["name"].as_str().unwrap()).collect();
    assert_eq!(unreachable, ["b", "c"], "{status:#}");
    let told: Vec<String> = rig.events.take().into_iter().map(|note| note.reason).collect();
    assert_eq!(told, ["RegisteredTargetGroups", "UnreachableClusters"], "each is told once");
    assert_eq!(rig.names().await, ["default-web1", "default-web1-b", "default-web2"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_itself_still_has_is_not_removed() {
    let rig = Rig::new();
    let cluster = rig.cluster("a").await;
    cluster.bind("web1", "a", Some("1")).await;
    rig.set("cell1", json!({})).await;
    rig.settle("cell1").await;
    // The watch says that it is gone, and the cluster cannot be asked.
    for nth in 1..20 {
        cluster.backend.inject(Fault::nth(CallVerb::Get, nth, BackendError::Unreachable("no".to_owned())));
    }
    cluster.unbind("web1").await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        rig.controller.reconcile(&Key::new(NAMESPACE, "cell1")).await.unwrap();
    }
    assert_eq!(rig.names().await, ["default-web1"]);
}

#[tokio::test(start_paused = true)]
async fn the_target_groups_of_a_cluster_go_when_a_cluster_set_says_so() {
    let rig = Rig::new();
    let cluster = rig.cluster("a").await;
    cluster.bind("web1", "a", Some("1")).await;
    rig.set("cell1", json!({})).await;
    rig.settle("cell1").await;
    rig.backend.delete(&Kind::of::<Secret>(), &Key::new(NAMESPACE, "a"), &Deletion::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web1"], "a Secret that a person removes is no reason");
    assert!(rig.status("cell1").await["message"].as_str().unwrap().contains("nobody said"), "and it is told");
    let id = "arn:aws:eks:us-east-1:1:cluster/a";
    let set = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "ClusterSet",
        "metadata": {"name": "clusters", "namespace": NAMESPACE},
        "spec": {"generators": [{"awseks": {"selector": {"matchTags": {"a": "b"}}}}]},
    });
    let kind = Kind::of::<ClusterSet>();
    let mut made = rig.backend.create(&kind, &set).await.unwrap();
    made["status"] = json!({"removed": [{"id": id, "at": "2026-01-01T00:00:00Z"}]});
    rig.backend.update_status(&kind, &made).await.unwrap();
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn two_sets_of_one_binding_register_it_once() {
    let rig = Rig::new();
    let cluster = rig.cluster("a").await;
    for index in 0..5 {
        cluster.bind(&format!("web{index}"), &format!("g{index}"), Some("1")).await;
    }
    rig.set("first", json!({})).await;
    rig.set("second", json!({})).await;
    for _ in 0..20 {
        rig.catch_up().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (first, second) = (Key::new(NAMESPACE, "first"), Key::new(NAMESPACE, "second"));
        let (one, two) = tokio::join!(rig.controller.reconcile(&first), rig.controller.reconcile(&second));
        one.and(two).unwrap();
    }
    assert_eq!(rig.names().await.len(), 5);
    let counts = [rig.status("first").await, rig.status("second").await].map(|status| status["targetGroups"].clone());
    assert_eq!(counts[0].as_i64().unwrap() + counts[1].as_i64().unwrap(), 5, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn tags_are_asked_for_only_where_nothing_else_says_the_version() {
    let rig = Rig::new();
    let cluster = rig.cluster("a").await;
    cluster.bind("labelled", "x", Some("1")).await;
    cluster.bind("tagged", "y", None).await;
    rig.inventory.version(TaggedGroup { arn: arn("y"), role_arn: None }, Ok(Some("2.0.0".to_owned())));
    rig.set("cell1", json!({})).await;
    rig.settle("cell1").await;
    let group = rig.backend.get(&Kind::of::<AWSTargetGroup>(), &Key::new(NAMESPACE, "default-tagged")).await.unwrap();
    assert_eq!(group["metadata"]["labels"]["okra.mumo.co/version"], "2.0.0");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_writes_comes_to_the_same_end() {
    let mut crashes = 0;
    for (nth, after_effect) in (1..6).flat_map(|nth| [(nth, false), (nth, true)]) {
        let mut rig = Rig::new();
        let cluster = rig.cluster("a").await;
        for index in 0..3 {
            cluster.bind(&format!("web{index}"), &format!("g{index}"), Some("1")).await;
        }
        rig.set("cell1", json!({})).await;
        for verb in [CallVerb::Create, CallVerb::UpdateStatus, CallVerb::Delete] {
            let error = BackendError::Unreachable("cut off".to_owned());
            rig.backend.inject(Fault { after_effect, ..Fault::nth(verb, nth, error) });
        }
        for round in 0..3 {
            for _ in 0..6 {
                rig.catch_up().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
                // A process that dies at a failed write: the next one knows only the objects.
                if rig.controller.reconcile(&Key::new(NAMESPACE, "cell1")).await.is_err() {
                    crashes += 1;
                    rig = Rig::on(rig.backend.clone(), rig.clock.clone(), rig.clusters.clone());
                }
            }
            if round == 1 {
                cluster.unbind("web0").await;
            }
        }
        rig.settle("cell1").await;
        assert_eq!(rig.names().await, ["default-web1", "default-web2"], "{nth} {after_effect}");
        assert_eq!(rig.status("cell1").await["targetGroups"], 2);
    }
    assert!(crashes >= 10, "{crashes}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_told_once_and_the_others_go_on() {
    let rig = Rig::new();
    let cluster = rig.cluster("a").await;
    cluster.bind("web1", "x", Some("1")).await;
    cluster.bind("web2", "y", Some("1")).await;
    rig.backend.inject(
        Fault::nth(CallVerb::Create, 1, BackendError::Denied { message: "may not create".to_owned() })
            .of(Kind::of::<AWSTargetGroup>()),
    );
    rig.set("cell1", json!({})).await;
    rig.catch_up().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        rig.controller.reconcile(&Key::new(NAMESPACE, "cell1")).await.unwrap();
    }
    rig.settle("cell1").await;
    assert_eq!(rig.names().await, ["default-web1", "default-web2"], "tried again at the next look");
    let refused = rig.events.take().into_iter().filter(|note| note.reason == "RefusedBindings").count();
    assert_eq!(refused, 1);
}

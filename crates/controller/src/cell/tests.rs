//! The Cell, route and Pause controllers together, on the in-memory store and router.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use okra_api::{
    AWSTargetGroupSpec, CellSpec, CellStatus, VersionBlocklistSpec,
    alb::{ListenerConfig, ListenerRule},
    cell::{AlbIngress, CanaryStrategy, Ingress, UpdateStrategy},
    cell_status::{CellPhase, RolloutOutcome},
    names::{REQUEST_ANNOTATION, VERSION_LABEL},
    step::{CanaryStep, PauseStep},
};
use okra_core::route::GroupHealth;
use okra_provider::{
    Backend as _, BackendError, Namespaces, NoDecisionLog, Stored, TrafficRouter as _,
    testing::{AlwaysLeader, CallVerb, FakeRouter, Fault, FixedClock, MemoryBackend, RecordingEvents, SeededEntropy},
};
use pretty_assertions::assert_eq;

use super::*;
use crate::{PauseController, RouteContext, RouteController};

mod experiment;

const LISTENER: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/web/1/2";
const NAMESPACE: &str = "prod";

fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{name}/1")
}

struct Rig {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    router: Arc<FakeRouter>,
    events: Arc<RecordingEvents>,
    store: Store,
    controllers: Vec<Arc<dyn Reconciler>>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(7))));
        let router = FakeRouter::new();
        router.set_default_health(GroupHealth { healthy: 3, total: 3, gone: false });
        let events = Arc::new(RecordingEvents::default());
        let (store, controllers) = start(&backend, &clock, &router, &events);
        Self { backend, clock, router, events, store, controllers }
    }

    /// The process ends and another begins: nothing is remembered.
    fn restart(&mut self) {
        self.store.shutdown();
        (self.store, self.controllers) = start(&self.backend, &self.clock, &self.router, &self.events);
    }

    async fn create<K: Stored>(&self, object: &K) -> K {
        let object = serde_json::to_value(object).unwrap();
        serde_json::from_value(self.backend.create(&Kind::of::<K>(), &object).await.unwrap()).unwrap()
    }

    async fn get<K: Stored>(&self, name: &str) -> Option<K> {
        match self.backend.get(&Kind::of::<K>(), &Key::new(NAMESPACE, name)).await {
            Ok(object) => Some(serde_json::from_value(object).unwrap()),
            Err(BackendError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn group(&self, name: &str, version: &str) {
        let mut group = AWSTargetGroup::new(name, AWSTargetGroupSpec { arn: arn(name) });
        group.metadata.namespace = Some(NAMESPACE.to_owned());
        let labels = [("role", "web"), (VERSION_LABEL, version)];
        group.metadata.labels =
            Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        self.create(&group).await;
    }

    async fn cell(&self, name: &str, priority: i32, steps: Vec<CanaryStep>) -> Cell {
        let alb = AlbIngress {
            listener_arn: LISTENER.to_owned(),
            listener: ListenerConfig {
                rule: ListenerRule { priority, hosts: vec!["web.example.com".to_owned()], ..ListenerRule::default() },
            },
            target_group_selector: okra_api::TargetGroupSelector {
                match_labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
                ..okra_api::TargetGroupSelector::default()
            },
            ..AlbIngress::default()
        };
        let spec = CellSpec {
            ingress: Ingress { aws_application_load_balancer: Some(alb), ..Ingress::default() },
            replicas: 1,
            update_strategy: Some(UpdateStrategy {
                canary: Some(CanaryStrategy { steps, analysis: None }),
                ..UpdateStrategy::default()
            }),
            ..CellSpec::default()
        };
        let mut cell = Cell::new(name, spec);
        cell.metadata.namespace = Some(NAMESPACE.to_owned());
        self.create(&cell).await
    }

    /// Waits until a cache holds what the backend holds.
    async fn caught_up<K: Stored>(&self) {
        let cache = self.store.cache::<K>();
        let there = self.backend.list(&Kind::of::<K>(), None).await.unwrap();
        let there: Vec<String> =
            there.iter().map(|object| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()).collect();
        let seen = async {
            loop {
                let held = cache.list(None);
                let stale = held.iter().any(|object| cache.is_stale(&Key::of_typed(&**object)));
                let held: Vec<String> =
                    held.iter().map(|object| object.meta().resource_version.clone().unwrap()).collect();
                if cache.is_synced() && !stale && held == there {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the cache does not catch up");
    }

    async fn all_caught_up(&self) {
        self.caught_up::<Cell>().await;
        self.caught_up::<AWSTargetGroup>().await;
        self.caught_up::<AWSApplicationLoadBalancerConfig>().await;
        self.caught_up::<Pause>().await;
        self.caught_up::<VersionBlocklist>().await;
        self.caught_up::<Experiment>().await;
    }

    /// Reconciles everything until nothing is written any more; how many rounds that took.
    async fn run(&self) -> usize {
        for round in 0..100 {
            let before = self.backend.calls().iter().filter(|call| call.verb.writes()).count();
            for controller in &self.controllers {
                self.all_caught_up().await;
                for key in controller.all() {
                    _ = controller.reconcile(&key).await;
                    self.all_caught_up().await;
                }
            }
            if self.backend.calls().iter().filter(|call| call.verb.writes()).count() == before {
                return round;
            }
        }
        panic!("the controllers do not come to rest");
    }

    async fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
        self.run().await;
    }

    async fn status(&self, name: &str) -> CellStatus {
        self.get::<Cell>(name).await.unwrap().status.unwrap()
    }

    async fn ask(&self, name: &str, id: &str, verb: &str) {
        let request = json!({"id": id, "verb": verb, "user": "ann"}).to_string();
        let patch = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}});
        self.backend.merge_patch(&Kind::of::<Cell>(), &Key::new(NAMESPACE, name), &patch).await.unwrap();
        self.run().await;
    }

    /// Target group name to weight.
    fn weights(&self, cell: &str) -> BTreeMap<String, i32> {
        let weights = self.router.weights(&format!("{NAMESPACE}/{cell}"));
        let name = |id: String| id.rsplit('/').nth(1).unwrap().to_owned();
        weights.into_iter().map(|(id, weight)| (name(id), weight)).collect()
    }
}

fn start(
    backend: &Arc<MemoryBackend>,
    clock: &Arc<FixedClock>,
    router: &Arc<FakeRouter>,
    events: &Arc<RecordingEvents>,
) -> (Store, Vec<Arc<dyn Reconciler>>) {
    let store = Store::new(backend.clone(), Namespaces::All);
    let cell = CellController::new(CellContext {
        instance_id: "okra".to_owned(),
        leadership: Arc::new(AlwaysLeader),
        store: store.clone(),
        clock: clock.clone(),
        events: events.clone(),
        decisions: Arc::new(NoDecisionLog),
        alb: Some(router.capabilities()),
        local: None,
    });
    let route = RouteController::<AWSApplicationLoadBalancerConfig>::new(RouteContext {
        store: store.clone(),
        router: Some(router.clone()),
        clock: clock.clone(),
        leadership: Arc::new(AlwaysLeader),
        events: events.clone(),
        decisions: Arc::new(NoDecisionLog),
        installation: "home".to_owned(),
        drift_interval: SignedDuration::from_mins(5),
        call_timeout: Duration::from_secs(5),
    });
    let pause = PauseController::new(store.clone(), clock.clone());
    (store, vec![Arc::new(cell), Arc::new(route), Arc::new(pause)])
}

fn weights(pairs: &[(&str, i32)]) -> BTreeMap<String, i32> {
    pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

fn set_weight(weight: i32) -> CanaryStep {
    CanaryStep { set_weight: Some(weight), ..CanaryStep::default() }
}

fn pause(duration: &str) -> CanaryStep {
    CanaryStep { pause: Some(PauseStep { duration: Some(duration.into()) }), ..CanaryStep::default() }
}

#[tokio::test]
async fn a_cell_is_swapped_and_then_nothing_is_written() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(20), pause("10s"), set_weight(60)]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 100)]));
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 80), ("v2", 20)]));
    assert_eq!(rig.status("web").await.phase, Some(CellPhase::Paused));
    rig.pass(10).await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 0), ("v2", 100)]));
    assert_eq!(rig.status("web").await.stable_version.as_deref(), Some("2.0.0"));
    assert_eq!(rig.run().await, 0, "at rest the first round writes nothing");
    let reasons: Vec<String> = rig.events.notes().into_iter().map(|note| note.reason).collect();
    assert!(reasons.iter().any(|reason| reason == "RolloutSucceeded"), "{reasons:?}");
}

#[tokio::test]
async fn a_failing_write_at_any_point_leads_to_the_same_end() {
    let reference = swapped_with(None).await;
    for nth in 1..=40 {
        for verb in [CallVerb::Create, CallVerb::Update, CallVerb::UpdateStatus] {
            let error = BackendError::Unreachable("no answer".to_owned());
            assert_eq!(swapped_with(Some(Fault::nth(verb, nth, error))).await, reference, "{verb:?} {nth} fails");
            assert_eq!(swapped_with(Some(Fault::lost_answer(verb, nth))).await, reference, "{verb:?} {nth} is lost");
        }
    }
}

/// Every state of the rule while a rollout goes on with one fault and a restart behind it.
async fn swapped_with(fault: Option<Fault>) -> (BTreeMap<String, i32>, Vec<BTreeMap<String, i32>>) {
    let mut rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(20), pause("10s"), set_weight(60)]).await;
    rig.group("v1", "1.0.0").await;
    if let Some(fault) = fault {
        rig.backend.inject(fault);
    }
    rig.run().await;
    rig.group_again("v2", "2.0.0").await;
    rig.run().await;
    rig.restart();
    rig.run().await;
    rig.pass(11).await;
    rig.pass(1).await;
    let states = rig.router.applied().into_iter().filter_map(|applied| applied.change.weights().cloned()).collect();
    (rig.weights("web"), states)
}

impl Rig {
    /// Creates a target group even when the first answer is lost.
    async fn group_again(&self, name: &str, version: &str) {
        while self.get::<AWSTargetGroup>(name).await.is_none() {
            let mut group = AWSTargetGroup::new(name, AWSTargetGroupSpec { arn: arn(name) });
            group.metadata.namespace = Some(NAMESPACE.to_owned());
            let labels = [("role", "web"), (VERSION_LABEL, version)];
            group.metadata.labels =
                Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
            _ = self.backend.create(&Kind::of::<AWSTargetGroup>(), &serde_json::to_value(&group).unwrap()).await;
        }
    }
}

#[tokio::test]
async fn an_abort_blocks_and_undoing_the_block_begins_again() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(20), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    rig.ask("web", "a", "abort").await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 100), ("v2", 0)]));
    let status = rig.status("web").await;
    assert_eq!(status.rollout.unwrap().outcome, Some(RolloutOutcome::Aborted));
    let list: VersionBlocklist = rig.get("web").await.unwrap();
    assert_eq!(list.spec.items[0].version, "2.0.0");
    assert!(list.spec.items[0].cause.contains("ann"), "{list:?}");
    let patch = json!({"spec": {"items": []}});
    let kind = Kind::of::<VersionBlocklist>();
    rig.backend.merge_patch(&kind, &Key::new(NAMESPACE, "web"), &patch).await.unwrap();
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 80), ("v2", 20)]));
    let pauses = rig.backend.list(&Kind::of::<Pause>(), None).await.unwrap();
    assert_eq!(pauses.len(), 1, "the Pause of the aborted rollout is gone");
}

#[tokio::test]
async fn a_blocklist_that_is_there_gets_one_item_more() {
    let rig = Rig::new();
    let items = vec![okra_api::BlockedVersion { version: "0.9.0".to_owned(), ..okra_api::BlockedVersion::default() }];
    let mut list = VersionBlocklist::new("web", VersionBlocklistSpec { items });
    list.metadata.namespace = Some(NAMESPACE.to_owned());
    rig.create(&list).await;
    rig.cell("web", 10, vec![set_weight(20), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    rig.ask("web", "a", "abort").await;
    let list: VersionBlocklist = rig.get("web").await.unwrap();
    let versions: Vec<&str> = list.spec.items.iter().map(|item| item.version.as_str()).collect();
    assert_eq!(versions, ["0.9.0", "2.0.0"]);
}

#[tokio::test]
async fn a_route_object_of_somebody_else_is_left_alone() {
    let rig = Rig::new();
    let mut route = AWSApplicationLoadBalancerConfig::new(
        "web",
        okra_api::AWSApplicationLoadBalancerConfigSpec { listener_arn: LISTENER.to_owned(), ..Default::default() },
    );
    route.metadata.namespace = Some(NAMESPACE.to_owned());
    rig.create(&route).await;
    rig.cell("web", 10, Vec::new()).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    let status = rig.status("web").await;
    assert_eq!(status.phase, Some(CellPhase::Degraded));
    assert!(status.message.contains("this Cell does not own it"), "{}", status.message);
    let route: AWSApplicationLoadBalancerConfig = rig.get("web").await.unwrap();
    assert!(route.spec.listener.rule.forward.target_groups.is_empty());
}

#[tokio::test]
async fn children_have_the_cell_as_their_owner() {
    let rig = Rig::new();
    let cell = rig.cell("web", 10, vec![pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    let pause: Pause = rig.get("web-r2-0-pause").await.unwrap();
    let route: AWSApplicationLoadBalancerConfig = rig.get("web").await.unwrap();
    for meta in [&pause.metadata, &route.metadata] {
        let owner = &meta.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.uid.as_str(), owner.controller), (cell.metadata.uid.as_deref().unwrap(), Some(true)));
    }
    assert_eq!(pause.metadata.labels.unwrap()["okra.mumo.co/step-index"], "0");
}

#[tokio::test]
async fn changes_wake_the_cells_that_they_concern() {
    let rig = Rig::new();
    rig.cell("web", 10, Vec::new()).await;
    rig.cell("web-api", 20, Vec::new()).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    let cells = &rig.controllers[0];
    let wakes = |kind: Kind, name: &str| -> Vec<String> {
        let keys = cells.wakes(&Changed { kind, key: Key::new(NAMESPACE, name) });
        keys.into_iter().map(|key| key.name).collect()
    };
    assert_eq!(wakes(Kind::of::<AWSTargetGroup>(), "v1"), ["web", "web-api"]);
    assert_eq!(wakes(Kind::of::<AWSTargetGroup>(), "nobody"), Vec::<String>::new());
    assert_eq!(wakes(Kind::of::<Pause>(), "web-r2-0-pause"), ["web"]);
    assert_eq!(wakes(Kind::of::<AnalysisRun>(), "web-api-r1-bg"), ["web-api"]);
    assert_eq!(wakes(Kind::of::<AWSApplicationLoadBalancerConfig>(), "web"), ["web"]);
    let kind = Kind::of::<AWSTargetGroup>();
    let key = Key::new(NAMESPACE, "v1");
    rig.backend.delete(&kind, &key, &okra_provider::Deletion::default()).await.unwrap();
    rig.caught_up::<AWSTargetGroup>().await;
    assert_eq!(wakes(kind.clone(), "v1"), ["web", "web-api"], "who knew it learns that it is gone");
    rig.group("odd", "no-version").await;
    rig.run().await;
    rig.backend.delete(&kind, &Key::new(NAMESPACE, "odd"), &okra_provider::Deletion::default()).await.unwrap();
    rig.caught_up::<AWSTargetGroup>().await;
    assert_eq!(wakes(kind, "odd"), ["web", "web-api"], "also one that was left out");
}

#[tokio::test]
async fn a_rollout_writes_little() {
    let rig = Rig::new();
    let steps = vec![set_weight(20), pause("10s"), set_weight(50), pause("10s"), set_weight(100)];
    rig.cell("web", 10, steps).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.pass(60).await;
    let before = rig.backend.calls().len();
    rig.group("v2", "2.0.0").await;
    for _ in 0..30 {
        // The Cell looks once more at what it has just asked for, before the route controller acts.
        for controller in std::iter::once(&rig.controllers[0]).chain(&rig.controllers) {
            rig.all_caught_up().await;
            for key in controller.all() {
                controller.reconcile(&key).await.unwrap();
            }
        }
        rig.clock.advance(SignedDuration::from_secs(1));
    }
    assert_eq!(rig.weights("web"), weights(&[("v1", 0), ("v2", 100)]));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let calls = rig.backend.calls().into_iter().skip(before);
    for call in calls.filter(|call| call.verb.writes() && call.kind != Kind::of::<AWSTargetGroup>()) {
        *counts.entry(format!("{:?} {}", call.verb, call.kind)).or_default() += 1;
    }
    // One attachment and three weights; a status of the Cell for each step, the begin and the end.
    let expected = [
        ("Create Pause", 2),
        ("Update AWSApplicationLoadBalancerConfig", 4),
        ("UpdateStatus AWSApplicationLoadBalancerConfig", 4),
        ("UpdateStatus Cell", 7),
        ("UpdateStatus Pause", 4),
    ];
    assert_eq!(counts, expected.map(|(call, count)| (call.to_owned(), count)).into());
}

const GONE: GroupHealth = GroupHealth { healthy: 0, total: 0, gone: true };

#[tokio::test]
async fn a_group_that_the_router_does_not_know_is_left_out_until_it_does() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(50)]).await;
    rig.router.set_health(&arn("ghost"), GONE);
    rig.group("v1", "1.0.0").await;
    rig.group("ghost", "1.0.0").await;
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 100)]));
    let status = rig.status("web").await;
    assert_eq!(status.phase, Some(CellPhase::Healthy));
    let valid = okra_api::condition::find(&status.conditions, okra_api::condition::VALID).unwrap();
    assert!(valid.message.contains("ghost") && valid.message.contains("no such target group"), "{}", valid.message);
    assert_eq!(rig.run().await, 0, "at rest nothing is written");

    rig.group("v2", "2.0.0").await;
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 0), ("v2", 100)]), "it is in nobody's way");

    rig.router.set_health(&arn("ghost"), GroupHealth { healthy: 1, total: 1, gone: false });
    rig.pass(301).await;
    let status = rig.status("web").await;
    assert!(okra_api::condition::is_true(&status.conditions, okra_api::condition::VALID), "the next look finds it");
}

#[tokio::test]
async fn a_rollout_goes_back_when_too_few_of_its_groups_exist() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(50), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.router.set_health(&arn("v2"), GONE);
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 100)]));
    let status = rig.status("web").await;
    assert_eq!(status.rollout.unwrap().outcome, Some(RolloutOutcome::Withdrawn));
    assert_eq!(status.stable_version.as_deref(), Some("1.0.0"));

    // An object of that name which means another group is not the one that is gone.
    let patch = json!({"spec": {"arn": arn("other")}});
    rig.backend.merge_patch(&Kind::of::<AWSTargetGroup>(), &Key::new(NAMESPACE, "v2"), &patch).await.unwrap();
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 50), ("other", 50)]));
}

#[tokio::test]
async fn a_late_write_of_a_former_intent_is_no_foreign_edit() {
    let mut rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(50), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    for _ in 0..2 {
        rig.all_caught_up().await;
        _ = rig.controllers[0].reconcile(&Key::new(NAMESPACE, "web")).await;
        rig.all_caught_up().await;
        _ = rig.controllers[1].reconcile(&Key::new(NAMESPACE, "web")).await;
        rig.all_caught_up().await;
    }
    assert_eq!(rig.weights("web"), weights(&[("v1", 50), ("v2", 50)]));
    // The process that sent it dies before it has written what it saw, and the rollout is aborted meanwhile.
    let route = rig.get::<AWSApplicationLoadBalancerConfig>("web").await.unwrap();
    let mut lost = route.clone();
    let status = lost.status.as_mut().unwrap();
    status.observed_generation = status.observed_generation.map(|generation| generation - 1);
    status.verified = status.recent_intents.iter().rev().nth(1).cloned();
    status.recent_intents.pop();
    let kind = Kind::of::<AWSApplicationLoadBalancerConfig>();
    rig.backend.update_status(&kind, &serde_json::to_value(&lost).unwrap()).await.unwrap();
    rig.restart();
    let request = json!({"id": "a", "verb": "abort", "user": "ann"}).to_string();
    let patch = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}});
    rig.backend.merge_patch(&Kind::of::<Cell>(), &Key::new(NAMESPACE, "web"), &patch).await.unwrap();
    rig.run().await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 100), ("v2", 0)]));
}

#[tokio::test]
async fn a_pause_of_another_cell_that_has_not_come_back_yet_holds_up_nobody() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(50), pause("1h")]).await;
    rig.cell("other", 20, vec![set_weight(50), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    let request = json!({"id": "a", "verb": "abort", "user": "ann"}).to_string();
    let patch = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}});
    rig.backend.merge_patch(&Kind::of::<Cell>(), &Key::new(NAMESPACE, "web"), &patch).await.unwrap();
    rig.all_caught_up().await;
    let cache = rig.store.cache::<Pause>();
    let pauses = cache.list(Some(NAMESPACE));
    let other = pauses.iter().find(|pause| pause.metadata.name.as_deref().unwrap().starts_with("other-r")).unwrap();
    let mut written = Pause::clone(other);
    written.status.as_mut().unwrap().last_sync_time = None;
    rig.store.update_status(&written).await.unwrap();
    // Nobody wakes this Cell when that Pause comes back: it must not wait for it.
    assert!(cache.is_stale(&Key::of_typed(&**other)), "the watch has not told of the write yet");
    rig.controllers[0].reconcile(&Key::new(NAMESPACE, "web")).await.unwrap();
    let status = rig.get::<Cell>("web").await.unwrap().status.unwrap();
    assert_eq!(status.last_request.map(|answer| answer.id).as_deref(), Some("a"));
}

#[tokio::test]
async fn a_status_that_somebody_else_wrote_does_not_count_and_is_written_over() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(20), pause("1h"), set_weight(40)]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    let status = rig.status("web").await;
    let mid_canary = weights(&[("v1", 80), ("v2", 20)]);
    assert_eq!(rig.weights("web"), mid_canary);

    let mut forged: Cell = rig.get("web").await.unwrap();
    let rollout = forged.status.as_mut().unwrap().rollout.as_mut().unwrap();
    (rollout.current_step_index, rollout.canary_weight) = (3, 100);
    rig.backend.update_status(&Kind::of::<Cell>(), &serde_json::to_value(&forged).unwrap()).await.unwrap();
    rig.run().await;
    assert_eq!((rig.weights("web"), rig.status("web").await), (mid_canary.clone(), status.clone()));

    // All of it gone is no different while the controller lives.
    let mut wiped: Cell = rig.get("web").await.unwrap();
    wiped.status = None;
    rig.backend.update_status(&Kind::of::<Cell>(), &serde_json::to_value(&wiped).unwrap()).await.unwrap();
    rig.run().await;
    assert_eq!((rig.weights("web"), rig.status("web").await), (mid_canary, status));
    rig.pass(3601).await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 0), ("v2", 100)]));
}

/// The first list of a process was older than what the process before it wrote. That was taken for somebody else's and
/// written over: a rollout went back in time, and a request was carried out again.
#[tokio::test]
async fn what_the_process_before_wrote_is_not_written_back() {
    let mut rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(20), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    rig.restart();
    rig.all_caught_up().await;
    rig.backend.hold(&Kind::of::<Cell>());
    let mut newer: Cell = rig.get("web").await.unwrap();
    newer.status.as_mut().unwrap().last_request = Some(okra_api::request::RequestRecord {
        id: "a".to_owned(),
        verb: okra_api::Verb::Resume,
        user: "ann".to_owned(),
        at: rig.clock.now(),
        accepted: false,
        message: "refused".to_owned(),
    });
    rig.backend.update_status(&Kind::of::<Cell>(), &serde_json::to_value(&newer).unwrap()).await.unwrap();
    let outdated = rig.controllers[0].reconcile(&Key::new(NAMESPACE, "web")).await;
    assert!(outdated.is_err(), "the copy is not what the store has");
    rig.backend.release(&Kind::of::<Cell>());
    rig.run().await;
    assert_eq!(rig.status("web").await.last_request.map(|answer| answer.id).as_deref(), Some("a"));
}

/// One that held the lease before, and was frozen meanwhile.
struct Former;

impl Leadership for Former {
    fn permits(&self, _: Duration) -> Result<(), okra_provider::NotLeader> {
        Err(okra_provider::NotLeader)
    }
}

#[tokio::test]
async fn what_the_next_leader_wrote_is_not_written_back() {
    let rig = Rig::new();
    rig.cell("web", 10, vec![set_weight(20), pause("1h")]).await;
    rig.group("v1", "1.0.0").await;
    rig.run().await;
    rig.group("v2", "2.0.0").await;
    rig.run().await;
    let former = CellController::new(CellContext {
        instance_id: "okra".to_owned(),
        leadership: Arc::new(Former),
        store: rig.store.clone(),
        clock: rig.clock.clone(),
        events: rig.events.clone(),
        decisions: Arc::new(NoDecisionLog),
        alb: Some(rig.router.capabilities()),
        local: None,
    });
    let key = Key::new(NAMESPACE, "web");
    rig.all_caught_up().await;
    former.reconcile(&key).await.unwrap();
    rig.ask("web", "a", "abort").await;
    rig.all_caught_up().await;
    let next = rig.status("web").await;
    assert!(former.reconcile(&key).await.is_err());
    assert_eq!(rig.status("web").await, next);
}

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;
use okra_api::{
    AWSApplicationLoadBalancerConfig, Route, RouteOutcome, RouteStatus,
    names::{ADOPT_RULE_ANNOTATION, ROUTE_FINALIZER},
    route::RouteHealth,
};
use okra_core::route::{Change, Conditions, GroupHealth, ObservedRule};
use okra_provider::{
    Backend as _, BackendError, Namespaces, NoDecisionLog, RouterError, RouterErrorKind,
    router::Disposition,
    testing::{
        AlwaysLeader, FakeRouter, FakeRule, FixedClock, MemoryBackend, RecordingEvents, RouterFault, RouterVerb,
        SeededEntropy,
    },
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

type Alb = AWSApplicationLoadBalancerConfig;

const LISTENER: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/web/1/2";

fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{name}/1")
}

fn targets(groups: &str) -> Value {
    let row = |pair: &str| {
        let (name, weight) = pair.split_once(':').unwrap();
        json!({ "name": name, "arn": arn(name), "weight": weight.parse::<i32>().unwrap(), "minHealthyTargets": 1 })
    };
    groups.split_whitespace().map(row).collect()
}

fn held(groups: &str) -> BTreeMap<String, i32> {
    let pairs = groups.split_whitespace().map(|pair| pair.split_once(':').unwrap());
    pairs.map(|(name, weight)| (arn(name), weight.parse().unwrap())).collect()
}

fn alb(name: &str, priority: i32, groups: &str) -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "AWSApplicationLoadBalancerConfig",
        "metadata": { "namespace": "prod", "name": name },
        "spec": {
            "listenerARN": LISTENER,
            "listener": { "rule": {
                "priority": priority,
                "hosts": ["web.example.com"],
                "forward": { "targetGroups": targets(groups) },
            }},
        },
    })
}

/// A controller of one kind on fakes.
struct Rig<K: RouteKind = Alb> {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    router: Arc<FakeRouter>,
    events: Arc<RecordingEvents>,
    controller: RouteController<K>,
}

impl<K: RouteKind> Rig<K> {
    fn new() -> Self {
        Self::with_router(true)
    }

    fn with_router(there: bool) -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1))));
        let router = FakeRouter::new();
        let events = Arc::new(RecordingEvents::default());
        let mut rig =
            Self { controller: controller(&backend, &clock, &router, &events), backend, clock, router, events };
        if !there {
            rig.controller.context.router = None;
        }
        rig
    }

    /// The process starts again: nothing is remembered.
    fn restart(&mut self) {
        self.controller = controller(&self.backend, &self.clock, &self.router, &self.events);
    }

    async fn create(&self, object: &Value) -> Value {
        self.backend.create(&Kind::of::<K>(), object).await.unwrap()
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.backend.merge_patch(&Kind::of::<K>(), &key(name), &patch).await.unwrap();
    }

    async fn shift(&self, name: &str, groups: &str) {
        let rule = json!({ "forward": { "targetGroups": targets(groups) } });
        self.patch(name, json!({ "spec": { "listener": { "rule": rule } } })).await;
    }

    async fn get(&self, name: &str) -> Result<Value, BackendError> {
        self.backend.get(&Kind::of::<K>(), &key(name)).await
    }

    async fn status(&self, name: &str) -> RouteStatus {
        let object = self.get(name).await.unwrap();
        serde_json::from_value(object.get("status").cloned().unwrap_or(json!({}))).unwrap()
    }

    /// Waits until the cache holds what the backend holds.
    async fn caught_up(&self) {
        let versions = |objects: Vec<Value>| -> Vec<String> {
            objects.iter().map(|object| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()).collect()
        };
        let there = versions(self.backend.list(&Kind::of::<K>(), None).await.unwrap());
        let cache = &self.controller.cache;
        let seen = async {
            loop {
                let malformed = cache.malformed(None).len();
                let held = cache.list(None);
                let stale = held.iter().any(|object| cache.is_stale(&Key::of_typed(&**object)));
                let held: Vec<String> =
                    held.iter().map(|object| object.meta().resource_version.clone().unwrap()).collect();
                if cache.is_synced()
                    && !stale
                    && (held == there || held.len() + malformed == there.len() && malformed > 0)
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the cache does not catch up");
    }

    async fn reconcile(&self, name: &str) -> Result<Next, ReconcileError> {
        self.caught_up().await;
        self.controller.reconcile(&key(name)).await
    }

    /// Reconciles when it wants to be woken, until nothing is due within a minute.
    async fn settle(&self, name: &str) {
        for _ in 0..20 {
            let next = self.reconcile(name).await.unwrap();
            match next.wake_at.filter(|at| *at < self.clock.now() + SignedDuration::from_secs(20)) {
                Some(at) => self.clock.set(at.max(self.clock.now())),
                None => return,
            }
        }
        panic!("it does not settle: {:?}", self.status(name).await);
    }

    fn changes(&self) -> Vec<Change> {
        self.router.applied().into_iter().map(|applied| applied.change).collect()
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    fn fault(&self, verb: RouterVerb, kind: RouterErrorKind, after_effect: bool) {
        let error = RouterError::new(kind, "Test", "the test says no");
        self.router.inject(RouterFault { verb, nth: 1, error, after_effect });
    }

    fn reasons(&self) -> Vec<String> {
        self.events.take().into_iter().map(|note| note.reason).collect()
    }
}

fn controller<K: RouteKind>(
    backend: &Arc<MemoryBackend>,
    clock: &Arc<FixedClock>,
    router: &Arc<FakeRouter>,
    events: &Arc<RecordingEvents>,
) -> RouteController<K> {
    RouteController::new(RouteContext {
        store: Store::new(backend.clone(), Namespaces::All),
        router: Some(router.clone()),
        clock: clock.clone(),
        leadership: Arc::new(AlwaysLeader),
        events: events.clone(),
        decisions: Arc::new(NoDecisionLog),
        installation: "home".into(),
        drift_interval: SignedDuration::from_mins(5),
        call_timeout: Duration::from_secs(10),
    })
}

fn key(name: &str) -> Key {
    Key::new("prod", name)
}

fn others_rule(priority: i32, groups: &str) -> FakeRule {
    let rule = ObservedRule {
        id: "theirs".into(),
        priority,
        conditions: Conditions { hosts: vec!["web.example.com".into()], ..Conditions::default() },
        weights: held(groups),
        ..ObservedRule::default()
    };
    FakeRule { listener: LISTENER.into(), rule }
}

fn ready(status: &RouteStatus) -> &str {
    condition::find(&status.conditions, READY).map(|ready| ready.reason.as_str()).unwrap_or_default()
}

#[tokio::test]
async fn a_rule_is_created_verified_and_shifted() {
    let rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100")).await;
    rig.settle("web").await;
    let status = rig.status("web").await;
    assert_eq!(status.outcome, Some(RouteOutcome::Verified));
    assert_eq!((status.observed_generation, status.rule_arn.as_deref()), (Some(1), Some("rule-001")));
    assert_eq!(rig.router.weights("prod/web"), held("a:100"));
    let rule = &rig.router.rules()[0].rule;
    assert_eq!((rule.priority, rule.owner_tag.as_deref()), (10, Some("home")));
    assert_eq!(rig.reasons(), ["RuleCreated", "AsDesired"]);
    assert!(rig.get("web").await.unwrap()["metadata"].get("finalizers").is_none(), "policy Retain needs none");

    rig.shift("web", "a:80 b:20").await;
    rig.settle("web").await;
    let status = rig.status("web").await;
    assert_eq!((status.outcome, status.observed_generation), (Some(RouteOutcome::Verified), Some(2)));
    assert_eq!(rig.router.weights("prod/web"), held("a:80 b:20"));
    assert_eq!(rig.changes().len(), 2);
    assert_eq!(rig.reasons(), ["TrafficShifted"]);
}

#[tokio::test]
async fn at_rest_nothing_is_written_and_only_the_drift_look_calls() {
    let rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100")).await;
    rig.settle("web").await;
    let before = rig.get("web").await.unwrap();
    // A call would meet this fault.
    rig.fault(RouterVerb::Observe, RouterErrorKind::Unreachable, false);
    for _ in 0..4 {
        rig.advance(60);
        rig.reconcile("web").await.unwrap();
    }
    rig.advance(60);
    rig.reconcile("web").await.unwrap_err();
    let away = rig.status("web").await;
    assert_eq!(away.outcome, Some(RouteOutcome::Verified), "what was verified stays so while the cloud is away");
    assert_eq!(ready(&away), reason::UNREACHABLE);
    rig.reconcile("web").await.unwrap();
    let after = rig.get("web").await.unwrap();
    assert_eq!(ready(&rig.status("web").await), reason::AS_DESIRED);
    assert_ne!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    rig.advance(300);
    rig.reconcile("web").await.unwrap();
    assert_eq!(after, rig.get("web").await.unwrap(), "an unchanged look writes nothing");
}

#[tokio::test]
async fn a_crash_after_the_write_and_before_its_status_gives_no_second_write() {
    let mut rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100 b:0")).await;
    rig.settle("web").await;
    rig.shift("web", "a:80 b:20").await;
    // The answer is lost, and so is the process.
    rig.fault(RouterVerb::Apply, RouterErrorKind::Unreachable, true);
    rig.reconcile("web").await.unwrap_err();
    let status = rig.status("web").await;
    assert_eq!((status.outcome, status.observed_generation), (Some(RouteOutcome::NotYet), Some(2)));
    rig.restart();
    rig.settle("web").await;
    assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.changes().len(), 2, "one to create, one to shift: {:?}", rig.changes());
}

#[tokio::test]
async fn a_late_write_for_an_intent_of_before_is_corrected_not_held() {
    let mut rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100 b:0")).await;
    rig.settle("web").await;
    rig.shift("web", "a:80 b:20").await;
    rig.fault(RouterVerb::Apply, RouterErrorKind::Unreachable, true);
    rig.reconcile("web").await.unwrap_err();
    rig.restart();
    // The answer to the shift never came; a person goes back, and its fingerprint is known.
    rig.shift("web", "a:100 b:0").await;
    rig.settle("web").await;
    assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.router.weights("prod/web"), held("a:100 b:0"));
}

#[tokio::test]
async fn what_a_call_of_the_leader_before_does_after_our_first_look_is_corrected_at_once() {
    let mut rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100 b:0")).await;
    rig.settle("web").await;
    rig.shift("web", "a:80 b:20").await;
    rig.settle("web").await;
    rig.shift("web", "a:100 b:0").await;
    rig.settle("web").await;
    rig.restart();
    let began = rig.clock.now();
    assert_eq!(rig.reconcile("web").await.unwrap().wake_at, Some(began + SignedDuration::from_secs(10)));
    rig.router.edit_rule("rule-001", |rule| rule.weights = held("a:80 b:20"));
    rig.advance(9);
    let next = rig.reconcile("web").await.unwrap();
    assert_eq!(rig.router.weights("prod/web"), held("a:80 b:20"), "the first look still counts");
    rig.clock.set(next.wake_at.unwrap());
    let next = rig.reconcile("web").await.unwrap();
    assert_eq!(rig.router.weights("prod/web"), held("a:100 b:0"));
    assert_eq!(next.wake_at, Some(rig.clock.now() + SignedDuration::from_mins(5)), "once is enough");
}

#[tokio::test]
async fn a_copy_from_before_a_way_back_changes_nothing() {
    let mut rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100 b:0")).await;
    rig.settle("web").await;
    rig.shift("web", "a:50 b:50").await;
    rig.settle("web").await;
    rig.restart();
    rig.caught_up().await;
    // The okrad before this one goes back, which this one's cache does not show yet: the rule holds what an earlier
    // intent asked for, which on its own looks like a late write of our own.
    rig.backend.hold(&Kind::of::<Alb>());
    rig.shift("web", "a:100 b:0").await;
    rig.router.edit_rule("rule-001", |rule| rule.weights = held("a:100 b:0"));
    let refusal = rig.controller.reconcile(&key("web")).await.unwrap_err();
    assert_eq!((refusal.category, refusal.disposition), ("Conflict", Disposition::Transient));
    assert_eq!(rig.router.weights("prod/web"), held("a:100 b:0"));
    rig.backend.release(&Kind::of::<Alb>());
    rig.settle("web").await;
    assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.router.weights("prod/web"), held("a:100 b:0"));
    assert_eq!(rig.changes().len(), 2, "{:?}", rig.changes());
}

#[tokio::test]
async fn a_foreign_edit_holds_the_route_until_a_person_decides() {
    let rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100 b:0")).await;
    rig.settle("web").await;
    rig.events.take();
    rig.router.edit_rule("rule-001", |rule| rule.weights = held("a:1 b:99"));
    rig.shift("web", "a:80 b:20").await;
    rig.reconcile("web").await.unwrap();
    let status = rig.status("web").await;
    assert_eq!(status.outcome, Some(RouteOutcome::Foreign));
    assert_eq!(rig.router.weights("prod/web"), held("a:1 b:99"));
    assert_eq!(rig.reasons(), ["ForeignEdit"]);
    let fingerprint = status.foreign.unwrap().fingerprint;
    rig.patch("web", json!({ "spec": { "overwrite": fingerprint } })).await;
    rig.settle("web").await;
    assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.router.weights("prod/web"), held("a:80 b:20"));
}

#[tokio::test]
async fn a_foreign_rule_is_refused_and_adopted_on_request() {
    let rig = Rig::<Alb>::new();
    rig.router.put_rule(others_rule(10, "a:50 b:50"));
    rig.create(&alb("web", 10, "a:80 b:20")).await;
    rig.reconcile("web").await.unwrap();
    let status = rig.status("web").await;
    assert_eq!((status.outcome, ready(&status)), (Some(RouteOutcome::Refused), reason::FOREIGN_RULE));
    assert!(status.message.contains("theirs") && status.message.contains(ADOPT_RULE_ANNOTATION), "{}", status.message);
    // The annotation alone wakes it: the generation stays.
    rig.patch("web", json!({ "metadata": { "annotations": { ADOPT_RULE_ANNOTATION: "true" } } })).await;
    rig.settle("web").await;
    assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.changes().len(), 2);
    assert_eq!(rig.changes()[0], Change::Adopt { rule: "theirs".into() });
    assert_eq!(rig.router.weights("prod/web"), held("a:80 b:20"));
}

#[tokio::test]
async fn deletion_removes_the_rule_or_leaves_it_as_the_policy_says() {
    for (policy, left) in [("Delete", 0), ("Retain", 1)] {
        let rig = Rig::<Alb>::new();
        let mut object = alb("web", 10, "a:100");
        object["spec"]["deletionPolicy"] = json!(policy);
        rig.create(&object).await;
        rig.settle("web").await;
        let finalizers = rig.get("web").await.unwrap()["metadata"]["finalizers"].clone();
        assert_eq!(finalizers, if left == 0 { json!([ROUTE_FINALIZER]) } else { Value::Null });
        rig.backend.delete(&Kind::of::<Alb>(), &key("web"), &okra_provider::Deletion::default()).await.unwrap();
        rig.reconcile("web").await.unwrap();
        assert!(matches!(rig.get("web").await, Err(BackendError::NotFound { .. })));
        assert_eq!(rig.router.rules().len(), left, "{policy}");
    }
}

#[tokio::test]
async fn deletion_ends_in_time_though_the_cloud_is_away() {
    let rig = Rig::<Alb>::new();
    let mut object = alb("web", 10, "a:100");
    object["spec"]["deletionPolicy"] = json!("Delete");
    rig.create(&object).await;
    rig.settle("web").await;
    rig.events.take();
    rig.backend.delete(&Kind::of::<Alb>(), &key("web"), &okra_provider::Deletion::default()).await.unwrap();
    let began = rig.clock.now();
    while rig.get("web").await.is_ok() {
        assert!(rig.clock.now() < began + SignedDuration::from_secs(30));
        rig.fault(RouterVerb::Observe, RouterErrorKind::Unreachable, false);
        let next = rig.reconcile("web").await.expect("waiting is no error");
        if let Some(at) = next.wake_at {
            rig.clock.set(at);
        }
    }
    assert_eq!(rig.reasons().last().map(String::as_str), Some("RuleNotRemoved"));
    assert_eq!(rig.router.rules().len(), 1);
}

#[tokio::test]
async fn of_two_claims_the_older_one_keeps_the_rule() {
    let rig = Rig::<Alb>::new();
    rig.create(&alb("zebra", 10, "a:100")).await;
    rig.advance(1);
    rig.create(&alb("ant", 10, "b:100")).await;
    rig.reconcile("ant").await.unwrap();
    let status = rig.status("ant").await;
    assert_eq!((status.outcome, ready(&status)), (Some(RouteOutcome::Refused), reason::RULE_TAKEN));
    assert!(status.message.contains("prod/zebra"), "{}", status.message);
    rig.settle("zebra").await;
    assert_eq!(rig.status("zebra").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.router.rules().len(), 1);
    // The older one goes elsewhere: that wakes the one that was refused.
    rig.patch("zebra", json!({ "spec": { "listener": { "rule": { "priority": 11 } } } })).await;
    rig.settle("zebra").await;
    rig.caught_up().await;
    let changed = Changed { kind: Kind::of::<Alb>(), key: key("zebra") };
    assert_eq!(rig.controller.wakes(&changed), [key("ant"), key("zebra")]);
    rig.settle("ant").await;
    assert_eq!(rig.status("ant").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.router.weights("prod/ant"), held("b:100"));
}

#[tokio::test]
async fn a_bad_spec_is_said_and_mended_by_a_change() {
    let rig = Rig::<Alb>::new();
    rig.create(&alb("web", 0, "a:0")).await;
    assert_eq!(rig.reconcile("web").await.unwrap(), Next::IDLE);
    let status = rig.status("web").await;
    assert_eq!((status.outcome, ready(&status)), (Some(RouteOutcome::Refused), reason::INVALID_SPEC));
    assert!(status.message.contains("spec.listener.rule.priority: 0 is not between 1 and 50000"), "{}", status.message);
    assert!(status.message.contains("all weights are 0"), "{}", status.message);
    assert!(!condition::is_true(&status.conditions, condition::VALID));
    rig.patch("web", json!({ "spec": { "listener": { "rule": { "priority": 10 } } } })).await;
    rig.shift("web", "a:1").await;
    rig.settle("web").await;
    let status = rig.status("web").await;
    assert_eq!(status.outcome, Some(RouteOutcome::Verified));
    assert!(condition::is_true(&status.conditions, condition::VALID));
}

#[tokio::test]
async fn an_object_that_does_not_parse_is_said_so_and_stops_no_other() {
    let rig = Rig::<Alb>::new();
    let mut bad = alb("bad", 10, "a:1");
    bad["spec"]["listener"]["rule"]["priority"] = json!("ten");
    rig.create(&bad).await;
    rig.create(&alb("good", 11, "a:1")).await;
    for _ in 0..2 {
        rig.reconcile("bad").await.unwrap();
    }
    let object = rig.get("bad").await.unwrap();
    assert_eq!(object["status"]["conditions"][0]["reason"], json!("Malformed"));
    assert_eq!(object["spec"]["listener"]["rule"]["priority"], json!("ten"));
    rig.reconcile("good").await.unwrap();
    assert_eq!(rig.status("good").await.outcome, Some(RouteOutcome::Verified));
}

#[tokio::test]
async fn a_failing_router_is_said_once_and_the_error_goes_to_the_queue() {
    for (kind, outcome) in [
        (RouterErrorKind::Unreachable, RouteOutcome::NotYet),
        (RouterErrorKind::Throttled, RouteOutcome::NotYet),
        (RouterErrorKind::Denied, RouteOutcome::Refused),
        (RouterErrorKind::ListenerNotFound, RouteOutcome::Refused),
    ] {
        let rig = Rig::<Alb>::new();
        rig.create(&alb("web", 10, "a:100")).await;
        rig.fault(RouterVerb::Observe, kind, false);
        let error = rig.reconcile("web").await.unwrap_err();
        assert_eq!(error.message, "the test says no");
        let first = rig.get("web").await.unwrap();
        let status = rig.status("web").await;
        assert_eq!(status.outcome, Some(outcome));
        assert!(status.message.contains("the test says no"));
        rig.advance(30);
        let error = RouterError::new(kind, "Test", "the test says no, request 2");
        rig.router.inject(RouterFault { verb: RouterVerb::Observe, nth: 1, error, after_effect: false });
        rig.reconcile("web").await.unwrap_err();
        assert_eq!(rig.get("web").await.unwrap(), first, "{kind:?}");
        rig.settle("web").await;
        assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    }
    let rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100")).await;
    rig.fault(RouterVerb::Observe, RouterErrorKind::NotLeader, false);
    assert_eq!(rig.reconcile("web").await.unwrap_err().category, "NotLeader");
    assert_eq!(rig.status("web").await, RouteStatus::default(), "who does not lead writes nothing");
}

#[tokio::test]
async fn a_raise_waits_for_health_and_the_status_counts_it() {
    let rig = Rig::<Alb>::new();
    rig.create(&alb("web", 10, "a:100 b:0")).await;
    rig.settle("web").await;
    // What was read of its health has grown old.
    rig.advance(16);
    rig.router.set_health(&arn("b"), GroupHealth { healthy: 0, total: 3, gone: false });
    rig.shift("web", "a:80 b:20").await;
    let next = rig.reconcile("web").await.unwrap();
    assert_eq!(next.wake_at, Some(rig.clock.now() + SignedDuration::from_secs(2)));
    let status = rig.status("web").await;
    assert_eq!(status.message, "waits for health: b: 0 of 3 healthy, needs 1");
    assert_eq!(ready(&status), reason::WAITING_FOR_HEALTH);
    assert_eq!(rig.router.weights("prod/web"), held("a:100 b:0"));
    rig.router.set_health(&arn("b"), GroupHealth { healthy: 1, total: 3, gone: false });
    rig.advance(2);
    rig.settle("web").await;
    assert_eq!(rig.router.weights("prod/web"), held("a:80 b:20"));
    let row = rig.status("web").await.health.into_iter().find(|row| row.name == "b").unwrap();
    assert_eq!((row.healthy, row.total), (1, 3));
}

#[tokio::test]
async fn one_answer_that_a_group_is_gone_is_not_believed() {
    let rig = Rig::<Alb>::new();
    let mut object = alb("web", 10, "a:100 b:0");
    object["spec"]["healthOf"] = json!(["b"]);
    rig.create(&object).await;
    rig.fault(RouterVerb::Health, RouterErrorKind::GroupNotFound, false);
    rig.reconcile("web").await.unwrap();
    assert_eq!(rig.router.weights("prod/web"), held("a:100 b:0"));
    rig.settle("web").await;
    rig.router.set_health(&arn("b"), GroupHealth { gone: true, ..GroupHealth::default() });
    rig.advance(16);
    rig.shift("web", "a:80 b:20").await;
    rig.settle("web").await;
    let gone = |row: &RouteHealth| row.name == "b" && row.gone;
    assert!(rig.status("web").await.health.iter().any(gone), "who says it twice is believed");
}

#[tokio::test]
async fn health_that_cannot_be_read_does_not_take_a_verified_answer_back() {
    let rig = Rig::<Alb>::new();
    let mut object = alb("web", 10, "a:100 b:0");
    object["spec"]["healthOf"] = json!(["b"]);
    rig.create(&object).await;
    rig.fault(RouterVerb::Health, RouterErrorKind::Throttled, false);
    // The first reading is for the new rule; the second, after it was verified, fails.
    rig.router.inject(RouterFault {
        verb: RouterVerb::Health,
        nth: 3,
        error: RouterError::new(RouterErrorKind::Throttled, "Test", "slow down"),
        after_effect: false,
    });
    rig.reconcile("web").await.unwrap_err();
    rig.reconcile("web").await.unwrap_err();
    let status = rig.status("web").await;
    assert_eq!((status.outcome, ready(&status)), (Some(RouteOutcome::Verified), reason::UNREACHABLE));
    assert_eq!(status.weights.len(), 2);
}

#[tokio::test]
async fn without_a_router_the_object_is_refused_and_can_still_be_deleted() {
    let rig = Rig::<Route>::with_router(false);
    rig.create(&json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Route",
        "metadata": { "namespace": "prod", "name": "web", "finalizers": [ROUTE_FINALIZER] },
        "spec": {
            "local": { "listen": "127.0.0.1:8080" },
            "deletionPolicy": "Delete",
            "targetGroups": [{ "name": "a", "url": "http://127.0.0.1:9", "weight": 1 }],
        },
    }))
    .await;
    rig.reconcile("web").await.unwrap();
    let status = rig.status("web").await;
    assert_eq!((status.outcome, ready(&status)), (Some(RouteOutcome::Refused), reason::UNSUPPORTED_INGRESS));
    rig.backend.delete(&Kind::of::<Route>(), &key("web"), &okra_provider::Deletion::default()).await.unwrap();
    rig.reconcile("web").await.unwrap();
    assert!(rig.get("web").await.is_err());
}

#[tokio::test]
async fn a_route_of_the_embedded_balancer_takes_the_same_path() {
    let rig = Rig::<Route>::new();
    let group =
        |name: &str, weight: i32| json!({ "name": name, "url": format!("http://127.0.0.1/{name}"), "weight": weight });
    rig.create(&json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Route",
        "metadata": { "namespace": "prod", "name": "web" },
        "spec": { "local": { "listen": "127.0.0.1:8080" }, "targetGroups": [group("a", 100)] },
    }))
    .await;
    rig.settle("web").await;
    rig.patch("web", json!({ "spec": { "targetGroups": [group("b", 100)] } })).await;
    rig.settle("web").await;
    assert_eq!(rig.status("web").await.outcome, Some(RouteOutcome::Verified));
    assert_eq!(rig.changes().len(), 3, "created, raised with the old one at 0, old one detached");
    assert_eq!(rig.router.weights("prod/web"), BTreeMap::from([("http://127.0.0.1/b".to_owned(), 100)]));
}

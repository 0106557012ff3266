use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use okra_controller::runtime::MonotonicClock;
use okra_provider::{
    Backend, BackendError, Clock, Deletion, Key, Kind, Leadership as _, WatchEvent,
    testing::{CallVerb, Fault, MemoryBackend, SeededEntropy},
};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::*;

const LEASE: Duration = Duration::from_secs(15);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn record(holder: &str, duration: u64) -> LeaseRecord {
    LeaseRecord { holder: holder.into(), duration: secs(duration), ..LeaseRecord::default() }
}

#[test]
fn decides_by_the_holder_and_by_its_own_clock() {
    let table = [
        ("no lease", None, 100, 100, Verdict::Acquire),
        ("given up", Some(record("", 15)), 100, 100, Verdict::Acquire),
        ("ours", Some(record("me", 15)), 100, 101, Verdict::Renew { at: secs(105) }),
        ("ours, late", Some(record("me", 15)), 100, 200, Verdict::Renew { at: secs(105) }),
        ("theirs, just seen", Some(record("you", 15)), 100, 100, Verdict::Wait { until: secs(115) }),
        ("theirs, nearly over", Some(record("you", 15)), 100, 114, Verdict::Wait { until: secs(115) }),
        ("theirs, over", Some(record("you", 15)), 100, 115, Verdict::Acquire),
        ("theirs, for as long as they say", Some(record("you", 60)), 100, 159, Verdict::Wait { until: secs(160) }),
    ];
    for (name, record, observed_at, now, expected) in table {
        assert_eq!(evaluate(record.as_ref(), "me", secs(observed_at), secs(now)), expected, "{name}");
    }
}

#[test]
fn times_of_other_clocks_count_for_nothing() {
    for renewed in ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let mut observation = Observation::default();
        let mut theirs = LeaseRecord { renewed: Some(renewed.parse().unwrap()), ..record("you", 15) };
        observation.observe(Some(theirs.clone()), secs(100));
        observation.observe(Some(theirs.clone()), secs(110));
        assert_eq!(
            observation.evaluate("me", secs(114)),
            Verdict::Wait { until: secs(115) },
            "an old sight of {renewed}"
        );
        assert_eq!(observation.evaluate("me", secs(115)), Verdict::Acquire, "{renewed}");
        theirs.renewed = Some(theirs.renewed.unwrap() - jiff::SignedDuration::from_micros(1));
        observation.observe(Some(theirs), secs(115));
        assert_eq!(observation.evaluate("me", secs(116)), Verdict::Wait { until: secs(130) }, "it changed: it lives");
    }
}

#[test]
fn a_record_says_when_it_went_to_another() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let first = LeaseRecord::held_by(None, "a", LEASE, at(100));
    assert_eq!((first.transitions, first.acquired, first.renewed), (0, Some(at(100)), Some(at(100))));
    let renewed = LeaseRecord::held_by(Some(&first), "a", LEASE, at(105));
    assert_eq!((renewed.transitions, renewed.acquired, renewed.renewed), (0, Some(at(100)), Some(at(105))));
    let taken = LeaseRecord::held_by(Some(&renewed), "b", LEASE, at(130));
    assert_eq!((taken.transitions, taken.acquired), (1, Some(at(130))));
    let set_back = LeaseRecord::held_by(Some(&taken), "b", LEASE, at(7));
    assert!(set_back.renewed > taken.renewed, "a renewal can be seen even when the clock was set back");
}

#[test]
fn a_record_survives_its_lease_and_bad_ones_are_read_as_well_as_possible() {
    let key = Key::new("default", "okra");
    let record = LeaseRecord::held_by(None, "me", Duration::from_millis(1500), Timestamp::UNIX_EPOCH);
    let lease: Lease = serde_json::from_value(record.write(None, &key).unwrap()).unwrap();
    assert_eq!(LeaseRecord::of(&lease), LeaseRecord { duration: secs(2), ..record }, "whole seconds, rounded up");

    for (seconds, expected) in [(-1, 15), (0, 15), (7, 7)] {
        let mut lease = lease.clone();
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(seconds);
        assert_eq!(LeaseRecord::of(&lease).duration, secs(expected), "{seconds}");
    }
    assert_eq!(LeaseRecord::of(&Lease::default()).holder, "", "a lease without a spec is free");
}

/// The paused clock of the test's runtime, as both clocks.
struct TestClock(Instant);

impl MonotonicClock for TestClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.0.elapsed()
    }
}

/// A way to the lease that takes its time, and that can be cut: what is sent then is lost, and nothing comes back.
struct Link {
    memory: Arc<MemoryBackend>,
    delay: Duration,
    cut: AtomicBool,
}

impl Link {
    async fn pass(&self) {
        tokio::time::sleep(self.delay).await;
        if self.cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Backend for Link {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        self.memory.list(kind, namespace).await
    }
    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent> {
        self.memory.watch(kind, namespace)
    }
    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        self.pass().await;
        let answer = self.memory.get(kind, key).await;
        self.pass().await;
        answer
    }
    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.pass().await;
        let answer = self.memory.create(kind, object).await;
        self.pass().await;
        answer
    }
    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.pass().await;
        let answer = self.memory.update(kind, object).await;
        self.pass().await;
        answer
    }
    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.memory.update_status(kind, object).await
    }
    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        self.memory.merge_patch(kind, key, patch).await
    }
    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        self.memory.delete(kind, key, deletion).await
    }
}

struct Contender {
    link: Arc<Link>,
    leadership: LeaseLeadership,
    state: watch::Receiver<LeaderState>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), LeaseLost>>,
}

impl Contender {
    fn leads(&self) -> bool {
        self.leadership.permits(Duration::ZERO).is_ok()
    }
}

struct Rig {
    memory: Arc<MemoryBackend>,
    clock: Arc<TestClock>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(TestClock(Instant::now()));
        Self { memory: Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1)))), clock }
    }

    fn contender(&self, identity: &str) -> Contender {
        self.slow_contender(identity, Duration::from_millis(5))
    }

    fn slow_contender(&self, identity: &str, delay: Duration) -> Contender {
        let link = Arc::new(Link { memory: self.memory.clone(), delay, cut: AtomicBool::new(false) });
        let config = ElectorConfig { key: key(), identity: identity.into(), duration: LEASE };
        let (hold, (sender, state)) = (Arc::new(Hold::default()), watch::channel(LeaderState::default()));
        let elector = Elector::new(config, link.clone(), self.clock.clone(), self.clock.clone(), hold.clone(), sender);
        let stop = CancellationToken::new();
        let task = tokio::spawn(elector.run(stop.clone()));
        Contender { link, leadership: LeaseLeadership::new(hold, self.clock.clone()), state, stop, task }
    }

    async fn lease(&self) -> LeaseRecord {
        let value = self.memory.get(&Kind::of::<Lease>(), &key()).await.unwrap();
        LeaseRecord::of(&serde_json::from_value(value).unwrap())
    }

    async fn patch(&self, patch: Value) {
        self.memory.merge_patch(&Kind::of::<Lease>(), &key(), &patch).await.unwrap();
    }
}

fn key() -> Key {
    Key::new("default", "okra")
}

/// Lets time pass in small steps until a condition holds, and asserts at each that no two contenders lead.
async fn until(contenders: &[&Contender], limit: Duration, what: &str, done: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(7)).await;
        assert!(contenders.iter().filter(|contender| contender.leads()).count() <= 1, "two lead: {what}");
    }
    start.elapsed()
}

/// How an elector ended. It must: virtual time would else run on for ever.
async fn ended(task: JoinHandle<Result<(), LeaseLost>>) -> Result<(), LeaseLost> {
    tokio::time::timeout(secs(600), task).await.unwrap().unwrap()
}

async fn pass(contenders: &[&Contender], time: Duration) {
    let end = Instant::now() + time;
    until(contenders, time + LEASE, "time passes", || Instant::now() >= end).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_that_see_a_free_lease_one_gets_it() {
    let rig = Rig::new();
    let (a, b) = (rig.contender("a"), rig.contender("b"));
    until(&[&a, &b], secs(3), "one leads", || a.leads() || b.leads()).await;
    let first = a.leads();
    pass(&[&a, &b], secs(300)).await;
    assert_eq!((a.leads(), b.leads()), (first, !first), "it stays with whom it is");
    let (leader, follower) = if first { (&a, &b) } else { (&b, &a) };
    assert_eq!(*leader.state.borrow(), LeaderState::Leader);
    assert_eq!(*follower.state.borrow(), LeaderState::Follower(if first { "a" } else { "b" }.into()));
    assert_eq!(rig.lease().await.transitions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_hands_over_within_two_seconds() {
    let rig = Rig::new();
    let a = rig.contender("a");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    let b = rig.contender("b");
    pass(&[&a, &b], secs(20)).await;
    a.stop.cancel();
    let took = until(&[&a, &b], secs(2), "b leads", || b.leads()).await;
    assert!(took < secs(2), "{took:?}");
    assert_eq!(ended(a.task).await, Ok(()));
    assert_eq!((rig.lease().await.holder.as_str(), rig.lease().await.transitions), ("b", 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_when_its_lease_is_over() {
    let rig = Rig::new();
    let a = rig.contender("a");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    let b = rig.contender("b");
    pass(&[&a, &b], secs(20)).await;
    a.task.abort();
    let took = until(&[&b], secs(20), "b leads", || b.leads()).await;
    assert!((secs(9)..secs(17)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let rig = Rig::new();
    let a = rig.contender("a");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    let b = rig.contender("b");
    pass(&[&a, &b], secs(21)).await;
    a.link.cut.store(true, Ordering::SeqCst);
    until(&[&a, &b], secs(20), "b leads", || b.leads()).await;
    let lost = ended(a.task).await.unwrap_err();
    assert!(lost.to_string().contains("lost the lease default/okra"), "{lost}");
    assert_eq!(*a.state.borrow(), LeaderState::Lost);
    assert!(a.leadership.permits(Duration::ZERO).is_err());
}

/// The leader's time counts from before it sent its renewal: an answer that takes long must not stretch it.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_does_not_stretch_the_lease() {
    let rig = Rig::new();
    let a = rig.slow_contender("a", Duration::from_millis(2200));
    until(&[&a], secs(30), "a leads", || a.leads()).await;
    let b = rig.contender("b");
    let renewals = || rig.memory.calls().iter().filter(|call| call.verb == CallVerb::Update).count();
    let before = renewals();
    until(&[&a, &b], secs(30), "a renews", || renewals() > before).await;
    // The answer to this renewal still comes through, and nothing after it.
    pass(&[&a, &b], Duration::from_millis(2300)).await;
    a.link.cut.store(true, Ordering::SeqCst);
    until(&[&a, &b], secs(20), "b leads", || b.leads()).await;
}

/// A renewal that meets another's edit is three calls: together they take longer than the lease lasts.
#[tokio::test(start_paused = true)]
async fn a_slow_renewal_is_given_up_when_the_lease_ends() {
    let rig = Rig::new();
    let a = rig.slow_contender("a", Duration::from_millis(2200));
    until(&[&a], secs(30), "a leads", || a.leads()).await;
    rig.patch(serde_json::json!({"metadata": {"labels": {"team": "traffic"}}})).await;
    until(&[&a], LEASE, "the lease ends", || !a.leads()).await;
    let took = until(&[&a], secs(10), "a gives up", || *a.state.borrow() == LeaderState::Lost).await;
    assert!(took < Duration::from_millis(50), "{took:?} after the end of the lease");
    assert!(ended(a.task).await.is_err());
}

/// Contenders with slow ways, cut and mended again and again, started anew as a supervisor would: at no time two lead.
#[tokio::test(start_paused = true)]
async fn no_two_lead_however_the_ways_break() {
    let rig = Rig::new();
    let entropy = SeededEntropy::new(7);
    let mut contenders: BTreeMap<u64, Contender> = BTreeMap::new();
    let mut leaders = std::collections::BTreeSet::new();
    let mut names = 0_u64..;
    let draw = Mutex::new(entropy);
    let below = |bound| okra_provider::Entropy::below(&*draw.lock(), bound);
    for _ in 0..250 {
        contenders.retain(|_, contender| !contender.task.is_finished());
        while contenders.len() < 3 {
            let name = names.next().unwrap();
            contenders.insert(name, rig.slow_contender(&name.to_string(), Duration::from_millis(below(900))));
        }
        for contender in contenders.values() {
            contender.link.cut.store(below(3) == 0, Ordering::SeqCst);
        }
        if below(10) == 0 {
            contenders.values().next().unwrap().stop.cancel();
        }
        let all: Vec<&Contender> = contenders.values().collect();
        pass(&all, Duration::from_millis(500 + below(12_000))).await;
        leaders.extend(contenders.iter().filter(|(_, contender)| contender.leads()).map(|(name, _)| *name));
    }
    assert!(leaders.len() > 12, "leadership moved: {leaders:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_permitted_only_when_it_ends_within_the_lease() {
    let rig = Rig::new();
    let a = rig.contender("a");
    assert!(a.leadership.permits(Duration::ZERO).is_err(), "not before the lease is held");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    assert!(a.leadership.permits(secs(14)).is_ok());
    assert!(a.leadership.permits(LEASE).is_err());
    a.link.cut.store(true, Ordering::SeqCst);
    pass(&[&a], secs(12)).await;
    assert!(a.leadership.permits(secs(1)).is_ok());
    assert!(a.leadership.permits(secs(4)).is_err());
    pass(&[&a], secs(4)).await;
    assert!(a.leadership.permits(Duration::ZERO).is_err());
}

/// The answer to a write is lost: the lease is ours all the same, and nobody waits for it to expire.
#[tokio::test(start_paused = true)]
async fn lost_answers_are_seen_through() {
    let rig = Rig::new();
    rig.memory.inject(Fault::lost_answer(CallVerb::Create, 1));
    let a = rig.contender("a");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    rig.memory.inject(Fault::lost_answer(CallVerb::Update, 1));
    rig.memory.inject(Fault::lost_answer(CallVerb::Update, 3));
    pass(&[&a], secs(60)).await;
    assert!(a.leads());
    // The renewal under way when it stops loses its answer too.
    rig.memory.inject(Fault::lost_answer(CallVerb::Update, 1));
    until(&[&a], secs(10), "the answer is lost", || {
        rig.memory.calls().iter().filter(|call| call.verb == CallVerb::Update).count() > 14 || !a.leads()
    })
    .await;
    a.stop.cancel();
    assert_eq!(ended(a.task).await, Ok(()));
    assert_eq!(rig.lease().await.holder, "");
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_something_else_does_not_cost_the_lease() {
    let rig = Rig::new();
    let a = rig.contender("a");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    rig.patch(serde_json::json!({"metadata": {"labels": {"team": "traffic"}}})).await;
    pass(&[&a], secs(30)).await;
    assert!(a.leads());
    let value = rig.memory.get(&Kind::of::<Lease>(), &key()).await.unwrap();
    assert_eq!(value["metadata"]["labels"]["team"], "traffic", "what others wrote stays");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_taken_away_is_lost_and_left_alone() {
    for (patch, reason) in [
        (Some(serde_json::json!({"spec": {"holderIdentity": "thief"}})), "thief has it"),
        (Some(serde_json::json!({"spec": {"holderIdentity": ""}})), "somebody emptied it"),
        (None, "somebody deleted it"),
    ] {
        let rig = Rig::new();
        let a = rig.contender("a");
        until(&[&a], secs(3), "a leads", || a.leads()).await;
        match patch {
            Some(patch) => rig.patch(patch).await,
            None => rig.memory.delete(&Kind::of::<Lease>(), &key(), &Deletion::default()).await.unwrap(),
        }
        let error = ended(a.task).await.unwrap_err();
        assert_eq!(error.reason, reason);
        assert!(a.leadership.permits(Duration::ZERO).is_err());
        if reason.starts_with("thief") {
            assert_eq!(rig.lease().await.holder, "thief");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_stops_touches_nothing() {
    let rig = Rig::new();
    let a = rig.contender("a");
    until(&[&a], secs(3), "a leads", || a.leads()).await;
    let b = rig.contender("b");
    pass(&[&a, &b], secs(3)).await;
    b.stop.cancel();
    assert_eq!(ended(b.task).await, Ok(()));
    assert_eq!(rig.lease().await.holder, "a");
    let outage = BackendError::Unreachable("connection refused".into());
    rig.memory.inject(Fault::nth(CallVerb::Update, 1, outage));
    pass(&[&a], secs(30)).await;
    assert!(a.leads(), "one failed renewal is made good by the next");
}

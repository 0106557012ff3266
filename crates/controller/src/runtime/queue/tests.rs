use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use okra_provider::{Clock, Entropy};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::Instant,
};

use super::*;
use crate::runtime::MonotonicClock;

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

/// Always the longest wait.
struct Highest;

impl Entropy for Highest {
    fn below(&self, bound: u64) -> u64 {
        bound.saturating_sub(1)
    }
}

type Answer = Result<Next, ReconcileError>;
type Behaviour = dyn Fn(String, usize) -> BoxFuture<'static, Answer> + Send + Sync;

/// Does what the test says for the n-th run of a name, and keeps what was called when.
struct Fake {
    behaviour: Box<Behaviour>,
    all: Mutex<Vec<&'static str>>,
    started: Mutex<Vec<(String, Duration)>>,
    active: Mutex<Vec<String>>,
    most_active: AtomicUsize,
    origin: Instant,
    started_one: Notify,
}

impl Fake {
    fn starts(&self, name: &str) -> Vec<u128> {
        let started = self.started.lock();
        started.iter().filter(|(key, _)| key == name).map(|(_, at)| at.as_millis()).collect()
    }

    /// Waits until a name was started so many times.
    async fn started(&self, name: &str, times: usize) {
        let wait = async {
            loop {
                let notified = self.started_one.notified();
                if self.starts(name).len() >= times {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(Duration::from_hours(1), wait).await.unwrap();
    }
}

#[async_trait]
impl Reconciler for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![kind("Cell")]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        assert_ne!(changed.key.name, "poison", "a change that the controller cannot take");
        vec![changed.key.clone()]
    }

    fn all(&self) -> Vec<Key> {
        self.all.lock().iter().map(|name| key(name)).collect()
    }

    async fn reconcile(&self, key: &Key) -> Answer {
        let name = key.name.clone();
        {
            let mut active = self.active.lock();
            assert!(!active.contains(&name), "{name} runs twice at once");
            active.push(name.clone());
            self.most_active.fetch_max(active.len(), Ordering::SeqCst);
        }
        let nth = self.starts(&name).len();
        self.started.lock().push((name.clone(), self.origin.elapsed()));
        self.started_one.notify_waiters();
        let _leave = Leave { fake: self, name: name.clone() };
        (self.behaviour)(name, nth).await
    }
}

struct Leave<'a> {
    fake: &'a Fake,
    name: String,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.fake.active.lock().retain(|name| *name != self.name);
    }
}

fn kind(name: &'static str) -> Kind {
    Kind { group: "".into(), version: "v1".into(), kind: name.into(), plural: "".into() }
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn error(disposition: Disposition) -> ReconcileError {
    ReconcileError { category: "Test", disposition, message: "it does not work".into() }
}

struct Rig {
    fake: Arc<Fake>,
    changes: mpsc::UnboundedSender<Changed>,
    stop: CancellationToken,
    queue: JoinHandle<Stopped>,
    registry: Registry,
}

impl Rig {
    fn start<F>(all: &[&'static str], limits: QueueLimits, behaviour: F) -> Self
    where
        F: Fn(String, usize) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    {
        let origin = Instant::now();
        let fake = Arc::new(Fake {
            behaviour: Box::new(behaviour),
            all: Mutex::new(all.to_vec()),
            started: Mutex::default(),
            active: Mutex::default(),
            most_active: AtomicUsize::new(0),
            origin,
            started_one: Notify::new(),
        });
        let clock = Arc::new(TestClock(origin));
        let ports = QueuePorts { clock: clock.clone(), monotonic: clock, entropy: Arc::new(Highest) };
        let (changes, receiver) = mpsc::unbounded_channel();
        let changed = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let mut registry = Registry::default();
        let metrics = RuntimeMetrics::register(&mut registry);
        let queue = Queue::new(fake.clone(), changed.boxed(), ports, limits, metrics);
        let stop = CancellationToken::new();
        let queue = tokio::spawn(queue.run(stop.clone()));
        Self { fake, changes, stop, queue, registry }
    }

    fn change(&self, name: &str) {
        self.changes.send(Changed { kind: kind("Cell"), key: key(name) }).unwrap();
    }

    async fn stop(self) -> Stopped {
        self.stop.cancel();
        self.queue.await.unwrap()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn limits() -> QueueLimits {
    QueueLimits { resync: Duration::from_secs(100_000), ..QueueLimits::default() }
}

fn idle() -> BoxFuture<'static, Answer> {
    Box::pin(async { Ok(Next::IDLE) })
}

fn wait_secs(seconds: u64) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(Next::IDLE)
    })
}

/// Every object is looked at once at the start, then only what changes, and only in the kinds that count.
#[tokio::test(start_paused = true)]
async fn runs_all_at_the_start_and_then_what_changes() {
    let rig = Rig::start(&["a", "b"], limits(), |_, _| idle());
    rig.fake.started("a", 1).await;
    rig.fake.started("b", 1).await;
    rig.changes.send(Changed { kind: kind("Secret"), key: key("a") }).unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    rig.change("a");
    rig.fake.started("a", 2).await;
    assert_eq!((rig.fake.starts("a"), rig.fake.starts("b")), (vec![0, 100_000], vec![0]));
    assert_eq!(rig.stop().await, Stopped { cut_off: 0 });
}

/// A change while an object is reconciled leads to exactly one more run, after the one under way.
#[tokio::test(start_paused = true)]
async fn a_wake_during_a_run_runs_it_again_after() {
    let rig = Rig::start(&["a"], limits(), |_, nth| if nth == 0 { wait_secs(10) } else { idle() });
    rig.fake.started("a", 1).await;
    rig.change("a");
    rig.change("a");
    rig.fake.started("a", 2).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(rig.fake.starts("a"), [0, 10_000]);
    rig.stop().await;
}

/// A controller that asks to look again is called then, by the wall clock.
#[tokio::test(start_paused = true)]
async fn looks_again_when_asked_to() {
    let rig = Rig::start(&["a"], limits(), |_, nth| {
        let next = if nth == 0 { Next::at(Timestamp::UNIX_EPOCH + Duration::from_secs(42)) } else { Next::IDLE };
        Box::pin(async move { Ok(next) })
    });
    rig.fake.started("a", 2).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(rig.fake.starts("a"), [0, 42_000]);
    rig.stop().await;
}

/// Failures wait longer each time; a success starts the waits anew; a change is tried at once.
#[tokio::test(start_paused = true)]
async fn backoff_grows_resets_and_yields_to_a_change() {
    let rig = Rig::start(&["a"], limits(), |_, nth| {
        Box::pin(async move { if nth == 3 { Ok(Next::IDLE) } else { Err(error(Disposition::Transient)) } })
    });
    rig.fake.started("a", 4).await;
    assert_eq!(rig.fake.starts("a"), [0, 1_000, 3_000, 7_000]);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(rig.fake.starts("a").len(), 4, "a success is not repeated");
    rig.change("a");
    rig.fake.started("a", 6).await;
    let starts = rig.fake.starts("a");
    assert_eq!(starts[5] - starts[4], 1_000, "the first wait again");
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.change("a");
    rig.fake.started("a", 7).await;
    let starts = rig.fake.starts("a");
    assert_eq!(starts[6] - starts[5], 500, "a change is not kept waiting");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let metrics = rig.metrics();
    assert!(metrics.contains(r#"okra_reconcile_total{controller="fake",outcome="transient"} 6"#), "{metrics}");
    assert!(metrics.contains(r#"okra_reconcile_total{controller="fake",outcome="success"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"okra_reconcile_errors_total{controller="fake",category="Test"} 6"#), "{metrics}");
    rig.stop().await;
}

/// A panic in one object is a failure of that object: it waits a minute, and no other waits for it.
#[tokio::test(start_paused = true)]
async fn a_panic_stops_nobody_else() {
    let one_at_a_time = QueueLimits { concurrency: 1, ..limits() };
    let rig = Rig::start(&["bad", "good"], one_at_a_time, |name, _| {
        assert_ne!(name, "bad", "a bug");
        idle()
    });
    rig.fake.started("bad", 2).await;
    assert_eq!((rig.fake.starts("bad"), rig.fake.starts("good")), (vec![0, 60_000], vec![0]));
    rig.change("poison");
    rig.change("good");
    rig.fake.started("good", 2).await;
    let metrics = rig.metrics();
    assert!(metrics.contains(r#"okra_reconcile_panics_total{controller="fake"} 3"#), "{metrics}");
    assert!(metrics.contains(r#"okra_reconcile_total{controller="fake",outcome="panic"} 2"#), "{metrics}");
    rig.stop().await;
}

/// A reconcile that hangs is cut off at its deadline and tried again; others run beside it.
#[tokio::test(start_paused = true)]
async fn a_hang_ends_at_the_deadline() {
    let rig = Rig::start(&["hangs", "good"], limits(), |name, _| {
        if name == "hangs" { Box::pin(std::future::pending()) } else { idle() }
    });
    rig.fake.started("hangs", 2).await;
    assert_eq!((rig.fake.starts("hangs"), rig.fake.starts("good")), (vec![0, 121_000], vec![0]));
    let metrics = rig.metrics();
    assert!(metrics.contains(r#"okra_reconcile_total{controller="fake",outcome="deadline"} 1"#), "{metrics}");
    assert_eq!(rig.stop().await, Stopped { cut_off: 1 });
}

/// Never more than the bound at once, however many are due.
#[tokio::test(start_paused = true)]
async fn concurrency_is_bounded() {
    const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
    let rig = Rig::start(&NAMES, QueueLimits { concurrency: 3, ..limits() }, |_, _| wait_secs(1));
    for name in NAMES {
        rig.fake.started(name, 1).await;
    }
    assert_eq!(rig.fake.most_active.load(Ordering::SeqCst), 3);
    rig.stop().await;
}

/// Without any change every object is looked at again at each resync, and new ones are found.
#[tokio::test(start_paused = true)]
async fn resync_finds_what_no_change_told_of() {
    let resync = QueueLimits { resync: Duration::from_mins(10), ..limits() };
    let rig = Rig::start(&["a"], resync, |_, _| idle());
    rig.fake.started("a", 1).await;
    rig.fake.all.lock().push("b");
    rig.fake.started("a", 2).await;
    rig.fake.started("b", 1).await;
    // The highest draw: 110 % of the period, and the far end of the tenth over which the objects are spread.
    assert_eq!((rig.fake.starts("a"), rig.fake.starts("b")), (vec![0, 720_000], vec![720_000]));
    rig.stop().await;
}

/// A stop takes nothing new and waits for what is under way.
#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_is_under_way() {
    let rig = Rig::start(&["a"], limits(), |_, _| wait_secs(10));
    rig.fake.started("a", 1).await;
    let fake = rig.fake.clone();
    rig.change("b");
    rig.change("a");
    rig.stop.cancel();
    let before = Instant::now();
    assert_eq!(rig.stop().await, Stopped { cut_off: 0 });
    assert_eq!(before.elapsed().as_secs(), 10);
    assert_eq!((fake.starts("a").len(), fake.starts("b").len()), (1, 0));
    assert!(fake.active.lock().is_empty());
}

/// What outlasts the grace period is cut off, and counted.
#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let rig = Rig::start(&["a"], limits(), |_, _| Box::pin(std::future::pending()));
    rig.fake.started("a", 1).await;
    let (fake, before) = (rig.fake.clone(), Instant::now());
    assert_eq!(rig.stop().await, Stopped { cut_off: 1 });
    assert_eq!(before.elapsed(), QueueLimits::default().grace);
    assert!(fake.active.lock().is_empty(), "it was dropped");
}

/// Dropping the queue (a lost lease) cuts off what is under way at once.
#[tokio::test(start_paused = true)]
async fn dropping_the_queue_cuts_off_its_work() {
    let rig = Rig::start(&["a"], limits(), |_, _| Box::pin(std::future::pending()));
    rig.fake.started("a", 1).await;
    rig.queue.abort();
    assert!(rig.queue.await.unwrap_err().is_cancelled());
    tokio::task::yield_now().await;
    assert!(rig.fake.active.lock().is_empty());
}

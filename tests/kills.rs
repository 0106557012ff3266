//! okrad is killed at every write of a rollout and of a roll-back, before the write is passed on and after it took
//! effect but before its answer, and started again: the end is as without a kill, the load balancer holds the same
//! weights in the same order, nothing is created twice, no request fails.
//!
//! The writes are not sampled: a run without a kill counts them, at the AWS front and at a proxy before the API server,
//! and each of them then has a run of its own for each side. Renewals of the lease are left out but for the first: they
//! come by the clock, so that they are no place in a rollout. How many events are told hangs on what okrad sees at once:
//! the last of them may not come in another run.
//!
//! The lease is 3 s, the shortest that okrad takes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]
#![allow(clippy::print_stdout, reason = "the number of kills is for the reader of a test run")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use okra_api::{Verb, cell_status::CellPhase};
use okra_testkit::{
    api_proxy::{ApiFault, ApiProxy, When},
    fault_plan::{FaultPlan, PlannedFault},
    front::{CallInfo, Moment},
    load::{Load, LoadOptions},
    scene::{Detour, EndState, Scene, V1, V2, WITHIN},
};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinSet, LocalSet},
};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const USER: &str = "okrad";
const CELL: &str = "web";
const SHARES: [u32; 1] = [50];
const BACK: [(&str, i64); 2] = [("web-1-v1", 100), ("web-1-v2", 0)];
/// As many okrads at once as two busy cores bear without losing a 3 s lease.
const AT_ONCE: usize = 6;
/// How often it is looked whether okrad ended by itself.
const REVIVE: Duration = Duration::from_secs(5);

/// A write, and the side of it on which okrad dies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    nth: u64,
    when: When,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} number {}", self.when, self.call, self.nth)
    }
}

/// Sees every write, and holds okrad at one of them.
struct Trap {
    target: Option<Point>,
    caught: watch::Sender<u32>,
    seen: Mutex<BTreeSet<Point>>,
    calls_of_aws: Mutex<BTreeMap<String, u64>>,
}

impl Trap {
    fn new(target: Option<Point>) -> Arc<Self> {
        Arc::new(Self { target, caught: watch::Sender::new(0), seen: Mutex::default(), calls_of_aws: Mutex::default() })
    }

    /// A held call never goes on: its caller dies.
    fn pass(&self, point: Point) -> BoxFuture<'static, ()> {
        let is_target = self.target.as_ref() == Some(&point);
        self.seen.lock().insert(point);
        if is_target {
            self.caught.send_modify(|kills| *kills += 1);
            return std::future::pending().boxed();
        }
        std::future::ready(()).boxed()
    }

    fn pass_aws(&self, moment: Moment, info: &CallInfo) -> BoxFuture<'static, ()> {
        if !info.is_write() {
            return std::future::ready(()).boxed();
        }
        let mut counts = self.calls_of_aws.lock();
        let nth = counts.entry(info.operation.clone()).or_default();
        let when = match moment {
            Moment::Before => {
                *nth += 1;
                When::Before
            }
            Moment::After => When::After,
        };
        let point = Point { call: info.operation.clone(), nth: *nth, when };
        drop(counts);
        self.pass(point)
    }

    /// The points of a run.
    fn points(&self) -> Vec<Point> {
        let renewal = |point: &Point| point.call == "PUT leases" && point.nth > 1;
        self.seen.lock().iter().filter(|point| !renewal(point)).cloned().collect()
    }
}

/// A scene with a trap in both of okrad's ways.
struct Case {
    scene: Scene,
    proxy: ApiProxy,
    trap: Arc<Trap>,
    caught: watch::Receiver<u32>,
}

impl Case {
    async fn new(name: &str, steps: &str, target: Option<Point>) -> Self {
        let mut scene = Scene::new(OKRAD, name).await;
        let proxy = ApiProxy::start(&scene.server).unwrap();
        let kubeconfig = Some(proxy.kubeconfig(USER).unwrap());
        scene.detour_okrad_as(USER, Detour { kubeconfig, ..Detour::default() });
        // What a rollout waits for must not hang on how fast a machine is.
        scene.front.set_initial_delay(Duration::ZERO);
        let trap = Trap::new(target);
        let case = Self { scene, proxy, caught: trap.caught.subscribe(), trap };
        case.scene.apply(&case.scene.cell_manifest(CELL, 1, steps)).await.unwrap();
        case
    }

    /// From now on writes count.
    fn arm(&self) {
        let (trap, namespace) = (self.trap.clone(), self.scene.namespace.clone());
        self.scene.front.on_call(move |moment, info| {
            if info.caller == namespace { trap.pass_aws(moment, info) } else { std::future::ready(()).boxed() }
        });
        let trap = self.trap.clone();
        self.proxy
            .on_write(Arc::new(move |write| trap.pass(Point { call: write.call, nth: write.nth, when: write.when })));
    }

    /// Waits for something, however often okrad has to be killed and started until then.
    async fn through<T>(&mut self, until: impl AsyncFn(&Scene) -> T) -> T {
        let began = tokio::time::Instant::now();
        while began.elapsed() < 3 * WITHIN {
            tokio::select! {
                biased;
                _ = self.caught.changed() => self.restart(),
                reached = until(&self.scene) => return reached,
                // On a machine so busy that okrad loses its short lease, it ends and is started again, as in a Pod.
                () = tokio::time::sleep(REVIVE) => drop(self.scene.revive_okrads()),
            }
        }
        panic!("it does not come\ncalls:\n{}\nokrad:\n{}", self.scene.told(60), self.scene.log());
    }

    fn restart(&mut self) {
        self.scene.revive_okrads();
        self.scene.kill_okrad();
        self.scene.start_okrad();
    }

    /// Starts okrad again if it has ended by itself, and waits until it leads; whether it had.
    async fn led_anew(&mut self) -> bool {
        let ended = !self.scene.revive_okrads().is_empty();
        if ended {
            self.scene.until_logged(USER, "Leads now").await;
        }
        ended
    }

    fn load(&self) -> Load {
        let host = Some("example.com".to_owned());
        Load::start(&self.scene.path.url(), LoadOptions { per_second: 20, host, ..LoadOptions::default() }).unwrap()
    }

    /// What was created, by call and name, each as often as it was. Events are told again by each okrad.
    fn created(&self) -> Vec<(String, String)> {
        let made = self.proxy.seen().into_iter().filter_map(|seen| Some((seen.call, seen.created?)));
        let mut made: Vec<_> = made.filter(|(call, _)| call != "POST events").collect();
        made.sort();
        made
    }
}

/// What is told.
#[derive(Clone, Copy, Debug)]
enum Story {
    /// 1.0.0 serves first, and 2.0.0 takes over in two steps with a timed pause between them.
    Rollout,
    /// In mid-canary, a person aborts.
    RollBack,
}

impl Story {
    fn name(self) -> &'static str {
        match self {
            Self::Rollout => "killed",
            Self::RollBack => "killedback",
        }
    }

    async fn tell(self, target: Option<Point>) -> (Case, Load) {
        match self {
            Self::Rollout => rollout(self.name(), target).await,
            Self::RollBack => roll_back(self.name(), target).await,
        }
    }
}

async fn rollout(name: &str, target: Option<Point>) -> (Case, Load) {
    let mut case = Case::new(name, "[{setWeight: 50}, {pause: {duration: 1s}}]", target).await;
    case.arm();
    case.scene.start_okrad();
    case.scene.cluster("web-1-v1", V1).await;
    case.through(async |scene| scene.until_stable(CELL, V1).await).await;
    case.scene.path.settled(WITHIN).await.unwrap();
    let load = case.load();
    case.scene.cluster("web-1-v2", V2).await;
    case.through(async |scene| scene.until_stable(CELL, V2).await).await;
    (case, load)
}

async fn roll_back(name: &str, target: Option<Point>) -> (Case, Load) {
    let mut case = Case::new(name, "[{setWeight: 50}, {pause: {}}]", target).await;
    case.scene.start_okrad();
    case.scene.cluster("web-1-v1", V1).await;
    case.through(async |scene| scene.until_stable(CELL, V1).await).await;
    case.scene.path.settled(WITHIN).await.unwrap();
    let load = case.load();
    case.scene.cluster("web-1-v2", V2).await;
    case.through(async |scene| scene.until_pause(CELL, V2, 1).await).await;
    let request = case.scene.request(CELL, Verb::Abort, &[]).await;
    case.arm();
    case.through(async |scene| scene.ask_this(CELL, &request).await).await.unwrap();
    case.through(async |scene| scene.until_phase(CELL, CellPhase::Failed).await).await;
    case.through(async |scene| scene.until_weights(&BACK).await).await;
    (case, load)
}

/// What a run without a kill makes and comes to, and where it can be killed.
struct Reference {
    points: Vec<Point>,
    created: Vec<(String, String)>,
    end: EndState,
}

async fn reference(story: Story) -> Reference {
    let (case, load) = story.tell(None).await;
    let end = case.scene.settled_end_state(CELL).await;
    let reference = Reference { points: case.trap.points(), created: case.created(), end };
    finish(case, load).await;
    reference
}

/// Whether okrad was killed at this point: what is told of it may have been told at once with something else.
async fn killed(story: Story, point: Point, reference: &Reference) -> bool {
    let (mut case, load) = story.tell(Some(point.clone())).await;
    let end = &reference.end;
    if point.call == "PUT leases" {
        // Renewals come by the clock: the next one is certain, however soon the story has come to its end.
        let caught = case.trap.caught.subscribe();
        case.through(async |_| _ = caught.clone().wait_for(|kills| *kills > 0).await).await;
    }
    case.through(async |scene| scene.until_end_state(CELL, end).await).await;
    let kills = *case.trap.caught.borrow();
    let may_be_missed = point.call == "POST events";
    assert!(kills == 1 || may_be_missed, "{point} is never reached; writes: {:?}", case.trap.points());
    assert_eq!(case.created(), reference.created, "{}", case.proxy.tail());
    finish(case, load).await;
    kills == 1
}

/// A lease this short can be lost at any moment on a busy machine; okrad ends then, as it must.
async fn finish(mut case: Case, load: Load) {
    case.led_anew().await;
    loop {
        case.scene.rest().await;
        if !case.led_anew().await {
            break;
        }
    }
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    case.led_anew().await;
    case.scene.judge(CELL, &SHARES);
    case.led_anew().await;
    let code = case.scene.stop_okrad().await;
    let log = case.scene.log();
    assert!(code == 0 || log.contains("lost the lease"), "okrad ended with {code}:\n{log}");
}

/// Kills okrad at every point of a story.
async fn kill_everywhere(story: Story, least: usize) {
    let reference = Arc::new(reference(story).await);
    assert!(reference.points.len() >= least, "{:?}", reference.points);
    println!("{story:?}: {} kills", reference.points.len());
    let (room, mut cases) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    let mut told = BTreeMap::new();
    for point in reference.points.clone() {
        let (room, reference, name) = (room.clone(), reference.clone(), point.to_string());
        let case = cases.spawn_local(async move {
            let _place = room.acquire().await.unwrap();
            killed(story, point, &reference).await
        });
        told.insert(case.id(), name);
    }
    let (mut failed, mut missed) = (Vec::new(), Vec::new());
    while let Some(case) = cases.join_next_with_id().await {
        match case {
            Ok((_, true)) => {}
            Ok((id, false)) => missed.push(told[&id].clone()),
            Err(error) => failed.push(format!("{}: {error}", told[&error.id()])),
        }
    }
    assert!(failed.is_empty(), "{} of {} kills: {failed:#?}", failed.len(), told.len());
    assert!(missed.len() * 10 < told.len(), "not reached: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_write_of_a_rollout_changes_nothing() {
    Box::pin(LocalSet::new().run_until(kill_everywhere(Story::Rollout, 30))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_write_of_a_roll_back_changes_nothing() {
    Box::pin(LocalSet::new().run_until(kill_everywhere(Story::RollBack, 10))).await;
}

/// The kinds whose objects a rollout is made of.
const KINDS: [&str; 4] = ["cells", "awstargetgroups", "awsapplicationloadbalancerconfigs", "pauses"];
/// safety.md L8.
const SILENCE_HEALS: Duration = Duration::from_mins(5);

/// Every first watch stays open and tells nothing. okrad has no flag for how long it bears that, so the test waits for
/// as long as okrad does: it stands here because it costs no processor and the kills take as long.
#[tokio::test]
async fn silent_watches_heal_within_five_minutes() {
    let mut case = Case::new("silent", "[{setWeight: 50}, {pause: {duration: 1s}}]", None).await;
    let silent = KINDS.map(|kind| PlannedFault::new(&format!("WATCH {kind}"), 1, ApiFault::Silence));
    case.proxy.set_plan(FaultPlan::new(silent.into()));
    case.scene.start_okrad();
    case.scene.until_leads(USER).await;
    case.proxy.wait_for(WITHIN, |_| case.proxy.plan().pending().is_empty()).await.unwrap();
    case.scene.cluster("web-1-v1", V1).await;
    let healed = tokio::time::timeout(SILENCE_HEALS, async {
        while case.scene.try_rule().is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    assert!(healed.await.is_ok(), "the silence does not heal\n{}", case.proxy.tail());
    case.scene.until_stable(CELL, V1).await;
    let load = case.load();
    case.scene.cluster("web-1-v2", V2).await;
    case.scene.until_stable(CELL, V2).await;
    finish(case, load).await;
}

//! AWS fails in every way at every call of a rollout, end to end: one Cell for each case, all in one okrad.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::PostParams;
use okra_api::{
    AWSTargetGroup, AWSTargetGroupSpec, Cell, Verb,
    condition::{self, READY},
    names,
};
use okra_judge::CellRules;
use okra_testkit::{
    fault_plan::{ALWAYS, PlannedFault},
    front::{AwsError, AwsFault, AwsPlan, Moment},
    scene::{MID_CANARY, Scene, V1, V2, weights},
};
use pretty_assertions::assert_eq;
use serde_json::json;
use tokio::sync::Semaphore;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const PAUSING: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 60}]";
const STEPS: &str = "[{setWeight: 20}, {setWeight: 60}]";
const SHARES: [u32; 2] = [20, 60];
/// Listeners of one load balancer; a quota of AWS.
const PER_BALANCER: usize = 50;
/// So many objects are made at a time.
const AT_ONCE: usize = 8;
/// Calls may wait for two busy cores; nothing here is about the lease.
const LEASE: &str = "3m";
/// How long one Cell may take: a refused call is repeated after half a minute, and hundreds share two cores.
const WITHIN: Duration = Duration::from_mins(4);

/// Many Cells of one okrad, each with a listener, a rule and two target groups of its own.
struct Fleet {
    scene: Scene,
    balancers: Vec<String>,
    listeners: BTreeMap<String, String>,
    /// Target group name to ARN.
    groups: BTreeMap<String, String>,
}

impl Fleet {
    async fn start(name: &str, rate_limits: &'static str) -> Self {
        let mut scene = Scene::new(OKRAD, name).await;
        scene.lease = LEASE;
        scene.drift_interval = "10m";
        scene.rate_limits = rate_limits;
        scene.start_okrad();
        Self { scene, balancers: Vec::new(), listeners: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// What AWS has to have before these Cells are made.
    async fn build(&mut self, cells: &[String]) {
        let built = self.listeners.len();
        while self.balancers.len() * PER_BALANCER < built + cells.len() {
            let name = format!("fleet-{}", self.balancers.len());
            self.balancers.push(self.scene.world.load_balancer(&name).await.unwrap());
        }
        let (world, balancers) = (&self.scene.world, &self.balancers);
        let numbered = cells.iter().zip(built..);
        let making = numbered.map(async |(cell, number)| {
            let port = 8000 + i32::try_from(number % PER_BALANCER).unwrap();
            let listener = world.tagged_listener(&balancers[number / PER_BALANCER], port, &[("for", cell)]).await;
            let mut groups = Vec::new();
            for name in [format!("{cell}-v1"), format!("{cell}-v2")] {
                let target = SocketAddr::from(([10, 0, 0, 1], 80));
                groups.push((name.clone(), world.target_group(&name, &[target]).await.unwrap()));
            }
            (cell.clone(), listener.unwrap(), groups)
        });
        let made: Vec<_> = futures::stream::iter(making).buffer_unordered(AT_ONCE).collect().await;
        for (cell, listener, groups) in made {
            self.listeners.insert(cell, listener);
            self.groups.extend(groups);
        }
    }

    fn manifest(&self, cell: &str) -> String {
        let manifest = self.scene.cell_manifest(cell, 1, STEPS);
        manifest
            .replace(&self.scene.world.listener, &self.listeners[cell])
            .replace("role: web", &format!("role: {cell}"))
    }

    /// The object of one of a Cell's target groups.
    async fn register(&self, cell: &str, major: &str, version: &str) {
        let name = format!("{cell}-{major}");
        let mut object = AWSTargetGroup::new(&name, AWSTargetGroupSpec { arn: self.groups[&name].clone() });
        object.metadata.labels = Some(BTreeMap::from([
            ("role".to_owned(), cell.to_owned()),
            (names::VERSION_LABEL.to_owned(), version.to_owned()),
        ]));
        self.scene.api::<AWSTargetGroup>().create(&PostParams::default(), &object).await.unwrap();
    }

    async fn until_stable(&self, cell: &str, version: &str, what: &str) {
        let stable = |cell: &Cell| {
            cell.status.as_ref().is_some_and(|status| {
                status.stable_version.as_deref() == Some(version) && condition::is_true(&status.conditions, READY)
            })
        };
        self.scene.until_within(WITHIN, cell, &format!("{version} is stable after {what}"), stable).await;
    }

    /// A Cell from its creation to the end of its second version's rollout.
    async fn roll(&self, cell: &str, what: &str, making: &Semaphore) {
        let permit = making.acquire().await.unwrap();
        self.scene.apply(&self.manifest(cell)).await.unwrap();
        self.register(cell, "v1", V1).await;
        drop(permit);
        self.until_stable(cell, V1, what).await;
        let permit = making.acquire().await.unwrap();
        self.register(cell, "v2", V2).await;
        drop(permit);
        self.until_stable(cell, V2, what).await;
    }

    /// Rolls them all at once.
    async fn roll_all(&self, cells: impl Iterator<Item = (&String, &String)>) {
        let making = Semaphore::new(AT_ONCE);
        futures::future::join_all(cells.map(|(cell, what)| self.roll(cell, what, &making))).await;
    }

    /// The weights of a Cell's rule, old and new.
    fn weights(&self, cell: &str) -> (Option<i64>, Option<i64>) {
        let rules = self.scene.front.rules(&self.listeners[cell]);
        let of = |group: &str| rules[0].weights.get(&self.groups[&format!("{cell}-{group}")]).copied();
        (of("v1"), of("v2"))
    }

    /// Judges all that happened.
    fn judge(&mut self) {
        let rules = |cell: &String| {
            let version = |major: &str| self.groups[&format!("{cell}-{major}")].as_str();
            let versions = [(version("v1"), V1), (version("v2"), V2)];
            (cell.clone(), CellRules::new(SHARES, versions))
        };
        let cells: Vec<_> = self.listeners.keys().map(rules).collect();
        self.scene.judge_cells(cells);
    }

    async fn end(mut self) {
        self.scene.rest().await;
        self.judge();
        assert_eq!(self.scene.stop_okrad().await, 0);
    }
}

/// How often a Cell without any fault makes each call, up to the end of its second rollout.
async fn calls_of_one_cell(fleet: &mut Fleet) -> BTreeMap<String, u64> {
    let calls = Arc::new(parking_lot::Mutex::new(BTreeMap::new()));
    let (counts, caller) = (calls.clone(), fleet.scene.namespace.clone());
    fleet.scene.front.on_call(move |moment, info| {
        if moment == Moment::Before && info.caller == caller && info.about.iter().any(|name| name.contains("reference"))
        {
            *counts.lock().entry(info.operation.clone()).or_insert(0) += 1;
        }
        Box::pin(std::future::ready(()))
    });
    fleet.build(&["reference".to_owned()]).await;
    fleet.roll_all([(&"reference".to_owned(), &"nothing".to_owned())].into_iter()).await;
    fleet.scene.front.on_call(|_, _| Box::pin(std::future::ready(())));
    calls.lock().clone()
}

/// One fault of each kind that okra can tell apart, for each call of an operation. A read that took effect is like one
/// that did not.
fn kinds_of(operation: &str) -> Vec<AwsFault> {
    let gone = match operation {
        "DescribeTargetHealth" => "TargetGroupNotFound",
        "CreateRule" => "ListenerNotFound",
        _ => "RuleNotFound",
    };
    let errors = [AwsError::throttled(), AwsError::internal(), AwsError::access_denied(operation)];
    let errors = errors.into_iter().chain([AwsError::new(gone, "One or more are not found")]).map(AwsFault::Error);
    let network = [AwsFault::Reset, AwsFault::Silence, AwsFault::Half];
    let effects = [AwsFault::ErrorAfter(AwsError::internal()), AwsFault::ResetAfter, AwsFault::SilenceAfter];
    let effects = effects.into_iter().filter(|_| !operation.starts_with("Describe"));
    errors.chain(network).chain(effects).collect()
}

/// Every kind of fault at every call, and every single error of AWS at one call of each operation.
fn cases(calls: &BTreeMap<String, u64>) -> Vec<PlannedFault<AwsFault>> {
    let mut planned = Vec::new();
    for (operation, count) in calls {
        let kinds = kinds_of(operation);
        let others =
            AwsFault::all().into_iter().filter(|fault| !kinds.contains(fault) && matches!(fault, AwsFault::Error(_)));
        planned.extend(others.map(|fault| PlannedFault::new(operation, count.div_ceil(2), fault)));
        let each = (1..=*count).flat_map(|nth| kinds.iter().map(move |fault| (nth, fault.clone())));
        planned.extend(each.map(|(nth, fault)| PlannedFault::new(operation, nth, fault)));
    }
    let named = planned.into_iter().enumerate();
    named.map(|(number, planned)| planned.about(&format!("case-{number:04}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_call_of_a_rollout_leads_to_the_same_end() {
    let mut fleet = Fleet::start("everyfault", "off").await;
    let calls = calls_of_one_cell(&mut fleet).await;
    let planned = cases(&calls);
    let what = |case: &PlannedFault<AwsFault>| format!("{:?} at {} {}", case.fault, case.call, case.nth);
    let cells: BTreeMap<String, String> =
        planned.iter().map(|case| (case.about.clone().unwrap(), what(case))).collect();
    fleet.build(&cells.keys().cloned().collect::<Vec<_>>()).await;
    fleet.scene.front.set_plan(planned);
    fleet.roll_all(cells.iter()).await;
    for (cell, what) in &cells {
        assert_eq!(fleet.weights(cell), (Some(0), Some(100)), "{cell}: {what}");
    }
    let plan = fleet.scene.front.plan();
    let missed: Vec<_> = plan.calls.pending().iter().map(|index| what(&plan.calls.faults[*index])).collect();
    // How often a Cell looks depends on when others let it; writes are the plan's alone.
    assert!(missed.iter().all(|case| case.contains(" at Describe")), "planned and never met: {missed:?}");
    assert!(missed.len() * 10 < cells.len(), "planned and never met: {missed:?}");
    fleet.end().await;
}

/// Cells whose calls are refused for good, and what each of them says meanwhile.
const DENIED: [(&str, &str, u64); 4] = [
    ("denied-create", "CreateRule", 1),
    ("denied-modify", "ModifyRule", 2),
    ("denied-read", "DescribeRules", 6),
    ("denied-health", "DescribeTargetHealth", 1),
];

#[tokio::test]
async fn what_is_refused_for_good_is_said_and_goes_on_when_it_is_allowed() {
    let mut fleet = Fleet::start("denied", "off").await;
    let cells: Vec<String> = DENIED.iter().map(|(cell, ..)| (*cell).to_owned()).collect();
    fleet.build(&cells).await;
    let denied = |(cell, operation, nth): &(&str, &str, u64)| {
        PlannedFault::new(operation, *nth, AwsFault::Error(AwsError::access_denied(operation)))
            .about(cell)
            .times(ALWAYS)
    };
    fleet.scene.front.set_plan(DENIED.iter().map(denied).collect::<Vec<_>>());
    let whats: BTreeMap<String, String> = DENIED
        .iter()
        .map(|(cell, operation, _)| ((*cell).to_owned(), format!("AccessDenied at {operation}")))
        .collect();
    let said = async {
        for (cell, operation, _) in DENIED {
            let says = |cell: &Cell| {
                cell.status.as_ref().is_some_and(|status| {
                    let words = format!("Allow elasticloadbalancing:{operation}");
                    status.message.contains(&words) && condition::is_true(&status.conditions, condition::DEGRADED)
                })
            };
            fleet.scene.until_within(WITHIN, cell, "it says what is denied", says).await;
        }
        let held = fleet.weights("denied-modify");
        assert!([(Some(100), Some(0)), (Some(80), Some(20))].contains(&held), "{held:?}");
        fleet.scene.front.set_plan(AwsPlan::default());
    };
    tokio::join!(said, fleet.roll_all(whats.iter()));
    for cell in &cells {
        assert_eq!(fleet.weights(cell), (Some(0), Some(100)), "{cell}");
    }
    fleet.end().await;
}

#[tokio::test]
async fn expired_credentials_hold_the_rollout_until_they_are_renewed() {
    let mut scene = Scene::new(OKRAD, "expired").await;
    scene.lease = LEASE;
    scene.serve(CELL, PAUSING).await;
    let load = scene.load();
    scene.version(V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&MID_CANARY).await;
    scene.front.set_plan(vec![PlannedFault::new("*", 1, AwsFault::Expire).by(&scene.namespace)]);
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    let cell = scene.until_says(CELL, "ExpiredToken").await;
    assert!(cell.status.unwrap().message.contains("The credentials have expired: renew them"));
    assert_eq!(scene.weights(), weights(&MID_CANARY));
    scene.front.renew_credentials(&scene.namespace.clone());
    scene.until_stable(CELL, V2).await;
    scene.rest().await;
    scene.end(load, CELL, &[20, 60]).await;
}

/// One cluster replaces another behind a data path that follows 5 s late, and is destroyed as soon as the Cell says
/// that it may be; how many requests failed.
async fn destroyed_when_told(name: &str, settle: &'static str) -> u64 {
    let mut scene = Scene::new(OKRAD, name).await;
    scene.lease = LEASE;
    scene.settle = settle;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.patch_cell(CELL, json!({"retireAfter": "0s", "drainDuration": "0s"})).await;
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    scene.path.settled(WITHIN).await.unwrap();
    let load = scene.load();
    scene.front.set_plan(AwsPlan::with_data_path_lag(Duration::from_secs(5)));
    scene.cluster("web-1-v2", V2).await;
    let detached = |cell: &Cell| {
        let mut retired = cell.status.iter().flat_map(|status| &status.retired_target_groups);
        retired.find_map(|group| group.detached_at.map(|at| at.max(group.safe_to_destroy_at)))
    };
    let cell = scene.until_within(WITHIN, CELL, "the old group is detached", |cell| detached(cell).is_some()).await;
    let left = detached(&cell).unwrap().duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
    scene.clusters.get_mut("web-1-v1").unwrap().stop();
    scene.path.settled(WITHIN).await.unwrap();
    let seen = load.mark(WITHIN).await.unwrap();
    load.wait_for(WITHIN, |now| now.sent >= seen.sent + 100).await.unwrap();
    let summary = load.stop().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
    summary.failed
}

#[tokio::test]
async fn a_cluster_is_given_up_only_when_the_data_path_had_time_to_follow() {
    let (early, late) = tokio::join!(destroyed_when_told("nosettle", "0s"), destroyed_when_told("settle", "7s"));
    assert!(early > 0, "a settle that is too short must be seen to lose requests");
    assert_eq!(late, 0);
}

/// Rolls some Cells behind AWS's token buckets; how many calls were throttled.
async fn throttles(name: &str, rate_limits: &'static str) -> usize {
    let mut fleet = Fleet::start(name, rate_limits).await;
    let cells: Vec<String> = (0..20).map(|number| format!("metered-{number:02}")).collect();
    fleet.build(&cells).await;
    fleet.scene.front.set_plan(AwsPlan::with_buckets());
    let whats: BTreeMap<String, String> = cells.iter().map(|cell| (cell.clone(), "AWS's buckets".to_owned())).collect();
    fleet.roll_all(whats.iter()).await;
    let throttles = fleet.scene.front.throttles();
    fleet.end().await;
    throttles
}

#[tokio::test]
async fn behind_awss_token_buckets_nothing_is_throttled() {
    let (limited, unlimited) = tokio::join!(throttles("limited", "aws"), throttles("unlimited", "off"));
    assert_eq!(limited, 0);
    assert!(unlimited > 0, "so many calls at once are more than AWS takes");
}

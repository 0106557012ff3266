//! Faults between okrad and the API server, end to end: each fault at each call of a whole rollout, and lists that are
//! older than okrad's own last write. The end is as without faults, nothing is created twice, no request fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use okra_api::{Verb, cell_status::CellPhase};
use okra_testkit::{
    api_proxy::{ApiFault, ApiProxy, Seen},
    fault_plan::{FaultPlan, PlannedFault},
    load::{Load, LoadOptions},
    scene::{Detour, EndState, Scene, V1, V2, WITHIN},
};
use pretty_assertions::assert_eq;
use tokio::{sync::Semaphore, task::JoinSet};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const USER: &str = "okrad";
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 50}, {pause: {duration: 1s}}]";
const SHARES: [u32; 1] = [50];
/// As many okrads at once as two busy cores bear: most of the time they wait.
const AT_ONCE: usize = 12;

/// A scene whose okrad goes through a proxy.
struct Case {
    scene: Scene,
    proxy: ApiProxy,
}

impl Case {
    async fn new(name: &str) -> Self {
        let mut scene = Scene::new(OKRAD, name).await;
        // Nobody dies here, and a slow answer must not cost the lease.
        scene.lease = "30s";
        // What a rollout waits for must not hang on how fast a machine is.
        scene.front.set_initial_delay(Duration::ZERO);
        let proxy = ApiProxy::start(&scene.server).unwrap();
        let kubeconfig = Some(proxy.kubeconfig(USER).unwrap());
        scene.detour_okrad_as(USER, Detour { kubeconfig, ..Detour::default() });
        Self { scene, proxy }
    }

    /// One cluster of 1.0.0 serves, one of 2.0.0 takes over.
    async fn rollout(&mut self) -> Load {
        self.scene.start_okrad();
        self.scene.apply(&self.scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
        self.scene.cluster("web-1-v1", V1).await;
        self.scene.until_stable(CELL, V1).await;
        self.scene.path.settled(WITHIN).await.unwrap();
        let load = self.load();
        self.scene.cluster("web-1-v2", V2).await;
        self.scene.until_stable(CELL, V2).await;
        load
    }

    fn load(&self) -> Load {
        let host = Some("example.com".to_owned());
        Load::start(&self.scene.path.url(), LoadOptions { per_second: 20, host, ..LoadOptions::default() }).unwrap()
    }

    /// The calls that were made, each once.
    fn calls(&self) -> BTreeSet<String> {
        self.proxy.seen().into_iter().map(|seen| seen.call).collect()
    }

    /// What was created, by call and name, each as often as it was. Events are told again at will.
    fn created(&self) -> Vec<(String, String)> {
        let made = self.proxy.seen().into_iter().filter_map(|seen| Some((seen.call, seen.created?)));
        let mut made: Vec<_> = made.filter(|(call, _)| call != "POST events").collect();
        made.sort();
        made
    }

    async fn end(mut self, load: Load) {
        self.scene.rest().await;
        let summary = load.stop().await;
        assert_eq!((summary.failed, summary.first_failure), (0, None));
        self.scene.judge(CELL, &SHARES);
        assert_eq!(self.scene.stop_okrad().await, 0);
    }
}

/// What a run without faults makes and comes to.
struct Reference {
    calls: BTreeSet<String>,
    created: Vec<(String, String)>,
    end: EndState,
}

async fn reference() -> Reference {
    let mut case = Case::new("plain").await;
    let load = case.rollout().await;
    let settled = case.scene.settled_end_state(CELL).await;
    let reference = Reference { calls: case.calls(), created: case.created(), end: settled };
    case.end(load).await;
    reference
}

fn is_write(call: &str) -> bool {
    ["POST ", "PUT ", "PATCH ", "DELETE "].iter().any(|verb| call.starts_with(verb))
}

/// A fault by its name, and which calls it can befall.
type Befalls = (&'static str, ApiFault, fn(&str) -> bool);

fn faults() -> Vec<Befalls> {
    let all: fn(&str) -> bool = |_| true;
    let watches: fn(&str) -> bool = |call| call.starts_with("WATCH ");
    // A POST is refused with 409 when the object is there, which is what a lost answer leads to.
    let replaces: fn(&str) -> bool = |call| is_write(call) && !call.starts_with("POST ");
    let reads: fn(&str) -> bool = |call| call.starts_with("WATCH ") || call.starts_with("LIST ");
    vec![
        ("conflict", ApiFault::Conflict, replaces),
        ("toomany", ApiFault::TooManyRequests { retry_after: 1 }, all),
        ("internal", ApiFault::Status(500), all),
        ("unavailable", ApiFault::Status(503), all),
        ("timeout", ApiFault::Status(504), all),
        ("expired", ApiFault::Status(410), reads),
        ("gone", ApiFault::GoneEvent, watches),
        ("dropped", ApiFault::DropWatch(Duration::from_millis(300)), watches),
        ("slow", ApiFault::Slow(Duration::from_secs(1)), all),
        ("closed", ApiFault::CloseBefore, all),
        ("lost", ApiFault::LoseAnswer, all),
        ("half", ApiFault::HalfAnswer, all),
    ]
}

async fn rollout_with(name: &str, planned: Vec<PlannedFault<ApiFault>>, reference: &Reference) {
    let mut case = Case::new(name).await;
    case.proxy.set_plan(FaultPlan::new(planned));
    let load = case.rollout().await;
    case.scene.until_end_state(CELL, &reference.end).await;
    let plan = case.proxy.plan();
    assert_eq!(plan.pending(), [0; 0], "every fault struck: {plan}\n{}", case.proxy.tail());
    assert_eq!(case.created(), reference.created, "{plan}\n{}", case.proxy.tail());
    case.end(load).await;
}

/// One okrad per fault, which befalls the first call of each verb and resource once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_call_of_a_rollout_changes_nothing() {
    let reference = Arc::new(reference().await);
    let (room, mut cases, mut pairs) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new(), 0);
    for (name, fault, befalls) in faults() {
        let calls = reference.calls.iter().filter(|call| befalls(call));
        let planned: Vec<_> = calls.map(|call| PlannedFault::new(call, 1, fault.clone())).collect();
        pairs += planned.len();
        let (room, reference) = (room.clone(), reference.clone());
        cases.spawn(async move {
            let _place = room.acquire().await.unwrap();
            rollout_with(name, planned, &reference).await;
        });
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
    assert!(pairs > 200, "{pairs} pairs of a call and a fault: {:?}", reference.calls);
}

/// How long the watches of an okrad that was shown old lists stay shut: below the 10 s that okrad waits for an answer,
/// and long enough for two of its looks at the rule.
const BLIND: Duration = Duration::from_secs(9);

/// okrad starts anew and is shown lists of these kinds from before its own last writes, and for a while no watch mends
/// that.
async fn restart_with_old_lists(case: &mut Case, kinds: &[&str]) {
    let before = case.scene.settled_end_state(CELL).await;
    // A clean stop gives up the lease, so that all of the blindness is spent leading.
    assert_eq!(case.scene.stop_okrad().await, 0);
    let blind = kinds.iter().flat_map(|kind| {
        let (list, watch) = (format!("LIST {kind}"), format!("WATCH {kind}"));
        [PlannedFault::new(&list, 1, ApiFault::StaleList), PlannedFault::new(&watch, 1, ApiFault::Slow(BLIND))]
    });
    case.proxy.set_plan(FaultPlan::new(blind.collect()));
    let seen = case.proxy.seen().len();
    case.scene.start_okrad();
    case.scene.until_leads(USER).await;
    case.scene.until_looks(2).await;
    assert_eq!(case.scene.history(), before.history, "traffic moves backwards\n{}", case.scene.told(40));
    let last = format!("WATCH {}", kinds.last().unwrap());
    let mends = |seen: &Seen| seen.call == last && seen.status.is_some();
    case.proxy.wait_for(WITHIN, |all| all.iter().skip(seen).any(mends)).await.unwrap();
    assert_eq!(case.proxy.plan().pending(), [0; 0]);
    case.scene.until_looks(2).await;
    case.scene.until_end_state(CELL, &before).await;
    assert_eq!(case.scene.history(), before.history, "{}", case.scene.told(40));
}

/// What okrad reads that the API server serves here: its own kinds.
const KINDS: [&str; 7] = [
    "cells",
    "awstargetgroups",
    "targetgroups",
    "awsapplicationloadbalancerconfigs",
    "routes",
    "pauses",
    "versionblocklists",
];

/// In mid-canary, remembered by the proxy, a person aborts.
async fn aborted(name: &str) -> (Case, Load) {
    let (mut case, load) = serving(name, PAUSING).await;
    case.scene.cluster("web-1-v2", V2).await;
    case.scene.until_pause(CELL, V2, 1).await;
    case.proxy.remember_lists().await.unwrap();
    case.scene.ask(CELL, Verb::Abort, &[]).await.unwrap();
    case.scene.until_phase(CELL, CellPhase::Failed).await;
    case.scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    (case, load)
}

/// `web-1-v1` serves under load, and the proxy remembers that.
async fn serving(name: &str, steps: &str) -> (Case, Load) {
    let mut case = Case::new(name).await;
    case.scene.start_okrad();
    case.scene.apply(&case.scene.cell_manifest(CELL, 1, steps)).await.unwrap();
    case.scene.cluster("web-1-v1", V1).await;
    case.scene.until_stable(CELL, V1).await;
    case.scene.path.settled(WITHIN).await.unwrap();
    case.proxy.remember_lists().await.unwrap();
    let load = case.load();
    (case, load)
}

const PAUSING: &str = "[{setWeight: 50}, {pause: {}}]";

#[tokio::test]
async fn a_list_from_before_the_rollout_takes_no_traffic_back() {
    let (mut case, load) = serving("oldest", STEPS).await;
    case.scene.cluster("web-1-v2", V2).await;
    case.scene.until_stable(CELL, V2).await;
    restart_with_old_lists(&mut case, &KINDS).await;
    case.end(load).await;
}

#[tokio::test]
async fn a_list_from_mid_canary_takes_no_traffic_back() {
    let (mut case, load) = serving("older", PAUSING).await;
    case.scene.cluster("web-1-v2", V2).await;
    case.scene.until_pause(CELL, V2, 1).await;
    case.proxy.remember_lists().await.unwrap();
    case.scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    case.scene.until_stable(CELL, V2).await;
    restart_with_old_lists(&mut case, &KINDS).await;
    case.end(load).await;
}

#[tokio::test]
async fn a_list_from_before_an_abort_gives_the_blocked_version_nothing() {
    let (mut case, load) = aborted("olderback").await;
    restart_with_old_lists(&mut case, &KINDS).await;
    case.end(load).await;
}

/// The Cell knows of the abort, and the blocklist that it sees does not name the version.
#[tokio::test]
async fn an_older_blocklist_begins_no_rollout_of_a_blocked_version() {
    let (mut case, load) = aborted("oldblocks").await;
    restart_with_old_lists(&mut case, &["versionblocklists"]).await;
    case.end(load).await;
}

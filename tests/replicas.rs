//! Two replicas of okrad, end to end: the leader is killed, frozen, cut off or told to stop in mid-rollout, and the
//! other goes on. Nobody else writes to the load balancer, and no request is lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]
#![allow(clippy::print_stdout, reason = "the figures are for the reader of a test run")]

#[path = "replicas/gate.rs"]
mod gate;

use std::{collections::BTreeMap, time::Duration};

use gate::{Gate, Kept};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams};
use okra_api::{AWSApplicationLoadBalancerConfig, Cell, RouteOutcome, Verb, route::DeletionPolicy};
use okra_judge::record::{Entry, Event::Call};
use okra_testkit::{
    api_proxy::{ApiProxy, Cut},
    front::Health,
    load::{Load, LoadOptions},
    scene::{Detour, MID_CANARY, Scene, V1, V2, WITHIN, weights},
};
use pretty_assertions::assert_eq;
use serde_json::json;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const FIRST: &str = "okrad";
const SECOND: &str = "okrad-2";
const AT_ONCE: &str = "[{setWeight: 20}, {setWeight: 40}, {setWeight: 60}]";
const HOLDING: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {}}, {setWeight: 60}, {pause: {}}]";
const SHARES: [u32; 3] = [20, 40, 60];
const AT_60: [(&str, i64); 4] = [("web-1-v1", 20), ("web-2-v1", 20), ("web-1-v2", 30), ("web-2-v2", 30)];

/// Two replicas of which the first leads, one version that serves under load, and gates on the first one's ways.
struct Stage {
    scene: Scene,
    load: Load,
    api: ApiProxy,
    aws: Gate,
    /// How often the load balancer was changed before the rollout.
    writes: usize,
}

impl Stage {
    async fn new(name: &str, lease: &'static str, steps: &str) -> Self {
        let mut scene = Scene::new(OKRAD, name).await;
        scene.lease = lease;
        let (api, aws) = (ApiProxy::start(&scene.server).unwrap(), Gate::before(&scene.front.endpoint()).await);
        let kubeconfig = api.kubeconfig(FIRST).unwrap();
        let detour = Detour { kubeconfig: Some(kubeconfig), aws: Some(format!("http://{}", aws.address())) };
        scene.detour_okrad_as(FIRST, detour);
        scene.serve(CELL, steps).await;
        scene.start_okrad_as(SECOND);
        scene.until_logged(SECOND, "Follows").await;
        let options = LoadOptions { per_second: 50, host: Some("example.com".to_owned()), ..LoadOptions::default() };
        let load = Load::start(&scene.path.url(), options).unwrap();
        let writes = scene.writes().len();
        Self { scene, load, api, aws, writes }
    }

    /// The rollout of the second version begins and holds at 20 %.
    async fn reach_first_pause(&mut self) {
        self.scene.version(V2).await;
        self.scene.until_pause(CELL, V2, 1).await;
        self.scene.until_weights(&MID_CANARY).await;
    }

    /// The second version is attached, and the first replica asks again and again whether it is healthy.
    async fn reach_unhealthy_canary(&mut self) {
        for name in ["web-1-v2", "web-2-v2"] {
            self.scene.target_group(name, V2).await;
            self.scene.front.set_health(&self.scene.arns[name], Health::Unhealthy).unwrap();
            self.scene.register(name, V2).await;
        }
        let attached = [("web-1-v1", 50), ("web-2-v1", 50), ("web-1-v2", 0), ("web-2-v2", 0)];
        self.scene.until_weights(&attached).await;
        // By now nothing is left to write, which would wait for the API server: it only asks.
        self.until_asked(10).await;
    }

    /// The first replica has asked so often for health from now on.
    async fn until_asked(&self, count: usize) {
        let asked = || {
            let asks = |entry: &Entry| matches!(&entry.event, Call(call) if call.operation == "DescribeTargetHealth");
            self.scene.calls_as(FIRST).iter().filter(|entry| asks(entry)).count()
        };
        let before = asked();
        self.scene.until_front("the first asks for health", || asked() >= before + count).await;
    }

    async fn resume(&mut self) {
        self.scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    }

    /// The first replica is started again, as a kubelet does, and follows.
    async fn first_follows(&mut self) {
        self.scene.start_okrad();
        self.scene.until_logged(FIRST, "Follows").await;
    }

    /// Every weight once and in order, no request lost, nothing that the judge finds, and both stop cleanly.
    async fn end(mut self) {
        self.scene.rest().await;
        let summary = self.load.stop().await;
        assert_eq!((summary.failed, summary.first_failure), (0, None));
        self.scene.judge(CELL, &SHARES);
        for user in [FIRST, SECOND] {
            assert_eq!(self.scene.stop_okrad_as(user).await, 0);
        }
    }
}

fn the_plan() -> Vec<BTreeMap<String, i64>> {
    let both =
        |old: i64, new: i64| weights(&[("web-1-v1", old), ("web-2-v1", old), ("web-1-v2", new), ("web-2-v2", new)]);
    let made = weights(&[("web-1-v1", 50), ("web-2-v1", 50)]);
    vec![made, both(50, 0), both(40, 10), both(30, 20), both(20, 30), both(0, 50)]
}

fn since(entries: Vec<Entry>, from: Timestamp) -> Vec<Entry> {
    entries.into_iter().filter(|entry| entry.at >= from).collect()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// From a moment to the first call and the first change by the second replica, in seconds.
fn first_acts(scene: &Scene, from: Timestamp) -> (f64, f64) {
    let first = |entries: Vec<Entry>| seconds(from, entries[0].at);
    (first(scene.calls_as(SECOND)), first(scene.writes_as(SECOND)))
}

/// The leader dies after its second change of the rollout; the seconds until the other called and wrote.
async fn fail_over(name: &str, lease: &'static str) -> (f64, f64) {
    let mut stage = Stage::new(name, lease, AT_ONCE).await;
    stage.scene.version(V2).await;
    stage.scene.until_writes(stage.writes + 2).await;
    stage.scene.kill_okrad();
    stage.scene.until_leads(SECOND).await;
    stage.first_follows().await;
    stage.scene.until_stable(CELL, V2).await;
    stage.scene.until_leads(SECOND).await;
    assert_eq!(stage.scene.history(), the_plan());
    let died = stage.scene.noted("okrad is killed");
    let gap = seconds(stage.scene.writes_as(FIRST).last().unwrap().at, stage.scene.writes_as(SECOND)[0].at);
    let (called, wrote) = first_acts(&stage.scene, died);
    println!(
        "figure: fail-over, lease {lease}: first call {called:.2} s and first change {wrote:.2} s after the death, \
         {gap:.2} s from change to change"
    );
    stage.end().await;
    (called, wrote)
}

#[tokio::test]
async fn a_killed_leader_is_followed_in_mid_rollout() {
    let (called, wrote) = fail_over("dead", "3s").await;
    // Five times what it takes on an idle machine, and still below what is promised for the default lease.
    assert!(called < 20.0 && wrote < 20.0, "called after {called} s, wrote after {wrote} s");
}

#[tokio::test]
async fn with_the_default_lease_too() {
    let (called, wrote) = fail_over("deaddefault", "15s").await;
    // 20 s are promised of a machine that is not as loaded as one that runs tests.
    assert!(called < 40.0 && wrote < 40.0, "called after {called} s, wrote after {wrote} s");
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_is_followed_at_once() {
    // So long that only a release can be what the other waited for.
    let mut stage = Stage::new("told", "2m", AT_ONCE).await;
    stage.scene.version(V2).await;
    stage.scene.until_writes(stage.writes + 2).await;
    assert_eq!(stage.scene.stop_okrad().await, 0);
    stage.scene.until_leads(SECOND).await;
    stage.scene.start_okrad();
    stage.scene.until_stable(CELL, V2).await;
    assert_eq!(stage.scene.history(), the_plan());
    let told = stage.scene.noted("okrad gets TERM");
    let released = *stage.scene.lease_writes(FIRST).last().unwrap();
    let (called, wrote) = first_acts(&stage.scene, released);
    println!(
        "figure: clean stop: released {:.2} s after the signal; first call {called:.2} s and first change {wrote:.2} s \
         after the release",
        seconds(told, released)
    );
    assert!((0.0..20.0).contains(&called) && wrote < 20.0, "called after {called} s, wrote after {wrote} s");
    stage.end().await;
}

/// What the leader is doing when it is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing.
    Idle,
    /// Its ModifyRule is on the way and arrives much later.
    Sending,
    /// Its ModifyRule was carried out, the answer is on the way.
    Answered,
    /// It waits for the read that comes before the ModifyRule.
    Reading,
}

impl Moment {
    /// The change to 40 % begins, and the leader is frozen in this moment of it.
    async fn freeze(self, stage: &mut Stage) {
        match self {
            Self::Idle => {}
            Self::Sending => stage.aws.keep(Kept::Request, "Action=ModifyRule"),
            Self::Answered => stage.aws.keep(Kept::Answer, "Action=ModifyRule"),
            Self::Reading => stage.aws.keep(Kept::Answer, "Action=DescribeRules"),
        }
        if self != Self::Idle {
            stage.resume().await;
            stage.aws.kept().await;
        }
        stage.scene.signal_okrad_as(FIRST, "STOP");
    }

    async fn story(self, name: &str) {
        let mut stage = Stage::new(name, "6s", HOLDING).await;
        stage.reach_first_pause().await;
        self.freeze(&mut stage).await;
        stage.scene.until_leads(SECOND).await;
        if self == Self::Idle {
            stage.resume().await;
        }
        stage.scene.until_pause(CELL, V2, 3).await;
        stage.resume().await;
        stage.scene.until_pause(CELL, V2, 5).await;
        stage.scene.until_weights(&AT_60).await;
        // What was under way goes on while it is still frozen, and is there when it thaws.
        stage.aws.release();
        let stopped = stage.scene.noted("okrad gets STOP");
        let late = || since(stage.scene.writes_as(FIRST), stopped);
        if self == Self::Sending {
            stage.scene.until_front("the late change arrives", || !late().is_empty()).await;
            stage.scene.until_weights(&AT_60).await;
        }
        assert_eq!(late().len(), usize::from(self == Self::Sending), "{self:?}:\n{}", stage.scene.told(60));
        stage.scene.signal_okrad_as(FIRST, "CONT");
        assert_eq!(stage.scene.okrad_ended_as(FIRST).await, 1, "{self:?}");
        let thawed = since(stage.scene.calls_as(FIRST), stage.scene.noted("okrad gets CONT"));
        assert!(thawed.len() <= 1, "{self:?}: one call that had begun, not {thawed:?}");
        stage.first_follows().await;
        stage.resume().await;
        stage.scene.until_stable(CELL, V2).await;
        stage.scene.until_leads(SECOND).await;
        let writes = since(stage.scene.writes_as(FIRST), stopped);
        assert_eq!(writes.len(), usize::from(self == Self::Sending), "{self:?}:\n{}", stage.scene.told(60));
        stage.end().await;
    }
}

#[tokio::test]
async fn a_leader_that_freezes_and_thaws_writes_nothing_any_more() {
    tokio::join!(Moment::Idle.story("frozenidle"), Moment::Reading.story("frozenreading"));
}

#[tokio::test]
async fn a_leader_that_freezes_in_a_change_lands_that_one_at_most() {
    tokio::join!(Moment::Sending.story("frozensending"), Moment::Answered.story("frozenanswered"));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_from_the_api_server_stops_before_its_lease_ends() {
    const LEASE: f64 = 9.0;
    let mut stage =
        Stage::new("cutoff", "9s", "[{setWeight: 20}, {pause: {}}, {setWeight: 40}, {setWeight: 60}]").await;
    stage.reach_unhealthy_canary().await;
    stage.scene.front.note("okrad is cut off");
    assert!(stage.api.cut(FIRST, Cut::BlackHole));
    stage.until_asked(1).await;
    assert_eq!(stage.scene.okrad_ended_as(FIRST).await, 1);
    stage.scene.until_leads(SECOND).await;
    for name in ["web-1-v2", "web-2-v2"] {
        stage.scene.front.set_health(&stage.scene.arns[name], None).unwrap();
    }
    stage.scene.until_pause(CELL, V2, 1).await;

    let renewed = *stage.scene.lease_writes(FIRST).last().unwrap();
    let calls = since(stage.scene.calls_as(FIRST), stage.scene.noted("okrad is cut off"));
    let (last, ended) = (seconds(renewed, calls.last().unwrap().at), stage.scene.noted("okrad ended with 1"));
    let (called, _) = first_acts(&stage.scene, renewed);
    println!(
        "figure: cut off, lease {LEASE} s: last call {last:.2} s, end {:.2} s and the other's first call {called:.2} s \
         after the last renewal",
        seconds(renewed, ended)
    );
    // The record's clock tells when a call was read, a moment after it was sent.
    assert!(last < LEASE + 0.5, "a call {last} s after the last renewal");
    assert!(last < called && called > LEASE, "the other called {called} s after the last renewal");

    assert!(stage.api.cut(FIRST, Cut::Healed));
    stage.first_follows().await;
    stage.resume().await;
    stage.scene.until_stable(CELL, V2).await;
    stage.scene.until_leads(SECOND).await;
    assert_eq!(stage.scene.history(), the_plan());
    stage.end().await;
}

#[tokio::test]
async fn a_stop_during_a_change_finishes_it_and_its_status() {
    let mut stage = Stage::new("stopped", "30s", HOLDING).await;
    assert_eq!(stage.scene.stop_okrad_as(SECOND).await, 0);
    stage.reach_first_pause().await;
    stage.aws.keep(Kept::Answer, "Action=ModifyRule");
    stage.resume().await;
    stage.aws.kept().await;
    stage.scene.signal_okrad_as(FIRST, "TERM");
    stage.scene.until_logged(FIRST, "Finishes what is under way").await;
    stage.aws.release();
    assert_eq!(stage.scene.okrad_ended_as(FIRST).await, 0);

    let told = stage.scene.noted("okrad gets TERM");
    assert_eq!(since(stage.scene.writes_as(FIRST), told).len(), 0, "nothing new is begun");
    let route = stage.scene.api::<AWSApplicationLoadBalancerConfig>().get(CELL).await.unwrap().status.unwrap();
    let status: BTreeMap<String, i64> =
        route.weights.iter().map(|weight| (weight.name.clone(), i64::from(weight.weight))).collect();
    assert_eq!((status, route.outcome), (stage.scene.weights(), Some(RouteOutcome::Verified)));
    assert_eq!(stage.scene.weights(), the_plan()[3]);

    stage.scene.start_okrad_as(SECOND);
    stage.scene.until_pause(CELL, V2, 3).await;
    stage.first_follows().await;
    stage.resume().await;
    stage.scene.until_pause(CELL, V2, 5).await;
    stage.resume().await;
    stage.scene.until_stable(CELL, V2).await;
    assert_eq!(stage.scene.history(), the_plan());
    assert_eq!(stage.scene.writes().len(), stage.writes + 5, "{}", stage.scene.told(60));
    stage.end().await;
}

/// The only route object of the namespace.
async fn routes(scene: &Scene) -> Vec<AWSApplicationLoadBalancerConfig> {
    scene.api().list(&ListParams::default()).await.unwrap().items
}

/// The Cell is deleted, and everything that belongs to it; the seconds until the last of it was gone.
async fn delete(scene: &Scene) -> f64 {
    let begun = Timestamp::now();
    scene.api::<Cell>().delete(CELL, &DeleteParams::default()).await.unwrap();
    scene.until_gone::<Cell>(CELL).await;
    scene.until_gone::<AWSApplicationLoadBalancerConfig>(CELL).await;
    seconds(begun, Timestamp::now())
}

#[tokio::test]
async fn a_deletion_ends_although_aws_is_gone_and_says_what_stays() {
    let mut stage = Stage::new("gone", "15s", HOLDING).await;
    // The way of the other to AWS stays open.
    assert_eq!(stage.scene.stop_okrad_as(SECOND).await, 0);
    stage.scene.server.start_controller_manager(&["garbage-collector-controller"]).await;
    stage.scene.patch_cell(CELL, json!({"deletionPolicy": "Delete"})).await;
    let keeps = |route: &AWSApplicationLoadBalancerConfig| route.metadata.finalizers.is_some();
    stage.scene.until_object(CELL, "the route object waits for its rule", keeps).await;
    assert_eq!(routes(&stage.scene).await[0].spec.deletion_policy, DeletionPolicy::Delete);

    stage.aws.shut();
    let took = delete(&stage.scene).await;
    println!("figure: deletion without AWS: {took:.1} s");
    // 30 s are promised of a machine that is not as loaded as one that runs tests.
    assert!(took < 45.0, "{took} s");
    let rule = stage.scene.rule();
    let said = |event: &Event| {
        let message = event.message.as_deref().unwrap_or_default();
        message.contains(&rule) && message.contains("was not removed and stays on the load balancer")
    };
    // Events come after what they tell of.
    let events = stage.scene.api::<Event>();
    let told = async {
        while !events.list(&ListParams::default()).await.unwrap().iter().any(said) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WITHIN, told).await.expect("an event names the rule that stays");
    assert_eq!(stage.scene.weights(), weights(&[("web-1-v1", 50), ("web-2-v1", 50)]), "the rule serves on");

    // AWS is back: the same Cell takes its rule again, and this time nothing of it is left.
    stage.aws.open();
    let manifest = stage.scene.cell_manifest(CELL, 2, HOLDING) + "  deletionPolicy: Delete\n";
    stage.scene.apply(&manifest).await.unwrap();
    stage.scene.until_stable(CELL, V1).await;
    assert_eq!(stage.scene.rule(), rule);
    let summary = stage.load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    delete(&stage.scene).await;
    assert_eq!(stage.scene.try_rule(), None);
    stage.scene.rest().await;
    stage.scene.judge(CELL, &SHARES);
}

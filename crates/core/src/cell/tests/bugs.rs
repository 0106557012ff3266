//! Bugs of others, by their number, and what happens here instead. `bug_6_6_NN` are those of the Go okra;
//! `bug_1_4_...` field failures of other tools, named for the tool's issue; `bug_1_5_NN` faults that reading the
//! Go okra showed. [`no_number_is_missing`] fails when one is taken out.

use jiff::SignedDuration;
use okra_api::{
    Cell, PausePhase, RunPhase, Verb,
    cell::{Ingress, IngressType, StrategyType},
    cell_status::{CellPhase, RolloutOutcome},
};

use super::world::{World, analysis, pause, set_weight};
use crate::cell::{ObservedRun, RoutePlace};

/// Every number that concerns the logic of a Cell.
const NUMBERS: [&str; 39] = [
    "6_6_03",
    "6_6_04",
    "6_6_05",
    "6_6_06",
    "6_6_09",
    "6_6_10",
    "6_6_11",
    "6_6_12",
    "6_6_13",
    "6_6_14",
    "6_6_16",
    "6_6_17",
    "6_6_20",
    "6_6_21",
    "6_6_22",
    "6_6_24",
    "6_6_25",
    "6_6_34",
    "1_4_ar_3333",
    "1_4_ar_701",
    "1_4_ar_720",
    "1_4_ar_4694",
    "1_4_ar_2235",
    "1_4_ar_2982",
    "1_4_ar_4479",
    "1_4_fl_1931",
    "1_4_fl_635",
    "1_4_fl_874",
    "1_4_ar_2117",
    "1_5_01",
    "1_5_02",
    "1_5_03",
    "1_5_04",
    "1_5_05",
    "1_5_06",
    "1_5_07",
    "1_5_08",
    "1_5_13",
    "1_5_14",
];

#[test]
fn no_number_is_missing() {
    let source = include_str!("bugs.rs");
    let missing: Vec<&str> =
        NUMBERS.into_iter().filter(|number| !source.contains(&format!("fn bug_{number}()"))).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// v2 at 20 %, waiting for a person.
fn mid_canary() -> World {
    let mut world = World::serving(vec![set_weight(20), pause(None), set_weight(60)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v2"), [0, 20]);
    world
}

fn analysed() -> World {
    let mut world = World::serving(vec![set_weight(20), analysis(), set_weight(60)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world
}

/// An edit of the rule in mid-canary sent all traffic to the canary.
#[test]
fn bug_6_6_03() {
    let mut world = mid_canary();
    world.edit(|spec| {
        spec.ingress.aws_application_load_balancer.as_mut().unwrap().listener.rule.path_patterns =
            vec!["/x".to_owned()];
    });
    assert_eq!(world.shares_of("v2"), [0, 20]);
    assert_eq!(world.lb["arn:v1-a"], 80);
}

/// No matching target group and no version crashed the controller.
#[test]
fn bug_6_6_04() {
    let mut world = World::new(vec![set_weight(20)], 1);
    world.run();
    assert_eq!(world.phase(), CellPhase::Pending);
    assert!(world.message().contains("none is there"));
}

/// A Cell without the load balancer's field, or without a canary, crashed the controller.
#[test]
fn bug_6_6_05() {
    let mut world = World::new(Vec::new(), 1);
    world.cell.spec.ingress = Ingress::default();
    world.run();
    assert!(world.message().contains("spec.ingress.awsApplicationLoadBalancer: is missing"), "{}", world.message());
    let mut world = World::new(Vec::new(), 1);
    let strategy = world.cell.spec.update_strategy.get_or_insert_default();
    strategy.canary = None;
    strategy.type_ = StrategyType::BlueGreen;
    world.add("v1-a", "1.0.0");
    world.run();
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "2.0.0");
}

/// An analysis without templates crashed the controller.
#[test]
fn bug_6_6_06() {
    let mut step = analysis();
    step.analysis.as_mut().unwrap().templates.clear();
    let mut world = World::new(vec![set_weight(20), step], 1);
    world.run();
    let expected = "spec.updateStrategy.canary.steps[1].analysis.templates: is empty: name at least one template";
    assert_eq!(world.message(), expected);
}

/// A surplus group, or a half-born newer version, froze a rollout.
#[test]
fn bug_6_6_09() {
    let mut world = World::serving(vec![set_weight(20), pause(Some("1s"))], 2, &["v1-a", "v1-b"]);
    for group in ["v2-a", "v2-b"] {
        world.add(group, "2.0.0");
    }
    world.run();
    world.add("v2-c", "2.0.0");
    world.add("v3-a", "3.0.0");
    world.pass(seconds(1));
    assert_eq!(world.stable(), "2.0.0");
}

/// setWeight was added up.
#[test]
fn bug_6_6_10() {
    let mut world = World::serving([20, 40, 60, 80].map(set_weight).to_vec(), 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v2"), [0, 20, 40, 60, 80, 100]);
}

/// Runs of other Cells with the same step index counted.
#[test]
fn bug_6_6_11() {
    let mut world = analysed();
    for other in ["api-r2-1-analysis", "web-r1-1-analysis", "web-r2-0-analysis"] {
        world.set_run(other, RunPhase::Failed);
    }
    assert_eq!(world.outcome(), None);
    assert_eq!(world.shares_of("v2"), [0, 20]);
}

/// desiredVersion was never stored, and the status was rejected.
#[test]
fn bug_6_6_12() {
    let world = mid_canary();
    assert_eq!(world.status().desired_version.as_deref(), Some("2.0.0"));
    let text = serde_json::to_string(&world.status()).unwrap();
    assert!(!text.contains("null"), "an explicit null is refused by the API server: {text}");
}

/// A Cell with a network load balancer broke the decoding of all Cells.
#[test]
fn bug_6_6_13() {
    let text = r#"{"apiVersion":"okra.mumo.co/v1alpha1","kind":"Cell","metadata":{"name":"n"},
        "spec":{"ingress":{"type":"AWSNetworkLoadBalancer","awsNetworkLoadBalancer":{"listenerARN":"x"}}}}"#;
    let cell: Cell = serde_json::from_str(text).unwrap();
    assert_eq!(cell.spec.ingress.type_, IngressType::AWSNetworkLoadBalancer);
    let mut world = World::new(Vec::new(), 1);
    world.cell.spec = cell.spec;
    world.run();
    assert!(world.message().starts_with("spec.ingress.type: AWSNetworkLoadBalancer is planned"), "{}", world.message());
}

/// One group with a bad version label failed the whole Cell.
#[test]
fn bug_6_6_14() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("bad", "not a version");
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "2.0.0");
}

/// The new version's objects vanished, and old clusters came back by canary steps while dead ones kept the rest.
#[test]
fn bug_6_6_16() {
    let mut world = mid_canary();
    world.ask(Verb::Promote, &[("full", "true")]);
    assert_eq!(world.stable(), "2.0.0");
    world.lb_history.clear();
    world.remove("v2-a");
    world.run();
    assert_eq!(world.shares_of("v1"), [100]);
    assert!(!world.lb.contains_key("arn:v2-a"));
}

/// Any edit of a target group's metadata began the canary again.
#[test]
fn bug_6_6_17() {
    let mut world = mid_canary();
    let pauses = world.pauses.clone();
    world.groups.get_mut("v2-a").unwrap().labels.insert("team".to_owned(), "a".to_owned());
    world.run();
    assert_eq!(world.pauses, pauses);
    assert_eq!(world.step(), 1);
}

/// The Cell went on without waiting for the load balancer.
#[test]
fn bug_6_6_20() {
    let mut world = World::serving(vec![set_weight(20), analysis()], 1, &["v1-a"]);
    world.lb_answers = false;
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.step(), 0);
    assert!(world.message().contains("waits for the load balancer"), "{}", world.message());
    world.lb_answers = true;
    world.run();
    assert_eq!(world.step(), 1);
}

/// `pause: {}` and bad durations expired at once; a cancelled pause came back.
#[test]
fn bug_6_6_21() {
    let mut world = mid_canary();
    world.pass(seconds(1_000_000));
    assert_eq!(world.shares_of("v2"), [0, 20]);
    world.pauses.get_mut("web-r2-1-pause").unwrap().phase = Some(PausePhase::Cancelled);
    world.run();
    assert_eq!(world.stable(), "2.0.0", "a Pause cancelled by hand lets the rollout go on");
    let mut bad = World::new(vec![pause(Some("10 m"))], 1);
    bad.run();
    assert!(bad.message().contains("steps[0].pause.duration: \"10 m\" is not a duration"), "{}", bad.message());
}

/// An inconclusive analysis was waited for without a word.
#[test]
fn bug_6_6_22() {
    let mut world = analysed();
    world.set_run("web-r2-1-analysis", RunPhase::Inconclusive);
    assert_eq!(world.phase(), CellPhase::Paused);
    assert!(world.message().contains("resume goes on, abort goes back"), "{}", world.message());
}

/// Runs went on measuring after the rollout was over.
#[test]
fn bug_6_6_24() {
    let mut world = analysed();
    world.set_run("web-r2-1-analysis", RunPhase::Running);
    world.ask(Verb::Abort, &[]);
    assert_eq!(world.runs["web-r2-1-analysis"].phase, RunPhase::Successful, "asked to end");
}

/// The blocklist had duplicates and was ignored by first deployments.
#[test]
fn bug_6_6_25() {
    let mut world = World::new(Vec::new(), 1);
    world.blocked.push(okra_api::BlockedVersion { version: "v2".to_owned(), ..Default::default() });
    world.add("v1-a", "1.0.0");
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "1.0.0");
    let mut world = analysed();
    world.set_run("web-r2-1-analysis", RunPhase::Failed);
    world.run();
    assert_eq!(world.blocked.len(), 1);
}

/// BlueGreen was documented and not there.
#[test]
fn bug_6_6_34() {
    let mut world = World::new(Vec::new(), 1).blue_green(Vec::new());
    world.add("v1-a", "1.0.0");
    world.run();
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "2.0.0");
}

/// Under throttling a rollout "completed" while the old side still had the traffic.
#[test]
fn bug_1_4_ar_3333() {
    let mut world = mid_canary();
    world.ask(Verb::Resume, &[]);
    let mut world = World { lb_answers: true, ..world };
    assert_eq!(world.stable(), "2.0.0");
    world.add("v3-a", "3.0.0");
    world.run();
    world.ask(Verb::Resume, &[]);
    assert_eq!(world.stable(), "3.0.0");
    let mut deaf = mid_canary();
    deaf.lb_answers = false;
    deaf.ask(Verb::Promote, &[("full", "true")]);
    assert_eq!(deaf.stable(), "1.0.0");
    assert!(deaf.lb.contains_key("arn:v1-a"));
}

/// The next step began before the weight was in force.
#[test]
fn bug_1_4_ar_701() {
    let mut world = mid_canary();
    world.lb_answers = false;
    world.ask(Verb::Resume, &[]);
    assert_eq!(world.step(), 2);
    world.pass(seconds(100));
    assert_eq!(world.step(), 2);
}

/// A pause was repeated after it was over, because an old copy was acted on.
#[test]
fn bug_1_4_ar_720() {
    let mut world = World::serving(vec![set_weight(20), pause(Some("5s")), set_weight(40)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    let before = world.cell.status.clone();
    world.pass(seconds(5));
    assert_eq!(world.stable(), "2.0.0");
    let mut stale = world.clone();
    stale.cell.status = before;
    stale.run();
    assert_eq!(stale.stable(), "2.0.0", "the old status leads to the same end");
    assert_eq!(stale.pauses.len(), world.pauses.len());
}

/// A promotion was not seen, and the rollout stood still for ever.
#[test]
fn bug_1_4_ar_4694() {
    let mut world = mid_canary();
    assert!(world.ask(Verb::Promote, &[]).0);
    assert_eq!(world.status().last_request.unwrap().verb, Verb::Promote);
    assert_eq!(world.stable(), "2.0.0");
}

/// The stable side was taken away too early, and on abort.
#[test]
fn bug_1_4_ar_2235() {
    let mut world = mid_canary();
    world.edit(|spec| spec.retire_after = Some("0s".into()));
    world.ask(Verb::Abort, &[]);
    assert_eq!(world.lb["arn:v1-a"], 100);
    world.pass(seconds(100));
    assert_eq!(world.lb["arn:v1-a"], 100);
}

/// An object was reconciled a thousand times a minute.
#[test]
fn bug_1_4_ar_2982() {
    let mut world = mid_canary();
    assert!(!world.reconcile(), "a rollout that waits writes nothing");
    assert_eq!(world.last.as_ref().unwrap().wake_at, None, "and asks for nothing");
}

/// An analysis with errors counted as a success.
#[test]
fn bug_1_4_ar_4479() {
    let mut world = analysed();
    world.set_run("web-r2-1-analysis", RunPhase::Error);
    assert_eq!(world.outcome(), Some(RolloutOutcome::Failed));
}

/// A roll-back went to a version that was broken already.
#[test]
fn bug_1_4_fl_1931() {
    let mut world = mid_canary();
    world.health.insert("v1-a".to_owned(), (0, 3));
    world.ask(Verb::Abort, &[]);
    assert_eq!(world.lb["arn:v1-a"], 80, "no more for a side with no healthy target");
    assert!(world.message().contains("v1-a: 0 of 3 healthy"), "{}", world.message());
}

/// The way back was open, and the parked side had shrunk: people were not told.
#[test]
fn bug_1_4_fl_635() {
    let mut world = mid_canary();
    world.ask(Verb::Resume, &[]);
    let route = world.route.as_mut().unwrap();
    let health = route.status.health.iter_mut().find(|health| health.name == "v1-a").unwrap();
    health.healthy = 1;
    world.run();
    let condition = okra_api::condition::find(&world.status().conditions, "RollbackReady").unwrap().clone();
    assert_eq!((condition.status.as_str(), condition.message.as_str()), ("False", "1.0.0: 1 of 3 healthy"));
}

/// Traffic went to a canary with nothing in it.
#[test]
fn bug_1_4_fl_874() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.health.insert("v2-a".to_owned(), (0, 0));
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v2"), [0]);
}

/// An old leader went on beside the new one: the same state gives the same plan, so the second write is none.
#[test]
fn bug_1_4_ar_2117() {
    let mut world = World::serving(vec![set_weight(20), pause(None)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.reconcile();
    let seen = world.observe();
    let (one, two) = (crate::cell::plan(&seen, world.now), crate::cell::plan(&seen, world.now));
    assert_eq!(one, two);
}

/// A Cell without a pin that matched nothing crashed the process.
#[test]
fn bug_1_5_01() {
    let mut world = World::new(Vec::new(), 2);
    world.add("other", "1.0.0");
    world.groups.get_mut("other").unwrap().labels.insert("role".to_owned(), "api".to_owned());
    world.run();
    assert_eq!(world.phase(), CellPhase::Pending);
}

/// A third version in mid-canary gave the half-tested second one the stable share.
#[test]
fn bug_1_5_02() {
    let mut world = mid_canary();
    world.add("v3-a", "3.0.0");
    world.run();
    assert!(world.shares_of("v2").iter().all(|share| *share <= 20));
    assert_eq!(world.lb.get("arn:v2-a").copied().unwrap_or(0), 0);
}

/// The README's steps became an error.
#[test]
fn bug_1_5_03() {
    bug_6_6_10();
}

/// A weight step passed before the weight was written, and its analysis began first.
#[test]
fn bug_1_5_04() {
    let mut world = World::serving(vec![set_weight(20), analysis()], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world
        .runs
        .insert("web-r2-1-analysis".to_owned(), ObservedRun { phase: RunPhase::Failed, ..ObservedRun::default() });
    world.reconcile();
    assert_eq!(world.outcome(), None, "a verdict of traffic that is not there does not count");
}

/// Children were found by step index across Cells.
#[test]
fn bug_1_5_05() {
    bug_6_6_11();
}

/// A missing generator or template crashed.
#[test]
fn bug_1_5_06() {
    bug_6_6_06();
}

/// A label edit restarted the rollout.
#[test]
fn bug_1_5_07() {
    bug_6_6_17();
}

/// An edit of the listener dropped the target groups for a moment.
#[test]
fn bug_1_5_08() {
    let mut world = mid_canary();
    world.lb_history.clear();
    world.edit(|spec| spec.ingress.aws_application_load_balancer.as_mut().unwrap().listener.rule.priority = 20);
    assert!(world.lb_history.is_empty(), "the weights are untouched");
    let RoutePlace::Alb { listener, .. } = &world.route.as_ref().unwrap().desired.place else { panic!() };
    assert_eq!(listener.rule.priority, 20);
}

/// The status was computed on a copy and lost, and every pass wrote it anyway.
#[test]
fn bug_1_5_13() {
    let mut world = mid_canary();
    let status = world.status();
    assert!(!world.reconcile());
    assert_eq!(world.status(), status);
}

/// The resync timed the end of a pause: here the end of the Pause object wakes the Cell.
#[test]
fn bug_1_5_14() {
    let mut world = World::serving(vec![set_weight(20), pause(Some("5s"))], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    let start = world.now;
    assert_eq!(world.pauses["web-r2-1-pause"].expire_time, start.checked_add(seconds(5)).ok());
}

//! Every paragraph of the Cell's description as a story.

use jiff::SignedDuration;
use okra_api::{
    GoDuration, Request, RouteOutcome, RunPhase, Verb,
    cell::{CountOrPercent, OnFailure},
    cell_status::{CellPhase, RolloutOutcome},
    condition,
    step::{BlueGreenStep, PauseStep, PromoteStep},
};
use pretty_assertions::assert_eq;

use super::world::{World, analysis, pause, set_weight};

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn weights(pairs: &[(&str, i32)]) -> Vec<(String, i32)> {
    pairs.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

/// The seed README's steps.
fn readme() -> Vec<okra_api::step::CanaryStep> {
    vec![set_weight(20), pause(Some("5s")), set_weight(40)]
}

fn condition_is(world: &World, type_: &str) -> Option<bool> {
    condition::find(&world.status().conditions, type_).map(|condition| condition.status == "True")
}

/// v2 at 20 %, paused.
fn mid_canary() -> World {
    let mut world =
        World::serving(vec![set_weight(20), pause(None), set_weight(40), pause(None)], 2, &["v1-a", "v1-b"]);
    world.add("v2-a", "2.0.0");
    world.add("v2-b", "2.0.0");
    world.run();
    assert_eq!(world.step(), 1, "{}", world.message());
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 10), ("v2-b", 10)]));
    world
}

#[test]
fn a_first_deployment_goes_to_all_at_once() {
    let mut world = World::new(readme(), 2);
    world.add("v1-a", "1.0.0");
    world.run();
    assert_eq!(world.phase(), CellPhase::Pending);
    assert_eq!(world.message(), "waits for 2 target group(s) of one version (1.0.0: 1)");
    assert!(world.route.is_none());
    world.add("v1-b", "1.0.0");
    world.run();
    assert_eq!(world.phase(), CellPhase::Healthy);
    assert_eq!(world.lb_history.len(), 1);
    assert_eq!(world.weights(), weights(&[("v1-a", 50), ("v1-b", 50)]));
    assert_eq!(world.stable(), "1.0.0");
}

#[test]
fn a_canary_is_attached_at_zero_and_goes_through_its_steps() {
    let mut world = World::serving(readme(), 2, &["v1-a", "v1-b"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.phase(), CellPhase::Healthy, "one of two is not enough");
    world.add("v2-b", "2.0.0");
    world.run();
    assert_eq!(world.phase(), CellPhase::Paused);
    world.pass(seconds(4));
    assert_eq!(world.shares_of("v2"), [0, 20]);
    world.pass(seconds(1));
    assert_eq!(world.shares_of("v2"), [0, 20, 40, 100]);
    assert_eq!(world.phase(), CellPhase::Healthy);
    assert_eq!(world.stable(), "2.0.0");
    assert_eq!(world.outcome(), Some(RolloutOutcome::Succeeded));
    assert_eq!(world.weights(), weights(&[("v1-a", 0), ("v1-b", 0), ("v2-a", 50), ("v2-b", 50)]));
    let writes = world.lb_history.len();
    assert_eq!(writes, 4, "attach, 20, 40, 100");
    assert!(!world.reconcile(), "at rest nothing is done or said");
}

#[test]
fn nothing_is_written_any_more_at_rest() {
    let mut world = World::serving(readme(), 1, &["v1-a"]);
    world.pass(seconds(3600));
    assert!(!world.reconcile());
    assert_eq!(world.last.as_ref().unwrap().wake_at, None);
}

#[test]
fn no_health_no_traffic() {
    let mut world = World::serving(readme(), 2, &["v1-a", "v1-b"]);
    world.health.insert("v2-b".to_owned(), (0, 3));
    world.add("v2-a", "2.0.0");
    world.add("v2-b", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v2"), [0]);
    assert!(world.message().contains("v2-b: 0 of 3 healthy"), "{}", world.message());
    world.pass(seconds(601));
    assert_eq!(world.phase(), CellPhase::Degraded);
    assert_eq!(condition_is(&world, condition::DEGRADED), Some(true));
    world.health.insert("v2-b".to_owned(), (1, 3));
    world.run();
    assert_eq!(world.shares_of("v2"), [0, 20]);
}

#[test]
fn a_percentage_floor_grows_with_the_share() {
    let mut world = World::new(vec![set_weight(10), pause(Some("1s")), set_weight(50), pause(Some("1s"))], 1);
    world.cell.spec.min_healthy_targets = Some(CountOrPercent::Text("80%".to_owned()));
    world.health.insert("v1-a".to_owned(), (30, 30));
    world.health.insert("v2-a".to_owned(), (3, 3));
    world.add("v1-a", "1.0.0");
    world.run();
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.status().rollout.unwrap().healthy_at_start["v1-a"], 30);
    assert_eq!(world.weights(), weights(&[("v1-a", 90), ("v2-a", 10)]), "{}", world.message());
    world.pass(seconds(1));
    assert!(world.message().contains("needs 12"), "{}", world.message());
    assert_eq!(world.weights(), weights(&[("v1-a", 90), ("v2-a", 10)]));
    world.health.insert("v2-a".to_owned(), (12, 30));
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 50), ("v2-a", 50)]));
}

/// A later rollout measures again, although the serving side has as many healthy targets as before.
#[test]
fn a_percentage_floor_does_not_stall_on_unchanged_counts() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.edit(|spec| spec.min_healthy_targets = Some(CountOrPercent::Text("80%".to_owned())));
    for version in 2..=4 {
        world.pass(seconds(60));
        world.add(&format!("v{version}-a"), &format!("{version}.0.0"));
        world.run();
        assert_eq!(world.stable(), format!("{version}.0.0"), "{}", world.message());
        let at_start = world.status().rollout.unwrap().healthy_at_start;
        assert_eq!(at_start[&format!("v{}-a", version - 1)], 3);
    }
}

#[test]
fn a_failed_analysis_goes_back_in_one_call_and_blocks() {
    let mut world = World::serving(vec![set_weight(20), analysis(), set_weight(60)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.step(), 1);
    assert!(world.message().contains("data path"), "{}", world.message());
    world.pass(seconds(10));
    assert!(world.message().contains("web-r2-1-analysis"), "{}", world.message());
    world.set_run("web-r2-1-analysis", RunPhase::Running);
    assert_eq!(world.phase(), CellPhase::Progressing);
    world.lb_history.clear();
    world.set_run("web-r2-1-analysis", RunPhase::Failed);
    assert_eq!(world.lb_history.len(), 1, "one call");
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
    assert_eq!(world.outcome(), Some(RolloutOutcome::Failed));
    assert_eq!(world.phase(), CellPhase::Failed);
    let message = world.message();
    assert!(message.starts_with("2.0.0 was taken back: AnalysisRun web-r2-1-analysis ended Failed"), "{message}");
    assert!(message.ends_with("; 1.0.0 serves"), "{message}");
    assert_eq!(world.status().blocked_versions, ["2.0.0"]);
    world.pass(seconds(3600));
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
    world.blocked.clear();
    world.run();
    assert_eq!(world.shares_of("v2"), [0, 20], "a person unblocks by editing");
    assert_eq!(
        world.status().rollout.unwrap().current_step_run.as_deref(),
        Some("web-r3-1-analysis"),
        "S16: no old verdict"
    );
}

#[test]
fn a_passed_analysis_goes_on() {
    let mut world = World::serving(vec![set_weight(20), analysis(), set_weight(60)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.set_run("web-r2-1-analysis", RunPhase::Successful);
    assert_eq!(world.shares_of("v2"), [0, 20, 60, 100]);
}

#[test]
fn hold_on_failure_waits_for_a_person() {
    let mut world = World::serving(vec![set_weight(20), analysis(), set_weight(60)], 1, &["v1-a"]);
    world.edit(|spec| spec.on_failure = OnFailure::Hold);
    world.add("v2-a", "2.0.0");
    world.run();
    world.set_run("web-r2-1-analysis", RunPhase::Error);
    assert_eq!(world.phase(), CellPhase::Paused);
    assert!(world.status().blocked_versions.is_empty());
    assert_eq!(world.weights(), weights(&[("v1-a", 80), ("v2-a", 20)]));
    world.pass(seconds(9999));
    assert_eq!(world.phase(), CellPhase::Paused, "waiting for a person is no deadline");
    assert!(world.ask(Verb::Resume, &[]).0);
    assert_eq!(world.shares_of("v2"), [0, 20, 60, 100]);
}

#[test]
fn inconclusive_is_a_pause_with_a_reason() {
    let mut world = World::serving(vec![set_weight(20), analysis(), set_weight(60)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.set_run("web-r2-1-analysis", RunPhase::Inconclusive);
    assert_eq!(world.phase(), CellPhase::Paused);
    assert_eq!(condition::find(&world.status().conditions, condition::PAUSED).unwrap().reason, "Inconclusive");
    let (accepted, message) = world.ask(Verb::Abort, &[]);
    assert!(accepted, "{message}");
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
    assert_eq!(world.outcome(), Some(RolloutOutcome::Aborted));
}

#[test]
fn a_background_analysis_judges_every_step() {
    let mut world = World::serving(vec![set_weight(20), pause(None), set_weight(60)], 1, &["v1-a"]);
    world.edit(|spec| {
        let canary = spec.update_strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.analysis = Some(okra_api::step::BackgroundAnalysis {
            templates: vec![okra_api::step::TemplateRef { template_name: "t".to_owned(), cluster_scope: false }],
            starting_step: Some(1),
            ..Default::default()
        });
    });
    world.add("v2-a", "2.0.0");
    world.run();
    world.pass(seconds(10));
    assert!(
        world.message().contains("AnalysisRun web-r2-bg cannot be made: analysistemplate.argoproj.io \"t\" not found"),
        "{}",
        world.message()
    );
    world.set_run("web-r2-bg", RunPhase::Running);
    assert_eq!(world.phase(), CellPhase::Paused, "{}", world.message());
    world.set_run("web-r2-bg", RunPhase::Failed);
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
    assert_eq!(world.outcome(), Some(RolloutOutcome::Failed));
}

#[test]
fn abort_goes_back_in_one_call() {
    let mut world = mid_canary();
    world.lb_history.clear();
    assert!(world.ask(Verb::Abort, &[]).0);
    assert_eq!(world.lb_history.len(), 1);
    assert_eq!(world.weights(), weights(&[("v1-a", 50), ("v1-b", 50), ("v2-a", 0), ("v2-b", 0)]));
    assert_eq!(world.status().blocked_versions, ["2.0.0"]);
    let record = &world.status().history[0];
    assert_eq!((record.outcome, record.by.as_str()), (RolloutOutcome::Aborted, "ann"));
    assert!(!world.ask(Verb::Abort, &[]).0);
}

#[test]
fn a_request_is_carried_out_once_and_only_on_what_was_seen() {
    let mut world = mid_canary();
    let seen = world.status().rollout.unwrap();
    let request = |id: &str, rollout: &str, step| Request {
        id: id.to_owned(),
        verb: Verb::Promote,
        rollout_id: Some(rollout.to_owned()),
        step: Some(step),
        user: "ann".to_owned(),
        args: std::collections::BTreeMap::new(),
    };
    assert!(world.ask_raw(&request("a", &seen.id, 1)).0);
    assert_eq!(world.step(), 3);
    world.run();
    assert_eq!(world.step(), 3, "the same annotation does nothing again");
    let (accepted, message) = world.ask_raw(&request("b", &seen.id, 1));
    assert!(!accepted && message.contains("moved on"), "{message}");
    let (accepted, message) = world.ask_raw(&request("c", "1.0.0-9", 3));
    assert!(!accepted && message.contains("it was asked of rollout 1.0.0-9"), "{message}");
    assert_eq!(world.step(), 3);
}

#[test]
fn promote_full_skips_all_steps_but_never_the_floor() {
    let mut world = mid_canary();
    world.health.insert("v2-b".to_owned(), (0, 3));
    assert!(world.ask(Verb::Promote, &[("full", "true")]).0);
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 10), ("v2-b", 10)]));
    assert!(world.message().contains("v2-b: 0 of 3 healthy"), "{}", world.message());
    world.health.insert("v2-b".to_owned(), (3, 3));
    world.run();
    assert_eq!(world.stable(), "2.0.0");
    assert_eq!(world.status().history[0].by, "ann");
}

#[test]
fn pause_holds_and_resume_goes_on() {
    let mut world = World::serving(readme(), 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert!(world.ask(Verb::Pause, &[]).0);
    world.pass(seconds(60));
    assert_eq!(world.shares_of("v2"), [0, 20]);
    assert_eq!(condition::find(&world.status().conditions, condition::PAUSED).unwrap().reason, "PausedByPerson");
    assert!(world.ask(Verb::Resume, &[]).0);
    assert_eq!(world.shares_of("v2"), [0, 20, 40, 100]);
}

#[test]
fn resume_ends_a_pause_step() {
    let mut world = mid_canary();
    assert!(world.ask(Verb::Resume, &[]).0);
    assert_eq!(world.step(), 3);
    assert!(world.ask(Verb::Resume, &[]).0);
    assert_eq!(world.stable(), "2.0.0");
}

#[test]
fn undo_goes_back_after_success_in_one_call() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "2.0.0");
    world.lb_history.clear();
    let (accepted, message) = world.ask(Verb::Undo, &[]);
    assert!(accepted, "{message}");
    assert_eq!(world.lb_history.len(), 1);
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
    assert_eq!(world.stable(), "1.0.0");
    assert_eq!(world.status().blocked_versions, ["2.0.0"]);
    world.pass(seconds(3600));
    assert_eq!(world.stable(), "1.0.0");
}

#[test]
fn undo_after_undo_says_that_there_is_nothing_older() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    assert!(world.ask(Verb::Undo, &[]).0);
    let (accepted, message) = world.ask(Verb::Undo, &[]);
    assert!(!accepted && message.contains("there is no version before"), "{message}");
}

#[test]
fn retry_unblocks_and_begins_at_step_0() {
    let mut world = mid_canary();
    world.ask(Verb::Abort, &[]);
    assert!(world.ask(Verb::Retry, &[]).0);
    assert_eq!(world.step(), 1);
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 10), ("v2-b", 10)]));
    assert!(world.status().blocked_versions.is_empty());
}

#[test]
fn unblock_takes_a_version_off_the_list() {
    let mut world = mid_canary();
    world.ask(Verb::Abort, &[]);
    assert!(!world.ask(Verb::Unblock, &[("version", "3.0.0")]).0);
    assert!(world.ask(Verb::Unblock, &[("version", "v2")]).0);
    assert_eq!(world.step(), 1, "and its rollout begins again");
}

#[test]
fn a_lower_pin_is_an_immediate_rollback() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.lb_history.clear();
    world.edit(|spec| spec.version = Some("1.0.0".to_owned()));
    assert_eq!(world.lb_history.len(), 1);
    assert_eq!(world.stable(), "1.0.0");
    assert!(world.status().blocked_versions.is_empty(), "a pin blocks nothing");
}

#[test]
fn a_pin_back_in_mid_canary_goes_back() {
    let mut world = mid_canary();
    world.edit(|spec| spec.version = Some("1.0.0".to_owned()));
    assert_eq!(world.weights(), weights(&[("v1-a", 50), ("v1-b", 50), ("v2-a", 0), ("v2-b", 0)]));
    assert_eq!(world.outcome(), Some(RolloutOutcome::Superseded));
    world.pass(seconds(3600));
    assert_eq!(world.stable(), "1.0.0");
}

#[test]
fn a_rollback_leaves_out_a_dead_group() {
    let mut world = World::serving(vec![set_weight(100)], 2, &["v1-a", "v1-b"]);
    world.add("v2-a", "2.0.0");
    world.add("v2-b", "2.0.0");
    world.run();
    world.health.insert("v1-b".to_owned(), (0, 3));
    assert!(world.ask(Verb::Undo, &[]).0);
    assert_eq!(
        world.weights(),
        weights(&[("v1-a", 100), ("v1-b", 0), ("v2-a", 0), ("v2-b", 0)]),
        "{}",
        world.message()
    );
}

#[test]
fn when_nobody_is_healthy_nothing_moves_and_it_says_so() {
    let mut world = mid_canary();
    for group in ["v1-a", "v1-b"] {
        world.health.insert(group.to_owned(), (0, 3));
    }
    world.ask(Verb::Abort, &[]);
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 10), ("v2-b", 10)]));
    assert!(world.message().contains("0 of 3 healthy"), "{}", world.message());
    world.health.insert("v1-a".to_owned(), (2, 3));
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v1-b", 0), ("v2-a", 0), ("v2-b", 0)]));
}

#[test]
fn a_third_version_in_mid_canary_supersedes() {
    let mut world = mid_canary();
    world.add("v3-a", "3.0.0");
    world.run();
    assert_eq!(world.step(), 1, "one of two changes nothing");
    assert_eq!(world.outcome(), None);
    world.add("v3-b", "3.0.0");
    world.run();
    assert_eq!(world.status().history[0].outcome, RolloutOutcome::Superseded);
    assert_eq!(world.shares_of("v2"), [0, 20, 0]);
    assert_eq!(world.weights()[0..2], weights(&[("v1-a", 50), ("v1-b", 50)])[..]);
    world.pass(seconds(11));
    assert_eq!(world.shares_of("v3"), [0, 20], "{}", world.message());
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v3-a", 10), ("v3-b", 10)]));
}

#[test]
fn a_canary_below_replicas_is_withdrawn_and_not_blocked() {
    let mut world = mid_canary();
    world.remove("v2-a");
    world.run();
    assert_eq!(world.weights()[0..2], weights(&[("v1-a", 50), ("v1-b", 50)])[..]);
    assert_eq!(world.outcome(), Some(RolloutOutcome::Withdrawn));
    assert!(world.status().blocked_versions.is_empty());
}

#[test]
fn stable_groups_gone_is_an_immediate_fall_back() {
    let mut world = mid_canary();
    world.remove("v1-a");
    world.remove("v1-b");
    world.run();
    assert_eq!(world.weights(), weights(&[("v2-a", 50), ("v2-b", 50)]));
    assert_eq!(world.stable(), "2.0.0");
}

#[test]
fn new_groups_gone_falls_back_to_the_old_ones() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.remove("v2-a");
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 100)]));
    assert_eq!(world.stable(), "1.0.0");
}

#[test]
fn all_groups_gone_leaves_the_rule_and_degrades() {
    let mut world = mid_canary();
    let before = world.weights();
    for group in ["v1-a", "v1-b", "v2-a", "v2-b"] {
        world.remove(group);
    }
    world.run();
    assert_eq!(world.weights(), before);
    assert_eq!(world.phase(), CellPhase::Degraded);
    assert!(world.message().contains("the rule stays as it is"));
}

#[test]
fn a_group_that_joins_stable_enters_at_zero() {
    let mut world = World::serving(readme(), 1, &["v1-a"]);
    world.health.insert("v1-b".to_owned(), (0, 2));
    world.add("v1-b", "1.0.0");
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v1-b", 0)]));
    world.health.insert("v1-b".to_owned(), (2, 2));
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 50), ("v1-b", 50)]));
}

#[test]
fn a_group_that_joins_a_canary_never_changes_its_total() {
    let mut world = mid_canary();
    world.health.insert("v2-c".to_owned(), (0, 1));
    world.add("v2-c", "2.0.0");
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 10), ("v2-b", 10), ("v2-c", 0)]));
    world.health.insert("v2-c".to_owned(), (1, 1));
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 8), ("v2-b", 6), ("v2-c", 6)]));
    assert_eq!(world.shares_of("v2"), [0, 20]);
}

#[test]
fn a_relabelled_group_leaves_its_version() {
    let mut world = World::serving(readme(), 1, &["v1-a", "v1-b"]);
    world.relabel("v1-b", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v1-b"), [20], "what it had under its old version is no more than its step gives it");
    assert_eq!(world.weights(), weights(&[("v1-a", 80), ("v1-b", 20)]));
}

#[test]
fn a_drained_group_goes_to_zero_and_comes_back_by_the_floor() {
    let mut world = World::serving(readme(), 1, &["v1-a", "v1-b"]);
    world.groups.get_mut("v1-b").unwrap().drained = true;
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v1-b", 0)]));
    world.groups.get_mut("v1-a").unwrap().drained = true;
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v1-b", 0)]), "never the last serving one");
    world.groups.get_mut("v1-a").unwrap().drained = false;
    world.groups.get_mut("v1-b").unwrap().drained = false;
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 50), ("v1-b", 50)]));
}

#[test]
fn suspend_moves_nothing_except_towards_safety() {
    let mut world = mid_canary();
    world.edit(|spec| spec.suspend = true);
    assert_eq!(world.phase(), CellPhase::Paused);
    world.ask(Verb::Resume, &[]);
    world.pass(seconds(60));
    assert_eq!(world.shares_of("v2"), [0, 20]);
    world.ask(Verb::Abort, &[]);
    assert_eq!(world.shares_of("v2"), [0, 20, 0]);
}

#[test]
fn a_way_back_is_held_up_by_nothing() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.lb_answers = false;
    world.edit(|spec| {
        spec.suspend = true;
        spec.version = Some("1.0.0".to_owned());
    });
    let (accepted, message) = world.ask(Verb::Pause, &[]);
    assert!(!accepted && message.contains("traffic is going back"), "{message}");
    world.lb_answers = true;
    world.run();
    assert_eq!(world.stable(), "1.0.0", "{}", world.message());
}

#[test]
fn edits_of_steps_count_from_the_next_rollout() {
    let mut world = mid_canary();
    world.edit(|spec| {
        spec.update_strategy.as_mut().unwrap().canary.as_mut().unwrap().steps = vec![set_weight(99), pause(None)];
    });
    assert!(world.ask(Verb::Resume, &[]).0);
    assert_eq!(world.shares_of("v2"), [0, 20, 40]);
}

#[test]
fn changed_conditions_apply_with_the_weights_unchanged() {
    let mut world = mid_canary();
    let before = world.weights();
    world.edit(|spec| {
        spec.ingress.aws_application_load_balancer.as_mut().unwrap().listener.rule.hosts =
            vec!["new.example.com".to_owned()];
    });
    assert_eq!(world.weights(), before);
    let super::super::RoutePlace::Alb { listener, .. } = &world.route.as_ref().unwrap().desired.place else { panic!() };
    assert_eq!(listener.rule.hosts, ["new.example.com"]);
    assert_eq!(world.step(), 1);
}

#[test]
fn old_groups_stay_attached_until_their_time_is_over() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.edit(|spec| spec.retire_after = Some(GoDuration::from("1h")));
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 0), ("v2-a", 100)]));
    let wake = world.last.as_ref().unwrap().wake_at.expect("looks again when it is over");
    world.pass(wake.duration_since(world.now));
    assert_eq!(world.weights(), weights(&[("v2-a", 100)]));
    let retired = &world.status().retired_target_groups[0];
    assert_eq!(retired.name, "v1-a");
    assert!(retired.detached_at.is_some());
    assert_eq!(retired.safe_to_destroy_at, retired.zero_since.checked_add(seconds(600)).unwrap());
}

#[test]
fn without_retire_after_they_stay_until_the_next_rollout() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.pass(seconds(100_000));
    assert_eq!(world.weights(), weights(&[("v1-a", 0), ("v2-a", 100)]));
    world.add("v3-a", "3.0.0");
    world.run();
    assert_eq!(world.weights(), weights(&[("v2-a", 0), ("v3-a", 100)]));
}

#[test]
fn more_groups_than_an_action_holds_is_said_and_nothing_starts() {
    let mut world = World::serving(readme(), 3, &["v1-a", "v1-b", "v1-c"]);
    for group in ["v2-a", "v2-b", "v2-c"] {
        world.add(group, "2.0.0");
    }
    world.run();
    assert_eq!(world.phase(), CellPhase::Degraded);
    assert!(world.message().contains("3 stable and 3 new target groups are 6 at once"), "{}", world.message());
    assert!(world.lb_history.is_empty());
    assert_eq!(condition::find(&world.status().conditions, condition::DEGRADED).unwrap().reason, "CapacityExceeded");
}

#[test]
fn parked_groups_make_room() {
    let mut world = World::serving(vec![set_weight(20)], 2, &["v1-a", "v1-b"]);
    for (group, version) in [("v2-a", "2.0.0"), ("v2-b", "2.0.0")] {
        world.add(group, version);
    }
    world.run();
    world.add("v3-a", "3.0.0");
    world.add("v3-b", "3.0.0");
    world.run();
    world.pass(seconds(11));
    assert_eq!(world.stable(), "3.0.0", "{}", world.message());
    assert_eq!(world.weights(), weights(&[("v2-a", 0), ("v2-b", 0), ("v3-a", 50), ("v3-b", 50)]));
}

#[test]
fn lost_status_with_a_split_rule_waits_for_a_person() {
    for (verb, stable) in [(Verb::Resume, "1.0.0"), (Verb::Undo, "1.0.0")] {
        let mut world = mid_canary();
        world.cell.status = None;
        world.run();
        assert_eq!(world.phase(), CellPhase::Paused);
        assert_eq!(condition::find(&world.status().conditions, condition::PAUSED).unwrap().reason, "StateLost");
        world.pass(seconds(99_999));
        assert_eq!(world.shares_of("v2"), [0, 20]);
        assert!(world.ask(verb, &[]).0);
        assert_eq!(world.stable(), stable);
        if verb == Verb::Undo {
            assert_eq!(world.status().blocked_versions, ["2.0.0"]);
            assert_eq!(world.shares_of("v2"), [0, 20, 0]);
        }
    }
}

#[test]
fn lost_status_and_route_object_are_found_again_from_the_rule() {
    let mut world = World::serving(readme(), 1, &["v1-a"]);
    world.cell.status = None;
    world.route = None;
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "1.0.0");
    assert_eq!(world.shares_of("v2"), [0, 20], "v2 goes through its steps");
}

#[test]
fn a_blocked_version_serves_on_until_another_one_is_complete() {
    let mut world = World::serving(readme(), 2, &["v1-a", "v1-b"]);
    world.add("v2-a", "2.0.0");
    world.run();
    let count = world.status().rollout_count;
    world.blocked.push(okra_api::BlockedVersion { version: "1.0.0".to_owned(), ..Default::default() });
    world.run();
    assert_eq!((world.stable(), world.status().rollout_count), ("1.0.0".to_owned(), count));
    assert!(world.message().contains("no other complete version"), "{}", world.message());
    world.add("v2-b", "2.0.0");
    world.run();
    assert_eq!(world.stable(), "2.0.0");
}

#[test]
fn nobody_goes_back_to_a_blocked_version() {
    let mut world = World::serving(vec![], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    world.blocked.push(okra_api::BlockedVersion { version: "1.0.0".to_owned(), ..Default::default() });
    world.run();
    let (accepted, message) = world.ask(Verb::Undo, &[]);
    assert!(!accepted && message.contains("1.0.0 is blocked"), "{message}");
    assert!(world.ask(Verb::Unblock, &[("version", "1.0.0")]).0);
    assert!(world.ask(Verb::Undo, &[]).0);
    assert_eq!(world.stable(), "1.0.0");
}

#[test]
fn a_background_analysis_that_fails_goes_back_although_a_person_paused() {
    let mut world = World::serving(vec![set_weight(20), pause(None)], 1, &["v1-a"]);
    world.edit(|spec| {
        let canary = spec.update_strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.analysis = Some(okra_api::step::BackgroundAnalysis {
            templates: vec![okra_api::step::TemplateRef { template_name: "t".to_owned(), cluster_scope: false }],
            ..Default::default()
        });
    });
    world.add("v2-a", "2.0.0");
    world.run();
    world.set_run("web-r2-bg", RunPhase::Running);
    assert!(world.ask(Verb::Pause, &[]).0);
    world.set_run("web-r2-bg", RunPhase::Failed);
    assert_eq!(world.outcome(), Some(RolloutOutcome::Failed));
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
}

#[test]
fn a_way_back_that_a_foreign_edit_holds_is_paused() {
    let mut world = mid_canary();
    world.foreign_edit(&[("v1-a", 10), ("v1-b", 10), ("v2-a", 40), ("v2-b", 40)]);
    world.run();
    world.add("v3-a", "3.0.0");
    world.add("v3-b", "3.0.0");
    world.run();
    assert_eq!(world.outcome(), Some(RolloutOutcome::Superseded));
    // The route controller says of the new spec what it said of the one before.
    let route = world.route.as_mut().unwrap();
    route.status.observed_generation = Some(route.generation);
    world.run();
    assert_eq!(world.phase(), CellPhase::Paused);
    assert!(world.message().contains("somebody else changed the rule"), "{}", world.message());
}

#[test]
fn a_foreign_edit_holds_until_a_person_decides() {
    let mut world = mid_canary();
    world.foreign_edit(&[("v1-a", 10), ("v1-b", 10), ("v2-a", 40), ("v2-b", 40)]);
    world.run();
    assert_eq!(world.phase(), CellPhase::Paused);
    assert!(world.message().contains("somebody else changed the rule"), "{}", world.message());
    assert!(!world.ask(Verb::Resume, &[]).0, "which way?");
    let mut accepting = world.clone();
    assert!(world.ask(Verb::Resume, &[("restore", "true")]).0);
    assert_eq!(world.weights(), weights(&[("v1-a", 40), ("v1-b", 40), ("v2-a", 10), ("v2-b", 10)]));
    assert!(accepting.ask(Verb::Resume, &[("acceptWeights", "true")]).0);
    assert_eq!(accepting.weights(), weights(&[("v1-a", 10), ("v1-b", 10), ("v2-a", 40), ("v2-b", 40)]));
    assert!(accepting.ask(Verb::Resume, &[]).0, "{}", accepting.message());
    assert_eq!(accepting.weights(), weights(&[("v1-a", 30), ("v1-b", 30), ("v2-a", 20), ("v2-b", 20)]));
}

#[test]
fn a_refused_rule_is_said_first_even_in_a_pause() {
    let mut world = mid_canary();
    let route = world.route.as_mut().unwrap();
    route.status.outcome = Some(RouteOutcome::Refused);
    route.status.message = "rule r has no tag of Okra".to_owned();
    world.reconcile();
    assert_eq!(world.phase(), CellPhase::Degraded);
    assert_eq!(world.message(), "rule r has no tag of Okra");
    assert_eq!(condition::find(&world.status().conditions, condition::DEGRADED).unwrap().reason, "Refused");
    assert_eq!(world.step(), 1);
    world.route.as_mut().unwrap().status.outcome = Some(RouteOutcome::Verified);
    world.reconcile();
    assert_eq!(world.phase(), CellPhase::Paused, "{}", world.message());
}

#[test]
fn blue_green_checks_first_and_then_takes_all() {
    let steps = vec![
        BlueGreenStep { pause: Some(PauseStep { duration: None }), ..BlueGreenStep::default() },
        BlueGreenStep { promote: Some(PromoteStep {}), ..BlueGreenStep::default() },
        BlueGreenStep { pause: Some(PauseStep { duration: Some("10s".into()) }), ..BlueGreenStep::default() },
    ];
    let mut world = World::new(Vec::new(), 1).blue_green(steps);
    world.add("v1-a", "1.0.0");
    world.run();
    world.lb_history.clear();
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.weights(), weights(&[("v1-a", 100), ("v2-a", 0)]));
    assert_eq!(world.phase(), CellPhase::Paused);
    assert!(world.ask(Verb::Resume, &[]).0);
    assert_eq!(world.weights(), weights(&[("v1-a", 0), ("v2-a", 100)]));
    assert_eq!(world.stable(), "1.0.0", "steps after the promotion run first");
    world.pass(seconds(10));
    assert_eq!(world.stable(), "2.0.0");
}

#[test]
fn blue_green_ends_with_an_implied_promote() {
    let mut world = World::new(Vec::new(), 1).blue_green(Vec::new());
    world.add("v1-a", "1.0.0");
    world.run();
    world.lb_history.clear();
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v2"), [0, 100]);
    assert_eq!(world.stable(), "2.0.0");
}

#[test]
fn a_bad_field_is_named_and_nothing_moves() {
    let mut world = mid_canary();
    let before = world.weights();
    world.edit(|spec| spec.drain_duration = Some("soon".into()));
    assert_eq!(world.phase(), CellPhase::Degraded);
    assert!(world.message().starts_with("spec.drainDuration: \"soon\" is not a duration"), "{}", world.message());
    assert_eq!(condition_is(&world, condition::VALID), Some(false));
    assert_eq!(world.weights(), before);
    world.edit(|spec| spec.drain_duration = None);
    assert_eq!(world.phase(), CellPhase::Paused, "it goes on where it was");
    assert_eq!(condition_is(&world, condition::VALID), Some(true));
}

#[test]
fn a_group_without_a_version_is_left_out_and_named() {
    let mut world = World::serving(readme(), 1, &["v1-a"]);
    world.add("odd", "latest");
    world.add("v2-a", "2.0.0");
    world.run();
    assert_eq!(world.shares_of("v2"), [0, 20]);
    let valid = condition::find(&world.status().conditions, condition::VALID).unwrap().clone();
    assert_eq!(valid.reason, "InvalidTargetGroups");
    assert!(valid.message.contains("odd: has a bad version: \"latest\" is not a version"), "{}", valid.message);
}

#[test]
fn a_deleted_cell_moves_nothing() {
    let mut world = mid_canary();
    world.cell.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    world.remove("v2-a");
    assert!(!world.reconcile());
}

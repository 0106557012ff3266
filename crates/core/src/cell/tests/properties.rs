//! What holds in every story: random ones, with crashes between any two writes. `PROPTEST_CASES=20000` looks deeper.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use okra_api::{RunPhase, Verb, cell_status::CellPhase, step::CanaryStep};
use proptest::prelude::*;

use super::world::{World, analysis, pause, set_weight};
use crate::{cell::Action, version};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Add(u8, u8),
    Remove(u8, u8),
    Health(u8, u8, u32),
    Time(i64),
    Ask(u8),
    Verdict(u8),
    Suspend(bool),
    Pin(u8),
    Deaf(bool),
    /// A crash after so many of the next plan's writes.
    Crash(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..4_u8, 0..3_u8).prop_map(|(version, index)| Happening::Add(version, index)),
        2 => (1..4_u8, 0..3_u8).prop_map(|(version, index)| Happening::Remove(version, index)),
        2 => (1..4_u8, 0..3_u8, 0..3_u32).prop_map(|(version, index, healthy)| Happening::Health(version, index, healthy)),
        3 => (1..100_i64).prop_map(Happening::Time),
        2 => (0..7_u8).prop_map(Happening::Ask),
        2 => (0..4_u8).prop_map(Happening::Verdict),
        1 => any::<bool>().prop_map(Happening::Suspend),
        1 => (0..4_u8).prop_map(Happening::Pin),
        1 => any::<bool>().prop_map(Happening::Deaf),
        2 => (0..4_u8).prop_map(Happening::Crash),
    ]
}

fn step() -> impl Strategy<Value = CanaryStep> {
    prop_oneof![
        3 => (0..=100_i32).prop_map(set_weight),
        1 => (1..=50_i32).prop_map(|weight| CanaryStep { step_weight: Some(weight), ..CanaryStep::default() }),
        1 => Just(pause(Some("30s"))),
        1 => Just(pause(None)),
        1 => Just(analysis()),
    ]
}

fn name(version: u8, index: u8) -> String {
    format!("v{version}-{index}")
}

fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::Add(version, index) => world.add(&name(*version, *index), &format!("{version}.0.0")),
        Happening::Remove(version, index) => world.remove(&name(*version, *index)),
        Happening::Health(version, index, healthy) => {
            world.health.insert(name(*version, *index), (*healthy, 3));
        }
        Happening::Time(seconds) => world.now = world.now.checked_add(SignedDuration::from_secs(*seconds)).unwrap(),
        Happening::Ask(verb) => {
            let verbs = [Verb::Promote, Verb::Pause, Verb::Resume, Verb::Abort, Verb::Undo, Verb::Retry, Verb::Unblock];
            world.requests += 1;
            let request = okra_api::Request {
                id: format!("r{}", world.requests),
                verb: verbs[usize::from(*verb)],
                rollout_id: None,
                step: None,
                user: "ann".to_owned(),
                args: BTreeMap::from([("version".to_owned(), "2.0.0".to_owned())]),
            };
            let annotations = world.cell.metadata.annotations.get_or_insert_default();
            annotations
                .insert(okra_api::names::REQUEST_ANNOTATION.to_owned(), serde_json::to_string(&request).unwrap());
        }
        Happening::Verdict(verdict) => {
            let phases = [RunPhase::Running, RunPhase::Successful, RunPhase::Failed, RunPhase::Inconclusive];
            if let Some(run) = world.status().rollout.and_then(|rollout| rollout.current_step_run)
                && run.ends_with("analysis")
            {
                world.runs.entry(run).or_default().phase = phases[usize::from(*verdict)];
            }
        }
        Happening::Suspend(suspend) => world.cell.spec.suspend = *suspend,
        Happening::Pin(0) => world.cell.spec.version = None,
        Happening::Pin(version) => world.cell.spec.version = Some(format!("{version}.0.0")),
        Happening::Deaf(deaf) => world.lb_answers = !deaf,
        Happening::Crash(after) => crash(world, usize::from(*after)),
    }
}

/// Carries out the first writes of a plan and forgets the rest.
fn crash(world: &mut World, after: usize) {
    let plan = crate::cell::plan(&world.observe(), world.now);
    world.carry_out(&plan, after);
    world.route_tick();
}

/// What must hold of every state that the load balancer is in.
fn check_state(world: &World, before: &BTreeMap<String, i32>) {
    let weights = &world.lb;
    if weights.is_empty() {
        return;
    }
    assert!(weights.len() <= 5, "S2: {weights:?}");
    assert!(weights.values().all(|weight| (0..=999).contains(weight)), "S1: {weights:?}");
    assert!(weights.values().sum::<i32>() > 0, "S1: all zero");
    let total: i32 = weights.values().sum();
    let old_total: i32 = before.values().sum();
    for (id, weight) in weights {
        let old = before.get(id).copied().unwrap_or(0);
        let raised = i64::from(*weight) * i64::from(old_total.max(1)) > i64::from(old) * i64::from(total);
        let (healthy, _) = world.health.get(id.trim_start_matches("arn:")).copied().unwrap_or_default();
        let floor_off = before.is_empty();
        assert!(
            !raised || healthy > 0 || floor_off,
            "S3: {id} was raised with no healthy target: {before:?} {weights:?}"
        );
    }
}

fn story(steps: Vec<CanaryStep>, replicas: i32, happenings: &[Happening]) {
    let mut world = World::new(steps, replicas);
    for happening in happenings {
        happen(&mut world, happening);
        for _ in 0..4 {
            let before = world.lb.clone();
            world.reconcile();
            world.route_tick();
            check_state(&world, &before);
            let status = world.status();
            assert!(!status.message.is_empty() && status.phase.is_some(), "L2: silent");
        }
    }
    // Faults stop: it comes to rest, and at rest nothing is written (L4).
    world.lb_answers = true;
    world.run();
    assert!(!world.reconcile(), "L4: {:?}", world.last.map(|plan| (plan.actions, plan.report)));
    converged(&world);
}

/// L1: what is asked for is what is there, or the Cell says what it waits for.
fn converged(world: &World) {
    let status = world.status();
    if status.phase != Some(CellPhase::Healthy) {
        assert!(!status.message.is_empty());
        return;
    }
    let stable = version::parse(status.stable_version.as_deref().unwrap()).unwrap();
    let serving = |id: &str| {
        let group = &world.groups.get(id.trim_start_matches("arn:"));
        group.is_some_and(|group| version::parse(&group.labels[okra_api::names::VERSION_LABEL]).unwrap() == stable)
    };
    assert!(
        world.lb.iter().all(|(id, weight)| *weight == 0 || serving(id)),
        "{:?} stable {stable} rollout {:?}",
        world.lb,
        status.rollout.map(|rollout| (rollout.id, rollout.outcome))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_story_is_safe_and_comes_to_rest(
        steps in proptest::collection::vec(step(), 0..5),
        replicas in 1..3_i32,
        happenings in proptest::collection::vec(happening(), 1..40),
    ) {
        story(steps, replicas, &happenings);
    }

    /// S4, S5: a version never has more than its step gives it, unless a person promoted or everything else is gone.
    #[test]
    fn a_canary_never_has_more_than_its_step(
        shares in proptest::collection::vec(1..=99_i32, 1..4),
        crashes in proptest::collection::vec(0..4_u8, 0..6),
        late in any::<bool>(),
    ) {
        let mut shares = shares;
        shares.sort_unstable();
        let steps: Vec<CanaryStep> = shares.iter().flat_map(|share| [set_weight(*share), pause(Some("30s"))]).collect();
        let mut world = World::serving(steps, 2, &["v1-a", "v1-b"]);
        world.add("v2-a", "2.0.0");
        world.add("v2-b", "2.0.0");
        for (index, share) in shares.iter().enumerate() {
            for after in &crashes {
                crash(&mut world, usize::from(*after));
            }
            world.run();
            let total: i32 = world.lb.values().sum();
            let canary: i32 = world.lb.iter().filter(|(id, _)| id.contains("v2")).map(|(_, weight)| *weight).sum();
            prop_assert_eq!(canary * 100, share * total, "step {}", index);
            if late {
                world.add("v3-a", "3.0.0");
            }
            world.pass(SignedDuration::from_secs(30));
        }
        prop_assert_eq!(world.stable(), "2.0.0");
        let mut seen = world.shares_of("v2");
        seen.dedup();
        let mut rising = seen.clone();
        rising.sort_unstable();
        prop_assert_eq!(seen, rising, "no weight goes back and forth");
    }

    /// S7: a roll-back takes one call, whatever the step.
    #[test]
    fn a_rollback_takes_one_call(share in 1..=99_i32, extra in 0..2_u8) {
        let mut world = World::serving(vec![set_weight(share), pause(None)], 2, &["v1-a", "v1-b"]);
        world.add("v2-a", "2.0.0");
        world.add("v2-b", "2.0.0");
        if extra == 1 {
            world.add("v2-c", "2.0.0");
        }
        world.run();
        world.lb_history.clear();
        world.ask(Verb::Abort, &[]);
        prop_assert_eq!(world.lb_history.len(), 1);
        let left: i32 = world.lb.iter().filter(|(id, _)| id.contains("v2")).map(|(_, weight)| *weight).sum();
        prop_assert_eq!(left, 0);
    }
}

/// S7: once a person aborted, nothing that crashes or repeats raises the canary again.
#[test]
fn an_abort_survives_a_crash_at_any_action() {
    for after in 0..4 {
        let mut world = World::serving(vec![set_weight(20), pause(None)], 1, &["v1-a"]);
        world.add("v2-a", "2.0.0");
        world.run();
        let request = okra_api::Request {
            id: "x".to_owned(),
            verb: Verb::Abort,
            rollout_id: None,
            step: None,
            user: "ann".to_owned(),
            args: BTreeMap::new(),
        };
        let annotations = world.cell.metadata.annotations.get_or_insert_default();
        annotations.insert(okra_api::names::REQUEST_ANNOTATION.to_owned(), serde_json::to_string(&request).unwrap());
        crash(&mut world, after);
        world.run();
        assert_eq!(world.stable(), "1.0.0");
        assert_eq!(world.shares_of("v2"), [0, 20, 0], "crash after {after}");
        assert_eq!(world.blocked.len(), 1);
    }
}

/// A plan has at most one traffic action, and a converged one has none.
#[test]
fn at_most_one_traffic_action() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    for _ in 0..50 {
        let plan = crate::cell::plan(&world.observe(), world.now);
        let traffic = plan.actions.iter().filter(|action| matches!(action, Action::WriteRoute { .. })).count();
        assert!(traffic <= 1);
        if !world.reconcile() && !world.route_tick() {
            break;
        }
        world.route_tick();
    }
    assert_eq!(world.stable(), "2.0.0");
    assert!(world.last.unwrap().actions.is_empty());
}

//! What the plan does, rule by rule.

mod health;
mod ownership;

use jiff::SignedDuration;
use okra_api::{
    condition::{self, READY, VALID, reason},
    route::{DeletionPolicy, REMEMBERED_INTENTS, RouteOutcome},
};
use pretty_assertions::assert_eq;

use super::{model::*, *};
use crate::route::{Adopt, Place, Sticky, check, fingerprint};

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn reason_of(world: &World) -> String {
    condition::find(&world.input.previous.conditions, READY).unwrap().reason.clone()
}

fn message(world: &World) -> &str {
    &world.input.previous.message
}

fn written(world: &World) -> Vec<String> {
    let weights = |change: &Change| {
        let weights = change.weights()?.iter().map(|(id, weight)| format!("{id}:{weight}")).collect::<Vec<_>>();
        Some(weights.join(" "))
    };
    world.changes.iter().filter_map(weights).collect()
}

/// A world whose rule holds `groups`, verified.
fn verified(groups: &str) -> World {
    let mut world = World::new(intent(groups));
    world.run(2);
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "{}", message(&world));
    world.changes.clear();
    world.history.clear();
    (world.status_writes, world.looks, world.health_reads) = (0, 0, 0);
    world
}

#[test]
fn a_new_rule_is_created_recorded_before_and_verified_by_a_read() {
    let mut world = World::new(intent("a:80 b:20"));
    let plan = world.reconcile();
    assert_eq!(world.changes.len(), 1);
    assert_eq!(world.changes[0], Change::Create { weights: held("a:80 b:20"), stickiness: None });
    let status = &world.input.previous;
    assert_eq!(status.outcome, Some(RouteOutcome::Verified));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.rule_arn.as_deref(), Some("made"));
    let print = fingerprint(10, &conditions("web.example.com"), &held("a:80 b:20"), None);
    assert_eq!(status.verified.as_ref(), Some(&print));
    assert_eq!(status.recent_intents, [print]);
    assert_eq!((status.verified_at, status.read_at), (Some(world.now), Some(world.now)));
    assert_eq!(
        status.weights.iter().map(|row| (row.name.as_str(), row.weight)).collect::<Vec<_>>(),
        [("web-a", 80), ("web-b", 20)]
    );
    assert!(condition::is_true(&status.conditions, READY) && condition::is_true(&status.conditions, VALID));
    assert_eq!(message(&world), "");
    assert_eq!(world.looks, 2, "one look before and one after");
    assert_eq!(plan.wake_at, Some(world.now + seconds(300)), "only the drift look is left");
    assert_eq!(world.status_writes, 2, "once before the change, once after it");
}

#[test]
fn at_rest_nothing_is_called_and_a_drift_look_writes_nothing() {
    let mut world = verified("a:100 b:0");
    let before = world.input.previous.clone();
    world.now += seconds(299);
    world.reconcile();
    assert_eq!((world.looks, world.health_reads), (0, 0));
    world.now += seconds(1);
    let mut ahead = world.input.clone();
    ahead.observed = None;
    assert_eq!(plan(&ahead, world.now).lane, Lane::Drift);
    world.reconcile();
    assert_eq!(world.looks, 1);
    assert_eq!(world.health_reads, 1, "the parked group's");
    assert_eq!(world.status_writes, 1, "its health is news");
    assert_eq!(world.input.previous.verified_at, Some(world.now));
    world.now += seconds(300);
    world.reconcile();
    assert_eq!((world.looks, world.health_reads, world.status_writes), (2, 2, 1), "nothing is new: nothing is written");
    assert_eq!(world.input.previous.weights, before.weights);
    assert_eq!(world.changes, []);
}

#[test]
fn weights_conditions_and_stickiness_go_in_one_call_and_priority_before_them() {
    let mut world = verified("a:100 b:0");
    let mut next = intent("a:80 b:20");
    next.place = Place::Alb {
        listener_arn: "listener".into(),
        role_arn: None,
        priority: 20,
        conditions: conditions("new.example.com"),
    };
    next.stickiness = Some(Sticky { enabled: true, seconds: 60 });
    world.apply(next);
    world.reconcile();
    assert_eq!(
        world.changes,
        [
            Change::Move { rule: "made".into() },
            Change::Modify {
                rule: "made".into(),
                weights: Some(held("a:80 b:20")),
                conditions: Some(conditions("new.example.com")),
                stickiness: Some(Sticky { enabled: true, seconds: 60 }),
            },
        ]
    );
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
}

#[test]
fn a_crash_between_any_two_steps_leads_to_the_same_end_and_no_second_write() {
    let mut world = verified("a:100 b:0");
    let mut next = intent("a:80 b:20");
    next.place =
        Place::Alb { listener_arn: "listener".into(), role_arn: None, priority: 20, conditions: conditions("x.y") };
    world.apply(next);
    for _ in 0..3 {
        world.crash_after_change = true;
        world.reconcile();
        world.crash_after_change = false;
    }
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "{}", message(&world));
    assert_eq!(world.changes.len(), 2, "one Move and one Modify: {:?}", world.changes);
}

#[test]
fn only_so_many_intents_are_remembered_newest_last() {
    let mut world = verified("a:100 b:0");
    for weight in 1..=i32::try_from(REMEMBERED_INTENTS + 2).unwrap() {
        world.apply(intent(&format!("a:{} b:{weight}", 100 - weight)));
        world.reconcile();
    }
    assert_eq!(world.input.previous.recent_intents.len(), REMEMBERED_INTENTS);
    assert_eq!(world.input.previous.recent_intents.last(), world.input.previous.verified.as_ref());
    let known = world.input.previous.recent_intents.clone();
    world.apply(intent("a:95 b:5"));
    world.reconcile();
    assert_eq!(world.input.previous.recent_intents.len(), REMEMBERED_INTENTS, "a known intent moves to the end");
    assert_eq!(world.input.previous.recent_intents.last(), Some(&known[2]));
}

#[test]
fn a_replaced_group_gets_zero_first_and_leaves_in_a_second_call() {
    let mut world = verified("a:100");
    world.apply(intent("b:100"));
    world.run(4);
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(written(&world), ["a:0 b:100", "b:100"]);
}

#[test]
fn under_stickiness_a_way_back_is_one_call() {
    let mut first = intent("a:80 b:20");
    first.stickiness = Some(Sticky { enabled: true, seconds: 60 });
    let mut back = intent("a:100");
    back.stickiness = first.stickiness;
    let mut world = World::new(first);
    world.run(2);
    world.changes.clear();
    world.apply(back);
    world.reconcile();
    assert_eq!(written(&world), ["a:100"]);
}

#[test]
fn a_detach_waits_until_the_data_path_has_settled() {
    let mut world = verified("a:80 b:20");
    world.input.capabilities.settle = seconds(10);
    world.apply(intent("a:100"));
    let plan = world.reconcile();
    assert_eq!(written(&world), ["a:100 b:0"]);
    assert_eq!(world.outcome(), Some(RouteOutcome::NotYet));
    assert_eq!(plan.wake_at, Some(world.now + seconds(10)));
    world.now += seconds(4);
    let plan = world.reconcile();
    assert_eq!(plan.wake_at, Some(world.now + seconds(6)));
    world.now += seconds(6);
    world.reconcile();
    assert_eq!(written(&world), ["a:100 b:0", "a:100"]);
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
}

#[test]
fn more_groups_than_fit_are_refused_and_nothing_is_written() {
    let mut world = verified("a:1 b:1 c:1");
    world.apply(intent("d:1 e:1 f:1"));
    world.reconcile();
    assert_eq!(reason_of(&world), reason::CAPACITY_EXCEEDED);
    assert!(message(&world).contains("6 target groups are more than the 5"), "{}", message(&world));
    assert_eq!(world.changes, []);
    let mut world = World::new(intent("a:1 b:1 c:1 d:1 e:1 f:1"));
    world.reconcile();
    assert_eq!(reason_of(&world), reason::CAPACITY_EXCEEDED);
    // Parked groups make room.
    let mut world = verified("a:1 b:1 c:1 d:0 e:0");
    world.apply(intent("a:1 f:1"));
    world.run(4);
    assert_eq!(written(&world), ["a:1 b:1 c:1", "a:1 b:0 c:0 f:1", "a:1 f:1"]);
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
}

#[test]
fn a_change_that_is_not_shown_yet_is_not_sent_again_at_once() {
    let mut world = verified("a:100 b:0");
    world.apply(intent("a:80 b:20"));
    world.blind = true;
    let plan = world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::NotYet));
    assert_eq!(world.changes.len(), 1);
    assert_eq!(plan.wake_at, Some(world.now + seconds(2)));
    world.now += seconds(8);
    world.reconcile();
    assert_eq!(world.changes.len(), 1);
    // Another intent does not wait for the one before.
    let mut other = world.clone();
    other.apply(intent("a:70 b:30"));
    other.reconcile();
    assert_eq!(other.changes.len(), 2);
    world.now += seconds(2);
    world.blind = false;
    world.reconcile();
    assert_eq!(world.changes.len(), 2);
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
}

#[test]
fn the_lane_tells_ways_back_from_promotions() {
    for (from, to, lane) in [
        ("a:100 b:0", "a:80 b:20", Lane::Promote),
        ("a:80 b:20", "a:60 b:40", Lane::Promote),
        ("a:80 b:20", "a:100 b:0", Lane::Rollback),
        ("a:0 b:100", "a:100 b:0", Lane::Rollback),
        ("a:100", "b:100", Lane::Promote),
    ] {
        let mut world = verified(from);
        world.apply(intent(to));
        world.input.observed = Some(world.observe());
        for id in ["a", "b"] {
            world.input.health.insert(id.into(), Reading { health: healthy(3), at: world.now });
        }
        let plan = plan(&world.input, world.now);
        assert!(plan.change.is_some() && plan.record_first);
        assert_eq!(plan.lane, lane, "{from} -> {to}");
    }
}

#[test]
fn a_plan_that_breaks_an_invariant_is_refused() {
    let world = {
        let mut world = verified("a:80 b:20");
        world.apply(intent("a:100 b:0"));
        world.input.observed = Some(world.observe());
        world.input.health.insert("a".into(), Reading { health: healthy(3), at: world.now });
        world.input.health.insert("b".into(), Reading { health: healthy(0), at: world.now });
        world
    };
    let good = plan(&world.input, world.now);
    let modify = |weights: &str| Change::Modify {
        rule: "made".into(),
        weights: Some(held(weights)),
        conditions: None,
        stickiness: None,
    };
    for (change, breach) in [
        (modify("a:0 b:0"), "S1: all weights"),
        (modify("a:1000 b:0"), "S1: weight 1000"),
        (modify("a:-1 b:20"), "S1: weight -1"),
        (modify("a:1 b:1 c:1 d:1 e:1 f:1"), "S2"),
        (modify("a:80 b:30"), "S3: raises b"),
        (modify("a:100"), "S12: removes b"),
        (Change::Remove { rule: "theirs".into() }, "S11: theirs"),
        (Change::Adopt { rule: "theirs".into() }, "S11: theirs"),
        (Change::Create { weights: held("a:1"), stickiness: None }, "S11: there is a rule"),
    ] {
        let checked = check(&world.input, RoutePlan { change: Some(change), ..good.clone() }, world.now);
        assert_eq!(checked.change, None);
        assert_eq!(checked.status.outcome, Some(RouteOutcome::Refused));
        assert!(checked.status.message.contains(breach), "{}", checked.status.message);
        assert_eq!(condition::find(&checked.status.conditions, READY).unwrap().reason, reason::INVARIANT_BREACH);
    }
    assert_eq!(check(&world.input, good.clone(), world.now), good);
}

#[test]
fn a_failure_is_written_once() {
    let world = verified("a:100");
    let status = &world.input.previous;
    let failure = Failure::NotYet(reason::UNREACHABLE);
    let first = failed(status, 1, failure, "no answer".into(), world.now + seconds(1));
    assert_eq!((first.outcome, first.message.as_str()), (Some(RouteOutcome::NotYet), "no answer"));
    assert_eq!(first.weights, status.weights, "what was read stays");
    assert_eq!(failed(&first, 1, failure, "no answer".into(), world.now + seconds(9)), first);
    let bad = failed(status, 1, Failure::Refused(reason::INVALID_SPEC), "x".repeat(5000), world.now);
    assert_eq!(condition::find(&bad.conditions, VALID).unwrap().status, "False");
    assert_eq!(bad.message.chars().count(), 2048);
}

//! For any rule that stands there and any intent: the passes end, and on the way nothing happens that must not.

use std::collections::BTreeMap;

use okra_api::route::RouteOutcome;
use proptest::prelude::*;

use super::{model::*, *};
use crate::route::{Adopt, IntentGroup, ObservedRule, Place, Sticky, weights};

fn ids() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(vec!["a", "b", "c", "d", "e", "f", "g"], 0..=7)
}

fn weight() -> impl Strategy<Value = i32> {
    prop_oneof![2 => Just(0), 3 => 1..=100_i32, 1 => Just(999)]
}

fn weights() -> impl Strategy<Value = BTreeMap<String, i32>> {
    ids().prop_flat_map(|ids| {
        let count = ids.len();
        proptest::collection::vec(weight(), count)
            .prop_map(move |weights| ids.iter().map(|id| (*id).to_owned()).zip(weights).collect())
    })
}

fn sticky() -> impl Strategy<Value = Sticky> {
    prop_oneof![Just(Sticky::default()), Just(Sticky { enabled: true, seconds: 60 })]
}

prop_compose! {
    fn any_intent()(
        weights in weights().prop_filter("something serves", weights::any_serves),
        floor in proptest::option::of(0..3_u32),
        priority in 1..4_i32,
        host in 0..2_u8,
        stickiness in proptest::option::of(sticky()),
        adopt in prop_oneof![Just(Adopt::No), Just(Adopt::Untagged), Just(Adopt::Installation("away".into()))],
    ) -> Intent {
        let group = |(id, weight): (&String, &i32)| IntentGroup { min_healthy: floor, ..group(id, *weight, None) };
        Intent {
            groups: weights.iter().map(group).collect(),
            place: Place::Alb {
                listener_arn: "listener".into(),
                role_arn: None,
                priority,
                conditions: conditions(&format!("h{host}.example.com")),
            },
            stickiness,
            adopt,
            ..intent("a:1")
        }
    }
}

prop_compose! {
    fn any_rule()(
        weights in weights().prop_filter("as many as a rule can hold", |weights| weights.len() <= 5),
        priority in 1..4_i32,
        host in 0..2_u8,
        stickiness in sticky(),
        owner in proptest::sample::select(vec![Some(HOME), Some("away"), None]),
        cell in proptest::sample::select(vec![Some(OWNER), Some("x/y"), None]),
    ) -> ObservedRule {
        ObservedRule {
            conditions: conditions(&format!("h{host}.example.com")),
            weights,
            stickiness,
            owner_tag: owner.map(Into::into),
            cell_tag: cell.map(Into::into),
            ..rule(&format!("rule-{priority}"), priority, "")
        }
    }
}

prop_compose! {
    fn any_world()(
        first in any_intent(),
        rules in proptest::collection::vec(any_rule(), 0..3),
        settle in prop_oneof![Just(0), Just(10)],
        sees_health in prop_oneof![3 => Just(true), 1 => Just(false)],
    ) -> World {
        let mut world = World::new(first);
        for rule in rules {
            let own = |held: &ObservedRule| held.owner_tag.as_deref() == Some(HOME) && held.cell_tag.as_deref() == Some(OWNER);
            let clash = |held: &ObservedRule| held.priority == rule.priority || (own(held) && own(&rule));
            if !world.rules.iter().any(clash) {
                world.rules.push(rule);
            }
        }
        world.input.capabilities.settle = SignedDuration::from_secs(settle);
        world.input.capabilities.sees_health = sees_health;
        world
    }
}

/// What holds at every write, whatever else.
fn judge(world: &World) -> Result<(), TestCaseError> {
    for (before, after) in &world.history {
        prop_assert!(weights::any_serves(after), "all weights are 0: {after:?}");
        prop_assert!(after.len() <= 5, "too many groups: {after:?}");
        let raised = weights::raised(before, after);
        for id in raised.iter().filter(|_| world.input.capabilities.sees_health) {
            let floor =
                world.input.intent.groups.iter().find(|group| group.id == **id).and_then(|group| group.min_healthy);
            let health = world.health.get(id).copied().unwrap_or(healthy(3));
            let shown = if before.is_empty() { health.total } else { health.healthy };
            let need = if before.is_empty() { floor.unwrap_or(0).min(1) } else { floor.unwrap_or(0) };
            prop_assert!(shown >= need, "raised {id} below its floor: {before:?} -> {after:?}");
        }
    }
    Ok(())
}

fn foreign_rules(world: &World) -> Vec<ObservedRule> {
    world.rules.iter().filter(|rule| !world.input.intent.owns(rule)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_passes_end_verified_or_with_a_reason_that_stays(mut world in any_world(), next in any_intent()) {
        for round in 0..2 {
            if round == 1 {
                world.apply(next.clone());
                world.history.clear();
            }
            let others = foreign_rules(&world);
            let last = world.run(6);
            judge(&world)?;
            let outcome = world.outcome();
            prop_assert!(outcome.is_some() && outcome != Some(RouteOutcome::NotYet), "{:?}: {}", outcome, last.report);
            if outcome == Some(RouteOutcome::Verified) {
                let own = world.observe().ours.unwrap();
                prop_assert_eq!(&own.weights, &world.input.intent.weights());
                prop_assert_eq!(own.priority, world.input.intent.place.priority());
            } else {
                prop_assert!(!world.input.previous.message.is_empty(), "a reason is given");
            }
            if world.input.intent.adopt == Adopt::No {
                prop_assert_eq!(foreign_rules(&world), others, "rules of others stay as they are");
            }
            // Converged: neither changes nor writes follow, however often it is looked at.
            let (changes, writes) = (world.changes.len(), world.status_writes);
            for _ in 0..3 {
                let held = world.input.previous.clone();
                world.now += SignedDuration::from_mins(6);
                world.reconcile();
                let health_only = okra_api::RouteStatus { health: held.health.clone(), ..world.input.previous.clone() };
                prop_assert!(same_but_for_times(&held, &health_only), "{held:#?}\n{health_only:#?}");
            }
            prop_assert_eq!(world.changes.len(), changes);
            prop_assert!(world.status_writes <= writes + 1, "only the first reading of parked groups is news");
        }
    }

    #[test]
    fn without_health_nothing_rises_and_with_it_everything_goes_on(
        mut world in any_world(),
        next in any_intent(),
        sick in ids(),
    ) {
        world.run(6);
        world.history.clear();
        for id in &sick {
            world.health.insert((*id).to_owned(), GroupHealth { healthy: 0, total: 0, gone: false });
        }
        world.now += HEALTH_FRESH;
        world.apply(next);
        world.run(6);
        judge(&world)?;
        world.health.clear();
        world.history.clear();
        world.now += SignedDuration::from_secs(60);
        world.run(6);
        judge(&world)?;
        prop_assert!(world.outcome() != Some(RouteOutcome::NotYet), "{}", world.input.previous.message);
    }

    #[test]
    fn a_crash_after_any_change_leads_to_the_same_end(world in any_world(), next in any_intent(), at in 0..4_usize) {
        let (mut straight, mut crashed) = (world.clone(), world);
        for world in [&mut straight, &mut crashed] {
            world.run(6);
            world.apply(next.clone());
        }
        straight.run(6);
        for pass in 0..8 {
            crashed.crash_after_change = pass == at;
            let plan = crashed.reconcile();
            crashed.crash_after_change = false;
            if let (Some(RouteOutcome::NotYet) | None, Some(wake_at)) = (crashed.outcome(), plan.wake_at) {
                crashed.now = crashed.now.max(wake_at);
            }
        }
        prop_assert_eq!(straight.outcome(), crashed.outcome(), "{}", crashed.input.previous.message);
        prop_assert_eq!(straight.rules, crashed.rules);
        prop_assert_eq!(straight.changes, crashed.changes, "nothing is written twice");
    }
}

//! What health lets rise, and which health is read.

use pretty_assertions::assert_eq;

use super::*;

#[test]
fn a_raise_waits_for_health_ever_more_slowly() {
    let mut world = verified("a:100 b:0");
    world.health.insert("b".into(), healthy(0));
    world.input.health_of = vec!["web-b".into()];
    world.apply(intent("a:80 b:20"));
    let began = world.now;
    let plan = world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::NotYet));
    assert_eq!(reason_of(&world), reason::WAITING_FOR_HEALTH);
    assert_eq!(message(&world), "waits for health: web-b: 0 of 3 healthy, needs 1");
    assert_eq!(plan.waits_for, ["b"]);
    assert_eq!(world.input.previous.observed_generation, Some(2));
    let (looks, mut waits) = (world.looks, Vec::new());
    let mut wake = plan.wake_at.unwrap();
    while world.now < began + seconds(400) {
        waits.push((world.now.duration_since(began).as_secs(), wake.duration_since(world.now).as_secs()));
        world.now = wake;
        wake = world.reconcile().wake_at.unwrap();
    }
    let expected = |at: i64| {
        if at < 30 {
            2
        } else if at < 300 {
            5
        } else {
            15
        }
    };
    for (at, wait) in &waits {
        let near = wake.duration_since(world.now).as_secs();
        assert!(*wait == expected(*at) || near == *wait, "at {at} s it waits {wait} s");
    }
    assert!(world.looks - looks <= 1, "the rule is read again only before the write, or after the drift interval");
    assert_eq!(world.status_writes, 1, "no news, no writes");
    assert_eq!(world.changes, []);
    world.health.insert("b".into(), healthy(1));
    world.now = wake;
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(written(&world), ["a:80 b:20"]);
}

#[test]
fn a_reading_of_fifteen_seconds_is_too_old_for_a_raise() {
    for (age, asked) in [(14, false), (15, true)] {
        let mut world = verified("a:100 b:0");
        world.apply(intent("a:80 b:20"));
        world.input.health.insert("b".into(), Reading { health: healthy(1), at: world.now - seconds(age) });
        world.input.observed = Some(world.observe());
        let plan = plan(&world.input, world.now);
        assert_eq!(!plan.read_health.is_empty(), asked, "{age} s");
        assert_eq!(plan.change.is_some(), !asked, "{age} s");
    }
}

#[test]
fn shares_not_weights_are_gated_and_lowering_never_is() {
    let mut world = verified("a:80 b:20");
    world.health.insert("a".into(), healthy(0));
    world.health.insert("b".into(), healthy(0));
    world.apply(intent("a:160 b:40"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "{}", message(&world));
    let mut free = intent("a:160 b:0");
    free.groups[0].min_healthy = None;
    world.apply(free);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "without a floor nothing is asked");
    assert_eq!(world.health_reads, 0);
}

#[test]
fn a_group_without_health_is_attached_at_zero_first() {
    let mut world = verified("a:100");
    world.health.insert("b".into(), GroupHealth { healthy: 0, total: 3, gone: false });
    world.apply(intent("a:50 b:50"));
    world.reconcile();
    assert_eq!(written(&world), ["a:100 b:0"]);
    assert_eq!(world.outcome(), Some(RouteOutcome::NotYet));
    world.health.insert("b".into(), healthy(2));
    world.now += seconds(2);
    world.reconcile();
    assert_eq!(written(&world), ["a:100 b:0", "a:50 b:50"]);
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
}

#[test]
fn conditions_do_not_wait_for_health() {
    let mut world = verified("a:100 b:0");
    world.health.insert("b".into(), healthy(0));
    let mut next = intent("a:50 b:50");
    next.place = Place::Alb {
        listener_arn: "listener".into(),
        role_arn: None,
        priority: 10,
        conditions: conditions("new.example.com"),
    };
    world.apply(next);
    world.reconcile();
    assert_eq!(world.rules[0].conditions, conditions("new.example.com"));
    assert_eq!(world.rules[0].weights, held("a:100 b:0"));
    assert_eq!(reason_of(&world), reason::WAITING_FOR_HEALTH);
}

#[test]
fn a_rule_is_created_with_registered_targets_only() {
    let mut world = World::new(intent("a:100 b:0"));
    world.health.insert("a".into(), GroupHealth::default());
    world.health.insert("b".into(), GroupHealth::default());
    let plan = world.reconcile();
    assert_eq!(message(&world), "waits for health: web-a: no registered target, needs 1");
    world.now = plan.wake_at.unwrap();
    let looks = world.looks;
    world.reconcile();
    assert_eq!(world.looks, looks);
    world.health.insert("a".into(), GroupHealth { healthy: 0, total: 1, gone: false });
    world.now += seconds(2);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "{}", message(&world));
}

#[test]
fn a_group_that_is_gone_is_named() {
    let gone = GroupHealth { gone: true, ..GroupHealth::default() };
    let mut world = World::new(intent("a:100"));
    world.health.insert("a".into(), gone);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Refused));
    assert!(message(&world).starts_with("target group web-a (a) does not exist"), "{}", message(&world));
    let mut world = verified("a:100");
    world.health.insert("b".into(), gone);
    world.apply(intent("a:50 b:50"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Refused));
    assert_eq!(world.changes, []);
}

#[test]
fn a_router_that_sees_no_health_asks_for_none() {
    let mut world = World::new(intent("a:100"));
    world.input.capabilities.sees_health = false;
    world.input.health_of = vec!["web-a".into()];
    world.reconcile();
    world.apply(intent("a:50 b:50"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(world.health_reads, 0);
}

#[test]
fn watched_groups_are_read_until_they_are_healthy() {
    let mut world = World::new(intent("a:100 b:0"));
    world.health.insert("b".into(), healthy(0));
    world.input.health_of = vec!["web-b".into()];
    let plan = world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "its weights are as asked");
    assert_eq!(plan.wake_at, Some(world.now + seconds(2)));
    let row = |world: &World| {
        let row = world.input.previous.health.iter().find(|row| row.name == "web-b").cloned().unwrap();
        (row.healthy, row.total)
    };
    assert_eq!(row(&world), (0, 3));
    let (writes, looks) = (world.status_writes, world.looks);
    for _ in 0..5 {
        world.now += seconds(2);
        world.reconcile();
    }
    assert_eq!((world.status_writes, world.looks), (writes, looks), "an unchanged reading is no news");
    world.health.insert("b".into(), healthy(2));
    world.now += seconds(2);
    let plan = world.reconcile();
    assert_eq!(row(&world), (2, 3));
    assert_eq!(world.status_writes, writes + 1);
    assert!(plan.wake_at > Some(world.now + seconds(200)), "only the drift look is left");
}

/// A rollout that began right after the first deployment was measured by a reading from when its groups came in: with
/// a relative floor and no healthy target then, any canary would have passed.
#[test]
fn a_watched_group_that_was_read_before_the_change_is_read_again() {
    let mut world = World::new(intent("a:100"));
    world.health.insert("a".into(), healthy(0));
    world.input.health_of = vec!["web-a".into()];
    world.reconcile();
    world.health.insert("a".into(), healthy(3));
    world.now += seconds(1);
    world.input.health_of = vec!["web-a".into(), "web-b".into()];
    world.apply(intent("a:100 b:0"));
    world.reconcile();
    let row = world.input.previous.health.iter().find(|row| row.name == "web-a").cloned().unwrap();
    assert_eq!((world.outcome(), row.healthy), (Some(RouteOutcome::Verified), 3));
    let reads = world.health_reads;
    world.now += seconds(3);
    world.reconcile();
    assert_eq!(world.health_reads, reads, "once is enough");
}

#[test]
fn a_clock_that_was_set_back_asks_for_no_reading_again_and_again() {
    let mut world = World::new(intent("a:100"));
    world.input.health_of = vec!["web-a".into()];
    world.reconcile();
    world.now -= seconds(3600);
    world.input.last_look = None;
    let reads = world.health_reads;
    world.reconcile();
    assert_eq!((world.outcome(), world.health_reads), (Some(RouteOutcome::Verified), reads + 1));
}

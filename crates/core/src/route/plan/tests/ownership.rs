//! Whose a rule is, and what becomes of it.

use pretty_assertions::assert_eq;

use super::*;

#[test]
fn a_late_write_of_our_own_is_not_foreign() {
    let mut world = verified("a:100 b:0");
    world.apply(intent("a:80 b:20"));
    world.reconcile();
    world.apply(intent("a:50 b:50"));
    world.reconcile();
    world.rules[0].weights = held("a:80 b:20");
    world.now += seconds(300);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(world.rules[0].weights, held("a:50 b:50"), "the intent is put back");
}

#[test]
fn a_foreign_edit_is_reported_and_held() {
    let mut world = verified("a:100 b:0");
    world.rules[0].weights = held("a:1 b:99");
    world.now += seconds(300);
    let since = world.now;
    let plan = world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Foreign));
    assert_eq!(reason_of(&world), reason::FOREIGN_EDIT);
    let foreign = world.input.previous.foreign.clone().unwrap();
    assert_eq!(foreign.difference, "weight of web-a is 1, should be 100, weight of web-b is 99, should be 0");
    assert_eq!(foreign.since, since);
    assert_eq!(plan.wake_at, Some(world.now + seconds(30)));
    // A new intent does not lift the hold.
    world.apply(intent("a:50 b:50"));
    world.now += seconds(5);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Foreign));
    assert_eq!(world.input.previous.foreign.as_ref().unwrap().since, since, "it is the same edit");
    assert_eq!(world.changes, []);
    // It stays, and nothing more is written.
    let writes = world.status_writes;
    world.now += seconds(30);
    world.reconcile();
    assert_eq!(world.status_writes, writes);
    // A person lets it be overwritten.
    world.input.overwrite = Some(foreign.fingerprint);
    world.apply(intent("a:50 b:50"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(world.input.previous.foreign, None);
    assert_eq!(world.rules[0].weights, held("a:50 b:50"));
}

#[test]
fn a_foreign_edit_that_is_accepted_or_undone_ends_the_hold() {
    for restore in [true, false] {
        let mut world = verified("a:100 b:0");
        world.rules[0].weights = held("a:60 b:40");
        world.now += seconds(300);
        world.reconcile();
        assert_eq!(world.outcome(), Some(RouteOutcome::Foreign));
        if restore {
            world.rules[0].weights = held("a:100 b:0");
        } else {
            world.apply(intent("a:60 b:40"));
        }
        world.now += seconds(30);
        world.reconcile();
        assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
        assert_eq!(world.input.previous.foreign, None);
        assert_eq!(world.changes, []);
    }
}

#[test]
fn stickiness_that_the_intent_leaves_to_others_is_no_foreign_edit() {
    let mut world = verified("a:100 b:0");
    world.rules[0].stickiness = Sticky { enabled: true, seconds: 60 };
    world.apply(intent("a:80 b:20"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert!(world.rules[0].stickiness.enabled, "and it is kept");
    // When the intent begins to set it, the state noted without it is still known.
    let mut next = intent("a:80 b:20");
    next.stickiness = Some(Sticky::default());
    world.apply(next);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert!(!world.rules[0].stickiness.enabled);
    // From then on an edit of it counts.
    world.rules[0].stickiness = Sticky { enabled: true, seconds: 60 };
    world.now += seconds(300);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Foreign));
    assert!(message(&world).contains("stickiness is on for 60 s, should be off"));
}

#[test]
fn without_any_memory_a_tagged_rule_is_ours() {
    let mut world = World::new(intent("a:80 b:20"));
    world.rules.push(rule("old", 10, "a:100 b:0"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(written(&world), ["a:80 b:20"]);
}

#[test]
fn a_rule_that_is_not_ours_is_refused_by_name_with_the_remedy() {
    for (owner, cell, adopt, reason, words) in [
        (
            None,
            None,
            Adopt::No,
            reason::FOREIGN_RULE,
            "has no tag of Okra: choose another priority, or adopt it with annotation okra.mumo.co/adopt-rule: \"true\"",
        ),
        (
            Some("away"),
            Some("x/y"),
            Adopt::No,
            reason::FOREIGN_RULE,
            "okra.mumo.co/owner=away: choose another priority, or adopt it with annotation okra.mumo.co/adopt-rule: \"away\"",
        ),
        (Some("away"), Some("x/y"), Adopt::Untagged, reason::FOREIGN_RULE, "\"away\""),
        (Some("away"), Some("x/y"), Adopt::Installation("elsewhere".into()), reason::FOREIGN_RULE, "\"away\""),
        (None, Some("x/y"), Adopt::Untagged, reason::FOREIGN_RULE, "okra.mumo.co/cell=x/y"),
        (Some(HOME), Some("x/y"), Adopt::Untagged, reason::RULE_TAKEN, "belongs to x/y of this installation"),
        (Some(HOME), Some("x/y"), Adopt::Installation(HOME.into()), reason::RULE_TAKEN, "belongs to x/y"),
    ] {
        let mut next = intent("a:100");
        next.adopt = adopt.clone();
        let mut world = World::new(next);
        let mut other = rule("theirs", 10, "a:100");
        (other.owner_tag, other.cell_tag) = (owner.map(Into::into), cell.map(Into::into));
        world.rules.push(other);
        let plan = world.reconcile();
        assert_eq!(world.outcome(), Some(RouteOutcome::Refused), "{adopt:?}");
        assert_eq!(reason_of(&world), reason, "{adopt:?}");
        assert!(message(&world).contains("theirs") && message(&world).contains(words), "{}", message(&world));
        assert_eq!(world.changes, []);
        assert_eq!(plan.wake_at, Some(world.now + seconds(30)));
        assert_eq!(world.input.previous.rule_arn, None);
        // It goes away: the rule is made at the next look.
        world.rules.clear();
        world.now += seconds(30);
        world.reconcile();
        assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    }
}

#[test]
fn a_rule_is_adopted_first_and_changed_after() {
    for (owner, adopt) in [(None, Adopt::Untagged), (Some("away".to_owned()), Adopt::Installation("away".into()))] {
        let mut next = intent("a:80 b:20");
        next.adopt = adopt;
        let mut world = World::new(next);
        let mut other = rule("theirs", 10, "a:100");
        (other.owner_tag, other.cell_tag) = (owner, None);
        world.rules.push(other);
        world.crash_after_change = true;
        world.reconcile();
        assert_eq!(world.changes, [Change::Adopt { rule: "theirs".into() }]);
        world.run(3);
        assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "{}", message(&world));
        assert_eq!(world.changes.len(), 2, "{:?}", world.changes);
        assert_eq!(world.rules[0].weights, held("a:80 b:20"));
    }
}

#[test]
fn a_rule_with_unknown_groups_is_not_adopted() {
    let mut next = intent("a:100");
    next.adopt = Adopt::Untagged;
    let mut world = World::new(next);
    let mut other = rule("theirs", 10, "a:50 z:50");
    (other.owner_tag, other.cell_tag) = (None, None);
    world.rules.push(other);
    world.reconcile();
    assert_eq!(reason_of(&world), reason::FOREIGN_RULE);
    assert!(message(&world).contains("unknown here: z"), "{}", message(&world));
    assert_eq!(world.changes, []);
}

#[test]
fn a_priority_that_is_taken_does_not_hold_up_the_weights() {
    let mut world = verified("a:80 b:20");
    let mut other = rule("theirs", 20, "z:1");
    (other.owner_tag, other.cell_tag) = (None, None);
    world.rules.push(other);
    let mut next = intent("a:100 b:0");
    next.place = Place::Alb {
        listener_arn: "listener".into(),
        role_arn: None,
        priority: 20,
        conditions: conditions("web.example.com"),
    };
    world.apply(next);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Refused));
    assert_eq!(reason_of(&world), reason::RULE_TAKEN);
    assert_eq!(written(&world), ["a:100 b:0"]);
    assert_eq!(world.input.previous.rule_arn.as_deref(), Some("made"));
    world.rules.retain(|rule| rule.id != "theirs");
    world.now += seconds(30);
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    assert_eq!(world.rules[0].priority, 20);
}

#[test]
fn the_older_of_two_claims_keeps_the_place() {
    let mut world = World::new(intent("a:100"));
    world.input.claimed_by = Some("prod/older".into());
    let plan = world.reconcile();
    assert_eq!(reason_of(&world), reason::RULE_TAKEN);
    assert!(message(&world).starts_with("prod/older has this listener and priority"));
    assert_eq!((world.looks, plan.change), (0, None));
}

fn deleted(policy: DeletionPolicy) -> World {
    let mut world = verified("a:100");
    world.input.deleting = Some(world.now);
    world.input.deletion_policy = policy;
    world
}

#[test]
fn deletion_removes_our_rule_or_leaves_it() {
    let mut world = deleted(DeletionPolicy::Retain);
    world.reconcile();
    assert_eq!((world.released, world.looks, world.rules.len()), (true, 0, 1));
    let mut world = deleted(DeletionPolicy::Delete);
    let mut other = rule("theirs", 11, "a:1");
    other.cell_tag = Some("x/y".into());
    world.rules.push(other);
    world.reconcile();
    assert_eq!(world.changes, [Change::Remove { rule: "made".into() }]);
    assert!(world.released && world.warning.is_none());
    assert_eq!(world.rules.len(), 1);
    let mut world = deleted(DeletionPolicy::Delete);
    world.rules[0].cell_tag = Some("x/y".into());
    world.reconcile();
    assert_eq!((world.changes.len(), world.released), (0, true), "a rule that lost our tags is not ours");
}

#[test]
fn deletion_ends_after_twenty_seconds_though_the_cloud_is_away() {
    let mut world = deleted(DeletionPolicy::Delete);
    let since = world.now;
    world.input.failure = Some("no answer".into());
    let plan = world.reconcile();
    assert!(!world.released);
    assert_eq!(plan.wake_at, Some(since + seconds(2)));
    world.now = since + seconds(19);
    assert_eq!(world.reconcile().wake_at, Some(since + seconds(20)));
    world.now = since + seconds(20);
    world.reconcile();
    let warning = world.warning.clone().unwrap();
    assert!(warning.contains("rule made was not removed and stays") && warning.contains("no answer"), "{warning}");
    // A rule that is still shown after its removal was taken.
    let mut world = deleted(DeletionPolicy::Delete);
    world.blind = true;
    world.reconcile();
    assert!(!world.released);
    world.now += seconds(20);
    world.reconcile();
    assert!(world.released && world.warning.is_some());
}

#[test]
fn without_target_groups_the_rule_is_only_looked_at() {
    let mut world = World::new(intent(""));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified), "nothing there is an answer");
    assert!(world.changes.is_empty() && world.input.previous.weights.is_empty());
    let mut world = World::new(intent(""));
    world.rules.push(rule("made", 10, "a:60 b:40"));
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Verified));
    let found: Vec<(String, i32)> =
        world.input.previous.weights.iter().map(|weight| (weight.id.clone(), weight.weight)).collect();
    assert_eq!(found, [("a".to_owned(), 60), ("b".to_owned(), 40)]);
    world.apply(intent("a:50 b:50"));
    world.reconcile();
    assert_eq!(world.changes.len(), 1, "what was found by looking is no foreign edit");
    let mut world = World::new(intent(""));
    world.rules.push(crate::route::ObservedRule { owner_tag: Some("other".into()), ..rule("theirs", 10, "a:100") });
    world.reconcile();
    assert_eq!(world.outcome(), Some(RouteOutcome::Refused));
    assert!(world.changes.is_empty());
}

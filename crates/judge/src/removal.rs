//! S12: a serving group is not removed in the call that first raises its replacement, and the last stable group is
//! never lost. A roll-back under stickiness may do the first: it must take the failed groups out. S19: no healthy stable
//! group leaves so that a canary fits in.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::names::DRAIN_ANNOTATION;
use serde_json::Value;

use crate::Findings;
use crate::case::{Case, Shift};
use crate::record::{Event, RuleState};
use crate::rules::CellRules;
use crate::track::Track;
use crate::view::Meta;

pub(crate) fn serving_groups_stay(case: &Case<'_>, findings: &mut Findings) {
    let rules = case.rules;
    let mut track = Track::default();
    for entry in &case.record.entries {
        let Event::Call(call) = &entry.event else { continue };
        if let (Some(before), Some(wanted)) = (&call.before, rules.wanted(call))
            && let Some((key, cell)) = rules.cell_of(before)
        {
            let leaves = |(group, weight): (&String, &i64)| *weight > 0 && !wanted.weights.contains_key(group.as_str());
            if before.weights.iter().any(leaves) {
                findings.occasion();
            }
            if let Some(text) = lost(before, wanted, cell, &track) {
                findings.breach(entry.seq, format!("cell {key}: {text}"));
            }
        }
        track.see(call, rules);
    }
}

/// S19. Only while another version is being brought in: at rest a group may leave for other reasons. A group without
/// weight may be one that a person drains; that can be told only where its object is seen.
pub(crate) fn stable_groups_make_no_room(case: &Case<'_>, findings: &mut Findings) {
    let rules = case.rules;
    let mut track = Track::default();
    let mut healthy: BTreeMap<&str, bool> = BTreeMap::new();
    let mut shifts = case.shifts().into_iter().peekable();
    for (position, entry) in case.record.entries.iter().enumerate() {
        match &entry.event {
            Event::Health(health) => _ = healthy.insert(&health.target_group, health.healthy > 0),
            Event::Call(call) => {
                if let Some(health) = &call.health {
                    healthy.insert(&health.target_group, health.healthy > 0);
                }
                if let (Some(shift), Some(before)) = (shifts.next_if(|s| s.position == position), &call.before) {
                    made_room(case, &shift, before, &track, &healthy, findings);
                }
                track.see(call, rules);
            }
            _ => {}
        }
    }
}

fn made_room(
    case: &Case<'_>,
    shift: &Shift<'_>,
    before: &RuleState,
    track: &Track,
    healthy: &BTreeMap<&str, bool>,
    findings: &mut Findings,
) {
    let (wanted, cell) = (shift.wanted, shift.cell);
    let Some(stable) = track.stable(&before.arn) else { return };
    let is_stable = |group: &str| cell.version(group) == Some(stable);
    // A version that was stable before is no canary: it takes traffic back.
    let is_canary = |group: &str| cell.version(group).is_some_and(|own| !track.once_stable(&before.arn, own));
    let brings_another =
        wanted.iter().any(|(group, weight)| is_canary(group) && (*weight > 0 || !before.weights.contains_key(group)));
    let drained = drained_groups(case, shift.position);
    // What was decided on while the group was drained is carried out, however late.
    let decided = case.intent_position(shift.key, shift.position).and_then(|position| drained_groups(case, position));
    let was_drained = |group: &String| decided.as_ref().is_some_and(|drained| drained.contains(group));
    for (group, weight) in &before.weights {
        if !is_stable(group) || wanted.contains_key(group) || cell.is_taken(group) {
            continue;
        }
        findings.occasion();
        let is_drained = drained.as_ref().is_none_or(|drained| drained.contains(group)) || was_drained(group);
        let may_be_drained = *weight == 0 && is_drained;
        let is_healthy = healthy.get(group.as_str()).copied().unwrap_or(false);
        if brings_another && is_healthy && !may_be_drained {
            let text = format!("cell {}: healthy group {group} of stable version {stable} is detached", shift.key);
            findings.breach(shift.seq, format!("{text} while another version is brought in"));
        }
    }
}

/// The groups that a person drains at an entry, and those whose object is gone; `None` when no object was seen.
fn drained_groups(case: &Case<'_>, position: usize) -> Option<BTreeSet<String>> {
    let mut known: BTreeMap<&str, (String, bool)> = BTreeMap::new();
    for seen in case.of_kind("AWSTargetGroup").take_while(|seen| seen.position < position) {
        let drained = Meta::of(seen.object).annotations.get(DRAIN_ANNOTATION).is_some_and(|value| value == "true");
        let arn = seen.object.pointer("/spec/arn").and_then(Value::as_str);
        match arn {
            Some(arn) => _ = known.insert(&seen.key, (arn.to_owned(), drained)),
            None => known.entry(&seen.key).and_modify(|(_, drained)| *drained = true).or_default().1 = true,
        }
    }
    let drained = |(arn, drained): &(String, bool)| drained.then(|| arn.clone());
    (!known.is_empty()).then(|| known.values().filter_map(drained).collect())
}

fn lost(before: &RuleState, wanted: &RuleState, cell: &CellRules, track: &Track) -> Option<String> {
    let removed: Vec<&str> = before
        .weights
        .iter()
        .filter(|(group, weight)| **weight > 0 && !wanted.weights.contains_key(*group) && !cell.is_taken(group))
        .map(|(group, _)| group.as_str())
        .collect();
    if removed.is_empty() {
        return None;
    }
    let once_stable = |group: &str| cell.version(group).is_some_and(|v| track.once_stable(&before.arn, v));
    let serving: Vec<&str> = wanted.weights.iter().filter(|(_, w)| **w > 0).map(|(group, _)| group.as_str()).collect();
    let sticky_back = before.sticky && serving.iter().all(|group| once_stable(group));
    if sticky_back {
        return None;
    }
    let first_raised = serving.iter().find(|group| before.weights.get(**group).copied().unwrap_or(0) == 0);
    if let Some(raised) = first_raised {
        return Some(format!("{} removed in the call that first raises {raised}", removed.join(", ")));
    }
    let stable = track.stable(&before.arn)?;
    let is_stable = |group: &str| cell.version(group) == Some(stable);
    let stable_left = wanted.weights.keys().any(|group| is_stable(group));
    let stable_removed = removed.iter().any(|group| is_stable(group));
    (stable_removed && !stable_left).then(|| format!("the last group of stable version {stable} is removed"))
}

#[cfg(test)]
mod tests {
    use crate::fixture::{A, A2, B, Builder, rules};
    use crate::judge;

    fn breaches(sticky: bool, steps: &[&[(&str, i64)]]) -> Vec<&'static str> {
        let mut builder = Builder::with_stickiness(sticky);
        builder.create(&[(A, 50), (A2, 50)]);
        for group in [A, A2, B] {
            builder.health(group, 2, 2);
        }
        for weights in steps {
            builder.modify(weights);
        }
        judge(&builder.record(), &rules()).iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn parking_first_passes() {
        let swap: [&[(&str, i64)]; 3] = [&[(A, 50), (A2, 50), (B, 0)], &[(A, 0), (A2, 0), (B, 100)], &[(B, 100)]];
        assert!(breaches(false, &swap).is_empty());
        assert!(breaches(false, &[&[(A, 100)]]).is_empty(), "one of two stable groups leaves");
    }

    #[test]
    fn swapping_in_one_call_is_flagged() {
        assert_eq!(breaches(false, &[&[(B, 100)]]), ["S12", "S19", "S19"]);
        assert_eq!(breaches(false, &[&[(A, 80), (B, 20)]]), ["S12", "S19"], "A2 leaves as B enters");
    }

    #[test]
    fn losing_the_last_stable_group_is_flagged() {
        let steps: [&[(&str, i64)]; 2] = [&[(A, 40), (A2, 40), (B, 20)], &[(B, 100)]];
        assert_eq!(breaches(false, &steps), ["S12", "S19", "S19"]);
    }

    #[test]
    fn a_sticky_roll_back_takes_the_failed_group_out() {
        let steps: [&[(&str, i64)]; 3] =
            [&[(A, 50), (A2, 50), (B, 0)], &[(A, 0), (A2, 0), (B, 100)], &[(A, 50), (A2, 50)]];
        assert!(breaches(true, &steps).is_empty());
        assert_eq!(breaches(false, &steps), ["S12"]);
    }

    #[test]
    fn a_healthy_stable_group_makes_no_room_for_a_canary() {
        let detached: [&[(&str, i64)]; 2] = [&[(A, 100), (A2, 0)], &[(A, 100), (B, 0)]];
        assert!(breaches(false, &detached).is_empty(), "A2 may be drained: no object of it was seen");
        assert_eq!(breaches(false, &[&[(A, 100), (B, 0)]]), ["S19"]);
        assert!(breaches(false, &[&[(A, 100)]]).is_empty(), "no other version comes in");
    }

    #[test]
    fn a_parked_stable_group_is_drained_or_stays() {
        let leave = |annotations: &serde_json::Value| {
            let mut builder = Builder::default();
            builder.create(&[(A, 50), (A2, 50)]);
            for group in [A, A2, B] {
                builder.health(group, 2, 2);
            }
            let object = serde_json::json!({"metadata": {"annotations": annotations}, "spec": {"arn": A2}});
            builder.object("AWSTargetGroup", "a2", object);
            builder.modify(&[(A, 100), (A2, 0)]);
            builder.modify(&[(A, 100), (B, 0)]);
            let found = judge(&builder.record(), &rules());
            found.iter().map(|violation| violation.invariant).collect::<Vec<_>>()
        };
        assert!(leave(&serde_json::json!({"okra.mumo.co/drain": "true"})).is_empty());
        assert_eq!(leave(&serde_json::json!({})), ["S19"]);
    }

    #[test]
    fn what_was_decided_while_a_group_was_drained_may_come_late() {
        let late = |decided_before: bool| {
            let mut builder = Builder::default();
            builder.create(&[(A, 50), (A2, 50)]);
            for group in [A, A2, B] {
                builder.health(group, 2, 2);
            }
            let group = |drain: &str| {
                let annotations = serde_json::json!({"okra.mumo.co/drain": drain});
                serde_json::json!({"metadata": {"annotations": annotations}, "spec": {"arn": A2}})
            };
            let route = |generation: i64| serde_json::json!({"metadata": {"generation": generation}});
            builder.object("AWSApplicationLoadBalancerConfig", "web", route(1));
            builder.object("AWSTargetGroup", "a2", group("true"));
            builder.modify(&[(A, 100), (A2, 0)]);
            if decided_before {
                builder.object("AWSApplicationLoadBalancerConfig", "web", route(2));
            }
            builder.object("AWSTargetGroup", "a2", group("false"));
            builder.object("AWSApplicationLoadBalancerConfig", "web", route(if decided_before { 2 } else { 3 }));
            builder.modify(&[(A, 100), (B, 0)]);
            let found = judge(&builder.record(), &rules());
            found.iter().map(|violation| violation.invariant).collect::<Vec<_>>()
        };
        assert!(late(true).is_empty());
        assert_eq!(late(false), ["S19"]);
    }

    #[test]
    fn a_group_that_the_test_takes_away_may_leave() {
        let mut rules = rules();
        for cell in rules.cells.values_mut() {
            cell.gone.insert(A.to_owned());
            cell.gone.insert(A2.to_owned());
        }
        let mut builder = Builder::default();
        builder.create(&[(A, 50), (A2, 50)]);
        builder.health(B, 2, 2);
        builder.modify(&[(B, 100)]);
        assert!(judge(&builder.record(), &rules).is_empty());
    }
}

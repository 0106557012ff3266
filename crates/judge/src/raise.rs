//! S3: the share of a group rises only when its health, as okra last read it, reaches its floor.

use std::collections::BTreeMap;

use crate::Findings;
use crate::case::Case;
use crate::record::{Event, GroupHealth, RuleState};
use crate::rules::{Rules, plain};
use crate::track::Track;
use crate::way_back::is_older;

pub(crate) fn raised_groups_are_healthy(case: &Case<'_>, findings: &mut Findings) {
    let rules = case.rules;
    let mut track = Track::default();
    let mut read: BTreeMap<&str, &GroupHealth> = BTreeMap::new();
    let mut registered: BTreeMap<&str, u32> = BTreeMap::new();
    for (position, entry) in case.record.entries.iter().enumerate() {
        let call = match &entry.event {
            Event::Health(health) => {
                if !read.contains_key(health.target_group.as_str()) {
                    registered.insert(&health.target_group, health.total);
                }
                continue;
            }
            Event::Call(call) => call,
            _ => continue,
        };
        if let (true, None, Some(health)) = (rules.is_ours(call), &call.error, &call.health) {
            read.insert(&health.target_group, health);
            // What okra saw counts, not what has become of it since.
            registered.insert(&health.target_group, health.total);
        }
        if let Some(wanted) = rules.wanted(call) {
            let texts = match &call.before {
                None => {
                    findings.occasion();
                    without_targets(wanted, &registered)
                }
                Some(before) => {
                    let back = is_roll_back(case, position, before, wanted, &track);
                    unhealthy(before, wanted, rules, back, &read, findings)
                }
            };
            for text in texts {
                findings.breach(entry.seq, text);
            }
        }
        track.see(call, rules);
    }
}

/// Health cannot be seen before a rule exists; that targets are registered can.
fn without_targets(wanted: &RuleState, registered: &BTreeMap<&str, u32>) -> Vec<String> {
    let empty = wanted
        .weights
        .iter()
        .filter(|(group, weight)| **weight > 0 && registered.get(group.as_str()).is_none_or(|total| *total == 0));
    empty.map(|(group, _)| format!("a rule is created with {group}, which has no registered target")).collect()
}

fn unhealthy(
    before: &RuleState,
    wanted: &RuleState,
    rules: &Rules,
    back: bool,
    read: &BTreeMap<&str, &GroupHealth>,
    findings: &mut Findings,
) -> Vec<String> {
    let Some((key, cell)) = rules.cell_of(before) else { return Vec::new() };
    let total: i64 = wanted.weights.values().sum();
    let total_before: i64 = before.weights.values().sum();
    let raised = |group: &str, weight: i64| {
        let was = before.weights.get(group).copied().unwrap_or(0);
        weight > 0 && weight * total_before > was * total
    };
    let mut texts = Vec::new();
    for (group, weight) in &wanted.weights {
        if !raised(group, *weight) {
            continue;
        }
        findings.occasion();
        let needed = if back { 1 } else { cell.floor_of(group).needed(*weight, total) };
        match read.get(group.as_str()) {
            None => texts.push(format!("cell {key}: {group} is raised to {weight}/{total}, its health was never read")),
            Some(health) if health.healthy < needed => texts.push(format!(
                "cell {key}: {group} is raised to {weight}/{total} with {} healthy targets of the {needed} needed",
                health.healthy
            )),
            Some(_) => {}
        }
    }
    texts
}

/// A roll-back gives everything to one version: one that had it before, one older than the version that serves, or
/// any when that one is gone. Calls cannot be told from a superseding here, which is held to the full floor by other
/// tests.
fn is_roll_back(case: &Case<'_>, position: usize, before: &RuleState, wanted: &RuleState, track: &Track) -> bool {
    let Some((key, cell)) = case.rules.cell_of(before) else { return false };
    let sums = cell.by_version(&wanted.weights);
    let mut serving = sums.iter().filter(|(_, weight)| **weight > 0).map(|(version, _)| *version);
    let (Some(only), None) = (serving.next(), serving.next()) else { return false };
    let others_served =
        cell.by_version(&before.weights).iter().any(|(version, weight)| *version != only && *weight > 0);
    let to_safety = || {
        let at = case.record.entries.get(position).map(|entry| entry.at);
        let states = at.map(|at| case.states_around(key, position, at)).unwrap_or_default();
        let mut stable = states.iter().filter_map(|cell| cell.stable());
        stable.any(|stable| is_older(&plain(only), &stable) || case.is_gone(key, &stable, position))
    };
    others_served && (track.once_stable(&before.arn, only) || to_safety())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{A, B, Builder, cell, rules};
    use crate::{Floor, judge};

    fn breaches(builder: &Builder, floor: Floor) -> Vec<&'static str> {
        let mut rules = rules();
        for cell in rules.cells.values_mut() {
            cell.floor = floor;
        }
        judge(&builder.record(), &rules).iter().map(|violation| violation.invariant).collect()
    }

    fn canary(healthy: u32) -> Builder {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.health(A, 2, 2);
        builder.modify(&[(A, 100), (B, 0)]);
        builder.health(B, healthy, 3);
        builder.modify(&[(A, 80), (B, 20)]);
        builder
    }

    #[test]
    fn a_raise_needs_the_floor() {
        assert!(breaches(&canary(2), Floor::Count(2)).is_empty());
        assert_eq!(breaches(&canary(1), Floor::Count(2)), ["S3"]);
        assert!(breaches(&canary(2), Floor::Percent { percent: 80, of: 10 }).is_empty());
        assert_eq!(breaches(&canary(1), Floor::Percent { percent: 80, of: 10 }), ["S3"]);
    }

    #[test]
    fn a_raise_needs_a_reading() {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.modify(&[(A, 80), (B, 20)]);
        assert_eq!(breaches(&builder, Floor::Count(1)), ["S3"]);
    }

    #[test]
    fn holding_and_lowering_need_nothing() {
        let mut builder = canary(3);
        builder.health(A, 0, 2);
        builder.health(B, 3, 3);
        builder.modify(&[(A, 160), (B, 40)]);
        builder.modify(&[(A, 60), (B, 40)]);
        assert!(breaches(&builder, Floor::Count(1)).is_empty());
    }

    #[test]
    fn a_roll_back_needs_one_healthy_target() {
        let mut builder = canary(3);
        builder.health(A, 1, 2);
        builder.modify(&[(A, 100), (B, 0)]);
        assert!(breaches(&builder, Floor::Count(2)).is_empty());
        let mut builder = canary(3);
        builder.health(A, 0, 2);
        builder.modify(&[(A, 100), (B, 0)]);
        assert_eq!(breaches(&builder, Floor::Count(2)), ["S3"]);
    }

    #[test]
    fn an_older_version_that_never_served_needs_one_healthy_target() {
        let taken_over = |stable: &str| {
            let mut builder = Builder::default();
            builder.create(&[(B, 100)]);
            builder.object("Cell", "web", cell(json!({"stableVersion": stable})));
            builder.modify(&[(A, 0), (B, 100)]);
            builder.health(A, 1, 3);
            builder.modify(&[(A, 100), (B, 0)]);
            breaches(&builder, Floor::Count(2)).contains(&"S3")
        };
        assert!(!taken_over("2"));
        assert!(taken_over("0.9"));
    }

    #[test]
    fn a_rule_is_created_with_registered_targets() {
        let mut builder = Builder::default();
        builder.create_with(&[(A, 100)], 0);
        assert_eq!(breaches(&builder, Floor::Count(1)), ["S3"]);
    }
}

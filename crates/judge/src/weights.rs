//! S1: the weights of an action are possible and follow the plan. S2: an action has backends, and no more than the
//! router can hold.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::Findings;
use crate::case::Case;
use crate::record::{Event, RuleState};
use crate::rules::{CellRules, Rules};
use crate::track::Track;
use crate::view::CellView;

pub(crate) fn weights_follow_the_plan(case: &Case<'_>, findings: &mut Findings) {
    let rules = case.rules;
    let mut track = Track::default();
    for (position, entry) in case.record.entries.iter().enumerate() {
        let Event::Call(call) = &entry.event else { continue };
        if let Some(wanted) = rules.wanted(call) {
            findings.occasion();
            // What moves no traffic keeps what somebody else gave: its conditions change, or a parked group goes.
            let moves = call.before.as_ref().is_none_or(|before| serving(before) != serving(wanted));
            let off_plan = || if moves { off_plan(wanted, &track, case, position) } else { None };
            if let Some(text) = impossible(wanted, rules).or_else(off_plan) {
                findings.breach(entry.seq, text);
            }
        }
        track.see(call, rules);
    }
}

/// The groups that serve, with their weights.
fn serving(rule: &RuleState) -> BTreeMap<&String, i64> {
    rule.weights.iter().filter(|(_, weight)| **weight > 0).map(|(group, weight)| (group, *weight)).collect()
}

fn impossible(wanted: &RuleState, rules: &Rules) -> Option<String> {
    let (arn, weights) = (&wanted.arn, &wanted.weights);
    if let Some((group, weight)) = weights.iter().find(|(_, w)| **w < 0 || **w > rules.max_weight) {
        return Some(format!("weight {weight} of {group} in rule {arn} is not within 0 to {}", rules.max_weight));
    }
    (!weights.is_empty() && weights.values().all(|w| *w == 0)).then(|| format!("all weights of rule {arn} are 0"))
}

fn off_plan(wanted: &RuleState, track: &Track, case: &Case<'_>, position: usize) -> Option<String> {
    let (key, cell) = case.rules.cell_of(wanted)?;
    let sums = cell.by_version(&wanted.weights);
    let total: i64 = sums.values().sum();
    if total == 0 || sums.values().filter(|weight| **weight > 0).count() < 2 {
        return None;
    }
    // A canary that holds everything is not stable before the Cell has read it: held at that moment, it goes back to
    // the step before.
    let at = case.record.entries.get(position).map_or(Timestamp::MIN, |entry| entry.at);
    let told: BTreeSet<String> =
        case.states_around(key, position, at).into_iter().filter_map(CellView::stable).collect();
    let beside = |stable: &str| in_plan(total - sums.get(stable).copied().unwrap_or(0), total, cell);
    let allowed = match track.stable(&wanted.arn) {
        _ if !told.is_empty() => told.iter().any(|stable| beside(stable)),
        Some(stable) => beside(stable),
        // Nothing was ever whole: either side may be the canary.
        None => sums.values().any(|weight| in_plan(*weight, total, cell)),
    };
    (!allowed).then(|| {
        let shares: BTreeMap<&str, String> =
            sums.iter().map(|(version, weight)| (*version, format!("{weight}/{total}"))).collect();
        format!("cell {key}: shares {shares:?} match no step of {:?}", cell.shares)
    })
}

fn in_plan(weight: i64, total: i64, cell: &CellRules) -> bool {
    // Compared as fractions: scaled weights must hit the share exactly.
    weight == 0 || weight == total || cell.shares.iter().any(|share| weight * 100 == i64::from(*share) * total)
}

pub(crate) fn action_fits_the_router(case: &Case<'_>, findings: &mut Findings) {
    let rules = case.rules;
    for entry in &case.record.entries {
        let Event::Call(call) = &entry.event else { continue };
        let Some(wanted) = rules.wanted(call) else { continue };
        findings.occasion();
        let count = wanted.weights.len();
        if count == 0 || count > rules.max_groups {
            let text = format!("rule {} has {count} backends, not 1 to {}", wanted.arn, rules.max_groups);
            findings.breach(entry.seq, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixture::{A, B, B2, Builder, cell, rules};
    use crate::judge;

    fn breaches(weights: &[&[(&str, i64)]]) -> Vec<&'static str> {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        for group in [A, B, B2] {
            builder.health(group, 2, 2);
        }
        for weights in weights {
            builder.modify(weights);
        }
        judge(&builder.record(), &rules()).iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn shares_of_the_plan_pass_in_any_scale() {
        assert!(breaches(&[&[(A, 100), (B, 0)], &[(A, 80), (B, 20)], &[(A, 0), (B, 100)]]).is_empty());
        assert!(breaches(&[&[(A, 400), (B, 50), (B2, 50)], &[(A, 60), (B, 20), (B2, 20)]]).is_empty());
        assert!(breaches(&[&[(A, 80), (B, 20)], &[(A, 100), (B, 0)]]).is_empty(), "a roll-back");
    }

    #[test]
    fn other_shares_are_flagged() {
        assert_eq!(breaches(&[&[(A, 79), (B, 21)]]), ["S1"]);
        assert_eq!(breaches(&[&[(A, 20), (B, 80)]]), ["S1"], "the sides are mixed up");
        assert_eq!(breaches(&[&[(A, 80), (B, 20)], &[(A, 70), (B, 30)]]), ["S1"]);
    }

    #[test]
    fn the_cell_says_which_version_is_stable() {
        let steps = json!([{"setWeight": 20}, {"setWeight": 40}]);
        let held = |index: u64, stable: &str| {
            let rollout = json!({"id": "2-7", "version": "2", "currentStepIndex": index, "steps": steps});
            cell(json!({"stableVersion": stable, "rollout": rollout, "hold": {"reason": "PausedByPerson"}}))
        };
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        for group in [A, B] {
            builder.health(group, 2, 2);
        }
        builder.modify(&[(A, 100), (B, 0)]);
        builder.modify(&[(A, 60), (B, 40)]);
        builder.modify(&[(A, 0), (B, 100)]);
        builder.object("Cell", "web", held(2, "1"));
        let shares = |builder: &Builder| {
            let found = judge(&builder.record(), &rules());
            found.iter().filter(|violation| violation.invariant == "S1").count()
        };
        // Held before it was read that 2 has everything: 1 is stable still, and 40 % is the step before.
        builder.modify(&[(A, 60), (B, 40)]);
        assert_eq!(shares(&builder), 0);
        builder.modify(&[(A, 40), (B, 60)]);
        assert_eq!(shares(&builder), 1, "60 % is no step of 2, although 40 % would be one of 1");
    }

    #[test]
    fn impossible_weights_are_flagged() {
        assert_eq!(breaches(&[&[(A, 0), (B, 0)]]), ["S1"]);
        assert_eq!(breaches(&[&[(A, 1000), (B, 0)]]), ["S1"]);
        assert_eq!(breaches(&[&[(A, 100), (B, -1)]]), ["S1"]);
    }

    #[test]
    fn too_few_and_too_many_backends_are_flagged() {
        let six = [(A, 100), (B, 0), ("c", 0), ("d", 0), ("e", 0), ("f", 0)];
        assert!(breaches(&[&six[..5]]).is_empty());
        assert_eq!(breaches(&[&six]), ["S2"]);
        assert!(breaches(&[&[]]).contains(&"S2"));
    }

    #[test]
    fn a_refused_attempt_is_judged_too() {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.refused(&[(A, 1000)], "ValidationError");
        let found = judge(&builder.record(), &rules());
        assert_eq!(found.iter().map(|v| v.invariant).collect::<Vec<_>>(), ["S1"]);
    }

    #[test]
    fn a_foreign_edit_is_not_okras() {
        let mut builder = Builder::default();
        builder.create(&[(A, 100)]);
        builder.foreign(&[(A, 0), (B, 100)]);
        assert!(judge(&builder.record(), &rules()).is_empty());
    }
}

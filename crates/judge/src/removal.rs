//! S12: a serving group is not removed in the call that first raises its replacement, and the last stable group is
//! never lost. A roll-back under stickiness may do the first: it must take the failed groups out.

use crate::Violation;
use crate::record::{Event, Record, RuleState};
use crate::rules::{CellRules, Rules};
use crate::track::Track;

pub(crate) fn serving_groups_stay(record: &Record, rules: &Rules) -> Vec<Violation> {
    let mut track = Track::default();
    let mut found = Vec::new();
    for entry in &record.entries {
        let Event::Call(call) = &entry.event else { continue };
        if let (Some(before), Some(wanted)) = (&call.before, rules.wanted(call))
            && let Some((key, cell)) = rules.cell_of(before)
        {
            let text = lost(before, wanted, cell, &track);
            let text = text.map(|text| format!("cell {key}: {text}"));
            found.extend(text.map(|text| Violation { invariant: "S12", seq: entry.seq, text }));
        }
        track.see(call, rules);
    }
    found
}

fn lost(before: &RuleState, wanted: &RuleState, cell: &CellRules, track: &Track) -> Option<String> {
    let removed: Vec<&str> = before
        .weights
        .iter()
        .filter(|(group, weight)| **weight > 0 && !wanted.weights.contains_key(*group) && !cell.gone.contains(*group))
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
        assert_eq!(breaches(false, &[&[(B, 100)]]), ["S12"]);
        assert_eq!(breaches(false, &[&[(A, 80), (B, 20)]]), ["S12"], "A2 leaves as B enters");
    }

    #[test]
    fn losing_the_last_stable_group_is_flagged() {
        let steps: [&[(&str, i64)]; 2] = [&[(A, 40), (A2, 40), (B, 20)], &[(B, 100)]];
        assert_eq!(breaches(false, &steps), ["S12"]);
    }

    #[test]
    fn a_sticky_roll_back_takes_the_failed_group_out() {
        let steps: [&[(&str, i64)]; 3] =
            [&[(A, 50), (A2, 50), (B, 0)], &[(A, 0), (A2, 0), (B, 100)], &[(A, 50), (A2, 50)]];
        assert!(breaches(true, &steps).is_empty());
        assert_eq!(breaches(false, &steps), ["S12"]);
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

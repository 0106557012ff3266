//! How shares become weights.

use std::collections::BTreeMap;

/// Splits traffic between the stable and the canary groups so that the canary's total share is exactly
/// `share` percent. Groups get even parts, the remainder goes to the first by name.
///
/// The sum is 100. Where that would give a canary group 0 although the share is not 0, or a stable group 0
/// although its share is not 0, all weights are scaled up until none is. `max_weight` bounds the scale: a
/// split that needs more is told by `None`. With no stable group the canary has all, and the other way round.
pub fn split(stable: &[&str], canary: &[&str], share: i32, max_weight: i32) -> Option<BTreeMap<String, i32>> {
    let share = match (stable.is_empty(), canary.is_empty()) {
        (true, true) => return None,
        (true, false) => 100,
        (false, true) => 0,
        (false, false) => share.clamp(0, 100),
    };
    for scale in 1..=max_weight.max(100) / 100 {
        let mut weights = even(stable, (100 - share) * scale);
        weights.append(&mut even(canary, share * scale));
        let starved = |names: &[&str], part: i32| {
            part > 0 && names.iter().any(|name| weights.get(*name).is_none_or(|weight| *weight == 0))
        };
        let fits = weights.values().all(|weight| *weight <= max_weight);
        if fits && !starved(canary, share) && !starved(stable, 100 - share) {
            return Some(weights);
        }
    }
    None
}

/// Even parts of `total`, the remainder to the first by name.
fn even(names: &[&str], total: i32) -> BTreeMap<String, i32> {
    let mut names: Vec<&str> = names.to_vec();
    names.sort_unstable();
    names.dedup();
    let count = i32::try_from(names.len()).unwrap_or(i32::MAX).max(1);
    let (part, remainder) = (total / count, total % count);
    let first = names.first().copied();
    names.iter().map(|name| ((*name).to_owned(), part + if Some(*name) == first { remainder } else { 0 })).collect()
}

/// A group's share of all weights, in parts of a million; 0 when nothing has weight.
pub fn share_of(weights: &BTreeMap<String, i32>, name: &str) -> i64 {
    let total: i64 = weights.values().map(|weight| i64::from(*weight)).sum();
    let own = weights.get(name).copied().map_or(0, i64::from);
    if total <= 0 { 0 } else { own.saturating_mul(1_000_000) / total }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["s1"], &["c1"], 20, &[("s1", 80), ("c1", 20)])]
    #[case(&["s1", "s2"], &["c1", "c2"], 20, &[("s1", 40), ("s2", 40), ("c1", 10), ("c2", 10)])]
    #[case(&["s1", "s2"], &["c1", "c2"], 25, &[("s1", 38), ("s2", 37), ("c1", 13), ("c2", 12)])]
    #[case(&["s1"], &["c1", "c2", "c3"], 100, &[("s1", 0), ("c1", 34), ("c2", 33), ("c3", 33)])]
    #[case(&["s1"], &["c1", "c2"], 1, &[("s1", 198), ("c1", 1), ("c2", 1)])]
    #[case(&["s1", "s2"], &["c1"], 99, &[("s1", 1), ("s2", 1), ("c1", 198)])]
    #[case(&["s1"], &["c1"], 0, &[("s1", 100), ("c1", 0)])]
    #[case(&[], &["c1", "c2"], 20, &[("c1", 50), ("c2", 50)])]
    #[case(&["s1"], &[], 20, &[("s1", 100)])]
    fn splits(#[case] stable: &[&str], #[case] canary: &[&str], #[case] share: i32, #[case] expected: &[(&str, i32)]) {
        let expected: BTreeMap<String, i32> =
            expected.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
        assert_eq!(split(stable, canary, share, 999).unwrap(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn share_is_exact_and_nobody_is_starved(stable in 1_usize..=4, canary in 1_usize..=4, share in 0..=100_i32) {
            let stable: Vec<String> = (0..stable).map(|i| format!("s{i}")).collect();
            let canary: Vec<String> = (0..canary).map(|i| format!("c{i}")).collect();
            let stable: Vec<&str> = stable.iter().map(String::as_str).collect();
            let canary: Vec<&str> = canary.iter().map(String::as_str).collect();
            let weights = split(&stable, &canary, share, 999).unwrap();
            let total: i32 = weights.values().sum();
            let part: i32 = canary.iter().map(|name| weights[*name]).sum();
            prop_assert_eq!(part * 100, share * total);
            prop_assert!(weights.values().all(|weight| (0..=999).contains(weight)));
            if share > 0 {
                prop_assert!(canary.iter().all(|name| weights[*name] > 0));
            }
            if share < 100 {
                prop_assert!(stable.iter().all(|name| weights[*name] > 0));
            }
        }
    }
}

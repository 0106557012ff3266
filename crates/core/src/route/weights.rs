//! Arithmetic on the weights of one action: shares, raises, and the next call towards a set of weights.

use std::collections::{BTreeMap, BTreeSet};

/// Target group id to weight.
pub type Weights = BTreeMap<String, i32>;

fn total(weights: &Weights) -> i128 {
    weights.values().map(|weight| i128::from((*weight).max(0))).sum()
}

fn of(weights: &Weights, id: &str) -> i128 {
    weights.get(id).map_or(0, |weight| i128::from((*weight).max(0)))
}

/// Whether a group gets any traffic.
pub fn serves(weights: &Weights, id: &str) -> bool {
    of(weights, id) > 0
}

/// Whether anything gets traffic.
pub fn any_serves(weights: &Weights) -> bool {
    total(weights) > 0
}

/// Groups whose share of the traffic is larger in `after` than in `before`. Shares are compared, not weights:
/// 1 of 1 to 50 of 100 is no raise. They are compared exactly, without division.
pub fn raised(before: &Weights, after: &Weights) -> Vec<String> {
    let (sum_before, sum_after) = (total(before), total(after));
    let rises = |id: &str| {
        let share_after = of(after, id);
        if sum_before == 0 { share_after > 0 } else { share_after * sum_before > of(before, id) * sum_after }
    };
    after.keys().filter(|id| rises(id)).cloned().collect()
}

/// Groups that `before` holds and `after` does not.
pub fn removed(before: &Weights, after: &Weights) -> Vec<String> {
    before.keys().filter(|id| !after.contains_key(*id)).cloned().collect()
}

/// Whether a write takes traffic back to safety, as far as weights can tell: it takes a serving group to nothing
/// and raises only groups that are attached already. (The last step of a rollout looks alike; the load balancer
/// cannot tell them apart either.)
pub fn is_rollback(before: &Weights, after: &Weights) -> bool {
    let takes_away = before.keys().any(|id| serves(before, id) && !serves(after, id));
    takes_away && raised(before, after).iter().all(|id| before.contains_key(id))
}

/// The next call towards some weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing to do.
    Done,
    /// Set these weights. They raise some share, or attach groups, and remove nothing (a roll-back under
    /// stickiness apart).
    Set(Weights),
    /// Set these weights: they only remove groups that get no traffic. Wait until the change before has settled.
    Detach(Weights),
    /// What serves, and what is to serve next, are together more than one action can hold.
    TooMany(usize),
}

/// The next call from `now` to `want`. A group never leaves the action in the call that raises another (safety.md
/// S12): first it gets weight 0, and groups at weight 0 leave in a call of their own. Under stickiness a roll-back
/// may do both at once, since a sticky client would stay with a group that is attached at weight 0.
pub fn step(now: &Weights, want: &Weights, sticky: bool, max_groups: usize) -> Step {
    if now == want {
        return Step::Done;
    }
    let gone = removed(now, want);
    let raises = !raised(now, want).is_empty();
    if gone.is_empty() || (raises && sticky && is_rollback(now, want)) {
        return fits(want, max_groups).map_or_else(Step::TooMany, Step::Set);
    }
    if !raises {
        // Groups that are new here get no weight, so they may come in the call in which others leave.
        return fits(want, max_groups).map_or_else(Step::TooMany, Step::Detach);
    }
    let mut both = want.clone();
    both.extend(gone.iter().map(|id| (id.clone(), 0)));
    match fits(&both, max_groups) {
        Ok(weights) => Step::Set(weights),
        Err(count) => detach_parked(now, &gone, count, max_groups),
    }
}

fn fits(weights: &Weights, max_groups: usize) -> Result<Weights, usize> {
    if weights.len() > max_groups { Err(weights.len()) } else { Ok(weights.clone()) }
}

/// Makes room by taking out groups that get no traffic and are not wanted, shares unchanged.
fn detach_parked(now: &Weights, gone: &[String], count: usize, max_groups: usize) -> Step {
    let parked: BTreeSet<&String> = gone.iter().filter(|id| !serves(now, id)).collect();
    if parked.is_empty() || count.saturating_sub(parked.len()) > max_groups || !any_serves(now) {
        return Step::TooMany(count);
    }
    Step::Detach(now.iter().filter(|(id, _)| !parked.contains(id)).map(|(id, weight)| (id.clone(), *weight)).collect())
}

/// `now`, with every group of `want` that it lacks attached at weight 0, so that the router begins to look after its
/// health. `None` when nothing is missing, nothing serves, or it would not fit.
pub fn attach(now: &Weights, want: &Weights, max_groups: usize) -> Option<Weights> {
    let mut weights = now.clone();
    for id in want.keys() {
        weights.entry(id.clone()).or_insert(0);
    }
    (weights.len() > now.len() && weights.len() <= max_groups && any_serves(now)).then_some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn weights(text: &str) -> Weights {
        text.split_whitespace()
            .map(|pair| {
                let (id, weight) = pair.split_once(':').unwrap();
                (id.to_owned(), weight.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn shares_are_compared_not_weights() {
        for (before, after, expected) in [
            ("a:1", "a:100", ""),
            ("a:1", "a:100 b:0", ""),
            ("a:80 b:20", "a:60 b:40", "b"),
            ("a:80 b:20", "a:160 b:40", ""),
            ("a:80 b:20", "a:80", "a"),
            ("a:0 b:0", "a:0 b:1", "b"),
            ("", "a:1", "a"),
            ("a:1 b:1", "a:1 b:1 c:1", "c"),
            ("a:-5 b:1", "a:0 b:1", ""),
        ] {
            assert_eq!(raised(&weights(before), &weights(after)).join(" "), expected, "{before} -> {after}");
        }
    }

    #[test]
    fn a_rollback_takes_away_and_attaches_nothing() {
        for (before, after, expected) in [
            ("a:80 b:20", "a:100 b:0", true),
            ("a:80 b:20", "a:100", true),
            ("a:0 b:100", "a:100 b:0", true),
            ("a:100", "a:80 b:20", false),
            ("a:80 b:20", "a:60 b:40", false),
            ("a:100", "b:100", false),
            ("a:100 b:0", "a:80 b:20", false),
        ] {
            assert_eq!(is_rollback(&weights(before), &weights(after)), expected, "{before} -> {after}");
        }
    }

    #[test]
    fn no_group_leaves_in_the_call_that_raises_another() {
        let set = |text: &str| Step::Set(weights(text));
        let detach = |text: &str| Step::Detach(weights(text));
        for (now, want, sticky, expected) in [
            ("a:100", "a:100", false, Step::Done),
            ("a:100", "a:100 b:0", false, set("a:100 b:0")),
            ("a:100", "b:100", false, set("a:0 b:100")),
            ("a:0 b:100", "b:100", false, detach("b:100")),
            ("a:80 b:20", "a:100", false, set("a:100 b:0")),
            ("a:80 b:20", "a:100", true, set("a:100")),
            ("a:100", "b:100", true, set("a:0 b:100")),
            ("a:100 b:0", "a:50 c:50", false, set("a:50 b:0 c:50")),
            ("a:100 b:0", "a:100 c:0", false, detach("a:100 c:0")),
            ("a:50 b:50 c:0 d:0 e:0", "a:50 f:50", false, detach("a:50 b:50")),
            ("a:1 b:1 c:1 d:1", "e:1 f:1", false, Step::TooMany(6)),
            ("a:1", "a:1 b:1 c:1 d:1 e:1 f:1", false, Step::TooMany(6)),
            ("", "a:100", false, set("a:100")),
        ] {
            assert_eq!(step(&weights(now), &weights(want), sticky, 5), expected, "{now} -> {want}, sticky {sticky}");
        }
    }

    #[test]
    fn attaching_raises_nothing() {
        assert_eq!(attach(&weights("a:100"), &weights("a:50 b:50"), 5), Some(weights("a:100 b:0")));
        assert_eq!(attach(&weights("a:100 b:0"), &weights("a:50 b:50"), 5), None);
        assert_eq!(attach(&weights(""), &weights("b:50"), 5), None, "all weights would be 0");
        assert_eq!(attach(&weights("a:1 b:1 c:1 d:1 e:1"), &weights("f:1"), 5), None);
    }
}

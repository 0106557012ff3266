//! Takes everything out of a story that its violation does not need.

use crate::{
    run::{Breach, Outcome, compare, simulate},
    story::Story,
};

/// So many runs are spent on one story.
const RUNS: usize = 400;

/// A run with the comparison of its end; the first breach.
pub fn judge(story: &Story) -> anyhow::Result<(Outcome, Option<Breach>)> {
    let mut outcome = simulate(story, false)?;
    if outcome.breaches.is_empty() {
        let breach = compare(story, &outcome)?;
        outcome.breaches.extend(breach);
    }
    let first = outcome.breaches.first().cloned();
    Ok((outcome, first))
}

/// The smallest story that was found which breaks the same invariant.
pub fn shrink(story: &Story, invariant: &str) -> anyhow::Result<Story> {
    let mut best = story.clone();
    let mut runs = 0;
    let mut fails = |story: &Story| -> anyhow::Result<bool> {
        runs += 1;
        let (outcome, _) = judge(story)?;
        Ok(runs <= RUNS && outcome.breaches.iter().any(|breach| breach.invariant == invariant))
    };
    loop {
        let before = best.happenings.len();
        let mut size = (before / 2).max(1);
        while size > 0 {
            let mut at = 0;
            while at < best.happenings.len() {
                let mut smaller = best.clone();
                let end = (at + size).min(smaller.happenings.len());
                smaller.happenings.drain(at..end);
                if fails(&smaller)? {
                    best = smaller;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
        if best.cells.len() > 1 {
            let mut smaller = best.clone();
            smaller.cells.truncate(1);
            smaller.happenings.retain(|happening| happening.what.cell().is_none_or(|cell| cell == 0));
            if fails(&smaller)? {
                best = smaller;
            }
        }
        if best.processes > 1 {
            let smaller = Story { processes: 1, ..best.clone() };
            if fails(&smaller)? {
                best = smaller;
            }
        }
        if best.happenings.len() == before {
            return Ok(best);
        }
    }
}

//! Which of the finished runs of an owner are deleted.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use okra_api::RunPhase;

/// How many finished runs are kept where nothing else is said, of each sort.
pub const HISTORY_LIMIT: usize = 5;

/// A run or experiment of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Where it stands.
    pub phase: Option<RunPhase>,
    /// The pod template hash it was made for; for a Cell the version.
    pub hash: Option<String>,
}

/// How many finished runs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Successful ones.
    pub successful: usize,
    /// Failed, inconclusive and erroneous ones together.
    pub unsuccessful: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { successful: HISTORY_LIMIT, unsuccessful: HISTORY_LIMIT }
    }
}

/// Names of the runs to delete: those made for what is not there any more (`present` says of each hash whether it
/// stays), and the oldest finished ones above the limits. A run that goes on is kept.
pub fn runs_to_delete(runs: &[PastRun], present: &BTreeMap<String, bool>, limits: HistoryLimits) -> Vec<String> {
    let mut newest_first: Vec<&PastRun> = runs.iter().collect();
    newest_first.sort_by_key(|run| Reverse((run.created, run.name.clone())));
    let (mut successful, mut unsuccessful) = (0_usize, 0_usize);
    let mut stays = |run: &PastRun| {
        let known = run.hash.as_ref().and_then(|hash| present.get(hash)).copied().unwrap_or(false);
        let (kept, limit) = match run.phase {
            _ if !known => return false,
            Some(RunPhase::Successful) => (&mut successful, limits.successful),
            Some(RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive) => {
                (&mut unsuccessful, limits.unsuccessful)
            }
            Some(RunPhase::Pending | RunPhase::Running) | None => return true,
        };
        *kept = kept.saturating_add(1);
        *kept <= limit
    };
    newest_first.into_iter().filter(|run| !stays(run)).map(|run| run.name.clone()).collect()
}

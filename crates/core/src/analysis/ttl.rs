//! When a run that has ended is deleted.

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunStatus, TtlStrategy},
};

use super::duration::later;

/// When a run may be deleted; `None`: never. A run that ended without a time of its end, because its spec was wrong, is
/// kept: Argo's rule.
pub fn expires_at(strategy: Option<&TtlStrategy>, status: &AnalysisRunStatus) -> Option<Timestamp> {
    let (strategy, phase) = (strategy?, status.phase?);
    let own = match phase {
        RunPhase::Successful => strategy.seconds_after_success,
        RunPhase::Failed => strategy.seconds_after_failure,
        RunPhase::Error | RunPhase::Inconclusive => None,
        RunPhase::Pending | RunPhase::Running => return None,
    };
    let seconds = own.or(strategy.seconds_after_completion)?;
    // More than so many whole seconds, so the one after.
    Some(later(status.completed_at?, SignedDuration::from_secs(i64::from(seconds).saturating_add(1))))
}

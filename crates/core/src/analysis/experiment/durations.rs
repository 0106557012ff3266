//! The times of an experiment.

use jiff::{SignedDuration, Timestamp};
use okra_api::analysis::{ExperimentSpec, ExperimentStatus};

use super::super::duration::{later, parse_duration};

/// Seconds without progress after which a template has failed.
const PROGRESS_DEADLINE: i32 = 600;
/// Seconds that pods are kept after the end.
const SCALE_DOWN_DELAY: i32 = 30;

pub(super) fn progress_deadline_seconds(spec: &ExperimentSpec) -> i32 {
    spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE)
}

pub(super) fn scale_down_delay(spec: &ExperimentSpec) -> SignedDuration {
    SignedDuration::from_secs(i64::from(spec.scale_down_delay_seconds.unwrap_or(SCALE_DOWN_DELAY)))
}

/// When a template that last made progress then has failed.
pub(super) fn progress_deadline(spec: &ExperimentSpec, since: Timestamp) -> Timestamp {
    later(since, SignedDuration::from_secs(i64::from(progress_deadline_seconds(spec))))
}

/// When the duration is over; `None`: there is none, it cannot be read, or it has not begun.
pub(super) fn ends_at(spec: &ExperimentSpec, status: &ExperimentStatus) -> Option<Timestamp> {
    let duration = parse_duration(&spec.duration).ok().filter(|_| !spec.duration.is_empty())?;
    Some(later(status.available_at?, duration))
}

/// Whether the duration is over: strictly after its end.
pub(super) fn is_over(spec: &ExperimentSpec, status: &ExperimentStatus, now: Timestamp) -> bool {
    ends_at(spec, status).is_some_and(|end| now > end)
}

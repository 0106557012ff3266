//! Which metrics are due, and when the next one is.

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunStatus, Measurement, Metric, MetricResult},
};

use super::{
    duration::{later, parse_duration},
    limits::is_count_reached,
    measurement::in_flight,
    take::Action,
};

/// A metric that could not be measured is tried again after this, whatever its interval.
pub(super) const ERROR_RETRY: SignedDuration = SignedDuration::from_secs(10);

/// What is next for a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Something, now.
    Due(Action),
    /// Something, then.
    At(Timestamp),
    /// Nothing that a time would bring.
    Nothing,
}

/// Argo's `IsTerminating`: it was asked for, or a metric that decides has ended badly.
pub(super) fn is_terminating(asked: bool, status: &AnalysisRunStatus) -> bool {
    let bad = |phase| matches!(phase, RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive);
    asked || status.metric_results.iter().any(|result| !result.dry_run && bad(result.phase))
}

/// What is next for a metric at a time. `is_ready`: the measurement in flight is known to be over, whenever it was to be
/// looked at.
pub(super) fn next(
    metric: &Metric,
    status: &AnalysisRunStatus,
    terminating: bool,
    is_ready: bool,
    now: Timestamp,
) -> Next {
    let result = status.metric_results.iter().find(|result| result.name == metric.name);
    if result.is_some_and(|result| result.phase.is_completed()) {
        return Next::Nothing;
    }
    if let Some(last) = in_flight(result) {
        return resume(last, terminating, is_ready, now);
    }
    if terminating {
        return Next::Nothing;
    }
    match result.and_then(|result| Some((result, result.measurements.last()?))) {
        None => first(metric, status, now),
        Some((result, last)) => again(metric, result, last, now),
    }
}

fn resume(last: &Measurement, terminating: bool, is_ready: bool, now: Timestamp) -> Next {
    match last.resume_at {
        _ if terminating => Next::Due(Action::Terminate(last.clone())),
        Some(at) if at > now && !is_ready => Next::At(at),
        _ => Next::Due(Action::Resume(last.clone())),
    }
}

/// The first measurement waits for the initial delay, which begins when the first pass is over.
fn first(metric: &Metric, status: &AnalysisRunStatus, now: Timestamp) -> Next {
    if metric.initial_delay.is_empty() {
        return Next::Due(Action::Run);
    }
    match (parse_duration(&metric.initial_delay), status.started_at) {
        (Err(_), _) | (_, None) => Next::Nothing,
        (Ok(delay), Some(started)) => match later(started, delay) {
            at if at > now => Next::At(at),
            _ => Next::Due(Action::Run),
        },
    }
}

fn again(metric: &Metric, result: &MetricResult, last: &Measurement, now: Timestamp) -> Next {
    if is_count_reached(metric, result) {
        return Next::Nothing;
    }
    let interval = if last.phase == RunPhase::Error || metric.interval.is_empty() {
        ERROR_RETRY
    } else {
        let Ok(interval) = parse_duration(&metric.interval) else { return Next::Nothing };
        interval
    };
    let due = later(last.finished_at.unwrap_or(now), interval);
    if now > due { Next::Due(Action::Run) } else { Next::At(later(due, SignedDuration::from_nanos(1))) }
}

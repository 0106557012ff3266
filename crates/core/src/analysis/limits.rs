//! Limits: when a metric has failed, passed, or cannot be judged.

use okra_api::{
    RunPhase,
    analysis::{Metric, MetricResult, int_value},
};

/// Errors in a row that are allowed where nothing else is said.
const CONSECUTIVE_ERRORS: i32 = 4;

/// A limit that a metric has gone over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    /// What the metric is for it.
    pub phase: RunPhase,
    /// Which limit, and by how much.
    pub message: String,
}

/// The limit that a metric has gone over. Of several the last counts: errors, then inconclusive, then failed ones.
pub(super) fn breach(metric: &Metric, result: &MetricResult) -> Option<Breach> {
    // Go's `int32(...)` of an `int`.
    let limit = |value: &Option<_>, unset: i32| value.as_ref().map_or(unset, |value| int_value(value) as i32);
    let failures = limit(&metric.failure_limit, 0);
    let inconclusive = limit(&metric.inconclusive_limit, 0);
    let errors = limit(&metric.consecutive_error_limit, CONSECUTIVE_ERRORS);
    let mut breach = None;
    if failures >= 0 && result.failed > failures {
        let message = format!("failed ({}) > failureLimit ({failures})", result.failed);
        breach = Some(Breach { phase: RunPhase::Failed, message });
    }
    if result.inconclusive > inconclusive {
        let message = format!("inconclusive ({}) > inconclusiveLimit ({inconclusive})", result.inconclusive);
        breach = Some(Breach { phase: RunPhase::Inconclusive, message });
    }
    if result.consecutive_error > errors {
        let message = format!("consecutiveErrors ({}) > consecutiveErrorLimit ({errors})", result.consecutive_error);
        breach = Some(Breach { phase: RunPhase::Error, message });
    }
    breach
}

/// Where a metric stands: the first rule that applies.
pub(super) fn metric_phase(metric: &Metric, result: &MetricResult, terminating: bool) -> RunPhase {
    if result.phase.is_completed() {
        return result.phase;
    }
    let Some(last) = result.measurements.last() else {
        return if terminating { RunPhase::Successful } else { RunPhase::Pending };
    };
    if !last.phase.is_completed() {
        return RunPhase::Running;
    }
    if let Some(breach) = breach(metric, result) {
        return breach.phase;
    }
    let successes = metric.consecutive_success_limit.as_ref().map_or(0, int_value);
    if successes > 0 && result.consecutive_success >= successes as i32 {
        return RunPhase::Successful;
    }
    if is_count_reached(metric, result) {
        let failures_count = metric.failure_limit.as_ref().is_none_or(|limit| int_value(limit) >= 0);
        return match (failures_count, successes > 0) {
            (true, true) => RunPhase::Inconclusive,
            (false, true) => RunPhase::Failed,
            (_, false) => RunPhase::Successful,
        };
    }
    if terminating { RunPhase::Successful } else { RunPhase::Running }
}

/// Whether all measurements that were asked for have been taken.
pub(super) fn is_count_reached(metric: &Metric, result: &MetricResult) -> bool {
    metric.effective_count().is_some_and(|count| result.count >= count as i32)
}

//! From what a provider gave to a measurement in the status, and what it counts as.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunStatus, Measurement, Metric, MetricResult},
};
use okra_expr::{Budget, Value, Verdict, judge};

use super::{
    duration::{later, next_whole_second, whole_second},
    schedule::ERROR_RETRY,
    take::{Action, Outcome, Take, Taken, redact},
};

/// What a measurement without data may count as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoData {
    /// Never as a pass: nil, an empty result or NaN is an error, unless a condition of the metric says what it means by
    /// using `isNaN`, `isNil`, `nil`, `len` or `default`. Invariant S15.
    #[default]
    IsError,
    /// As Argo counts it: a metric without conditions, or with a failure condition that NaN does not meet, passes.
    AsArgo,
}

/// Characters of a value or message that the status keeps. The object has to fit into etcd.
const LONGEST: usize = 4_096;
/// Secrets shorter than this are not hidden in values and metadata: they would hide ordinary numbers. In messages every
/// secret is.
const SHORTEST_SECRET: usize = 4;

/// Writes a measurement into the status, unless it comes too late for it.
pub(super) fn record(
    status: &mut AnalysisRunStatus,
    dry_run: &BTreeSet<String>,
    taken: &Taken,
    no_data: NoData,
    now: Timestamp,
) -> bool {
    if !fits(status, &taken.take) {
        return false;
    }
    let measurement = measurement_of(taken, no_data, now);
    let known = status.metric_results.iter().position(|result| result.name == taken.take.name);
    let position = known.unwrap_or_else(|| {
        status.metric_results.push(MetricResult {
            name: taken.take.name.clone(),
            phase: RunPhase::Running,
            dry_run: dry_run.contains(&taken.take.name),
            metadata: hidden(&taken.take, &taken.metric_metadata),
            ..MetricResult::default()
        });
        status.metric_results.len().saturating_sub(1)
    });
    if let Some(result) = status.metric_results.get_mut(position) {
        count(result, measurement.phase);
        if taken.take.action != Action::Run {
            result.measurements.pop();
        }
        result.measurements.push(measurement);
    }
    true
}

/// How many measurements of a metric are over.
pub(super) fn number(result: Option<&MetricResult>) -> i32 {
    result.map_or(0, |result| result.count.saturating_add(result.error))
}

/// Whether the measurement in flight has no end yet.
pub(super) fn in_flight(result: Option<&MetricResult>) -> Option<&Measurement> {
    result.and_then(|result| result.measurements.last()).filter(|last| last.finished_at.is_none())
}

/// Whether the status still waits for this: a result may come twice, or after a restart.
fn fits(status: &AnalysisRunStatus, take: &Take) -> bool {
    let result = status.metric_results.iter().find(|result| result.name == take.name);
    let over = result.is_some_and(|result| result.phase.is_completed());
    let begun = in_flight(result).is_some();
    !over && take.number == number(result) && begun == (take.action != Action::Run)
}

/// Argo's counters: only an error leaves the count alone, and only a success goes on with a row of successes.
fn count(result: &mut MetricResult, phase: RunPhase) {
    let counter = match phase {
        RunPhase::Successful => &mut result.successful,
        RunPhase::Failed => &mut result.failed,
        RunPhase::Inconclusive => &mut result.inconclusive,
        RunPhase::Error => {
            result.error = result.error.saturating_add(1);
            result.consecutive_error = result.consecutive_error.saturating_add(1);
            result.consecutive_success = 0;
            return;
        }
        RunPhase::Pending | RunPhase::Running => return,
    };
    *counter = counter.saturating_add(1);
    result.count = result.count.saturating_add(1);
    result.consecutive_error = 0;
    result.consecutive_success =
        if phase == RunPhase::Successful { result.consecutive_success.saturating_add(1) } else { 0 };
}

fn measurement_of(taken: &Taken, no_data: NoData, now: Timestamp) -> Measurement {
    let take = &taken.take;
    let mut measurement = match &take.action {
        Action::Run => Measurement { started_at: Some(whole_second(taken.started_at)), ..Measurement::default() },
        Action::Resume(before) | Action::Terminate(before) => before.clone(),
    };
    let (value, metadata) = match &taken.outcome {
        Outcome::Value { result, value, metadata } => {
            (measurement.phase, measurement.message) = judged(&take.metric, result, value, no_data, now);
            let kept = measurement.phase != RunPhase::Error || keeps_value(&take.metric);
            (if kept { value.as_str() } else { "" }, metadata)
        }
        Outcome::Verdict { phase, value, message, metadata } => {
            measurement.phase = *phase;
            measurement.message.clone_from(message);
            (value.as_str(), metadata)
        }
        Outcome::InFlight { metadata, .. } => {
            measurement.phase = RunPhase::Running;
            ("", metadata)
        }
        Outcome::Error { message, metadata } => {
            measurement.phase = RunPhase::Error;
            measurement.message.clone_from(message);
            ("", metadata)
        }
    };
    if let Action::Terminate(_) = take.action {
        // A provider that cannot end what is in flight: nobody will look at it again.
        if !measurement.phase.is_completed() {
            measurement.phase = RunPhase::Inconclusive;
        }
        if matches!(measurement.phase, RunPhase::Successful | RunPhase::Inconclusive) {
            "Metric Terminated".clone_into(&mut measurement.message);
        }
    }
    measurement.message = cut(&take.redacted(&measurement.message));
    if !value.is_empty() {
        measurement.value = cut(&hidden_text(take, value));
    }
    if measurement.phase.is_completed() {
        measurement.finished_at = Some(whole_second(taken.finished_at));
        measurement.metadata.extend(hidden(take, metadata));
    } else {
        // What a provider needs to go on is kept to the letter.
        measurement.phase = RunPhase::Running;
        measurement.metadata.extend(metadata.clone());
        measurement.resume_at = Some(resume_at(&taken.outcome, now));
    }
    measurement
}

/// When a measurement in flight is looked at again, in whole seconds and without looking twice in the same one.
fn resume_at(outcome: &Outcome, now: Timestamp) -> Timestamp {
    match outcome {
        Outcome::InFlight { resume_at: Some(at), .. } if *at <= now => whole_second(*at),
        Outcome::InFlight { resume_at: Some(at), .. } => next_whole_second(*at),
        _ => next_whole_second(later(now, ERROR_RETRY)),
    }
}

/// What the conditions make of a result, and why.
fn judged(metric: &Metric, result: &Value, value: &str, no_data: NoData, now: Timestamp) -> (RunPhase, String) {
    let (success, failure) = (metric.success_condition.as_str(), metric.failure_condition.as_str());
    match judge(result, success, failure, now, Budget::for_result(result)) {
        Err(error) => (RunPhase::Error, error.to_string()),
        Ok(Verdict::Failed) => (RunPhase::Failed, String::new()),
        Ok(Verdict::Inconclusive) => (RunPhase::Inconclusive, String::new()),
        Ok(Verdict::Successful) => match missing(result, value) {
            Some(why) if no_data == NoData::IsError && !expects_no_data(&[success, failure]) => {
                (RunPhase::Error, why.to_owned())
            }
            _ => (RunPhase::Successful, String::new()),
        },
    }
}

/// What is wrong with a result that says nothing.
fn missing(result: &Value, value: &str) -> Option<&'static str> {
    let is_word = |word: &str| value.split(|c: char| !c.is_ascii_alphanumeric()).any(|found| found == word);
    // Lists of nothing but empty lists are empty too: CloudWatch gives one for each query.
    let is_empty = value.chars().all(|c| "[]{}, ".contains(c)) || matches!(value.trim(), "null" | "<nil>");
    if result.is_nil_or_empty() || is_empty {
        Some("metric result is nil or empty: no data returned from the metric provider")
    } else if is_word("NaN") {
        Some("metric result is NaN: no data to judge; a condition that uses isNaN() can say what it means")
    } else {
        None
    }
}

/// Whether the author of the conditions has thought of results without data.
fn expects_no_data(conditions: &[&str]) -> bool {
    let words = ["isNaN", "isNil", "nil", "len(", "default("];
    conditions.iter().any(|text| words.iter().any(|word| text.contains(word)))
}

/// Argo's CloudWatch and Graphite providers write the value down before they judge it.
fn keeps_value(metric: &Metric) -> bool {
    metric.provider.cloud_watch.is_some() || metric.provider.graphite.is_some()
}

fn hidden(take: &Take, metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    metadata.iter().map(|(key, value)| (key.clone(), cut(&hidden_text(take, value)))).collect()
}

fn hidden_text(take: &Take, text: &str) -> String {
    redact(take.redact.iter().filter(|secret| secret.len() >= SHORTEST_SECRET), text)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

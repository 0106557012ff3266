//! Limits that are never reached, and metrics that cannot fail.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use okra_api::analysis::{Metric, int_value};

use super::Sink;

/// So many errors in a row take a day: after an error a metric is measured again in 10 s.
const A_DAY_OF_ERRORS: i64 = 8_640;

/// Checks a metric whose arguments are filled in; without the count nothing is said of what it makes unreachable.
pub(super) fn check(metric: &Metric, at: &str, count_is_known: bool, sink: &mut Sink<'_>) {
    texts(metric, at, sink);
    let judges_itself = judge(metric).is_some();
    let conditions = [&metric.success_condition, &metric.failure_condition];
    let given = conditions.iter().filter(|condition| !condition.is_empty()).count();
    match (judge(metric), given) {
        (Some(_), 0) | (None, 1 | 2) => {}
        (Some(provider), _) => sink.warning(
            at,
            format!("its conditions are not looked at: {provider} judges by itself"),
            "remove successCondition and failureCondition",
        ),
        (None, _) => sink.warning(
            at,
            "every answer passes: it has neither successCondition nor failureCondition",
            "add successCondition",
        ),
    }
    let count = metric.effective_count().filter(|_| count_is_known);
    let limit = |limit: &Option<IntOrString>| limit.as_ref().map_or(0, int_value);
    let never = |name: &str, why: String, fix: String, sink: &mut Sink<'_>| {
        sink.warning(format!("{at}.{name}"), format!("never reached: {why}"), fix);
    };
    let failures = limit(&metric.failure_limit);
    if let Some(count) = count.filter(|count| failures > 0 && failures >= *count && (judges_itself || given > 0)) {
        let why = format!("{}, and it takes more than {failures} failed ones", taken(count));
        never("failureLimit", why, below(count), sink);
    }
    let inconclusive = limit(&metric.inconclusive_limit);
    if inconclusive > 0 && !judges_itself && given < 2 {
        let why = "a measurement is inconclusive only where both conditions are set".to_owned();
        never("inconclusiveLimit", why, "add the other condition, or remove the limit".to_owned(), sink);
    } else if let Some(count) = count.filter(|count| inconclusive > 0 && inconclusive >= *count) {
        let why = format!("{}, and it takes more than {inconclusive} inconclusive ones", taken(count));
        never("inconclusiveLimit", why, below(count), sink);
    }
    let successes = limit(&metric.consecutive_success_limit);
    if let Some(count) = count.filter(|count| successes > *count && metric.count.is_none()) {
        let fix = "add interval, and count if it is to end without".to_owned();
        never("consecutiveSuccessLimit", taken(count), fix, sink);
    }
    let errors = limit(&metric.consecutive_error_limit);
    if errors >= A_DAY_OF_ERRORS {
        let days = errors / A_DAY_OF_ERRORS;
        let why = format!("with one every 10 s, so many errors in a row take {days} days or more");
        never("consecutiveErrorLimit", why, "write a smaller number; without one it is 4".to_owned(), sink);
    }
}

fn taken(count: i64) -> String {
    if count == 1 { "it is measured once".to_owned() } else { format!("it is measured {count} times") }
}

fn below(count: i64) -> String {
    match count {
        1 => "remove it, or add interval and count".to_owned(),
        _ => format!("write {} or less, or raise count", count.saturating_sub(1)),
    }
}

/// The provider that judges by itself.
fn judge(metric: &Metric) -> Option<&'static str> {
    match (&metric.provider.job, &metric.provider.kayenta) {
        (Some(_), _) => Some("a Job"),
        (_, Some(_)) => Some("Kayenta"),
        _ => None,
    }
}

/// Go takes a text that is no number for 0, without a word.
fn texts(metric: &Metric, at: &str, sink: &mut Sink<'_>) {
    for (name, value) in [
        ("count", &metric.count),
        ("failureLimit", &metric.failure_limit),
        ("inconclusiveLimit", &metric.inconclusive_limit),
        ("consecutiveErrorLimit", &metric.consecutive_error_limit),
        ("consecutiveSuccessLimit", &metric.consecutive_success_limit),
    ] {
        if let Some(IntOrString::String(text)) = value
            && text.parse::<i64>().is_err()
        {
            sink.error(format!("{at}.{name}"), format!("{text:?} is no number, and counts as 0"), "write a number");
        }
    }
}

//! What is measured, and what is made of it.

use std::num::IntErrorKind;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::provider::MetricProvider;

/// A metric: what is measured how often, and what counts as success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Name of the metric.
    #[serde(default)]
    pub name: String,
    /// Time between measurements, like `30s`; unset: it is measured once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// Time before the first measurement.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub initial_delay: String,
    /// Number of measurements; unset with an interval: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<IntOrString>,
    /// An expression that is true if the measurement succeeded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub success_condition: String,
    /// An expression that is true if the measurement failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure_condition: String,
    /// Failed measurements that are allowed in all. Default 0; -1: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<IntOrString>,
    /// Inconclusive measurements that are allowed in all. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive_limit: Option<IntOrString>,
    /// Errors in a row that are allowed. Default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_error_limit: Option<IntOrString>,
    /// Where the measurement comes from.
    #[serde(default)]
    pub provider: MetricProvider,
    /// Successes in a row after which the metric is successful. Default 0: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_success_limit: Option<IntOrString>,
}

/// Metrics that are measured but do not decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// A regular expression that is found in the names; `.*` for all.
    #[serde(default)]
    pub metric_name: String,
}

/// How many measurements are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasurementRetention {
    /// A regular expression that is found in the names of the metrics.
    #[serde(default)]
    pub metric_name: String,
    /// The newest so many measurements are kept.
    #[serde(default)]
    pub limit: i32,
}

/// The number that Go's `IntValue` makes of an int-or-string: a text that is no number is 0, one that is too large is
/// the largest.
pub fn int_value(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => text.parse().unwrap_or_else(|error: std::num::ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => i64::MAX,
            IntErrorKind::NegOverflow => i64::MIN,
            _ => 0,
        }),
    }
}

impl Metric {
    /// How many measurements are taken in all; `None`: without end. Argo's `EffectiveCount`.
    pub fn effective_count(&self) -> Option<i64> {
        match self.count.as_ref().map(int_value) {
            None | Some(0) => self.interval.is_empty().then_some(1),
            count => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (text, number) in [
            ("5", 5),
            ("+5", 5),
            ("-1", -1),
            ("many", 0),
            ("", 0),
            ("1_000", 0),
            ("2.5", 0),
            (" 1", 0),
            ("99999999999999999999", i64::MAX),
            ("-99999999999999999999", i64::MIN),
        ] {
            assert_eq!(int_value(&IntOrString::String(text.to_owned())), number, "{text}");
        }
        assert_eq!(int_value(&IntOrString::Int(7)), 7);
    }

    #[test]
    fn a_metric_without_an_interval_is_measured_once() {
        let count = |count: Option<IntOrString>, interval: &str| {
            Metric { count, interval: interval.to_owned(), ..Metric::default() }.effective_count()
        };
        let text = |text: &str| Some(IntOrString::String(text.to_owned()));
        assert_eq!(count(None, ""), Some(1));
        assert_eq!(count(None, "1s"), None);
        assert_eq!(count(Some(IntOrString::Int(0)), ""), Some(1));
        assert_eq!(count(text("many"), "1s"), None);
        assert_eq!(count(text("3"), "1s"), Some(3));
    }
}

//! Dry-run rules and rules of retention: which metrics they mean.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use okra_api::analysis::{DryRun, MeasurementRetention, Metric};
use okra_expr::{Budget, Value, holds};
use serde_json::json;

/// A rule that means no metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}[{index}]: Rule didn't match any metric name(s)")]
pub struct RuleError {
    field: &'static str,
    index: usize,
}

/// Names of the metrics that do not decide.
pub(super) fn dry_run_metrics(rules: &[DryRun], metrics: &[Metric]) -> Result<BTreeSet<String>, RuleError> {
    let patterns = rules.iter().map(|rule| (rule.metric_name.as_str(), ()));
    Ok(matched("dryRun", patterns, metrics)?.into_keys().collect())
}

/// How many measurements are kept, of the metrics that a rule means. A later rule wins.
pub(super) fn retention_limits(
    rules: &[MeasurementRetention],
    metrics: &[Metric],
) -> Result<BTreeMap<String, i32>, RuleError> {
    matched("measurementRetention", rules.iter().map(|rule| (rule.metric_name.as_str(), rule.limit)), metrics)
}

fn matched<'a, T: Copy>(
    field: &'static str,
    rules: impl Iterator<Item = (&'a str, T)>,
    metrics: &[Metric],
) -> Result<BTreeMap<String, T>, RuleError> {
    let mut found = BTreeMap::new();
    for (index, (pattern, value)) in rules.enumerate() {
        let names: Vec<&String> =
            metrics.iter().map(|metric| &metric.name).filter(|name| rule_means(pattern, name)).collect();
        if names.is_empty() {
            return Err(RuleError { field, index });
        }
        found.extend(names.into_iter().map(|name| (name.clone(), value)));
    }
    Ok(found)
}

/// Whether a dry-run rule or a rule of retention means a metric: Go's `regexp.MatchString`, anywhere in the name. A
/// pattern that is no regular expression, such as `*`, is found nowhere. The condition language has the same patterns,
/// within a budget.
pub fn rule_means(pattern: &str, name: &str) -> bool {
    let texts = Value::json(&json!([name, pattern]));
    holds("result[0] matches result[1]", &texts, Timestamp::UNIX_EPOCH, Budget::default()).unwrap_or(false)
}

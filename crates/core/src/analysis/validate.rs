//! What is wrong with metrics, in Argo's words: `ValidateMetrics`. Conditions are not looked at here, they fail with
//! each measurement.

use std::collections::BTreeSet;

use okra_api::analysis::{Metric, MetricProvider, int_value};

use super::duration::{DurationError, parse_duration};

/// What is wrong with metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// There is none.
    #[error("no metrics specified")]
    NoMetrics,
    /// A name comes twice.
    #[error("metrics[{index}]: duplicate name '{name}'")]
    DuplicateName {
        /// Place of the second one.
        index: usize,
        /// The name.
        name: String,
    },
    /// A metric is wrong.
    #[error("metrics[{index}]: {fault}")]
    Metric {
        /// Its place.
        index: usize,
        /// What is wrong.
        fault: MetricFault,
    },
}

/// What is wrong with a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MetricFault {
    #[error("consecutiveSuccessLimit must be >= 0")]
    ConsecutiveSuccessLimit,
    #[error("failureLimit must be >= 0, or -1 to be disabled")]
    FailureLimit,
    #[error("failureLimit and consecutiveSuccessLimit cannot both be disabled")]
    BothDisabled,
    #[error("inconclusiveLimit must be >= 0")]
    InconclusiveLimit,
    #[error("consecutiveErrorLimit must be >= 0")]
    ConsecutiveErrorLimit,
    #[error(
        "count ({count}) must be >= failureLimit + consecutiveSuccessLimit ({failures} + {successes}) if both >= 0"
    )]
    CountBelowBoth { count: i64, failures: i64, successes: i64 },
    #[error("count must be >= consecutiveSuccessLimit")]
    CountBelowSuccesses,
    #[error("count must be >= inconclusiveLimit")]
    CountBelowInconclusive,
    #[error("interval must be specified when count > 1")]
    NoInterval,
    #[error("invalid interval string: {0}")]
    Interval(DurationError),
    #[error("invalid startDelay string: {0}")]
    InitialDelay(DurationError),
    #[error("no provider specified")]
    NoProvider,
    #[error("multiple providers specified")]
    ManyProviders,
}

/// Checks the metrics of a run, with arguments filled in.
pub fn validate_metrics(metrics: &[Metric]) -> Result<(), MetricsError> {
    if metrics.is_empty() {
        return Err(MetricsError::NoMetrics);
    }
    let mut names = BTreeSet::new();
    for (index, metric) in metrics.iter().enumerate() {
        if !names.insert(&metric.name) {
            return Err(MetricsError::DuplicateName { index, name: metric.name.clone() });
        }
        validate_metric(metric).map_err(|fault| MetricsError::Metric { index, fault })?;
    }
    Ok(())
}

/// Checks one metric.
pub fn validate_metric(metric: &Metric) -> Result<(), MetricFault> {
    let limit = |value: &Option<_>| value.as_ref().map_or(0, int_value);
    let (count, failures) = (limit(&metric.count), limit(&metric.failure_limit));
    let successes = limit(&metric.consecutive_success_limit);
    if successes < 0 {
        return Err(MetricFault::ConsecutiveSuccessLimit);
    }
    if failures < -1 {
        return Err(MetricFault::FailureLimit);
    }
    if successes == 0 && failures == -1 {
        return Err(MetricFault::BothDisabled);
    }
    if limit(&metric.inconclusive_limit) < 0 {
        return Err(MetricFault::InconclusiveLimit);
    }
    if limit(&metric.consecutive_error_limit) < 0 {
        return Err(MetricFault::ConsecutiveErrorLimit);
    }
    if count > 0 {
        if failures >= 0 && count < failures.wrapping_add(successes) {
            return Err(MetricFault::CountBelowBoth { count, failures, successes });
        }
        if failures < 0 && count < successes {
            return Err(MetricFault::CountBelowSuccesses);
        }
        if count < limit(&metric.inconclusive_limit) {
            return Err(MetricFault::CountBelowInconclusive);
        }
    }
    if count > 1 && metric.interval.is_empty() {
        return Err(MetricFault::NoInterval);
    }
    if !metric.interval.is_empty() {
        parse_duration(&metric.interval).map_err(MetricFault::Interval)?;
    }
    if !metric.initial_delay.is_empty() {
        parse_duration(&metric.initial_delay).map_err(MetricFault::InitialDelay)?;
    }
    match providers(&metric.provider) {
        0 => Err(MetricFault::NoProvider),
        1 => Ok(()),
        _ => Err(MetricFault::ManyProviders),
    }
}

/// How many providers are set; each plugin counts.
fn providers(provider: &MetricProvider) -> usize {
    let set = [
        provider.prometheus.is_some(),
        provider.job.is_some(),
        provider.web.is_some(),
        provider.wavefront.is_some(),
        provider.kayenta.is_some(),
        provider.datadog.is_some(),
        provider.new_relic.is_some(),
        provider.cloud_watch.is_some(),
        provider.graphite.is_some(),
        provider.influxdb.is_some(),
        provider.skywalking.is_some(),
    ];
    set.iter().filter(|set| **set).count() + provider.plugin.as_ref().map_or(0, std::collections::BTreeMap::len)
}

/// Metrics of a step must come to an end; those of a background analysis need not. Returns the first that does not.
pub fn endless_metric(metrics: &[Metric]) -> Option<&Metric> {
    metrics.iter().find(|metric| metric.effective_count().is_none())
}

//! How many measurements the status keeps.

use std::collections::BTreeMap;

use okra_api::analysis::{AnalysisRunStatus, Measurement, Metric};

/// So many measurements of a metric are kept where nothing else is said.
const KEPT: usize = 10;

/// A measurement of a Job that is not kept any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Name of the metric.
    pub metric: String,
    /// The measurement; its metadata names the Job.
    pub measurement: Measurement,
}

/// Drops the oldest measurements above the limits, and tells those of Jobs.
pub(super) fn trim(status: &mut AnalysisRunStatus, metrics: &[Metric], limits: &BTreeMap<String, i32>) -> Vec<Trimmed> {
    let mut trimmed = Vec::new();
    for result in &mut status.metric_results {
        let limit = limits.get(&result.name).and_then(|limit| usize::try_from(*limit).ok());
        let kept = limit.filter(|limit| *limit > 0).unwrap_or(KEPT);
        let over = result.measurements.len().saturating_sub(kept);
        let dropped = result.measurements.drain(..over);
        let is_job = metrics.iter().any(|metric| metric.name == result.name && metric.provider.job.is_some());
        let of_job = dropped.filter(|_| is_job);
        trimmed.extend(of_job.map(|measurement| Trimmed { metric: result.name.clone(), measurement }));
    }
    trimmed
}

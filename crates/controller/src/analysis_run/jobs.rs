//! Measurements that are Jobs, seen through a watch: one that is over is looked at at once. The time that its provider
//! named stays the net, for Jobs that no watch sees: those of other clusters, and those that okrad may not watch.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use okra_api::{
    AnalysisRun,
    analysis::{Measurement, MetricResult},
};
use okra_provider::{
    Key, Lookup,
    metric::{JOB_NAME, JOB_NAMESPACE, JOB_RUN_NAME, JOB_RUN_NAMESPACE, job_outcome},
};

use super::AnalysisRunController;

impl AnalysisRunController {
    /// Metrics of a run whose Job in flight is over. Begins the watch with the first metric that is a Job.
    pub(super) fn jobs_that_are_over(&self, run: &AnalysisRun) -> BTreeSet<String> {
        if !run.spec.metrics.iter().any(|metric| metric.provider.job.is_some()) {
            return BTreeSet::new();
        }
        let jobs = self.jobs.get_or_init(|| self.context.store.cache());
        let is_measured = |result: &&MetricResult| {
            let job = result.measurements.last().and_then(job_in_flight);
            job.is_some_and(|key| matches!(jobs.get(&key), Lookup::Found(job) if is_over(&job)))
        };
        let results = run.status.iter().flat_map(|status| &status.metric_results);
        results.filter(is_measured).map(|result| result.name.clone()).collect()
    }

    /// The run that a Job was made for, as the Job says. What it says is only a reason to look.
    pub(super) fn run_of_job(&self, key: &Key) -> Option<Key> {
        let Lookup::Found(job) = self.jobs.get()?.get(key) else { return None };
        let annotations = job.metadata.annotations.as_ref()?;
        Some(Key::new(annotations.get(JOB_RUN_NAMESPACE)?, annotations.get(JOB_RUN_NAME)?))
    }
}

fn is_over(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    job_outcome(conditions.map(|condition| condition.type_.as_str())).is_some()
}

fn job_in_flight(measurement: &Measurement) -> Option<Key> {
    if measurement.finished_at.is_some() {
        return None;
    }
    let metadata = &measurement.metadata;
    Some(Key::new(metadata.get(JOB_NAMESPACE)?, metadata.get(JOB_NAME)?))
}

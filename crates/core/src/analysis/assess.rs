//! One look at an AnalysisRun: what was measured is written down and judged, and what is next is asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunSpec, AnalysisRunStatus, Argument, Metric},
};

use super::{
    arguments::{Secrets, secret_keys, with_secrets, without_secrets},
    event::Event,
    measurement::{NoData, number, record},
    retention::{Trimmed, trim},
    rules::{dry_run_metrics, retention_limits},
    schedule::{Next, is_terminating, next},
    substitute::resolve_metric,
    take::{Take, Taken},
    ttl::expires_at,
    validate::validate_metrics,
    verdict::{Subject, settle},
};

/// What a look at a run is made from.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Its spec.
    pub spec: &'a AnalysisRunSpec,
    /// Its status, as it was last written.
    pub status: Option<&'a AnalysisRunStatus>,
    /// What has been measured since that status was written.
    pub results: &'a [Taken],
    /// Names of the metrics whose providers have been asked and have not answered yet.
    pub outstanding: &'a BTreeSet<String>,
    /// Names of the metrics whose measurement in flight is known to be over: a Job's, by the watch of Jobs. It is looked at
    /// now, whenever it was to be looked at.
    pub ready: &'a BTreeSet<String>,
    /// The Secrets that [`secret_keys`](super::secret_keys) names.
    pub secrets: &'a Secrets,
    /// What a measurement without data counts as.
    pub no_data: NoData,
}

/// What is to be done about a run. Made again from its own status, without results and at the same time, it is the same
/// plan without events.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What its status should be.
    pub status: AnalysisRunStatus,
    /// What is to be measured now.
    pub take: Vec<Take>,
    /// When to look again at the latest, if nothing else happens.
    pub wake_at: Option<Timestamp>,
    /// What is to be told.
    pub events: Vec<Event>,
    /// The results were not written down, because the verdict depends on what is outstanding: give them again, with it.
    pub hold_results: bool,
    /// Metrics whose answers nobody waits for any more.
    pub abandon: BTreeSet<String>,
    /// Measurements of Jobs that were dropped from the history, so that their Jobs can go.
    pub trimmed: Vec<Trimmed>,
    /// The time of the run is over: delete it.
    pub expired: bool,
}

/// What stays the same throughout a look.
struct Setup {
    metrics: Vec<Metric>,
    dry_run: BTreeSet<String>,
    limits: BTreeMap<String, i32>,
}

/// Looks at a run at a time. Passes of Argo's controller follow each other here until one has something to measure or
/// changes nothing, so that a failed metric ends the run in the same look.
pub fn assess(run: Observed<'_>, now: Timestamp) -> Plan {
    let status = run.status.cloned().unwrap_or_default();
    if status.phase.is_some_and(RunPhase::is_completed) {
        return completed(run.spec, status, now);
    }
    match setup(run.spec) {
        Ok(setup) => go_on(run, &setup, status, now),
        Err(message) => refused(status, message, Vec::new()),
    }
}

fn completed(spec: &AnalysisRunSpec, status: AnalysisRunStatus, now: Timestamp) -> Plan {
    let end = expires_at(spec.ttl_strategy.as_ref(), &status);
    let expired = end.is_some_and(|end| end <= now);
    Plan { status, expired, wake_at: end.filter(|_| !expired), ..Plan::default() }
}

/// A run that cannot go on has no time of its end: Argo's rule.
fn refused(mut status: AnalysisRunStatus, message: String, mut events: Vec<Event>) -> Plan {
    status.phase = Some(RunPhase::Error);
    status.message = message;
    events.push(Event::run_completed(RunPhase::Error));
    Plan { status, events, ..Plan::default() }
}

fn unresolved(error: impl std::fmt::Display) -> String {
    format!("Unable to resolve metric arguments: {error}")
}

/// The metrics with arguments filled in, but for secrets.
pub(super) fn plain_metrics(metrics: &[Metric], args: &[Argument]) -> Result<Vec<Metric>, String> {
    let args = without_secrets(args);
    metrics.iter().map(|metric| resolve_metric(metric, &args).map_err(unresolved)).collect()
}

fn setup(spec: &AnalysisRunSpec) -> Result<Setup, String> {
    let metrics = plain_metrics(&spec.metrics, &spec.args)?;
    let invalid = |error: &dyn std::fmt::Display| format!("Analysis spec invalid: {error}");
    validate_metrics(&metrics).map_err(|error| invalid(&error))?;
    let dry_run = dry_run_metrics(&spec.dry_run, &metrics).map_err(|error| invalid(&error))?;
    let limits = retention_limits(&spec.measurement_retention, &metrics).map_err(|error| invalid(&error))?;
    Ok(Setup { metrics, dry_run, limits })
}

fn go_on(run: Observed<'_>, setup: &Setup, before: AnalysisRunStatus, now: Timestamp) -> Plan {
    let subject = Subject { metrics: &setup.metrics, dry_run: &setup.dry_run, terminate: run.spec.terminate };
    let (mut status, mut events) = (before.clone(), Vec::new());
    let mut outstanding = run.outstanding.clone();
    let mut recorded = false;
    for taken in run.results {
        recorded |= record(&mut status, &setup.dry_run, taken, run.no_data, now);
    }
    if recorded {
        settle(&subject, &mut status, now, &mut events);
    }
    let mut abandon = BTreeSet::new();
    if !outstanding.is_empty() && is_terminating(run.spec.terminate, &status) {
        if !is_decided(&setup.metrics, &outstanding, &status) {
            return Plan { status: before, hold_results: !run.results.is_empty(), ..Plan::default() };
        }
        abandon = std::mem::take(&mut outstanding);
    }
    let take = loop {
        if status.phase.is_some_and(RunPhase::is_completed) {
            break Vec::new();
        }
        match takes(run, setup, &outstanding, &status, now) {
            Err(message) => return refused(status, message, events),
            Ok(take) if !take.is_empty() || !outstanding.is_empty() => break take,
            Ok(_) => {
                let prior = status.clone();
                settle(&subject, &mut status, now, &mut events);
                if status == prior {
                    break Vec::new();
                }
            }
        }
    };
    let trimmed = trim(&mut status, &setup.metrics, &setup.limits);
    let wake_at = if status.phase.is_some_and(RunPhase::is_completed) {
        expires_at(run.spec.ttl_strategy.as_ref(), &status)
    } else {
        wake(run, setup, &outstanding, &status, now)
    };
    Plan { status, take, wake_at, events, hold_results: false, abandon, trimmed, expired: false }
}

/// Whether what is outstanding can make no difference: a metric that decides has failed, and nothing is worse. A Job is
/// waited for, since it would be left behind.
fn is_decided(metrics: &[Metric], outstanding: &BTreeSet<String>, status: &AnalysisRunStatus) -> bool {
    let failed = status.metric_results.iter().any(|result| !result.dry_run && result.phase == RunPhase::Failed);
    let mut waited_for = metrics.iter().filter(|metric| outstanding.contains(&metric.name));
    failed && !waited_for.any(|metric| metric.provider.job.is_some())
}

/// What is to be measured now. Secrets are needed in every pass, also in one that measures nothing: Argo's rule.
fn takes(
    run: Observed<'_>,
    setup: &Setup,
    outstanding: &BTreeSet<String>,
    status: &AnalysisRunStatus,
    now: Timestamp,
) -> Result<Vec<Take>, String> {
    let args = with_secrets(&run.spec.args, run.secrets).map_err(unresolved)?;
    let redact = run.secrets.values();
    let terminating = is_terminating(run.spec.terminate, status);
    let has_secrets = !secret_keys(&run.spec.args).is_empty();
    let mut takes = Vec::new();
    for (metric, raw) in setup.metrics.iter().zip(&run.spec.metrics) {
        if outstanding.contains(&metric.name) {
            continue;
        }
        let is_ready = run.ready.contains(&metric.name);
        if let Next::Due(action) = next(metric, status, terminating, is_ready, now) {
            let result = status.metric_results.iter().find(|result| result.name == metric.name);
            takes.push(Take {
                name: metric.name.clone(),
                metric: if has_secrets { resolve_metric(raw, &args).map_err(unresolved)? } else { metric.clone() },
                action,
                number: number(result),
                redact: redact.clone(),
            });
        }
    }
    Ok(takes)
}

fn wake(
    run: Observed<'_>,
    setup: &Setup,
    outstanding: &BTreeSet<String>,
    status: &AnalysisRunStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    let terminating = is_terminating(run.spec.terminate, status);
    let waiting = setup.metrics.iter().filter(|metric| !outstanding.contains(&metric.name));
    let is_ready = |metric: &Metric| run.ready.contains(&metric.name);
    let at = |metric: &Metric| match next(metric, status, terminating, is_ready(metric), now) {
        Next::At(at) => Some(at),
        Next::Due(_) | Next::Nothing => None,
    };
    waiting.filter_map(at).min()
}

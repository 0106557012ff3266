//! Where a run stands: the second half of Argo's pass, after the measurements.

use std::collections::BTreeSet;

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunStatus, Metric, MetricResult, RunSummary},
};

use super::{
    duration::whole_second,
    event::Event,
    limits::{Breach, breach, metric_phase},
    schedule::is_terminating,
};

/// Argo's order, from best to worst.
const ORDER: [RunPhase; 6] = [
    RunPhase::Successful,
    RunPhase::Running,
    RunPhase::Pending,
    RunPhase::Inconclusive,
    RunPhase::Error,
    RunPhase::Failed,
];

/// Whether a phase is worse than another.
pub fn is_worse(current: RunPhase, new: RunPhase) -> bool {
    let place = |phase| ORDER.iter().position(|known| *known == phase);
    place(new) > place(current)
}

/// What a run is about, with arguments filled in.
pub(super) struct Subject<'a> {
    pub metrics: &'a [Metric],
    pub dry_run: &'a BTreeSet<String>,
    pub terminate: bool,
}

/// The worst that has been seen of the metrics that decide.
struct Worst {
    phase: Option<RunPhase>,
    message: String,
}

/// Brings the status up to date with its measurements: phases of the metrics, summaries, phase of the run.
pub(super) fn settle(subject: &Subject<'_>, status: &mut AnalysisRunStatus, now: Timestamp, events: &mut Vec<Event>) {
    // From the phases as they were: a metric that fails now ends the run in the next pass only.
    let terminating = is_terminating(subject.terminate, status);
    status.started_at.get_or_insert(whole_second(now));
    let message = if subject.terminate { "Run Terminated" } else { "" };
    let mut worst = Worst { phase: None, message: message.to_owned() };
    let (mut deciding, mut dry) = (RunSummary::default(), RunSummary::default());
    let mut all_completed = true;
    for metric in subject.metrics {
        let is_dry = subject.dry_run.contains(&metric.name);
        let summary = if is_dry { &mut dry } else { &mut deciding };
        summary.count = summary.count.saturating_add(1);
        let Some(result) = status.metric_results.iter_mut().find(|result| result.name == metric.name) else {
            all_completed = false;
            continue;
        };
        let phase = metric_phase(metric, result, terminating);
        move_to(result, phase, events);
        if !phase.is_completed() {
            all_completed = false;
            continue;
        }
        let breach = breach(metric, result);
        tally(summary, breach.as_ref());
        if is_dry {
            worst.phase.get_or_insert(RunPhase::Successful);
            if let Some(breach) = breach {
                result.message = format!("Metric assessed {phase} due to {}", breach.message);
            }
        } else {
            worst.see(result, breach);
        }
    }
    status.run_summary = deciding;
    status.dry_run_summary = Some(dry);
    let (phase, message) = match worst.phase {
        None if terminating => (RunPhase::Successful, worst.message),
        Some(phase) if terminating || all_completed => (phase, worst.message),
        _ => (RunPhase::Running, String::new()),
    };
    conclude(status, phase, &message, now, events);
}

impl Worst {
    fn see(&mut self, result: &MetricResult, breach: Option<Breach>) {
        if self.phase.is_some_and(|worst| !is_worse(worst, result.phase)) {
            return;
        }
        self.phase = Some(result.phase);
        if let Some(breach) = breach {
            let about = match result.message.as_str() {
                "" => String::new(),
                message => format!(": \"Error Message: {message}\""),
            };
            let (name, phase) = (&result.name, result.phase);
            self.message = format!("Metric \"{name}\" assessed {phase} due to {}{about}", breach.message);
        }
    }
}

fn move_to(result: &mut MetricResult, phase: RunPhase, events: &mut Vec<Event>) {
    if result.phase == phase {
        return;
    }
    if phase.is_completed() {
        events.push(Event {
            warning: matches!(phase, RunPhase::Failed | RunPhase::Error),
            reason: format!("Metric{phase}"),
            message: format!("Metric '{}' Completed. Result: {phase}", result.name),
        });
    }
    if let Some(last) = result.measurements.last() {
        result.message.clone_from(&last.message);
    }
    result.phase = phase;
}

/// Only limits count here: a metric that ended otherwise without success is counted as successful, as in Argo.
fn tally(summary: &mut RunSummary, breach: Option<&Breach>) {
    let counter = match breach.map(|breach| breach.phase) {
        Some(RunPhase::Error) => &mut summary.error,
        Some(RunPhase::Failed) => &mut summary.failed,
        Some(RunPhase::Inconclusive) => &mut summary.inconclusive,
        _ => &mut summary.successful,
    };
    *counter = counter.saturating_add(1);
}

/// The message changes together with the phase only.
fn conclude(status: &mut AnalysisRunStatus, phase: RunPhase, message: &str, now: Timestamp, events: &mut Vec<Event>) {
    if status.phase == Some(phase) {
        return;
    }
    status.phase = Some(phase);
    message.trim().clone_into(&mut status.message);
    if phase.is_completed() {
        events.push(Event::run_completed(phase));
        status.completed_at.get_or_insert(whole_second(now));
    }
}

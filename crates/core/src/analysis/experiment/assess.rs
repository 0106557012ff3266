//! One look at an Experiment.

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunSpec, ExperimentStatus, TemplatePhase},
};

use super::{
    super::{duration::later, event::Event, profile::Annotations},
    analyses, conditions,
    durations::{ends_at, progress_deadline},
    observed::ObservedExperiment,
    phases::{is_terminating, settle},
    templates,
    validate::validate_experiment,
};

/// Something to be done for an experiment.
#[derive(Clone, Debug, PartialEq)]
pub enum ExperimentAction {
    /// Make the ReplicaSet of a template, with no pods yet: `<experiment>-<template>`, with the hash of the pod template
    /// as a label of the set, its selector and its pods, and the names of both as annotations. One that is there,
    /// belongs to the experiment and is the same is taken as made.
    CreateReplicaSet {
        /// Name of the template.
        template: String,
    },
    /// Scale a ReplicaSet.
    Scale {
        /// Name of the template.
        template: String,
        /// Name of the ReplicaSet.
        name: String,
        /// Pods that are wanted so far.
        from: i32,
        /// Pods that are wanted now.
        to: i32,
    },
    /// Write until when the pods of a ReplicaSet are kept.
    SetScaleDownDeadline {
        /// Name of the ReplicaSet.
        name: String,
        /// When they may go.
        deadline: Timestamp,
    },
    /// The pods of a ReplicaSet are not kept any longer.
    RemoveScaleDownDeadline {
        /// Name of the ReplicaSet.
        name: String,
    },
    /// Make the Service of a template: ports of its containers, labels of its ReplicaSet as the selector.
    CreateService {
        /// Name of the template.
        template: String,
        /// Name of the Service.
        name: String,
    },
    /// Delete the Service of a template.
    DeleteService {
        /// Name of the template.
        template: String,
        /// Name of the Service.
        name: String,
    },
    /// Make an AnalysisRun that the experiment owns, with the labels and annotations of `analysisRunMetadata` and the
    /// instance id of the experiment.
    CreateRun {
        /// Name of the analysis.
        analysis: String,
        /// Name of the AnalysisRun.
        name: String,
        /// Its spec.
        spec: Box<AnalysisRunSpec>,
        /// The profiles that its templates choose.
        annotations: Annotations,
    },
    /// Ask an AnalysisRun to end.
    TerminateRun {
        /// Name of the analysis.
        analysis: String,
        /// Name of the AnalysisRun.
        name: String,
    },
}

impl ExperimentAction {
    /// What is to be told when it has been done.
    pub fn event(&self) -> Option<Event> {
        let Self::Scale { name, from, to, .. } = self else { return None };
        let direction = if from < to { "up" } else { "down" };
        Some(Event {
            warning: false,
            reason: "ScalingReplicaSet".to_owned(),
            message: format!("Scaled {direction} ReplicaSet {name} from {from} to {to}"),
        })
    }
}

/// What is to be done about an experiment. The status is written after the actions, so that what it names is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExperimentPlan {
    /// What its status should be.
    pub status: ExperimentStatus,
    /// What is to be done, in this order.
    pub actions: Vec<ExperimentAction>,
    /// When to look again at the latest. A status that has changed asks for another look at once.
    pub wake_at: Option<Timestamp>,
    /// What is to be told.
    pub events: Vec<Event>,
}

/// A look under way.
pub(super) struct Look<'a> {
    pub observed: ObservedExperiment<'a>,
    pub before: &'a ExperimentStatus,
    pub terminating: bool,
    pub now: Timestamp,
    pub actions: Vec<ExperimentAction>,
    pub events: Vec<Event>,
    wake_at: Option<Timestamp>,
}

impl Look<'_> {
    /// Looks again then, or earlier.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }
}

/// Looks at an experiment at a time.
pub fn assess_experiment(observed: ObservedExperiment<'_>, now: Timestamp) -> ExperimentPlan {
    let none = ExperimentStatus::default();
    let before = observed.status.unwrap_or(&none);
    let mut status = before.clone();
    if let Err(fault) = validate_experiment(observed.name, observed.spec) {
        conditions::refuse(&mut status, &fault, now);
        return ExperimentPlan { status, ..ExperimentPlan::default() };
    }
    let terminating = is_terminating(observed.spec, before);
    let mut look = Look { observed, before, terminating, now, actions: Vec::new(), events: Vec::new(), wake_at: None };
    for template in &observed.spec.templates {
        let next = templates::reconcile(&mut look, template);
        match status.template_statuses.iter_mut().find(|known| known.name == next.name) {
            Some(known) => *known = next,
            None => status.template_statuses.push(next),
        }
    }
    for analysis in &observed.spec.analyses {
        let next = analyses::reconcile(&mut look, analysis);
        match status.analysis_runs.iter_mut().find(|known| known.name == next.name) {
            Some(known) => *known = next,
            None => status.analysis_runs.push(next),
        }
    }
    settle(observed.spec, &mut status, now);
    conditions::update(&observed, before, &mut status, now);
    look.events.extend(transition(before.phase, status.phase));
    for at in wakes(&observed, &status, now) {
        look.wake(at);
    }
    if status != *before {
        look.wake(now);
    }
    ExperimentPlan { status, actions: look.actions, wake_at: look.wake_at, events: look.events }
}

fn transition(before: Option<RunPhase>, after: Option<RunPhase>) -> Option<Event> {
    let phase = after.filter(|_| before != after)?;
    Some(Event {
        warning: matches!(phase, RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive),
        reason: format!("Experiment{phase}"),
        message: format!("Experiment transitioned from {} -> {phase}", before.map_or("", RunPhase::as_str)),
    })
}

/// The end of the duration, and the deadlines of templates that still miss pods.
fn wakes(observed: &ObservedExperiment<'_>, status: &ExperimentStatus, now: Timestamp) -> Vec<Timestamp> {
    if is_terminating(observed.spec, status) {
        return Vec::new();
    }
    let mut wakes: Vec<Timestamp> = ends_at(observed.spec, status).into_iter().filter(|end| now <= *end).collect();
    for template in &observed.spec.templates {
        let Some(known) = status.template_statuses.iter().find(|known| known.name == template.name) else { continue };
        let goes_on = matches!(known.status, Some(TemplatePhase::Progressing | TemplatePhase::Running));
        if goes_on && known.available_replicas != templates::wanted(template, false, Some(known)) {
            wakes.extend(known.last_transition_time.map(|since| progress_deadline(observed.spec, since)));
        }
    }
    // Both are passed strictly after their time.
    wakes.into_iter().map(|at| later(at, SignedDuration::from_nanos(1))).collect()
}

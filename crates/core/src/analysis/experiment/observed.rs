//! What a look at an experiment is made from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunSpec, AnalysisTemplateRef, AnalysisTemplateSpec, ExperimentSpec, ExperimentStatus},
};

use super::super::profile::Annotations;

/// What a look at an experiment is made from.
#[derive(Clone, Copy, Debug)]
pub struct ObservedExperiment<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its spec.
    pub spec: &'a ExperimentSpec,
    /// Its status, as it was last written.
    pub status: Option<&'a ExperimentStatus>,
    /// The ReplicaSets that it owns, by the name of their template.
    pub replica_sets: &'a BTreeMap<String, ObservedReplicaSet>,
    /// Names of the Services that it owns, by the name of their template.
    pub services: &'a BTreeMap<String, String>,
    /// AnalysisRuns of the namespace whose names begin with that of the experiment, by name.
    pub runs: &'a BTreeMap<String, ObservedRun>,
    /// The AnalysisTemplates and ClusterAnalysisTemplates that its analyses refer to, and those that these refer to.
    pub templates: &'a BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
    /// Annotations of these templates.
    pub annotations: &'a BTreeMap<AnalysisTemplateRef, Annotations>,
    /// What could not be done since the status was written.
    pub failures: &'a [Failure],
}

/// A ReplicaSet of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedReplicaSet {
    /// Its name.
    pub name: String,
    /// Value of the label with the hash of its pod template.
    pub pod_template_hash: String,
    /// Pods that are wanted.
    pub wanted: i32,
    /// Pods that there are.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that are available.
    pub available: i32,
    /// Until when its pods are kept, from the annotation `scale-down-deadline`.
    pub scale_down_at: Option<Timestamp>,
    /// Whether a container has a port.
    pub has_ports: bool,
}

/// An AnalysisRun.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedRun {
    /// Whether the experiment owns it.
    pub owned: bool,
    /// Its spec.
    pub spec: AnalysisRunSpec,
    /// Where it stands.
    pub phase: Option<RunPhase>,
    /// Why.
    pub message: String,
}

/// Something that could not be done, and would not succeed if it was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The ReplicaSet of a template could not be made.
    CreateReplicaSet {
        /// Name of the template.
        template: String,
        /// Why.
        message: String,
    },
    /// The ReplicaSet of a template could not be scaled.
    Scale {
        /// Name of the template.
        template: String,
        /// Number of pods that was wanted.
        replicas: i32,
        /// Why.
        message: String,
    },
    /// The Service of a template could not be made.
    CreateService {
        /// Name of the template.
        template: String,
        /// Name of the Service.
        service: String,
        /// Why.
        message: String,
    },
    /// The Service of a template could not be deleted.
    DeleteService {
        /// Name of the template.
        template: String,
        /// Why.
        message: String,
    },
    /// The AnalysisRun of an analysis could not be made.
    CreateRun {
        /// Name of the analysis.
        analysis: String,
        /// Why.
        message: String,
    },
    /// The AnalysisRun of an analysis could not be ended.
    TerminateRun {
        /// Name of the analysis.
        analysis: String,
        /// Why.
        message: String,
    },
}

impl Failure {
    /// The template that it concerns, and what the status says of it.
    pub(super) fn of_template(&self) -> Option<(&str, String)> {
        match self {
            Self::CreateReplicaSet { template, message } => {
                Some((template, format!("Failed to create ReplicaSet for template '{template}': {message}")))
            }
            Self::Scale { template, replicas, message } => Some((
                template,
                format!(
                    "Unable to scale ReplicaSet for template '{template}' to desired replica count '{replicas}': {message}"
                ),
            )),
            Self::CreateService { template, service, message } => {
                Some((template, format!("Failed to create Service {service} for template '{template}': {message}")))
            }
            Self::DeleteService { template, message } => {
                Some((template, format!("Failed to delete Service for template '{template}': {message}")))
            }
            Self::CreateRun { .. } | Self::TerminateRun { .. } => None,
        }
    }

    /// The analysis that it concerns, and what the status says of it.
    pub(super) fn of_analysis(&self) -> Option<(&str, String)> {
        match self {
            Self::CreateRun { analysis, message } => {
                Some((analysis, format!("Failed to create AnalysisRun for analysis '{analysis}': {message}")))
            }
            Self::TerminateRun { analysis, message } => Some((analysis, message.clone())),
            _ => None,
        }
    }
}

//! What an Experiment says of itself.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::{RunPhase, phase_or_none};

/// What an Experiment says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStatus {
    /// Where it stands; unset: nobody has looked at it yet.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "phase_or_none")]
    #[schemars(with = "String")]
    pub phase: Option<RunPhase>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// One for each template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template_statuses: Vec<TemplateStatus>,
    /// When all templates were available for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Timestamp>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ExperimentCondition>,
    /// One for each analysis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub analysis_runs: Vec<ExperimentRunStatus>,
}

/// Where the template of an experiment stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TemplatePhase {
    /// Its pods come up.
    #[default]
    Progressing,
    /// Its pods are available.
    Running,
    /// Its time is over.
    Successful,
    /// Its pods did not come up in time.
    Failed,
    /// Its ReplicaSet or Service could not be made.
    Error,
}

impl TemplatePhase {
    /// Argo's `Completed()`.
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Error)
    }

    /// The name, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Progressing => "Progressing",
            Self::Running => "Running",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::Error => "Error",
        }
    }
}

impl std::fmt::Display for TemplatePhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The template of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// Name of the template.
    #[serde(default)]
    pub name: String,
    /// Pods.
    #[serde(default)]
    pub replicas: i32,
    /// Pods of the template as it is.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods that are available.
    #[serde(default)]
    pub available_replicas: i32,
    /// How often the name of the ReplicaSet was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub status: Option<TemplatePhase>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it last made progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Name of its Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_name: String,
    /// The label of its pods.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod_template_hash: String,
}

/// The analysis of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentRunStatus {
    /// Name of the analysis.
    #[serde(default)]
    pub name: String,
    /// Name of the AnalysisRun; empty: there is none yet.
    #[serde(default)]
    pub analysis_run: String,
    /// Where it stands; unset: there is none yet.
    #[serde(default, deserialize_with = "phase_or_none", serialize_with = "phase_or_empty")]
    #[schemars(with = "String")]
    pub phase: Option<RunPhase>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Argo's schema requires a phase, and its Go type writes none as an empty text.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn phase_or_empty<S: serde::Serializer>(phase: &Option<RunPhase>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.map_or("", RunPhase::as_str))
}

/// A condition of an Experiment: Argo's, with two times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentCondition {
    /// Its type: `Progressing`, `InvalidSpec`.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// `True` or `False`.
    #[serde(default)]
    pub status: String,
    /// When it was last written.
    #[serde(default)]
    pub last_update_time: Timestamp,
    /// When the status last changed.
    #[serde(default)]
    pub last_transition_time: Timestamp,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default)]
    pub message: String,
}

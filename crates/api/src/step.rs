//! The steps of a rollout.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;

/// One step of a canary. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.setWeight), has(self.stepWeight), has(self.pause), has(self.analysis), has(self.experiment)].filter(x, x).size() == 1", "a step has exactly one of setWeight, stepWeight, pause, analysis, experiment"))]
pub struct CanaryStep {
    /// The canary's total share from now on, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_weight: Option<i32>,
    /// Adds to the canary's total share, in percent; the share never goes over 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub step_weight: Option<i32>,
    /// Waits for a time, or until a person resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStep>,
    /// Runs an analysis and waits for its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisStep>,
    /// Runs an experiment and waits for its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentStep>,
}

/// One step of a blue-green rollout. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.pause), has(self.analysis), has(self.experiment), has(self.promote)].filter(x, x).size() == 1", "a step has exactly one of pause, analysis, experiment, promote"))]
pub struct BlueGreenStep {
    /// Waits for a time, or until a person resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStep>,
    /// Runs an analysis and waits for its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisStep>,
    /// Runs an experiment and waits for its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentStep>,
    /// Gives the new version all traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote: Option<PromoteStep>,
}

/// Gives the new version all traffic. It has no fields: write `promote: {}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PromoteStep {}

/// A pause: `{duration: 10m}`, or `{}` until a person resumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PauseStep {
    /// How long; unset: until a person resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
}

/// An analysis: the templates it runs and their arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisStep {
    /// Templates that the run is made of.
    #[schemars(length(min = 1, max = 16))]
    pub templates: Vec<TemplateRef>,
    /// Arguments of the templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<AnalysisArg>,
    /// Metrics that are measured but do not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub dry_run: Vec<DryRun>,
}

/// An analysis in the background of the rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundAnalysis {
    /// Templates that the run is made of.
    #[schemars(length(min = 1, max = 16))]
    pub templates: Vec<TemplateRef>,
    /// Arguments of the templates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<AnalysisArg>,
    /// Metrics that are measured but do not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub dry_run: Vec<DryRun>,
    /// The step from which on the analysis runs, counted from 0. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub starting_step: Option<i32>,
}

/// A reference to an AnalysisTemplate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// Name of the AnalysisTemplate.
    #[schemars(length(min = 1, max = 253))]
    pub template_name: String,
    /// Whether it is a ClusterAnalysisTemplate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_scope: bool,
}

/// An argument of an analysis: a value, or a field of the Cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!(has(self.value) && has(self.valueFrom))", "an argument has either value or valueFrom, not both"))]
pub struct AnalysisArg {
    /// Name of the argument.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where its value is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ArgSource>,
}

/// Where an argument's value is read from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgSource {
    /// A field of the Cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// A field of the Cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef {
    /// The path, for example `status.desiredVersion` or `metadata.labels['team']`.
    #[schemars(length(min = 1, max = 512))]
    pub field_path: String,
}

/// A metric that is measured but does not decide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// The metric's name, `.*` for all.
    #[schemars(length(min = 1, max = 253))]
    pub metric_name: String,
}

/// An experiment: pods that run beside the rollout, and analyses of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStep {
    /// How long; unset: until its analyses are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// What runs.
    #[schemars(length(min = 1, max = 16))]
    pub templates: Vec<ExperimentTemplate>,
    /// What is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub analyses: Vec<ExperimentAnalysis>,
}

/// What runs in an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTemplate {
    /// Name of the template within the experiment.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Name of the ReplicaSet whose pod template is used.
    #[schemars(length(min = 1, max = 253))]
    pub spec_ref: String,
    /// Number of pods. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
}

/// What is measured in an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentAnalysis {
    /// Name of the analysis within the experiment.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Name of the AnalysisTemplate.
    #[schemars(length(min = 1, max = 253))]
    pub template_name: String,
    /// Whether it is a ClusterAnalysisTemplate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_scope: bool,
    /// Whether the experiment waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required_for_completion: bool,
    /// Arguments of the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<AnalysisArg>,
}

//! Experiment.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    argument::Argument,
    experiment_status::ExperimentStatus,
    is_zero, kept_as_it_is,
    metric::{DryRun, MeasurementRetention},
};

/// ReplicaSets that run for a time, and analyses of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "Experiment",
    namespaced,
    status = "ExperimentStatus",
    shortname = "exp",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.phase","description":"Experiment status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Time since resource was created"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct ExperimentSpec {
    /// What runs: a ReplicaSet for each.
    #[serde(default)]
    pub templates: Vec<ExperimentTemplate>,
    /// How long it runs after all are available, like `1h`; unset: until the analyses are done or it is terminated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// Seconds without progress after which a template has failed. Default 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// Ends it before its time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub terminate: bool,
    /// What is measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub analyses: Vec<ExperimentAnalysis>,
    /// Seconds that the pods are kept after the end. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// Metrics that do not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations of the AnalysisRuns.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub analysis_run_metadata: AnalysisRunMetadata,
}

/// Labels and annotations of AnalysisRuns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnalysisRunMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A ReplicaSet of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTemplate {
    /// Its name within the experiment.
    #[serde(default)]
    pub name: String,
    /// Number of pods. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Seconds that a pod is ready before it counts as available.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_ready_seconds: i32,
    /// Selects the pods.
    #[serde(default)]
    #[schemars(with = "LabelSelector")]
    pub selector: Option<LabelSelector>,
    /// The PodTemplateSpec.
    #[serde(default)]
    #[schemars(schema_with = "kept_as_it_is")]
    pub template: Value,
    /// Makes a Service for the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<TemplateService>,
}

/// The Service of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateService {
    /// Its name. Default: that of the ReplicaSet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// What is measured in an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentAnalysis {
    /// Its name within the experiment.
    #[serde(default)]
    pub name: String,
    /// Name of the template.
    #[serde(default)]
    pub template_name: String,
    /// Whether it is a ClusterAnalysisTemplate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cluster_scope: bool,
    /// Arguments of the template; only values count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// Whether the experiment waits for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub required_for_completion: bool,
}

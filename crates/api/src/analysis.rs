//! The part of Argo Rollouts' run kinds that a rollout waits for.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An AnalysisRun as a rollout sees it: whatever its spec, its phase is its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "AnalysisRun",
    namespaced,
    status = "RunStatus",
    crates(kube_core = "::kube_core")
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct AnalysisRunSpec {
    /// Everything, as it is.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// An Experiment as a rollout sees it: whatever its spec, its phase is its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "Experiment",
    namespaced,
    status = "RunStatus",
    crates(kube_core = "::kube_core")
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct ExperimentSpec {
    /// Everything, as it is.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStatus {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Argo's phases of an AnalysisRun or Experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunPhase {
    /// It has not started.
    #[default]
    #[serde(alias = "")]
    Pending,
    /// It measures.
    Running,
    /// It passed.
    Successful,
    /// It failed.
    Failed,
    /// It could not measure.
    Error,
    /// It could not tell.
    Inconclusive,
}

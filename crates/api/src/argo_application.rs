//! What Argo CD's Application tells okra. Read only: okra never installs this kind.

use jiff::Timestamp;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is deployed where. Only what okra reads of it; everything else is ignored. Source: `argoproj.io/v1alpha1` of
/// Argo CD.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "Application",
    namespaced,
    crates(kube_core = "::kube_core")
)]
#[kube(derive = "PartialEq", status = "ApplicationStatus")]
pub struct ApplicationSpec {
    /// The cluster.
    #[serde(default)]
    pub destination: ApplicationDestination,
}

/// Where an Application is deployed: the cluster by one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplicationDestination {
    /// The `server` of the cluster's Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The `name` of the cluster's Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How an Application stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// Whether the cluster has what Git says.
    #[serde(default)]
    pub sync: ApplicationState,
    /// Whether it works.
    #[serde(default)]
    pub health: ApplicationState,
    /// The last sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<ApplicationOperation>,
    /// Warnings and errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ApplicationCondition>,
    /// When Argo CD last compared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled_at: Option<Timestamp>,
}

/// A state in a word: `Synced`, `Healthy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplicationState {
    /// The word.
    #[serde(default)]
    pub status: String,
}

/// A sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplicationOperation {
    /// How it went: `Succeeded`.
    #[serde(default)]
    pub phase: String,
}

/// A warning or an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplicationCondition {
    /// Its type; that of an error ends in `Error`.
    #[serde(default, rename = "type")]
    pub type_: String,
}

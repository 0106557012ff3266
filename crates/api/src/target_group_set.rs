//! How target groups are discovered: one AWSTargetGroup for each TargetGroupBinding of each cluster.

use std::collections::BTreeMap;

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, selector::LabelSelector};

/// Watches the TargetGroupBindings of clusters and keeps one AWSTargetGroup for each, in its own namespace.
///
/// An AWSTargetGroup is removed only when the set made it and its very cluster answered that the binding is gone, or a
/// ClusterSet found out that the cluster itself is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "AWSTargetGroupSet",
    plural = "awstargetgroupsets",
    namespaced,
    status = "AWSTargetGroupSetStatus",
    shortname = "atgs",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Clusters","type":"integer","jsonPath":".status.clusters"}"#,
    printcolumn = r#"{"name":"Target Groups","type":"integer","jsonPath":".status.targetGroups"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct AWSTargetGroupSetSpec {
    /// Where bindings are looked for. One that several of them find counts once.
    #[schemars(length(min = 1, max = 16))]
    pub generators: Vec<TargetGroupGenerator>,
    /// What the AWSTargetGroups look like.
    #[serde(default)]
    pub template: TargetGroupTemplate,
    /// What becomes of the AWSTargetGroups when this object is deleted. Default: they stay, and traffic flows on.
    #[serde(default)]
    pub deletion_policy: TargetGroupDeletionPolicy,
}

/// What becomes of AWSTargetGroups when the set that made them is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetGroupDeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// Kubernetes removes them. Cells that serve through them lose them.
    Delete,
}

/// One place where bindings are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupGenerator {
    /// Bindings in clusters whose Secrets are in this namespace, however the clusters were made.
    pub awseks: BindingGenerator,
}

/// Bindings, by their labels and those of the cluster Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingGenerator {
    /// Which clusters, by the labels of their Secrets.
    pub cluster_selector: LabelSelector,
    /// Which TargetGroupBindings of them, in all of their namespaces.
    pub binding_selector: LabelSelector,
    /// Role to assume for reading the names and tags of target groups, for clusters of another account.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+$"))]
    pub role_arn: Option<String>,
}

/// What the AWSTargetGroups look like. Values may hold placeholders: `{{.cluster.name}}`, `{{.cluster.labels.KEY}}`,
/// `{{.binding.name}}`, `{{.binding.namespace}}`, `{{.binding.labels.KEY}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupTemplate {
    /// Labels and annotations.
    #[serde(default)]
    pub metadata: TargetGroupMetadata,
}

/// Labels and annotations of AWSTargetGroups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupMetadata {
    /// Labels; they win over those of the binding, which win over those of the cluster's Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    pub annotations: BTreeMap<String, String>,
}

/// What became of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AWSTargetGroupSetStatus {
    /// The generation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many clusters are selected.
    #[serde(default)]
    pub clusters: i32,
    /// How many AWSTargetGroups are this set's.
    #[serde(default)]
    pub target_groups: i32,
    /// How it stands, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Clusters whose bindings are not known, and why; the first 64. What they had before is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<TargetGroupNote>,
    /// Bindings that get no AWSTargetGroup, and why; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<TargetGroupNote>,
    /// AWSTargetGroups that are kept as they are although nothing selects them, and why; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<TargetGroupNote>,
    /// Conditions: `Valid`, `Discovered`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A cluster, binding or AWSTargetGroup, and what is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupNote {
    /// What it is about: a cluster, `CLUSTER NAMESPACE/NAME` of a binding, or an AWSTargetGroup.
    pub name: String,
    /// What is to be said.
    pub message: String,
}

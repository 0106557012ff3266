//! How clusters are discovered: one Argo CD cluster Secret for each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, duration::GoDuration, selector::LabelSelector};

/// Discovers clusters and keeps one Argo CD cluster Secret for each, in its own namespace.
///
/// A Secret is removed only when the set made it and the cloud answered completely, for as long as `pruneAfter` says,
/// that the cluster is gone or is selected no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "ClusterSet",
    plural = "clustersets",
    namespaced,
    status = "ClusterSetStatus",
    shortname = "cset",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Clusters","type":"integer","jsonPath":".status.clusters"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct ClusterSetSpec {
    /// Where clusters are looked for. A cluster that several of them find counts once.
    #[schemars(length(min = 1, max = 16))]
    pub generators: Vec<ClusterGenerator>,
    /// What the Secrets look like.
    #[serde(default)]
    pub template: ClusterSecretTemplate,
    /// How often is looked. Default: 30s; at least 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// How long a cluster must be gone, by complete answers only, before its Secret is removed. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_after: Option<GoDuration>,
    /// Take over a cluster Secret of the same server that somebody else made. Otherwise it is left alone, and the
    /// status names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// What becomes of the Secrets when this object is deleted. Default: they stay, and Argo CD keeps its clusters.
    #[serde(default)]
    pub deletion_policy: SecretDeletionPolicy,
}

/// What becomes of Secrets when the set that made them is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretDeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// Kubernetes removes them.
    Delete,
}

/// One place where clusters are looked for. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = ("[has(self.awseks), has(self.clusterAPI), has(self.kubeconfigSecret), has(self.list)].filter(x, x).size() == 1", "exactly one of awseks, clusterAPI, kubeconfigSecret, list is required"))]
pub struct ClusterGenerator {
    /// EKS clusters of one region and account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awseks: Option<EksGenerator>,
    /// Clusters of Cluster API in this namespace, by the kubeconfig Secret that Cluster API makes for each.
    #[serde(default, rename = "clusterAPI", skip_serializing_if = "Option::is_none")]
    pub cluster_api: Option<ObjectGenerator>,
    /// Secrets of this namespace that hold a kubeconfig, under key `value`, `kubeconfig` or `config`.
    #[serde(default, rename = "kubeconfigSecret", skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret: Option<ObjectGenerator>,
    /// Clusters that are written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListGenerator>,
}

/// EKS clusters of one region and account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EksGenerator {
    /// Which clusters.
    pub selector: TagSelector,
    /// The region. Default: that of okrad (`AWS_REGION`, profile or instance).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z0-9-]+$"))]
    pub region: Option<String>,
    /// Role to assume for looking, for clusters of another account. The Secrets name it too, unless the template has
    /// a role of its own.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+$"))]
    pub role_arn: Option<String>,
}

/// Selects by tags: all of them must be there with these values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagSelector {
    /// Tags that a cluster must have. None would select every cluster of the account, and is refused.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub match_tags: BTreeMap<String, String>,
}

/// Objects of this namespace, selected by labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectGenerator {
    /// Which objects.
    pub selector: LabelSelector,
}

/// Clusters that are written here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListGenerator {
    /// The clusters.
    #[schemars(length(min = 1, max = 128))]
    pub clusters: Vec<ListedCluster>,
}

/// A cluster that is written here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct ListedCluster {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its API server.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = ("self.startsWith('https://')", "must be the URL of an API server: https://HOST[:PORT]"))]
    pub server: String,
    /// Certificates that its API server is checked by: PEM, in base64 once more. Default: those of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_data: Option<String>,
    /// Its Kubernetes version, for the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Its region, for the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub region: Option<String>,
    /// Tags, for the template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub tags: BTreeMap<String, String>,
    /// The EKS cluster whose tokens it accepts. Unset: the credentials of `secretName`, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_auth: Option<AwsAuth>,
    /// A Secret of this namespace with credentials: `token`, or `username` and `password`, or `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// Authentication by an EKS token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAuth {
    /// Name of the EKS cluster.
    #[schemars(length(min = 1, max = 100))]
    pub cluster_name: String,
    /// Role to assume for the token.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub role_arn: Option<String>,
}

/// What the cluster Secrets look like. Labels, annotations, `metadata.name` and `project` may hold placeholders:
/// `{{.awseks.cluster.name}}`, `.arn`, `.region`, `.version`, `.tags.KEY`; for clusters of any generator the same after
/// `{{.cluster.`. A cluster without what a placeholder names is refused, and the status says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSecretTemplate {
    /// Labels, annotations and name.
    #[serde(default)]
    pub metadata: ClusterSecretMetadata,
    /// The Argo CD project that the cluster belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub project: Option<String>,
    /// Namespaces that Argo CD manages in the clusters. Unset: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
    /// Whether Argo CD manages cluster-scoped objects too, where `namespaces` is set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_resources: bool,
    /// What stands in `server`: the URL of the API server, or the ARN of the EKS cluster for the Argo CD that EKS
    /// manages.
    #[serde(default)]
    pub server_form: ServerForm,
    /// Role that Argo CD and okrad assume for a token of the clusters. Default: the generator's.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+$"))]
    pub role_arn: Option<String>,
}

/// Labels, annotations and name of a cluster Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterSecretMetadata {
    /// The Secret's name. Default: the cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Labels besides `argocd.argoproj.io/secret-type: cluster`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 256}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    pub annotations: BTreeMap<String, String>,
}

/// What stands in a cluster Secret's `server`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerForm {
    /// The URL of the API server.
    #[default]
    URL,
    /// The ARN of the EKS cluster.
    ARN,
}

/// What became of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSetStatus {
    /// The generation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many clusters have a Secret of this set.
    #[serde(default)]
    pub clusters: i32,
    /// How it stands, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What each generator found, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generators: Vec<GeneratorStatus>,
    /// Clusters that are not ready for a Secret yet; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<ClusterNote>,
    /// Clusters that get no Secret, and why; the first 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<ClusterNote>,
    /// Clusters that are gone, and whose Secrets will be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingCluster>,
    /// Clusters whose Secrets were removed because complete answers said for long enough that they are gone; the last
    /// 256. An AWSTargetGroupSet removes what they had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedCluster>,
    /// When all generators last answered completely. Written only together with another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_complete_at: Option<Timestamp>,
    /// Conditions: `Valid`, `Discovered`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What one generator found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorStatus {
    /// Which generator: `awseks ap-northeast-1`, `list`.
    pub name: String,
    /// How many clusters it found.
    pub found: i32,
    /// Whether its last answer was complete. Nothing is removed by one that was not.
    pub state: AnswerState,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Whether an answer was complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnswerState {
    /// It names every cluster that there is.
    Complete,
    /// Some of it could not be read.
    Partial,
    /// It may not be asked.
    Denied,
    /// It asked to slow down.
    Throttled,
    /// There was no answer.
    #[default]
    Unreachable,
}

/// A cluster, and what is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterNote {
    /// The cluster.
    pub name: String,
    /// What it waits for, or why it is refused.
    pub message: String,
}

/// A cluster that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingCluster {
    /// Its Secret.
    pub secret: String,
    /// What tells it from every other cluster: annotation `okra.mumo.co/cluster-id` of its Secret.
    #[serde(default)]
    pub id: String,
    /// Since when a complete answer has lacked it.
    pub since: Timestamp,
}

/// A cluster whose Secret was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedCluster {
    /// What told it from every other cluster: annotation `okra.mumo.co/cluster-id` of its Secret.
    pub id: String,
    /// When its Secret was found removed.
    pub at: Timestamp,
}

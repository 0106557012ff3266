//! Versions that failed.

use jiff::Timestamp;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Versions that may not get traffic. It has the name of its Cell; a person unblocks a version by
/// taking it off the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "VersionBlocklist",
    namespaced,
    status = "VersionBlocklistStatus",
    shortname = "vbl",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Latest","type":"string","jsonPath":".spec.items[-1:].version"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct VersionBlocklistSpec {
    /// The versions.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub items: Vec<BlockedVersion>,
}

/// A version that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedVersion {
    /// The version as its target groups' label says it.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Why it is blocked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub cause: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// What was made of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionBlocklistStatus {
    /// The generation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Versions on the list that cannot be read as versions and therefore block nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 128)))]
    pub unreadable: Vec<String>,
}

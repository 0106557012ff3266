//! The route object of every router that is not an AWS Application Load Balancer, and the status that
//! all route objects share.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many fingerprints of intents a route object remembers: steps without a pause follow each other in half a second,
/// and a read of the rule may lag behind several of them.
pub const REMEMBERED_INTENTS: usize = 16;

/// A route: target groups with weights behind one router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "Route",
    namespaced,
    status = "RouteStatus",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Outcome","type":"string","jsonPath":".status.outcome"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// The embedded balancer of the directory store.
    pub local: LocalListener,
    /// Target groups and their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub target_groups: Vec<RouteTargetGroup>,
    /// Names of target groups whose health is read until they are off this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub health_of: Vec<String>,
    /// The fingerprint of a foreign state (see `status.foreign`) that may be overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub overwrite: Option<String>,
    /// Whether this takes traffic back to safety: such a change goes first when the cloud's rate limit is short. Unset:
    /// read from the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_back: Option<bool>,
    /// Fingerprints of what this spec asked for before, the latest last: a rule that holds one of them holds a late
    /// write of our own. Whoever writes the spec keeps the list. Unset: each change is noted in the status before it
    /// is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = REMEMBERED_INTENTS), inner(length(max = 64)))]
    pub former_intents: Option<Vec<String>>,
    /// What becomes of the route when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Where the embedded balancer listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct LocalListener {
    /// Address and port, for example `127.0.0.1:8080`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = ("self.matches('^.+:[0-9]{1,5}$')", "must be an address and a port, like 127.0.0.1:8080"))]
    pub listen: String,
}

/// A target group of a route, and its weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTargetGroup {
    /// Name of the TargetGroup.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Where it answers.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Path that is asked for to see whether it is healthy. Default: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub health_path: Option<String>,
    /// Its weight.
    #[schemars(range(min = 0, max = 999))]
    pub weight: i32,
    /// Healthy targets that it needs before its weight is raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_healthy_targets: Option<i32>,
}

/// What becomes of a rule when the object that owns it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays as it is: traffic keeps flowing.
    #[default]
    Retain,
    /// It is removed.
    Delete,
}

/// What the router answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The generation of the spec that the rest of this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The rule's ARN; for other routers their own id of the route.
    #[serde(default, rename = "ruleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub rule_arn: Option<String>,
    /// Whether the router holds what the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RouteOutcome>,
    /// Why the outcome is not Verified, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub message: String,
    /// What the router holds, as it answered last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub weights: Vec<RouteWeight>,
    /// When the weights were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// Health of target groups, as it was read last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub health: Vec<RouteHealth>,
    /// When the router last answered with what the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Fingerprint of the state that was verified last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub verified: Option<String>,
    /// Fingerprints of the last 16 intents that were sent: any of them may still arrive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = REMEMBERED_INTENTS), inner(length(max = 64)))]
    pub recent_intents: Vec<String>,
    /// What somebody else put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<ForeignState>,
    /// Conditions `Ready` and `Valid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// Whether the router holds what the spec asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteOutcome {
    /// It answered with exactly that.
    Verified,
    /// Not yet: the message says what it waits for.
    NotYet,
    /// Somebody else changed it; nothing is written until a person decides.
    Foreign,
    /// It cannot be done; the message says why and what to do.
    Refused,
}

/// A target group and the weight that the router answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteWeight {
    /// Name of the target group; its id where the spec does not name it.
    #[schemars(length(max = 512))]
    pub name: String,
    /// The router's id of it: an ARN or a URL.
    #[schemars(length(max = 2048))]
    pub id: String,
    /// Its weight.
    pub weight: i32,
}

/// Health of a target group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteHealth {
    /// Name of the target group.
    #[schemars(length(max = 512))]
    pub name: String,
    /// The router's id of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 2048))]
    pub id: String,
    /// Healthy targets.
    pub healthy: u32,
    /// Registered targets.
    pub total: u32,
    /// When it was read.
    pub read_at: Timestamp,
    /// Whether the group is gone: the router says there is no such group. Such a row stays, although the spec does
    /// not name the group any more, until the router knows the group again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What somebody else put there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForeignState {
    /// Fingerprint of it.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// What differs, in words.
    #[schemars(length(max = 1024))]
    pub difference: String,
    /// Since when it is seen.
    pub since: Timestamp,
}

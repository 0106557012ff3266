//! The route object of an AWS Application Load Balancer: the desired state of one listener rule.

use std::collections::BTreeMap;

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::route::{DeletionPolicy, RouteStatus};

/// One listener rule of an Application Load Balancer: what it should hold in `spec`, what the load
/// balancer answered in `status`. A Cell makes one of its own name; one written by hand works the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "AWSApplicationLoadBalancerConfig",
    plural = "awsapplicationloadbalancerconfigs",
    namespaced,
    status = "RouteStatus",
    shortname = "albc",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Priority","type":"integer","jsonPath":".spec.listener.rule.priority"}"#,
    printcolumn = r#"{"name":"Outcome","type":"string","jsonPath":".status.outcome"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct AWSApplicationLoadBalancerConfigSpec {
    /// The listener's ARN. It cannot be changed; the region is read from it.
    #[serde(rename = "listenerARN")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = ("self == oldSelf", "listenerARN cannot be changed: create a new object for another listener"))]
    #[x_kube(validation = ("self.matches('^arn:[a-z0-9-]+:elasticloadbalancing:[a-z0-9-]+:[0-9A-Z_]+:listener/app/.+$')", "must be the ARN of an Application Load Balancer's listener: arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/NAME/ID/ID"))]
    pub listener_arn: String,
    /// Role to assume for every call about this rule, for a load balancer in another account.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub role_arn: Option<String>,
    /// The listener's part: the rule.
    pub listener: ListenerConfig,
    /// Target group stickiness; unset keeps what the rule has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Stickiness>,
    /// Names of target groups whose health is read until they are off this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
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
    #[schemars(length(max = crate::route::REMEMBERED_INTENTS), inner(length(max = 64)))]
    pub former_intents: Option<Vec<String>>,
    /// What becomes of the rule when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// The part of a listener that Okra manages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerConfig {
    /// The rule.
    pub rule: ListenerRule,
}

/// A listener rule: its place, its conditions and where it forwards to. At least one condition is
/// required: the default rule is never touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.hosts) && size(self.hosts) > 0, has(self.pathPatterns) && size(self.pathPatterns) > 0, has(self.methods) && size(self.methods) > 0, has(self.sourceIPs) && size(self.sourceIPs) > 0, has(self.headers) && size(self.headers) > 0, has(self.queryStrings) && size(self.queryStrings) > 0].exists(x, x)", "at least one condition is required: set hosts, pathPatterns, methods, sourceIPs, headers or queryStrings"))]
#[x_kube(validation = ("(has(self.hosts) ? size(self.hosts) : 0) + (has(self.pathPatterns) ? size(self.pathPatterns) : 0) + (has(self.methods) ? size(self.methods) : 0) + (has(self.sourceIPs) ? size(self.sourceIPs) : 0) + (has(self.queryStrings) ? size(self.queryStrings) : 0) + (has(self.headers) ? size(self.headers) : 0) <= 5", "an Application Load Balancer's rule holds at most 5 condition values"))]
pub struct ListenerRule {
    /// The rule's priority on its listener. A change moves the rule.
    #[schemars(range(min = 1, max = 50000))]
    pub priority: i32,
    /// Host names, `*` and `?` allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 1, max = 128)))]
    pub hosts: Vec<String>,
    /// Paths, `*` and `?` allowed, case counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 1, max = 128)))]
    pub path_patterns: Vec<String>,
    /// HTTP methods, upper case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 1, max = 40), regex(pattern = r"^[A-Z_-]+$")))]
    pub methods: Vec<String>,
    /// CIDRs of the peer (not of X-Forwarded-For).
    #[serde(default, rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 1, max = 64), regex(pattern = r"^[0-9A-Fa-f.:]+/[0-9]+$")))]
    pub source_ips: Vec<String>,
    /// Header name to the values of which one must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 5))]
    pub headers: BTreeMap<String, HeaderValues>,
    /// Query key to value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 5))]
    pub query_strings: BTreeMap<String, QueryValue>,
    /// Where the rule forwards to. In a Cell it is `{}`: Okra fills it in.
    #[serde(default)]
    pub forward: ForwardConfig,
}

/// Values of a header of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HeaderValues(#[schemars(length(min = 1, max = 5), inner(length(min = 1, max = 128)))] pub Vec<String>);

/// The value of a query key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct QueryValue(#[schemars(length(min = 1, max = 128))] pub String);

/// Where a rule forwards to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForwardConfig {
    /// Target groups and their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub target_groups: Vec<ForwardTargetGroup>,
}

/// A target group and its weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForwardTargetGroup {
    /// Name of the AWSTargetGroup, or any name that tells it apart.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The target group's ARN.
    #[schemars(length(min = 1, max = 512))]
    pub arn: String,
    /// Its weight.
    #[schemars(range(min = 0, max = 999))]
    pub weight: i32,
    /// Healthy targets that it needs before its weight is raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_healthy_targets: Option<i32>,
}

/// Target group stickiness of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!self.enabled || has(self.durationSeconds)", "durationSeconds is required when stickiness is enabled"))]
pub struct Stickiness {
    /// Whether a client stays with the target group that answered it first.
    pub enabled: bool,
    /// How long, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub duration_seconds: Option<i32>,
}

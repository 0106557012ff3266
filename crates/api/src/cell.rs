//! The Cell: one route and the versions of target groups behind it.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    alb::{ListenerConfig, Stickiness},
    cell_status::CellStatus,
    duration::GoDuration,
    route::DeletionPolicy,
    selector::TargetGroupSelector,
    step::{BackgroundAnalysis, BlueGreenStep, CanaryStep},
};

/// One route and the versions of target groups behind it. Okra moves its traffic to a new version in
/// steps once enough target groups of that version are there, and takes it back when it is bad.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "Cell",
    namespaced,
    status = "CellStatus",
    shortname = "cell",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Stable","type":"string","jsonPath":".status.stableVersion"}"#,
    printcolumn = r#"{"name":"Desired","type":"string","jsonPath":".status.desiredVersion"}"#,
    printcolumn = r#"{"name":"Step","type":"integer","jsonPath":".status.rollout.currentStepIndex"}"#,
    printcolumn = r#"{"name":"Weight","type":"integer","jsonPath":".status.rollout.canaryWeight"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct CellSpec {
    /// The route, and which target groups stand behind it.
    pub ingress: Ingress,
    /// Target groups (clusters) of a version that must be there before it may roll out. More are fine.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: i32,
    /// Pins the version: lower than the stable one is an immediate rollback, higher a canary. Unset: the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = ("self == '' || self.matches('^v?[0-9]+([.][0-9]+){0,2}(-[0-9A-Za-z.-]+)?([+][0-9A-Za-z.-]+)?$')", "must be a version like 1.2.3, v2 or 1.25"))]
    pub version: Option<String>,
    /// No weight moves, except towards safety.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Healthy targets that a group needs before its weight is raised: a count, or a percentage of the healthy
    /// targets that a serving group had when the rollout began, times the share about to be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_healthy_targets: Option<CountOrPercent>,
    /// What must be true of a cluster before its target group counts for a version that does not serve yet. Unset:
    /// nothing. Of AWS load balancers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// How a new version gets the traffic. Unset: all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_strategy: Option<UpdateStrategy>,
    /// What happens when a step fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
    /// How long old target groups stay attached at weight 0 after a rollout. Unset: until the next rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_after: Option<GoDuration>,
    /// How long after a detach or weight 0 a group counts as safe to destroy. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_duration: Option<GoDuration>,
    /// Waiting for targets or for an answer longer than this degrades the Cell, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub progress_deadline_seconds: Option<i32>,
    /// What becomes of the rule when the Cell is deleted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_policy: DeletionPolicy,
}

/// What must be true of a cluster: okrad reaches it and, where they are named, its Applications of Argo CD are Synced and
/// Healthy. What serves is never taken away because of it, and no way back waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// ApplicationSets: of each there is at least one Application on the cluster, and all of them are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub application_sets: Vec<String>,
    /// Applications by name: each is there, on the cluster, and ready. `{{.cluster.name}}` stands for the cluster's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub applications: Vec<String>,
    /// Where Applications and ApplicationSets are. Default: the Cell's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

fn one() -> i32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_one(value: &i32) -> bool {
    *value == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The route, and which target groups stand behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.type != 'AWSApplicationLoadBalancer' || has(self.awsApplicationLoadBalancer)", "type AWSApplicationLoadBalancer needs the field awsApplicationLoadBalancer"))]
#[x_kube(validation = ("self.type != 'Local' || has(self.local)", "type Local needs the field local"))]
#[x_kube(validation = ("!(has(self.awsApplicationLoadBalancer) && has(self.local))", "set only the field that type names"))]
pub struct Ingress {
    /// Which kind of route.
    #[serde(rename = "type")]
    pub type_: IngressType,
    /// A listener rule of an Application Load Balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_application_load_balancer: Option<AlbIngress>,
    /// The embedded balancer; only on the directory store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalIngress>,
}

/// Which kind of route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IngressType {
    /// A listener rule of an AWS Application Load Balancer.
    #[default]
    AWSApplicationLoadBalancer,
    /// The default action of an AWS Network Load Balancer's listener. Planned; refused in a condition.
    AWSNetworkLoadBalancer,
    /// The embedded balancer.
    Local,
}

/// A listener rule of an Application Load Balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(has(self.targetGroupSelector.matchLabels) && size(self.targetGroupSelector.matchLabels) > 0) || (has(self.targetGroupSelector.matchExpressions) && size(self.targetGroupSelector.matchExpressions) > 0)", "targetGroupSelector needs matchLabels or matchExpressions: an empty one would select every target group"))]
pub struct AlbIngress {
    /// The listener's ARN. It cannot be changed; the region is read from it.
    #[serde(rename = "listenerARN")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = ("self == oldSelf", "listenerARN cannot be changed: create a new Cell for another listener"))]
    #[x_kube(validation = ("self.matches('^arn:[a-z0-9-]+:elasticloadbalancing:[a-z0-9-]+:[0-9A-Z_]+:listener/app/.+$')", "must be the ARN of an Application Load Balancer's listener: arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/NAME/ID/ID"))]
    pub listener_arn: String,
    /// Role to assume for every call about this rule, for a load balancer in another account.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub role_arn: Option<String>,
    /// The listener's part: the rule.
    pub listener: ListenerConfig,
    /// Which AWSTargetGroups of the Cell's namespace.
    pub target_group_selector: TargetGroupSelector,
    /// Target group stickiness; unset keeps what the rule has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Stickiness>,
}

/// The embedded balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(has(self.targetGroupSelector.matchLabels) && size(self.targetGroupSelector.matchLabels) > 0) || (has(self.targetGroupSelector.matchExpressions) && size(self.targetGroupSelector.matchExpressions) > 0)", "targetGroupSelector needs matchLabels or matchExpressions: an empty one would select every target group"))]
pub struct LocalIngress {
    /// Address and port, for example `127.0.0.1:8080`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = ("self.matches('^.+:[0-9]{1,5}$')", "must be an address and a port, like 127.0.0.1:8080"))]
    pub listen: String,
    /// Which TargetGroups of the Cell's namespace.
    pub target_group_selector: TargetGroupSelector,
}

/// A count, or a percentage like `80%`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CountOrPercent {
    /// A count.
    Count(i64),
    /// A percentage, or a count in quotes.
    Text(String),
}

impl schemars::JsonSchema for CountOrPercent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CountOrPercent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-validations": [{
                "rule": "size(string(self)) <= 5 && \
                         string(self).matches('^([0-9]{1,3}|1000|[0-9]{1,2}%|100%)$')",
                "message": "must be a count from 0 to 1000, or a percentage from 0% to 100%"
            }],
        })
    }
}

/// How a new version gets the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Canary: in steps. BlueGreen: all at once, after its checks.
    #[serde(default, rename = "type")]
    pub type_: StrategyType,
    /// The steps of a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStrategy>,
    /// The steps of a blue-green rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenStrategy>,
}

/// How a new version gets the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    /// In steps.
    #[default]
    Canary,
    /// All at once, after its checks.
    BlueGreen,
}

/// The steps of a canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStrategy {
    /// The steps, in order. After the last one the canary gets all traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub steps: Vec<CanaryStep>,
    /// An analysis in the background, until the last step is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<BackgroundAnalysis>,
}

/// The steps of a blue-green rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenStrategy {
    /// The steps, in order. It ends with an implied promote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub steps: Vec<BlueGreenStep>,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The stable version gets all traffic back in one call, and the new one is blocked.
    #[default]
    Rollback,
    /// The weights stay and a person decides.
    Hold,
}

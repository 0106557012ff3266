//! Target groups: where traffic can go.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An existing AWS target group with labels and a version label. Selected by Cells behind AWS load balancers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "AWSTargetGroup",
    plural = "awstargetgroups",
    namespaced,
    status = "TargetGroupStatus",
    shortname = "atg",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".metadata.labels.okra\\.mumo\\.co/version"}"#,
    printcolumn = r#"{"name":"ARN","type":"string","jsonPath":".spec.arn","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct AWSTargetGroupSpec {
    /// The target group's ARN.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = ("self.matches('^arn:[a-z0-9-]+:elasticloadbalancing:[a-z0-9-]+:[0-9A-Z_]+:targetgroup/.+$')", "must be the ARN of a target group: arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID"))]
    pub arn: String,
}

/// A target group of any router that is not AWS's. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "okra.mumo.co",
    version = "v1alpha1",
    kind = "TargetGroup",
    namespaced,
    status = "TargetGroupStatus",
    shortname = "otg",
    category = "okra",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".metadata.labels.okra\\.mumo\\.co/version"}"#,
    printcolumn = r#"{"name":"Endpoint","type":"string","jsonPath":".spec.endpoint.url"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[kube(derive = "PartialEq")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = ("[has(self.service), has(self.dns), has(self.endpoint)].filter(x, x).size() == 1", "exactly one of service, dns, endpoint is required"))]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupSpec {
    /// A Service in the management cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceEndpoint>,
    /// A DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsEndpoint>,
    /// A URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<UrlEndpoint>,
}

/// A Service in the management cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEndpoint {
    /// Namespace of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A DNS name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsEndpoint {
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The hosted zone that an alias to it needs.
    #[serde(default, rename = "hostedZoneID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hosted_zone_id: Option<String>,
}

/// A URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct UrlEndpoint {
    /// Where it answers: `http://host:port`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = ("self.matches('^https?://[^/ ]+(/.*)?$')", "must be a URL like http://127.0.0.1:8080"))]
    pub url: String,
    /// Path that the embedded balancer asks for to see whether it is healthy. Default: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub health_path: Option<String>,
}

/// Nothing is written here yet; the subresource exists so that later versions can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroupStatus {}

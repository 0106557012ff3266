//! What the AWS Load Balancer Controller's TargetGroupBinding tells okra. Read only: okra never installs this kind.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which target group the pods of a Service are registered in. Only what okra reads of it; everything else is ignored.
/// Source: `elbv2.k8s.aws/v1beta1` of the AWS Load Balancer Controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "elbv2.k8s.aws",
    version = "v1beta1",
    kind = "TargetGroupBinding",
    namespaced,
    crates(kube_core = "::kube_core")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct TargetGroupBindingSpec {
    /// ARN of the target group.
    #[serde(default, rename = "targetGroupARN", skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    /// Name of the target group, where the ARN is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_group_name: Option<String>,
    /// The same as `targetGroupARN`, as manifests of the first okra have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
}

impl TargetGroupBindingSpec {
    /// The ARN that it states.
    pub fn arn(&self) -> Option<&str> {
        let stated = self.target_group_arn.as_deref().into_iter().chain(self.arn.as_deref());
        stated.map(str::trim).find(|arn| !arn.is_empty())
    }

    /// The name that it states.
    pub fn name(&self) -> Option<&str> {
        self.target_group_name.as_deref().map(str::trim).filter(|name| !name.is_empty())
    }
}

//! What the tests of the front share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, HostHeaderConditionConfig, RuleCondition, Tag, TargetGroupTuple,
    TargetHealthDescription, TargetHealthStateEnum,
};
use okra_testkit::front::{AwsWorld, Front};

/// How long anything may take.
pub const WITHIN: Duration = Duration::from_secs(20);

pub struct Rig {
    pub front: Front,
    pub world: AwsWorld,
    pub client: Client,
}

pub async fn rig() -> Rig {
    let front = Front::shared().await.unwrap();
    let world = AwsWorld::new(&front).await.unwrap();
    let client = front.client("okra");
    Rig { front, world, client }
}

pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub fn host(values: &[&str]) -> RuleCondition {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    let config = HostHeaderConditionConfig::builder().set_values(Some(values)).build();
    RuleCondition::builder().field("host-header").host_header_config(config).build()
}

pub fn forward(weights: &[(&str, i32)]) -> Action {
    let tuple =
        |(arn, weight): &(&str, i32)| TargetGroupTuple::builder().target_group_arn(*arn).weight(*weight).build();
    let config = ForwardActionConfig::builder().set_target_groups(Some(weights.iter().map(tuple).collect())).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}

pub fn code<T, E: ProvideErrorMetadata, R: std::fmt::Debug>(result: Result<T, SdkError<E, R>>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.code().map_or_else(|| "transport".to_owned(), str::to_owned),
    }
}

impl Rig {
    pub async fn create(
        &self,
        priority: i32,
        conditions: Vec<RuleCondition>,
        actions: Vec<Action>,
    ) -> Result<String, String> {
        self.create_on(&self.world.listener, priority, conditions, actions).await
    }

    pub async fn create_on(
        &self,
        listener: &str,
        priority: i32,
        conditions: Vec<RuleCondition>,
        actions: Vec<Action>,
    ) -> Result<String, String> {
        let call = self.client.create_rule().listener_arn(listener).priority(priority);
        let result = call.set_conditions(Some(conditions)).set_actions(Some(actions)).send().await;
        match result {
            Ok(answer) => Ok(answer.rules()[0].rule_arn().unwrap().to_owned()),
            Err(error) => Err(error.code().unwrap_or("transport").to_owned()),
        }
    }

    pub async fn modify(&self, rule: &str, weights: &[(&str, i32)]) -> String {
        code(self.client.modify_rule().rule_arn(rule).actions(forward(weights)).send().await)
    }

    pub async fn states(&self, group: &str) -> Vec<TargetHealthStateEnum> {
        let answer = self.client.describe_target_health().target_group_arn(group).send().await.unwrap();
        let state = |d: &TargetHealthDescription| d.target_health().unwrap().state().unwrap().clone();
        answer.target_health_descriptions().iter().map(state).collect()
    }
}

impl Rig {
    /// Creates a rule with the tags that okra gives.
    pub async fn create_tagged(&self, weights: &[(&str, i32)]) -> String {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let call = self.client.create_rule().listener_arn(&self.world.listener).priority(10);
        let call = call.conditions(host(&["web.example.com"])).actions(forward(weights));
        let call = call.tags(tag("okra.mumo.co/owner", "me")).tags(tag("okra.mumo.co/cell", "default/web"));
        call.send().await.unwrap().rules()[0].rule_arn().unwrap().to_owned()
    }
}

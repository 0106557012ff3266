//! Manifests and rules that scenes begin with.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateOidcActionConfig, ForwardActionConfig, RuleCondition,
    TargetGroupStickinessConfig, TargetGroupTuple,
};

use super::Scene;
use crate::front::FOREIGN;

impl Scene {
    /// The seed README's Cell, without its analysis step, with `steps` as YAML.
    pub fn cell_manifest(&self, name: &str, replicas: u32, steps: &str) -> String {
        format!(
            "apiVersion: okra.mumo.co/v1alpha1\nkind: Cell\nmetadata:\n  name: {name}\nspec:\n  ingress:\n    type: \
             AWSApplicationLoadBalancer\n    awsApplicationLoadBalancer:\n      listener:\n        rule:\n          \
             forward: {{}}\n          hosts:\n          - example.com\n          priority: {}\n      listenerARN: {}\n      \
             targetGroupSelector:\n        matchLabels:\n          role: web\n  replicas: {replicas}\n  updateStrategy:\n    \
             canary:\n      steps: {steps}\n    type: Canary\n",
            self.priority, self.world.listener
        )
    }

    /// A third party's rule at the scene's priority of the (HTTPS) listener: one path, a login before the forward to
    /// one group, and stickiness. Its ARN.
    pub async fn rule_with_login(&self, path: &str, group: &str) -> String {
        let login = AuthenticateOidcActionConfig::builder()
            .issuer("https://login.example.com")
            .authorization_endpoint("https://login.example.com/authorize")
            .token_endpoint("https://login.example.com/token")
            .user_info_endpoint("https://login.example.com/user")
            .client_id("web")
            .client_secret("not-a-secret")
            .build();
        let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(300).build();
        let tuple = TargetGroupTuple::builder().target_group_arn(&self.arns[group]).weight(100).build();
        let forward =
            ForwardActionConfig::builder().target_groups(tuple).target_group_stickiness_config(sticky).build();
        let login = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).authenticate_oidc_config(login).order(1);
        let forward = Action::builder().r#type(ActionTypeEnum::Forward).forward_config(forward).order(2);
        let condition = RuleCondition::builder().field("path-pattern").values(path).build();
        let client = self.front.client(FOREIGN);
        let created = client
            .create_rule()
            .listener_arn(&self.world.listener)
            .priority(i32::try_from(self.priority).expect("a priority is small"))
            .conditions(condition)
            .actions(login.build())
            .actions(forward.build())
            .send()
            .await
            .expect("the rule is created");
        created.rules()[0].rule_arn().expect("a rule has an ARN").to_owned()
    }

    /// What is kept with the rule besides its weights: the types of its actions, and for how many seconds it sticks.
    pub async fn rule_actions(&self, rule: &str) -> (Vec<String>, Option<i32>) {
        let client = self.front.client("reader");
        let read = client.describe_rules().rule_arns(rule).send().await.expect("the rule is read");
        let actions = read.rules()[0].actions();
        let types = actions.iter().filter_map(|action| action.r#type()).map(|kind| kind.as_str().to_owned()).collect();
        let forward = actions.iter().find_map(|action| action.forward_config());
        let sticky = forward.and_then(|forward| forward.target_group_stickiness_config());
        (
            types,
            sticky
                .filter(|sticky| sticky.enabled() == Some(true))
                .and_then(aws_sdk_elasticloadbalancingv2::types::TargetGroupStickinessConfig::duration_seconds),
        )
    }
}

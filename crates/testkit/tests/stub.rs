//! The stub answers okra's calls as moto behind the strict front does: one story of calls on both, told in the same
//! words.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{net::SocketAddr, time::Duration};

use aws_sdk_elasticloadbalancingv2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        Action, ActionTypeEnum, ForwardActionConfig, HostHeaderConditionConfig, Rule, RuleCondition, RulePriorityPair,
        Tag, TargetGroupStickinessConfig, TargetGroupTuple,
    },
};
use okra_testkit::{
    front::{AwsWorld, Front},
    stub::Stub,
};
use pretty_assertions::assert_eq;

/// One side of the comparison: what there is before the story begins, and what was answered.
struct Side {
    client: Client,
    listener: String,
    groups: Vec<String>,
    /// ARNs and what the story calls them.
    names: Vec<(String, String)>,
    told: Vec<String>,
}

impl Side {
    fn new(client: Client, listener: String, groups: Vec<String>) -> Self {
        let mut names = vec![(listener.clone(), "LISTENER".to_owned())];
        names.extend(groups.iter().enumerate().map(|(n, arn)| (arn.clone(), format!("GROUP-{n}"))));
        Self { client, listener, groups, names, told: Vec::new() }
    }

    fn tell(&mut self, what: &str, answer: &str) {
        let named = self.names.iter().fold(answer.to_owned(), |text, (arn, name)| text.replace(arn, name));
        self.told.push(format!("{what}: {named}"));
    }

    fn tell_rules(&mut self, what: &str, answer: Result<Vec<Rule>, String>) {
        // The default rule's ARN is met nowhere else.
        for rule in answer.iter().flatten().filter(|rule| rule.is_default() == Some(true)) {
            self.names.push((rule.rule_arn().unwrap().to_owned(), "DEFAULT".to_owned()));
        }
        self.tell(what, &format!("{answer:?}"));
    }

    async fn tell_health(&mut self, what: &str, group: &str) {
        let sent = self.client.describe_target_health().target_group_arn(group).send().await;
        let answer = sent.map_err(|error| code(&error)).map(|answer| {
            let told = answer.target_health_descriptions().iter().map(|target| {
                let health = target.target_health().unwrap();
                format!("{:?} {:?}", health.state(), health.reason())
            });
            told.collect::<Vec<_>>()
        });
        self.tell(what, &format!("{answer:?}"));
    }

    async fn tell_tags(&mut self, what: &str, rule: &str) {
        let sent = self.client.describe_tags().resource_arns(rule).send().await;
        let answer = sent.map_err(|error| code(&error)).map(|answer| answer.tag_descriptions().to_vec());
        self.tell(what, &format!("{answer:?}"));
    }

    async fn create(&self, priority: i32, action: Action) -> Result<Vec<Rule>, String> {
        let request =
            self.client.create_rule().listener_arn(&self.listener).priority(priority).conditions(host("a.io"));
        let sent = request.conditions(path()).actions(action).tags(tag("owner", "me")).send().await;
        sent.map(|answer| answer.rules().to_vec()).map_err(|error| code(&error))
    }

    async fn modify(&self, rule: &str, action: Action) -> Result<Vec<Rule>, String> {
        let sent = self.client.modify_rule().rule_arn(rule).actions(action).send().await;
        sent.map(|answer| answer.rules().to_vec()).map_err(|error| code(&error))
    }

    async fn read(&self, rule: &str) -> Result<Vec<Rule>, String> {
        let sent = self.client.describe_rules().rule_arns(rule).send().await;
        sent.map(|answer| answer.rules().to_vec()).map_err(|error| code(&error))
    }

    async fn list(&self) -> Result<Vec<Rule>, String> {
        let sent = self.client.describe_rules().listener_arn(&self.listener).send().await;
        sent.map(|answer| answer.rules().to_vec()).map_err(|error| code(&error))
    }

    async fn prioritize(&self, rule: &str, priority: i32) -> Result<Vec<Rule>, String> {
        let pair = RulePriorityPair::builder().rule_arn(rule).priority(priority).build();
        let sent = self.client.set_rule_priorities().rule_priorities(pair).send().await;
        sent.map(|answer| answer.rules().to_vec()).map_err(|error| code(&error))
    }

    fn weights(&self, weights: &[i32]) -> Action {
        forward(self.groups.iter().map(String::as_str).zip(weights.iter().copied()))
    }
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    error.code().unwrap_or("no code").to_owned()
}

fn forward<'a>(weights: impl Iterator<Item = (&'a str, i32)>) -> Action {
    let groups = weights.map(|(arn, weight)| TargetGroupTuple::builder().target_group_arn(arn).weight(weight).build());
    let config = ForwardActionConfig::builder().set_target_groups(Some(groups.collect()));
    let sticky = TargetGroupStickinessConfig::builder().enabled(false).build();
    let config = config.target_group_stickiness_config(sticky).build();
    Action::builder().r#type(ActionTypeEnum::Forward).order(1).forward_config(config).build()
}

fn host(name: &str) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().values(name).build();
    RuleCondition::builder().field("host-header").host_header_config(config).build()
}

fn path() -> RuleCondition {
    RuleCondition::builder().field("path-pattern").values("/api/*").build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Every call that okra makes, taken and refused.
async fn story(mut side: Side) -> Vec<String> {
    let groups = side.groups.clone();
    side.tell_health("health of an unused group", &groups[0]).await;
    let listed = side.list().await;
    side.tell_rules("the default rule", listed);
    let created = side.create(10, side.weights(&[100, 0])).await;
    let rule = created.as_ref().unwrap()[0].rule_arn().unwrap().to_owned();
    side.names.insert(0, (rule.clone(), "RULE".to_owned()));
    side.tell_rules("created", created);
    let taken = side.create(10, side.weights(&[1])).await;
    side.tell_rules("a taken priority", taken);
    let read = side.read(&rule).await;
    side.tell_rules("read", read);
    side.tell_tags("tags", &rule).await;
    side.tell_health("health of a group at zero", &groups[1]).await;
    for (what, weights) in [("modified", &[50, 50][..]), ("one group", &[100]), ("too many", &[1, 1, 1, 1, 1, 1])] {
        let modified = side.modify(&rule, side.weights(weights)).await;
        side.tell_rules(what, modified);
    }
    side.tell_health("health of a group that was detached", &groups[1]).await;
    let unknown = format!("{}0", groups[0]);
    let refused = side.modify(&rule, forward([(unknown.as_str(), 1)].into_iter())).await;
    side.tell_rules("an unknown group", refused);
    let refused = side.modify(&format!("{rule}0"), side.weights(&[1])).await;
    side.tell_rules("an unknown rule", refused);
    side.tell_health("health of an unknown group", &unknown).await;
    let sent = side.client.modify_rule().rule_arn(&rule).conditions(host("b.io")).send().await;
    side.tell_rules("other conditions", sent.map(|answer| answer.rules().to_vec()).map_err(|error| code(&error)));

    let second = side.create(30, side.weights(&[1])).await.unwrap()[0].rule_arn().unwrap().to_owned();
    side.names.insert(0, (second.clone(), "SECOND".to_owned()));
    for (what, priority) in [("a priority that another has", 30), ("another priority", 20)] {
        let moved = side.prioritize(&rule, priority).await;
        side.tell_rules(what, moved);
    }
    let sent = side.client.add_tags().resource_arns(&rule).tags(tag("cell", "web")).send().await;
    side.tell("tagged", &format!("{:?}", sent.map(drop).map_err(|error| code(&error))));
    side.tell_tags("more tags", &rule).await;
    let mut marker = None;
    for page in 0..3 {
        let request = side.client.describe_rules().listener_arn(&side.listener).page_size(1).set_marker(marker.take());
        let answer = request.send().await.unwrap();
        marker = answer.next_marker().map(str::to_owned);
        side.tell_rules(&format!("page {page}, another follows {}", marker.is_some()), Ok(answer.rules().to_vec()));
    }
    for rule in [&rule, &second, &rule] {
        let sent = side.client.delete_rule().rule_arn(rule).send().await;
        side.tell("deleted", &format!("{:?}", sent.map(drop).map_err(|error| code(&error))));
    }
    let gone = side.read(&rule).await;
    side.tell_rules("a rule that is gone", gone);
    let left = side.list().await;
    let default = left.as_ref().unwrap()[0].rule_arn().unwrap().to_owned();
    side.tell_rules("what is left", left);
    let refused = side.modify(&default, side.weights(&[1])).await;
    side.tell_rules("the default rule is not modified", refused);
    side.told
}

#[tokio::test]
async fn the_stub_answers_as_moto_behind_the_front_does() {
    let stub = Stub::start().await.unwrap();
    let account = "123456789012";
    let groups = (0..6).map(|n| stub.target_group(account, &format!("g{n}"), 1)).collect();
    let ours = story(Side::new(stub.client("test"), stub.listener(account, "lb"), groups)).await;

    let front = Front::shared().await.unwrap();
    front.set_initial_delay(Duration::ZERO);
    let world = AwsWorld::new(&front).await.unwrap();
    let mut groups = Vec::new();
    for n in 0..6_u16 {
        let target = SocketAddr::from(([127, 0, 0, 1], 9000 + n));
        groups.push(world.target_group(&format!("g{n}"), &[target]).await.unwrap());
    }
    let theirs = story(Side::new(front.client("test"), world.listener.clone(), groups)).await;
    assert_eq!(ours, theirs);
    assert!(ours.iter().any(|line| line.contains("PriorityInUse")), "the story tells of refusals: {ours:#?}");
}

#[tokio::test]
async fn the_stub_counts_calls_and_refuses_what_the_buckets_refuse() {
    let stub = Stub::start().await.unwrap();
    let listener = stub.listener("123456789012", "lb");
    let elsewhere = stub.listener("210987654321", "lb");
    stub.set_buckets(true);
    let client = stub.client("me");
    let mut codes = Vec::new();
    for _ in 0..60 {
        let sent = client.describe_rules().listener_arn(&listener).send().await;
        codes.extend(sent.err().map(|error| code(&error)));
    }
    assert_eq!(codes.first().map(String::as_str), Some("Throttling"), "40 pass, and ten a second come in");
    client.describe_rules().listener_arn(&elsewhere).send().await.expect("another account has buckets of its own");
    let calls = stub.calls_since(0);
    assert_eq!(calls.len(), 61);
    assert!(calls.iter().all(|call| call.operation == "DescribeRules" && call.caller == "me" && !call.is_write()));
    assert!(calls.windows(2).all(|pair| pair[0].at <= pair[1].at), "one after the other");
    assert_eq!(calls.iter().filter(|call| call.error.is_some()).count(), codes.len());
    stub.set_buckets(false);
    client.describe_rules().listener_arn(&listener).send().await.expect("nothing is limited any more");
}

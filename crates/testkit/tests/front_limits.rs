//! The AWS front's accounts, token buckets and lags.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

mod front_rig;

use std::time::{Duration, Instant};

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Rule, TargetHealthStateEnum};
use futures::future::join_all;
use okra_judge::record::Event;
use okra_testkit::fault_plan::PlannedFault;
use okra_testkit::front::{AwsFault, AwsPlan, AwsWorld, Health, REGION};
use pretty_assertions::assert_eq;

use front_rig::{Rig, WITHIN, address, code, forward, host, rig};

/// How many of `calls` that came at once were accepted, and the codes of the others, each once.
async fn burst<F: Future<Output = String>>(calls: impl Iterator<Item = F>) -> (usize, Vec<String>) {
    let answers = join_all(calls).await;
    let accepted = answers.iter().filter(|answer| *answer == "accepted").count();
    let mut refused: Vec<String> = answers.into_iter().filter(|answer| answer != "accepted").collect();
    refused.sort();
    refused.dedup();
    (accepted, refused)
}

async fn read(client: &Client, rule: &str) -> String {
    code(client.describe_rules().rule_arns(rule).send().await)
}

async fn tagged(rig: &Rig) -> (String, String) {
    let group = rig.world.target_group("one", &[address(9001)]).await.unwrap();
    (rig.create_tagged(&[(&group, 1)]).await, group)
}

#[tokio::test]
async fn calls_beyond_the_buckets_are_throttled_and_change_nothing() {
    let rig = rig().await;
    let (rule, group) = tagged(&rig).await;
    let weights = [(group.as_str(), 2)];
    let writes = |count: usize| (0..count).map(|_| rig.modify(&rule, &weights));
    assert_eq!(burst(writes(60)).await, (60, Vec::new()), "off unless planned");

    rig.front.set_plan(AwsPlan::with_buckets());
    let begun = Instant::now();
    let (accepted, refused) = burst(writes(60)).await;
    let came = (begun.elapsed().as_secs_f64() * 3.0).ceil() as usize;
    assert!((20..=20 + came).contains(&accepted), "{accepted}, {came}");
    assert_eq!(refused, ["Throttling"]);
    assert_eq!(rig.front.throttles(), 60 - accepted);
    // The writes left half of what all calls share.
    let begun = begun.elapsed();
    let (reads, refused) = burst((0..60).map(|_| read(&rig.client, &rule))).await;
    assert!((20..=20 + came + 10 * (begun.as_secs() as usize + 3)).contains(&reads), "{reads}");
    assert_eq!(refused, ["RequestLimitExceeded"]);
    // Who builds the world does not pay.
    for n in 0..30_u16 {
        rig.world.register(&group, &[address(9100 + n)]).await.unwrap();
    }
    let deadline = Instant::now() + WITHIN;
    while rig.modify(&rule, &[(&group, 3)]).await != "accepted" {
        assert!(Instant::now() < deadline, "the buckets fill again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.front.set_plan(AwsPlan::default());
    assert_eq!(burst(writes(60)).await.0, 60, "off again");
}

#[tokio::test]
async fn registrations_have_a_bucket_of_their_own() {
    let rig = rig().await;
    let (rule, group) = tagged(&rig).await;
    rig.front.set_plan(AwsPlan::with_buckets());
    let begun = Instant::now();
    let deregister = |n: i32| {
        let target = aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder().id("10.0.0.1").port(n).build();
        let call = rig.client.deregister_targets().target_group_arn(&group).targets(target);
        async move { code(call.send().await) }
    };
    let (accepted, refused) = burst((1..=40).map(deregister)).await;
    let came = (begun.elapsed().as_secs_f64() * 4.0).ceil() as usize;
    assert!((20..=20 + came).contains(&accepted), "{accepted}, {came}");
    assert_eq!(refused, ["Throttling"]);
    assert_eq!(rig.modify(&rule, &[(&group, 2)]).await, "accepted");
}

#[tokio::test]
async fn each_account_and_region_has_its_own_buckets() {
    let rig = rig().await;
    let (rule, _) = tagged(&rig).await;
    let theirs = AwsWorld::in_account(&rig.front, "222222222222").await.unwrap();
    assert_eq!(theirs.listener.split(':').nth(4), Some("222222222222"));
    rig.front.set_account("them", "222222222222");
    let client = rig.front.client("them");
    let group = theirs.target_group("two", &[]).await.unwrap();
    let create = client.create_rule().listener_arn(&theirs.listener).priority(1).conditions(host(&["a.io"]));
    let created = create.actions(forward(&[(&group, 1)])).send().await.unwrap();
    let their_rule = created.rules()[0].rule_arn().unwrap().to_owned();

    rig.front.set_plan(AwsPlan::with_buckets());
    let (accepted, _) = burst((0..80).map(|_| read(&rig.client, &rule))).await;
    assert!((40..80).contains(&accepted), "{accepted}");
    let (accepted, _) = burst((0..30).map(|_| read(&client, &their_rule))).await;
    assert_eq!(accepted, 30, "another account");
    let west = rig.front.client_in("okra", "us-west-2");
    let (accepted, _) = burst((0..30).map(|_| read(&west, &rule))).await;
    assert_eq!(accepted, 30, "another region");
    assert_eq!(read(&client, &rule).await, "AccessDenied", "nobody reaches into another account");
    assert_eq!(rig.front.rules(&theirs.listener).len(), 2);
}

#[tokio::test]
async fn an_assumed_role_has_its_own_account_and_keeps_its_callers_name() {
    let rig = rig().await;
    let (rule, _) = tagged(&rig).await;
    let theirs = AwsWorld::in_account(&rig.front, "333333333333").await.unwrap();
    let own = Credentials::new("okra", "not-a-secret", None, None, "test");
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(rig.front.endpoint())
        .region(aws_config::Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(own))
        .load()
        .await;
    let role = "arn:aws:iam::333333333333:role/okra";
    let provider = AssumeRoleProvider::builder(role).session_name("test").configure(&config).build().await;
    let given = provider.provide_credentials().await.unwrap();
    let client = rig.front.client_as(given);
    let read = code(client.describe_rules().listener_arn(&theirs.listener).send().await);
    assert_eq!(read, "accepted");
    assert_eq!(code(client.describe_rules().rule_arns(&rule).send().await), "AccessDenied");
    let record = rig.front.record();
    let callers = record.entries.iter().rev().filter_map(|entry| match &entry.event {
        Event::Call(call) if call.operation == "DescribeRules" => Some(call.caller.as_str()),
        _ => None,
    });
    assert_eq!(callers.take(2).collect::<Vec<_>>(), ["okra", "okra"]);
}

fn weight_in(rule: &Rule) -> Option<i32> {
    rule.actions()[0].forward_config()?.target_groups()[0].weight()
}

#[tokio::test]
async fn reads_lag_behind_what_was_written() {
    let rig = rig().await;
    rig.front.set_initial_delay(Duration::ZERO);
    let (rule, group) = tagged(&rig).await;
    rig.front.set_plan(AwsPlan::with_read_lag(Duration::from_hours(1)));
    let answer = rig.client.modify_rule().rule_arn(&rule).actions(forward(&[(&group, 50)])).send().await.unwrap();
    assert_eq!(weight_in(&answer.rules()[0]), Some(50), "the answer of a write tells what is");
    rig.front.foreign_tags(&rule, &[("team", "x")]).unwrap();
    rig.front.set_health(&group, Health::Unhealthy).unwrap();
    let second = rig.create(20, vec![host(&["b.io"])], vec![forward(&[(&group, 1)])]).await.unwrap();

    let seen = rig.client.describe_rules().listener_arn(&rig.world.listener).send().await.unwrap();
    let arns: Vec<_> = seen.rules().iter().filter_map(Rule::rule_arn).collect();
    assert!(arns.contains(&rule.as_str()) && !arns.contains(&second.as_str()));
    assert_eq!(weight_in(&seen.rules()[0]), Some(1));
    assert_eq!(read(&rig.client, &second).await, "RuleNotFound");
    let tags = rig.client.describe_tags().resource_arns(&rule).send().await.unwrap();
    assert_eq!(tags.tag_descriptions()[0].tags().len(), 2);
    assert_ne!(rig.states(&group).await, [TargetHealthStateEnum::Unhealthy]);
    assert_eq!(rig.front.rule_at(&rig.world.listener, "10").unwrap().weights[&group], 50, "the test sees what is");

    rig.front.set_plan(AwsPlan::with_read_lag(Duration::from_millis(300)));
    rig.client.modify_rule().rule_arn(&rule).actions(forward(&[(&group, 60)])).send().await.unwrap();
    let begun = Instant::now();
    let mut seen = Vec::new();
    while seen.last() != Some(&Some(60)) {
        let answer = rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
        seen.push(weight_in(&answer.rules()[0]));
        assert!(begun.elapsed() < WITHIN, "it comes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(250), "not before its time");
    seen.dedup();
    assert_eq!(seen, [Some(50), Some(60)]);
}

#[tokio::test]
async fn a_single_read_can_be_stale() {
    let rig = rig().await;
    let (rule, group) = tagged(&rig).await;
    rig.front.set_plan(vec![PlannedFault::new("DescribeRules", 2, AwsFault::Stale { millis: 60_000 })]);
    assert_eq!(rig.modify(&rule, &[(&group, 70)]).await, "accepted");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
        seen.push(weight_in(&answer.rules()[0]));
    }
    assert_eq!(seen, [Some(70), Some(1), Some(70)]);
}

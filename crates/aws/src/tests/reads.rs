use std::fmt::Write as _;

use okra_core::route::{GroupHealth, Lane, Observed, ObservedRule, Sticky};
use okra_provider::{RouterErrorKind, TrafficRouter};
use pretty_assertions::assert_eq;

use super::aws::*;

fn ours(id: usize) -> (String, &'static str, &'static str) {
    (rule_arn(id), "shop/web", "inst-1")
}

fn observed(id: usize, priority: i32, tags: Option<(&str, &str)>) -> ObservedRule {
    ObservedRule {
        id: rule_arn(id),
        priority,
        conditions: intent().place.conditions(),
        weights: weights(&[("blue", 100), ("green", 0)]),
        stickiness: Sticky::default(),
        cell_tag: tags.map(|(cell, _)| cell.to_owned()),
        owner_tag: tags.map(|(_, owner)| owner.to_owned()),
    }
}

#[tokio::test]
async fn a_verified_rule_is_read_in_one_call() {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], None)).await;
    aws.answer("DescribeTags", tags(&[ours(1)])).await;
    let router = aws.router();
    for _ in 0..3 {
        let seen = router.observe(&known(1), &call(Lane::Verify)).await.unwrap();
        let expected = observed(1, 10, Some(("shop/web", "inst-1")));
        assert_eq!(seen, Observed { ours: Some(expected), in_the_way: None });
    }
    let by_arn = form(&[("Action", "DescribeRules"), ("RuleArns.member.1", &rule_arn(1))]);
    let its_tags = form(&[("Action", "DescribeTags"), ("ResourceArns.member.1", &rule_arn(1))]);
    assert_eq!(aws.calls().await, [by_arn.clone(), its_tags, by_arn.clone(), by_arn]);
}

#[tokio::test]
async fn an_unknown_rule_is_found_by_its_tags_on_any_page() {
    let aws = Aws::start().await;
    let all: Vec<Rule> = (1..=25).map(|id| Rule::new(id, i32::try_from(id).unwrap() + 5)).collect();
    let mut second = all[20..].to_vec();
    second.push(Rule { priority: "default".to_owned(), ..Rule::new(99, 0) });
    aws.answer_with("DescribeRules", &[("Marker", "m1")], ok_rules(&second, None)).await;
    aws.answer_with("DescribeRules", &[], ok_rules(&all[..20], Some("m1"))).await;
    let of = |range: std::ops::RangeInclusive<usize>| {
        let tagged: Vec<_> = range.map(|id| if id == 23 { ours(id) } else { (rule_arn(id), "", "") }).collect();
        wiremock::ResponseTemplate::new(200).set_body_string(tags(&tagged))
    };
    aws.answer_with("DescribeTags", &[("ResourceArns.member.1", &rule_arn(1))], of(1..=20)).await;
    aws.answer_with("DescribeTags", &[("ResourceArns.member.1", &rule_arn(21))], of(21..=25)).await;

    let router = aws.router();
    let expected = Observed {
        ours: Some(observed(23, 28, Some(("shop/web", "inst-1")))),
        in_the_way: Some(observed(5, 10, None)),
    };
    assert_eq!(router.observe(&intent(), &call(Lane::Verify)).await.unwrap(), expected);
    let calls = aws.calls().await;
    let asked = |name: &str| calls.iter().map(|call| call.get(name).cloned()).collect::<Vec<_>>();
    assert_eq!(
        aws.actions().await,
        ["DescribeRules", "DescribeRules", "DescribeTags", "DescribeTags"],
        "tags of a rule in the way were just read"
    );
    assert_eq!(asked("ListenerArn")[..2], [Some(LISTENER.to_owned()), Some(LISTENER.to_owned())]);
    assert_eq!(asked("PageSize")[..2], [Some("400".to_owned()), Some("400".to_owned())]);
    assert_eq!(asked("Marker")[..2], [None, Some("m1".to_owned())]);
    assert!(calls[2].contains_key("ResourceArns.member.20") && !calls[2].contains_key("ResourceArns.member.21"));
    assert!(
        !calls.iter().any(|call| call.values().any(|value| *value == rule_arn(99))),
        "the default rule is left out"
    );
}

fn ok_rules(of: &[Rule], marker: Option<&str>) -> wiremock::ResponseTemplate {
    wiremock::ResponseTemplate::new(200).set_body_string(rules(of, marker))
}

#[tokio::test]
async fn a_known_rule_that_is_gone_is_looked_for_on_the_listener() {
    for gone in [error(400, "RuleNotFound", "One or more rules not found"), ok_rules(&[], None)] {
        let aws = Aws::start().await;
        aws.answer_with("DescribeRules", &[("RuleArns.member.1", &rule_arn(1))], gone).await;
        aws.answer_with("DescribeRules", &[("ListenerArn", LISTENER)], ok_rules(&[Rule::new(2, 10)], None)).await;
        aws.answer("DescribeTags", tags(&[ours(2)])).await;
        let seen = aws.router().observe(&known(1), &call(Lane::Verify)).await.unwrap();
        let expected = observed(2, 10, Some(("shop/web", "inst-1")));
        assert_eq!(seen, Observed { ours: Some(expected), in_the_way: None });
    }
}

#[tokio::test]
async fn a_known_rule_of_another_listener_is_not_asked_for() {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(&[], None)).await;
    let mut intent = intent();
    intent.known_rule = Some(rule_arn(1).replace("/2222/", "/9999/"));
    let seen = aws.router().observe(&intent, &call(Lane::Verify)).await.unwrap();
    assert_eq!(seen, Observed::default());
    assert_eq!(aws.calls().await.len(), 1);
    assert_eq!(aws.calls().await[0].get("ListenerArn").map(String::as_str), Some(LISTENER));
}

#[tokio::test]
async fn a_moved_rule_is_still_ours_and_its_place_is_looked_at() {
    let aws = Aws::start().await;
    aws.answer_with("DescribeRules", &[("RuleArns.member.1", &rule_arn(1))], ok_rules(&[Rule::new(1, 77)], None)).await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 77), Rule::new(2, 10)], None)).await;
    aws.answer_with(
        "DescribeTags",
        &[("ResourceArns.member.1", &rule_arn(1))],
        wiremock::ResponseTemplate::new(200).set_body_string(tags(&[ours(1)])),
    )
    .await;
    aws.answer("DescribeTags", tags(&[(rule_arn(2), "shop/api", "inst-1")])).await;
    let seen = aws.router().observe(&known(1), &call(Lane::Verify)).await.unwrap();
    let expected = Observed {
        ours: Some(observed(1, 77, Some(("shop/web", "inst-1")))),
        in_the_way: Some(observed(2, 10, Some(("shop/api", "inst-1")))),
    };
    assert_eq!(seen, expected);
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeRules", "DescribeTags", "DescribeTags"]);
}

#[tokio::test]
async fn a_known_rule_that_lost_our_tags_is_shown_with_the_tags_it_has() {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], None)).await;
    aws.answer("DescribeTags", tags(&[(rule_arn(1), "shop/web", "inst-2")])).await;
    let seen = aws.router().observe(&known(1), &call(Lane::Verify)).await.unwrap();
    let expected = observed(1, 10, Some(("shop/web", "inst-2")));
    assert_eq!(seen, Observed { ours: Some(expected), in_the_way: None });
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeTags", "DescribeRules"]);
}

#[tokio::test]
async fn a_rule_that_vanishes_between_two_reads_is_not_there() {
    let aws = Aws::start().await;
    aws.answer_once("DescribeRules", ok_rules(&[Rule::new(1, 10)], None)).await;
    aws.answer("DescribeRules", rules(&[], None)).await;
    aws.answer_with("DescribeTags", &[], error(400, "RuleNotFound", "gone")).await;
    let seen = aws.router().observe(&known(1), &call(Lane::Verify)).await.unwrap();
    assert_eq!(seen, Observed::default());
}

#[tokio::test]
async fn a_listing_without_an_end_is_given_up() {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], Some("again"))).await;
    let error = aws.router().observe(&intent(), &call(Lane::Verify)).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (RouterErrorKind::Unreachable, "TooManyPages"));
    assert_eq!(aws.calls().await.len(), 25);
}

#[tokio::test]
async fn a_page_that_fails_is_never_an_empty_listener() {
    let aws = Aws::start().await;
    aws.answer_once("DescribeRules", ok_rules(&[Rule::new(1, 10)], Some("m1"))).await;
    aws.answer_with("DescribeRules", &[], error(400, "Throttling", "Rate exceeded")).await;
    let error = aws.router().observe(&intent(), &call(Lane::Verify)).await.unwrap_err();
    assert_eq!(error.kind, RouterErrorKind::Throttled);
}

#[tokio::test]
async fn stickiness_and_conditions_are_read() {
    let aws = Aws::start().await;
    let sticky = "<Enabled>true</Enabled><DurationSeconds>300</DurationSeconds>";
    aws.answer("DescribeRules", rules(&[Rule { sticky, ..Rule::new(1, 10) }], None)).await;
    aws.answer("DescribeTags", tags(&[ours(1)])).await;
    let seen = aws.router().observe(&known(1), &call(Lane::Verify)).await.unwrap().ours.unwrap();
    assert_eq!(seen.stickiness, Sticky { enabled: true, seconds: 300 });
    assert_eq!(seen.conditions.hosts, ["web.example.com"]);
}

fn targets(states: &[(&str, &str)]) -> String {
    let mut members = String::new();
    for (state, reason) in states {
        let reason = if reason.is_empty() { String::new() } else { format!("<Reason>{reason}</Reason>") };
        write!(
            members,
            "<member><Target><Id>10.0.0.1</Id><Port>80</Port></Target><TargetHealth><State>{state}</State>{reason}\
             </TargetHealth></member>"
        )
        .unwrap();
    }
    answer("DescribeTargetHealth", &format!("<TargetHealthDescriptions>{members}</TargetHealthDescriptions>"))
}

#[tokio::test]
async fn health_counts_what_is_registered() {
    for (states, healthy, total) in [
        (vec![], 0, 0),
        (vec![("healthy", ""), ("healthy", ""), ("unhealthy", "Target.Timeout")], 2, 3),
        (vec![("initial", "Elb.RegistrationInProgress"), ("healthy", "")], 1, 2),
        (vec![("draining", "Target.DeregistrationInProgress"), ("healthy", "")], 1, 1),
        (vec![("unused", "Target.NotInUse"), ("unused", "Target.NotInUse")], 0, 2),
        (vec![("unused", "Target.NotRegistered")], 0, 0),
        (vec![("unavailable", "Target.HealthCheckDisabled"), ("unhealthy.draining", "")], 0, 2),
        (vec![("something-new", "")], 0, 1),
    ] {
        let aws = Aws::start().await;
        aws.answer("DescribeTargetHealth", targets(&states)).await;
        let health = aws.router().health(&intent(), &group_arn("blue"), &call(Lane::Verify)).await.unwrap();
        assert_eq!(health, GroupHealth { healthy, total, gone: false }, "{states:?}");
        let asked = form(&[("Action", "DescribeTargetHealth"), ("TargetGroupArn", &group_arn("blue"))]);
        assert_eq!(aws.calls().await, [asked]);
    }
}

#[tokio::test]
async fn only_aws_saying_so_makes_a_group_gone() {
    for (answer, gone) in [
        (error(400, "TargetGroupNotFound", "not found"), Ok(true)),
        (error(400, "Throttling", "Rate exceeded"), Err(RouterErrorKind::Throttled)),
        (error(500, "InternalFailure", "oops"), Err(RouterErrorKind::Unreachable)),
        (error(400, "ValidationError", "not a valid target group ARN"), Err(RouterErrorKind::Refused)),
    ] {
        let aws = Aws::start().await;
        aws.answer_with("DescribeTargetHealth", &[], answer).await;
        let health = aws.router().health(&intent(), &group_arn("blue"), &call(Lane::Verify)).await;
        assert_eq!(health.map(|health| health.gone).map_err(|error| error.kind), gone);
    }
}

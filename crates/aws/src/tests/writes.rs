use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use okra_core::route::{Adopt, Change, Conditions, Intent, Lane, Place, Sticky};
use okra_provider::{CallContext, RouterErrorKind, TrafficRouter};
use pretty_assertions::assert_eq;

use super::aws::*;
use crate::{AlbRouterConfig, RateLimits};

const OIDC: &str = "<member><Type>authenticate-oidc</Type><Order>1</Order><AuthenticateOidcConfig>\
    <Issuer>https://id.example.com</Issuer><AuthorizationEndpoint>https://id.example.com/auth</AuthorizationEndpoint>\
    <TokenEndpoint>https://id.example.com/token</TokenEndpoint><UserInfoEndpoint>https://id.example.com/me\
    </UserInfoEndpoint><ClientId>web</ClientId><SessionCookieName>AWSELBAuth</SessionCookieName><Scope>openid</Scope>\
    <SessionTimeout>604800</SessionTimeout><AuthenticationRequestExtraParams><entry><key>prompt</key>\
    <value>login</value></entry></AuthenticationRequestExtraParams><OnUnauthenticatedRequest>authenticate\
    </OnUnauthenticatedRequest></AuthenticateOidcConfig></member>";
const STICKY: &str = "<Enabled>true</Enabled><DurationSeconds>300</DurationSeconds>";

fn modify(weights: &[(&str, i32)]) -> Change {
    Change::Modify {
        rule: rule_arn(1),
        weights: Some(super::aws::weights(weights)),
        conditions: None,
        stickiness: None,
    }
}

async fn with_rule(rule: Rule) -> Aws {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(std::slice::from_ref(&rule), None)).await;
    aws.answer("DescribeTags", tags(&[(rule.arn.clone(), "shop/web", "inst-1")])).await;
    aws.answer("ModifyRule", answer("ModifyRule", &format!("<Rules>{}</Rules>", rule.xml()))).await;
    aws
}

#[tokio::test]
async fn modify_keeps_authentication_and_stickiness() {
    let aws = with_rule(Rule { auth: OIDC, sticky: STICKY, ..Rule::new(1, 10) }).await;
    let router = aws.router();
    router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
    router.apply(&known(1), &modify(&[("blue", 80), ("green", 20)]), &call(Lane::Promote)).await.unwrap();
    let calls = aws.calls().await;
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeTags", "ModifyRule"]);
    let oidc = "Actions.member.1.AuthenticateOidcConfig";
    let groups = "Actions.member.2.ForwardConfig.TargetGroups";
    let sticky = "Actions.member.2.ForwardConfig.TargetGroupStickinessConfig";
    let mut expected = form(&[
        ("Action", "ModifyRule"),
        ("RuleArn", &rule_arn(1)),
        ("Actions.member.1.Type", "authenticate-oidc"),
        ("Actions.member.1.Order", "1"),
        ("Actions.member.2.Type", "forward"),
        ("Actions.member.2.Order", "2"),
    ]);
    for (name, value) in [
        ("Issuer", "https://id.example.com"),
        ("AuthorizationEndpoint", "https://id.example.com/auth"),
        ("TokenEndpoint", "https://id.example.com/token"),
        ("UserInfoEndpoint", "https://id.example.com/me"),
        ("ClientId", "web"),
        ("SessionCookieName", "AWSELBAuth"),
        ("Scope", "openid"),
        ("SessionTimeout", "604800"),
        ("AuthenticationRequestExtraParams.entry.1.key", "prompt"),
        ("AuthenticationRequestExtraParams.entry.1.value", "login"),
        ("OnUnauthenticatedRequest", "authenticate"),
        ("UseExistingClientSecret", "true"),
    ] {
        expected.insert(format!("{oidc}.{name}"), value.to_owned());
    }
    for (index, name, weight) in [(1, "blue", "80"), (2, "green", "20")] {
        expected.insert(format!("{groups}.member.{index}.TargetGroupArn"), group_arn(name));
        expected.insert(format!("{groups}.member.{index}.Weight"), weight.to_owned());
    }
    expected.insert(format!("{sticky}.Enabled"), "true".to_owned());
    expected.insert(format!("{sticky}.DurationSeconds"), "300".to_owned());
    assert_eq!(calls[2], expected);
}

#[tokio::test]
async fn modify_sets_stickiness_and_conditions_when_asked_and_leaves_the_weights() {
    let aws = with_rule(Rule { sticky: STICKY, ..Rule::new(1, 10) }).await;
    let change = Change::Modify {
        rule: rule_arn(1),
        weights: None,
        conditions: Some(Conditions { path_patterns: vec!["/api/*".to_owned()], ..Conditions::default() }),
        stickiness: Some(Sticky::default()),
    };
    let router = aws.router();
    router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
    router.apply(&known(1), &change, &call(Lane::Promote)).await.unwrap();
    let groups = "Actions.member.1.ForwardConfig.TargetGroups";
    let expected = form(&[
        ("Action", "ModifyRule"),
        ("RuleArn", &rule_arn(1)),
        ("Conditions.member.1.Field", "path-pattern"),
        ("Conditions.member.1.PathPatternConfig.Values.member.1", "/api/*"),
        ("Actions.member.1.Type", "forward"),
        ("Actions.member.1.Order", "1"),
        (&format!("{groups}.member.1.TargetGroupArn"), &group_arn("blue")),
        (&format!("{groups}.member.1.Weight"), "100"),
        (&format!("{groups}.member.2.TargetGroupArn"), &group_arn("green")),
        (&format!("{groups}.member.2.Weight"), "0"),
        ("Actions.member.1.ForwardConfig.TargetGroupStickinessConfig.Enabled", "false"),
    ]);
    assert_eq!(aws.calls().await[2], expected);
}

#[tokio::test]
async fn changed_conditions_alone_send_no_actions() {
    let aws = with_rule(Rule { auth: OIDC, ..Rule::new(1, 10) }).await;
    let conditions = Some(intent().place.conditions());
    let change = Change::Modify { rule: rule_arn(1), weights: None, conditions, stickiness: None };
    aws.router().apply(&known(1), &change, &call(Lane::Promote)).await.unwrap();
    let expected = form(&[
        ("Action", "ModifyRule"),
        ("RuleArn", &rule_arn(1)),
        ("Conditions.member.1.Field", "host-header"),
        ("Conditions.member.1.HostHeaderConfig.Values.member.1", "web.example.com"),
    ]);
    assert_eq!(aws.actions().await, ["DescribeTags", "ModifyRule"]);
    assert_eq!(aws.calls().await[1], expected);
}

#[tokio::test]
async fn what_was_not_read_before_is_read_before_it_is_sent_back() {
    let aws = with_rule(Rule { auth: OIDC, ..Rule::new(1, 10) }).await;
    let router = aws.router();
    router.apply(&known(1), &modify(&[("blue", 100)]), &call(Lane::Rollback)).await.unwrap();
    assert_eq!(aws.actions().await, ["DescribeTags", "DescribeRules", "ModifyRule"]);
    // The answer to the change is a reading.
    router.apply(&known(1), &modify(&[("blue", 100)]), &call(Lane::Rollback)).await.unwrap();
    assert_eq!(aws.actions().await[3..], ["ModifyRule"]);
}

#[tokio::test]
async fn after_a_failed_change_the_rule_is_read_again() {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], None)).await;
    aws.answer("DescribeTags", tags(&[(rule_arn(1), "shop/web", "inst-1")])).await;
    aws.answer_with("ModifyRule", &[], error(500, "InternalFailure", "oops")).await;
    let router = aws.router();
    for _ in 0..2 {
        let error = router.apply(&known(1), &modify(&[("blue", 100)]), &call(Lane::Promote)).await.unwrap_err();
        assert_eq!(error.kind, RouterErrorKind::Unreachable);
    }
    assert_eq!(aws.actions().await, ["DescribeTags", "DescribeRules", "ModifyRule", "DescribeRules", "ModifyRule"]);
}

#[tokio::test]
async fn create_makes_a_tagged_rule() {
    let aws = Aws::start().await;
    aws.answer("CreateRule", answer("CreateRule", &format!("<Rules>{}</Rules>", Rule::new(1, 10).xml()))).await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], None)).await;
    let mut intent = intent();
    if let Place::Alb { conditions, .. } = &mut intent.place {
        conditions.headers = BTreeMap::from([("x-canary".to_owned(), vec!["1".to_owned()])]);
        conditions.query_strings = vec![(String::new(), "any".to_owned()), ("k".to_owned(), "v".to_owned())];
    }
    let sticky = Some(Sticky { enabled: true, seconds: 60 });
    let change = Change::Create { weights: weights(&[("blue", 100)]), stickiness: sticky };
    let router = aws.router();
    router.apply(&intent, &change, &call(Lane::Promote)).await.unwrap();
    let forward = "Actions.member.1.ForwardConfig";
    let expected = form(&[
        ("Action", "CreateRule"),
        ("ListenerArn", LISTENER),
        ("Priority", "10"),
        ("Conditions.member.1.Field", "host-header"),
        ("Conditions.member.1.HostHeaderConfig.Values.member.1", "web.example.com"),
        ("Conditions.member.2.Field", "http-header"),
        ("Conditions.member.2.HttpHeaderConfig.HttpHeaderName", "x-canary"),
        ("Conditions.member.2.HttpHeaderConfig.Values.member.1", "1"),
        ("Conditions.member.3.Field", "query-string"),
        ("Conditions.member.3.QueryStringConfig.Values.member.1.Value", "any"),
        ("Conditions.member.3.QueryStringConfig.Values.member.2.Key", "k"),
        ("Conditions.member.3.QueryStringConfig.Values.member.2.Value", "v"),
        ("Actions.member.1.Type", "forward"),
        (&format!("{forward}.TargetGroups.member.1.TargetGroupArn"), &group_arn("blue")),
        (&format!("{forward}.TargetGroups.member.1.Weight"), "100"),
        (&format!("{forward}.TargetGroupStickinessConfig.Enabled"), "true"),
        (&format!("{forward}.TargetGroupStickinessConfig.DurationSeconds"), "60"),
        ("Tags.member.1.Key", "okra.mumo.co/cell"),
        ("Tags.member.1.Value", "shop/web"),
        ("Tags.member.2.Key", "okra.mumo.co/owner"),
        ("Tags.member.2.Value", "inst-1"),
    ]);
    assert_eq!(aws.calls().await, [expected]);
    // Its tags are known, since we set them: finding it is one call.
    assert!(router.observe(&intent, &call(Lane::Verify)).await.unwrap().ours.is_some());
    assert_eq!(aws.actions().await, ["CreateRule", "DescribeRules"]);
}

#[tokio::test]
async fn move_sets_the_priority() {
    let aws = with_rule(Rule::new(1, 77)).await;
    aws.answer("SetRulePriorities", answer("SetRulePriorities", "<Rules></Rules>")).await;
    aws.router().apply(&known(1), &Change::Move { rule: rule_arn(1) }, &call(Lane::Promote)).await.unwrap();
    let expected = form(&[
        ("Action", "SetRulePriorities"),
        ("RulePriorities.member.1.RuleArn", &rule_arn(1)),
        ("RulePriorities.member.1.Priority", "10"),
    ]);
    assert_eq!(aws.calls().await[1..], [expected]);
}

#[tokio::test]
async fn adopt_tags_what_may_be_adopted_and_nothing_else() {
    for (adopt, cell, owner, allowed) in [
        (Adopt::No, "", "", false),
        (Adopt::Untagged, "", "", true),
        (Adopt::Untagged, "shop/old", "inst-2", false),
        (Adopt::Installation("inst-2".to_owned()), "shop/old", "inst-2", true),
        (Adopt::Installation("inst-3".to_owned()), "shop/old", "inst-2", false),
    ] {
        let aws = Aws::start().await;
        aws.answer("DescribeTags", tags(&[(rule_arn(1), cell, owner)])).await;
        aws.answer("AddTags", answer("AddTags", "")).await;
        let intent = Intent { adopt, ..intent() };
        let result = aws.router().apply(&intent, &Change::Adopt { rule: rule_arn(1) }, &call(Lane::Promote)).await;
        if allowed {
            result.unwrap();
            let expected = form(&[
                ("Action", "AddTags"),
                ("ResourceArns.member.1", &rule_arn(1)),
                ("Tags.member.1.Key", "okra.mumo.co/cell"),
                ("Tags.member.1.Value", "shop/web"),
                ("Tags.member.2.Key", "okra.mumo.co/owner"),
                ("Tags.member.2.Value", "inst-1"),
            ]);
            assert_eq!(aws.calls().await[1..], [expected]);
        } else {
            assert_eq!(result.unwrap_err().kind, RouterErrorKind::Refused);
            assert_eq!(aws.actions().await, ["DescribeTags"]);
        }
    }
}

#[tokio::test]
async fn remove_deletes_the_rule_and_is_content_when_it_is_gone() {
    let deleted = ok("DeleteRule", "");
    for (tags_answer, delete_answer, expected) in [
        (tags(&[(rule_arn(1), "shop/web", "inst-1")]), deleted, vec!["DescribeTags", "DeleteRule"]),
        (
            tags(&[(rule_arn(1), "shop/web", "inst-1")]),
            error(400, "RuleNotFound", "gone"),
            vec!["DescribeTags", "DeleteRule"],
        ),
        (String::new(), error(400, "RuleNotFound", "gone"), vec!["DescribeTags"]),
    ] {
        let aws = Aws::start().await;
        if tags_answer.is_empty() {
            aws.answer_with("DescribeTags", &[], error(400, "RuleNotFound", "gone")).await;
        } else {
            aws.answer("DescribeTags", tags_answer).await;
        }
        aws.answer_with("DeleteRule", &[("RuleArn", &rule_arn(1))], delete_answer).await;
        aws.router().apply(&known(1), &Change::Remove { rule: rule_arn(1) }, &call(Lane::Promote)).await.unwrap();
        assert_eq!(aws.actions().await, expected);
    }
}

#[tokio::test]
async fn a_rule_without_our_tags_is_never_touched() {
    let changes = [modify(&[("blue", 100)]), Change::Move { rule: rule_arn(1) }, Change::Remove { rule: rule_arn(1) }];
    for (cell, owner) in [("", ""), ("shop/web", "inst-2"), ("shop/api", "inst-1")] {
        for change in &changes {
            let aws = Aws::start().await;
            aws.answer("DescribeTags", tags(&[(rule_arn(1), cell, owner)])).await;
            let error = aws.router().apply(&known(1), change, &call(Lane::Promote)).await.unwrap_err();
            assert_eq!(error.kind, RouterErrorKind::Refused, "{change:?}");
            assert_eq!(aws.actions().await, ["DescribeTags"]);
        }
    }
}

#[tokio::test]
async fn who_is_not_the_leader_writes_nothing_and_may_read() {
    let aws = with_rule(Rule::new(1, 10)).await;
    let leader = Arc::new(Leader { deposed: true, ..Leader::default() });
    let deposed = CallContext { leadership: leader.clone(), ..call(Lane::Rollback) };
    let router = aws.router();
    router.observe(&known(1), &deposed).await.unwrap();
    assert_eq!(leader.asked.load(Ordering::Relaxed), 0);
    let error = router.apply(&known(1), &modify(&[("blue", 100)]), &deposed).await.unwrap_err();
    assert_eq!(error.kind, RouterErrorKind::NotLeader);
    assert_eq!(leader.asked.load(Ordering::Relaxed), 1);
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeTags"]);
}

#[tokio::test]
async fn the_leader_is_asked_after_the_wait_for_the_rate_limit() {
    let aws = with_rule(Rule::new(1, 10)).await;
    let router = Aws::router_with(AlbRouterConfig { rate_limits: RateLimits::Aws, ..aws.config() });
    let leader = Arc::new(Leader::default());
    let promote = CallContext { leadership: leader.clone(), ..call(Lane::Promote) };
    router.observe(&known(1), &promote).await.unwrap();
    let limiter = router.limiters.of("123456789012", "eu-west-1");
    for _ in 0..20 {
        limiter.acquire(Lane::Rollback, crate::CallKind::Mutate, Duration::ZERO).await.unwrap();
    }
    // The bucket is empty: this change waits for seconds, and has no leave yet.
    let change = modify(&[("blue", 100)]);
    let intent = known(1);
    let waiting = router.apply(&intent, &change, &promote);
    assert!(tokio::time::timeout(Duration::from_millis(100), waiting).await.is_err());
    assert_eq!(leader.asked.load(Ordering::Relaxed), 0);
    // A rollback gets the next token, a third of a second away.
    let rollback = CallContext { leadership: leader.clone(), ..call(Lane::Rollback) };
    router.apply(&known(1), &modify(&[("blue", 100)]), &rollback).await.unwrap();
    assert!(leader.asked.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn who_may_not_call_any_more_does_not_wait_for_the_rate_limit() {
    let aws = with_rule(Rule::new(1, 10)).await;
    let router = Aws::router_with(AlbRouterConfig { rate_limits: RateLimits::Aws, ..aws.config() });
    router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
    let limiter = router.limiters.of("123456789012", "eu-west-1");
    for _ in 0..20 {
        limiter.acquire(Lane::Rollback, crate::CallKind::Mutate, Duration::ZERO).await.unwrap();
    }
    // Promotions wait until fourteen tokens are left for roll-backs: about five seconds.
    let refused =
        CallContext { leadership: Arc::new(Leader { deposed: true, ..Leader::default() }), ..call(Lane::Promote) };
    let (intent, change) = (known(1), modify(&[("blue", 100)]));
    let waiting = tokio::time::timeout(Duration::from_secs(3), router.apply(&intent, &change, &refused));
    assert_eq!(waiting.await.expect("it is refused at once").unwrap_err().kind, RouterErrorKind::NotLeader);
}

#[tokio::test]
async fn a_write_is_sent_once_whatever_comes_back() {
    let slow = ok("ModifyRule", "").set_delay(Duration::from_secs(30));
    for (answer, timeout, code) in [
        (error(500, "InternalFailure", "oops"), TIMEOUT, "InternalFailure"),
        (error(503, "ServiceUnavailable", "busy"), TIMEOUT, "ServiceUnavailable"),
        (slow, Duration::from_millis(300), "Timeout"),
    ] {
        let aws = Aws::start().await;
        aws.answer("DescribeTags", tags(&[(rule_arn(1), "shop/web", "inst-1")])).await;
        aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], None)).await;
        aws.answer_with("ModifyRule", &[], answer).await;
        let router = aws.router();
        router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
        let begun = Instant::now();
        let context = CallContext { timeout, ..call(Lane::Promote) };
        let error = router.apply(&known(1), &modify(&[("blue", 100)]), &context).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (RouterErrorKind::Unreachable, code));
        assert!(begun.elapsed() < Duration::from_secs(20), "the timeout of the call holds");
        assert_eq!(aws.actions().await[2..], ["ModifyRule"]);
        assert_eq!(router.metrics.calls().get(&("ModifyRule", code.to_owned())), Some(&1));
    }
}

#[tokio::test]
async fn throttling_is_counted_and_slows_down() {
    let aws = Aws::start().await;
    aws.answer("DescribeTags", tags(&[(rule_arn(1), "shop/web", "inst-1")])).await;
    aws.answer_with("DeleteRule", &[], error(400, "Throttling", "Rate exceeded")).await;
    let router = Aws::router_with(AlbRouterConfig { rate_limits: RateLimits::Aws, ..aws.config() });
    let change = Change::Remove { rule: rule_arn(1) };
    let error = router.apply(&known(1), &change, &call(Lane::Rollback)).await.unwrap_err();
    assert_eq!(error.kind, RouterErrorKind::Throttled);
    assert_eq!(router.metrics.throttled(), 1);
    let limiter = router.limiters.of("123456789012", "eu-west-1");
    let at_once = limiter.acquire(Lane::Promote, crate::CallKind::Mutate, Duration::from_millis(50)).await;
    assert!(at_once.is_err(), "the bucket is taken for empty");
}

#[tokio::test]
async fn what_would_be_illegal_is_not_sent() {
    let other = Conditions { other: vec!["host-header regex ^a$".to_owned()], ..Conditions::default() };
    for change in [
        modify(&[("blue", 0), ("green", 0)]),
        modify(&[("blue", 1000)]),
        modify(&[]),
        Change::Modify { rule: rule_arn(1), weights: None, conditions: Some(other), stickiness: None },
        Change::Modify { rule: rule_arn(1), weights: None, conditions: Some(Conditions::default()), stickiness: None },
        Change::Create { weights: BTreeMap::new(), stickiness: None },
    ] {
        let aws = with_rule(Rule::new(1, 10)).await;
        let error = aws.router().apply(&known(1), &change, &call(Lane::Promote)).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (RouterErrorKind::Refused, "RefusedByOkra"));
        assert!(aws.actions().await.iter().all(|action| action.starts_with("Describe")));
    }
}

/// Lets time pass for whatever looks at the clock, not for the sockets.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_rule_that_lost_its_tags_within_a_minute_is_not_written() {
    let aws = Aws::start().await;
    aws.answer("DescribeRules", rules(&[Rule::new(1, 10)], None)).await;
    aws.answer("ModifyRule", answer("ModifyRule", "<Rules></Rules>")).await;
    let first = wiremock::ResponseTemplate::new(200).set_body_string(tags(&[(rule_arn(1), "shop/web", "inst-1")]));
    aws.answer_once("DescribeTags", first).await;
    let router = aws.router();
    router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
    pass(Duration::from_secs(50)).await;
    let shift = modify(&[("blue", 80), ("green", 20)]);
    router.apply(&known(1), &shift, &call(Lane::Promote)).await.unwrap();
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeTags", "ModifyRule"]);

    aws.answer("DescribeTags", tags(&[(rule_arn(1), "shop/other", "inst-2")])).await;
    router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
    pass(Duration::from_secs(20)).await;
    let error = router.apply(&known(1), &shift, &call(Lane::Promote)).await.unwrap_err();
    assert_eq!(error.kind, RouterErrorKind::Refused);
    assert!(error.message.contains("does not carry the tags of shop/web"), "{}", error.message);
    let writes = aws.actions().await.into_iter().filter(|action| action == "ModifyRule").count();
    assert_eq!(writes, 1, "nothing was written to it");
}

#[tokio::test]
async fn a_roll_back_does_not_read_tags_again() {
    let aws = with_rule(Rule::new(1, 10)).await;
    let router = aws.router();
    router.observe(&known(1), &call(Lane::Promote)).await.unwrap();
    pass(Duration::from_mins(10)).await;
    router.observe(&known(1), &call(Lane::Rollback)).await.unwrap();
    router.apply(&known(1), &modify(&[("blue", 100), ("green", 0)]), &call(Lane::Rollback)).await.unwrap();
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeTags", "DescribeRules", "ModifyRule"]);
}

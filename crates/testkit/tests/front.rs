//! The strict front before a real moto, driven by the official SDK.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

mod front_rig;

use std::time::{Duration, Instant};

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateOidcActionConfig, ForwardActionConfig, HttpHeaderConditionConfig,
    PathPatternConditionConfig, QueryStringConditionConfig, QueryStringKeyValuePair, RuleCondition, RulePriorityPair,
    Tag, TargetDescription, TargetGroupStickinessConfig, TargetGroupTuple, TargetHealthReasonEnum,
    TargetHealthStateEnum,
};
use okra_judge::record::{Event, LbCall};
use okra_judge::{CellRules, Rules, judge};
use okra_testkit::front::{FOREIGN, Health};
use pretty_assertions::assert_eq;

use front_rig::{WITHIN, address, code, forward, host, rig};

#[tokio::test]
async fn refuses_what_aws_refuses() {
    let rig = rig().await;
    let mut groups = Vec::new();
    for n in 0..7_u16 {
        groups.push(rig.world.target_group(&format!("g{n}"), &[address(9000 + n)]).await.unwrap());
    }
    let (a, b) = (groups[0].as_str(), groups[1].as_str());
    let unknown = a.replace("/g0/", "/nobody/");
    let web = || vec![host(&["web.example.com"])];
    let rule = rig.create(10, web(), vec![forward(&[(a, 100)])]).await.unwrap();

    assert_eq!(rig.modify(&rule, &[(a, 1000)]).await, "ValidationError");
    assert_eq!(rig.modify(&rule, &[(a, -1)]).await, "ValidationError");
    assert_eq!(rig.modify(&rule, &[(a, 0), (b, 0)]).await, "InvalidLoadBalancerAction");
    let six: Vec<(&str, i32)> = groups.iter().take(6).map(|arn| (arn.as_str(), 1)).collect();
    assert_eq!(rig.modify(&rule, &six).await, "TooManyTargetGroups");
    assert_eq!(rig.modify(&rule, &six[..5]).await, "accepted");
    assert_eq!(rig.modify(&rule, &[(a, 1), (&unknown, 1)]).await, "TargetGroupNotFound");
    assert_eq!(rig.modify(&rule, &[(a, 1), (a, 2)]).await, "InvalidLoadBalancerAction");
    assert_eq!(rig.modify(&rule, &[]).await, "InvalidLoadBalancerAction");
    assert_eq!(rig.modify(&format!("{rule}0"), &[(a, 1)]).await, "RuleNotFound");
    assert_eq!(rig.modify("nonsense", &[(a, 1)]).await, "ValidationError");
    assert_eq!(
        code(rig.client.modify_rule().rule_arn(&rule).set_conditions(Some(vec![])).send().await),
        "ValidationError"
    );
    assert_eq!(code(rig.client.modify_rule().rule_arn(&rule).send().await), "ValidationError");

    let one = || vec![forward(&[(a, 1)])];
    let refused = |result: Result<String, String>| result.unwrap_err();
    assert_eq!(refused(rig.create(11, vec![], one()).await), "ValidationError");
    assert_eq!(refused(rig.create(11, vec![host(&[])], one()).await), "ValidationError");
    let many = ["a.io", "b.io", "c.io", "d.io", "e.io", "f.io"];
    assert_eq!(refused(rig.create(11, vec![host(&many)], one()).await), "ValidationError");
    assert_eq!(refused(rig.create(0, web(), one()).await), "ValidationError");
    assert_eq!(refused(rig.create(50_001, web(), one()).await), "ValidationError");
    assert_eq!(refused(rig.create(10, web(), one()).await), "PriorityInUse");
    assert_eq!(refused(rig.create(11, web(), vec![]).await), "ValidationError");
    let nowhere = format!("{}0", rig.world.listener);
    assert_eq!(refused(rig.create_on(&nowhere, 11, web(), one()).await), "ListenerNotFound");
    assert_eq!(code(rig.client.describe_rules().listener_arn(&nowhere).send().await), "ListenerNotFound");
    assert_eq!(code(rig.client.describe_rules().send().await), "ValidationError");
    assert_eq!(code(rig.client.delete_rule().rule_arn(format!("{rule}0")).send().await), "RuleNotFound");
    assert_eq!(
        code(rig.client.describe_target_health().target_group_arn(&unknown).send().await),
        "TargetGroupNotFound"
    );

    let other = rig.world.load_balancer("other").await.unwrap();
    let other = rig.world.listener(&other, 80).await.unwrap();
    assert_eq!(refused(rig.create_on(&other, 1, web(), one()).await), "TargetGroupAssociationLimit");
    assert!(rig.create_on(&other, 1, web(), vec![forward(&[(&groups[6], 1)])]).await.is_ok());

    let arns = |count| Some(vec![rule.clone(); count]);
    assert_eq!(code(rig.client.describe_tags().set_resource_arns(arns(21)).send().await), "ValidationError");
    assert_eq!(code(rig.client.describe_tags().set_resource_arns(arns(20)).send().await), "accepted");
    assert_eq!(code(rig.client.delete_target_group().target_group_arn(a).send().await), "ResourceInUse");

    let default = rig.front.rule_at(&rig.world.listener, "default").unwrap().arn;
    assert_eq!(rig.modify(&default, &[(a, 1)]).await, "OperationNotPermitted");
    assert_eq!(code(rig.client.delete_rule().rule_arn(default).send().await), "OperationNotPermitted");

    let second = rig.create(20, vec![host(&["b.example.com"])], one()).await.unwrap();
    let pair = |arn: &str, p| RulePriorityPair::builder().rule_arn(arn).priority(p).build();
    let set = |pairs| rig.client.set_rule_priorities().set_rule_priorities(Some(pairs)).send();
    assert_eq!(code(set(vec![pair(&second, 10)]).await), "PriorityInUse");
    assert_eq!(code(set(vec![pair(&second, 50_001)]).await), "ValidationError");
    assert_eq!(code(set(vec![pair(&second, 10), pair(&rule, 20)]).await), "accepted");
    assert_eq!(rig.front.rule_at(&rig.world.listener, "10").unwrap().arn, second);
}

#[tokio::test]
async fn tells_rules_in_the_real_shape() {
    let rig = rig().await;
    let a = rig.world.target_group("a", &[address(9001)]).await.unwrap();
    let b = rig.world.target_group("b", &[address(9002)]).await.unwrap();
    let header = HttpHeaderConditionConfig::builder().http_header_name("X-Beta").values("yes").build();
    let pair = QueryStringKeyValuePair::builder().key("v").value("2").build();
    let conditions = vec![
        RuleCondition::builder().field("path-pattern").values("/a<b>&*").build(),
        RuleCondition::builder().field("http-header").http_header_config(header).build(),
        RuleCondition::builder()
            .field("query-string")
            .query_string_config(QueryStringConditionConfig::builder().values(pair).build())
            .build(),
    ];
    // A pattern with `<` is refused like AWS refuses it; the echo of entities is shown by a tag below.
    assert_eq!(rig.create(30, conditions.clone(), vec![forward(&[(&a, 1)])]).await.unwrap_err(), "ValidationError");
    let path = PathPatternConditionConfig::builder().values("/a&*").build();
    let mut conditions = conditions;
    conditions[0] = RuleCondition::builder().field("path-pattern").path_pattern_config(path).build();
    let last = rig.create(30, conditions, vec![forward(&[(&a, 1)])]).await.unwrap();

    let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(60).build();
    let tuple = |arn: &str, weight| TargetGroupTuple::builder().target_group_arn(arn).weight(weight).build();
    let config = ForwardActionConfig::builder()
        .target_groups(tuple(&a, 999))
        .target_groups(tuple(&b, 0))
        .target_group_stickiness_config(sticky)
        .build();
    let action = Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build();
    let first = rig.create(2, vec![host(&["web.example.com"])], vec![action]).await.unwrap();

    let answer = rig.client.describe_rules().listener_arn(&rig.world.listener).send().await.unwrap();
    let arns: Vec<&str> = answer.rules().iter().map(|rule| rule.rule_arn().unwrap()).collect();
    assert_eq!(arns[..2], [first.as_str(), last.as_str()]);
    let priorities: Vec<&str> = answer.rules().iter().map(|rule| rule.priority().unwrap()).collect();
    assert_eq!(priorities, ["2", "30", "default"]);
    assert!(answer.rules()[2].is_default().unwrap() && !answer.rules()[0].is_default().unwrap());

    let rule = &answer.rules()[0];
    let condition = &rule.conditions()[0];
    assert_eq!(condition.values(), ["web.example.com"]);
    assert_eq!(condition.host_header_config().unwrap().values(), ["web.example.com"]);
    let action = &rule.actions()[0];
    assert_eq!((action.order(), action.target_group_arn()), (Some(1), None));
    let config = action.forward_config().unwrap();
    let weights: Vec<_> = config.target_groups().iter().map(|t| (t.target_group_arn().unwrap(), t.weight())).collect();
    assert_eq!(weights, [(a.as_str(), Some(999)), (b.as_str(), Some(0))]);
    let sticky = config.target_group_stickiness_config().unwrap();
    assert_eq!((sticky.enabled(), sticky.duration_seconds()), (Some(true), Some(60)));

    let rule = &answer.rules()[1];
    assert_eq!(rule.actions()[0].target_group_arn(), Some(a.as_str()));
    assert_eq!(rule.actions()[0].forward_config().unwrap().target_groups()[0].weight(), Some(1));
    assert_eq!(rule.conditions()[0].path_pattern_config().unwrap().values(), ["/a&*"]);
    assert_eq!(rule.conditions()[1].http_header_config().unwrap().http_header_name(), Some("X-Beta"));
    assert_eq!(rule.conditions()[2].query_string_config().unwrap().values()[0].key(), Some("v"));

    let groups = rig.client.describe_target_groups().load_balancer_arn(&rig.world.load_balancer).send().await.unwrap();
    assert_eq!(groups.target_groups().len(), 2);
    assert_eq!(groups.target_groups()[0].load_balancer_arns(), std::slice::from_ref(&rig.world.load_balancer));
}

#[tokio::test]
async fn keeps_authentication_and_conditions_that_a_change_does_not_name() {
    let rig = rig().await;
    let a = rig.world.target_group("a", &[address(9001)]).await.unwrap();
    let b = rig.world.target_group("b", &[address(9002)]).await.unwrap();
    let oidc = |secret: Option<&str>| {
        let config = AuthenticateOidcActionConfig::builder()
            .issuer("https://id.example.com")
            .authorization_endpoint("https://id.example.com/a")
            .token_endpoint("https://id.example.com/t")
            .user_info_endpoint("https://id.example.com/u")
            .client_id("web")
            .set_client_secret(secret.map(str::to_owned))
            .set_use_existing_client_secret(secret.is_none().then_some(true))
            .build();
        Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).order(1).authenticate_oidc_config(config).build()
    };
    let then = |weights: &[(&str, i32)]| {
        let action = forward(weights);
        Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .order(2)
            .forward_config(action.forward_config().unwrap().clone())
            .build()
    };
    let web = vec![host(&["web.example.com"])];
    let plain = rig.create(1, web.clone(), vec![oidc(Some("x")), then(&[(&a, 1)])]).await;
    assert_eq!(plain.unwrap_err(), "InvalidLoadBalancerAction", "an HTTP listener cannot authenticate");

    let listener = rig.world.https_listener(&rig.world.load_balancer, 443).await.unwrap();
    let no_secret = rig.create_on(&listener, 1, web.clone(), vec![oidc(None), then(&[(&a, 1)])]).await;
    assert_eq!(no_secret.unwrap_err(), "ValidationError");
    let rule = rig.create_on(&listener, 1, web, vec![oidc(Some("hush")), then(&[(&a, 1)])]).await.unwrap();
    let change = rig.client.modify_rule().rule_arn(&rule).actions(oidc(None)).actions(then(&[(&a, 1), (&b, 3)]));
    change.send().await.unwrap();
    let answer = rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    let echoed = &answer.rules()[0];
    let oidc = echoed.actions()[0].authenticate_oidc_config().unwrap();
    assert_eq!((oidc.client_id(), oidc.client_secret()), (Some("web"), None));
    assert_eq!(echoed.actions()[1].order(), Some(2));
    assert_eq!(echoed.conditions()[0].values(), ["web.example.com"]);
    // Whole lists are replaced: who forgets the authentication loses it.
    assert_eq!(rig.modify(&rule, &[(&a, 1)]).await, "accepted");
    let answer = rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    assert_eq!(answer.rules()[0].actions().len(), 1);
}

#[tokio::test]
async fn targets_live_as_on_aws() {
    use TargetHealthStateEnum::{Draining, Healthy, Initial, Unhealthy, Unused};
    let rig = rig().await;
    rig.front.set_initial_delay(Duration::from_hours(1));
    let a = rig.world.target_group("a", &[address(9001), address(9002)]).await.unwrap();
    let b = rig.world.target_group("b", &[address(9003)]).await.unwrap();
    assert_eq!(rig.states(&a).await, [Unused, Unused]);
    rig.front.set_health(&a, Health::Healthy).unwrap();
    assert_eq!(rig.states(&a).await, [Unused, Unused], "forced states show only while attached");
    rig.front.set_health(&a, None).unwrap();

    let rule = rig.create(1, vec![host(&["a.io"])], vec![forward(&[(&a, 0), (&b, 1)])]).await.unwrap();
    assert_eq!(rig.states(&a).await, [Initial, Initial], "weight 0 is attached");
    rig.front.set_initial_delay(Duration::ZERO);
    assert_eq!(rig.states(&a).await, [Healthy, Healthy]);
    rig.front.set_target_health(&a, address(9002), Health::Unhealthy).unwrap();
    assert_eq!(rig.states(&a).await, [Healthy, Unhealthy]);
    rig.front.set_target_health(&a, address(9002), None).unwrap();
    assert!(rig.front.set_target_health(&a, address(1), Health::Unhealthy).is_err());

    rig.world.deregister(&a, &[address(9001)]).await.unwrap();
    assert_eq!(rig.states(&a).await, [Draining, Healthy]);
    rig.world.register(&a, &[address(9004)]).await.unwrap();
    assert_eq!(rig.states(&a).await, [Draining, Healthy, Healthy]);
    let asked = TargetDescription::builder().id("127.0.0.1").port(1).build();
    let answer = rig.client.describe_target_health().target_group_arn(&a).targets(asked).send().await.unwrap();
    let health = answer.target_health_descriptions()[0].target_health().unwrap();
    assert_eq!(
        (health.state(), health.reason().map(TargetHealthReasonEnum::as_str)),
        (Some(&Unused), Some("Target.NotRegistered"))
    );

    // `initial` ends by itself, and the record says when.
    rig.front.set_group_initial_delay(&b, Some(Duration::from_millis(50))).unwrap();
    rig.world.register(&b, &[address(9005)]).await.unwrap();
    let healthy = |event: &Event| matches!(event, Event::Health(h) if h.target_group == b && h.healthy == 2);
    rig.front.wait_for(WITHIN, |record| record.entries.iter().any(|e| healthy(&e.event))).await.unwrap();
    assert_eq!(rig.states(&b).await, [Healthy, Healthy]);

    assert_eq!(rig.modify(&rule, &[(&b, 1)]).await, "accepted");
    assert_eq!(rig.states(&a).await, [Draining, Unused, Unused], "detached");
}

#[tokio::test]
async fn pages_by_marker() {
    let rig = rig().await;
    let a = rig.world.target_group("a", &[]).await.unwrap();
    for priority in [5, 3, 9, 1] {
        rig.create(priority, vec![host(&["a.io"])], vec![forward(&[(&a, 1)])]).await.unwrap();
    }
    let page = |marker: Option<String>| {
        rig.client.describe_rules().listener_arn(&rig.world.listener).page_size(2).set_marker(marker).send()
    };
    let mut seen = Vec::new();
    let mut marker = None;
    loop {
        let answer = page(marker).await.unwrap();
        assert!(answer.rules().len() <= 2);
        seen.extend(answer.rules().iter().map(|rule| rule.priority().unwrap().to_owned()));
        marker = answer.next_marker().map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["1", "3", "5", "9", "default"]);
    assert_eq!(code(page(Some("nonsense".to_owned())).await), "ValidationError");
    let too_large = rig.client.describe_rules().listener_arn(&rig.world.listener).page_size(401).send();
    assert_eq!(code(too_large.await), "ValidationError");

    for name in ["b", "c"] {
        rig.world.target_group(name, &[]).await.unwrap();
    }
    let groups = rig.client.describe_target_groups().page_size(2).send().await.unwrap();
    assert_eq!(groups.target_groups().len(), 2);
    let rest = rig.client.describe_target_groups().page_size(2).marker(groups.next_marker().unwrap()).send();
    let rest = rest.await.unwrap();
    assert_eq!((rest.target_groups().len(), rest.next_marker()), (1, None));
}

#[tokio::test]
async fn records_calls_with_caller_and_state_and_knows_the_third_party() {
    let rig = rig().await;
    let a = rig.world.target_group("a", &[address(9001)]).await.unwrap();
    let b = rig.world.target_group("b", &[address(9002)]).await.unwrap();
    let rule = rig.create(1, vec![host(&["a.io"])], vec![forward(&[(&a, 100), (&b, 0)])]).await.unwrap();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    rig.client.add_tags().resource_arns(&rule).tags(tag("owner", "<me> & \"you\"")).send().await.unwrap();
    let tags = rig.client.describe_tags().resource_arns(&rule).resource_arns(&a).send().await.unwrap();
    assert_eq!(tags.tag_descriptions()[0].tags()[0].value(), Some("<me> & \"you\""));
    assert_eq!(tags.tag_descriptions()[1].tags().len(), 0);
    for share in [20, 40, 40, 100] {
        assert_eq!(rig.modify(&rule, &[(&a, 100 - share), (&b, share)]).await, "accepted");
    }
    assert_eq!(rig.modify(&rule, &[(&a, 1000)]).await, "ValidationError");
    rig.front.foreign_modify_rule(&rule, &[(&a, 100), (&b, 0)]).unwrap();
    assert_eq!(rig.front.foreign_modify_rule(&rule, &[(&a, 0)]).unwrap_err().code, "InvalidLoadBalancerAction");
    rig.front.foreign_tags(&rule, &[("owner", "them")]).unwrap();
    rig.front.foreign_set_priority(&rule, 7).unwrap();
    let created = rig.front.foreign_create_rule(&rig.world.listener, 1, "/x", &[(&a, 1)], &[]).unwrap();
    rig.front.foreign_delete_rule(&created).unwrap();
    rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    rig.client.remove_tags().resource_arns(&rule).tag_keys("owner").send().await.unwrap();

    assert_eq!(rig.front.share_history(&rule, std::slice::from_ref(&b)), [0.0, 20.0, 40.0, 100.0, 0.0]);
    assert_eq!(rig.front.weights_history(&rule).len(), 5);
    let record = rig.front.record();
    assert!(record.entries.iter().enumerate().all(|(index, entry)| entry.seq == index as u64));
    let calls: Vec<&LbCall> = record
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Call(call) if call.caller != "world" => Some(call),
            _ => None,
        })
        .collect();
    let operations: Vec<_> =
        calls.iter().map(|c| (c.caller.as_str(), c.operation.as_str(), c.error.as_deref())).collect();
    assert_eq!(
        operations,
        [
            ("okra", "CreateRule", None),
            ("okra", "AddTags", None),
            ("okra", "DescribeTags", None),
            ("okra", "ModifyRule", None),
            ("okra", "ModifyRule", None),
            ("okra", "ModifyRule", None),
            ("okra", "ModifyRule", None),
            ("okra", "ModifyRule", Some("ValidationError")),
            (FOREIGN, "ModifyRule", None),
            (FOREIGN, "ModifyRule", Some("InvalidLoadBalancerAction")),
            (FOREIGN, "AddTags", None),
            (FOREIGN, "SetRulePriorities", None),
            (FOREIGN, "CreateRule", None),
            (FOREIGN, "DeleteRule", None),
            ("okra", "DescribeRules", None),
            ("okra", "RemoveTags", None),
        ]
    );
    let first = calls[3];
    assert_eq!(first.before.as_ref().unwrap().weights[&b], 0);
    assert_eq!(first.after.as_ref().unwrap().weights[&b], 20);
    assert_eq!(first.before.as_ref().unwrap().tags["owner"], "<me> & \"you\"");
    let refused = calls[7];
    assert_eq!(refused.before, refused.after);
    assert_eq!(refused.asked.as_ref().unwrap().weights[&a], 1000);
    assert_eq!(calls[14].answered[0].priority, "7");
    assert_eq!(calls[13].touched[0].conditions, ["path-pattern=/x"]);
    // Other services pass to moto, and are counted.
    let other =
        record.entries.iter().any(|e| matches!(&e.event, Event::Call(c) if c.operation == "ec2:DescribeSubnets"));
    assert!(other);
}

#[tokio::test]
async fn stops_with_its_handle() {
    let rig = rig().await;
    let endpoint = rig.front.endpoint().replace("http://", "");
    drop(rig.front);
    let deadline = Instant::now() + WITHIN;
    while tokio::net::TcpStream::connect(&endpoint).await.is_ok() {
        assert!(Instant::now() < deadline, "the front still listens");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_judge_understands_what_the_front_recorded() {
    let rig = rig().await;
    rig.front.set_initial_delay(Duration::ZERO);
    let old = rig.world.target_group("old", &[address(9001)]).await.unwrap();
    let new = rig.world.target_group("new", &[address(9002)]).await.unwrap();
    let (a, b) = (old.as_str(), new.as_str());
    let rules = Rules::alb("okra", "me").cell("default/web", CellRules::new([20, 40], [(a, "1"), (b, "2")]));
    let rule = rig.create_tagged(&[(a, 100)]).await;
    for weights in [[(a, 100), (b, 0)], [(a, 80), (b, 20)], [(a, 60), (b, 40)], [(a, 0), (b, 100)]] {
        for group in [a, b] {
            rig.states(group).await;
        }
        assert_eq!(rig.modify(&rule, &weights).await, "accepted");
        rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    }
    assert_eq!(rig.modify(&rule, &[(b, 100)]).await, "accepted");
    assert_eq!(judge(&rig.front.record(), &rules), []);

    let broken = async |what: &str| -> Vec<&'static str> {
        let known = judge(&rig.front.record(), &rules).len();
        match what {
            "off the plan" => assert_eq!(rig.modify(&rule, &[(a, 70), (b, 30)]).await, "accepted"),
            "too heavy" => assert_eq!(rig.modify(&rule, &[(b, 1000)]).await, "ValidationError"),
            "not ours" => {
                let theirs = rig.front.foreign_create_rule(&rig.world.listener, 2, "/x", &[(a, 1)], &[]).unwrap();
                rig.client.delete_rule().rule_arn(theirs).send().await.unwrap();
            }
            "removed at once" => assert_eq!(rig.modify(&rule, &[(a, 100)]).await, "accepted"),
            _ => {
                rig.front.set_health(b, Health::Unhealthy).unwrap();
                assert_eq!(rig.modify(&rule, &[(a, 100), (b, 0)]).await, "accepted");
                assert_eq!(rig.states(b).await, [TargetHealthStateEnum::Unhealthy]);
                assert_eq!(rig.modify(&rule, &[(a, 80), (b, 20)]).await, "accepted");
            }
        }
        judge(&rig.front.record(), &rules)[known..].iter().map(|violation| violation.invariant).collect()
    };
    assert_eq!(broken("too heavy").await, ["S1"]);
    assert_eq!(broken("not ours").await, ["S11"]);
    assert_eq!(broken("removed at once").await, ["S12"]);
    assert_eq!(broken("unhealthy").await, ["S3"]);
    assert_eq!(broken("off the plan").await, ["S1", "S3"]);
}

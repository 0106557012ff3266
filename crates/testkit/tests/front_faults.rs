//! Faults of the AWS front: planned as data, counted by call, caller and subject, each as AWS or the network has it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

mod front_rig;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use futures::FutureExt as _;
use okra_judge::record::{Event, LbCall};
use okra_testkit::fault_plan::{ALWAYS, FaultPlan, PlannedFault};
use okra_testkit::front::{AwsError, AwsFault, AwsPlan, FOREIGN, ForeignEdit, Moment};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use front_rig::{Rig, WITHIN, forward, host, rig};

/// A rule that forwards to `old`, and the groups `old` and `new`.
async fn rule_of(rig: &Rig) -> (String, String, String) {
    let old = rig.world.target_group("old", &[]).await.unwrap();
    let new = rig.world.target_group("new", &[]).await.unwrap();
    let rule = rig.create_tagged(&[(&old, 1)]).await;
    (rule, old, new)
}

impl Rig {
    /// The weight of a group in the rule at priority 10.
    fn weight(&self, group: &str) -> Option<i64> {
        self.front.rule_at(&self.world.listener, "10")?.weights.get(group).copied()
    }

    fn calls(&self, of: &str) -> Vec<LbCall> {
        let entries = self.front.record().entries.into_iter();
        let calls = entries.filter_map(|entry| match entry.event {
            Event::Call(call) if call.caller == of => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// Sends a call by hand and reads until the connection ends; what came, and how it ended.
    async fn raw(&self, form: &str) -> (String, std::io::ErrorKind) {
        let address = self.front.endpoint().replace("http://", "");
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let scope = "Credential=okra/20260101/us-east-1/elasticloadbalancing/aws4_request";
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {address}\r\nauthorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, \
             Signature=0\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let ended = tokio::time::timeout(WITHIN, stream.read_to_end(&mut read)).await.unwrap();
        let ended = ended.map_or_else(|error| error.kind(), |_| std::io::ErrorKind::UnexpectedEof);
        (String::from_utf8_lossy(&read).into_owned(), ended)
    }
}

#[tokio::test]
async fn every_error_of_aws_strikes_its_call_and_nothing_is_done() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    let errors = AwsError::all();
    let codes: Vec<&str> = errors.iter().map(|error| error.code.as_str()).collect();
    for named in ["PriorityInUse", "TargetGroupNotFound", "Throttling", "RequestLimitExceeded", "InternalFailure"] {
        assert!(codes.contains(&named), "{codes:?}");
    }
    // Every second call is struck, each with the next error.
    let plan = errors
        .iter()
        .enumerate()
        .map(|(n, error)| PlannedFault::new("ModifyRule", 2 + 2 * n as u64, AwsFault::Error(error.clone())).by("okra"));
    rig.front.set_plan(plan.collect::<Vec<_>>());
    for error in &errors {
        assert_eq!(rig.modify(&rule, &[(&old, 2)]).await, "accepted");
        assert_eq!(rig.modify(&rule, &[(&new, 3)]).await, error.code);
        assert_eq!((rig.weight(&old), rig.weight(&new)), (Some(2), None), "{}", error.code);
    }
    let plan = rig.front.plan();
    assert_eq!(plan.calls.pending(), [0; 0]);
    assert_eq!(plan.calls.struck().len(), errors.len());
    let told: Vec<String> = rig.calls("okra").into_iter().filter_map(|call| call.error).collect();
    assert_eq!(told, codes);
}

#[tokio::test]
async fn an_error_after_the_call_took_effect_hides_a_change() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    rig.front.set_plan(vec![
        PlannedFault::new("ModifyRule", 1, AwsFault::ErrorAfter(AwsError::internal())),
        PlannedFault::new("ModifyRule", 2, AwsFault::ErrorAfter(AwsError::unavailable())),
    ]);
    assert_eq!(rig.modify(&rule, &[(&old, 5), (&new, 6)]).await, "InternalFailure");
    assert_eq!(rig.weight(&new), Some(6));
    assert_eq!(rig.modify(&rule, &[(&old, 5), (&new, 7)]).await, "ServiceUnavailable");
    assert_eq!(rig.weight(&new), Some(7));
    let call = rig.calls("okra").pop().unwrap();
    assert_eq!(call.error.as_deref(), Some("ServiceUnavailable"));
    assert_eq!((call.before.unwrap().weights[&new], call.after.unwrap().weights[&new]), (6, 7), "both are recorded");
}

#[tokio::test]
async fn connections_are_reset_before_and_after_the_call_took_effect() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    rig.front.set_plan(vec![
        PlannedFault::new("ModifyRule", 1, AwsFault::Reset),
        PlannedFault::new("ModifyRule", 2, AwsFault::ResetAfter),
        PlannedFault::new("DescribeRules", 1, AwsFault::Reset),
        PlannedFault::new("DescribeRules", 3, AwsFault::Half),
    ]);
    assert_eq!(rig.modify(&rule, &[(&old, 1), (&new, 9)]).await, "transport");
    assert_eq!(rig.weight(&new), None);
    assert_eq!(rig.modify(&rule, &[(&old, 1), (&new, 9)]).await, "transport");
    assert_eq!(rig.weight(&new), Some(9), "the change was made");
    let missed = rig.front.wait_for(Duration::from_millis(20), |_| false).await.unwrap_err().to_string();
    assert!(missed.contains("ConnectionDropped"), "{missed}");

    let form = format!("Action=DescribeRules&Version=2015-12-01&RuleArns.member.1={rule}");
    let (nothing, ended) = rig.raw(&form).await;
    assert_eq!((nothing.as_str(), ended), ("", std::io::ErrorKind::ConnectionReset));
    assert_eq!(front_rig::code(rig.client.describe_rules().rule_arns(&rule).send().await), "accepted");
    let (half, ended) = rig.raw(&form).await;
    assert_eq!(ended, std::io::ErrorKind::ConnectionReset);
    let (head, body) = half.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);
    assert!(body.starts_with("<DescribeRulesResponse") && !body.contains("</DescribeRulesResponse>"), "{body}");
}

#[tokio::test]
async fn half_an_answer_and_no_answer_are_no_answer_to_the_sdk() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    rig.front.set_plan(vec![
        PlannedFault::new("ModifyRule", 1, AwsFault::Half),
        PlannedFault::new("ModifyRule", 2, AwsFault::Silence),
        PlannedFault::new("ModifyRule", 3, AwsFault::SilenceAfter),
        PlannedFault::new("DescribeTags", 1, AwsFault::Silence).times(ALWAYS),
    ]);
    assert_eq!(rig.modify(&rule, &[(&old, 1), (&new, 2)]).await, "transport");
    assert_eq!(rig.weight(&new), Some(2), "half an answer comes of a call that was carried out");
    let waited = tokio::time::timeout(Duration::from_millis(300), rig.modify(&rule, &[(&old, 1), (&new, 3)])).await;
    assert!(waited.is_err());
    assert_eq!(rig.weight(&new), Some(2));
    let waited = tokio::time::timeout(Duration::from_millis(300), rig.modify(&rule, &[(&old, 1), (&new, 4)])).await;
    assert!(waited.is_err());
    assert_eq!(rig.weight(&new), Some(4));
    let told: Vec<String> = rig.calls("okra").into_iter().filter_map(|call| call.error).collect();
    assert_eq!(told, ["ConnectionDropped", "NoAnswer", "NoAnswer"]);
    assert_eq!(rig.modify(&rule, &[(&old, 1)]).await, "accepted", "one silent call holds up no other");
}

#[tokio::test]
async fn a_slow_call_takes_effect_late_and_a_slow_answer_at_once() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    let hour = 3_600_000;
    rig.front.set_plan(vec![
        PlannedFault::new("ModifyRule", 1, AwsFault::Slow { millis: hour }),
        PlannedFault::new("ModifyRule", 2, AwsFault::SlowAfter { millis: hour }),
        PlannedFault::new("ModifyRule", 3, AwsFault::SlowAfter { millis: 1 }),
    ]);
    for (weight, there) in [(2, None), (3, Some(3))] {
        let weights = [(old.as_str(), 1), (new.as_str(), weight)];
        assert!(tokio::time::timeout(Duration::from_millis(300), rig.modify(&rule, &weights)).await.is_err());
        assert_eq!(rig.weight(&new), there);
    }
    assert_eq!(rig.modify(&rule, &[(&old, 1), (&new, 4)]).await, "accepted");
}

#[tokio::test]
async fn faults_find_a_cell_by_what_its_calls_are_about() {
    let rig = rig().await;
    let group = async |name: &str| rig.world.target_group(name, &[]).await.unwrap();
    let (a, b) = (group("cell-a").await, group("cell-b").await);
    let of_a = rig.create_tagged(&[(&a, 1)]).await;
    let of_b = rig.create(20, vec![host(&["b.example.com"])], vec![forward(&[(&b, 1)])]).await.unwrap();
    rig.front.set_plan(vec![
        PlannedFault::new("ModifyRule", 1, AwsFault::Error(AwsError::throttled())).about("default/web"),
        PlannedFault::new("ModifyRule", 1, AwsFault::Error(AwsError::internal())).about(&of_b),
        PlannedFault::new("DescribeTargetHealth", 1, AwsFault::Error(AwsError::unavailable())).about("default/web"),
        PlannedFault::new("DescribeTargetHealth", 1, AwsFault::Error(AwsError::internal())).about("cell-b"),
        PlannedFault::new("CreateRule", 1, AwsFault::Error(AwsError::new("TooManyRules", ""))).about("cell-b"),
    ]);
    assert_eq!(rig.modify(&of_b, &[(&b, 2)]).await, "InternalFailure");
    assert_eq!(rig.modify(&of_b, &[(&b, 2)]).await, "accepted");
    assert_eq!(rig.modify(&of_a, &[(&a, 2)]).await, "Throttling", "by its tags");
    assert_eq!(rig.modify(&of_a, &[(&a, 2)]).await, "accepted");
    let health =
        async |group: &str| front_rig::code(rig.client.describe_target_health().target_group_arn(group).send().await);
    assert_eq!(health(&b).await, "InternalFailure", "by its name");
    assert_eq!(health(&a).await, "ServiceUnavailable", "by the rule that uses it");
    assert_eq!(health(&a).await, "accepted");
    let create = |group: &str| rig.create(30, vec![host(&["c.example.com"])], vec![forward(&[(group, 1)])]);
    assert_eq!(create(&b).await.unwrap_err(), "TooManyRules");
    create(&a).await.unwrap();
    assert_eq!(rig.front.plan().calls.pending(), [0; 0]);
}

#[tokio::test]
async fn who_builds_the_world_and_the_third_party_are_spared() {
    let rig = rig().await;
    rig.front.set_plan(vec![PlannedFault::new("*", 1, AwsFault::Reset).times(ALWAYS)]);
    let (old, new) = (rig.world.target_group("old", &[]).await.unwrap(), "x");
    let rule = rig.front.foreign_create_rule(&rig.world.listener, 1, "/", &[(&old, 1)], &[]).unwrap();
    assert_eq!(rig.modify(&rule, &[(new, 1)]).await, "transport");
    let foreign = rig.front.client(FOREIGN);
    foreign.describe_rules().rule_arns(&rule).send().await.unwrap();
}

#[tokio::test]
async fn expired_credentials_are_refused_until_they_are_renewed() {
    let rig = rig().await;
    let (rule, ..) = rule_of(&rig).await;
    rig.front.set_plan(vec![PlannedFault::new("DescribeRules", 2, AwsFault::Expire).by("okra")]);
    let read = async |client: &aws_sdk_elasticloadbalancingv2::Client| {
        front_rig::code(client.describe_rules().rule_arns(&rule).send().await)
    };
    assert_eq!(read(&rig.client).await, "accepted");
    assert_eq!(read(&rig.client).await, "ExpiredToken");
    assert_eq!(read(&rig.client).await, "ExpiredToken", "it stays so");
    assert_eq!(rig.modify(&rule, &[("x", 1)]).await, "ExpiredToken", "for every call");
    assert_eq!(read(&rig.front.client("other")).await, "accepted");
    let newer = Credentials::new("okra", "not-a-secret", Some("newer".to_owned()), None, "test");
    assert_eq!(read(&rig.front.client_as(newer)).await, "accepted", "renewed by its owner");
    assert_eq!(read(&rig.client).await, "ExpiredToken");
    rig.front.renew_credentials("okra");
    assert_eq!(read(&rig.client).await, "accepted");
}

#[tokio::test]
async fn a_third_party_acts_after_the_planned_call() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    let other = rig.create(20, vec![host(&["b.example.com"])], vec![forward(&[(&old, 1)])]).await.unwrap();
    let text = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let by = |name: &str, number: u32| (name.to_owned(), number);
    let edits = [
        ForeignEdit::Weights(BTreeMap::from([("/old/".to_owned(), 1), ("/new/".to_owned(), 7)])),
        ForeignEdit::Path("/mine".to_owned()),
        ForeignEdit::Tags(text("okra.mumo.co/owner", "them")),
        ForeignEdit::Untag(vec!["okra.mumo.co/owner".to_owned()]),
        ForeignEdit::Priority(11),
        ForeignEdit::Reorder(BTreeMap::from([by("default/web", 20), by(&other, 11)])),
        ForeignEdit::Create(12),
        ForeignEdit::Delete,
    ];
    let planned = edits.iter().enumerate().map(|(n, edit)| {
        PlannedFault::new("DescribeRules", n as u64 + 1, AwsFault::foreign(edit.clone())).about(&rule)
    });
    let plan: AwsPlan = planned.collect::<Vec<_>>().into();
    rig.front.set_plan(plan.to_string().parse::<AwsPlan>().unwrap());
    let read = async || rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    let now = |priority: &str| rig.front.rule_at(&rig.world.listener, priority).unwrap();
    let answered = read().await;
    let groups = answered.rules()[0].actions()[0].forward_config().unwrap().target_groups().len();
    assert_eq!((groups, now("10").weights[&new]), (1, 7), "it acts after the call took effect");
    read().await;
    assert_eq!(now("10").conditions, ["path-pattern=/mine"]);
    read().await;
    assert_eq!(now("10").tags["okra.mumo.co/owner"], "them");
    read().await;
    assert!(!now("10").tags.contains_key("okra.mumo.co/owner"));
    read().await;
    assert_eq!(now("11").arn, rule);
    read().await;
    assert_eq!((now("20").arn, now("11").arn), (rule.clone(), other));
    read().await;
    assert_eq!(now("12").weights, now("20").weights);
    read().await;
    assert!(rig.front.rule_at(&rig.world.listener, "20").is_none());
    let foreign: Vec<_> = rig.calls(FOREIGN).into_iter().map(|call| (call.operation, call.error)).collect();
    assert_eq!(foreign.len(), edits.len());
    assert!(foreign.iter().all(|(_, error)| error.is_none()), "{foreign:?}");
}

#[tokio::test]
async fn a_third_party_that_finds_nothing_says_so() {
    let rig = rig().await;
    let (rule, ..) = rule_of(&rig).await;
    let edit = AwsFault::Foreign { rule: Some("nobody".to_owned()), edit: ForeignEdit::Delete };
    rig.front.set_plan(vec![PlannedFault::new("DescribeRules", 1, edit)]);
    rig.client.describe_rules().rule_arns(&rule).send().await.unwrap();
    let notes = rig.front.tail(2);
    assert!(notes.contains("the third party failed") && notes.contains("RuleNotFound"), "{notes}");
}

#[tokio::test]
async fn a_test_can_act_while_a_call_waits() {
    let rig = rig().await;
    let (rule, old, new) = rule_of(&rig).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (told, held) = (seen.clone(), gate.clone());
    rig.front.on_call(move |moment, info| {
        if info.caller != "okra" || !info.is_write() {
            return async {}.boxed();
        }
        told.lock().push((moment, info.operation.clone()));
        let held = held.clone();
        async move { held.acquire().await.unwrap().forget() }.boxed()
    });
    let weights = [(old.as_str(), 1), (new.as_str(), 4)];
    let call = rig.modify(&rule, &weights);
    let watch = async {
        assert_eq!(rig.weight(&new), None);
        gate.add_permits(1);
        rig.front.wait_for(WITHIN, |_| seen.lock().len() == 2).await.unwrap();
        assert_eq!(rig.weight(&new), Some(4), "it took effect, and is not answered");
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(call, watch);
    assert_eq!(answer, "accepted");
    let name = "ModifyRule".to_owned();
    assert_eq!(*seen.lock(), [(Moment::Before, name.clone()), (Moment::After, name)]);
}

#[tokio::test]
async fn a_seed_repeats_a_run() {
    let run = async |plan: AwsPlan| {
        let rig = rig().await;
        let (rule, old, new) = rule_of(&rig).await;
        rig.front.set_plan(plan);
        let mut told = Vec::new();
        for weight in 0..8 {
            let weights = [(old.as_str(), 1), (new.as_str(), weight)];
            told.push(tokio::time::timeout(WITHIN, rig.modify(&rule, &weights)).await.unwrap());
            let read = rig.client.describe_rules().rule_arns(&rule).send().await;
            told.push(front_rig::code(read));
        }
        (told, rig.front.plan().calls.struck())
    };
    let loud = |fault: &AwsFault| !matches!(fault, AwsFault::Silence | AwsFault::SilenceAfter);
    let faults: Vec<AwsFault> = AwsFault::all().into_iter().filter(loud).collect();
    let draw = || AwsPlan::from(FaultPlan::seeded(3, &["ModifyRule", "DescribeRules"], &faults, 6).only_by("okra"));
    let (first, second) = (run(draw()).await, run(draw().to_string().parse().unwrap()).await);
    assert!(!first.1.is_empty());
    assert_eq!(first, second);
}

#[test]
fn a_plan_is_one_line_of_json() {
    let foreign = AwsFault::Foreign { rule: Some("web".to_owned()), edit: ForeignEdit::Delete };
    let others = [
        AwsFault::Slow { millis: 1 },
        AwsFault::SlowAfter { millis: 2 },
        AwsFault::Stale { millis: 3 },
        AwsFault::Expire,
        foreign,
    ];
    let faults = AwsFault::all().into_iter().chain(others).enumerate();
    let planned = faults.map(|(n, fault)| PlannedFault::new("*", n as u64 + 1, fault).times(2).about("x").by("y"));
    let mut plan = AwsPlan::from(planned.collect::<Vec<_>>());
    (plan.buckets, plan.read_lag_millis, plan.data_path_lag_millis) = (true, 4, 5);
    let text = plan.to_string();
    assert_eq!(text.lines().count(), 1);
    let read: AwsPlan = text.parse().unwrap();
    assert_eq!((read.to_string(), read.calls.faults), (text, plan.calls.faults));
    let brief = r#"{"calls":{"seed":0,"faults":[{"call":"ModifyRule","nth":2,"fault":{"type":"reset"}}]}}"#;
    assert_eq!(brief.parse::<AwsPlan>().unwrap().calls.faults, [PlannedFault::new("ModifyRule", 2, AwsFault::Reset)]);
    assert!("{\"bucket\":true}".parse::<AwsPlan>().is_err());
}

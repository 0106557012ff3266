//! Which operation does what; those on rules that answer with rules are in `rules`.

use std::{collections::BTreeMap, time::Instant};

use super::{rules, state::State};
use crate::front::{AwsError, Node};

/// Tags asked for in one DescribeTags; the API's most.
const MAX_DESCRIBED: usize = 20;

/// What became of a call, for the list of calls.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub about: String,
    pub weights: Vec<(String, i64)>,
}

/// Carries out an operation.
pub(super) fn dispatch(
    state: &mut State,
    operation: &str,
    params: &Node,
    noted: &mut Noted,
    now: Instant,
) -> Result<Node, AwsError> {
    match operation {
        "DescribeRules" => rules::describe(state, params),
        "CreateRule" => rules::create(state, params, noted, now),
        "ModifyRule" => rules::modify(state, params, noted, now),
        "DeleteRule" => rules::delete(state, params),
        "SetRulePriorities" => rules::set_priorities(state, params),
        "DescribeTags" => describe_tags(state, params),
        "AddTags" => add_tags(state, params),
        "DescribeTargetHealth" => describe_target_health(state, params, now),
        other => Err(AwsError::new("InvalidAction", format!("Could not find operation {other}"))),
    }
}

/// The first ARN that a call names, which tells its account.
pub(super) fn about(params: &Node) -> String {
    let first = |name: &str| params.list(name).first().and_then(Node::as_str);
    let pair = || params.list("RulePriorities").first().and_then(|pair| pair.str("RuleArn"));
    let named = ["RuleArn", "ListenerArn", "TargetGroupArn"].into_iter().find_map(|name| params.str(name));
    let named = named.or_else(|| first("RuleArns")).or_else(|| first("ResourceArns")).or_else(pair);
    named.unwrap_or_default().to_owned()
}

/// The account of an ARN.
pub(super) fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

pub(super) fn tags(items: &[Node]) -> BTreeMap<String, String> {
    let text = |item: &Node, name: &str| item.str(name).unwrap_or_default().to_owned();
    items.iter().map(|item| (text(item, "Key"), text(item, "Value"))).collect()
}

fn tagged<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut BTreeMap<String, String>, AwsError> {
    state.rules.get_mut(arn).map(|rule| &mut rule.tags).ok_or_else(AwsError::rule_not_found)
}

fn describe_tags(state: &mut State, params: &Node) -> Result<Node, AwsError> {
    let arns = params.strings("ResourceArns");
    if arns.len() > MAX_DESCRIBED {
        return Err(AwsError::validation(format!("Up to {MAX_DESCRIBED} resources can be described")));
    }
    let mut descriptions = Vec::new();
    for arn in &arns {
        let tag = |(k, v): (&String, &String)| Node::empty().with_text("Key", k).with_text("Value", v);
        let tags = tagged(state, arn)?.iter().map(tag).collect();
        descriptions.push(Node::empty().with_text("ResourceArn", arn).with("Tags", Node::List(tags)));
    }
    Ok(Node::empty().with("TagDescriptions", Node::List(descriptions)))
}

fn add_tags(state: &mut State, params: &Node) -> Result<Node, AwsError> {
    let given = tags(params.list("Tags"));
    for arn in params.strings("ResourceArns") {
        tagged(state, &arn)?.extend(given.clone());
    }
    Ok(Node::empty())
}

fn describe_target_health(state: &State, params: &Node, now: Instant) -> Result<Node, AwsError> {
    let arn = params.str("TargetGroupArn").unwrap_or_default();
    let group = state.groups.get(arn).ok_or_else(|| AwsError::group_not_found(arn))?;
    let health = group.health(state.initial, now);
    let descriptions = (0..group.targets).map(|index| description(index, health)).collect();
    Ok(Node::empty().with("TargetHealthDescriptions", Node::List(descriptions)))
}

fn description(index: usize, health: &str) -> Node {
    let target = Node::empty()
        .with_text("Id", format!("127.0.{}.{}", index / 250, index % 250 + 1))
        .with_text("Port", 80)
        .with_text("AvailabilityZone", "all");
    let mut told = Node::empty().with_text("State", health);
    let reason = match health {
        "unused" => Some(("Target.NotInUse", "Target group is not configured to receive traffic")),
        "initial" => Some(("Elb.RegistrationInProgress", "Target registration is in progress")),
        _ => None,
    };
    if let Some((reason, text)) = reason {
        told = told.with_text("Reason", reason).with_text("Description", text);
    }
    Node::empty().with("Target", target).with_text("HealthCheckPort", 80).with("TargetHealth", told)
}

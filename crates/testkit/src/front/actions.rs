//! What AWS says to the actions of a rule before it takes them. moto takes them all.

use std::collections::BTreeSet;

use super::error::AwsError;
use super::node::Node;
use super::state::{Action, Forward, State};

/// Target groups in one forward action; a fixed quota.
const MAX_GROUPS: usize = 5;
/// Target groups of one load balancer; a fixed quota.
const MAX_GROUPS_PER_BALANCER: usize = 100;
const MAX_WEIGHT: i64 = 999;
const MAX_STICKY_SECONDS: i64 = 604_800;
const FINAL: [&str; 3] = ["forward", "redirect", "fixed-response"];
const AUTH: [&str; 3] = ["authenticate-oidc", "authenticate-cognito", "jwt-validation"];

/// Reads and judges the actions for a rule of `listener`; `replacing` is the rule they would replace.
pub(crate) fn parse(
    state: &State,
    listener: &str,
    replacing: Option<&str>,
    items: &[Node],
) -> Result<Vec<Action>, AwsError> {
    if items.is_empty() {
        return Err(AwsError::validation("An action must be specified"));
    }
    let mut actions = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let order = order(item, index, items.len())?;
        actions.push(parse_one(item, order, replacing.is_some())?);
    }
    actions.sort_by_key(Action::order);
    judge_order(&actions)?;
    for action in &actions {
        match action {
            Action::Forward { forward, .. } => judge_forward(state, listener, replacing, forward)?,
            Action::Other { node, .. } => judge_auth(state, listener, node)?,
        }
    }
    Ok(actions)
}

fn order(item: &Node, index: usize, count: usize) -> Result<u32, AwsError> {
    match item.str("Order") {
        Some(text) => match text.parse() {
            Ok(order @ 1..=50_000) => Ok(order),
            _ => Err(AwsError::validation(format!("Order '{text}' must be between 1 and 50000"))),
        },
        None if count > 1 => {
            Err(AwsError::action("You must specify the order of each action when there is more than one"))
        }
        None => Ok(index as u32 + 1),
    }
}

fn parse_one(item: &Node, order: u32, modifies: bool) -> Result<Action, AwsError> {
    let kind = item.str("Type").unwrap_or_default();
    if kind == "forward" {
        return Ok(Action::Forward { order, forward: parse_forward(item)? });
    }
    if !FINAL.contains(&kind) && !AUTH.contains(&kind) {
        return Err(AwsError::validation(format!("Action type '{kind}' is not valid")));
    }
    let mut node = item.clone();
    if let Some(config) = node.get_mut("AuthenticateOidcConfig") {
        // AWS never gives the secret back; a change may leave it out only by saying so.
        let secret = config.remove("ClientSecret").is_some();
        let reuse = config.remove("UseExistingClientSecret").is_some_and(|n| n.as_str() == Some("true"));
        let reused = modifies && reuse;
        if !secret && !reused {
            return Err(AwsError::validation("A client secret must be specified"));
        }
    }
    node.set("Order", Node::text(order));
    Ok(Action::Other { order, node })
}

fn parse_forward(item: &Node) -> Result<Forward, AwsError> {
    let single = item.str("TargetGroupArn").map(str::to_owned);
    let Some(config) = item.get("ForwardConfig") else {
        let arn = single.ok_or_else(|| AwsError::action("A target group must be specified for a forward action"))?;
        return Ok(Forward { groups: vec![(arn, 1)], ..Forward::default() });
    };
    let groups = config.list("TargetGroups").iter().map(parse_tuple).collect::<Result<Vec<_>, _>>()?;
    if let Some(single) = single
        && groups.iter().map(|(arn, _)| arn).ne([&single])
    {
        return Err(AwsError::action("TargetGroupArn and ForwardConfig must name the same target group"));
    }
    let stickiness = config.get("TargetGroupStickinessConfig");
    let sticky = stickiness.and_then(|s| s.str("Enabled")) == Some("true");
    let sticky_seconds = match stickiness.and_then(|s| s.str("DurationSeconds")) {
        None => None,
        Some(text) => match text.parse::<i64>() {
            Ok(seconds) if (1..=MAX_STICKY_SECONDS).contains(&seconds) => Some(seconds),
            _ => {
                return Err(AwsError::validation(format!("Stickiness duration '{text}' must be between 1 and 604800")));
            }
        },
    };
    if sticky && sticky_seconds.is_none() {
        return Err(AwsError::validation("A stickiness duration must be specified when stickiness is enabled"));
    }
    Ok(Forward { groups, sticky, sticky_seconds })
}

fn parse_tuple(tuple: &Node) -> Result<(String, i64), AwsError> {
    let arn =
        tuple.str("TargetGroupArn").ok_or_else(|| AwsError::validation("A target group ARN must be specified"))?;
    if !arn.contains(":targetgroup/") {
        return Err(AwsError::validation(format!("'{arn}' is not a valid target group ARN")));
    }
    let weight = match tuple.str("Weight") {
        None => 1,
        Some(text) => text.parse::<i64>().ok().filter(|w| (0..=MAX_WEIGHT).contains(w)).ok_or_else(|| {
            AwsError::validation(format!("Target group weight '{text}' must be between 0 and {MAX_WEIGHT}"))
        })?,
    };
    Ok((arn.to_owned(), weight))
}

fn judge_order(actions: &[Action]) -> Result<(), AwsError> {
    let orders: BTreeSet<u32> = actions.iter().map(Action::order).collect();
    if orders.len() != actions.len() {
        return Err(AwsError::action("The order of each action must be unique"));
    }
    let is_auth = |action: &Action| match action {
        Action::Other { node, .. } => AUTH.contains(&node.str("Type").unwrap_or_default()),
        Action::Forward { .. } => false,
    };
    let (last, before) = actions.split_last().ok_or_else(|| AwsError::validation("An action must be specified"))?;
    if is_auth(last) || !before.iter().all(is_auth) {
        return Err(AwsError::action(
            "Exactly one forward, redirect or fixed-response action is required, as the last",
        ));
    }
    if before.len() > 1 {
        return Err(AwsError::new("TooManyActions", "A rule can have one authentication action"));
    }
    Ok(())
}

fn judge_forward(state: &State, listener: &str, replacing: Option<&str>, forward: &Forward) -> Result<(), AwsError> {
    if forward.groups.is_empty() {
        return Err(AwsError::action("A forward action must have at least one target group"));
    }
    if forward.groups.len() > MAX_GROUPS {
        let message = format!("You cannot specify more than {MAX_GROUPS} target groups in an action");
        return Err(AwsError::new("TooManyTargetGroups", message));
    }
    let unique: BTreeSet<&str> = forward.groups.iter().map(|(arn, _)| arn.as_str()).collect();
    if unique.len() != forward.groups.len() {
        return Err(AwsError::action("A target group can be specified only once in an action"));
    }
    if let Some(unknown) = unique.iter().find(|arn| !state.groups.contains_key(**arn)) {
        return Err(AwsError::group_not_found(unknown));
    }
    if forward.groups.iter().all(|(_, weight)| *weight == 0) {
        return Err(AwsError::action("At least one target group in a forward action must have a weight above 0"));
    }
    judge_association(state, listener, replacing, &unique)
}

/// One load balancer per target group, 100 target groups per load balancer.
fn judge_association(
    state: &State,
    listener: &str,
    replacing: Option<&str>,
    groups: &BTreeSet<&str>,
) -> Result<(), AwsError> {
    let Some(balancer) = state.listeners.get(listener).map(|l| &l.balancer) else { return Ok(()) };
    for arn in groups {
        if state.balancers_of(arn).iter().any(|other| other != balancer) {
            let message = format!("Target group '{arn}' is associated with another load balancer");
            return Err(AwsError::new("TargetGroupAssociationLimit", message));
        }
    }
    let others = state
        .rules
        .values()
        .filter(|rule| Some(rule.arn.as_str()) != replacing)
        .filter(|rule| state.listeners.get(&rule.listener).is_some_and(|other| other.balancer == *balancer));
    let mut all: BTreeSet<&str> =
        others.filter_map(|rule| rule.forward()).flat_map(|f| f.groups.iter().map(|(arn, _)| arn.as_str())).collect();
    all.extend(groups);
    if all.len() > MAX_GROUPS_PER_BALANCER {
        return Err(AwsError::new(
            "TooManyUniqueTargetGroupsPerLoadBalancer",
            format!("A load balancer can use {MAX_GROUPS_PER_BALANCER} target groups"),
        ));
    }
    Ok(())
}

fn judge_auth(state: &State, listener: &str, node: &Node) -> Result<(), AwsError> {
    let kind = node.str("Type").unwrap_or_default();
    let secure = state.listeners.get(listener).is_some_and(|l| l.protocol == "HTTPS");
    if AUTH.contains(&kind) && !secure {
        return Err(AwsError::action(format!("Actions of type '{kind}' are supported only on HTTPS listeners")));
    }
    Ok(())
}

//! The operations on rules.

use std::{collections::BTreeSet, time::Instant};

use super::{
    operations::{Noted, tags},
    state::{DEFAULT, Rule, State},
};
use crate::front::{AwsError, Node};

const MAX_PAGE: usize = 400;
/// Target groups in one forward action; a fixed quota.
const MAX_GROUPS: usize = 5;

pub(super) fn describe(state: &State, params: &Node) -> Result<Node, AwsError> {
    let arns: Vec<String> = match params.str("ListenerArn") {
        Some(listener) => {
            let rules = state.listeners.get(listener).ok_or_else(AwsError::listener_not_found)?;
            rules.values().cloned().collect()
        }
        None => params.strings("RuleArns"),
    };
    let size = params.str("PageSize").and_then(|size| size.parse().ok()).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let start = match params.str("Marker") {
        None => 0,
        Some(marker) => {
            arns.iter().position(|arn| arn == marker).ok_or_else(|| AwsError::validation("The marker is not valid"))?
        }
    };
    let page = arns.get(start..).unwrap_or_default();
    let rules = page.iter().take(size).map(|arn| echo(state, arn)).collect::<Result<_, _>>()?;
    let answer = Node::empty().with("Rules", Node::List(rules));
    Ok(match page.get(size) {
        Some(next) => answer.with_text("NextMarker", next),
        None => answer,
    })
}

pub(super) fn create(state: &mut State, params: &Node, noted: &mut Noted, now: Instant) -> Result<Node, AwsError> {
    let listener = params.str("ListenerArn").unwrap_or_default().to_owned();
    let priority = priority(params.str("Priority").unwrap_or_default())?;
    let (actions, weights) = actions(state, params)?;
    noted.weights.clone_from(&weights);
    let rules = state.listeners.get(&listener).ok_or_else(AwsError::listener_not_found)?;
    if rules.contains_key(&priority) {
        return Err(AwsError::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
    }
    let arn = format!("{}/{}", listener.replace(":listener/", ":listener-rule/"), state.next_id());
    noted.about.clone_from(&arn);
    let rule = Rule {
        listener: listener.clone(),
        priority: Some(priority),
        conditions: conditions(params),
        actions: Vec::new(),
        weights: Vec::new(),
        tags: tags(params.list("Tags")),
    };
    state.rules.insert(arn.clone(), rule);
    state.listeners.entry(listener).or_default().insert(priority, arn.clone());
    state.forward(&arn, actions, weights, now);
    one(state, &arn)
}

pub(super) fn modify(state: &mut State, params: &Node, noted: &mut Noted, now: Instant) -> Result<Node, AwsError> {
    let arn = params.str("RuleArn").unwrap_or_default().to_owned();
    let rule = state.rules.get(&arn).ok_or_else(AwsError::rule_not_found)?;
    if rule.priority.is_none() {
        return Err(AwsError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be modified")));
    }
    if params.get("Actions").is_some() {
        let (actions, weights) = actions(state, params)?;
        noted.weights.clone_from(&weights);
        state.forward(&arn, actions, weights, now);
    }
    if params.get("Conditions").is_some()
        && let Some(rule) = state.rules.get_mut(&arn)
    {
        rule.conditions = conditions(params);
    }
    one(state, &arn)
}

pub(super) fn delete(state: &mut State, params: &Node) -> Result<Node, AwsError> {
    let arn = params.str("RuleArn").unwrap_or_default();
    let rule = state.rules.get(arn).ok_or_else(AwsError::rule_not_found)?;
    let Some(priority) = rule.priority else {
        return Err(AwsError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be deleted")));
    };
    if let Some(rule) = state.rules.remove(arn) {
        if let Some(rules) = state.listeners.get_mut(&rule.listener) {
            rules.remove(&priority);
        }
        state.release(&rule.weights);
    }
    Ok(Node::empty())
}

pub(super) fn set_priorities(state: &mut State, params: &Node) -> Result<Node, AwsError> {
    let mut moved = Vec::new();
    for pair in params.list("RulePriorities") {
        let arn = pair.str("RuleArn").unwrap_or_default().to_owned();
        let rule = state.rules.get(&arn).ok_or_else(AwsError::rule_not_found)?;
        let before = rule.priority.ok_or_else(|| {
            AwsError::new("OperationNotPermitted", "The priority of a default rule cannot be changed")
        })?;
        moved.push((arn, rule.listener.clone(), before, priority(pair.str("Priority").unwrap_or_default())?));
    }
    let leaving: BTreeSet<&String> = moved.iter().map(|(arn, ..)| arn).collect();
    for (_, listener, _, wanted) in &moved {
        let there = state.listeners.get(listener).and_then(|rules| rules.get(wanted));
        if there.is_some_and(|there| !leaving.contains(there)) {
            return Err(AwsError::new("PriorityInUse", format!("Priority '{wanted}' is currently in use")));
        }
    }
    for (_, listener, before, _) in &moved {
        if let Some(rules) = state.listeners.get_mut(listener) {
            rules.remove(before);
        }
    }
    for (arn, listener, _, wanted) in &moved {
        state.listeners.entry(listener.clone()).or_default().insert(*wanted, arn.clone());
        if let Some(rule) = state.rules.get_mut(arn) {
            rule.priority = Some(*wanted);
        }
    }
    let echoes = moved.iter().map(|(arn, ..)| echo(state, arn)).collect::<Result<_, _>>()?;
    Ok(Node::empty().with("Rules", Node::List(echoes)))
}

fn priority(text: &str) -> Result<u32, AwsError> {
    let legal = text.parse().ok().filter(|priority| (1..=50_000).contains(priority) && *priority != DEFAULT);
    legal.ok_or_else(|| AwsError::validation(format!("Rule priority '{text}' must be between 1 and 50000")))
}

fn one(state: &State, arn: &str) -> Result<Node, AwsError> {
    Ok(Node::empty().with("Rules", Node::List(vec![echo(state, arn)?])))
}

fn echo(state: &State, arn: &str) -> Result<Node, AwsError> {
    let rule = state.rules.get(arn).ok_or_else(AwsError::rule_not_found)?;
    let priority = rule.priority.map_or_else(|| "default".to_owned(), |priority| priority.to_string());
    Ok(Node::empty()
        .with_text("RuleArn", arn)
        .with_text("Priority", priority)
        .with("Conditions", Node::List(rule.conditions.clone()))
        .with("Actions", Node::List(rule.actions.clone()))
        .with_text("IsDefault", rule.priority.is_none())
        .with("Transforms", Node::List(Vec::new())))
}

/// The conditions as the real API echoes them: hosts and paths in both forms, whichever was sent.
fn conditions(params: &Node) -> Vec<Node> {
    let echo = |sent: &Node| {
        let config = match sent.str("Field") {
            Some("host-header") => "HostHeaderConfig",
            Some("path-pattern") => "PathPatternConfig",
            _ => return sent.clone(),
        };
        let values = sent.get(config).and_then(|config| config.get("Values")).or_else(|| sent.get("Values"));
        let values = values.cloned().unwrap_or(Node::List(Vec::new()));
        sent.clone().with("Values", values.clone()).with(config, Node::empty().with("Values", values))
    };
    params.list("Conditions").iter().map(echo).collect()
}

/// What a rule answers with.
type Forwarding = (Vec<Node>, Vec<(String, i64)>);

/// The actions as the real API echoes them, and the weights that the forward action asks for.
fn actions(state: &State, params: &Node) -> Result<Forwarding, AwsError> {
    let (mut actions, mut weights) = (Vec::new(), Vec::new());
    for (index, sent) in params.list("Actions").iter().enumerate() {
        let mut action = sent.clone();
        if sent.str("Order").is_none() {
            action.set("Order", Node::text(index + 1));
        }
        if sent.str("Type") == Some("forward") {
            weights = forwarded(state, sent)?;
            if let [(only, _)] = weights.as_slice() {
                action.set("TargetGroupArn", Node::text(only));
            }
            action.set("ForwardConfig", forward_config(sent, &weights));
        }
        actions.push(action);
    }
    if actions.is_empty() {
        return Err(AwsError::validation("An action must be specified"));
    }
    Ok((actions, weights))
}

fn forwarded(state: &State, sent: &Node) -> Result<Vec<(String, i64)>, AwsError> {
    let groups = sent.get("ForwardConfig").map(|config| config.list("TargetGroups")).unwrap_or_default();
    let weight = |group: &Node| group.str("Weight").and_then(|weight| weight.parse().ok()).unwrap_or(1);
    let mut weights: Vec<(String, i64)> = groups
        .iter()
        .map(|group| (group.str("TargetGroupArn").unwrap_or_default().to_owned(), weight(group)))
        .collect();
    if weights.is_empty() {
        weights.extend(sent.str("TargetGroupArn").map(|only| (only.to_owned(), 1)));
    }
    if weights.len() > MAX_GROUPS {
        return Err(AwsError::new("TooManyTargetGroups", "Too many target groups in one action"));
    }
    match weights.iter().find(|(arn, _)| !state.groups.contains_key(arn)) {
        Some((unknown, _)) => Err(AwsError::group_not_found(unknown)),
        None => Ok(weights),
    }
}

fn forward_config(sent: &Node, weights: &[(String, i64)]) -> Node {
    let tuple =
        |(arn, weight): &(String, i64)| Node::empty().with_text("TargetGroupArn", arn).with_text("Weight", weight);
    let sticky = sent.get("ForwardConfig").and_then(|config| config.get("TargetGroupStickinessConfig")).cloned();
    let sticky = sticky.unwrap_or_else(|| Node::empty().with_text("Enabled", false));
    Node::empty()
        .with("TargetGroups", Node::List(weights.iter().map(tuple).collect()))
        .with("TargetGroupStickinessConfig", sticky)
}

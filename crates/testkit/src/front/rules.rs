//! The operations on listener rules.

use std::collections::{BTreeMap, BTreeSet};

use okra_judge::record::{LbCall, RuleState};

use super::error::AwsError;
use super::node::Node;
use super::state::{Condition, Rule, State};
use super::{actions, conditions, tags};

/// Rules of one load balancer without the default ones; AWS's default quota.
const MAX_RULES: usize = 100;
const MAX_PAGE: usize = 400;

/// `DescribeRules`.
pub(crate) fn describe_rules(state: &State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let named = params.strings("RuleArns");
    let listener = params.str("ListenerArn");
    let rules: Vec<&Rule> = match (listener, named.is_empty()) {
        (Some(arn), true) => {
            state.listener(arn)?;
            state.rules_of(arn)
        }
        (None, false) => named.iter().map(|arn| state.rule(arn)).collect::<Result<_, _>>()?,
        (Some(_), false) => {
            return Err(AwsError::validation("Listener ARN and rule ARNs cannot be specified together"));
        }
        (None, true) => return Err(AwsError::validation("You must specify either listener ARN or rule ARNs")),
    };
    let (page, next) = page(&rules, params, |rule| rule.arn.as_str())?;
    call.answered = page.iter().map(|rule| state.view(rule)).collect();
    let answer = Node::empty().with("Rules", Node::List(page.iter().map(|rule| rule.echo()).collect()));
    Ok(match next {
        Some(marker) => answer.with_text("NextMarker", marker),
        None => answer,
    })
}

/// One page of `items` and the marker of the next: the key of its first item, so that what is
/// deleted between two pages shifts nothing.
pub(crate) fn page<'a, T: Clone>(
    items: &[T],
    params: &Node,
    key: impl Fn(&T) -> &'a str,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let size = match params.str("PageSize") {
        None => MAX_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=MAX_PAGE).contains(size))
            .ok_or_else(|| AwsError::validation(format!("Page size '{text}' must be between 1 and {MAX_PAGE}")))?,
    };
    let start = match params.str("Marker") {
        None => 0,
        Some(marker) => items
            .iter()
            .position(|item| key(item) == marker)
            .ok_or_else(|| AwsError::validation("The marker is not valid"))?,
    };
    let rest = items.get(start..).unwrap_or_default();
    Ok((rest.iter().take(size).cloned().collect(), rest.get(size).map(|item| key(item).to_owned())))
}

/// `CreateRule`.
pub(crate) fn create_rule(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    call.asked = Some(asked(params, None));
    let listener = params.str("ListenerArn").unwrap_or_default().to_owned();
    let balancer = state.listener(&listener)?.balancer.clone();
    let priority = priority(params.str("Priority").unwrap_or_default())?;
    let conditions = conditions::parse(params.list("Conditions"))?;
    let actions = actions::parse(state, &listener, None, params.list("Actions"))?;
    let given = tags::parse(params.list("Tags"))?;
    if state.rules_of(&listener).iter().any(|rule| rule.priority == Some(priority)) {
        return Err(AwsError::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
    }
    let on_balancer = |rule: &&Rule| state.listeners.get(&rule.listener).is_some_and(|l| l.balancer == balancer);
    if state.rules.values().filter(|r| r.priority.is_some()).filter(on_balancer).count() >= MAX_RULES {
        return Err(AwsError::new("TooManyRules", "The maximum number of rules has been reached"));
    }
    let arn = format!("{}/{}", listener.replace(":listener/", ":listener-rule/"), state.next_id());
    let transforms = params.list("Transforms").to_vec();
    let rule = Rule { arn: arn.clone(), listener, priority: Some(priority), conditions, actions, transforms };
    let echo = rule.echo();
    state.rules.insert(arn.clone(), rule);
    state.tags.insert(arn.clone(), given);
    call.after = state.view_of(&arn);
    Ok(Node::empty().with("Rules", Node::List(vec![echo])))
}

/// `ModifyRule`: what is not named stays, what is named replaces the whole list.
pub(crate) fn modify_rule(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let arn = params.str("RuleArn").unwrap_or_default().to_owned();
    call.before = state.view_of(&arn);
    call.touched = call.before.clone().into_iter().collect();
    call.after = call.before.clone();
    call.asked = Some(asked(params, call.before.as_ref()));
    let mut rule = state.rule(&arn)?.clone();
    if rule.priority.is_none() {
        return Err(AwsError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be modified")));
    }
    if ["Actions", "Conditions", "Transforms", "ResetTransforms"].iter().all(|name| params.get(name).is_none()) {
        return Err(AwsError::validation("Either actions, conditions or transforms must be specified"));
    }
    if params.get("Conditions").is_some() {
        rule.conditions = conditions::parse(params.list("Conditions"))?;
    }
    if params.get("Actions").is_some() {
        rule.actions = actions::parse(state, &rule.listener, Some(&arn), params.list("Actions"))?;
    }
    if params.get("Transforms").is_some() || params.str("ResetTransforms") == Some("true") {
        rule.transforms = params.list("Transforms").to_vec();
    }
    let echo = rule.echo();
    state.rules.insert(arn.clone(), rule);
    call.after = state.view_of(&arn);
    Ok(Node::empty().with("Rules", Node::List(vec![echo])))
}

/// `DeleteRule`.
pub(crate) fn delete_rule(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let arn = params.str("RuleArn").unwrap_or_default();
    call.before = state.view_of(arn);
    call.touched = call.before.clone().into_iter().collect();
    if state.rule(arn)?.priority.is_none() {
        call.after = call.before.clone();
        return Err(AwsError::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be deleted")));
    }
    state.rules.remove(arn);
    state.tags.remove(arn);
    Ok(Node::empty())
}

/// `SetRulePriorities`: all of them or none.
pub(crate) fn set_rule_priorities(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let pairs = params.list("RulePriorities");
    let arns: Vec<&str> = pairs.iter().map(|pair| pair.str("RuleArn").unwrap_or_default()).collect();
    call.touched = arns.iter().filter_map(|arn| state.view_of(arn)).collect();
    if let [only] = call.touched.as_slice() {
        call.before = Some(only.clone());
        call.after = Some(only.clone());
    }
    if pairs.is_empty() {
        return Err(AwsError::validation("At least one rule priority must be specified"));
    }
    let mut moved = BTreeMap::new();
    let mut listeners = BTreeSet::new();
    for pair in pairs {
        let rule = state.rule(pair.str("RuleArn").unwrap_or_default())?;
        if rule.priority.is_none() {
            return Err(AwsError::new("OperationNotPermitted", "The priority of a default rule cannot be changed"));
        }
        listeners.insert(rule.listener.clone());
        moved.insert(rule.arn.clone(), priority(pair.str("Priority").unwrap_or_default())?);
    }
    for listener in &listeners {
        let mut taken = BTreeSet::new();
        for rule in state.rules_of(listener) {
            let Some(now) = moved.get(&rule.arn).copied().or(rule.priority) else { continue };
            if !taken.insert(now) {
                return Err(AwsError::new("PriorityInUse", format!("Priority '{now}' is currently in use")));
            }
        }
    }
    for (arn, priority) in &moved {
        if let Some(rule) = state.rules.get_mut(arn) {
            rule.priority = Some(*priority);
        }
    }
    if call.before.is_some() {
        call.after = moved.keys().next().and_then(|arn| state.view_of(arn));
    }
    let echoes = moved.keys().filter_map(|arn| state.rules.get(arn)).map(Rule::echo).collect();
    Ok(Node::empty().with("Rules", Node::List(echoes)))
}

fn priority(text: &str) -> Result<u32, AwsError> {
    text.parse::<u32>()
        .ok()
        .filter(|p| (1..=50_000).contains(p))
        .ok_or_else(|| AwsError::validation(format!("Rule priority '{text}' must be between 1 and 50000")))
}

/// What a write asks for, read without judging it.
pub(crate) fn asked(params: &Node, before: Option<&RuleState>) -> RuleState {
    let mut state = before.cloned().unwrap_or_else(|| RuleState {
        listener: params.str("ListenerArn").unwrap_or_default().to_owned(),
        priority: params.str("Priority").unwrap_or_default().to_owned(),
        tags: tags::parse(params.list("Tags")).unwrap_or_default(),
        ..RuleState::default()
    });
    let forward = params.list("Actions").iter().find(|action| action.str("Type") == Some("forward"));
    if params.get("Actions").is_some() {
        state.weights.clear();
        state.sticky = false;
    }
    if let Some(forward) = forward {
        let config = forward.get("ForwardConfig");
        let groups = config.map(|c| c.list("TargetGroups")).unwrap_or_default();
        for group in groups {
            let weight = group.str("Weight").map_or(1, |text| text.parse().unwrap_or(-1));
            state.weights.insert(group.str("TargetGroupArn").unwrap_or_default().to_owned(), weight);
        }
        if let Some(only) = forward.str("TargetGroupArn").filter(|_| groups.is_empty()) {
            state.weights.insert(only.to_owned(), 1);
        }
        let stickiness = config.and_then(|c| c.get("TargetGroupStickinessConfig"));
        state.sticky = stickiness.and_then(|s| s.str("Enabled")) == Some("true");
    }
    if params.get("Conditions").is_some() {
        let parsed = conditions::parse(params.list("Conditions")).unwrap_or_default();
        state.conditions = parsed.iter().map(Condition::canonical).collect();
        state.conditions.sort();
    }
    state
}

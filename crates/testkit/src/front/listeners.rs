//! Listeners with their default rules, and what the front learns about load balancers and target
//! groups, which moto keeps.

use std::collections::BTreeSet;

use okra_judge::record::LbCall;

use super::error::AwsError;
use super::node::Node;
use super::state::{Action, Listener, Rule, State};
use super::tags::balancer_not_found;
use super::{actions, rules, tags};

/// `CreateListener`.
pub(crate) fn create_listener(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let balancer = params.str("LoadBalancerArn").unwrap_or_default().to_owned();
    if !state.balancers.contains_key(&balancer) {
        return Err(balancer_not_found());
    }
    let port = params.str("Port").and_then(|text| text.parse::<u16>().ok()).filter(|port| *port > 0);
    let port = port.ok_or_else(|| AwsError::validation("A listener port between 1 and 65535 must be specified"))?;
    let protocol = params.str("Protocol").unwrap_or_default().to_owned();
    if protocol == "HTTPS" && params.list("Certificates").is_empty() {
        return Err(AwsError::validation("A certificate must be specified for HTTPS listeners"));
    }
    let text = port.to_string();
    if state.listeners.values().any(|l| l.balancer == balancer && l.node.str("Port") == Some(&text)) {
        return Err(AwsError::new(
            "DuplicateListener",
            "A listener already exists on this port for this load balancer",
        ));
    }
    let arn = format!("{}/{}", balancer.replace(":loadbalancer/", ":listener/"), state.next_id());
    let mut node = Node::empty().with_text("ListenerArn", &arn).with_text("LoadBalancerArn", &balancer);
    for name in ["Port", "Protocol", "Certificates", "SslPolicy", "AlpnPolicy"] {
        if let Some(value) = params.get(name).filter(|value| **value != Node::text("")) {
            node.set(name, value.clone());
        }
    }
    state.listeners.insert(arn.clone(), Listener { balancer, protocol, node });
    let given = tags::parse(params.list("Tags"));
    let parsed = actions::parse(state, &arn, None, params.list("DefaultActions"));
    let (given, parsed) = match (given, parsed) {
        (Ok(given), Ok(parsed)) => (given, parsed),
        (Err(error), _) | (_, Err(error)) => {
            state.listeners.remove(&arn);
            return Err(error);
        }
    };
    state.tags.insert(arn.clone(), given);
    let rule_arn = format!("{}/{}", arn.replace(":listener/", ":listener-rule/"), state.next_id());
    let rule = Rule {
        arn: rule_arn.clone(),
        listener: arn.clone(),
        priority: None,
        conditions: Vec::new(),
        actions: parsed,
        transforms: Vec::new(),
    };
    state.rules.insert(rule_arn.clone(), rule);
    call.after = state.view_of(&rule_arn);
    Ok(Node::empty().with("Listeners", Node::List(echo(state, &arn).into_iter().collect())))
}

/// `ModifyListener`: the default actions are the default rule's.
pub(crate) fn modify_listener(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let arn = params.str("ListenerArn").unwrap_or_default().to_owned();
    let mut listener = state.listener(&arn)?.clone();
    let rule = default_rule(state, &arn).map(|rule| rule.arn.clone()).unwrap_or_default();
    call.before = state.view_of(&rule);
    call.touched = call.before.clone().into_iter().collect();
    call.after = call.before.clone();
    for name in ["Port", "Protocol", "Certificates", "SslPolicy", "AlpnPolicy"] {
        if let Some(value) = params.get(name).filter(|value| **value != Node::text("")) {
            listener.node.set(name, value.clone());
        }
    }
    if let Some(protocol) = params.str("Protocol") {
        protocol.clone_into(&mut listener.protocol);
    }
    if params.get("DefaultActions").is_some() {
        let asked = Node::empty().with("Actions", params.get("DefaultActions").cloned().unwrap_or(Node::text("")));
        call.asked = Some(rules::asked(&asked, call.before.as_ref()));
        let parsed = actions::parse(state, &arn, Some(&rule), params.list("DefaultActions"))?;
        if let Some(rule) = state.rules.get_mut(&rule) {
            rule.actions = parsed;
        }
    }
    state.listeners.insert(arn.clone(), listener);
    call.after = state.view_of(&rule);
    Ok(Node::empty().with("Listeners", Node::List(echo(state, &arn).into_iter().collect())))
}

/// `DescribeListeners`.
pub(crate) fn describe_listeners(state: &State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let named = params.strings("ListenerArns");
    let balancer = params.str("LoadBalancerArn");
    let arns: Vec<&str> = if let Some(balancer) = balancer {
        if !state.balancers.contains_key(balancer) {
            return Err(balancer_not_found());
        }
        state.listeners.iter().filter(|(_, l)| l.balancer == balancer).map(|(arn, _)| arn.as_str()).collect()
    } else {
        for arn in &named {
            state.listener(arn)?;
        }
        named.iter().map(String::as_str).collect()
    };
    if arns.is_empty() && balancer.is_none() {
        return Err(AwsError::validation("You must specify either listener ARNs or a load balancer ARN"));
    }
    let (page, next) = rules::page(&arns, params, |arn| *arn)?;
    call.answered = page.iter().filter_map(|arn| default_rule(state, arn)).map(|rule| state.view(rule)).collect();
    let answer = Node::empty().with("Listeners", Node::List(page.iter().filter_map(|arn| echo(state, arn)).collect()));
    Ok(match next {
        Some(marker) => answer.with_text("NextMarker", marker),
        None => answer,
    })
}

/// `DeleteListener`: its rules go with it.
pub(crate) fn delete_listener(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let arn = params.str("ListenerArn").unwrap_or_default().to_owned();
    state.listener(&arn)?;
    call.touched = state.rules_of(&arn).into_iter().map(|rule| state.view(rule)).collect();
    remove_listener(state, &arn);
    Ok(Node::empty())
}

fn remove_listener(state: &mut State, arn: &str) {
    state.listeners.remove(arn);
    let gone: BTreeSet<String> = state.rules_of(arn).iter().map(|rule| rule.arn.clone()).collect();
    state.rules.retain(|rule, _| !gone.contains(rule));
    state.tags.retain(|tagged, _| tagged != arn && !gone.contains(tagged));
}

fn default_rule<'a>(state: &'a State, listener: &str) -> Option<&'a Rule> {
    state.rules.values().find(|rule| rule.listener == listener && rule.priority.is_none())
}

fn echo(state: &State, arn: &str) -> Option<Node> {
    let listener = state.listeners.get(arn)?;
    let actions = default_rule(state, arn).map(|r| r.actions.iter().map(Action::echo).collect()).unwrap_or_default();
    Some(listener.node.clone().with("DefaultActions", Node::List(actions)))
}

/// What must be refused before moto, which does not know the rules, is asked.
pub(crate) fn judge_forwarded(state: &State, operation: &str, params: &Node) -> Result<(), AwsError> {
    let group = params.str("TargetGroupArn").unwrap_or_default();
    if operation == "DeleteTargetGroup" && !state.balancers_of(group).is_empty() {
        let message = format!("Target group '{group}' is currently in use by a listener or a rule");
        return Err(AwsError::new("ResourceInUse", message));
    }
    Ok(())
}

/// Learns from moto's answer to a call that it accepted.
pub(crate) fn learn(state: &mut State, operation: &str, params: &Node, answer: &Node) {
    let given = tags::parse(params.list("Tags")).unwrap_or_default();
    match operation {
        "CreateLoadBalancer" => {
            for balancer in answer.list("LoadBalancers") {
                if let Some(arn) = balancer.str("LoadBalancerArn") {
                    let kind = params.str("Type").unwrap_or("application");
                    state.balancers.insert(arn.to_owned(), kind.to_owned());
                    state.tags.insert(arn.to_owned(), given.clone());
                }
            }
        }
        "CreateTargetGroup" => {
            for group in answer.list("TargetGroups") {
                if let Some(arn) = group.str("TargetGroupArn") {
                    let port = group.str("Port").and_then(|port| port.parse().ok()).unwrap_or_default();
                    state.groups.entry(arn.to_owned()).or_default().port = port;
                    state.tags.entry(arn.to_owned()).or_insert_with(|| given.clone());
                }
            }
        }
        "DeleteLoadBalancer" => {
            let balancer = params.str("LoadBalancerArn").unwrap_or_default();
            let listeners: Vec<String> =
                state.listeners.iter().filter(|(_, l)| l.balancer == balancer).map(|(arn, _)| arn.clone()).collect();
            for arn in &listeners {
                remove_listener(state, arn);
            }
            state.balancers.remove(balancer);
            state.tags.remove(balancer);
        }
        "DeleteTargetGroup" => {
            let group = params.str("TargetGroupArn").unwrap_or_default();
            state.groups.remove(group);
            state.tags.remove(group);
        }
        _ => {}
    }
}

/// Puts right what moto cannot know in its answer to `DescribeTargetGroups`: which load balancers use
/// a group, the filter by load balancer, and paging.
pub(crate) fn correct_groups(state: &State, params: &Node, answer: &Node) -> Result<Node, AwsError> {
    let balancer = params.str("LoadBalancerArn");
    let mut groups = Vec::new();
    for group in answer.list("TargetGroups") {
        let used = state.balancers_of(group.str("TargetGroupArn").unwrap_or_default());
        if balancer.is_none_or(|wanted| used.contains(wanted)) {
            groups.push(group.clone().with("LoadBalancerArns", Node::texts(used)));
        }
    }
    let keyed: Vec<(&str, &Node)> = groups.iter().map(|g| (g.str("TargetGroupArn").unwrap_or_default(), g)).collect();
    let (page, next) = rules::page(&keyed, params, |(arn, _)| *arn)?;
    let answer =
        Node::empty().with("TargetGroups", Node::List(page.into_iter().map(|(_, group)| group.clone()).collect()));
    Ok(match next {
        Some(marker) => answer.with_text("NextMarker", marker),
        None => answer,
    })
}

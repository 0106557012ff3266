//! Which operation is carried out where.

use std::time::Instant;

use okra_judge::record::LbCall;

use super::error::AwsError;
use super::faults::CallInfo;
use super::node::Node;
use super::state::State;
use super::{health, listeners, rules, tags};

/// The operations that the front carries out by itself; all others go to moto.
pub(crate) fn is_native(operation: &str) -> bool {
    matches!(
        operation,
        "DescribeRules"
            | "CreateRule"
            | "ModifyRule"
            | "DeleteRule"
            | "SetRulePriorities"
            | "CreateListener"
            | "ModifyListener"
            | "DescribeListeners"
            | "DeleteListener"
            | "DescribeTags"
            | "AddTags"
            | "RemoveTags"
            | "DescribeTargetHealth"
            | "RegisterTargets"
            | "DeregisterTargets"
    )
}

/// Carries out a native operation; `call` is told what was asked and what became of it.
pub(crate) fn dispatch(state: &mut State, params: &Node, call: &mut LbCall, now: Instant) -> Result<Node, AwsError> {
    match call.operation.as_str() {
        "DescribeRules" => rules::describe_rules(state, params, call),
        "CreateRule" => rules::create_rule(state, params, call),
        "ModifyRule" => rules::modify_rule(state, params, call),
        "DeleteRule" => rules::delete_rule(state, params, call),
        "SetRulePriorities" => rules::set_rule_priorities(state, params, call),
        "CreateListener" => listeners::create_listener(state, params, call),
        "ModifyListener" => listeners::modify_listener(state, params, call),
        "DescribeListeners" => listeners::describe_listeners(state, params, call),
        "DeleteListener" => listeners::delete_listener(state, params, call),
        "DescribeTags" => tags::describe_tags(state, params),
        "AddTags" => tags::add_tags(state, params, call),
        "RemoveTags" => tags::remove_tags(state, params, call),
        "DescribeTargetHealth" => health::describe_target_health(state, params, call, now),
        "RegisterTargets" => health::register_targets(state, params, now),
        "DeregisterTargets" => health::deregister_targets(state, params, now),
        other => Err(AwsError::new("InvalidAction", format!("Could not find operation {other}"))),
    }
}

/// The record of a call that was not carried out: what it names and what it asked for.
pub(crate) fn named(state: &State, params: &Node, info: &CallInfo) -> LbCall {
    let rule = params.str("RuleArn").and_then(|arn| state.view_of(arn));
    let prioritised = params.list("RulePriorities").iter().filter_map(|pair| pair.str("RuleArn").map(str::to_owned));
    let others = params.strings("ResourceArns").into_iter().chain(prioritised);
    let touched = rule.iter().cloned().chain(others.filter_map(|arn| state.view_of(&arn)));
    let writes_rule = matches!(info.operation.as_str(), "CreateRule" | "ModifyRule");
    LbCall {
        caller: info.caller.clone(),
        operation: info.operation.clone(),
        asked: writes_rule.then(|| rules::asked(params, rule.as_ref())),
        touched: touched.collect(),
        before: rule.clone(),
        after: rule,
        ..LbCall::default()
    }
}

/// The names of what a call is about: see [`CallInfo::about`].
pub(crate) fn about(state: &State, params: &Node) -> Vec<String> {
    let mut names = Vec::new();
    params.each_text(&mut |text| {
        if text.starts_with("arn:") {
            names.push(text.to_owned());
            state.name(text, &mut names);
        }
    });
    names.extend(params.list("Tags").iter().filter_map(|tag| tag.str("Value")).map(str::to_owned));
    names.sort();
    names.dedup();
    names
}

/// Whether a read may lag behind.
pub(crate) fn is_lagging(operation: &str) -> bool {
    matches!(operation, "DescribeRules" | "DescribeTags" | "DescribeTargetHealth")
}

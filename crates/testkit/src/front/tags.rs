//! Tags of load balancers, listeners, rules and target groups.

use std::collections::BTreeMap;

use okra_judge::record::LbCall;

use super::error::AwsError;
use super::node::Node;
use super::state::State;

const MAX_DESCRIBED: usize = 20;
const MAX_TAGS: usize = 50;

/// Reads a list of tags.
pub(crate) fn parse(items: &[Node]) -> Result<BTreeMap<String, String>, AwsError> {
    let mut tags = BTreeMap::new();
    for item in items {
        let key = item.str("Key").unwrap_or_default();
        let value = item.str("Value").unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 || key.starts_with("aws:") {
            return Err(AwsError::validation(format!("Tag '{key}' is not valid")));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(AwsError::new("DuplicateTagKeys", "A tag key was specified more than once"));
        }
    }
    Ok(tags)
}

/// `DescribeTags`.
pub(crate) fn describe_tags(state: &State, params: &Node) -> Result<Node, AwsError> {
    if params.list("ResourceArns").len() > MAX_DESCRIBED {
        return Err(AwsError::validation(format!(
            "1 validation error detected: Value at 'resourceArns' failed to satisfy constraint: \
             Member must have length less than or equal to {MAX_DESCRIBED}"
        )));
    }
    let arns = arns(state, params)?;
    let describe = |arn: &String| {
        let tag = |(k, v): (&String, &String)| Node::empty().with_text("Key", k).with_text("Value", v);
        let tags = state.tags.get(arn).into_iter().flatten().map(tag).collect();
        Node::empty().with_text("ResourceArn", arn).with("Tags", Node::List(tags))
    };
    Ok(Node::empty().with("TagDescriptions", Node::List(arns.iter().map(describe).collect())))
}

/// `AddTags`.
pub(crate) fn add_tags(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let arns = named_rules(state, params, call)?;
    let given = parse(params.list("Tags"))?;
    if given.is_empty() {
        return Err(AwsError::validation("At least one tag must be specified"));
    }
    for arn in &arns {
        let mut tags = state.tags.get(arn).cloned().unwrap_or_default();
        tags.extend(given.clone());
        if tags.len() > MAX_TAGS {
            return Err(AwsError::new("TooManyTags", "The maximum number of tags has been reached"));
        }
        state.tags.insert(arn.clone(), tags);
    }
    call.after = call.before.as_ref().and_then(|rule| state.view_of(&rule.arn));
    Ok(Node::empty())
}

/// `RemoveTags`.
pub(crate) fn remove_tags(state: &mut State, params: &Node, call: &mut LbCall) -> Result<Node, AwsError> {
    let arns = named_rules(state, params, call)?;
    let keys = params.strings("TagKeys");
    if keys.is_empty() {
        return Err(AwsError::validation("At least one tag key must be specified"));
    }
    for arn in &arns {
        if let Some(tags) = state.tags.get_mut(arn) {
            tags.retain(|key, _| !keys.contains(key));
        }
    }
    call.after = call.before.as_ref().and_then(|rule| state.view_of(&rule.arn));
    Ok(Node::empty())
}

fn named_rules(state: &State, params: &Node, call: &mut LbCall) -> Result<Vec<String>, AwsError> {
    call.touched = params.strings("ResourceArns").iter().filter_map(|arn| state.view_of(arn)).collect();
    if let [only] = call.touched.as_slice() {
        call.before = Some(only.clone());
        call.after = Some(only.clone());
    }
    arns(state, params)
}

fn arns(state: &State, params: &Node) -> Result<Vec<String>, AwsError> {
    let arns = params.strings("ResourceArns");
    if arns.is_empty() {
        return Err(AwsError::validation("At least one resource ARN must be specified"));
    }
    for arn in &arns {
        if arn.contains(":listener-rule/") {
            state.rule(arn)?;
        } else if arn.contains(":listener/") {
            state.listener(arn)?;
        } else if arn.contains(":targetgroup/") {
            state.groups.get(arn).ok_or_else(|| AwsError::group_not_found(arn))?;
        } else if arn.contains(":loadbalancer/") {
            state.balancers.get(arn).ok_or_else(balancer_not_found)?;
        } else {
            return Err(AwsError::validation(format!("'{arn}' is not a valid ELBv2 ARN")));
        }
    }
    Ok(arns)
}

pub(crate) fn balancer_not_found() -> AwsError {
    AwsError::new("LoadBalancerNotFound", "One or more load balancers not found")
}

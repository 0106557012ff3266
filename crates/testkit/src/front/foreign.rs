//! A third party that changes rules behind okra's back. Its calls are judged like anybody's and recorded with
//! the caller [`FOREIGN`]; faults do not meet them.

use okra_judge::record::{Event, LbCall};

use super::error::AwsError;
use super::faults::ForeignEdit;
use super::node::Node;
use super::state::State;
use super::{Front, Shared, operations};

/// The caller in the record of what a test changes as a third party.
pub const FOREIGN: &str = "foreign";

impl Shared {
    fn foreign(&self, operation: &str, params: &Node) -> Result<Node, AwsError> {
        self.locked(|inner| {
            let mut call = LbCall { caller: FOREIGN.to_owned(), operation: operation.to_owned(), ..LbCall::default() };
            let now = std::time::Instant::now();
            let result = operations::dispatch(&mut inner.state, params, &mut call, now);
            call.error = result.as_ref().err().map(|error| error.code.clone());
            inner.push_call(call);
            result
        })
    }

    /// Carries out what a plan says, on the rule named by a part of a name, or on the first one that the struck call is
    /// about.
    pub(crate) fn edit(&self, rule: Option<&str>, edit: &ForeignEdit, about: &[String]) {
        let planned = self.noted(|inner| planned(&inner.state, rule, edit, about));
        let done = planned.and_then(|(operation, params)| self.foreign(operation, &params).map(drop));
        if let Err(error) = done {
            let text = format!("the third party failed to do {edit:?}: {}: {}", error.code, error.message);
            self.noted(|inner| inner.push(Event::Note { text }));
        }
    }
}

/// The call that carries an edit out.
fn planned(
    state: &State,
    rule: Option<&str>,
    edit: &ForeignEdit,
    about: &[String],
) -> Result<(&'static str, Node), AwsError> {
    let named = |part: &str| state.rule_named(part).ok_or_else(AwsError::rule_not_found);
    if let ForeignEdit::Reorder(moves) = edit {
        let moves = moves.iter().map(|(part, priority)| Ok(priority_pair(&named(part)?.arn, *priority)));
        let pairs = moves.collect::<Result<_, AwsError>>()?;
        return Ok(("SetRulePriorities", Node::empty().with("RulePriorities", Node::List(pairs))));
    }
    let rule = match rule {
        Some(part) => named(part)?,
        None => about.iter().find_map(|name| state.rules.get(name)).ok_or_else(AwsError::rule_not_found)?,
    };
    let on_rule = || Node::empty().with_text("RuleArn", &rule.arn);
    let on_resource = || Node::empty().with("ResourceArns", Node::texts([&rule.arn]));
    Ok(match edit {
        ForeignEdit::Weights(weights) => {
            let groups = weights.iter().map(|(part, weight)| {
                let arn = state.groups.keys().find(|arn| arn.contains(part.as_str()));
                Ok((arn.ok_or_else(|| AwsError::group_not_found(part))?.as_str(), *weight))
            });
            ("ModifyRule", on_rule().with("Actions", forward(&groups.collect::<Result<Vec<_>, AwsError>>()?)))
        }
        ForeignEdit::Path(path) => ("ModifyRule", on_rule().with("Conditions", path_condition(path))),
        ForeignEdit::Priority(priority) => {
            let pairs = Node::List(vec![priority_pair(&rule.arn, *priority)]);
            ("SetRulePriorities", Node::empty().with("RulePriorities", pairs))
        }
        ForeignEdit::Tags(tags) => {
            let tags: Vec<(&str, &str)> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            ("AddTags", on_resource().with("Tags", tag_list(&tags)))
        }
        ForeignEdit::Untag(keys) => ("RemoveTags", on_resource().with("TagKeys", Node::texts(keys))),
        ForeignEdit::Delete | ForeignEdit::Reorder(_) => ("DeleteRule", on_rule()),
        ForeignEdit::Create(priority) => {
            let groups = rule.forward().map(|forward| forward.groups.clone()).unwrap_or_default();
            let groups: Vec<(&str, i64)> = groups.iter().map(|(arn, weight)| (arn.as_str(), *weight)).collect();
            let params = Node::empty().with_text("ListenerArn", &rule.listener).with_text("Priority", priority);
            ("CreateRule", params.with("Conditions", path_condition("/")).with("Actions", forward(&groups)))
        }
    })
}

fn priority_pair(rule: &str, priority: u32) -> Node {
    Node::empty().with_text("RuleArn", rule).with_text("Priority", priority)
}

impl Front {
    fn foreign(&self, operation: &str, params: &Node) -> Result<Node, AwsError> {
        self.shared.foreign(operation, params)
    }

    /// Replaces the forward action of a rule.
    pub fn foreign_modify_rule(&self, rule: &str, weights: &[(&str, i64)]) -> Result<(), AwsError> {
        let params = Node::empty().with_text("RuleArn", rule).with("Actions", forward(weights));
        self.foreign("ModifyRule", &params).map(drop)
    }

    /// Replaces the conditions of a rule by one on the path.
    pub fn foreign_modify_path(&self, rule: &str, path: &str) -> Result<(), AwsError> {
        let params = Node::empty().with_text("RuleArn", rule).with("Conditions", path_condition(path));
        self.foreign("ModifyRule", &params).map(drop)
    }

    /// Creates a rule with one condition on the path; its ARN.
    pub fn foreign_create_rule(
        &self,
        listener: &str,
        priority: u32,
        path: &str,
        weights: &[(&str, i64)],
        tags: &[(&str, &str)],
    ) -> Result<String, AwsError> {
        let params = Node::empty()
            .with_text("ListenerArn", listener)
            .with_text("Priority", priority)
            .with("Conditions", path_condition(path))
            .with("Actions", forward(weights))
            .with("Tags", tag_list(tags));
        let answer = self.foreign("CreateRule", &params)?;
        let arn = answer.list("Rules").first().and_then(|rule| rule.str("RuleArn"));
        Ok(arn.unwrap_or_default().to_owned())
    }

    /// Deletes a rule.
    pub fn foreign_delete_rule(&self, rule: &str) -> Result<(), AwsError> {
        self.foreign("DeleteRule", &Node::empty().with_text("RuleArn", rule)).map(drop)
    }

    /// Moves a rule to another priority.
    pub fn foreign_set_priority(&self, rule: &str, priority: u32) -> Result<(), AwsError> {
        let params = Node::empty().with("RulePriorities", Node::List(vec![priority_pair(rule, priority)]));
        self.foreign("SetRulePriorities", &params).map(drop)
    }

    /// Adds tags to a resource, overwriting those of the same key.
    pub fn foreign_tags(&self, arn: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        let params = Node::empty().with("ResourceArns", Node::texts([arn])).with("Tags", tag_list(tags));
        self.foreign("AddTags", &params).map(drop)
    }

    /// Takes tags off a resource.
    pub fn foreign_untag(&self, arn: &str, keys: &[&str]) -> Result<(), AwsError> {
        let params = Node::empty().with("ResourceArns", Node::texts([arn])).with("TagKeys", Node::texts(keys));
        self.foreign("RemoveTags", &params).map(drop)
    }
}

fn forward(weights: &[(&str, i64)]) -> Node {
    let tuple =
        |(arn, weight): &(&str, i64)| Node::empty().with_text("TargetGroupArn", arn).with_text("Weight", weight);
    let config = Node::empty().with("TargetGroups", Node::List(weights.iter().map(tuple).collect()));
    Node::List(vec![Node::empty().with_text("Type", "forward").with("ForwardConfig", config)])
}

fn path_condition(path: &str) -> Node {
    Node::List(vec![Node::empty().with_text("Field", "path-pattern").with("Values", Node::texts([path]))])
}

fn tag_list(tags: &[(&str, &str)]) -> Node {
    Node::List(tags.iter().map(|(k, v)| Node::empty().with_text("Key", k).with_text("Value", v)).collect())
}

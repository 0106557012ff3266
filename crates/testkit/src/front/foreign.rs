//! A third party that changes rules behind okra's back. Its calls are judged like anybody's and recorded with
//! the caller [`FOREIGN`]; faults do not meet them.

use okra_judge::record::LbCall;

use super::error::AwsError;
use super::node::Node;
use super::{Front, operations};

/// The caller in the record of what a test changes as a third party.
pub const FOREIGN: &str = "foreign";

impl Front {
    fn foreign(&self, operation: &str, params: &Node) -> Result<Node, AwsError> {
        self.shared.locked(|inner| {
            let mut call = LbCall { caller: FOREIGN.to_owned(), operation: operation.to_owned(), ..LbCall::default() };
            let now = std::time::Instant::now();
            let result = operations::dispatch(&mut inner.state, params, &mut call, now);
            call.error = result.as_ref().err().map(|error| error.code.clone());
            inner.push_call(call);
            inner.settle(now);
            result
        })
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
        let pair = Node::empty().with_text("RuleArn", rule).with_text("Priority", priority);
        let params = Node::empty().with("RulePriorities", Node::List(vec![pair]));
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

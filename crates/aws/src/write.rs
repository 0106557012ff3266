//! The changes of a rule: each one call, and nothing lost that it does not name.

use std::{collections::BTreeMap, error::Error, time::Duration};

use aws_sdk_elasticloadbalancingv2::types::{Rule, RulePriorityPair, Tag};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use okra_api::names::{CELL_TAG, OWNER_TAG};
use okra_core::route::{Adopt, Change, Conditions, Lane, Sticky};
use okra_provider::{RouterError, RouterErrorKind};

use crate::{
    actions, conditions,
    listener::SHARED_FOR,
    memory::{READING_AGE, Tags},
    operation::Operation,
    session::Session,
};

/// Tags that were read longer ago are read again before a write.
const TAGS_BEFORE_WRITE: Duration = Duration::from_mins(1);

impl Session<'_> {
    /// Carries out a change.
    pub async fn apply(&self, change: &Change) -> Result<(), RouterError> {
        match change {
            Change::Create { weights, stickiness } => self.create(weights, *stickiness).await,
            Change::Modify { rule, weights, conditions, stickiness } => {
                self.modify(rule, weights.as_ref(), conditions.as_ref(), *stickiness).await
            }
            Change::Move { rule } => self.set_priority(rule).await,
            Change::Adopt { rule } => self.adopt(rule).await,
            Change::Remove { rule } => self.remove(rule).await,
        }
    }

    async fn create(&self, weights: &BTreeMap<String, i32>, stickiness: Option<Sticky>) -> Result<(), RouterError> {
        let operation = Operation::CreateRule;
        let actions = actions::create(weights, stickiness).map_err(|why| self.refuse(operation, &why))?;
        let conditions =
            conditions::write(&self.intent.place.conditions()).map_err(|why| self.refuse(operation, &why))?;
        let request = self.client.create_rule().listener_arn(&self.listener.arn).priority(self.priority);
        let request =
            request.set_conditions(Some(conditions)).set_actions(Some(actions)).set_tags(Some(self.our_tags()));
        let request = request.customize().config_override(self.timeouts());
        let answer = self.write(operation, request.send()).await?;
        for rule in answer.rules() {
            self.router.memory.keep_rule(rule);
            self.router.memory.keep_tags(rule.rule_arn().unwrap_or_default(), Tags::wanted(self.intent));
        }
        Ok(())
    }

    async fn modify(
        &self,
        rule: &str,
        weights: Option<&BTreeMap<String, i32>>,
        wanted: Option<&Conditions>,
        stickiness: Option<Sticky>,
    ) -> Result<(), RouterError> {
        let operation = Operation::ModifyRule;
        self.require_ours(operation, rule).await?;
        let mut request = self.client.modify_rule().rule_arn(rule);
        if weights.is_some() || stickiness.is_some() {
            let held = self.last_reading(operation, rule).await?;
            let actions = actions::modify(held.actions(), weights, stickiness);
            request = request.set_actions(Some(actions.map_err(|why| self.refuse(operation, &why))?));
        }
        if let Some(wanted) = wanted {
            let conditions = conditions::write(wanted).map_err(|why| self.refuse(operation, &why))?;
            request = request.set_conditions(Some(conditions));
        }
        // What we sent last is from now on not what the rule surely holds.
        self.router.memory.forget_rule(rule);
        let answer = self.write(operation, request.customize().config_override(self.timeouts()).send()).await?;
        for rule in answer.rules() {
            self.router.memory.keep_rule(rule);
        }
        Ok(())
    }

    async fn set_priority(&self, rule: &str) -> Result<(), RouterError> {
        let operation = Operation::SetRulePriorities;
        self.require_ours(operation, rule).await?;
        let pair = RulePriorityPair::builder().rule_arn(rule).priority(self.priority).build();
        let request = self.client.set_rule_priorities().rule_priorities(pair);
        let request = request.customize().config_override(self.timeouts());
        self.write(operation, request.send()).await.map(drop)
    }

    async fn adopt(&self, rule: &str) -> Result<(), RouterError> {
        let operation = Operation::AddTags;
        self.require_adoptable(operation, rule).await?;
        let request = self.client.add_tags().resource_arns(rule).set_tags(Some(self.our_tags()));
        self.router.memory.forget_tags(rule);
        self.write(operation, request.customize().config_override(self.timeouts()).send()).await?;
        self.router.memory.keep_tags(rule, Tags::wanted(self.intent));
        Ok(())
    }

    async fn remove(&self, rule: &str) -> Result<(), RouterError> {
        let operation = Operation::DeleteRule;
        let request = self.client.delete_rule().rule_arn(rule).customize().config_override(self.timeouts());
        let result = match self.require_ours(operation, rule).await {
            Ok(()) => self.write(operation, request.send()).await.map(drop),
            Err(error) => Err(error),
        };
        match result {
            // It is gone, which is what was wanted.
            Err(error) if error.kind != RouterErrorKind::RuleNotFound => Err(error),
            _ => {
                self.router.memory.forget(rule);
                Ok(())
            }
        }
    }

    async fn write<T, E>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, RouterError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let result = self.send(operation, &self.subject(), request).await;
        self.router.memory.wrote(self.intent, SHARED_FOR);
        result
    }

    /// The actions of a rule as they were read last, which the caller did a moment ago; read again when it did not.
    async fn last_reading(&self, operation: Operation, rule: &str) -> Result<Rule, RouterError> {
        if let Some(read) = self.router.memory.rule(rule, READING_AGE) {
            return Ok(read);
        }
        self.read_rule(rule).await?.ok_or_else(|| self.gone(operation, rule))
    }

    /// Never touches a rule that does not carry this intent's tags (safety.md S11), whatever was asked for. A roll-back
    /// spends no call on whether somebody took them away since: many of them at once have to fit into AWS's rates.
    async fn require_ours(&self, operation: Operation, rule: &str) -> Result<(), RouterError> {
        let age = if self.call.lane == Lane::Rollback { Duration::MAX } else { TAGS_BEFORE_WRITE };
        if self.listener.holds(rule) && self.is_ours(rule, age).await? {
            return Ok(());
        }
        Err(self.refuse(operation, &format!("the rule does not carry the tags of {}", self.intent.owner)))
    }

    /// Never takes over a rule that the intent does not allow to.
    async fn require_adoptable(&self, operation: Operation, rule: &str) -> Result<(), RouterError> {
        let tags = match self.router.memory.tags(rule, READING_AGE) {
            Some(tags) => tags,
            None => self.fresh_tags(rule).await?,
        };
        let allowed = tags == Tags::wanted(self.intent)
            || match &self.intent.adopt {
                Adopt::No => false,
                Adopt::Untagged => tags == Tags::default(),
                Adopt::Installation(id) => tags.owner.as_ref() == Some(id),
            };
        if allowed && self.listener.holds(rule) {
            return Ok(());
        }
        let owner = tags.owner.map_or_else(|| "nobody".to_owned(), |owner| format!("installation {owner}"));
        Err(self.refuse(operation, &format!("the rule belongs to {owner}, and adopting it is not allowed")))
    }

    fn our_tags(&self) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        vec![tag(CELL_TAG, &self.intent.owner), tag(OWNER_TAG, &self.intent.installation)]
    }

    fn refuse(&self, operation: Operation, why: &str) -> RouterError {
        let message = format!("failed to {}: {why}", operation.doing(&self.subject()));
        RouterError::new(RouterErrorKind::Refused, "RefusedByOkra", message)
    }

    fn gone(&self, operation: Operation, rule: &str) -> RouterError {
        let message = format!("failed to {}: there is no rule {rule}", operation.doing(&self.subject()));
        RouterError::new(RouterErrorKind::RuleNotFound, "RuleNotFound", message)
    }
}

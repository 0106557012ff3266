//! The load balancer: the fake router with a past, and its calls as the judge reads them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::FutureExt as _;
use okra_api::names::{CELL_TAG, OWNER_TAG};
use okra_core::route::{Change, GroupHealth, Intent, Lane, ObservedRule, Place};
use okra_judge::record::{GroupHealth as Health, LbCall as Recorded, RuleState};
use okra_provider::{
    CallContext, RouterError, RouterErrorKind, TrafficRouter as _,
    testing::{AlwaysLeader, FakeRouter, FakeRule},
};

use crate::world::{LbAnswer, LbCall};

/// Who calls, in the record: every process of okra.
pub const OKRA: &str = "okra";
/// Who calls, in the record: somebody else.
pub const SOMEBODY: &str = "somebody";

/// A load balancer whose reads may lag behind.
#[derive(Debug)]
pub struct LoadBalancer {
    router: Arc<FakeRouter>,
    /// When the rules changed, and what they were from then on.
    past: Vec<(u64, Vec<FakeRule>)>,
    /// By how much reads lag now, in milliseconds.
    pub lag: u64,
    health: BTreeMap<String, GroupHealth>,
}

impl Default for LoadBalancer {
    fn default() -> Self {
        let router = FakeRouter::new();
        router.set_capabilities(okra_provider::router::alb_capabilities(crate::ports::SETTLE));
        router.set_default_health(GroupHealth { healthy: 0, total: 0, gone: true });
        Self { router, past: vec![(0, Vec::new())], lag: 0, health: BTreeMap::new() }
    }
}

fn anybody() -> CallContext {
    CallContext { lane: Lane::Verify, timeout: Duration::from_secs(10), leadership: Arc::new(AlwaysLeader) }
}

fn never() -> RouterError {
    RouterError::new(RouterErrorKind::Unreachable, "Hung", "the fake did not answer")
}

impl LoadBalancer {
    /// Sets the health of a group.
    pub fn set_health(&mut self, group: &str, health: GroupHealth) {
        self.router.set_health(group, health);
        self.health.insert(group.to_owned(), health);
    }

    /// The health of every group.
    pub fn healths(&self) -> &BTreeMap<String, GroupHealth> {
        &self.health
    }

    /// Every rule.
    pub fn rules(&self) -> Vec<FakeRule> {
        self.router.rules()
    }

    /// The rule of a Cell.
    pub fn rule_of(&self, cell: &str) -> Option<FakeRule> {
        self.rules().into_iter().find(|held| held.rule.cell_tag.as_deref() == Some(cell))
    }

    /// Somebody else edits a rule, or deletes it.
    pub fn foreign(&mut self, id: &str, edit: Option<&dyn Fn(&mut ObservedRule)>, now: u64) -> Recorded {
        let before = self.state(id);
        match edit {
            Some(edit) => _ = self.router.edit_rule(id, edit),
            None => _ = self.router.remove_rule(id),
        }
        self.remember(now);
        let operation = if edit.is_some() { "ModifyRule" } else { "DeleteRule" }.to_owned();
        let after = self.state(id);
        Recorded {
            caller: SOMEBODY.to_owned(),
            operation,
            touched: before.clone().into_iter().collect(),
            before,
            asked: after.clone(),
            after,
            ..Recorded::default()
        }
    }

    fn remember(&mut self, now: u64) {
        self.past.push((now, self.router.rules()));
    }

    fn state(&self, id: &str) -> Option<RuleState> {
        self.rules().iter().find(|held| held.rule.id == id).map(rule_state)
    }

    /// The rules as a read shows them now.
    fn shown(&self, now: u64) -> Vec<FakeRule> {
        let at = now.saturating_sub(self.lag);
        self.past.iter().rev().find(|(since, _)| *since <= at).map(|(_, rules)| rules.clone()).unwrap_or_default()
    }

    /// Carries a call out; what the caller gets, and what the judge reads.
    pub fn execute(&mut self, intent: &Intent, call: &LbCall, now: u64) -> (Result<LbAnswer, RouterError>, Recorded) {
        match call {
            LbCall::Observe => self.observe(intent, now),
            LbCall::Apply(change) => self.apply(intent, change, now),
            LbCall::Health(group) => self.describe_health(intent, group),
        }
    }

    /// A call that is refused whatever it asks, as the judge reads it.
    pub fn refused(&self, intent: &Intent, call: &LbCall, code: &str) -> Recorded {
        let error = Some(code.to_owned());
        match call {
            LbCall::Observe => Recorded { error, ..by_okra("DescribeRules") },
            LbCall::Health(_) => Recorded { error, ..by_okra("DescribeTargetHealth") },
            LbCall::Apply(change) => {
                let before = named(change).and_then(|id| self.state(id));
                let (operation, asked) = asked(intent, change, before.as_ref());
                let touched = before.clone().into_iter().collect();
                Recorded { error, touched, after: before.clone(), before, asked, ..by_okra(operation) }
            }
        }
    }

    fn observe(&self, intent: &Intent, now: u64) -> (Result<LbAnswer, RouterError>, Recorded) {
        let shown = self.shown(now);
        let mirror = FakeRouter::new();
        for rule in &shown {
            mirror.put_rule(rule.clone());
        }
        let answer = mirror.observe(intent, &anybody()).now_or_never().unwrap_or_else(|| Err(never()));
        let recorded = Recorded { answered: shown.iter().map(rule_state).collect(), ..by_okra("DescribeRules") };
        (answer.map(|observed| LbAnswer::Observed(Box::new(observed))), recorded)
    }

    fn describe_health(&self, intent: &Intent, group: &str) -> (Result<LbAnswer, RouterError>, Recorded) {
        let answer = self.router.health(intent, group, &anybody()).now_or_never().unwrap_or_else(|| Err(never()));
        let health = answer.as_ref().ok().filter(|health| !health.gone).map(|health| Health {
            target_group: group.to_owned(),
            healthy: health.healthy,
            total: health.total,
        });
        let recorded = Recorded { health, ..by_okra("DescribeTargetHealth") };
        (answer.map(LbAnswer::Health), recorded)
    }

    fn apply(&mut self, intent: &Intent, change: &Change, now: u64) -> (Result<LbAnswer, RouterError>, Recorded) {
        let named = named(change).map(str::to_owned);
        let before = named.as_deref().and_then(|id| self.state(id));
        let known: Vec<String> = self.rules().into_iter().map(|held| held.rule.id).collect();
        let answer = self.router.apply(intent, change, &anybody()).now_or_never().unwrap_or_else(|| Err(never()));
        if answer.is_ok() {
            self.remember(now);
        }
        let made = || self.rules().iter().find(|held| !known.contains(&held.rule.id)).map(rule_state);
        let after = named.as_deref().map_or_else(made, |id| self.state(id));
        let (operation, asked) = asked(intent, change, before.as_ref());
        let recorded = Recorded {
            error: answer.as_ref().err().map(|error| error.code.clone()),
            touched: before.clone().into_iter().collect(),
            before,
            asked,
            after,
            ..by_okra(operation)
        };
        (answer.map(|()| LbAnswer::Applied), recorded)
    }
}

/// The rule that a change names.
fn named(change: &Change) -> Option<&str> {
    match change {
        Change::Create { .. } => None,
        Change::Modify { rule, .. } | Change::Move { rule } | Change::Adopt { rule } | Change::Remove { rule } => {
            Some(rule)
        }
    }
}

/// A call of okra's as the judge reads it, empty but for its name.
fn by_okra(operation: &str) -> Recorded {
    Recorded { caller: OKRA.to_owned(), operation: operation.to_owned(), ..Recorded::default() }
}

/// The operation of a change, and what it wants the rule to be.
fn asked(intent: &Intent, change: &Change, before: Option<&RuleState>) -> (&'static str, Option<RuleState>) {
    match change {
        Change::Create { weights, stickiness } => {
            let rule = ObservedRule {
                priority: intent.place.priority(),
                conditions: intent.place.conditions().canonical(),
                weights: weights.clone(),
                stickiness: stickiness.unwrap_or_default(),
                cell_tag: Some(intent.owner.clone()),
                owner_tag: Some(intent.installation.clone()),
                ..ObservedRule::default()
            };
            let listener = match &intent.place {
                Place::Alb { listener_arn, .. } => listener_arn.clone(),
                Place::Local { listen } => listen.clone(),
            };
            ("CreateRule", Some(rule_state(&FakeRule { listener, rule })))
        }
        Change::Modify { weights, conditions, stickiness, .. } => {
            let mut wanted = before.cloned().unwrap_or_default();
            if let Some(weights) = weights {
                wanted.weights = weights.iter().map(|(id, weight)| (id.clone(), i64::from(*weight))).collect();
            }
            if let Some(conditions) = conditions {
                wanted.conditions = vec![format!("{:?}", conditions.clone().canonical())];
            }
            if let Some(sticky) = stickiness {
                wanted.sticky = sticky.enabled;
            }
            ("ModifyRule", Some(wanted))
        }
        Change::Move { .. } => {
            let priority = intent.place.priority().to_string();
            ("SetRulePriorities", before.map(|before| RuleState { priority, ..before.clone() }))
        }
        Change::Adopt { .. } => ("AddTags", None),
        Change::Remove { .. } => ("DeleteRule", None),
    }
}

fn rule_state(held: &FakeRule) -> RuleState {
    let rule = &held.rule;
    let tags = [(CELL_TAG, &rule.cell_tag), (OWNER_TAG, &rule.owner_tag)];
    RuleState {
        arn: rule.id.clone(),
        listener: held.listener.clone(),
        priority: rule.priority.to_string(),
        weights: rule.weights.iter().map(|(id, weight)| (id.clone(), i64::from(*weight))).collect(),
        tags: tags
            .iter()
            .filter_map(|(tag, value)| value.as_ref().map(|value| ((*tag).to_owned(), value.clone())))
            .collect(),
        conditions: vec![format!("{:?}", rule.conditions)],
        sticky: rule.stickiness.enabled,
    }
}

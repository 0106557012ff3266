//! What the stub holds, found by ARN or by listener without a search.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::front::Node;

#[derive(Debug)]
pub(super) struct Rule {
    pub listener: String,
    /// `None` for the default rule.
    pub priority: Option<u32>,
    pub conditions: Vec<Node>,
    pub actions: Vec<Node>,
    pub weights: Vec<(String, i64)>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub targets: usize,
    rules: usize,
    attached: Option<Instant>,
}

impl Group {
    /// The state of its targets, in AWS's words.
    pub(super) fn health(&self, initial: Duration, now: Instant) -> &'static str {
        match self.attached {
            None => "unused",
            Some(since) if now < since + initial => "initial",
            Some(_) => "healthy",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub initial: Duration,
    /// Listener ARN to its rules: the priority, the default rule last, and the rule's ARN.
    pub listeners: BTreeMap<String, BTreeMap<u32, String>>,
    pub rules: BTreeMap<String, Rule>,
    pub groups: BTreeMap<String, Group>,
    next_id: u64,
}

/// Where the default rule stands among the others.
pub(super) const DEFAULT: u32 = u32::MAX;

impl State {
    pub(super) fn next_id(&mut self) -> String {
        self.next_id += 1;
        format!("{:016x}", self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn add_listener(&mut self, prefix: &str, name: &str) -> String {
        let path = format!("app/{name}/{}/{}", self.next_id(), self.next_id());
        let listener = format!("{prefix}:listener/{path}");
        let rule = format!("{prefix}:listener-rule/{path}/{}", self.next_id());
        let response = Node::empty().with_text("StatusCode", 404);
        let action = Node::empty().with_text("Type", "fixed-response").with_text("Order", 1);
        let default = Rule {
            listener: listener.clone(),
            priority: None,
            conditions: Vec::new(),
            actions: vec![action.with("FixedResponseConfig", response)],
            weights: Vec::new(),
            tags: BTreeMap::new(),
        };
        self.rules.insert(rule.clone(), default);
        self.listeners.insert(listener.clone(), BTreeMap::from([(DEFAULT, rule)]));
        listener
    }

    pub(super) fn add_group(&mut self, prefix: &str, name: &str, targets: usize) -> String {
        let arn = format!("{prefix}:targetgroup/{name}/{}", self.next_id());
        self.groups.insert(arn.clone(), Group { targets, ..Group::default() });
        arn
    }

    /// Replaces what a rule forwards to, and lets target groups know.
    pub(super) fn forward(&mut self, rule: &str, actions: Vec<Node>, weights: Vec<(String, i64)>, now: Instant) {
        for (group, _) in &weights {
            if let Some(group) = self.groups.get_mut(group) {
                group.rules += 1;
                group.attached.get_or_insert(now);
            }
        }
        let Some(rule) = self.rules.get_mut(rule) else { return };
        rule.actions = actions;
        let before = std::mem::replace(&mut rule.weights, weights);
        self.release(&before);
    }

    pub(super) fn release(&mut self, weights: &[(String, i64)]) {
        for (group, _) in weights {
            if let Some(group) = self.groups.get_mut(group) {
                group.rules = group.rules.saturating_sub(1);
                if group.rules == 0 {
                    group.attached = None;
                }
            }
        }
    }

    pub(super) fn weights_at(&self, listener: &str, priority: u32) -> Option<BTreeMap<String, i64>> {
        let arn = self.listeners.get(listener)?.get(&priority)?;
        Some(self.rules.get(arn)?.weights.iter().cloned().collect())
    }
}

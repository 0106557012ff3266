//! What this process has read of rules and would else have to read again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use aws_sdk_elasticloadbalancingv2::types::Rule;
use okra_core::route::{Intent, Lane};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Whose a rule is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tags {
    /// Value of the Cell's tag.
    pub cell: Option<String>,
    /// Value of the installation's tag.
    pub owner: Option<String>,
}

impl Tags {
    /// The tags of an intent's rule.
    pub fn wanted(intent: &Intent) -> Self {
        Self { cell: Some(intent.owner.clone()), owner: Some(intent.installation.clone()) }
    }
}

/// A reading of a rule that is older than this is made again before its actions are sent back.
pub(crate) const READING_AGE: Duration = Duration::from_mins(1);

/// Tags and last readings of rules, by ARN.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    tags: Mutex<BTreeMap<String, (Tags, Instant)>>,
    rules: Arc<Mutex<BTreeMap<String, (Rule, Instant)>>>,
    writes: Mutex<BTreeMap<Tags, Instant>>,
    tags_locks: Mutex<BTreeMap<(String, Lane), TagsLock>>,
}

/// Held while the tags of a listener's rules are read in a lane.
pub(crate) type TagsLock = Arc<tokio::sync::Mutex<()>>;

impl Memory {
    /// The tags of a rule as they were last read, unless that was longer ago than `age`.
    pub fn tags(&self, rule: &str, age: Duration) -> Option<Tags> {
        self.tags.lock().get(rule).filter(|(_, read)| read.elapsed() <= age).map(|(tags, _)| tags.clone())
    }

    /// Rules whose tags were read longer ago than `age`.
    pub fn old_tags(&self, age: Duration) -> Vec<String> {
        self.tags.lock().iter().filter(|(_, (_, read))| read.elapsed() > age).map(|(rule, _)| rule.clone()).collect()
    }

    /// Held by the one who reads tags of a listener: those of the same lane who need them, too, find them read.
    pub fn tags_lock(&self, listener: &str, lane: Lane) -> TagsLock {
        self.tags_locks.lock().entry((listener.to_owned(), lane)).or_default().clone()
    }

    pub fn keep_tags(&self, rule: &str, tags: Tags) {
        self.tags.lock().insert(rule.to_owned(), (tags, Instant::now()));
    }

    pub fn forget_tags(&self, rule: &str) {
        self.tags.lock().remove(rule);
    }

    /// The rule as it was last read, unless that was longer ago than `age`.
    pub fn rule(&self, rule: &str, age: Duration) -> Option<Rule> {
        self.rules.lock().get(rule).filter(|(_, read)| read.elapsed() <= age).map(|(rule, _)| rule.clone())
    }

    pub fn keep_rule(&self, rule: &Rule) {
        let Some(arn) = rule.rule_arn() else { return };
        let mut rules = self.rules.lock();
        if rules.is_empty() {
            tokio::spawn(forget_in_time(Arc::downgrade(&self.rules)));
        }
        rules.insert(arn.to_owned(), (rule.clone(), Instant::now()));
    }

    pub fn forget_rule(&self, rule: &str) {
        self.rules.lock().remove(rule);
    }

    /// Forgets all about a rule that is gone.
    pub fn forget(&self, rule: &str) {
        self.forget_rule(rule);
        self.forget_tags(rule);
    }

    /// Forgets the rules of a listener that a complete reading did not show.
    pub fn retain(&self, of_listener: impl Fn(&str) -> bool, is_there: impl Fn(&str) -> bool) {
        self.tags.lock().retain(|rule, _| !of_listener(rule) || is_there(rule));
        self.rules.lock().retain(|rule, _| !of_listener(rule) || is_there(rule));
    }

    /// A write for an intent has come to its end just now, whichever way. What was read before is no longer true;
    /// after `within` nobody would use a reading from before anyway.
    pub fn wrote(&self, intent: &Intent, within: Duration) {
        let mut writes = self.writes.lock();
        writes.retain(|_, at| at.elapsed() <= within);
        writes.insert(Tags::wanted(intent), Instant::now());
    }

    /// Whether a reading that began at `begun` may be older than our own last write for this intent.
    pub fn wrote_since(&self, intent: &Intent, begun: Instant) -> bool {
        self.writes.lock().get(&Tags::wanted(intent)).is_some_and(|at| *at >= begun)
    }
}

/// Drops readings that nobody would use any more, until there are none: a rule at rest is not kept.
async fn forget_in_time(rules: Weak<Mutex<BTreeMap<String, (Rule, Instant)>>>) {
    loop {
        tokio::time::sleep(READING_AGE).await;
        let Some(rules) = rules.upgrade() else { return };
        let mut rules = rules.lock();
        rules.retain(|_, (_, read)| read.elapsed() <= READING_AGE);
        if rules.is_empty() {
            return;
        }
    }
}

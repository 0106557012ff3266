//! What the controller remembers of an object between two reconciles. All of it can be lost: then the rule is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_core::route::{Intent, Reading, RoutePlan, Sent};

#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    uid: Option<String>,
    generation: i64,
    intent: Option<Intent>,
    pub(super) last_look: Option<Timestamp>,
    pub(super) health: BTreeMap<String, Reading>,
    pub(super) waiting_since: Option<Timestamp>,
    pub(super) waits_for: Vec<String>,
    pub(super) sent: Option<Sent>,
    /// Whether the object was once seen to be as the store has it, past the cache.
    pub(super) confirmed: bool,
    /// When a failure was last written.
    pub(super) failure_written: Option<Timestamp>,
}

impl Memory {
    /// Takes in what the object asks for now. What was seen for another intent does not count for this one; health
    /// does, while it is fresh.
    pub(super) fn begin(&mut self, uid: Option<&str>, generation: i64, intent: &Intent) {
        if self.uid.as_deref() != uid {
            *self = Self { uid: uid.map(str::to_owned), ..Self::default() };
        }
        // The known ARN follows from the answers, it is nothing that was asked for.
        let asked = Intent { known_rule: None, ..intent.clone() };
        if self.generation != generation || self.intent.as_ref() != Some(&asked) {
            let (uid, health, confirmed) = (self.uid.take(), std::mem::take(&mut self.health), self.confirmed);
            *self = Self { uid, generation, intent: Some(asked), health, confirmed, ..Self::default() };
        }
        self.health.retain(|id, _| intent.groups.iter().any(|group| group.id == *id));
    }

    /// Takes in what a plan that came to rest waits for.
    pub(super) fn rest(&mut self, plan: &RoutePlan, now: Timestamp) {
        self.waits_for.clone_from(&plan.waits_for);
        if self.waits_for.is_empty() {
            self.waiting_since = None;
        } else {
            self.waiting_since.get_or_insert(now);
        }
    }

    /// After a failure the next reconcile begins with a read.
    pub(super) fn distrust(&mut self) {
        self.last_look = None;
        self.sent = None;
    }
}

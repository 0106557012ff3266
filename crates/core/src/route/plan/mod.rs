//! The one next change of a route, and what its status says.
//!
//! Total and deterministic: the same input gives the same plan. The caller reads what a plan asks for
//! ([`RoutePlan::observe`], [`RoutePlan::read_health`]) and plans again; it carries out [`RoutePlan::change`], reads,
//! and plans again; a plan that asks for nothing is the end, and its status is written when it differs.

mod deletion;
mod gate;
mod look;
mod outcome;
mod rest;
mod rule;
mod words;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    condition::reason,
    route::{DeletionPolicy, RouteHealth, RouteStatus},
};

use super::{Capabilities, Change, GroupHealth, Intent, Lane, Observed, Sticky, fingerprint};
pub(crate) use gate::age;
pub use outcome::{Failure, failed, same_but_for_times};
pub(crate) use rule::may_adopt;

/// A health reading older than this lets no weight rise.
pub(crate) const HEALTH_FRESH: SignedDuration = SignedDuration::from_secs(15);
/// On the way back an older one counts, too: that of the last look at the groups that are parked for it, every 5 min.
/// Twenty ways back at once must fit into the router's rates.
const WAY_BACK_FRESH: SignedDuration = SignedDuration::from_mins(6);
/// A health reading younger than this is not repeated.
const HEALTH_REPEAT: SignedDuration = SignedDuration::from_secs(10);
/// A refused or foreign rule is looked at this often: somebody may have mended it elsewhere.
pub(crate) const RECHECK: SignedDuration = SignedDuration::from_secs(30);
/// For so long a change that the router took but does not show is not sent again: reads may lag behind writes.
const READ_LAG: SignedDuration = SignedDuration::from_secs(10);
/// The shortest wait between two looks.
const SOON: SignedDuration = SignedDuration::from_secs(2);
/// So long a deletion waits for a router that fails, then the object goes and the rule stays (safety.md L5).
pub const DELETION_PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// Everything that the plan depends on.
#[derive(Clone, Debug)]
pub struct RouteInput {
    /// What the rule should hold.
    pub intent: Intent,
    /// The generation of the spec that the intent was made of.
    pub generation: i64,
    /// The status as it was written last.
    pub previous: RouteStatus,
    /// What the router can do.
    pub capabilities: Capabilities,
    /// What a read of this reconcile answered; `None`: nothing was read, or a change was made since.
    pub observed: Option<Observed>,
    /// When the router was read last, for this intent; `None`: not since this process began, or a change followed.
    pub last_look: Option<Timestamp>,
    /// Readings of health, by the router's id of the target group.
    pub health: BTreeMap<String, Reading>,
    /// Since when this intent waits for health.
    pub waiting_since: Option<Timestamp>,
    /// Ids of target groups whose health the last plan for this intent waited for.
    pub waits_for: Vec<String>,
    /// The last change that the router took, for this intent.
    pub sent: Option<Sent>,
    /// The object's deletionTimestamp.
    pub deleting: Option<Timestamp>,
    /// What becomes of the rule when the object is deleted.
    pub deletion_policy: DeletionPolicy,
    /// During a deletion: what the router's last call failed with.
    pub failure: Option<String>,
    /// Names of target groups whose health is to be in the status.
    pub health_of: Vec<String>,
    /// The fingerprint of a foreign state that may be overwritten.
    pub overwrite: Option<String>,
    /// Whether the intent takes traffic back to safety; `None`: read from the weights.
    pub way_back: Option<bool>,
    /// Fingerprints of former intents that the spec remembers, the latest last; `None`: it does not keep them.
    pub former_intents: Option<Vec<String>>,
    /// An older object that claims the same place.
    pub claimed_by: Option<String>,
    /// How often a rule at rest is looked at.
    pub drift_interval: SignedDuration,
}

/// A reading of a target group's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What was read.
    pub health: GroupHealth,
    /// When.
    pub at: Timestamp,
}

/// A change that the router took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The change.
    pub change: Change,
    /// When its answer came.
    pub at: Timestamp,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Whether the router must be read before more can be decided.
    pub observe: bool,
    /// Ids of target groups whose health must be read before more can be decided.
    pub read_health: Vec<String>,
    /// The one next change; after it, read and plan again.
    pub change: Option<Change>,
    /// Whether the status must be written before the change is sent: it remembers the change, so that it is known
    /// as our own whenever it arrives.
    pub record_first: bool,
    /// The lane of the reads or of the change.
    pub lane: Lane,
    /// The whole next status; equal to the previous one when nothing is to be written.
    pub status: RouteStatus,
    /// In words: what is done, or what is waited for and why.
    pub report: String,
    /// Ids of target groups whose health is waited for.
    pub waits_for: Vec<String>,
    /// During a deletion: the finalizer may go.
    pub release: bool,
    /// Something that a person must hear of although no status can say it any more.
    pub warning: Option<String>,
    /// When to look again without a change.
    pub wake_at: Option<Timestamp>,
}

/// The next step of a route.
pub fn plan(input: &RouteInput, now: Timestamp) -> RoutePlan {
    if let Some(since) = input.deleting {
        return deletion::plan(input, since, now);
    }
    if let Some(other) = &input.claimed_by {
        let message = format!(
            "{other} has this listener and priority and is older: choose another priority, or delete one of the two"
        );
        return outcome::refused(input, now, reason::RULE_TAKEN, message);
    }
    if input.intent.groups.is_empty() {
        return look::plan(input, now);
    }
    match &input.observed {
        None => rest::plan(input, now),
        Some(observed) => rule::plan(input, observed, now),
    }
}

impl RouteInput {
    /// The label of a target group: its name, or its id where no name is known.
    fn name_of(&self, id: &str) -> String {
        let own = self.intent.groups.iter().find(|group| group.id == id).map(|group| group.name.clone());
        let held = || self.previous.weights.iter().find(|weight| weight.id == id).map(|weight| weight.name.clone());
        own.or_else(held).unwrap_or_else(|| id.to_owned())
    }

    /// Groups that are gone and that the intent does not name.
    fn gone_elsewhere(&self) -> impl Iterator<Item = &RouteHealth> {
        let asked = |id: &str| self.intent.groups.iter().any(|group| group.id == id);
        self.previous.health.iter().filter(move |row| row.gone && !row.id.is_empty() && !asked(&row.id))
    }

    /// How old a health reading may be that a raise is decided by.
    pub(crate) fn health_counts_for(&self) -> SignedDuration {
        if self.way_back == Some(true) { WAY_BACK_FRESH } else { HEALTH_FRESH }
    }

    /// Whether the previous status speaks of this generation.
    fn same_generation(&self) -> bool {
        self.previous.observed_generation == Some(self.generation)
    }
}

impl Intent {
    /// Target group id to weight.
    pub fn weights(&self) -> BTreeMap<String, i32> {
        self.groups.iter().map(|group| (group.id.clone(), group.weight)).collect()
    }

    /// The fingerprint of a rule that holds this.
    pub fn fingerprint(&self) -> String {
        let sticky = self.stickiness.map(Sticky::normal);
        fingerprint(self.place.priority(), &self.place.conditions(), &self.weights(), sticky)
    }

    /// Whether a rule carries the tags of this intent.
    pub fn owns(&self, rule: &super::ObservedRule) -> bool {
        rule.owner_tag.as_deref() == Some(self.installation.as_str())
            && rule.cell_tag.as_deref() == Some(self.owner.as_str())
    }
}

impl Change {
    /// The weights that the change sets.
    pub fn weights(&self) -> Option<&BTreeMap<String, i32>> {
        match self {
            Self::Create { weights, .. } => Some(weights),
            Self::Modify { weights, .. } => weights.as_ref(),
            Self::Move { .. } | Self::Adopt { .. } | Self::Remove { .. } => None,
        }
    }

    /// What is done, for events and logs.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CreateRule",
            Self::Modify { weights: Some(_), .. } => "ShiftTraffic",
            Self::Modify { .. } => "ModifyRule",
            Self::Move { .. } => "MoveRule",
            Self::Adopt { .. } => "AdoptRule",
            Self::Remove { .. } => "RemoveRule",
        }
    }
}

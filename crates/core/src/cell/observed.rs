//! What a Cell's plan is made from. Stale and partial by contract: the plan must be right anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use okra_api::{
    BlockedVersion, Cell, PausePhase, RouteOutcome, RouteStatus, RunPhase,
    alb::{ListenerConfig, Stickiness},
    route::{DeletionPolicy, RouteHealth},
};

use super::analysis::Templates;
use crate::{
    planted::{Planted, is_planted},
    route::Capabilities,
};

/// ReplicaSets by name, each as it was read past every cache, or why it could not be read.
pub type ReplicaSets = BTreeMap<String, Result<Arc<ReplicaSet>, String>>;

/// Everything that the decision needs, read in one place.
#[derive(Clone, Debug)]
pub struct ObservedCell {
    /// The Cell.
    pub cell: Cell,
    /// Target groups of the kind that the Cell's router takes, of the Cell's namespace.
    pub groups: Vec<ObservedGroup>,
    /// By name, what the clusters of groups lack, where `spec.readiness` asks.
    pub unready: BTreeMap<String, String>,
    /// The Cell's route object, if it is there.
    pub route: Option<ObservedRoute>,
    /// The Cell's blocklist.
    pub blocked: Vec<BlockedVersion>,
    /// Pauses that the Cell owns, by name.
    pub pauses: BTreeMap<String, ObservedPause>,
    /// AnalysisRuns and Experiments of the namespace that no other object owns, by name.
    pub runs: BTreeMap<String, ObservedRun>,
    /// What its analyses can be made of.
    pub templates: Templates,
    /// The ReplicaSets that the current experiment step names, by name; an error in words when one could not be read.
    /// Those that were not asked for are missing.
    pub replica_sets: ReplicaSets,
    /// What the router can do; `None`: there is no router of that type here.
    pub router: Option<Capabilities>,
}

/// A target group object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedGroup {
    /// Its name.
    pub name: String,
    /// The router's id of it; an error in words when the object has none that this router can use.
    pub id: Result<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether a person drains it.
    pub drained: bool,
    /// Path that an embedded balancer asks for.
    pub health_path: Option<String>,
}

/// A Pause object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPause {
    /// Where it stands; `None`: its controller has not seen it yet.
    pub phase: Option<PausePhase>,
    /// When it expires.
    pub expire_time: Option<Timestamp>,
}

/// An AnalysisRun or Experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedRun {
    /// Where it stands.
    pub phase: RunPhase,
    /// Why.
    pub message: String,
    /// Whether the Cell made it, rather than a person.
    pub is_own: bool,
    /// Whether it is an Experiment.
    pub is_experiment: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// A route object: its spec in neutral terms, and its status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedRoute {
    /// Generation of its spec.
    pub generation: i64,
    /// Its spec.
    pub desired: DesiredRoute,
    /// Its status.
    pub status: RouteStatus,
}

/// The spec of a route object in neutral terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredRoute {
    /// Where the rule is.
    pub place: RoutePlace,
    /// Target groups and absolute weights. Empty: nothing is written, the rule is only looked at.
    pub groups: Vec<RouteGroup>,
    /// Target groups whose health is wanted.
    pub health_of: BTreeSet<String>,
    /// Fingerprint of a foreign state that may be overwritten.
    pub overwrite: Option<String>,
    /// Whether this takes traffic back to safety.
    pub way_back: bool,
    /// Fingerprints of what was asked for before, the latest last.
    pub former: Vec<String>,
    /// What becomes of the rule with the Cell.
    pub deletion_policy: DeletionPolicy,
    /// Value of the annotation that lets a rule be adopted.
    pub adopt: Option<String>,
}

/// Where a Cell's rule is, as its spec says it.
#[derive(Clone, Debug, PartialEq)]
pub enum RoutePlace {
    /// A listener rule of an Application Load Balancer.
    Alb {
        /// The listener.
        listener_arn: String,
        /// Role to assume.
        role_arn: Option<String>,
        /// The rule; its `forward` is empty.
        listener: Box<ListenerConfig>,
        /// Stickiness to set.
        stickiness: Option<Stickiness>,
    },
    /// The embedded balancer.
    Local {
        /// Address and port.
        listen: String,
    },
}

impl Default for RoutePlace {
    fn default() -> Self {
        Self::Local { listen: String::new() }
    }
}

/// A target group of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteGroup {
    /// Name of its object.
    pub name: String,
    /// The router's id of it.
    pub id: String,
    /// Its weight.
    pub weight: i32,
    /// Healthy targets that it needs before its weight is raised.
    pub min_healthy: Option<u32>,
    /// Path that an embedded balancer asks for.
    pub health_path: Option<String>,
}

impl DesiredRoute {
    /// Group name to weight.
    pub fn weights(&self) -> BTreeMap<String, i32> {
        self.groups.iter().map(|group| (group.name.clone(), group.weight)).collect()
    }

    /// The weight that is asked for; `None` when the group is not attached.
    pub fn weight(&self, name: &str) -> Option<i32> {
        self.groups.iter().find(|group| group.name == name).map(|group| group.weight)
    }

    /// Whether this asks the router for what `other` asks for. What only goes with a change of weights (`min_healthy`,
    /// `way_back`) does not count, it travels with the next one; neither do the former intents and an `overwrite` that
    /// has served.
    pub fn same_request(&self, other: &Self) -> bool {
        let key = |route: &Self| -> BTreeMap<String, (String, i32)> {
            route.groups.iter().map(|group| (group.name.clone(), (group.id.clone(), group.weight))).collect()
        };
        self.place == other.place
            && self.health_of == other.health_of
            && (other.overwrite.is_none() || self.overwrite == other.overwrite)
            && self.deletion_policy == other.deletion_policy
            && self.adopt == other.adopt
            && key(self) == key(other)
    }
}

impl ObservedRoute {
    /// Whether the router answered with exactly this spec.
    pub fn is_verified(&self) -> bool {
        let current =
            self.status.observed_generation == Some(self.generation) || is_planted(Planted::GenerationFenceIgnored);
        current && self.status.outcome == Some(RouteOutcome::Verified)
    }

    /// The outcome at this generation.
    pub fn outcome(&self) -> Option<RouteOutcome> {
        self.status.outcome.filter(|_| self.status.observed_generation == Some(self.generation))
    }

    /// The last health reading of a group.
    pub fn health(&self, name: &str) -> Option<&RouteHealth> {
        self.status.health.iter().find(|health| health.name == name)
    }

    /// The weight that the router answered with.
    pub fn actual_weight(&self, name: &str) -> Option<i32> {
        self.status.weights.iter().find(|weight| weight.name == name).map(|weight| weight.weight)
    }
}

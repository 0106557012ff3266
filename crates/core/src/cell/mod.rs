//! The Cell: where the traffic goes, and when it moves.
//!
//! [`plan`] is a total, deterministic function of what was observed and what time it is. Everything that it
//! must remember is in the Cell's status; a crash between any two writes leaves a state from which the same
//! plan follows.

mod advance;
mod analysis;
mod bounds;
mod check;
mod conclude;
mod desired;
mod experiment;
mod gather;
mod grouping;
mod observed;
mod plan;
mod readiness;
mod request;
mod route_object;
mod steps;
mod transition;
mod validated;
pub mod weights;

#[cfg(test)]
mod tests;

pub use analysis::{Templates, is_judged};
pub use check::{Breach, check};
pub use conclude::refuse;
pub use experiment::replica_sets_wanted;
pub use gather::{Surroundings, gather, is_controlled_by};
pub use grouping::{Grouping, VersionedGroup};
pub use observed::{
    DesiredRoute, ObservedCell, ObservedGroup, ObservedPause, ObservedRoute, ObservedRun, ReplicaSets, RouteGroup,
    RoutePlace,
};
pub use plan::{Action, Note, Plan, PlanReport, plan};
pub use readiness::{Clusters, is_in_cluster, ready_applications};
pub use route_object::{alb_spec, desired_of_alb, desired_of_route, route_spec};
pub use steps::{RolloutStep, share_at};
pub use validated::{Floor, ValidatedCell};

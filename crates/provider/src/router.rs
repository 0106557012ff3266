//! The port to load balancers. Only the route controller calls it: one hand on the load balancer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::SignedDuration;
use okra_core::route::{Capabilities, Change, GroupHealth, Intent, Lane, Observed};

use crate::ports::{Leadership, NotLeader};

/// What goes with every call.
#[derive(Clone)]
pub struct CallContext {
    /// Which calls go first when the rate limit is short.
    pub lane: Lane,
    /// How long one call may take, waiting for the rate limit apart.
    pub timeout: Duration,
    /// Asked by the adapter right before each write goes out, after it waited for the rate limit.
    pub leadership: Arc<dyn Leadership>,
}

/// Target groups in one forward action of an Application Load Balancer: a fixed quota (ELBv2 quota page).
pub const ALB_MAX_GROUPS: usize = 5;
/// Target groups in one action of the embedded balancer.
pub const LOCAL_MAX_GROUPS: usize = 64;
/// The largest weight of a target group (ELBv2 API reference); the embedded balancer takes the same.
pub const MAX_WEIGHT: i32 = 999;

/// What an Application Load Balancer's rule can do. `settle` is how long a change may take to reach the data path; AWS names no figure. It stands beside
/// the port because the command line plans without the adapter.
pub fn alb_capabilities(settle: SignedDuration) -> Capabilities {
    // Weights count for each request, also on a connection that was open before.
    Capabilities {
        max_groups: ALB_MAX_GROUPS,
        max_weight: MAX_WEIGHT,
        settle,
        keeps_connections: false,
        sees_health: true,
    }
}

/// What the embedded balancer can do.
pub fn local_capabilities() -> Capabilities {
    Capabilities {
        max_groups: LOCAL_MAX_GROUPS,
        max_weight: MAX_WEIGHT,
        settle: SignedDuration::ZERO,
        keeps_connections: true,
        sees_health: true,
    }
}

/// A load balancer.
///
/// Guarantees of an adapter: one method is at most one write; it never repeats a write by itself; it keeps
/// everything about a rule that the change does not name; it asks `leadership` right before each write.
#[async_trait]
pub trait TrafficRouter: Send + Sync {
    /// What this router can do.
    fn capabilities(&self) -> Capabilities;
    /// Reads the rule of an intent: found by its tags, or by `known_rule`, wherever it stands; and whatever else
    /// stands at its priority. Reads all pages.
    async fn observe(&self, intent: &Intent, call: &CallContext) -> Result<Observed, RouterError>;
    /// Carries out one change.
    async fn apply(&self, intent: &Intent, change: &Change, call: &CallContext) -> Result<(), RouterError>;
    /// Reads the health of one target group, by the router's id of it.
    async fn health(&self, intent: &Intent, group: &str, call: &CallContext) -> Result<GroupHealth, RouterError>;
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RouterError {
    /// What kind of failure.
    pub kind: RouterErrorKind,
    /// The provider's error code, or a short name; for metrics and events.
    pub code: String,
    /// What failed and why, for a person; no credentials.
    pub message: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterErrorKind {
    /// The provider asks to slow down.
    Throttled,
    /// No answer, or a fault on the provider's side. A write may have taken effect.
    Unreachable,
    /// Credentials are missing, expired, or not allowed to do this.
    Denied,
    /// The rule is gone.
    RuleNotFound,
    /// The listener is gone.
    ListenerNotFound,
    /// A target group is gone.
    GroupNotFound,
    /// The provider refuses: over a quota, a clash, an illegal value.
    Refused,
    /// This process may not write.
    NotLeader,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again with backoff.
    Transient,
    /// Try again, later.
    Throttled,
    /// Trying again as it is does not help; still tried every 30 s, since a person may mend it elsewhere.
    Terminal,
    /// Our own fault.
    Bug,
}

impl RouterErrorKind {
    /// What to do about it.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::Throttled => Disposition::Throttled,
            Self::Unreachable | Self::NotLeader => Disposition::Transient,
            Self::Denied | Self::RuleNotFound | Self::ListenerNotFound | Self::GroupNotFound | Self::Refused => {
                Disposition::Terminal
            }
        }
    }
}

impl RouterError {
    /// An error of a kind.
    pub fn new(kind: RouterErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into() }
    }
}

impl From<NotLeader> for RouterError {
    fn from(error: NotLeader) -> Self {
        Self::new(RouterErrorKind::NotLeader, "NotLeader", error.to_string())
    }
}

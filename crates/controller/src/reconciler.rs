//! What a controller is to the queue that calls it.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
pub use okra_provider::Changed;
use okra_provider::{BackendError, Key, Kind, RouterError, RouterErrorKind, router::Disposition};

/// One controller.
#[async_trait]
pub trait Reconciler: Send + Sync {
    /// Its name, in logs and metrics: the kind in snake case.
    fn name(&self) -> &'static str;
    /// Kinds whose changes [`Reconciler::wakes`] wants to see, its own among them.
    fn watches(&self) -> Vec<Kind>;
    /// Which of its objects a change concerns. Reads caches, does no IO.
    fn wakes(&self, changed: &Changed) -> Vec<Key>;
    /// Every object of its own, for the slow resync.
    fn all(&self) -> Vec<Key>;
    /// How many objects it reconciles at once; `None`: as many as the queue's limits say.
    fn concurrency(&self) -> Option<usize> {
        None
    }
    /// Whether an object that is woken must not wait for room behind the others. Reads caches, does no IO.
    fn is_urgent(&self, _key: &Key) -> bool {
        false
    }
    /// How long one reconcile may take; `None`: as long as the queue's limits say.
    fn deadline(&self) -> Option<Duration> {
        None
    }
    /// Brings one object nearer to what it should be. Level-triggered; an object that is gone is a success.
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError>;
}

/// When to look again without a change. Waiting is not an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// At this time; `None`: only when something changes.
    pub wake_at: Option<Timestamp>,
}

impl Next {
    /// Only when something changes.
    pub const IDLE: Self = Self { wake_at: None };

    /// At this time at the latest.
    pub fn at(time: Timestamp) -> Self {
        Self { wake_at: Some(time) }
    }
}

/// A reconcile that could not be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReconcileError {
    /// Metric label and event reason, from a small fixed set.
    pub category: &'static str,
    /// What the queue does about it.
    pub disposition: Disposition,
    /// What failed and why.
    pub message: String,
}

impl From<BackendError> for ReconcileError {
    fn from(error: BackendError) -> Self {
        let (category, disposition) = match &error {
            BackendError::Conflict { .. } | BackendError::NotFound { .. } | BackendError::AlreadyExists { .. } => {
                ("Conflict", Disposition::Transient)
            }
            BackendError::Throttled { .. } => ("ApiThrottled", Disposition::Throttled),
            BackendError::Unreachable(_) => ("ApiUnreachable", Disposition::Transient),
            BackendError::Denied { .. } => ("ApiDenied", Disposition::Terminal),
            BackendError::Absent(_) => ("ApiKindAbsent", Disposition::Terminal),
            BackendError::Invalid { .. } => ("ApiInvalid", Disposition::Bug),
            BackendError::Unsupported(_) => ("Unsupported", Disposition::Terminal),
        };
        Self { category, disposition, message: error.to_string() }
    }
}

impl From<RouterError> for ReconcileError {
    fn from(error: RouterError) -> Self {
        let category = match error.kind {
            RouterErrorKind::Throttled => "RouterThrottled",
            RouterErrorKind::Unreachable => "RouterUnreachable",
            RouterErrorKind::Denied => "RouterDenied",
            RouterErrorKind::RuleNotFound => "RuleNotFound",
            RouterErrorKind::ListenerNotFound => "ListenerNotFound",
            RouterErrorKind::GroupNotFound => "TargetGroupNotFound",
            RouterErrorKind::Refused => "RouterRefused",
            RouterErrorKind::NotLeader => "NotLeader",
        };
        Self { category, disposition: error.kind.disposition(), message: error.message }
    }
}

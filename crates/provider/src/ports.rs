//! The small ports: time, randomness, leadership, events.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::backend::{Key, Kind};

/// What time it is.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
}

/// Where jitter and ids come from.
pub trait Entropy: Send + Sync {
    /// A number below `bound`; 0 when the bound is 0.
    fn below(&self, bound: u64) -> u64;
}

/// This process is not, or will not long enough be, the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process does not hold the lease long enough for the call")]
pub struct NotLeader;

/// Whether this process may act on the world.
pub trait Leadership: Send + Sync {
    /// Whether a call that takes up to `timeout` may begin now: the lease is held by the local clock until
    /// after the call's deadline (safety.md S9). Asked right before each write, after any waiting, and now and then
    /// while a call waits for a rate limit: a refusal ends the wait.
    fn permits(&self, timeout: Duration) -> Result<(), NotLeader>;
}

/// A thing worth telling a person, about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// The kind of the object.
    pub kind: Kind,
    /// The object.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Whether something is wrong.
    pub warning: bool,
    /// The machine-readable cause, PascalCase.
    pub reason: String,
    /// What was done, for example `ShiftTraffic`.
    pub action: String,
    /// In a sentence.
    pub message: String,
}

/// Where events go. Failures are logged by the implementation and never stop anything.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Tells it.
    async fn publish(&self, note: EventNote);
}

/// Where decisions are recorded (`--record FILE`): one JSON value per decision.
pub trait DecisionLog: Send + Sync {
    /// Appends one decision.
    fn append(&self, decision: &Value);
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDecisionLog;

impl DecisionLog for NoDecisionLog {
    fn append(&self, _: &Value) {}
}

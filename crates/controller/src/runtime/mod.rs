//! The keyed queue that calls the controllers: one [`Queue`] per [`Reconciler`].
//!
//! Which key runs when is decided by [`schedule::Schedule`], which is pure; [`queue`] feeds it with changes, ends of
//! runs and the passing of time. The simulator puts a seeded queue in the place of this one.

mod metrics;
mod queue;
pub mod schedule;

use std::{sync::Arc, time::Duration};

use okra_provider::{Clock, Entropy};

pub use metrics::RuntimeMetrics;
pub use queue::{Queue, Stopped};

/// Time that passes evenly: waits and deadlines are judged by it, so that a wall clock that is set neither
/// stretches nor cuts them.
pub trait MonotonicClock: Send + Sync {
    /// Time since an origin that stays the same as long as the process lives.
    fn elapsed(&self) -> Duration;
}

/// What a queue asks of the world.
#[derive(Clone)]
pub struct QueuePorts {
    /// The wall clock, by which controllers say when to look again.
    pub clock: Arc<dyn Clock>,
    /// The clock by which the queue waits.
    pub monotonic: Arc<dyn MonotonicClock>,
    /// Where jitter comes from.
    pub entropy: Arc<dyn Entropy>,
}

/// The limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many objects of one controller are reconciled at once.
    pub concurrency: usize,
    /// How long one reconcile may take. It is long since a call may wait for the cloud's rate limit.
    pub deadline: Duration,
    /// How often every object is looked at without a change, about: each round is drawn from 90 to 110 % of it, and
    /// spread over a tenth of it.
    pub resync: Duration,
    /// How long a stop waits for the reconciles under way.
    pub grace: Duration,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            concurrency: 16,
            deadline: Duration::from_mins(2),
            resync: Duration::from_mins(10),
            grace: Duration::from_secs(25),
        }
    }
}

//! The leader lease: one of several processes acts on the world.
//!
//! The decision is [`evaluate`], which is pure; [`Elector`] reads and writes the Lease and acts on it;
//! [`LeaseLeadership`] tells everybody else whether a call may begin.
//!
//! Two rules keep two processes from holding it at once. Every write names the resourceVersion that was read, so that
//! of two that see a free lease one gets a conflict. And nobody compares clocks: the holder counts its time from
//! before it sent its last renewal, a contender from after it saw that renewal, each on its own monotonic clock.

mod elector;
mod leadership;
mod record;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    elector::{Elector, ElectorConfig, LeaderState, LeaseLost},
    leadership::{Hold, LeaseLeadership},
    record::LeaseRecord,
};

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is free, or its holder has been silent for too long: take it.
    Acquire,
    /// It is ours: renew it at this time.
    Renew {
        /// By the monotonic clock.
        at: Duration,
    },
    /// Somebody else has it; it is theirs until this time unless they renew it.
    Wait {
        /// By the monotonic clock.
        until: Duration,
    },
}

/// Decides about a lease. `observed_at` is when this process saw the record change for the last time and `now` is
/// now, both by its own monotonic clock; times within the record come from other clocks and count for nothing.
pub fn evaluate(record: Option<&LeaseRecord>, identity: &str, observed_at: Duration, now: Duration) -> Verdict {
    let Some(record) = record.filter(|record| !record.holder.is_empty()) else { return Verdict::Acquire };
    if record.holder == identity {
        return Verdict::Renew { at: observed_at + record.duration / 3 };
    }
    let until = observed_at + record.duration;
    if now >= until { Verdict::Acquire } else { Verdict::Wait { until } }
}

/// The record as it was seen last, and when it was seen to change.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    record: Option<LeaseRecord>,
    changed_at: Duration,
}

impl Observation {
    /// Takes in what was read; `now` is when the answer was here.
    pub fn observe(&mut self, record: Option<LeaseRecord>, now: Duration) {
        if self.record != record {
            *self = Self { record, changed_at: now };
        }
    }

    /// What to do about it.
    pub fn evaluate(&self, identity: &str, now: Duration) -> Verdict {
        evaluate(self.record.as_ref(), identity, self.changed_at, now)
    }

    /// The record as it was seen last.
    pub fn record(&self) -> Option<&LeaseRecord> {
        self.record.as_ref()
    }
}

//! The small ports.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::ports::{Clock, Entropy, EventNote, EventSink, Leadership, NotLeader};

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct FixedClock(Mutex<Timestamp>);

impl FixedClock {
    /// A clock that shows this time.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets it, back too.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock() = now;
    }

    /// Moves it on; stays at the end of time.
    pub fn advance(&self, by: SignedDuration) {
        let mut now = self.0.lock();
        *now = now.saturating_add(by).unwrap_or(*now);
    }
}

impl Default for FixedClock {
    /// 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::constant(1_767_225_600, 0))
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The same seed gives the same numbers in the same order.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
pub struct RecordingEvents(Mutex<Vec<EventNote>>);

impl RecordingEvents {
    /// What was published so far, in order.
    pub fn notes(&self) -> Vec<EventNote> {
        self.0.lock().clone()
    }

    /// Takes what was published so far, in order.
    pub fn take(&self) -> Vec<EventNote> {
        std::mem::take(&mut self.0.lock())
    }
}

#[async_trait]
impl EventSink for RecordingEvents {
    async fn publish(&self, note: EventNote) {
        self.0.lock().push(note);
    }
}

/// Leads for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysLeader;

impl Leadership for AlwaysLeader {
    fn permits(&self, _: Duration) -> Result<(), NotLeader> {
        Ok(())
    }
}

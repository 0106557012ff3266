//! What the front's state was, for reads that lag.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::state::State;

/// States of the last while, each with the moment from which it held.
#[derive(Debug, Default)]
pub(crate) struct Past {
    horizon: Duration,
    states: VecDeque<(Instant, State)>,
}

impl Past {
    /// Keeps states for that long from now on; nothing is kept for zero.
    pub(crate) fn keep(&mut self, horizon: Duration, state: &State, now: Instant) {
        self.horizon = horizon;
        self.states.clear();
        self.note(state, now);
    }

    /// The state may have changed.
    pub(crate) fn note(&mut self, state: &State, now: Instant) {
        if self.horizon.is_zero() || self.states.back().is_some_and(|(_, last)| last == state) {
            return;
        }
        self.states.push_back((now, state.clone()));
        // The second one must be old enough to answer the oldest question before the first can go.
        while self.states.get(1).is_some_and(|(since, _)| now.duration_since(*since) > self.horizon) {
            self.states.pop_front();
        }
    }

    /// The state at that time; the oldest that is kept if that was later.
    pub(crate) fn at(&self, time: Option<Instant>) -> Option<State> {
        let held = self.states.iter().rev().find(|(since, _)| time.is_some_and(|time| *since <= time));
        held.or_else(|| self.states.front()).map(|(_, state)| state.clone())
    }
}

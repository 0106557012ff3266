//! One prioritised limiter per account and region, shared by all that calls AWS there.

mod admission;
mod bucket;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use okra_core::route::Lane;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout},
};

pub use admission::{Admission, CallKind, Limits};
pub use bucket::Budget;

/// Whether calls are kept under AWS's rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimits {
    /// AWS's published rates.
    #[default]
    Aws,
    /// No limit: for emulators, which have none.
    Off,
}

/// The rate limit did not let a call through in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waited for the rate limit for {0:?}")]
pub struct WaitedTooLong(pub Duration);

/// Leave for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    kind: CallKind,
    at: Duration,
}

/// The limiter of one account and region.
#[derive(Debug)]
pub struct Limiter {
    begun: Instant,
    state: Option<Mutex<State>>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    waiting: BTreeMap<u64, oneshot::Sender<Duration>>,
    next_ticket: u64,
    driven: bool,
}

impl Limiter {
    /// A limiter with full buckets.
    pub fn new(limits: RateLimits) -> Arc<Self> {
        match limits {
            RateLimits::Aws => Self::with_limits(Limits::AWS),
            RateLimits::Off => Self::build(None),
        }
    }

    /// A limiter of other rates than AWS's published ones.
    pub fn with_limits(limits: Limits) -> Arc<Self> {
        let admission = Admission::new(limits);
        Self::build(Some(Mutex::new(State { admission, waiting: BTreeMap::new(), next_ticket: 0, driven: false })))
    }

    fn build(state: Option<Mutex<State>>) -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), state, changed: Notify::new() })
    }

    /// Waits, for at most `longest`, until a call may go out. Dropping the future gives up the place.
    pub async fn acquire(
        self: &Arc<Self>,
        lane: Lane,
        kind: CallKind,
        longest: Duration,
    ) -> Result<Permit, WaitedTooLong> {
        let Some(state) = &self.state else { return Ok(Permit { kind, at: self.now() }) };
        let (mut place, answer) = self.join(state, lane, kind);
        match timeout(longest, answer).await {
            Ok(Ok(at)) => {
                place.used = true;
                Ok(Permit { kind, at })
            }
            // The sender lives as long as the place; were it gone, the call would not be let through either.
            Ok(Err(_)) | Err(_) => Err(WaitedTooLong(longest)),
        }
    }

    /// Gives back a permit under which no call went out.
    pub fn refund(&self, permit: Permit) {
        if let Some(state) = &self.state {
            state.lock().admission.refund(permit.kind, self.now());
            self.changed.notify_one();
        }
    }

    /// AWS answered the call with "slow down".
    pub fn throttled(&self, permit: Permit) {
        if let Some(state) = &self.state {
            state.lock().admission.throttled(permit.kind, self.now());
        }
    }

    /// AWS answered the call, whatever it said.
    pub fn answered(&self, permit: Permit) {
        if let Some(state) = &self.state {
            state.lock().admission.answered(permit.kind, permit.at);
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn join(
        self: &Arc<Self>,
        state: &Mutex<State>,
        lane: Lane,
        kind: CallKind,
    ) -> (Place, oneshot::Receiver<Duration>) {
        let (sender, answer) = oneshot::channel();
        let mut state = state.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(ticket, sender);
        state.admission.join(lane, kind, ticket);
        state.let_in(self.now());
        if state.waiting.contains_key(&ticket) {
            if state.driven {
                self.changed.notify_one();
            } else {
                state.driven = true;
                tokio::spawn(drive(self.clone()));
            }
        }
        (Place { limiter: self.clone(), ticket, kind, used: false }, answer)
    }

    /// Lets in who may go; how long until the next one may, `None` when nobody waits and the driver may end.
    fn advance(&self) -> Option<Duration> {
        let mut state = self.state.as_ref()?.lock();
        let now = self.now();
        state.let_in(now);
        let next = state.admission.next_at(now);
        state.driven = next.is_some();
        next.map(|at| at.saturating_sub(now))
    }
}

impl State {
    fn let_in(&mut self, now: Duration) {
        for ticket in self.admission.admit(now) {
            if let Some(sender) = self.waiting.remove(&ticket) {
                // Whoever dropped the receiver gives the token back by dropping its place.
                let _ = sender.send(now);
            }
        }
    }
}

/// Serves those who wait, until nobody does. One task instead of a timer for each of them.
async fn drive(limiter: Arc<Limiter>) {
    while let Some(pause) = limiter.advance() {
        tokio::select! {
            biased;
            () = limiter.changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// A place in the queue, given up when it is dropped unused.
struct Place {
    limiter: Arc<Limiter>,
    ticket: u64,
    kind: CallKind,
    used: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        if let Some(state) = &self.limiter.state {
            let mut state = state.lock();
            state.waiting.remove(&self.ticket);
            if !state.admission.leave(self.ticket) {
                let now = self.limiter.now();
                state.admission.refund(self.kind, now);
            }
            self.limiter.changed.notify_one();
        }
    }
}

/// The limiters of all accounts and regions.
#[derive(Debug)]
pub(crate) struct Limiters {
    limits: RateLimits,
    known: Mutex<BTreeMap<(String, String), Arc<Limiter>>>,
}

impl Limiters {
    pub fn new(limits: RateLimits) -> Self {
        Self { limits, known: Mutex::default() }
    }

    /// The limiter of an account and region.
    pub fn of(&self, account: &str, region: &str) -> Arc<Limiter> {
        let key = (account.to_owned(), region.to_owned());
        self.known.lock().entry(key).or_insert_with(|| Limiter::new(self.limits)).clone()
    }
}

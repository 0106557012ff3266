//! Whether a call may begin.

use std::{sync::Arc, time::Duration};

use okra_controller::runtime::MonotonicClock;
use okra_provider::{Leadership, NotLeader};
use parking_lot::Mutex;

/// Until when the lease is ours, by the monotonic clock.
#[derive(Debug, Default)]
pub struct Hold(Mutex<Option<Duration>>);

impl Hold {
    pub(super) fn until(&self, until: Duration) {
        *self.0.lock() = Some(until);
    }

    pub(super) fn give_up(&self) {
        *self.0.lock() = None;
    }

    /// Until when it is ours; `None`: it is not.
    pub fn get(&self) -> Option<Duration> {
        *self.0.lock()
    }
}

/// [`Leadership`] by a lease: held until after the end of the call, by the local clock.
pub struct LeaseLeadership {
    hold: Arc<Hold>,
    clock: Arc<dyn MonotonicClock>,
}

impl LeaseLeadership {
    /// Leadership by what an elector keeps in `hold`.
    pub fn new(hold: Arc<Hold>, clock: Arc<dyn MonotonicClock>) -> Self {
        Self { hold, clock }
    }
}

impl Leadership for LeaseLeadership {
    fn permits(&self, timeout: Duration) -> Result<(), NotLeader> {
        let end = self.clock.elapsed().saturating_add(timeout);
        if self.hold.get().is_some_and(|until| end < until) { Ok(()) } else { Err(NotLeader) }
    }
}

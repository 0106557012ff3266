//! Faults that the simulator plants, one at a time, to see that each of them is found.
//!
//! Without the feature `planted-faults`, which only the simulator turns on, no fault can be planted and every question
//! is answered with `false` when the program is compiled.

/// A fault that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// A weight step is done before the load balancer showed its weights.
    StepDoneBeforeReadBack,
    /// A write of the load balancer does not ask whether the lease lasts.
    LeaseCheckSkipped,
    /// A raise does not wait for healthy targets.
    HealthFloorIgnored,
    /// A copy older than our own last write is acted on.
    StaleCopyUsed,
    /// An answer about an older spec of the route counts for the present one.
    GenerationFenceIgnored,
    /// What somebody else changed at the rule is written over.
    ForeignEditOverwritten,
    /// A person's request is carried out each time it is seen.
    RequestRepeated,
    /// A request for another rollout than the present one is carried out.
    SightIgnored,
    /// A blocked version may begin.
    BlockedVersionBegins,
    /// An abort is answered, and the rollout goes on.
    AbortIgnored,
    /// The canary gets the share of the next step.
    ShareOneStepAhead,
    /// A parked group is detached before the data path has followed.
    DetachedTooEarly,
    /// The Pause of every rollout has the same name.
    PauseNameReused,
    /// The traffic moves before the status remembers how far the rollout is.
    StatusAfterAction,
    /// A run that ended with an error counts as passed.
    ErrorCountsAsPass,
    /// A pause is answered, and the rollout goes on.
    PauseIgnored,
    /// What is about to be asked of the load balancer is not remembered first.
    IntentNotRemembered,
}

impl Planted {
    /// Every fault.
    pub const ALL: [Self; 17] = [
        Self::StepDoneBeforeReadBack,
        Self::LeaseCheckSkipped,
        Self::HealthFloorIgnored,
        Self::StaleCopyUsed,
        Self::GenerationFenceIgnored,
        Self::ForeignEditOverwritten,
        Self::RequestRepeated,
        Self::SightIgnored,
        Self::BlockedVersionBegins,
        Self::AbortIgnored,
        Self::ShareOneStepAhead,
        Self::DetachedTooEarly,
        Self::PauseNameReused,
        Self::StatusAfterAction,
        Self::ErrorCountsAsPass,
        Self::PauseIgnored,
        Self::IntentNotRemembered,
    ];
}

#[cfg(feature = "planted-faults")]
mod switch {
    use std::cell::Cell;

    use super::Planted;

    thread_local! {
        static NOW: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a fault in this thread, in place of the one before; `None`: none.
    pub fn plant(fault: Option<Planted>) {
        NOW.set(fault);
    }

    /// Whether this fault is planted in this thread.
    pub fn is_planted(fault: Planted) -> bool {
        NOW.get() == Some(fault)
    }
}

#[cfg(feature = "planted-faults")]
pub use switch::{is_planted, plant};

/// Whether this fault is planted: never.
#[cfg(not(feature = "planted-faults"))]
pub const fn is_planted(_: Planted) -> bool {
    false
}

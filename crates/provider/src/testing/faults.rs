//! Which calls of the memory backend fail, and how.

use crate::backend::{BackendError, Key, Kind};

/// A method of `Backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallVerb {
    /// `list`
    List,
    /// `watch`
    Watch,
    /// `get`
    Get,
    /// `create`
    Create,
    /// `update`
    Update,
    /// `update_status`
    UpdateStatus,
    /// `merge_patch`
    MergePatch,
    /// `delete`
    Delete,
}

impl CallVerb {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::List | Self::Watch | Self::Get)
    }
}

/// A call that the memory backend got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub verb: CallVerb,
    /// The kind.
    pub kind: Kind,
    /// The object; of `list` and `watch` only the namespace, empty for all.
    pub key: Key,
}

/// A fault to come. A failed `watch` tells `Interrupted` before its first `Restarted`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which method.
    pub verb: CallVerb,
    /// Of which kind; `None`: of any.
    pub kind: Option<Kind>,
    /// Which of the calls that fit, counted from now; 1 is the next.
    pub nth: u64,
    /// What the caller gets.
    pub error: BackendError,
    /// Whether the call does its work before its answer is lost.
    pub after_effect: bool,
}

impl Fault {
    /// The nth call of a method from now fails without an effect.
    pub fn nth(verb: CallVerb, nth: u64, error: BackendError) -> Self {
        Self { verb, kind: None, nth, error, after_effect: false }
    }

    /// The nth call of a method from now does its work, and its answer is lost.
    pub fn lost_answer(verb: CallVerb, nth: u64) -> Self {
        let error = BackendError::Unreachable("the answer was lost".to_owned());
        Self { verb, kind: None, nth, error, after_effect: true }
    }

    /// Only calls about this kind count.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }
}

/// The faults to come and the calls that were made.
#[derive(Debug, Default)]
pub(super) struct Faults {
    coming: Vec<Fault>,
    pub(super) calls: Vec<Call>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.coming.push(fault);
    }

    /// Notes a call; the fault that strikes it.
    pub(super) fn strike(&mut self, call: Call) -> Option<Fault> {
        let fits = |fault: &Fault| fault.verb == call.verb && fault.kind.as_ref().is_none_or(|kind| *kind == call.kind);
        let mut struck = None;
        for (index, fault) in self.coming.iter_mut().enumerate() {
            if fits(fault) {
                fault.nth = fault.nth.saturating_sub(1);
                if fault.nth == 0 && struck.is_none() {
                    struck = Some(index);
                }
            }
        }
        self.calls.push(call);
        struck.map(|index| self.coming.remove(index))
    }
}

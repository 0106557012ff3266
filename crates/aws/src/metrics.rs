//! Counters of what was asked of AWS.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use okra_core::route::Lane;
use parking_lot::Mutex;

/// The most series of calls that are told apart; a code beyond them counts as `Other`.
const MAX_SERIES: usize = 256;
const MAX_CODE_LENGTH: usize = 64;

/// Counters of calls to AWS, filled by the adapters and read by whoever exports metrics.
#[derive(Debug, Default)]
pub struct AwsMetrics {
    calls: Mutex<BTreeMap<(&'static str, String), u64>>,
    waits: Mutex<BTreeMap<Lane, Wait>>,
    throttled: AtomicU64,
    gave_up: AtomicU64,
}

/// How long calls of a lane waited for the rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// Calls that were let through.
    pub count: u64,
    /// Their waiting time together.
    pub total: Duration,
}

impl AwsMetrics {
    /// Calls so far by operation (`ModifyRule`) and code (`OK`, or the error's).
    pub fn calls(&self) -> BTreeMap<(&'static str, String), u64> {
        self.calls.lock().clone()
    }

    /// Waiting for the rate limit by lane.
    pub fn waits(&self) -> BTreeMap<Lane, Wait> {
        self.waits.lock().clone()
    }

    /// Answers of AWS that asked to slow down.
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Calls that were given up because the rate limit did not let them through in time.
    pub fn gave_up(&self) -> u64 {
        self.gave_up.load(Ordering::Relaxed)
    }

    pub(crate) fn count_call(&self, operation: &'static str, code: &str) {
        let mut calls = self.calls.lock();
        let key = (operation, code.to_owned());
        // The code comes from outside: it must not grow the table, nor a label, without end.
        let fits = code.len() <= MAX_CODE_LENGTH && (calls.len() < MAX_SERIES || calls.contains_key(&key));
        let key = if fits { key } else { (operation, "Other".to_owned()) };
        *calls.entry(key).or_default() += 1;
    }

    pub(crate) fn count_wait(&self, lane: Lane, waited: Duration) {
        let mut waits = self.waits.lock();
        let wait = waits.entry(lane).or_default();
        wait.count += 1;
        wait.total += waited;
    }

    pub(crate) fn count_throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_gave_up(&self) {
        self.gave_up.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn calls_are_told_apart_by_operation_and_code() {
        let metrics = AwsMetrics::default();
        metrics.count_call("ModifyRule", "OK");
        metrics.count_call("ModifyRule", "OK");
        metrics.count_call("ModifyRule", "RuleNotFound");
        let expected =
            BTreeMap::from([(("ModifyRule", "OK".to_owned()), 2), (("ModifyRule", "RuleNotFound".to_owned()), 1)]);
        assert_eq!(metrics.calls(), expected);
    }

    #[test]
    fn codes_from_outside_do_not_grow_the_table_without_end() {
        let metrics = AwsMetrics::default();
        for index in 0..1000 {
            metrics.count_call("ModifyRule", &format!("Code{index}"));
        }
        metrics.count_call("ModifyRule", &"x".repeat(1000));
        let calls = metrics.calls();
        assert_eq!(calls.len(), MAX_SERIES + 1);
        assert_eq!(calls.get(&("ModifyRule", "Other".to_owned())), Some(&(1000 - MAX_SERIES as u64 + 1)));
    }
}

//! AWS's token buckets of one account and region, as `docs/safety.md` and AWS's documentation give them.

use std::time::Instant;

/// Capacity and refill per second of the changes, the reads and everything together.
const CHANGES: (f64, f64) = (20.0, 3.0);
const READS: (f64, f64) = (40.0, 10.0);
const ALL: (f64, f64) = (40.0, 10.0);

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full((capacity, per_second): (f64, f64), now: Instant) -> Self {
        Self { capacity, per_second, level: capacity, at: now }
    }

    fn has_one(&mut self, now: Instant) -> bool {
        let came = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level + came).min(self.capacity);
        self.at = self.at.max(now);
        self.level >= 1.0
    }
}

/// The buckets of one account.
#[derive(Debug)]
pub(super) struct Buckets {
    changes: Bucket,
    reads: Bucket,
    all: Bucket,
}

impl Buckets {
    pub(super) fn full(now: Instant) -> Self {
        Self { changes: Bucket::full(CHANGES, now), reads: Bucket::full(READS, now), all: Bucket::full(ALL, now) }
    }

    /// Whether a call may pass, which it then has paid for. A refused one costs nothing.
    pub(super) fn pay(&mut self, is_write: bool, now: Instant) -> bool {
        let own = if is_write { &mut self.changes } else { &mut self.reads };
        let may = own.has_one(now) && self.all.has_one(now);
        if may {
            own.level -= 1.0;
            self.all.level -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn twenty_changes_pass_at_once_and_then_three_a_second() {
        let start = Instant::now();
        let mut buckets = Buckets::full(start);
        let passed = |buckets: &mut Buckets, at: u64| {
            (0..100).filter(|_| buckets.pay(true, start + Duration::from_millis(at))).count()
        };
        assert_eq!(passed(&mut buckets, 0), 20);
        assert_eq!(passed(&mut buckets, 1010), 3);
        assert_eq!(passed(&mut buckets, 1200), 0);
    }

    #[test]
    fn reads_and_changes_share_the_account() {
        let start = Instant::now();
        let mut buckets = Buckets::full(start);
        assert_eq!((0..100).filter(|_| buckets.pay(false, start)).count(), 40);
        assert!(!buckets.pay(true, start), "the account's bucket is empty");
    }
}

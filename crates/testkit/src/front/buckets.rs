//! The token buckets of ELBv2's API ("Elastic Load Balancing API throttling"): one set per account and region.

use std::time::{Duration, Instant};

use super::error::AwsError;

/// Which bucket pays for a call, besides the one that all calls share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mutating,
    Describe,
    Registration,
}

impl Kind {
    fn of(operation: &str) -> Self {
        match operation {
            "RegisterTargets" | "DeregisterTargets" => Self::Registration,
            name if name.starts_with("Describe") || name.starts_with("Get") => Self::Describe,
            _ => Self::Mutating,
        }
    }
}

/// A bucket whose level is counted in nanoseconds of refill, so that nothing is lost by rounding.
#[derive(Clone, Debug)]
struct Bucket {
    capacity: u128,
    token: u128,
    level: u128,
}

impl Bucket {
    fn full(capacity: u32, per_second: u32) -> Self {
        let token = Duration::from_secs(1).as_nanos() / u128::from(per_second.max(1));
        let capacity = u128::from(capacity) * token;
        Self { capacity, token, level: capacity }
    }

    fn refill(&mut self, elapsed: Duration) {
        self.level = (self.level + elapsed.as_nanos()).min(self.capacity);
    }

    fn holds_one(&self) -> bool {
        self.level >= self.token
    }

    fn take(&mut self) {
        self.level = self.level.saturating_sub(self.token);
    }
}

/// The buckets of one account and region, full at first.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    mutating: Bucket,
    describe: Bucket,
    registration: Bucket,
    overall: Bucket,
    at: Instant,
}

impl Buckets {
    pub(crate) fn full(now: Instant) -> Self {
        Self {
            mutating: Bucket::full(20, 3),
            describe: Bucket::full(40, 10),
            registration: Bucket::full(20, 4),
            overall: Bucket::full(40, 10),
            at: now,
        }
    }

    /// Pays for a call; a call that cannot be paid for costs nothing.
    pub(crate) fn pay(&mut self, operation: &str, now: Instant) -> Result<(), AwsError> {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        for bucket in [&mut self.mutating, &mut self.describe, &mut self.registration, &mut self.overall] {
            bucket.refill(elapsed);
        }
        let own = match Kind::of(operation) {
            Kind::Mutating => &mut self.mutating,
            Kind::Describe => &mut self.describe,
            Kind::Registration => &mut self.registration,
        };
        if !own.holds_one() {
            return Err(AwsError::throttled());
        }
        if !self.overall.holds_one() {
            return Err(AwsError::limit_exceeded());
        }
        own.take();
        self.overall.take();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    /// How many calls in a row are paid for, and the code of the first refusal.
    fn burst(buckets: &mut Buckets, operation: &str, now: Instant) -> (usize, String) {
        let mut paid = 0;
        loop {
            match buckets.pay(operation, now) {
                Ok(()) => paid += 1,
                Err(error) => return (paid, error.code),
            }
        }
    }

    #[test]
    fn each_bucket_holds_and_refills_what_aws_says() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        for (operation, capacity, rate, code) in [
            ("ModifyRule", 20, 3, "Throttling"),
            ("AddTags", 20, 3, "Throttling"),
            ("DescribeRules", 40, 10, "Throttling"),
            ("RegisterTargets", 20, 4, "Throttling"),
        ] {
            let mut buckets = Buckets::full(begun);
            assert_eq!(burst(&mut buckets, operation, begun), (capacity, code.to_owned()), "{operation}");
            assert_eq!(burst(&mut buckets, operation, begun + second).0, rate, "{operation}");
            assert_eq!(
                burst(&mut buckets, operation, begun + second * 60).0,
                capacity,
                "{operation}: never above full"
            );
        }
    }

    #[test]
    fn all_calls_share_one_bucket() {
        let now = Instant::now();
        let mut buckets = Buckets::full(now);
        assert_eq!(burst(&mut buckets, "ModifyRule", now).0, 20);
        assert_eq!(burst(&mut buckets, "DescribeRules", now), (20, "RequestLimitExceeded".to_owned()));
        assert_eq!(burst(&mut buckets, "DescribeRules", now + Duration::from_secs(1)).0, 10);
    }
}

//! One token bucket in whole numbers, so that a long run adds up to exactly what AWS allows.

use std::time::Duration;

/// One token, in the unit that levels are kept in: at `n` tokens a second, `n` units come in each nanosecond.
const TOKEN: u128 = 1_000_000_000;

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Tokens that a full bucket holds.
    pub capacity: u32,
    /// Tokens that come in each second.
    pub per_second: u32,
}

/// A token bucket. All times are since the same moment; it never hears of a clock.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    budget: Budget,
    level: u128,
    at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn full(budget: Budget) -> Self {
        Self { budget, level: u128::from(budget.capacity) * TOKEN, at: Duration::ZERO }
    }

    /// Lets in what has come since the last look. Time that goes backwards brings nothing.
    pub fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let came = elapsed.as_nanos() * u128::from(self.budget.per_second);
        self.level = (self.level + came).min(u128::from(self.budget.capacity) * TOKEN);
    }

    /// Takes one token. Only when [`Self::offers_in`] says that it need not be waited for.
    pub fn take(&mut self) {
        self.level = self.level.saturating_sub(TOKEN);
    }

    /// Gives one token back that was taken and not used.
    pub fn give_back(&mut self) {
        self.level = (self.level + TOKEN).min(u128::from(self.budget.capacity) * TOKEN);
    }

    /// Empties it.
    pub fn drain(&mut self) {
        self.level = 0;
    }

    /// How long from the last refill until a token can be taken with `reserve` staying.
    pub fn offers_in(&self, reserve: u32) -> Duration {
        let missing = ((u128::from(reserve) + 1) * TOKEN).saturating_sub(self.level);
        match u128::from(self.budget.per_second) {
            0 if missing > 0 => Duration::MAX,
            0 => Duration::ZERO,
            rate => Duration::from_nanos(u64::try_from(missing.div_ceil(rate)).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(bucket: &Bucket, reserve: u32) -> bool {
        bucket.offers_in(reserve).is_zero()
    }

    #[test]
    fn it_holds_its_capacity_and_fills_at_its_rate() {
        let mut bucket = Bucket::full(Budget { capacity: 2, per_second: 3 });
        bucket.refill(Duration::from_secs(100));
        bucket.take();
        bucket.take();
        assert!(!offers(&bucket, 0));
        let wait = bucket.offers_in(0);
        assert_eq!(wait, Duration::from_nanos(333_333_334));
        bucket.refill(Duration::from_secs(100) + wait.checked_sub(Duration::from_nanos(1)).unwrap());
        assert!(!offers(&bucket, 0));
        bucket.refill(Duration::from_secs(100) + wait);
        assert!(offers(&bucket, 0));
        assert!(!offers(&bucket, 1));
    }

    #[test]
    fn thirty_tokens_take_exactly_ten_seconds_at_three_a_second() {
        let mut bucket = Bucket::full(Budget { capacity: 20, per_second: 3 });
        (0..20).for_each(|_| bucket.take());
        let mut now = Duration::ZERO;
        for _ in 0..30 {
            now += bucket.offers_in(0);
            bucket.refill(now);
            assert!(offers(&bucket, 0));
            bucket.take();
        }
        assert!(now >= Duration::from_secs(10));
        assert!(now < Duration::from_secs(10) + Duration::from_nanos(30));
    }

    #[test]
    fn time_that_goes_backwards_brings_nothing() {
        let mut bucket = Bucket::full(Budget { capacity: 1, per_second: 1 });
        bucket.refill(Duration::from_secs(10));
        bucket.take();
        bucket.refill(Duration::from_secs(5));
        bucket.refill(Duration::from_secs(10));
        assert!(!offers(&bucket, 0));
    }
}

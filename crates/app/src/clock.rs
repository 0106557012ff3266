//! The real clocks and the real chance; the only place where they are.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use okra_controller::runtime::MonotonicClock;
use okra_provider::{Clock, Entropy};
use uuid::Uuid;

/// The clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Clocks whose monotonic one begins now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl MonotonicClock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// Randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn below(&self, bound: u64) -> u64 {
        // The low 62 bits of a version 4 UUID are random; scaled by multiplication, which has no bias that counts.
        const RANDOM_BITS: u32 = 62;
        let (_, low) = Uuid::new_v4().as_u64_pair();
        let random = low & ((1 << RANDOM_BITS) - 1);
        ((u128::from(random) * u128::from(bound)) >> RANDOM_BITS) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_lie_below_their_bound_and_spread() {
        assert_eq!(SystemEntropy.below(0), 0);
        assert_eq!(SystemEntropy.below(1), 0);
        let draws: Vec<u64> = (0..1000).map(|_| SystemEntropy.below(10)).collect();
        assert!((0..10).all(|value| draws.contains(&value)));
        assert!(draws.iter().all(|draw| *draw < 10));
        assert!((0..64).any(|_| SystemEntropy.below(u64::MAX) > u64::MAX / 2), "large bounds are reached");
    }
}

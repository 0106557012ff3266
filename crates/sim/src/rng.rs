//! Where every choice of a run comes from.

use okra_provider::{Entropy as _, testing::SeededEntropy};

/// Numbers that follow from a seed.
#[derive(Debug)]
pub struct Rng(SeededEntropy);

impl Rng {
    /// The same seed and purpose give the same numbers; other purposes give others.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let own = SeededEntropy::new(seed ^ purpose.wrapping_mul(0xD134_2543_DE82_EF95));
        Self(SeededEntropy::new(own.below(u64::MAX)))
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of 100 cases.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several; `None` of none.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }
}

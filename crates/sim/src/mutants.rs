//! Whether the simulator sees anything: faults planted in the product, one at a time, and the seeds that find them.

use okra_core::planted::{Planted, plant};

use crate::{run::Breach, shrink::judge, story::generate};

/// How a planted fault was found.
#[derive(Clone, Debug)]
pub struct Find {
    /// The seed.
    pub seed: u64,
    /// After how many seeds.
    pub seeds: u64,
    /// What it broke.
    pub breach: Breach,
}

/// Runs seeds with a fault planted until one finds it: breaks what it does not break without the fault. `None`: none of
/// them does.
pub fn hunt(fault: Planted, from: u64, seeds: u64) -> anyhow::Result<Option<Find>> {
    for seed in from..from + seeds {
        let story = generate(seed);
        plant(Some(fault));
        let found = judge(&story);
        plant(None);
        let (outcome, _) = found?;
        if outcome.breaches.is_empty() {
            continue;
        }
        let (without, _) = judge(&story)?;
        let known = |breach: &Breach| without.breaches.iter().any(|other| other.invariant == breach.invariant);
        if let Some(breach) = outcome.breaches.into_iter().find(|breach| !known(breach)) {
            return Ok(Some(Find { seed, seeds: seed - from + 1, breach }));
        }
    }
    Ok(None)
}

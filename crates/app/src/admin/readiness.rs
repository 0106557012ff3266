//! Whether this process can do its work, and what is missing.

use std::{collections::BTreeMap, sync::Arc};

use okra_provider::{Cache, Kind, Stored};
use parking_lot::Mutex;

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What must be there before work can begin. A follower is ready as well: it only waits for its turn.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Arc<Mutex<Vec<Check>>>,
    starting: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Nothing is missing as far as it knows.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part of the start is missing; `None`: it is done.
    pub fn set(&self, part: &'static str, missing: Option<String>) {
        let mut starting = self.starting.lock();
        match missing {
            Some(why) => drop(starting.insert(part, why)),
            None => drop(starting.remove(part)),
        }
    }

    /// Waits for a kind to be synced and, when it is `required`, to be served.
    pub fn watch<K: Stored>(&self, cache: &Cache<K>, required: bool) {
        let (cache, kind) = (cache.clone(), Kind::of::<K>());
        let check = move || {
            let trouble = cache.trouble().map_or_else(String::new, |trouble| format!(" ({trouble})"));
            if !cache.is_synced() {
                Some(format!("{kind}: not read yet{trouble}"))
            } else if required && !cache.is_served() {
                Some(format!("{kind}: not served, install Okra's CRDs (okra crd | kubectl apply -f -)"))
            } else {
                None
            }
        };
        self.checks.lock().push(Box::new(check));
    }

    /// What is missing, one line each; empty: ready.
    pub fn missing(&self) -> Vec<String> {
        let starting: Vec<String> = self.starting.lock().iter().map(|(part, why)| format!("{part}: {why}")).collect();
        starting.into_iter().chain(self.checks.lock().iter().filter_map(|check| check())).collect()
    }
}

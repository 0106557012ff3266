//! Measurements under way, and those that are over and not written down yet. They live in memory only: what a crash
//! takes along is measured again.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};

use okra_core::analysis::Taken;
use okra_provider::Key;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// So many measurements are under way at once; the others wait for their turn.
const AT_ONCE: usize = 512;

/// Measurements of every run, by the run and the metric's name.
#[derive(Clone)]
pub(super) struct Flights {
    runs: Arc<Mutex<BTreeMap<Key, OfRun>>>,
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct OfRun {
    /// Of another run of the same name nothing is known.
    uid: String,
    metrics: BTreeMap<String, Flight>,
}

struct Flight {
    /// Tells a flight from the one before it, which may still land.
    number: u64,
    landed: Option<Taken>,
    /// Dropped with the flight, and the call with it.
    _task: AbortOnDropHandle<()>,
}

/// What is known of a run's measurements.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Those that are over.
    pub(super) landed: Vec<Taken>,
    /// Names of the metrics that are being measured.
    pub(super) outstanding: BTreeSet<String>,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self { runs: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What there is of a run. What lands later wakes it.
    pub(super) fn of(&self, key: &Key, uid: &str) -> Sight {
        let runs = self.runs.lock();
        let Some(run) = runs.get(key).filter(|run| run.uid == uid) else { return Sight::default() };
        let mut sight = Sight::default();
        for (name, flight) in &run.metrics {
            match &flight.landed {
                Some(taken) => sight.landed.push(taken.clone()),
                None => _ = sight.outstanding.insert(name.clone()),
            }
        }
        sight
    }

    /// Begins a measurement. `wake` is called once it is over, unless it was given up before.
    pub(super) fn begin<M, W>(&self, key: &Key, uid: &str, metric: &str, measurement: M, wake: W)
    where
        M: Future<Output = Taken> + Send + 'static,
        W: FnOnce() + Send + 'static,
    {
        let mut runs = self.runs.lock();
        let run = runs.entry(key.clone()).or_default();
        if run.uid != uid {
            *run = OfRun { uid: uid.to_owned(), metrics: BTreeMap::new() };
        }
        let number = run.metrics.get(metric).map_or(0, |flight| flight.number.wrapping_add(1));
        let (flights, place, name) = (self.clone(), key.clone(), metric.to_owned());
        let task = tokio::spawn(async move {
            let _turn = flights.turns.acquire().await;
            let taken = measurement.await;
            if flights.land(&place, &name, number, taken) {
                wake();
            }
        });
        let flight = Flight { number, landed: None, _task: AbortOnDropHandle::new(task) };
        run.metrics.insert(metric.to_owned(), flight);
    }

    fn land(&self, key: &Key, metric: &str, number: u64, taken: Taken) -> bool {
        let mut runs = self.runs.lock();
        let flight = runs.get_mut(key).and_then(|run| run.metrics.get_mut(metric));
        let Some(flight) = flight.filter(|flight| flight.number == number) else { return false };
        flight.landed = Some(taken);
        true
    }

    /// Forgets measurements of a run: those that were written down, and those that nobody waits for.
    pub(super) fn forget<'a>(&self, key: &Key, metrics: impl IntoIterator<Item = &'a str>) {
        let mut runs = self.runs.lock();
        let Some(run) = runs.get_mut(key) else { return };
        for metric in metrics {
            run.metrics.remove(metric);
        }
        if run.metrics.is_empty() {
            runs.remove(key);
        }
    }

    /// Forgets everything of a run, and gives up what is under way.
    pub(super) fn forget_run(&self, key: &Key) {
        self.runs.lock().remove(key);
    }
}

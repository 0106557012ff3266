//! Feeds a [`Schedule`] with changes, ends of runs and the passing of time.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use jiff::Timestamp;
use okra_provider::{Disposition, Key, Kind};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::error::Elapsed,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    QueueLimits, QueuePorts, RuntimeMetrics,
    metrics::outcome_label,
    schedule::{Ended, Schedule, full_jitter},
};
use crate::{Changed, Next, ReconcileError, Reconciler};

/// How a run came back from its task: the reconcile's own answer, or its deadline, or its panic.
type RunEnd = Result<(Id, Result<Result<Next, ReconcileError>, Elapsed>), JoinError>;

/// How a queue stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Reconciles that were still under way when the grace period ended, and were cut off.
    pub cut_off: usize,
}

/// A run under way.
struct Run {
    id: Id,
    key: Key,
    started: Duration,
}

/// Calls one controller: at once when something changes, later when it asked for it or failed, never one object
/// twice at once. A panic or a hang of one object delays no other.
pub struct Queue {
    reconciler: Arc<dyn Reconciler>,
    name: &'static str,
    watches: Vec<Kind>,
    changes: BoxStream<'static, Changed>,
    ports: QueuePorts,
    limits: QueueLimits,
    metrics: RuntimeMetrics,
    schedule: Schedule<Key>,
    tasks: JoinSet<Result<Result<Next, ReconcileError>, Elapsed>>,
    runs: Vec<Run>,
    /// The last error of each object, so that one that stays is told once.
    errors: BTreeMap<Key, String>,
    next_resync: Duration,
}

impl Queue {
    /// A queue that is not running yet. `changes` must have begun before the caches are read for the first time,
    /// so that no change falls in between; when it ends, the queue stops.
    pub fn new(
        reconciler: Arc<dyn Reconciler>,
        changes: BoxStream<'static, Changed>,
        ports: QueuePorts,
        limits: QueueLimits,
        metrics: RuntimeMetrics,
    ) -> Self {
        Self {
            name: reconciler.name(),
            watches: reconciler.watches(),
            limits: QueueLimits { deadline: reconciler.deadline().unwrap_or(limits.deadline), ..limits },
            schedule: Schedule::new(reconciler.concurrency().unwrap_or(limits.concurrency)),
            reconciler,
            changes,
            ports,
            metrics,
            tasks: JoinSet::new(),
            runs: Vec::new(),
            errors: BTreeMap::new(),
            next_resync: Duration::ZERO,
        }
    }

    /// Runs until `stop`: then takes nothing new, and waits for what is under way up to the grace period. Dropping
    /// the future cuts off what is under way at once. The caches must be synced before.
    pub async fn run(mut self, stop: CancellationToken) -> Stopped {
        self.wake_all(Duration::ZERO);
        loop {
            self.start_due();
            let now = self.now();
            let idle = self.schedule.next_due().unwrap_or(self.next_resync).min(self.next_resync).saturating_sub(now);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(end) = self.tasks.join_next_with_id() => self.finish(end),
                changed = self.changes.next() => match changed {
                    Some(changed) => self.wake(&changed),
                    None => break,
                },
                () = tokio::time::sleep(idle) => self.resync_if_due(),
            }
        }
        self.drain().await
    }

    fn now(&self) -> Duration {
        self.ports.monotonic.elapsed()
    }

    fn start_due(&mut self) {
        let now = self.now();
        while let Some(key) = self.schedule.take(now) {
            let span = tracing::info_span!("reconcile", controller = self.name, object = %key);
            let (reconciler, object, deadline) = (Arc::clone(&self.reconciler), key.clone(), self.limits.deadline);
            let run = async move { tokio::time::timeout(deadline, reconciler.reconcile(&object)).await };
            let id = self.tasks.spawn(run.instrument(span)).id();
            self.runs.push(Run { id, key, started: now });
        }
        self.metrics.queue(self.name, self.schedule.depth(now), self.schedule.running());
    }

    fn wake(&mut self, changed: &Changed) {
        if !self.watches.contains(&changed.kind) {
            return;
        }
        let reconciler = Arc::clone(&self.reconciler);
        let now = self.now();
        for key in self.guarded("wakes", || reconciler.wakes(changed)) {
            self.schedule.wake(key.clone(), now);
            self.schedule.set_urgent(&key, reconciler.is_urgent(&key));
        }
    }

    /// Wakes every object, spread over `spread`, and draws the time of the next round.
    fn wake_all(&mut self, spread: Duration) {
        let reconciler = Arc::clone(&self.reconciler);
        let now = self.now();
        for key in self.guarded("all", || reconciler.all()) {
            self.schedule.wake(key, now + full_jitter(spread, &*self.ports.entropy));
        }
        let resync = self.limits.resync;
        self.next_resync = now + resync * 9 / 10 + full_jitter(resync / 5, &*self.ports.entropy);
    }

    fn resync_if_due(&mut self) {
        if self.now() >= self.next_resync {
            self.wake_all(self.limits.resync / 10);
        }
    }

    /// Calls what a controller runs within the queue itself: a panic there must not take the other objects along.
    fn guarded(&self, what: &'static str, call: impl FnOnce() -> Vec<Key>) -> Vec<Key> {
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
            self.metrics.panicked(self.name);
            tracing::error!(controller = self.name, what, panic = panic_text(&*panic), "Controller panicked");
            Vec::new()
        })
    }

    fn finish(&mut self, end: RunEnd) {
        let id = match &end {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(position) = self.runs.iter().position(|run| run.id == id) else { return };
        let run = self.runs.swap_remove(position);
        let now = self.now();
        let (ended, outcome) = match end.map(|(_, answer)| answer) {
            Ok(Ok(Ok(next))) => {
                self.succeeded(&run.key);
                (Ended::Success { look_again_in: next.wake_at.map(|at| self.until(at)) }, "success")
            }
            Ok(Ok(Err(error))) => {
                self.failed(&run.key, error.category, error.disposition, &error.message);
                (Ended::Failed(error.disposition), outcome_label(error.disposition))
            }
            Ok(Err(_)) => {
                let message = format!("not finished within {:?}, cut off", self.limits.deadline);
                self.failed(&run.key, "Deadline", Disposition::Transient, &message);
                (Ended::Failed(Disposition::Transient), "deadline")
            }
            Err(error) => {
                self.metrics.panicked(self.name);
                let message = error
                    .try_into_panic()
                    .map_or_else(|error| error.to_string(), |panic| format!("panicked: {}", panic_text(&*panic)));
                self.failed(&run.key, "Panic", Disposition::Bug, &message);
                (Ended::Failed(Disposition::Bug), "panic")
            }
        };
        self.metrics.ended(self.name, outcome, now.saturating_sub(run.started));
        self.schedule.finish(&run.key, ended, now, &*self.ports.entropy);
    }

    /// From now to a time of the wall clock; nothing when it is over.
    fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.ports.clock.now())).unwrap_or(Duration::ZERO)
    }

    fn succeeded(&mut self, key: &Key) {
        if self.errors.remove(key).is_some() {
            tracing::info!(controller = self.name, object = %key, "Reconcile works again");
        }
    }

    fn failed(&mut self, key: &Key, category: &'static str, disposition: Disposition, message: &str) {
        self.metrics.error(self.name, category);
        let attempt = self.schedule.failures(key).saturating_add(1);
        if self.errors.get(key).is_some_and(|last| last == message) {
            tracing::debug!(controller = self.name, object = %key, category, attempt, error = message, "Reconcile fails again");
            return;
        }
        self.errors.insert(key.clone(), message.to_owned());
        match disposition {
            Disposition::Transient | Disposition::Throttled => {
                tracing::warn!(controller = self.name, object = %key, category, attempt, error = message, "Reconcile failed");
            }
            Disposition::Terminal | Disposition::Bug => {
                tracing::error!(controller = self.name, object = %key, category, attempt, error = message, "Reconcile failed");
            }
        }
    }

    async fn drain(mut self) -> Stopped {
        let grace = self.limits.grace;
        let finished = tokio::time::timeout(grace, async {
            while let Some(end) = self.tasks.join_next_with_id().await {
                self.finish(end);
            }
        })
        .await;
        let cut_off = self.runs.len();
        if finished.is_err() {
            for run in &self.runs {
                tracing::warn!(controller = self.name, object = %run.key, "Reconcile cut off by the end of the process");
            }
            self.tasks.shutdown().await;
        }
        self.metrics.queue(self.name, 0, 0);
        Stopped { cut_off }
    }
}

/// The words of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests;

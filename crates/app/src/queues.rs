//! The controllers' queues, started and stopped together.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use okra_controller::{
    Reconciler,
    runtime::{Queue, QueueLimits, QueuePorts, RuntimeMetrics, Stopped},
};
use okra_provider::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What each controller's queue is made of.
pub struct Queues {
    /// Whose changes wake the controllers.
    pub store: Store,
    /// Time and chance.
    pub ports: QueuePorts,
    /// How much at once, and how long.
    pub limits: QueueLimits,
    /// What the queues count.
    pub metrics: RuntimeMetrics,
}

impl Queues {
    /// Starts one queue for each controller.
    pub fn start(self, controllers: Vec<Arc<dyn Reconciler>>) -> RunningQueues {
        let mut running = RunningQueues { tasks: JoinSet::new(), stop: CancellationToken::new() };
        for controller in controllers {
            tracing::info!(controller = controller.name(), "Starts controller");
            let changes = stream::unfold(self.store.changes(), async |mut changes| {
                let changed = changes.next().await?;
                Some((changed, changes))
            });
            let queue = Queue::new(controller, changes.boxed(), self.ports.clone(), self.limits, self.metrics.clone());
            running.tasks.spawn(queue.run(running.stop.clone()));
        }
        running
    }
}

/// The queues at work; dropping them cuts their work off.
pub struct RunningQueues {
    tasks: JoinSet<Stopped>,
    stop: CancellationToken,
}

impl RunningQueues {
    /// Waits for a queue to end without having been told to.
    pub async fn broke_off(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(_)) => anyhow::anyhow!("a controller ended"),
            Some(Err(error)) => anyhow::anyhow!("a controller broke off: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Takes nothing new and waits for what is under way.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        let mut cut_off = 0;
        while let Some(ended) = self.tasks.join_next().await {
            cut_off += ended.map_or(0, |stopped| stopped.cut_off);
        }
        if cut_off > 0 {
            tracing::warn!(cut_off, "Some reconciles did not finish in time and were cut off");
        }
    }
}

//! Targets that follow the load, as those of a cluster with a HorizontalPodAutoscaler do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_elasticloadbalancingv2::{Client, types::TargetDescription};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Counters, TestCluster};

/// How a cluster follows its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// The fewest targets.
    pub min: u32,
    /// Requests at once for which one target is wanted.
    pub per_target: u32,
    /// How often the load is looked at.
    pub every: Duration,
    /// How long fewer targets must have been enough before any is taken away.
    pub stabilization: Duration,
    /// How long a new target takes to start; they start one after the other.
    pub start: Duration,
}

/// Registers and deregisters the targets of a cluster by its load. It stops when it is dropped.
pub struct Autoscaler {
    min: watch::Sender<u32>,
    serving: watch::Receiver<u32>,
    _stop: DropGuard,
}

impl Autoscaler {
    /// Follows the load of a cluster from now on, with its target group at the AWS that `client` calls. The first
    /// `serving` targets of the cluster are registered already.
    pub fn start(cluster: &TestCluster, client: Client, group: &str, serving: u32, scaling: Scaling) -> Self {
        let stop = CancellationToken::new();
        let (min, bound) = watch::channel(scaling.min);
        let (told, now) = watch::channel(serving);
        cluster.set_serving(serving);
        let run = Run {
            counters: cluster.counters.clone(),
            targets: cluster.targets().iter().map(describe).collect(),
            client,
            group: group.to_owned(),
            scaling,
            min: bound,
            serving: told,
            wanted: VecDeque::new(),
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                result = run.follow() => if let Err(error) = result {
                    tracing::error!(%error, "an autoscaler broke off");
                },
            }
        });
        Self { min, serving: now, _stop: stop.drop_guard() }
    }

    /// From now on there are at least so many targets.
    pub fn set_min(&self, min: u32) {
        self.min.send_replace(min);
    }

    /// How many targets serve.
    pub fn serving(&self) -> u32 {
        *self.serving.borrow()
    }

    /// Waits until so many targets serve; an error once `within` has passed.
    pub async fn until(&self, serving: u32, within: Duration) -> anyhow::Result<()> {
        let mut now = self.serving.clone();
        let waited = tokio::time::timeout(within, now.wait_for(|count| *count == serving)).await;
        waited.with_context(|| format!("there are {} targets, not {serving}", self.serving()))??;
        Ok(())
    }
}

fn describe(target: &std::net::SocketAddr) -> TargetDescription {
    TargetDescription::builder().id(target.ip().to_string()).port(i32::from(target.port())).build()
}

struct Run {
    counters: Arc<Counters>,
    targets: Vec<TargetDescription>,
    client: Client,
    group: String,
    scaling: Scaling,
    min: watch::Receiver<u32>,
    serving: watch::Sender<u32>,
    /// What would have been enough, and when.
    wanted: VecDeque<(Instant, u32)>,
}

impl Run {
    async fn follow(mut self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(self.scaling.every).await;
            let wanted = self.wanted();
            let serving = *self.serving.borrow();
            if wanted > serving {
                tokio::time::sleep(self.scaling.start).await;
                self.register(serving).await?;
            } else if wanted < serving {
                self.deregister(wanted, serving).await?;
            }
        }
    }

    /// Targets for the load since the last look; fewer than serve only after they were enough for a while.
    fn wanted(&mut self) -> u32 {
        let peak = self.counters.peak.swap(self.counters.under_way.load(Ordering::Relaxed), Ordering::Relaxed);
        let max = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let min = *self.min.borrow();
        let now = Instant::now();
        let enough = peak.div_ceil(self.scaling.per_target.max(1));
        self.wanted.push_back((now, enough));
        while self.wanted.front().is_some_and(|(at, _)| now.duration_since(*at) > self.scaling.stabilization) {
            self.wanted.pop_front();
        }
        self.wanted.iter().map(|(_, enough)| *enough).max().unwrap_or(max).clamp(min.min(max), max)
    }

    async fn register(&self, serving: u32) -> anyhow::Result<()> {
        let next = self.targets.iter().skip(serving as usize).take(1).cloned().collect();
        let call = self.client.register_targets().target_group_arn(&self.group).set_targets(Some(next));
        call.send().await.with_context(|| format!("failed to register a target with {}", self.group))?;
        self.tell(serving + 1);
        Ok(())
    }

    /// What leaves is deregistered first, and still does what is under way while the data path learns of it.
    async fn deregister(&self, wanted: u32, serving: u32) -> anyhow::Result<()> {
        let leaving = self.targets.iter().take(serving as usize).skip(wanted as usize).cloned().collect();
        let call = self.client.deregister_targets().target_group_arn(&self.group).set_targets(Some(leaving));
        call.send().await.with_context(|| format!("failed to deregister targets from {}", self.group))?;
        tokio::time::sleep(self.scaling.every).await;
        self.tell(wanted);
        Ok(())
    }

    fn tell(&self, serving: u32) {
        self.counters.serving.store(serving, Ordering::Relaxed);
        self.serving.send_replace(serving);
    }
}

//! A small "cluster": a real HTTP server that says which version it is. It can have several targets, a capacity that
//! grows while it warms up, and an [`Autoscaler`] that follows the load.

mod autoscaler;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use autoscaler::{Autoscaler, Scaling};

/// The header in which a cluster says its version.
pub const VERSION_HEADER: &str = "x-okra-version";
/// The header in which a cluster says its name.
pub const NAME_HEADER: &str = "x-okra-cluster";

/// How much a cluster can do at once. What is over it is answered with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Requests at once for each target that serves, once warm.
    pub per_target: u32,
    /// How long after the first request the cluster is warm; its capacity grows evenly until then.
    pub warm_up: Duration,
    /// What it can do at its first request, in percent.
    pub cold_percent: u32,
}

impl Capacity {
    /// Requests at once with `targets`, so long after the first request.
    fn at(self, targets: u32, age: Duration) -> u32 {
        let warm = u64::from(self.per_target) * u64::from(targets);
        let total = u64::try_from(self.warm_up.as_millis()).unwrap_or(u64::MAX);
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).min(total);
        let cold = u64::from(self.cold_percent.min(100));
        let percent = ((100 - cold) * age).checked_div(total).map_or(100, |gained| cold + gained);
        u32::try_from((warm * percent / 100).max(1)).unwrap_or(u32::MAX)
    }
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
    under_way: AtomicU32,
    peak: AtomicU32,
    serving: AtomicU32,
    sockets: AtomicU32,
    /// Every so many requests one fails; 0: none does.
    fails_every: AtomicU64,
    failed: AtomicU64,
    latency: Mutex<Duration>,
    capacity: Mutex<Option<Capacity>>,
    first_request: Mutex<Option<Instant>>,
}

impl Counters {
    fn limit(&self) -> u32 {
        let age = self.first_request.lock().get_or_insert_with(Instant::now).elapsed();
        let capacity = *self.capacity.lock();
        capacity.map_or(u32::MAX, |capacity| capacity.at(self.serving.load(Ordering::Relaxed), age))
    }
}

/// A server on 127.0.0.1 that answers every request with its version and name, and echoes what comes over a WebSocket.
/// It stops when it is dropped.
pub struct TestCluster {
    targets: Vec<SocketAddr>,
    counters: Arc<Counters>,
    stop: Option<DropGuard>,
}

impl TestCluster {
    /// Starts a cluster with one target, on a free port.
    pub async fn start(name: &str, version: &str) -> anyhow::Result<Self> {
        Self::with_targets(name, version, 1).await
    }

    /// Starts a cluster with so many targets, each on a free port. All of them serve.
    pub async fn with_targets(name: &str, version: &str, count: u32) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::default());
        counters.serving.store(count, Ordering::Relaxed);
        let stop = CancellationToken::new();
        let identity = Arc::new(serve::Identity {
            name: HeaderValue::from_str(name).context("a cluster's name must be printable")?,
            version: HeaderValue::from_str(version).context("a version must be printable")?,
            body: Bytes::from(format!("{version} {name}\n")),
        });
        let mut targets = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.with_context(|| format!("failed to bind {name}"))?;
            targets.push(listener.local_addr()?);
            tokio::spawn(serve::accept(listener, identity.clone(), counters.clone(), stop.clone()));
        }
        anyhow::ensure!(!targets.is_empty(), "a cluster needs at least one target");
        Ok(Self { targets, counters, stop: Some(stop.drop_guard()) })
    }

    /// Where its first target listens.
    pub fn address(&self) -> SocketAddr {
        self.targets.first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Where its targets listen, those that do not serve at the moment included.
    pub fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// How many requests it got.
    pub fn requests(&self) -> u64 {
        self.counters.requests.load(Ordering::Relaxed)
    }

    /// How many of them were over its capacity.
    pub fn refused(&self) -> u64 {
        self.counters.refused.load(Ordering::Relaxed)
    }

    /// How many WebSockets are open.
    pub fn sockets(&self) -> u32 {
        self.counters.sockets.load(Ordering::Relaxed)
    }

    /// From now on it answers 500, or its version again.
    pub fn set_failing(&self, failing: bool) {
        self.set_fails_every(u64::from(failing));
    }

    /// From now on one of so many requests is answered 500; 0: none is.
    pub fn set_fails_every(&self, requests: u64) {
        self.counters.fails_every.store(requests, Ordering::Relaxed);
    }

    /// How many requests it answered 500.
    pub fn failed(&self) -> u64 {
        self.counters.failed.load(Ordering::Relaxed)
    }

    /// From now on every answer takes this long.
    pub fn set_latency(&self, latency: Duration) {
        *self.counters.latency.lock() = latency;
    }

    /// From now on it can do no more than this at once.
    pub fn set_capacity(&self, capacity: Capacity) {
        *self.counters.capacity.lock() = Some(capacity);
    }

    /// From now on so many targets serve: the capacity is theirs.
    pub fn set_serving(&self, targets: u32) {
        self.counters.serving.store(targets, Ordering::Relaxed);
    }

    /// Closes its ports and all connections, as a cluster that is gone.
    pub fn stop(&mut self) {
        self.stop = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_grows_while_it_warms_up_and_follows_the_targets() {
        let capacity = Capacity { per_target: 10, warm_up: Duration::from_secs(20), cold_percent: 20 };
        let at = |targets, secs| capacity.at(targets, Duration::from_secs(secs));
        assert_eq!([at(4, 0), at(4, 10), at(4, 20), at(4, 90)], [8, 24, 40, 40]);
        assert_eq!([at(1, 0), at(1, 20), at(0, 20)], [2, 10, 1]);
        let warm = Capacity { warm_up: Duration::ZERO, ..capacity };
        assert_eq!(warm.at(2, Duration::ZERO), 20);
    }
}

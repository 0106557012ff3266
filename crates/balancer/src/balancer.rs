//! The balancer as its owner sees it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::route::ActiveTable;
use crate::server;
use crate::stats::{self, GroupCounters, GroupHealth, Sample, Stats, Totals};
use crate::table::{RoutingTable, TableError};

/// Of so many removed groups the counters are kept.
const REMOVED_GROUPS_KEPT: usize = 256;

/// How often idle connections to targets are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The least that hyper accepts as a buffer.
const LEAST_BUFFER: usize = 8192;

/// Limits of a balancer. Nothing from outside is waited for or held without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A connect to a target that takes longer is answered 502.
    pub connect_timeout: Duration,
    /// A client that began the head of a request must complete it within this time.
    pub request_header_timeout: Duration,
    /// A client connection without a request, an upgraded connection without a byte, or a client that does not take
    /// its answer is closed after this time.
    pub idle_timeout: Duration,
    /// A target must begin its answer within this time after the last byte of the request (else 504), and must never
    /// pause longer within its body (else the answer breaks off).
    pub response_timeout: Duration,
    /// Idle connections to targets are closed after this time. Keep it below the targets' own keep-alive time.
    pub target_idle_timeout: Duration,
    /// Above so many client connections new ones wait unaccepted.
    pub max_connections: usize,
    /// The greatest size of a request's head in bytes; a longer one is answered 431.
    pub max_header_bytes: usize,
    /// The greatest number of headers in a message; more are answered 431, or 502 when a target sends them.
    pub max_headers: usize,
    /// So many idle connections are kept for each target.
    pub max_idle_per_target: usize,
}

impl Default for Options {
    /// The values of an ALB where it has one: 60 s idle time, 64 KiB of headers.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            response_timeout: Duration::from_mins(1),
            target_idle_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            max_header_bytes: 64 * 1024,
            max_headers: 200,
            max_idle_per_target: 256,
        }
    }
}

impl Options {
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.max_header_bytes.saturating_add(1024).max(LEAST_BUFFER)
    }

    fn validate(&self) -> Result<(), StartError> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("request_header_timeout", self.request_header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("response_timeout", self.response_timeout),
        ];
        let sizes = [
            ("max_connections", self.max_connections),
            ("max_header_bytes", self.max_header_bytes),
            ("max_headers", self.max_headers),
        ];
        let time = times.into_iter().find(|(_, value)| value.is_zero()).map(|(field, _)| field);
        let size = sizes.into_iter().find(|(_, value)| *value == 0).map(|(field, _)| field);
        match time.or(size) {
            Some(field) => Err(StartError::Options { field }),
            None => Ok(()),
        }
    }
}

/// Why a balancer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option that must be above 0 is 0.
    #[error("failed to start balancer: options.{field} must be above 0")]
    Options {
        /// The option's name.
        field: &'static str,
    },
    /// The address is taken or not one of this machine.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// What all tasks of a balancer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) local: SocketAddr,
    pub(crate) totals: Totals,
    /// No new connections, no further requests on old ones.
    pub(crate) draining: CancellationToken,
    /// The port is free again.
    pub(crate) unbound: CancellationToken,
    /// Everything ends now.
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) runtime: Handle,
    active: RwLock<Arc<ActiveTable>>,
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    groups: BTreeMap<String, Arc<GroupCounters>>,
    removed: VecDeque<String>,
}

impl Counters {
    /// Forgets the counters of groups that were removed long ago; else a process that lives for years would grow.
    fn forget_old(&mut self, table: &ActiveTable) {
        self.removed.retain(|name| table.group(name).is_none());
        for name in self.groups.keys() {
            if table.group(name).is_none() && !self.removed.contains(name) {
                self.removed.push_back(name.clone());
            }
        }
        while self.removed.len() > REMOVED_GROUPS_KEPT {
            if let Some(name) = self.removed.pop_front() {
                self.groups.remove(&name);
            }
        }
    }
}

impl Shared {
    pub(crate) fn active(&self) -> Arc<ActiveTable> {
        Arc::clone(&self.active.read())
    }
}

/// A running balancer. Dropping it closes everything at once; [`Balancer::shutdown`] drains first.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
}

impl Balancer {
    /// Listens on the address and answers 404 until a table is applied. Port 0 takes a free port.
    ///
    /// # Errors
    /// When an option is 0 that must not be, or the address cannot be listened on.
    pub async fn start(listen: SocketAddr, options: Options) -> Result<Self, StartError> {
        options.validate()?;
        let failed = |source| StartError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let shared = Arc::new(Shared {
            local: listener.local_addr().map_err(failed)?,
            options: Arc::new(options),
            totals: Totals::default(),
            draining: CancellationToken::new(),
            unbound: CancellationToken::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            active: RwLock::new(Arc::new(ActiveTable::empty())),
            counters: Mutex::default(),
        });
        shared.tasks.spawn(server::accept(Arc::clone(&shared), listener));
        shared.tasks.spawn(sweep(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Puts a table in the place of the one in use, as a whole. Requests that have chosen their target finish there;
    /// every later choice follows the new table. No connection is closed, neither of clients nor upgraded ones.
    ///
    /// # Errors
    /// When the table does not hold together (the old one stays in use), or after a shutdown.
    pub fn apply(&self, table: RoutingTable) -> Result<(), TableError> {
        table.validate()?;
        // Held to the end: two changes at once must not both build on the same old table.
        let mut counters = self.shared.counters.lock();
        if self.shared.draining.is_cancelled() {
            return Err(TableError::ShutDown);
        }
        let old = self.shared.active();
        let new = Arc::new(ActiveTable::build(table, &old, &mut counters.groups, &self.shared.runtime));
        counters.forget_old(&new);
        *self.shared.active.write() = new;
        Ok(())
    }

    /// The table in use.
    pub fn table(&self) -> Arc<RoutingTable> {
        Arc::clone(&self.shared.active().table)
    }

    /// Says whether a target of a group with [`HealthSource::Given`](crate::HealthSource::Given) is healthy. A new
    /// target counts as unhealthy until told otherwise. Returns false, and changes nothing, when there is no such
    /// target or the balancer checks it itself.
    pub fn set_health(&self, group: &str, target: &str, healthy: bool) -> bool {
        let table = self.shared.active();
        let backend = table.group(group).filter(|group| !group.is_checked()).and_then(|group| group.backend(target));
        backend.map(|backend| backend.set_healthy(healthy)).is_some()
    }

    /// How many of a group's targets are healthy; `None` when the table has no such group.
    pub fn health(&self, group: &str) -> Option<GroupHealth> {
        Some(self.shared.active().group(group)?.health())
    }

    /// The health of each target of a group, by address; `None` when the table has no such group.
    pub fn target_health(&self, group: &str) -> Option<BTreeMap<String, bool>> {
        let table = self.shared.active();
        let backends = table.group(group)?.backends();
        Some(backends.iter().map(|backend| (backend.address.clone(), backend.is_healthy())).collect())
    }

    /// What went through so far.
    pub fn stats(&self) -> Stats {
        stats::snapshot(&self.shared.totals, &self.shared.counters.lock().groups)
    }

    /// The same as text for Prometheus (format 0.0.4, content type `text/plain; version=0.0.4`), with the health of
    /// the groups in use.
    pub fn render_prometheus(&self) -> String {
        stats::render(&[self.sample()])
    }

    pub(crate) fn sample(&self) -> Sample {
        let table = self.shared.active();
        let health = table.groups().map(|(name, group)| (name.clone(), group.health())).collect();
        Sample { listener: self.shared.local.to_string(), stats: self.stats(), health }
    }

    /// Frees the port: new connections are refused, those that were made already get an answer, and each closes after
    /// the request that it is at. It returns when the port can be listened on again. Follow it by a
    /// [`shutdown`](Self::shutdown).
    pub async fn stop_accepting(&self) {
        self.shared.draining.cancel();
        self.shared.unbound.cancelled().await;
    }

    /// Stops accepting at once, lets requests and upgraded connections under way finish for up to `drain`, then closes
    /// what is left. When it returns, nothing runs any more. Calling it twice does no harm.
    pub async fn shutdown(&self, drain: Duration) {
        self.shared.draining.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(drain, self.shared.tasks.wait()).await.is_err() {
            tracing::info!(left = self.shared.tasks.len(), "connections closed at the end of the drain time");
        }
        self.shared.closing.cancel();
        self.shared.tasks.wait().await;
        // Ends the health checks and the idle connections to targets. An apply that came before has finished with
        // the lock; a later one is refused.
        let _no_apply = self.shared.counters.lock();
        *self.shared.active.write() = Arc::new(ActiveTable::empty());
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.draining.cancel();
        self.shared.closing.cancel();
        *self.shared.active.write() = Arc::new(ActiveTable::empty());
    }
}

async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        for (_, group) in shared.active().groups() {
            group.backends().iter().for_each(|backend| backend.sweep(&shared.options));
        }
    }
}

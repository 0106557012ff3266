//! What the demo plays on: a directory store in a folder, the embedded balancer, and the controllers of okrad.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::SignedDuration;
use okra_api::{AnalysisRun, Cell, Route, names::ROLLOUT_LABEL};
use okra_aws::{AlbRouter, AlbRouterConfig};
use okra_balancer::{HealthCheck, LocalOptions, LocalRouter};
use okra_controller::runtime::{QueueLimits, QueuePorts, RuntimeMetrics};
use okra_core::route::{Adopt, Intent, Lane, Place};
use okra_provider::{Cache, CallContext, Key, Leadership, Namespaces, NoDecisionLog, Store, TrafficRouter as _};
use okra_store::{DirectoryBackend, DirectoryLeadership, DirectoryOptions};
use prometheus_client::registry::Registry;

use super::{
    cluster::Cluster,
    counters::{Counters, Measured},
    manifests::{self, CELL, NAMESPACE},
};
use crate::{
    admin::Readiness,
    analysis::{Analysis, AnalysisOptions},
    clock::{SystemClock, SystemEntropy},
    controllers::{self, ControllerContext, Settings},
    events::LogEvents,
    queues::{Queues, RunningQueues},
    routers::RouterSet,
};

/// How often the folder is looked at: more often than okrad does, so that nobody waits for the show.
const LOOKS: DirectoryOptions = DirectoryOptions { scan: Duration::from_millis(300), poll: Duration::from_millis(50) };

/// How often the balancer looks whether a cluster is healthy: likewise.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// How long opening everything may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How long what is under way may take to finish at the end.
const GRACE: Duration = Duration::from_secs(5);

/// How long one call of a router may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Denied to metrics unless it is allowed.
const LOOPBACK: &str = "127.0.0.0/8";

/// The folder, the store over it, the balancer and the controllers.
pub(super) struct Stage {
    folder: PathBuf,
    listen: SocketAddr,
    store: Store,
    cells: Cache<Cell>,
    routes: Cache<Route>,
    runs: Cache<AnalysisRun>,
    counters: Counters,
    router: Arc<LocalRouter>,
    leadership: Arc<dyn Leadership>,
    installation: String,
    queues: RunningQueues,
}

impl Stage {
    /// Opens the folder and starts the controllers on it.
    pub(super) async fn open(folder: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let opened = tokio::time::timeout(OPEN_TIMEOUT, Self::start(folder, listen)).await;
        opened.context("failed to start the controllers in time")?
    }

    async fn start(folder: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let directory = DirectoryBackend::open(folder, LOOKS).await.context("failed to open the folder")?;
        let lock = DirectoryLeadership::try_acquire(folder, &format!("okra demo, process {}", std::process::id()))?;
        let leadership: Arc<dyn Leadership> = Arc::new(lock);
        let installation = directory.installation_id().await.context("failed to read the installation id")?;
        let store = Store::new(Arc::new(directory), Namespaces::All);
        controllers::watch(&store, &Readiness::new()).await;
        let health =
            HealthCheck { interval: HEALTH_INTERVAL, timeout: Duration::from_secs(2), ..HealthCheck::default() };
        let options = LocalOptions { health, drain: GRACE, ..LocalOptions::default() };
        let router = Arc::new(LocalRouter::new(options));
        let counters = Counters::start(router.clone()).await?;
        let clock = SystemClock::new();
        let context = ControllerContext {
            store: store.clone(),
            routers: RouterSet {
                alb: Arc::new(AlbRouter::new(AlbRouterConfig::default())),
                local: Some(router.clone()),
            },
            clock: Arc::new(clock),
            leadership: leadership.clone(),
            events: Arc::new(LogEvents),
            decisions: Arc::new(NoDecisionLog),
            analysis: Some(analysis(&store).await?),
            discovery: None,
            settings: Settings {
                installation: installation.clone(),
                drift_interval: SignedDuration::from_mins(5),
                call_timeout: CALL_TIMEOUT,
                instance_id: "okra".to_owned(),
            },
        };
        let queues = Queues {
            store: store.clone(),
            ports: QueuePorts { clock: Arc::new(clock), monotonic: Arc::new(clock), entropy: Arc::new(SystemEntropy) },
            limits: QueueLimits { grace: GRACE, ..QueueLimits::default() },
            metrics: RuntimeMetrics::register(&mut Registry::default()),
        };
        let queues = queues.start(controllers::controllers(&context));
        let (cells, routes, runs) = (store.cache(), store.cache(), store.cache());
        let folder = folder.to_owned();
        Ok(Self { folder, listen, store, cells, routes, runs, counters, router, leadership, installation, queues })
    }

    /// The folder of the manifests.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a manifest into the folder.
    fn write(&self, file: &str, manifest: &str) -> anyhow::Result<()> {
        // Renamed into place, so that the store never reads half a file.
        let (path, draft) = (self.folder.join(file), self.folder.join(format!(".{file}")));
        let written = std::fs::write(&draft, manifest).and_then(|()| std::fs::rename(&draft, &path));
        written.with_context(|| format!("failed to write {}", path.display()))
    }

    /// Puts a Cell into the folder, and what it is judged by.
    pub(super) fn write_cell(&self, pause: Duration) -> anyhow::Result<()> {
        self.write("success-rate.yaml", &manifests::analysis_template(self.counters.address()))?;
        self.write("cell.yaml", &manifests::cell(self.listen, pause))
    }

    /// Puts the target groups of clusters into the folder.
    pub(super) fn register(&self, file: &str, clusters: &[Cluster]) -> anyhow::Result<()> {
        for cluster in clusters {
            self.counters.register(cluster.url(), cluster.label());
        }
        self.write(file, &manifests::target_groups(clusters))
    }

    /// The first measurement of a version that was bad, and when it was asked for.
    pub(super) fn first_bad(&self, version: &str) -> Option<(Instant, Measured)> {
        self.counters.first_bad(version)
    }

    /// The Cell as it is.
    pub(super) fn cell(&self) -> Option<Arc<Cell>> {
        self.cells.list(Some(NAMESPACE)).into_iter().find(|cell| cell.metadata.name.as_deref() == Some(CELL))
    }

    /// The Cell's route object as it is.
    pub(super) fn route(&self) -> Option<Arc<Route>> {
        self.routes.list(Some(NAMESPACE)).into_iter().find(|route| route.metadata.name.as_deref() == Some(CELL))
    }

    /// The AnalysisRun of a rollout as it is.
    pub(super) fn run(&self, rollout: &str) -> Option<Arc<AnalysisRun>> {
        let is_of = |run: &Arc<AnalysisRun>| {
            let labels = run.metadata.labels.as_ref();
            labels.and_then(|labels| labels.get(ROLLOUT_LABEL)).is_some_and(|id| id == rollout)
        };
        self.runs.list(Some(NAMESPACE)).into_iter().find(is_of)
    }

    /// What the balancer's own table holds: URL of each target group to its weight; empty while there is no route.
    pub(super) async fn table(&self) -> anyhow::Result<BTreeMap<String, i32>> {
        let intent = Intent {
            owner: Key::new(NAMESPACE, CELL).to_string(),
            installation: self.installation.clone(),
            place: Place::Local { listen: self.listen.to_string() },
            groups: Vec::new(),
            stickiness: None,
            known_rule: None,
            adopt: Adopt::No,
        };
        let leadership = self.leadership.clone();
        let call = CallContext { lane: Lane::Verify, timeout: CALL_TIMEOUT, leadership };
        let observed = self.router.observe(&intent, &call).await.context("failed to read the balancer's table")?;
        Ok(observed.ours.map(|rule| rule.weights).unwrap_or_default())
    }

    /// Stops the controllers, then the balancer.
    pub(super) async fn close(mut self) {
        self.queues.stop().await;
        self.router.shutdown().await;
        self.store.shutdown();
    }
}

/// Who measures: allowed to ask this machine, where the demo's counters are.
async fn analysis(store: &Store) -> anyhow::Result<Analysis> {
    let allow = LOOPBACK.parse().map_err(|error| anyhow::anyhow!("{LOOPBACK}: {error}"))?;
    Analysis::new(store.clone(), AnalysisOptions { allow: vec![allow], ..AnalysisOptions::default() }).await
}

//! The life of an okrad: open, read, win leadership, work, stop.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{FutureExt as _, future::BoxFuture};
use okra_analysis::Cidr;
use okra_controller::runtime::{QueueLimits, QueuePorts, RuntimeMetrics};
use okra_provider::{DecisionLog, NoDecisionLog, Store};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{AnalysisEngine, Args};
use crate::{
    admin::{AdminContent, AdminSockets, Readiness},
    analysis::{Analysis, AnalysisOptions},
    clock::{SystemClock, SystemEntropy},
    clusters::remote_clusters,
    controllers::{self, ControllerContext, Discovery, Settings},
    decision_log::FileDecisionLog,
    leading::Contest,
    metered::BackendMetrics,
    metric_profiles::MetricProfiles,
    metrics,
    platform::{self, Platform},
    queues::{Queues, RunningQueues},
    routers::Routers,
    signals,
};

/// How long a stop waits for the reconciles under way. With the release of the lease it stays below the 30 seconds
/// that a Pod is given.
const GRACE: Duration = Duration::from_secs(20);

/// Runs okrad until SIGTERM or SIGINT. An error when it cannot start, lost its lease, or was told to stop twice.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let signals = signals::listen().context("failed to listen for signals")?;
    let life = async { Okrad::open(args).await?.live(&signals.stop).await };
    tokio::select! {
        biased;
        () = signals.abort.cancelled() => anyhow::bail!("told to stop a second time before it had finished"),
        result = life => result,
    }
}

/// Everything that is there before the first call.
struct Okrad {
    args: Args,
    clock: SystemClock,
    platform: Platform,
    contest: Contest,
    routers: Routers,
    store: Store,
    /// Over once every cache knows what is there.
    synced: BoxFuture<'static, ()>,
    decisions: Arc<dyn DecisionLog>,
    profiles: MetricProfiles,
    runtime_metrics: RuntimeMetrics,
    readiness: Readiness,
    registry: Registry,
    sockets: AdminSockets,
}

impl Okrad {
    /// Opens files and sockets, and reads configuration. Nothing is called yet, so that an API server that is away
    /// makes it unready, not dead.
    async fn open(args: Args) -> anyhow::Result<Self> {
        let sockets = AdminSockets::bind(args.metrics_addr, args.health_addr).await?;
        let decisions: Arc<dyn DecisionLog> = match &args.record {
            Some(path) => Arc::new(
                FileDecisionLog::open(path).with_context(|| format!("failed to open {} (--record)", path.display()))?,
            ),
            None => Arc::new(NoDecisionLog),
        };
        let profiles = MetricProfiles::read(args.metric_profiles.as_deref())?;
        let mut registry = Registry::default();
        let (runtime_metrics, backend_metrics) =
            (RuntimeMetrics::register(&mut registry), BackendMetrics::register(&mut registry));
        let clock = SystemClock::new();
        let (platform, contest) = platform::open(&args, clock, &backend_metrics).await?;
        let routers = Routers::new(&args, platform.directory.is_some())?;
        let store = Store::new(platform.backend.clone(), platform::namespaces(&args));
        metrics::register(&mut registry, store.clone(), contest.leadership(), Some(routers.aws_metrics.clone()));
        let readiness = Readiness::new();
        let synced = controllers::watch(&store, &readiness).boxed();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            store = platform.name,
            namespaces = ?args.namespaces,
            dry_run = args.dry_run,
            "Starts"
        );
        Ok(Self {
            args,
            clock,
            platform,
            contest,
            routers,
            store,
            synced,
            decisions,
            profiles,
            runtime_metrics,
            readiness,
            registry,
            sockets,
        })
    }

    /// Serves the admin pages and works until `stop`.
    async fn live(self, stop: &CancellationToken) -> anyhow::Result<()> {
        let Self { args, clock, platform, contest, routers, store, synced, .. } = self;
        let Self { decisions, profiles, runtime_metrics, readiness, registry, sockets, .. } = self;
        let content = AdminContent {
            registry: Arc::new(registry),
            balancer: routers.balancer_metrics(),
            readiness: readiness.clone(),
        };
        // Until the very end: probes must not fail while work is being finished.
        let admin_stop = CancellationToken::new();
        let _stop_admin = admin_stop.clone().drop_guard();
        tokio::spawn(sockets.serve(content, admin_stop));

        let prepare = async {
            let installation = platform.installation(&args, &readiness).await?;
            synced.await;
            anyhow::Ok(installation)
        };
        let Some(installation) = stop.run_until_cancelled(prepare).await.transpose()? else { return Ok(()) };
        let context = ControllerContext {
            store: store.clone(),
            routers: routers.for_controllers(args.dry_run),
            clock: Arc::new(clock),
            leadership: contest.leadership(),
            events: platform.events.clone(),
            decisions,
            analysis: analysis(&args, &platform, &store, profiles).await?,
            discovery: Some(Discovery {
                clusters: routers.inventory(&args),
                remote: remote_clusters(args.aws_endpoint_url.clone(), Arc::new(clock)),
                target_groups: routers.target_groups(),
            }),
            settings: Settings::new(&args, installation),
        };
        let queues = Queues {
            store: store.clone(),
            ports: QueuePorts { clock: Arc::new(clock), monotonic: Arc::new(clock), entropy: Arc::new(SystemEntropy) },
            limits: QueueLimits { resync: args.sync_period, grace: GRACE, ..QueueLimits::default() },
            metrics: runtime_metrics,
        };
        let result = lead(contest, stop, &routers, || queues.start(controllers::controllers(&context))).await;
        routers.shutdown().await;
        store.shutdown();
        if result.is_ok() {
            tracing::info!("Stopped");
        }
        result
    }
}

/// Who measures for AnalysisRuns. Nobody when an installed Argo Rollouts does, or in a dry run: a measurement may be a
/// Job, and an Experiment is pods.
pub(crate) async fn analysis(
    args: &Args,
    platform: &Platform,
    store: &Store,
    profiles: MetricProfiles,
) -> anyhow::Result<Option<Analysis>> {
    if args.analysis_engine == AnalysisEngine::Argo || args.dry_run {
        return Ok(None);
    }
    let ranges = |ranges: &[Option<Cidr>]| ranges.iter().copied().flatten().collect();
    let options = AnalysisOptions {
        allow: ranges(&args.metric_egress_allow),
        deny: ranges(&args.metric_egress_deny),
        api_server: platform.api_server.addresses().await,
        jobs: platform.directory.is_none(),
        namespace: platform.namespace.clone(),
        aws_endpoint_url: args.aws_endpoint_url.clone(),
        profiles,
    };
    Analysis::new(store.clone(), options).await.map(Some)
}

/// Wins leadership, works, and gives leadership up at the end. When it is lost, the work is cut off at once.
async fn lead(
    contest: Contest,
    stop: &CancellationToken,
    routers: &Routers,
    work: impl FnOnce() -> RunningQueues,
) -> anyhow::Result<()> {
    let mut contest = contest.start()?;
    let Some(won) = stop.run_until_cancelled(contest.won()).await else {
        contest.release().await;
        return Ok(());
    };
    won?;
    let mut queues = work();
    let ended = tokio::select! {
        biased;
        error = contest.lost() => return Err(error),
        error = queues.broke_off() => Err(error),
        () = stop.cancelled() => Ok(()),
    };
    if ended.is_ok() {
        tracing::info!("Finishes what is under way");
        routers.stop_waiting();
        tokio::select! {
            biased;
            error = contest.lost() => return Err(error),
            () = queues.stop() => {}
        }
    }
    contest.release().await;
    ended
}

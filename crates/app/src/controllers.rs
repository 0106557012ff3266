//! Which controllers there are, and what they are given.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use jiff::SignedDuration;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSet, AnalysisRun, AnalysisTemplate, Cell,
    ClusterAnalysisTemplate, ClusterSet, Experiment, Pause, Route, TargetGroup, VersionBlocklist,
};
use okra_controller::{
    AnalysisRunContext, AnalysisRunController, CellContext, CellController, ClusterSetContext, ClusterSetController,
    ExperimentContext, ExperimentController, PauseController, Reconciler, RouteContext, RouteController,
    TargetGroupSetContext, TargetGroupSetController, VersionBlocklistController,
};
use okra_provider::{
    Clock, ClusterInventory, DecisionLog, EventSink, Leadership, RemoteClusters, Store, Stored, TargetGroupInventory,
    TrafficRouter,
};

use crate::{admin::Readiness, analysis::Analysis, okrad::Args, routers::RouterSet};

/// The longest time that a call of a load balancer gets. A call begins only when the lease outlasts it (safety.md S9);
/// since the lease is renewed after a third of its time, a call of a third always finds room in a lease that is well.
const LONGEST_CALL: Duration = Duration::from_secs(10);

/// The longest time that a call about clusters gets.
pub(crate) const CLUSTER_CALL: Duration = Duration::from_secs(10);

/// What controllers are given.
#[derive(Clone)]
pub struct ControllerContext {
    /// Objects.
    pub store: Store,
    /// Load balancers.
    pub routers: RouterSet,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether a call may begin.
    pub leadership: Arc<dyn Leadership>,
    /// Who is told of events.
    pub events: Arc<dyn EventSink>,
    /// Where decisions are recorded.
    pub decisions: Arc<dyn DecisionLog>,
    /// Who measures for AnalysisRuns; `None`: neither they nor Experiments are carried out here.
    pub analysis: Option<Analysis>,
    /// Who knows of clusters; `None`: neither ClusterSets nor AWSTargetGroupSets are carried out here.
    pub discovery: Option<Discovery>,
    /// What the flags say.
    pub settings: Settings,
}

/// Who knows of clusters and what is in them.
#[derive(Clone)]
pub struct Discovery {
    /// Which clusters there are in the cloud.
    pub clusters: Arc<dyn ClusterInventory>,
    /// Who speaks to those that have a Secret.
    pub remote: Arc<dyn RemoteClusters>,
    /// What the cloud knows of target groups.
    pub target_groups: Arc<dyn TargetGroupInventory>,
}

/// What the flags say, as far as it concerns controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Owner tag of this installation's rules.
    pub installation: String,
    /// How often each listener is looked at for changes made by others.
    pub drift_interval: SignedDuration,
    /// How long one call of a load balancer may take, waiting for the rate limit apart.
    pub call_timeout: Duration,
    /// Instance id label of the AnalysisRuns and Experiments that count; empty: those without the label.
    pub instance_id: String,
}

impl Settings {
    /// What the flags say.
    pub fn new(args: &Args, installation: String) -> Self {
        Self {
            installation,
            drift_interval: SignedDuration::try_from(args.drift_interval).unwrap_or(SignedDuration::MAX),
            call_timeout: (args.lease_duration / 3).min(LONGEST_CALL),
            instance_id: args.analysis_instance_id.trim().to_owned(),
        }
    }
}

/// Starts the caches of every kind that controllers read, and tells `readiness` of them. The future is over once all
/// of them know what is there.
pub fn watch(store: &Store, readiness: &Readiness) -> impl Future<Output = ()> + use<> {
    // Nobody waits for these: an okrad that may not see them does everything else.
    _ = store.cache::<ClusterSet>();
    _ = store.cache::<AWSTargetGroupSet>();
    let synced = vec![
        watch_kind::<Cell>(store, readiness, true),
        watch_kind::<AWSTargetGroup>(store, readiness, true),
        watch_kind::<TargetGroup>(store, readiness, true),
        watch_kind::<AWSApplicationLoadBalancerConfig>(store, readiness, true),
        watch_kind::<Route>(store, readiness, true),
        watch_kind::<Pause>(store, readiness, true),
        watch_kind::<VersionBlocklist>(store, readiness, true),
        // Argo's own kinds: only Cells with analysis steps need them.
        watch_kind::<AnalysisRun>(store, readiness, false),
        watch_kind::<Experiment>(store, readiness, false),
        watch_kind::<AnalysisTemplate>(store, readiness, false),
        watch_kind::<ClusterAnalysisTemplate>(store, readiness, false),
    ];
    join_all(synced).map(drop)
}

fn watch_kind<K: Stored>(store: &Store, readiness: &Readiness, required: bool) -> BoxFuture<'static, ()> {
    let cache = store.cache::<K>();
    readiness.watch(&cache, required);
    async move { cache.synced().await }.boxed()
}

/// Every controller of okrad.
pub fn controllers(context: &ControllerContext) -> Vec<Arc<dyn Reconciler>> {
    let ControllerContext { store, routers, clock, events, .. } = context;
    let mut controllers: Vec<Arc<dyn Reconciler>> = vec![
        Arc::new(CellController::new(CellContext {
            leadership: context.leadership.clone(),
            store: store.clone(),
            clock: clock.clone(),
            events: events.clone(),
            decisions: context.decisions.clone(),
            instance_id: context.settings.instance_id.clone(),
            alb: Some(routers.alb.capabilities()),
            local: routers.local.as_ref().map(|local| local.capabilities()),
        })),
        Arc::new(RouteController::<AWSApplicationLoadBalancerConfig>::new(context.route(Some(routers.alb.clone())))),
        Arc::new(RouteController::<Route>::new(context.route(routers.local.clone()))),
        Arc::new(PauseController::new(store.clone(), clock.clone())),
        Arc::new(VersionBlocklistController::new(store.clone(), clock.clone(), events.clone())),
    ];
    if let Some(analysis) = &context.analysis {
        controllers.push(Arc::new(AnalysisRunController::new(AnalysisRunContext {
            store: store.clone(),
            clock: clock.clone(),
            provider: analysis.provider.clone(),
            secrets: analysis.secrets.clone(),
            events: events.clone(),
            instance_id: context.settings.instance_id.clone(),
        })));
        controllers.push(Arc::new(ExperimentController::new(ExperimentContext {
            store: store.clone(),
            clock: clock.clone(),
            events: events.clone(),
            instance_id: context.settings.instance_id.clone(),
        })));
    }
    if let Some(discovery) = &context.discovery {
        controllers.push(Arc::new(ClusterSetController::new(ClusterSetContext {
            store: store.clone(),
            clock: clock.clone(),
            events: events.clone(),
            inventory: discovery.clusters.clone(),
            call_timeout: CLUSTER_CALL,
        })));
        controllers.push(Arc::new(TargetGroupSetController::new(TargetGroupSetContext {
            store: store.clone(),
            clock: clock.clone(),
            events: events.clone(),
            clusters: discovery.remote.clone(),
            inventory: discovery.target_groups.clone(),
            call_timeout: CLUSTER_CALL,
        })));
    }
    controllers
}

impl ControllerContext {
    fn route(&self, router: Option<Arc<dyn TrafficRouter>>) -> RouteContext {
        RouteContext {
            store: self.store.clone(),
            router,
            clock: self.clock.clone(),
            leadership: self.leadership.clone(),
            events: self.events.clone(),
            decisions: self.decisions.clone(),
            installation: self.settings.installation.clone(),
            drift_interval: self.settings.drift_interval,
            call_timeout: self.settings.call_timeout,
        }
    }
}

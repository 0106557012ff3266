//! One-shot runs: what okrad does, for one object, until nothing is due (`okra sync`).

mod driver;
mod lead;
mod overlay;
mod rehearsal;
mod sets;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use jiff::SignedDuration;
use okra_api::{
    Cell, RouteOutcome,
    cell_status::CellPhase,
    condition::{self, READY},
};
use okra_controller::Reconciler;
use okra_provider::{
    Backend, DecisionLog, EventSink, Key, Kind, Leadership, Namespaces, NoDecisionLog, Store, TrafficRouter,
};
use okra_store::DirectoryBackend;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    driver::{Driver, End},
    lead::Lead,
    overlay::Overlay,
    rehearsal::{LastDecision, Onlooker, Wish, writes_in_words},
};
pub use self::{
    lead::Held,
    sets::{SetKind, SetOptions, sync_set},
};
use crate::{
    admin::Readiness,
    clock::SystemClock,
    controllers::{self, ControllerContext, Settings},
    dry_run::DryRunEvents,
    leading::Uncontested,
    metered::BackendMetrics,
    metric_profiles::MetricProfiles,
    okrad::{self, Args, AwsRateLimits, StoreLocation},
    platform::{self, Platform},
    routers::{RouterSet, Routers},
    signals,
};

/// Reading what is there may take this long, or as long as the whole run if that is less.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// Explaining a run at its end may take this long: it is all in memory.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A run has no time for drift: it looks at the rule once, at its beginning.
const NEVER: SignedDuration = SignedDuration::from_hours(24 * 365);

/// What is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Cell with its route object, its Pauses, AnalysisRuns and Experiments.
    Cell,
    /// An AWSApplicationLoadBalancerConfig alone.
    AwsApplicationLoadBalancerConfig,
}

/// How it is synced.
#[derive(Clone, Debug)]
pub struct Options {
    /// What.
    pub object: Object,
    /// Its namespace; unset: the kubeconfig context's, `default` in a directory.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// Where the objects are.
    pub store: StoreLocation,
    /// Kubeconfig; unset: the usual places.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; unset: its current one.
    pub context: Option<String>,
    /// Owner tag; unset: what the store says.
    pub installation_id: Option<String>,
    /// Endpoint of AWS; unset: the SDK's own variables.
    pub aws_endpoint_url: Option<String>,
    /// Whether calls are kept under AWS's rates.
    pub aws_rate_limits: AwsRateLimits,
    /// How long a change may take to reach AWS's data path.
    pub aws_settle: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Ending {
    /// At rest, as its manifest wants it.
    AtRest,
    /// It waits for something.
    Waits,
    /// It failed, or was stopped.
    Failed,
}

/// What came of a run.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `<namespace>/<name>`.
    pub object: String,
    /// How it ended. Of a dry run: how it stands before anything is done.
    pub ending: Ending,
    /// Where the object stands, in a sentence.
    pub message: String,
    /// What it waits for, the most important first.
    pub waits: Vec<String>,
    /// What a dry run would do, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Vec<String>>,
    /// The object's status at the end.
    pub status: Value,
}

impl Object {
    /// The kind, for a person.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cell => "Cell",
            Self::AwsApplicationLoadBalancerConfig => "AWSApplicationLoadBalancerConfig",
        }
    }

    /// Names of the controllers that bring it forward, in the order in which they are called.
    fn controllers(self) -> &'static [&'static str] {
        match self {
            Self::Cell => &[
                "cell",
                "aws_application_load_balancer_config",
                "route",
                "pause",
                "version_blocklist",
                "experiment",
                "analysis_run",
            ],
            Self::AwsApplicationLoadBalancerConfig => &["aws_application_load_balancer_config"],
        }
    }

    /// Whether the status says that everything is as the manifest wants it.
    fn is_at_rest(self, driver: &Driver) -> bool {
        match self {
            Self::Cell => driver.cell().is_some_and(|cell| {
                let status = cell.status.clone().unwrap_or_default();
                status.phase == Some(CellPhase::Healthy)
                    && status.observed_generation == cell.metadata.generation
                    && condition::is_true(&status.conditions, READY)
            }),
            Self::AwsApplicationLoadBalancerConfig => driver.alb().is_some_and(|alb| {
                let status = alb.status.clone().unwrap_or_default();
                status.outcome == Some(RouteOutcome::Verified)
                    && status.observed_generation == alb.metadata.generation
                    && condition::is_true(&status.conditions, READY)
            }),
        }
    }

    fn message(self, driver: &Driver) -> String {
        match self {
            Self::Cell => driver.cell().and_then(|cell| cell.status.clone()).unwrap_or_default().message,
            Self::AwsApplicationLoadBalancerConfig => {
                let status = driver.alb().and_then(|alb| alb.status.clone()).unwrap_or_default();
                let ready = condition::find(&status.conditions, READY).map(|ready| ready.message.clone());
                if status.message.is_empty() { ready.unwrap_or_default() } else { status.message }
            }
        }
    }

    fn status(self, driver: &Driver) -> Value {
        let status = match self {
            Self::Cell => driver.cell().map(|cell| json!(cell.status)),
            Self::AwsApplicationLoadBalancerConfig => driver.alb().map(|alb| json!(alb.status)),
        };
        status.unwrap_or_default()
    }

    fn is_there(self, driver: &Driver) -> bool {
        match self {
            Self::Cell => driver.cell().is_some(),
            Self::AwsApplicationLoadBalancerConfig => driver.alb().is_some(),
        }
    }
}

/// Syncs one object. `tell` hears what it waits for while it does. Fails when it could not begin: with [`Held`] in the
/// chain when an okrad, or another run, works on these objects.
pub async fn sync(options: Options, tell: &mut (dyn FnMut(&str) + Send)) -> anyhow::Result<Outcome> {
    let signals = signals::listen().context("failed to listen for signals")?;
    let run = async { OneShot::open(options).await?.run(&signals.stop, tell).await };
    tokio::select! {
        biased;
        () = signals.abort.cancelled() => anyhow::bail!("told to stop a second time before it had finished"),
        outcome = run => outcome,
    }
}

/// What a run stands on.
struct OneShot {
    options: Options,
    args: Args,
    key: Key,
    platform: Platform,
    metrics: BackendMetrics,
    routers: Routers,
    deadline: Instant,
}

impl OneShot {
    async fn open(options: Options) -> anyhow::Result<Self> {
        let deadline = Instant::now() + options.timeout;
        let args = args_of(&options)?;
        let metrics = BackendMetrics::register(&mut Registry::default());
        let (platform, _) = platform::open(&args, SystemClock::new(), &metrics).await?;
        let routers = Routers::new(&args, platform.directory.is_some())?;
        let namespace = match (&options.namespace, &platform.directory) {
            (Some(namespace), _) => namespace.clone(),
            (None, Some(_)) => "default".to_owned(),
            (None, None) => context_namespace(&args).await?,
        };
        let key = Key::new(namespace, &*options.name);
        Ok(Self { options, args, key, platform, metrics, routers, deadline })
    }

    async fn run(self, stop: &CancellationToken, tell: &mut (dyn FnMut(&str) + Send)) -> anyhow::Result<Outcome> {
        let found = stop.run_until_cancelled(self.installation()).await;
        let installation = found.context("stopped before it had begun")??;
        if self.options.dry_run {
            return self.rehearse(installation, stop, tell).await;
        }
        let mut lead = Lead::take(&self.args, &self.platform.backend, &self.metrics).await?;
        let mut context = self.context(self.store(), lead.leadership(), &installation);
        let profiles = MetricProfiles::read(self.args.metric_profiles.as_deref())?;
        context.analysis = okrad::analysis(&self.args, &self.platform, &context.store, profiles).await?;
        let result = tokio::select! {
            biased;
            error = lead.lost() => Err(error),
            outcome = self.act(context, stop, tell) => outcome,
        };
        self.routers.shutdown().await;
        lead.release().await;
        result
    }

    async fn installation(&self) -> anyhow::Result<String> {
        let readiness = Readiness::new();
        let asked = self.platform.installation(&self.args, &readiness);
        match tokio::time::timeout(SYNC_TIMEOUT.min(self.options.timeout), asked).await {
            Ok(installation) => installation,
            Err(_) => anyhow::bail!("{}", readiness.missing().join("; ")),
        }
    }

    fn store(&self) -> Store {
        Store::new(self.platform.backend.clone(), Namespaces::Only(vec![self.key.namespace.clone()]))
    }

    fn context(&self, store: Store, leadership: Arc<dyn Leadership>, installation: &str) -> ControllerContext {
        let mut settings = Settings::new(&self.args, installation.to_owned());
        settings.drift_interval = NEVER;
        ControllerContext {
            store,
            routers: self.routers.for_controllers(false),
            clock: Arc::new(SystemClock::new()),
            leadership,
            events: self.platform.events.clone(),
            decisions: Arc::new(NoDecisionLog),
            analysis: None,
            discovery: None,
            settings,
        }
    }

    /// Does it.
    async fn act(
        &self,
        context: ControllerContext,
        stop: &CancellationToken,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> anyhow::Result<Outcome> {
        let mut driver = self.driver(&context).await?;
        let end = driver.run(self.deadline, stop, || false, tell).await;
        let waits = self.explain(&context).await.unwrap_or_default();
        context.store.shutdown();
        Ok(self.outcome(&driver, end, waits, None))
    }

    /// Says what would be done: does it on a copy of the objects, up to the first change of the load balancer.
    async fn rehearse(
        &self,
        installation: String,
        stop: &CancellationToken,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> anyhow::Result<Outcome> {
        let wish = Arc::<Wish>::default();
        let onlooker = |router: Arc<dyn TrafficRouter>| -> Arc<dyn TrafficRouter> {
            Arc::new(Onlooker::new(router, wish.clone()))
        };
        let context = self.context(self.store(), Arc::new(Uncontested), &installation);
        let RouterSet { alb, local } = context.routers.clone();
        let context =
            ControllerContext { routers: RouterSet { alb: onlooker(alb), local: local.map(onlooker) }, ..context };
        let before = self.driver(&context).await?;
        let copy = self.copy(&context).await?;
        let decisions = Arc::new(LastDecision::default());
        let context = self.on_copy(&context, copy.clone(), decisions.clone());
        let mut driver = self.driver(&context).await?;
        let deadline = self.deadline.min(Instant::now() + SYNC_TIMEOUT);
        let end = driver.run(deadline, stop, || wish.told().is_some(), &mut |_| {}).await;
        let mut would = writes_in_words(&copy.writes());
        let waits = decisions.waits().unwrap_or_default();
        // The stand-in's refusal is no failure of what is rehearsed, and nobody waits for its answer.
        let (end, waits) = if wish.told().is_some() { (End::Quiet, Vec::new()) } else { (end, waits) };
        would.extend(wish.told());
        context.store.shutdown();
        tell("dry run: nothing is done");
        Ok(self.outcome(&before, end, waits, Some(would)))
    }

    /// What the Cell waits for: its plan is made once more, on a copy of the objects. `None`: it has no plan.
    async fn explain(&self, context: &ControllerContext) -> Option<Vec<String>> {
        if self.options.object != Object::Cell {
            return None;
        }
        let copy = self.copy(context).await.ok()?;
        let decisions = Arc::new(LastDecision::default());
        let context = self.on_copy(context, copy, decisions.clone());
        let explained = async {
            controllers::watch(&context.store, &Readiness::new()).await;
            let cell = controllers::controllers(&context).into_iter().find(|controller| controller.name() == "cell")?;
            // Only what it decides counts; what it writes goes to the copy.
            let _decided = cell.reconcile(&self.key).await;
            decisions.waits()
        };
        tokio::time::timeout(EXPLAIN_TIMEOUT, explained).await.ok()?
    }

    /// A copy of every object that the controllers read. Its Cell has not said anything yet, so that it is decided
    /// about in any case: a decision that changes nothing is not told.
    async fn copy(&self, context: &ControllerContext) -> anyhow::Result<Arc<Overlay>> {
        let context = ControllerContext { analysis: None, ..context.clone() };
        let mut kinds: Vec<Kind> = controllers::controllers(&context).iter().flat_map(|one| one.watches()).collect();
        kinds.sort();
        kinds.dedup();
        let copied = Overlay::copy(&self.platform.backend, kinds, &self.key.namespace).await;
        let copy = copied.context("failed to read the objects")?;
        copy.edit(&Kind::of::<Cell>(), &self.key, |cell| {
            if let Some(message) = cell.pointer_mut("/status/message") {
                *message = json!("");
            }
        });
        Ok(Arc::new(copy))
    }

    fn on_copy(
        &self,
        context: &ControllerContext,
        copy: Arc<dyn Backend>,
        decisions: Arc<dyn DecisionLog>,
    ) -> ControllerContext {
        let events: Arc<dyn EventSink> = Arc::new(DryRunEvents);
        let store = Store::new(copy, Namespaces::Only(vec![self.key.namespace.clone()]));
        // Nothing is measured for a copy.
        ControllerContext { store, events, decisions, analysis: None, ..context.clone() }
    }

    /// A driver on synced caches. Fails when the object is not there.
    async fn driver(&self, context: &ControllerContext) -> anyhow::Result<Driver> {
        let readiness = Readiness::new();
        let synced = controllers::watch(&context.store, &readiness);
        let timeout = SYNC_TIMEOUT.min(self.deadline.saturating_duration_since(Instant::now()));
        let in_time = tokio::time::timeout(timeout, synced).await.is_ok();
        let missing = readiness.missing();
        anyhow::ensure!(in_time && missing.is_empty(), "failed to read the objects: {}", missing.join("; "));
        let controllers: Vec<Arc<dyn Reconciler>> = controllers::controllers(context);
        let driver = Driver::new(&context.store, controllers, self.options.object, &self.key);
        if !self.options.object.is_there(&driver) {
            let directory = self.platform.directory.as_ref();
            let problems = directory.map(DirectoryBackend::problems).unwrap_or_default();
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let problems = if problems.is_empty() { String::new() } else { format!(": {}", problems.join("; ")) };
            anyhow::bail!("{} {} does not exist, or cannot be read{problems}", self.options.object.kind(), self.key);
        }
        Ok(driver)
    }

    fn outcome(&self, driver: &Driver, end: End, waits: Vec<String>, would: Option<Vec<String>>) -> Outcome {
        let object = self.options.object;
        let message = object.message(driver);
        let planned = would.as_ref().is_some_and(|would| !would.is_empty());
        let (ending, message) = match end {
            End::Failed(why) => (Ending::Failed, why),
            End::Stopped => (Ending::Failed, "stopped before the end".to_owned()),
            End::Quiet if object.is_at_rest(driver) && waits.is_empty() && !planned => (Ending::AtRest, message),
            End::Quiet => (Ending::Waits, message),
        };
        let waits = if waits.is_empty() && ending == Ending::Waits && !planned { vec![message.clone()] } else { waits };
        Outcome { object: self.key.to_string(), ending, message, waits, would, status: object.status(driver) }
    }
}

/// The flags that okrad would have: those of the run, and what the environment says of the rest.
fn args_of(options: &Options) -> anyhow::Result<Args> {
    let args = Args::try_parse_from(["okrad"]).context("the environment holds a bad value for okrad")?.normalized();
    Ok(Args {
        namespaces: Vec::new(),
        store: options.store.clone(),
        kubeconfig: options.kubeconfig.clone().or(args.kubeconfig),
        context: options.context.clone().or(args.context),
        installation_id: options.installation_id.clone(),
        aws_endpoint_url: options.aws_endpoint_url.clone(),
        aws_rate_limits: options.aws_rate_limits,
        aws_settle: options.aws_settle,
        // The run has its own way to lead, and its own dry run.
        enable_leader_election: false,
        dry_run: false,
        ..args
    })
}

async fn context_namespace(args: &Args) -> anyhow::Result<String> {
    let options =
        okra_store::kubernetes::ClientOptions { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    Ok(okra_store::kubernetes::client(&options).await?.default_namespace().to_owned())
}

//! `okra sync clusterset` and `awstargetgroupset`: one look at what is there, and the writes that follow from it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use jiff::SignedDuration;
use okra_api::{
    AWSTargetGroup, AWSTargetGroupSet, ClusterSet,
    condition::{self, Condition, READY},
};
use okra_controller::{
    ClusterSetContext, ClusterSetController, Reconciler, TargetGroupSetContext, TargetGroupSetController,
};
use okra_core::{
    cluster_set::{self, shown_secret},
    target_group_set,
};
use okra_provider::{Disposition, EventSink, Key, Namespaces, Store, Stored};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Ending, Outcome, context_namespace, lead::Lead};
use crate::{
    clock::SystemClock,
    clusters::remote_clusters,
    controllers::CLUSTER_CALL,
    dry_run::DryRunEvents,
    metered::BackendMetrics,
    okrad::{Args, StoreLocation},
    platform::{self, Platform},
    routers::Routers,
    signals,
};

/// How long our own write may take to come back through the watch, and a failure that may pass to pass.
const BREATH: Duration = Duration::from_millis(100);
/// Wait after a failure that may pass.
const RETRY: Duration = Duration::from_secs(2);

/// How long a dry run waits for the clusters' first answers, together.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// Which kind of set is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// A ClusterSet.
    ClusterSet,
    /// An AWSTargetGroupSet.
    AwsTargetGroupSet,
}

impl SetKind {
    /// Its kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ClusterSet => "ClusterSet",
            Self::AwsTargetGroupSet => "AWSTargetGroupSet",
        }
    }
}

/// How a set is synced.
#[derive(Clone, Debug)]
pub struct SetOptions {
    /// Its kind.
    pub kind: SetKind,
    /// Its namespace; unset: the kubeconfig context's.
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
    /// Endpoint of AWS; unset: the SDK's own variables.
    pub aws_endpoint_url: Option<String>,
}

/// Looks once at what a set selects and writes what follows. Of a dry run `would` holds the objects as YAML, with
/// credentials left out. Fails with [`super::Held`] in the chain while an okrad works on these objects.
pub async fn sync_set(options: SetOptions) -> anyhow::Result<Outcome> {
    let signals = signals::listen().context("failed to listen for signals")?;
    let run = async { Run::open(options).await?.run().await };
    tokio::select! {
        biased;
        () = signals.stop.cancelled() => anyhow::bail!("stopped before it had finished"),
        outcome = run => outcome,
    }
}

/// What a run stands on.
struct Run {
    kind: SetKind,
    args: Args,
    key: Key,
    platform: Platform,
    metrics: BackendMetrics,
    rehearses: bool,
    deadline: Instant,
}

impl Run {
    async fn open(options: SetOptions) -> anyhow::Result<Self> {
        let deadline = Instant::now() + options.timeout;
        let args = Args::try_parse_from(["okrad"]).context("the environment holds a bad value for okrad")?.normalized();
        let args = Args {
            namespaces: Vec::new(),
            store: options.store,
            kubeconfig: options.kubeconfig.or(args.kubeconfig),
            context: options.context.or(args.context),
            aws_endpoint_url: options.aws_endpoint_url,
            // The run has its own way to lead, and its own dry run.
            enable_leader_election: false,
            dry_run: false,
            ..args
        };
        let metrics = BackendMetrics::register(&mut Registry::default());
        let (platform, _) = platform::open(&args, SystemClock::new(), &metrics).await?;
        let namespace = match (options.namespace, &platform.directory) {
            (Some(namespace), _) => namespace,
            (None, Some(_)) => "default".to_owned(),
            (None, None) => context_namespace(&args).await?,
        };
        let key = Key::new(namespace, options.name);
        Ok(Self { kind: options.kind, args, key, platform, metrics, rehearses: options.dry_run, deadline })
    }

    async fn run(self) -> anyhow::Result<Outcome> {
        let store = Store::new(self.platform.backend.clone(), Namespaces::Only(vec![self.key.namespace.clone()]));
        let outcome = match self.kind {
            SetKind::ClusterSet => self.clusters(&store).await,
            SetKind::AwsTargetGroupSet => self.target_groups(&store).await,
        };
        store.shutdown();
        outcome
    }

    fn events(&self) -> Arc<dyn EventSink> {
        if self.rehearses { Arc::new(DryRunEvents) } else { self.platform.events.clone() }
    }

    async fn clusters(&self, store: &Store) -> anyhow::Result<Outcome> {
        let set: ClusterSet = self.read(store).await?;
        let routers = Routers::new(&self.args, self.platform.directory.is_some())?;
        let controller = ClusterSetController::new(ClusterSetContext {
            store: store.clone(),
            clock: Arc::new(SystemClock::new()),
            events: self.events(),
            inventory: routers.inventory(&self.args),
            call_timeout: CLUSTER_CALL,
        });
        if !self.rehearses {
            return self.lead(&controller, store, standing_of_clusters).await;
        }
        let plan = self.in_time(controller.rehearse(&set)).await??;
        let mut would = Vec::new();
        for action in &plan.actions {
            would.push(match action {
                cluster_set::Action::Create { secret, .. } => document("create Secret", &shown_secret(secret))?,
                cluster_set::Action::Update { secret, .. } => document("update Secret", &shown_secret(secret))?,
                cluster_set::Action::Delete { secret } => format!("delete Secret {}", Key::of_typed(&**secret)),
            });
        }
        Ok(self.rehearsed(Standing::of(&plan.status.conditions, &plan.status.message, json!(plan.status)), would))
    }

    async fn target_groups(&self, store: &Store) -> anyhow::Result<Outcome> {
        let set: AWSTargetGroupSet = self.read(store).await?;
        let routers = Routers::new(&self.args, self.platform.directory.is_some())?;
        let clock = Arc::new(SystemClock::new());
        let controller = TargetGroupSetController::new(TargetGroupSetContext {
            store: store.clone(),
            clock: clock.clone(),
            events: self.events(),
            clusters: remote_clusters(self.args.aws_endpoint_url.clone(), clock),
            inventory: routers.target_groups(),
            call_timeout: CLUSTER_CALL,
        });
        if !self.rehearses {
            return self.lead(&controller, store, standing_of_target_groups).await;
        }
        let plan = self.in_time(controller.rehearse(&set, PATIENCE)).await??;
        let mut would = Vec::new();
        for action in &plan.actions {
            would.push(match action {
                target_group_set::Action::Create { group, .. } => document("create AWSTargetGroup", &shown(group))?,
                target_group_set::Action::Update { group, .. } => document("update AWSTargetGroup", &shown(group))?,
                target_group_set::Action::Delete { group, .. } => {
                    format!("delete AWSTargetGroup {}", Key::of_typed(&**group))
                }
            });
        }
        Ok(self.rehearsed(Standing::of(&plan.status.conditions, &plan.status.message, json!(plan.status)), would))
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::time::timeout_at(self.deadline, work).await.context("not done in time")
    }

    /// Reads the set, once its kind is watched.
    async fn read<K: Stored>(&self, store: &Store) -> anyhow::Result<K> {
        let set = store.get_live::<K>(&self.key).await;
        let set = set.with_context(|| format!("failed to read {} {}", self.kind.kind(), self.key))?;
        let sets = store.cache::<K>();
        self.in_time(sets.synced()).await.with_context(|| format!("failed to read {}s", self.kind.kind()))?;
        Ok(set)
    }

    /// Takes the lease and acts.
    async fn lead<K: Stored>(
        &self,
        controller: &dyn Reconciler,
        store: &Store,
        standing: fn(&K) -> Standing,
    ) -> anyhow::Result<Outcome> {
        let mut lead = Lead::take(&self.args, &self.platform.backend, &self.metrics).await?;
        let result = tokio::select! {
            biased;
            error = lead.lost() => Err(error),
            outcome = self.act(controller, store, standing) => outcome,
        };
        lead.release().await;
        result
    }

    /// Reconciles until the status of this generation stays as it is.
    async fn act<K: Stored>(
        &self,
        controller: &dyn Reconciler,
        store: &Store,
        standing: fn(&K) -> Standing,
    ) -> anyhow::Result<Outcome> {
        let mut last = None;
        loop {
            anyhow::ensure!(Instant::now() < self.deadline, "not done in time");
            match self.in_time(controller.reconcile(&self.key)).await? {
                Err(error) if matches!(error.disposition, Disposition::Terminal | Disposition::Bug) => {
                    return Err(error.into());
                }
                Err(_) => tokio::time::sleep(RETRY).await,
                Ok(_) => {}
            }
            let set = store.get_live::<K>(&self.key).await?;
            let stands = standing(&set);
            let meta = set.meta();
            let settled = (stands.generation == meta.generation).then_some(meta.resource_version.clone());
            if settled.is_some() && settled == last {
                let (ending, message) = (stands.ending(), stands.message);
                let waits = if ending == Ending::AtRest { Vec::new() } else { vec![message.clone()] };
                return Ok(Outcome {
                    object: self.key.to_string(),
                    ending,
                    message,
                    waits,
                    would: None,
                    status: stands.status,
                });
            }
            last = settled;
            tokio::time::sleep(BREATH).await;
        }
    }

    fn rehearsed(&self, stands: Standing, would: Vec<String>) -> Outcome {
        let ending = if would.is_empty() { stands.ending() } else { Ending::Waits };
        let Standing { message, status, .. } = stands;
        Outcome { object: self.key.to_string(), ending, message, waits: Vec::new(), would: Some(would), status }
    }
}

/// How a set stands.
struct Standing {
    generation: Option<i64>,
    is_ready: bool,
    message: String,
    status: Value,
}

impl Standing {
    fn of(conditions: &[Condition], message: &str, status: Value) -> Self {
        let generation = status.get("observedGeneration").and_then(Value::as_i64);
        Self { generation, is_ready: condition::is_true(conditions, READY), message: message.to_owned(), status }
    }

    fn ending(&self) -> Ending {
        if self.is_ready { Ending::AtRest } else { Ending::Waits }
    }
}

fn standing_of_clusters(set: &ClusterSet) -> Standing {
    let status = set.status.clone().unwrap_or_default();
    Standing::of(&status.conditions, &status.message, json!(status))
}

fn standing_of_target_groups(set: &AWSTargetGroupSet) -> Standing {
    let status = set.status.clone().unwrap_or_default();
    Standing::of(&status.conditions, &status.message, json!(status))
}

/// What is done to an object, and the object as YAML.
fn document(act: &str, object: &Value) -> anyhow::Result<String> {
    Ok(format!("{act}\n{}", serde_saphyr::to_string(object)?))
}

fn shown(group: &AWSTargetGroup) -> Value {
    let mut value = json!(group);
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    value
}

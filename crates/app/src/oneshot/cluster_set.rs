//! `okra sync clusterset`: one look at the clusters, and the Secrets that follow from it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    ClusterSet,
    condition::{self, READY},
};
use okra_controller::{ClusterSetContext, ClusterSetController, Reconciler as _};
use okra_core::cluster_set::{Action, shown_secret};
use okra_provider::{Disposition, EventSink, Key, Namespaces, Store};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::Instant;

use super::{Ending, Outcome, context_namespace, lead::Lead};
use crate::{
    clock::SystemClock,
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

/// How a ClusterSet is synced.
#[derive(Clone, Debug)]
pub struct ClusterSetOptions {
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

/// Looks for the clusters of a set once and writes their Secrets. Of a dry run `would` holds the Secrets as YAML, with
/// credentials left out. Fails with [`super::Held`] in the chain while an okrad works on these objects.
pub async fn sync_cluster_set(options: ClusterSetOptions) -> anyhow::Result<Outcome> {
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
    args: Args,
    key: Key,
    platform: Platform,
    metrics: BackendMetrics,
    rehearses: bool,
    deadline: Instant,
}

impl Run {
    async fn open(options: ClusterSetOptions) -> anyhow::Result<Self> {
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
        Ok(Self { args, key, platform, metrics, rehearses: options.dry_run, deadline })
    }

    async fn run(self) -> anyhow::Result<Outcome> {
        let store = Store::new(self.platform.backend.clone(), Namespaces::Only(vec![self.key.namespace.clone()]));
        let set = store.get_live::<ClusterSet>(&self.key).await;
        let set = set.with_context(|| format!("failed to read ClusterSet {}", self.key))?;
        let routers = Routers::new(&self.args, self.platform.directory.is_some())?;
        let events: Arc<dyn EventSink> =
            if self.rehearses { Arc::new(DryRunEvents) } else { self.platform.events.clone() };
        let controller = ClusterSetController::new(ClusterSetContext {
            store: store.clone(),
            clock: Arc::new(SystemClock::new()),
            events,
            inventory: routers.inventory(&self.args),
            call_timeout: CLUSTER_CALL,
        });
        let sets = store.cache::<ClusterSet>();
        tokio::time::timeout_at(self.deadline, sets.synced()).await.context("failed to read ClusterSets in time")?;
        let outcome = if self.rehearses {
            self.rehearse(&controller, &set).await
        } else {
            let mut lead = Lead::take(&self.args, &self.platform.backend, &self.metrics).await?;
            let result = tokio::select! {
                biased;
                error = lead.lost() => Err(error),
                outcome = self.act(&controller, &store) => outcome,
            };
            lead.release().await;
            result
        };
        store.shutdown();
        outcome
    }

    async fn rehearse(&self, controller: &ClusterSetController, set: &ClusterSet) -> anyhow::Result<Outcome> {
        let plan =
            tokio::time::timeout_at(self.deadline, controller.rehearse(set)).await.context("not done in time")??;
        let mut would = Vec::new();
        for action in &plan.actions {
            would.push(match action {
                Action::Create { secret, .. } => format!("create Secret\n{}", shown(secret)?),
                Action::Update { secret, .. } => format!("update Secret\n{}", shown(secret)?),
                Action::Delete { secret } => format!("delete Secret {}", Key::of_typed(&**secret)),
            });
        }
        let is_ready = condition::is_true(&plan.status.conditions, READY) && would.is_empty();
        Ok(Outcome {
            object: self.key.to_string(),
            ending: if is_ready { Ending::AtRest } else { Ending::Waits },
            message: plan.status.message.clone(),
            waits: Vec::new(),
            would: Some(would),
            status: json!(plan.status),
        })
    }

    /// Reconciles until the status of this generation stays as it is.
    async fn act(&self, controller: &ClusterSetController, store: &Store) -> anyhow::Result<Outcome> {
        let mut last = None;
        loop {
            anyhow::ensure!(Instant::now() < self.deadline, "not done in time");
            match tokio::time::timeout_at(self.deadline, controller.reconcile(&self.key)).await {
                Err(_) => anyhow::bail!("not done in time"),
                Ok(Err(error)) if matches!(error.disposition, Disposition::Terminal | Disposition::Bug) => {
                    return Err(error.into());
                }
                Ok(Err(_)) => tokio::time::sleep(RETRY).await,
                Ok(Ok(_)) => {}
            }
            let set = store.get_live::<ClusterSet>(&self.key).await?;
            let status = set.status.clone().unwrap_or_default();
            let settled =
                (status.observed_generation == set.metadata.generation).then_some(set.metadata.resource_version);
            if settled.is_some() && settled == last {
                let is_ready = condition::is_true(&status.conditions, READY);
                let ending = if is_ready { Ending::AtRest } else { Ending::Waits };
                let waits = if is_ready { Vec::new() } else { vec![status.message.clone()] };
                let (object, message) = (self.key.to_string(), status.message.clone());
                return Ok(Outcome { object, ending, message, waits, would: None, status: json!(status) });
            }
            last = settled;
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// A cluster Secret as YAML, without credentials.
fn shown(secret: &Secret) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(&shown_secret(secret))?)
}

//! The controller of Experiments: lets the engine say what is due, and carries it out.
//!
//! It waits for nothing: pods, AnalysisRuns and delays are looked at again when a watch or the time says so.

mod apply;
mod observe;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use jiff::SignedDuration;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Service};
use okra_api::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment, RunPhase};
use okra_core::{
    analysis::{Event, assess_experiment},
    cell::is_controlled_by,
};
use okra_provider::{BackendError, Cache, Clock, EventNote, EventSink, Key, Kind, Lookup, Store};

use self::{apply::Applied, observe::Sight};
use crate::{
    argo,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// How soon it looks again at a watch that has only begun.
const SYNCING: SignedDuration = SignedDuration::from_millis(250);

/// Reason of the event that says what okrad may not do.
const MISSING_RIGHTS: &str = "MissingRights";
/// Who has the rights that experiments need.
const ROLE: &str = "the rights that experiments need are in role okrad-experiments of examples/okrad-rbac.yaml";

/// What the controller of Experiments needs of the world.
#[derive(Clone)]
pub struct ExperimentContext {
    /// Where the objects are.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Instance id label of the experiments that count; empty: those without the label.
    pub instance_id: String,
}

/// The controller of Experiments.
pub struct ExperimentController {
    context: ExperimentContext,
    experiments: Cache<Experiment>,
    runs: Cache<AnalysisRun>,
    templates: Cache<AnalysisTemplate>,
    cluster_templates: Cache<ClusterAnalysisTemplate>,
    /// Watched from the first experiment on: who has none needs no right to see them.
    replica_sets: OnceLock<Cache<ReplicaSet>>,
    /// Watched from the first template with a Service on.
    services: OnceLock<Cache<Service>>,
}

impl fmt::Debug for ExperimentController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExperimentController").finish_non_exhaustive()
    }
}

impl ExperimentController {
    /// A controller; starts the watches of Argo's kinds, within the tokio runtime that it is called in.
    pub fn new(context: ExperimentContext) -> Self {
        let store = &context.store;
        Self {
            experiments: store.cache(),
            runs: store.cache(),
            templates: store.cache(),
            cluster_templates: store.cache(),
            replica_sets: OnceLock::new(),
            services: OnceLock::new(),
            context,
        }
    }

    async fn look(&self, key: &Key, experiment: &Experiment) -> Result<Next, ReconcileError> {
        let now = self.context.clock.now();
        let around = match self.observe(key, experiment).await? {
            Sight::Clear(around) => around,
            // Our own write comes back through the watch and wakes the experiment.
            Sight::Stale => return Ok(Next::IDLE),
            Sight::Blocked(error) => return self.hold(key, experiment, error).await,
            Sight::Syncing => return Ok(now.checked_add(SYNCING).map_or(Next::IDLE, Next::at)),
        };
        let mut plan = assess_experiment(around.observed(key, experiment, &[]), now);
        let (mut failures, mut denied) = (Vec::new(), None);
        for action in &plan.actions {
            match self.apply(experiment, &around, action).await? {
                Applied::Done => {
                    if let Some(event) = action.event() {
                        self.tell(key, experiment, event).await;
                    }
                }
                Applied::Failed(failure) => failures.push(failure),
                Applied::Denied(error) => denied = denied.or(Some(error)),
            }
        }
        if let Some(error) = denied {
            // The plan's status says that it is done; what was done, the next look sees.
            return self.hold(key, experiment, error).await;
        }
        if !failures.is_empty() {
            // What the rest of its actions are, the next look says: it comes at once, since the status changes.
            plan = assess_experiment(around.observed(key, experiment, &failures), now);
        }
        argo::write_status(&self.context.store, experiment, experiment.status.as_ref(), &plan.status).await?;
        for event in plan.events {
            self.tell(key, experiment, event).await;
        }
        Ok(Next { wake_at: plan.wake_at })
    }

    /// Says what an experiment that goes on waits for, and lets the queue try it again ever more rarely.
    async fn hold(&self, key: &Key, experiment: &Experiment, error: BackendError) -> Result<Next, ReconcileError> {
        let mut status = experiment.status.clone().unwrap_or_default();
        let is_over = status.phase.is_some_and(RunPhase::is_completed);
        let message = format!("waits, since okrad cannot go on: {error}; {ROLE}");
        if !is_over && status.message != message {
            status.phase.get_or_insert(RunPhase::Pending);
            status.message.clone_from(&message);
            argo::write_status(&self.context.store, experiment, experiment.status.as_ref(), &status).await?;
            self.tell(key, experiment, Event { warning: true, reason: MISSING_RIGHTS.to_owned(), message }).await;
        }
        Err(error.into())
    }

    async fn tell(&self, key: &Key, experiment: &Experiment, event: Event) {
        let Event { warning, reason, message } = event;
        tracing::info!(object.kind = "Experiment", object.key = %key, reason, "{message}");
        let uid = experiment.metadata.uid.clone().unwrap_or_default();
        let (kind, key, action) = (Kind::of::<Experiment>(), key.clone(), "Experiment".to_owned());
        self.context.events.publish(EventNote { kind, key, uid, warning, reason, action, message }).await;
    }

    /// Experiments of a namespace for which something holds.
    fn experiments_where(&self, namespace: &str, holds: impl Fn(&Experiment) -> bool) -> Vec<Key> {
        let all = self.experiments.list(Some(namespace));
        all.iter().filter(|experiment| holds(experiment)).map(|experiment| Key::of_typed(&**experiment)).collect()
    }

    /// The experiment that owns a Service, or knows it: its name says nothing.
    fn experiments_of_service(&self, key: &Key) -> Vec<Key> {
        let found = match self.services.get().map(|services| services.get(key)) {
            Some(Lookup::Found(service)) => Some(service),
            _ => None,
        };
        self.experiments_where(&key.namespace, |experiment| {
            let uid = experiment.metadata.uid.as_deref().unwrap_or_default();
            let owns = found.as_ref().is_some_and(|service| is_controlled_by(&service.metadata, uid));
            let known = experiment.status.iter().flat_map(|status| &status.template_statuses);
            owns || known.into_iter().any(|template| template.service_name == key.name)
        })
    }
}

/// Whether this is the name of a ReplicaSet or an AnalysisRun of an experiment of that name.
fn is_child(name: &str, experiment: &str) -> bool {
    name.strip_prefix(experiment).is_some_and(|rest| rest.starts_with('-'))
}

#[async_trait]
impl Reconciler for ExperimentController {
    fn name(&self) -> &'static str {
        "experiment"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![Kind::of::<Experiment>(), Kind::of::<AnalysisRun>(), Kind::of::<ReplicaSet>(), Kind::of::<Service>()]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        let key = &changed.key;
        match &*changed.kind.kind {
            "Experiment" => vec![key.clone()],
            "Service" => self.experiments_of_service(key),
            _ => self.experiments_where(&key.namespace, |experiment| {
                is_child(&key.name, experiment.metadata.name.as_deref().unwrap_or_default())
            }),
        }
    }

    fn all(&self) -> Vec<Key> {
        self.experiments.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let is_ours = |experiment: &Experiment| argo::is_ours(&experiment.metadata, &self.context.instance_id);
        match self.experiments.get(key) {
            Lookup::Malformed(error) => {
                let message = format!("Experiment spec invalid: {error}");
                argo::refuse::<Experiment>(&self.context.store, key, &self.context.instance_id, &message).await
            }
            Lookup::Found(experiment) if experiment.metadata.deletion_timestamp.is_none() && is_ours(&experiment) => {
                self.look(key, &experiment).await
            }
            Lookup::Found(_) | Lookup::Stale | Lookup::Missing => Ok(Next::IDLE),
        }
    }
}

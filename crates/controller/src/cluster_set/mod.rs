//! The controller of ClusterSets: asks who knows of clusters, and keeps one Argo CD cluster Secret each.

mod apply;
mod observe;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    ClusterSet, ClusterSetStatus,
    condition::reason,
    names::{CLUSTER_SECRET_TYPE, SECRET_TYPE_LABEL},
};
use okra_core::cluster_set::{self, Answer, Observed, Plan, ValidatedClusterSet, check, plan, validate};
use okra_provider::{Cache, Clock, ClusterInventory, EventNote, EventSink, Key, Kind, Labels, Lookup, Store};
use parking_lot::Mutex;

use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// How soon it looks again at a watch that has only begun.
const SYNCING: SignedDuration = SignedDuration::from_millis(250);
/// How soon it looks again at Secrets that it may not see.
const BLOCKED: SignedDuration = SignedDuration::from_secs(30);
/// How long one look may take: hundreds of clusters may have to be described.
const DEADLINE: Duration = Duration::from_mins(3);

/// What the controller of ClusterSets needs of the world.
#[derive(Clone)]
pub struct ClusterSetContext {
    /// Where the objects are.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Who knows of EKS clusters.
    pub inventory: Arc<dyn ClusterInventory>,
    /// How long one call about clusters may take.
    pub call_timeout: Duration,
}

/// The controller of ClusterSets.
pub struct ClusterSetController {
    context: ClusterSetContext,
    sets: Cache<ClusterSet>,
    /// Watched from the first ClusterSet on: who has none need not let okrad see Secrets.
    secrets: OnceLock<Cache<Secret>>,
    /// What was answered last, by set: a change of a Secret is no reason to ask the cloud again.
    looks: Mutex<BTreeMap<Key, Look>>,
    /// Held while Secrets are made: two sets must not make one each for the same cluster.
    making: tokio::sync::Mutex<()>,
}

/// What was answered.
#[derive(Clone, Debug)]
struct Look {
    generation: Option<i64>,
    at: Timestamp,
    answers: Arc<Vec<Answer>>,
}

impl fmt::Debug for ClusterSetController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSetController").finish_non_exhaustive()
    }
}

impl ClusterSetController {
    /// A controller; starts the watch of ClusterSets, within the tokio runtime that it is called in.
    pub fn new(context: ClusterSetContext) -> Self {
        Self {
            sets: context.store.cache(),
            secrets: OnceLock::new(),
            looks: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            context,
        }
    }

    /// What would be done for a set now, by asking everybody anew: for a dry run. Writes nothing.
    pub async fn rehearse(&self, set: &ClusterSet) -> Result<Plan, ReconcileError> {
        let validated = validate(set).map_err(|errors| ReconcileError {
            category: "InvalidSpec",
            disposition: okra_provider::Disposition::Terminal,
            message: okra_core::field::FieldError::join(&errors),
        })?;
        let key = Key::of_typed(set);
        let secrets = self.live_secrets(&key.namespace).await?;
        let answers = self.ask(&validated, &secrets).await;
        let status = set.status.clone().unwrap_or_default();
        let sets = self.names_of_sets(&key);
        let observed = Observed { set: &validated, status: &status, answers: &answers, secrets: &secrets, sets: &sets };
        Ok(plan(&observed, self.context.clock.now()))
    }

    fn cluster_secrets() -> Labels {
        Labels::one(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE)
    }

    fn names_of_sets(&self, key: &Key) -> BTreeSet<String> {
        let keys = self.sets.keys().into_iter().filter(|other| other.namespace == key.namespace);
        keys.map(|other| other.name).chain([key.name.clone()]).collect()
    }

    async fn look(&self, key: &Key, set: &ClusterSet) -> Result<Next, ReconcileError> {
        let now = self.context.clock.now();
        let present = set.status.clone().unwrap_or_default();
        let validated = match validate(set) {
            Ok(validated) => validated,
            Err(errors) => {
                let status = cluster_set::invalid(&present, set.metadata.generation, &errors, now);
                self.write(set, status).await?;
                return Ok(Next::IDLE);
            }
        };
        let secrets = self.secrets.get_or_init(|| self.context.store.cache_labelled(&Self::cluster_secrets()));
        if !secrets.is_served() || !secrets.is_synced() {
            return self.wait_for_secrets(set, &present, secrets, now).await;
        }
        let seen = secrets.list(Some(&key.namespace));
        if seen.iter().any(|secret| secrets.is_stale(&Key::of_typed(&**secret))) {
            // Our own write comes back through the watch and wakes the set.
            return Ok(Next::IDLE);
        }
        let look = self.answers(key, &validated, &seen, now).await;
        let now = self.context.clock.now();
        let sets = self.names_of_sets(key);
        let answers = &look.answers;
        let observed = Observed { set: &validated, status: &present, answers, secrets: &seen, sets: &sets };
        let plan = plan(&observed, now);
        let (plan, told) =
            if plan.actions.is_empty() { (plan, Vec::new()) } else { self.apply(&observed, now).await? };
        let next = look.at.checked_add(validated.interval).unwrap_or(Timestamp::MAX);
        self.tell_of_answers(set, &present, &plan.status).await;
        self.write(set, plan.status).await?;
        for (warning, reason, message) in told {
            self.tell(set, warning, reason, message).await;
        }
        Ok(Next::at(next.min(plan.wake_at)))
    }

    /// Says that Secrets cannot be seen, once the watch has said why.
    async fn wait_for_secrets(
        &self,
        set: &ClusterSet,
        present: &ClusterSetStatus,
        secrets: &Cache<Secret>,
        now: Timestamp,
    ) -> Result<Next, ReconcileError> {
        let why = match secrets.trouble() {
            _ if !secrets.is_served() => {
                "cluster Secrets need a real cluster: use the Kubernetes store (--store kubernetes)".to_owned()
            }
            Some(trouble) => format!("cluster Secrets cannot be watched: {trouble}"),
            None => return Ok(now.checked_add(SYNCING).map_or(Next::IDLE, Next::at)),
        };
        let status = cluster_set::blocked(present, set.metadata.generation, reason::UNREACHABLE, why, now);
        self.write(set, status).await?;
        Ok(now.checked_add(BLOCKED).map_or(Next::IDLE, Next::at))
    }

    /// What the generators answered: asked again when the interval is over or the set was changed.
    async fn answers(&self, key: &Key, set: &ValidatedClusterSet, secrets: &[Arc<Secret>], now: Timestamp) -> Look {
        let known = self.looks.lock().get(key).cloned();
        let counts = |look: &Look| {
            let age = now.duration_since(look.at);
            look.generation == set.generation && !age.is_negative() && age < set.interval
        };
        if let Some(look) = known.filter(counts) {
            return look;
        }
        let answers = Arc::new(self.ask(set, secrets).await);
        let look = Look { generation: set.generation, at: now, answers };
        self.looks.lock().insert(key.clone(), look.clone());
        look
    }

    async fn write(&self, set: &ClusterSet, status: ClusterSetStatus) -> Result<(), ReconcileError> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut set = set.clone();
        set.status = Some(status);
        self.context.store.update_status(&set).await?;
        Ok(())
    }

    /// Tells once that answers became incomplete.
    async fn tell_of_answers(&self, set: &ClusterSet, before: &ClusterSetStatus, after: &ClusterSetStatus) {
        for now in &after.generators {
            let was = before.generators.iter().find(|was| was.name == now.name);
            if !now.message.is_empty() && was.is_none_or(|was| was.state != now.state) {
                let message = format!("{} answered {:?}: {}", now.name, now.state, now.message);
                self.tell(set, true, "IncompleteAnswer", message).await;
            }
        }
    }

    async fn tell(&self, set: &ClusterSet, warning: bool, reason: &str, message: String) {
        let key = Key::of_typed(set);
        tracing::info!(object.kind = "ClusterSet", object.key = %key, reason, "{message}");
        let note = EventNote {
            kind: Kind::of::<ClusterSet>(),
            key,
            uid: set.metadata.uid.clone().unwrap_or_default(),
            warning,
            reason: reason.to_owned(),
            action: "KeepClusterSecrets".to_owned(),
            message,
        };
        self.context.events.publish(note).await;
    }
}

#[async_trait]
impl Reconciler for ClusterSetController {
    fn name(&self) -> &'static str {
        "cluster_set"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![Kind::of::<ClusterSet>(), Kind::of::<Secret>()]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        if changed.kind == Kind::of::<ClusterSet>() {
            return vec![changed.key.clone()];
        }
        let mut keys = self.sets.keys();
        keys.retain(|key| key.namespace == changed.key.namespace);
        keys
    }

    fn all(&self) -> Vec<Key> {
        self.sets.keys()
    }

    fn deadline(&self) -> Option<Duration> {
        Some(DEADLINE)
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        match self.sets.get(key) {
            Lookup::Found(set) if set.metadata.deletion_timestamp.is_none() => self.look(key, &set).await,
            Lookup::Found(_) | Lookup::Stale => Ok(Next::IDLE),
            Lookup::Missing => {
                self.looks.lock().remove(key);
                Ok(Next::IDLE)
            }
            Lookup::Malformed(error) => {
                let now = self.context.clock.now();
                malformed::report::<ClusterSet>(&self.context.store, key, &error, now).await
            }
        }
    }
}

/// Refuses a plan that breaks an invariant.
fn checked(observed: &Observed<'_>, mut plan: Plan, now: Timestamp) -> Plan {
    if let Err(breach) = check(observed, &plan) {
        tracing::error!(object.kind = "ClusterSet", set = observed.set.name, breach, "A plan was refused");
        let generation = observed.set.generation;
        plan.status = cluster_set::blocked(observed.status, generation, reason::INVARIANT_BREACH, breach, now);
        plan.actions.clear();
    }
    plan
}

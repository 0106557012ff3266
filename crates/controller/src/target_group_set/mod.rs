//! The controller of AWSTargetGroupSets: watches the bindings of clusters, and keeps one AWSTargetGroup each.

mod apply;
mod bindings;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    AWSTargetGroup, AWSTargetGroupSet, AWSTargetGroupSetStatus, ClusterSet,
    condition::reason,
    names::{CLUSTER_SECRET_TYPE, SECRET_TYPE_LABEL},
};
use okra_core::target_group_set::{
    self, Facts, Observed, ObservedCluster, Plan, ValidatedTargetGroupSet, check, cluster_id, plan, unnamed,
    unversioned, validate,
};
use okra_provider::{
    Cache, Clock, EventNote, EventSink, Key, Kind, Labels, Lookup, RemoteClusters, Store, TargetGroupInventory,
};
use parking_lot::Mutex;

use self::bindings::Bindings;
use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// How soon it looks again at what has only begun.
const SYNCING: SignedDuration = SignedDuration::from_millis(250);
/// How often it looks whether a cluster has fallen silent: in memory, nobody is asked.
const LOOK: SignedDuration = SignedDuration::from_secs(10);
/// How often while one may have.
const CLOSE_LOOK: SignedDuration = SignedDuration::from_secs(1);
/// How long one look may take: target groups may have to be asked for their tags, behind everything else.
const DEADLINE: Duration = Duration::from_mins(3);

/// What the controller of AWSTargetGroupSets needs of the world.
#[derive(Clone)]
pub struct TargetGroupSetContext {
    /// Where the objects are.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Who speaks to clusters. The controller alone says which connections are kept.
    pub clusters: Arc<dyn RemoteClusters>,
    /// Who knows names and tags of target groups.
    pub inventory: Arc<dyn TargetGroupInventory>,
    /// How long one call about target groups may take.
    pub call_timeout: Duration,
}

/// The controller of AWSTargetGroupSets.
pub struct TargetGroupSetController {
    context: TargetGroupSetContext,
    sets: Cache<AWSTargetGroupSet>,
    groups: Cache<AWSTargetGroup>,
    cluster_sets: Cache<ClusterSet>,
    /// Watched from the first set on: who has none need not let okrad see Secrets.
    secrets: OnceLock<Cache<Secret>>,
    bindings: Bindings,
    /// Held while AWSTargetGroups are made: two sets must not register the same one each.
    making: tokio::sync::Mutex<()>,
    /// AWSTargetGroups that were written and that the cache may not show yet.
    written: Mutex<BTreeSet<Key>>,
}

impl fmt::Debug for TargetGroupSetController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetGroupSetController").finish_non_exhaustive()
    }
}

/// What a look found besides the set.
struct Surroundings {
    clusters: Vec<ObservedCluster>,
    known: BTreeSet<String>,
    gone: BTreeSet<String>,
    sets: BTreeSet<String>,
    facts: Facts,
    /// Whether the first answer of a cluster may still come.
    may_come: bool,
}

impl Surroundings {
    fn observed<'a>(
        &'a self,
        set: &'a ValidatedTargetGroupSet,
        status: &'a AWSTargetGroupSetStatus,
        groups: &'a [Arc<AWSTargetGroup>],
    ) -> Observed<'a> {
        let Self { clusters, known, gone, sets, facts, .. } = self;
        Observed { set, status, clusters, known, gone, groups, sets, facts }
    }
}

impl TargetGroupSetController {
    /// A controller; starts the watch of AWSTargetGroupSets, within the tokio runtime that it is called in.
    pub fn new(context: TargetGroupSetContext) -> Self {
        Self {
            sets: context.store.cache(),
            groups: context.store.cache(),
            cluster_sets: context.store.cache(),
            secrets: OnceLock::new(),
            bindings: Bindings::new(context.clusters.clone()),
            making: tokio::sync::Mutex::default(),
            written: Mutex::default(),
            context,
        }
    }

    /// What would be done for a set now, for a dry run: waits for the clusters' first answers, for at most `patience`.
    /// Writes nothing.
    pub async fn rehearse(&self, set: &AWSTargetGroupSet, patience: SignedDuration) -> Result<Plan, ReconcileError> {
        let validated = validate(set).map_err(|errors| ReconcileError {
            category: "InvalidSpec",
            disposition: okra_provider::Disposition::Terminal,
            message: okra_core::field::FieldError::join(&errors),
        })?;
        let key = Key::of_typed(set);
        let (secrets, status) = (self.secrets(), set.status.clone().unwrap_or_default());
        secrets.synced().await;
        self.groups.synced().await;
        let begun = self.context.clock.now();
        loop {
            let now = self.context.clock.now();
            let secrets = secrets.list(Some(&key.namespace));
            let secrets: Vec<&Secret> = secrets.iter().map(|secret| &**secret).collect();
            let around = self.surroundings(&key, &validated, &secrets, now).await;
            if !around.may_come || now.duration_since(begun) >= patience {
                let groups = self.groups.list(Some(&key.namespace));
                return Ok(plan(&around.observed(&validated, &status, &groups), now));
            }
            tokio::time::sleep(SYNCING.unsigned_abs()).await;
        }
    }

    fn secrets(&self) -> &Cache<Secret> {
        let labels = Labels::one(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE);
        self.secrets.get_or_init(|| self.context.store.cache_labelled(&labels))
    }

    async fn look(&self, key: &Key, set: &AWSTargetGroupSet) -> Result<Next, ReconcileError> {
        let now = self.context.clock.now();
        let present = set.status.clone().unwrap_or_default();
        let validated = match validate(set) {
            Ok(validated) => validated,
            Err(errors) => {
                let status = target_group_set::invalid(&present, set.metadata.generation, &errors, now);
                self.write(set, status).await?;
                return Ok(Next::IDLE);
            }
        };
        let secrets = self.secrets();
        if !secrets.is_served() || !secrets.is_synced() {
            return self.wait_for_secrets(set, &present, secrets, now).await;
        }
        if !self.groups.is_synced() || self.cluster_sets.is_served() && !self.cluster_sets.is_synced() {
            return Ok(soon(now, SYNCING));
        }
        let secrets = secrets.list(Some(&key.namespace));
        let secrets: Vec<&Secret> = secrets.iter().map(|secret| &**secret).collect();
        let around = self.surroundings(key, &validated, &secrets, now).await;
        let Some(groups) = self.fresh_groups(&key.namespace) else { return Ok(Next::IDLE) };
        let observed = around.observed(&validated, &present, &groups);
        let plan = plan(&observed, now);
        let (plan, told) = if plan.actions.is_empty() {
            (plan, Vec::new())
        } else {
            let Some(applied) = self.apply(&observed, &secrets, now).await? else { return Ok(Next::IDLE) };
            applied
        };
        let mut told = told;
        // Who has only begun to listen would write one thing now and another in a moment.
        if !around.may_come {
            told.extend(apply::news(&present, &plan.status));
            self.write(set, plan.status).await?;
        }
        for (warning, reason, message) in told {
            self.tell(set, warning, reason, message).await;
        }
        let look = if around.may_come { CLOSE_LOOK } else { LOOK };
        Ok(if around.clusters.is_empty() { Next::IDLE } else { soon(now, look) })
    }

    /// Observes what the set selects, and lets go of clusters that no set selects any more.
    async fn surroundings(
        &self,
        key: &Key,
        set: &ValidatedTargetGroupSet,
        secrets: &[&Secret],
        now: Timestamp,
    ) -> Surroundings {
        let labels = |secret: &Secret| secret.metadata.labels.clone().unwrap_or_default();
        let (mut clusters, mut may_come) = (Vec::new(), false);
        for secret in secrets.iter().filter(|secret| set.selects_cluster(&labels(secret))) {
            let (store, sets, namespace) = (self.context.store.clone(), self.sets.clone(), key.namespace.clone());
            let changed = move || {
                for set in sets.keys().into_iter().filter(|set| set.namespace == namespace) {
                    store.wake::<AWSTargetGroupSet>(&set);
                }
            };
            let (cluster, waits) = self.bindings.observe(secret, now, changed).await;
            may_come |= waits;
            clusters.push(cluster);
        }
        self.bindings.retain(&self.selected_by_any());
        let of_namespace = |other: &Key| other.namespace == key.namespace;
        let sets = self.sets.keys().into_iter().filter(of_namespace).map(|other| other.name);
        let cluster_sets = self.cluster_sets.list(Some(&key.namespace));
        let removed = cluster_sets.iter().filter_map(|set| set.status.as_ref()).flat_map(|status| &status.removed);
        let (inventory, timeout) = (&self.context.inventory, self.context.call_timeout);
        let mut facts = Facts::default();
        let names = unnamed(set, &clusters);
        if !names.is_empty() {
            facts.arns = inventory.arns(&names, timeout).await;
        }
        let tagged = unversioned(set, &clusters, &facts);
        if !tagged.is_empty() {
            facts.versions = inventory.versions(&tagged, timeout).await;
        }
        Surroundings {
            clusters,
            known: secrets.iter().map(|secret| cluster_id(secret)).collect(),
            gone: removed.map(|removed| removed.id.clone()).collect(),
            sets: sets.chain([key.name.clone()]).collect(),
            facts,
            may_come,
        }
    }

    /// The cluster Secrets that any set selects.
    fn selected_by_any(&self) -> BTreeSet<Key> {
        let Some(secrets) = self.secrets.get() else { return BTreeSet::new() };
        let sets: Vec<ValidatedTargetGroupSet> =
            self.sets.list(None).iter().filter_map(|set| validate(set).ok()).collect();
        let selected = |secret: &Secret| {
            let labels = secret.metadata.labels.clone().unwrap_or_default();
            let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
            sets.iter().any(|set| set.namespace == namespace && set.selects_cluster(&labels))
        };
        secrets.list(None).iter().filter(|secret| selected(secret)).map(|secret| Key::of_typed(&**secret)).collect()
    }

    /// The AWSTargetGroups of a namespace; `None` while a write of our own is not among them.
    fn fresh_groups(&self, namespace: &str) -> Option<Vec<Arc<AWSTargetGroup>>> {
        let mut written = self.written.lock();
        written.retain(|key| self.groups.is_stale(key));
        let is_fresh = !written.iter().any(|key| key.namespace == namespace);
        is_fresh.then(|| self.groups.list(Some(namespace)))
    }

    /// Says that Secrets cannot be seen, once the watch has said why.
    async fn wait_for_secrets(
        &self,
        set: &AWSTargetGroupSet,
        present: &AWSTargetGroupSetStatus,
        secrets: &Cache<Secret>,
        now: Timestamp,
    ) -> Result<Next, ReconcileError> {
        let why = match secrets.trouble() {
            _ if !secrets.is_served() => {
                "cluster Secrets need a real cluster: use the Kubernetes store (--store kubernetes)".to_owned()
            }
            Some(trouble) => format!("cluster Secrets cannot be watched: {trouble}"),
            None => return Ok(soon(now, SYNCING)),
        };
        let status = target_group_set::blocked(present, set.metadata.generation, reason::UNREACHABLE, &why, now);
        self.write(set, status).await?;
        Ok(soon(now, LOOK))
    }

    async fn write(&self, set: &AWSTargetGroupSet, status: AWSTargetGroupSetStatus) -> Result<(), ReconcileError> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut set = set.clone();
        set.status = Some(status);
        self.context.store.update_status(&set).await?;
        Ok(())
    }

    async fn tell(&self, set: &AWSTargetGroupSet, warning: bool, reason: &str, message: String) {
        let key = Key::of_typed(set);
        tracing::info!(object.kind = "AWSTargetGroupSet", object.key = %key, reason, "{message}");
        let note = EventNote {
            kind: Kind::of::<AWSTargetGroupSet>(),
            key,
            uid: set.metadata.uid.clone().unwrap_or_default(),
            warning,
            reason: reason.to_owned(),
            action: "KeepTargetGroups".to_owned(),
            message,
        };
        self.context.events.publish(note).await;
    }
}

#[async_trait]
impl Reconciler for TargetGroupSetController {
    fn name(&self) -> &'static str {
        "aws_target_group_set"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![
            Kind::of::<AWSTargetGroupSet>(),
            Kind::of::<AWSTargetGroup>(),
            Kind::of::<ClusterSet>(),
            Kind::of::<Secret>(),
        ]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        if changed.kind == Kind::of::<AWSTargetGroupSet>() {
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
                self.bindings.retain(&self.selected_by_any());
                Ok(Next::IDLE)
            }
            Lookup::Malformed(error) => {
                let now = self.context.clock.now();
                malformed::report::<AWSTargetGroupSet>(&self.context.store, key, &error, now).await
            }
        }
    }
}

fn soon(now: Timestamp, after: SignedDuration) -> Next {
    now.checked_add(after).map_or(Next::IDLE, Next::at)
}

/// Refuses a plan that breaks an invariant.
fn checked(observed: &Observed<'_>, mut plan: Plan, now: Timestamp) -> Plan {
    if let Err(breach) = check(observed, &plan) {
        tracing::error!(object.kind = "AWSTargetGroupSet", set = observed.set.name, breach, "A plan was refused");
        let generation = observed.set.generation;
        plan.status = target_group_set::blocked(observed.status, generation, reason::INVARIANT_BREACH, &breach, now);
        plan.actions.clear();
    }
    plan
}

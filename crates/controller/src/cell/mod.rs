//! The controller of Cells: reads what the plan needs, lets the core decide, carries the plan out.

mod apply;
mod observe;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Secret};
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSet, AnalysisRun, AnalysisTemplate, Application,
    Cell, ClusterAnalysisTemplate, Experiment, Pause, Route, TargetGroup, VersionBlocklist,
    cell::IngressType,
    cell_status::CellStatus,
    condition::{self, VALID},
    version_blocklist::BlockedVersion,
};
use okra_core::{
    cell::{self, Action, Plan},
    route::Capabilities,
};
use okra_provider::{
    BackendError, Cache, Clock, DecisionLog, EventNote, EventSink, Key, Kind, Leadership, Lookup, RouterError, Store,
};
use parking_lot::Mutex;
use serde_json::json;

use self::observe::Sight;
use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// What the Cell controller needs of the world.
#[derive(Clone)]
pub struct CellContext {
    /// Whether this process leads.
    pub leadership: Arc<dyn Leadership>,
    /// Where the objects are.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Where decisions are recorded.
    pub decisions: Arc<dyn DecisionLog>,
    /// Instance id label of the AnalysisRuns and Experiments that Cells make; empty: they get none.
    pub instance_id: String,
    /// What the Application Load Balancer router can do; `None`: there is none here.
    pub alb: Option<Capabilities>,
    /// What the embedded balancer can do; `None`: there is none here.
    pub local: Option<Capabilities>,
}

/// The controller of Cells.
pub struct CellController {
    context: CellContext,
    cells: Cache<Cell>,
    aws_groups: Cache<AWSTargetGroup>,
    groups: Cache<TargetGroup>,
    alb_routes: Cache<AWSApplicationLoadBalancerConfig>,
    routes: Cache<Route>,
    pauses: Cache<Pause>,
    blocklists: Cache<VersionBlocklist>,
    analysis_runs: Cache<AnalysisRun>,
    experiments: Cache<Experiment>,
    templates: Cache<AnalysisTemplate>,
    cluster_templates: Cache<ClusterAnalysisTemplate>,
    /// Watched from the first experiment step on: who has none needs no right to see them.
    replica_sets: OnceLock<Cache<ReplicaSet>>,
    /// Watched from the first Cell on whose readiness is asked for.
    cluster_caches: OnceLock<observe::ClusterCaches>,
    /// Each Cell as this controller left it; at rest the same copy as the cache's.
    left: Mutex<BTreeMap<Key, Arc<Cell>>>,
}

impl fmt::Debug for CellController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellController").finish_non_exhaustive()
    }
}

impl CellController {
    /// A controller; starts the watches of what it reads, within the tokio runtime that it is called in.
    pub fn new(context: CellContext) -> Self {
        let store = &context.store;
        Self {
            cells: store.cache(),
            aws_groups: store.cache(),
            groups: store.cache(),
            alb_routes: store.cache(),
            routes: store.cache(),
            pauses: store.cache(),
            blocklists: store.cache(),
            analysis_runs: store.cache(),
            experiments: store.cache(),
            templates: store.cache(),
            cluster_templates: store.cache(),
            replica_sets: OnceLock::new(),
            cluster_caches: OnceLock::new(),
            left: Mutex::default(),
            context,
        }
    }

    /// What the Cell's router can do here.
    fn router(&self, cell: &Cell) -> Option<Capabilities> {
        match cell.spec.ingress.type_ {
            IngressType::AWSApplicationLoadBalancer => self.context.alb.clone(),
            IngressType::Local => self.context.local.clone(),
            IngressType::AWSNetworkLoadBalancer => None,
        }
    }

    /// Cells of a namespace for which something holds.
    fn cells_where(&self, namespace: &str, holds: impl Fn(&Cell) -> bool) -> Vec<Key> {
        self.cells.list(Some(namespace)).iter().filter(|cell| holds(cell)).map(|cell| Key::of_typed(&**cell)).collect()
    }

    /// Cells that a target group concerns: those that select it now, and those that knew it.
    fn cells_of_group(&self, key: &Key, labels: Option<&BTreeMap<String, String>>) -> Vec<Key> {
        self.cells_where(&key.namespace, |cell| {
            let ingress = &cell.spec.ingress;
            let alb = ingress.aws_application_load_balancer.as_ref().map(|alb| &alb.target_group_selector);
            let selector = alb.or_else(|| ingress.local.as_ref().map(|local| &local.target_group_selector));
            let selected = selector.is_some_and(|selector| labels.is_some_and(|labels| selector.matches(labels)));
            let status = cell.status.as_ref();
            let known =
                || status.into_iter().flat_map(|status| &status.target_groups).any(|group| group.name == key.name);
            // One that is left out is named there only.
            let valid = || condition::find(&status?.conditions, VALID);
            let named = || valid().is_some_and(|valid| valid.message.contains(&key.name));
            selected || known() || named()
        })
    }

    /// Tells the world what was decided, once it is written.
    async fn tell(&self, cell: &Cell, key: &Key, plan: &Plan) {
        let now = self.context.clock.now();
        self.context.decisions.append(&json!({
            "at": now,
            "kind": "Cell",
            "key": key.to_string(),
            "generation": cell.metadata.generation,
            "actions": plan.actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>(),
            "phase": plan.status.phase,
            "message": plan.status.message,
            "waits": plan.report.waits,
        }));
        for note in &plan.notes {
            tracing::info!(object.kind = "Cell", object.key = %key, reason = note.reason, "{}", note.message);
            let note = EventNote {
                kind: Kind::of::<Cell>(),
                key: key.clone(),
                uid: cell.metadata.uid.clone().unwrap_or_default(),
                warning: note.warning,
                reason: note.reason.to_owned(),
                action: "Reconcile".to_owned(),
                message: note.message.clone(),
            };
            self.context.events.publish(note).await;
        }
    }

    /// A rollout begins only with the blocklist as the store has it (safety.md S6): after a restart the copy of it can be
    /// older than that of the Cell, and what the okrad before this one took back and blocked would be rolled out again.
    async fn confirm_blocklist(&self, key: &Key, seen: &[BlockedVersion]) -> Result<(), ReconcileError> {
        let live = match self.context.store.get_live::<VersionBlocklist>(key).await {
            Ok(list) => list.spec.items,
            Err(BackendError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if live != seen {
            let (kind, key) = (Kind::of::<VersionBlocklist>().to_string(), key.clone());
            return Err(BackendError::Conflict { kind, key }.into());
        }
        Ok(())
    }

    /// The Cell with the status that this controller left it with. A rollout lives in it: what somebody else writes
    /// there must not give a canary what it has not earned (safety.md S4, S5). It does not count and is written over.
    /// Without the lease the other one is the next leader, whose word counts: that is an error.
    fn as_left(&self, key: &Key, stored: &Arc<Cell>) -> Result<Arc<Cell>, ReconcileError> {
        let left = self.left.lock().get(key).cloned();
        let own = left.filter(|left| left.metadata.uid == stored.metadata.uid && left.status != stored.status);
        let Some(own) = own else { return Ok(stored.clone()) };
        self.context.leadership.permits(Duration::ZERO).map_err(RouterError::from)?;
        tracing::warn!(object.kind = "Cell", object.key = %key, "Somebody else wrote the status: it is written back");
        let mut cell = (**stored).clone();
        cell.status.clone_from(&own.status);
        Ok(Arc::new(cell))
    }

    /// Writes the status when it is not the one that is stored.
    async fn write_status(&self, key: &Key, stored: &Arc<Cell>, plan: &Plan) -> Result<bool, ReconcileError> {
        // Until the answer is there, nobody knows what is stored.
        let left = self.left.lock().remove(key);
        if stored.status.as_ref() == Some(&plan.status) {
            if left.is_none() {
                // What the okrad before this one wrote would else seem to be somebody else's, once an old list is made up.
                self.context.store.confirm(&**stored).await?;
            }
            self.left.lock().insert(key.clone(), stored.clone());
            return Ok(false);
        }
        let mut next = (**stored).clone();
        next.status = Some(plan.status.clone());
        let written = self.context.store.update_status(&next).await?;
        // In a dry run nothing is stored.
        if written.metadata.resource_version != stored.metadata.resource_version {
            self.left.lock().insert(key.clone(), Arc::new(written));
        }
        Ok(true)
    }
}

fn rollout_id(status: Option<&CellStatus>) -> Option<&str> {
    status?.rollout.as_ref().map(|rollout| rollout.id.as_str())
}

#[async_trait]
impl Reconciler for CellController {
    fn name(&self) -> &'static str {
        "cell"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![
            Kind::of::<Cell>(),
            Kind::of::<AWSTargetGroup>(),
            Kind::of::<TargetGroup>(),
            Kind::of::<AWSApplicationLoadBalancerConfig>(),
            Kind::of::<Route>(),
            Kind::of::<Pause>(),
            Kind::of::<VersionBlocklist>(),
            Kind::of::<AnalysisRun>(),
            Kind::of::<Experiment>(),
            Kind::of::<AnalysisTemplate>(),
            Kind::of::<ClusterAnalysisTemplate>(),
            Kind::of::<ReplicaSet>(),
            Kind::of::<Application>(),
            Kind::of::<AWSTargetGroupSet>(),
            Kind::of::<Secret>(),
        ]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        let key = &changed.key;
        match &*changed.kind.kind {
            "AWSTargetGroup" => match self.aws_groups.get(key) {
                Lookup::Found(group) => self.cells_of_group(key, group.metadata.labels.as_ref()),
                _ => self.cells_of_group(key, None),
            },
            "TargetGroup" => match self.groups.get(key) {
                Lookup::Found(group) => self.cells_of_group(key, group.metadata.labels.as_ref()),
                _ => self.cells_of_group(key, None),
            },
            "Pause" | "AnalysisRun" | "Experiment" => self.cells_where(&key.namespace, |cell| {
                observe::is_child(&key.name, cell.metadata.name.as_deref().unwrap_or_default())
            }),
            "AnalysisTemplate" => self.cells_where(&key.namespace, cell::is_judged),
            "ClusterAnalysisTemplate" => {
                let judged = self.cells.list(None).into_iter().filter(|cell| cell::is_judged(cell));
                judged.map(|cell| Key::of_typed(&*cell)).collect()
            }
            "ReplicaSet" => {
                self.cells_where(&key.namespace, |cell| cell::replica_sets_wanted(cell).contains(&key.name))
            }
            "Secret" | "AWSTargetGroupSet" => self.cells_where(&key.namespace, |cell| cell.spec.readiness.is_some()),
            "Application" => {
                let asks = |cell: &Cell| {
                    let readiness = cell.spec.readiness.as_ref();
                    let own = cell.metadata.namespace.as_ref();
                    readiness.is_some_and(|readiness| readiness.namespace.as_ref().or(own) == Some(&key.namespace))
                };
                let cells = self.cells.list(None);
                cells.iter().filter(|cell| asks(cell)).map(|cell| Key::of_typed(&**cell)).collect()
            }
            // The route object and the blocklist have the Cell's name.
            _ => vec![key.clone()],
        }
    }

    fn all(&self) -> Vec<Key> {
        self.cells.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let now = self.context.clock.now();
        let stored = match self.cells.get(key) {
            Lookup::Found(cell) => cell,
            // Stale: our own write comes back through the watch and wakes this Cell.
            Lookup::Stale => return Ok(Next::IDLE),
            Lookup::Missing => {
                self.left.lock().remove(key);
                return Ok(Next::IDLE);
            }
            Lookup::Malformed(error) => {
                self.left.lock().remove(key);
                return malformed::report::<Cell>(&self.context.store, key, &error, now).await;
            }
        };
        let cell = self.as_left(key, &stored)?;
        // io
        let sight = self.observe(&cell, key).await;
        // pure: validate, plan, check
        let route = match &sight {
            Sight::Clear(observed) => observed.route.as_ref().map(|route| route.generation),
            Sight::Stale | Sight::Blocked(_) => None,
        };
        let (plan, blocked) = match sight {
            Sight::Stale => return Ok(Next::IDLE),
            Sight::Blocked(why) => (cell::refuse(&cell, why, now), Vec::new()),
            Sight::Clear(observed) => (cell::plan(&observed, now), observed.blocked),
        };
        // io
        if rollout_id(Some(&plan.status)) != rollout_id(cell.status.as_ref()) {
            self.confirm_blocklist(key, &blocked).await?;
        }
        let takes_back =
            plan.actions.iter().any(|action| matches!(action, Action::WriteRoute { takes_back: true, .. }));
        if takes_back && !self.left.lock().contains_key(key) {
            // No status is written before it, which would fail on a copy that is not the present one.
            self.context.store.confirm(&*stored).await?;
        }
        for action in plan.actions.iter().filter(|action| action.precedes_status()) {
            self.apply(&cell, action, route).await?;
        }
        let wrote = self.write_status(key, &stored, &plan).await?;
        for action in plan.actions.iter().filter(|action| !action.precedes_status()) {
            self.apply(&cell, action, route).await?;
        }
        if wrote || !plan.actions.is_empty() {
            self.tell(&cell, key, &plan).await;
        }
        Ok(Next { wake_at: plan.wake_at })
    }
}

//! The controller of Cells: reads what the plan needs, lets the core decide, carries the plan out.

mod apply;
mod observe;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AnalysisRun, Cell, Experiment, Pause, Route, TargetGroup,
    VersionBlocklist, cell::IngressType,
};
use okra_core::{
    cell::{self, Plan},
    route::Capabilities,
};
use okra_provider::{Cache, Clock, DecisionLog, EventNote, EventSink, Key, Kind, Lookup, Store};
use serde_json::json;

use self::observe::Sight;
use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// What the Cell controller needs of the world.
#[derive(Clone)]
pub struct CellContext {
    /// Where the objects are.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Where decisions are recorded.
    pub decisions: Arc<dyn DecisionLog>,
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
    fn cells_of_group(&self, key: &Key, labels: Option<&std::collections::BTreeMap<String, String>>) -> Vec<Key> {
        self.cells_where(&key.namespace, |cell| {
            let ingress = &cell.spec.ingress;
            let alb = ingress.aws_application_load_balancer.as_ref().map(|alb| &alb.target_group_selector);
            let selector = alb.or_else(|| ingress.local.as_ref().map(|local| &local.target_group_selector));
            let selected = selector.is_some_and(|selector| labels.is_some_and(|labels| selector.matches(labels)));
            let known =
                || cell.status.iter().flat_map(|status| &status.target_groups).any(|group| group.name == key.name);
            selected || known()
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

    /// Writes the status when it changed.
    async fn write_status(&self, cell: &Cell, plan: &Plan) -> Result<bool, ReconcileError> {
        if cell.status.as_ref() == Some(&plan.status) {
            return Ok(false);
        }
        let mut next = cell.clone();
        next.status = Some(plan.status.clone());
        self.context.store.update_status(&next).await?;
        Ok(true)
    }
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
                let name = cell.metadata.name.as_deref().unwrap_or_default();
                key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with("-r"))
            }),
            // The route object and the blocklist have the Cell's name.
            _ => vec![key.clone()],
        }
    }

    fn all(&self) -> Vec<Key> {
        self.cells.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let now = self.context.clock.now();
        let cell = match self.cells.get(key) {
            Lookup::Found(cell) => cell,
            // Stale: our own write comes back through the watch and wakes this Cell.
            Lookup::Missing | Lookup::Stale => return Ok(Next::IDLE),
            Lookup::Malformed(error) => return malformed::report::<Cell>(&self.context.store, key, &error, now).await,
        };
        // io
        let sight = self.observe(&cell, key);
        // pure: validate, plan, check
        let plan = match sight {
            Sight::Stale => return Ok(Next::IDLE),
            Sight::Blocked(why) => cell::refuse(&cell, why, now),
            Sight::Clear(observed) => cell::plan(&observed, now),
        };
        // io
        for action in plan.actions.iter().filter(|action| action.precedes_status()) {
            self.apply(&cell, action).await?;
        }
        let wrote = self.write_status(&cell, &plan).await?;
        for action in plan.actions.iter().filter(|action| !action.precedes_status()) {
            self.apply(&cell, action).await?;
        }
        if wrote || !plan.actions.is_empty() {
            self.tell(&cell, key, &plan).await;
        }
        Ok(Next { wake_at: plan.wake_at })
    }
}

//! Carries out a plan's actions. No decisions are taken here.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube_core::{Resource as _, ResourceExt as _};
use okra_api::{
    AWSApplicationLoadBalancerConfig, AnalysisRun, BlockedVersion, Cell, Experiment, Pause, PausePhase, PauseSpec,
    Route, VersionBlocklist, VersionBlocklistSpec,
    names::{ADOPT_RULE_ANNOTATION, CELL_LABEL, ROLLOUT_LABEL, STEP_INDEX_LABEL},
};
use okra_core::{
    analysis::INSTANCE_ID_LABEL,
    cell::{Action, DesiredRoute, alb_spec, route_spec},
    version,
};
use okra_provider::{BackendError, Key, Lookup, Stored};
use serde_json::json;

use super::CellController;
use crate::reconciler::ReconcileError;

impl CellController {
    /// Carries out one action. `route` is the generation of the route object that the plan was made from, if there was
    /// one.
    pub(super) async fn apply(&self, cell: &Cell, action: &Action, route: Option<i64>) -> Result<(), ReconcileError> {
        let key = |name: &str| Key::new(cell.namespace().unwrap_or_default(), name);
        match action {
            Action::WriteRoute { desired, .. } => self.write_route(cell, desired, route).await,
            Action::CreatePause { name, expire_time, rollout, step } => {
                let mut pause = Pause::new(name, PauseSpec { expire_time: *expire_time });
                adopt(cell, &mut pause, [(ROLLOUT_LABEL, rollout.clone()), (STEP_INDEX_LABEL, step.to_string())]);
                match self.context.store.create(&pause).await {
                    // Created by an earlier pass whose status was not written.
                    Ok(_) | Err(BackendError::AlreadyExists { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Action::CancelPause { name } => {
                let Lookup::Found(pause) = self.pauses.get(&key(name)) else { return Ok(()) };
                let mut pause = (*pause).clone();
                pause.status.get_or_insert_default().phase = Some(PausePhase::Cancelled);
                self.context.store.update_status(&pause).await?;
                Ok(())
            }
            Action::DeletePause { name } => {
                let Lookup::Found(pause) = self.pauses.get(&key(name)) else { return Ok(()) };
                match self.context.store.delete(&*pause).await {
                    Ok(()) | Err(BackendError::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Action::Block(items) => self.block(cell, items).await,
            Action::Unblock { version } => self.unblock(cell, version).await,
            Action::CreateRun { name, spec, annotations, rollout, step } => {
                let mut run = AnalysisRun::new(name, (**spec).clone());
                run.metadata.annotations = Some(annotations.clone()).filter(|annotations| !annotations.is_empty());
                self.create_run(cell, run, rollout, *step).await
            }
            Action::CreateExperiment { name, spec, rollout, step } => {
                self.create_run(cell, Experiment::new(name, (**spec).clone()), rollout, Some(*step)).await
            }
            Action::TerminateRun { name } => self.terminate(&key(name)).await,
            Action::DeleteRun { name } => self.delete_run(&key(name)).await,
        }
    }

    async fn create_run<K: Stored>(
        &self,
        cell: &Cell,
        mut run: K,
        rollout: &str,
        step: Option<i32>,
    ) -> Result<(), ReconcileError> {
        let step = step.map(|step| (STEP_INDEX_LABEL, step.to_string()));
        let instance = Some(&self.context.instance_id).filter(|id| !id.is_empty());
        let instance = instance.map(|id| (INSTANCE_ID_LABEL, id.clone()));
        adopt(cell, &mut run, step.into_iter().chain(instance).chain([(ROLLOUT_LABEL, rollout.to_owned())]));
        match self.context.store.create(&run).await {
            // Created by an earlier pass whose status was not written.
            Ok(_) | Err(BackendError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn write_route(&self, cell: &Cell, desired: &DesiredRoute, seen: Option<i64>) -> Result<(), ReconcileError> {
        let key = Key::of_typed(cell);
        if let Some(spec) = alb_spec(desired) {
            let present = as_planned(self.alb_routes.get(&key), seen);
            let object = AWSApplicationLoadBalancerConfig::new(&key.name, spec.clone());
            return self.write(cell, desired, present, object, |route| route.spec = spec.clone()).await;
        }
        if let Some(spec) = route_spec(desired) {
            let present = as_planned(self.routes.get(&key), seen);
            let object = Route::new(&key.name, spec.clone());
            return self.write(cell, desired, present, object, |route| route.spec = spec.clone()).await;
        }
        Ok(())
    }

    /// Creates the route object, or changes its spec.
    async fn write<K: Stored>(
        &self,
        cell: &Cell,
        desired: &DesiredRoute,
        present: Lookup<K>,
        mut fresh: K,
        change: impl FnOnce(&mut K),
    ) -> Result<(), ReconcileError> {
        let annotate = |object: &mut K| match &desired.adopt {
            Some(value) => {
                object.annotations_mut().insert(ADOPT_RULE_ANNOTATION.to_owned(), value.clone());
            }
            None => {
                object.annotations_mut().remove(ADOPT_RULE_ANNOTATION);
            }
        };
        match present {
            Lookup::Found(route) => {
                let mut route = (*route).clone();
                change(&mut route);
                annotate(&mut route);
                self.context.store.update(&route).await?;
            }
            Lookup::Missing => {
                adopt(cell, &mut fresh, []);
                annotate(&mut fresh);
                self.context.store.create(&fresh).await?;
            }
            // The plan was made from a copy that was neither.
            Lookup::Stale | Lookup::Malformed(_) => {}
        }
        Ok(())
    }

    async fn block(&self, cell: &Cell, items: &[BlockedVersion]) -> Result<(), ReconcileError> {
        let key = Key::of_typed(cell);
        match self.blocklists.get(&key) {
            Lookup::Found(list) => {
                let mut list = (*list).clone();
                let there = |item: &&BlockedVersion| {
                    list.spec.items.iter().any(|other| version::parse(&other.version) == version::parse(&item.version))
                };
                let new: Vec<BlockedVersion> = items.iter().filter(|item| !there(item)).cloned().collect();
                if new.is_empty() {
                    return Ok(());
                }
                list.spec.items.extend(new);
                self.context.store.update(&list).await?;
                Ok(())
            }
            Lookup::Missing => {
                // It has no owner: what a person or a failure blocked outlives the Cell.
                let mut list = VersionBlocklist::new(&key.name, VersionBlocklistSpec { items: items.to_vec() });
                list.metadata.namespace = Some(key.namespace.clone());
                list.labels_mut().insert(CELL_LABEL.to_owned(), label_value(&key.name));
                self.context.store.create(&list).await?;
                Ok(())
            }
            Lookup::Stale | Lookup::Malformed(_) => Err(not_now(&key)),
        }
    }

    async fn unblock(&self, cell: &Cell, version: &str) -> Result<(), ReconcileError> {
        let key = Key::of_typed(cell);
        match self.blocklists.get(&key) {
            Lookup::Found(list) => {
                let mut list = (*list).clone();
                let wanted = version::parse(version);
                list.spec.items.retain(|item| version::parse(&item.version) != wanted);
                self.context.store.update(&list).await?;
                Ok(())
            }
            Lookup::Missing => Ok(()),
            Lookup::Stale | Lookup::Malformed(_) => Err(not_now(&key)),
        }
    }

    async fn delete_run(&self, key: &Key) -> Result<(), ReconcileError> {
        let deleted = if let Lookup::Found(run) = self.analysis_runs.get(key) {
            self.context.store.delete(&*run).await
        } else if let Lookup::Found(run) = self.experiments.get(key) {
            self.context.store.delete(&*run).await
        } else {
            Ok(())
        };
        match deleted {
            Ok(()) | Err(BackendError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn terminate(&self, key: &Key) -> Result<(), ReconcileError> {
        let patch = json!({"spec": {"terminate": true}});
        if let Lookup::Found(_) = self.analysis_runs.get(key) {
            self.context.store.merge_patch::<AnalysisRun>(key, &patch).await?;
        } else if let Lookup::Found(_) = self.experiments.get(key) {
            self.context.store.merge_patch::<Experiment>(key, &patch).await?;
        }
        Ok(())
    }
}

/// The route object, if it is still the one that the plan was made from. A cache that has heard of another one since
/// has woken the Cell: writing now would put an older decision over a newer one, with the newer one's version (S10).
fn as_planned<K: Stored>(present: Lookup<K>, seen: Option<i64>) -> Lookup<K> {
    let now = match &present {
        Lookup::Found(route) => Some(route.meta().generation.unwrap_or(0)),
        Lookup::Missing | Lookup::Stale | Lookup::Malformed(_) => None,
    };
    if now == seen { present } else { Lookup::Stale }
}

/// The plan was made from a copy of the blocklist that has changed since: plan again.
fn not_now(key: &Key) -> ReconcileError {
    BackendError::Conflict { kind: "VersionBlocklist".to_owned(), key: key.clone() }.into()
}

/// Makes an object a child of the Cell.
fn adopt<K: Stored>(cell: &Cell, object: &mut K, labels: impl IntoIterator<Item = (&'static str, String)>) {
    let name = cell.name_any();
    let meta = object.meta_mut();
    meta.namespace = cell.namespace();
    meta.owner_references = Some(vec![OwnerReference {
        api_version: Cell::api_version(&()).into_owned(),
        kind: Cell::kind(&()).into_owned(),
        name: name.clone(),
        uid: cell.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    let own = [(CELL_LABEL, name)];
    let labels: BTreeMap<String, String> =
        own.into_iter().chain(labels).map(|(key, value)| (key.to_owned(), label_value(&value))).collect();
    meta.labels = Some(labels);
}

/// A text as the value of a label: at most 63 legal characters, with a letter or digit at both ends.
fn label_value(text: &str) -> String {
    let legal: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(63).collect();
    legal.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

//! Carries out what the engine says. No decisions are taken here.

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Service};
use okra_api::{AnalysisRun, Experiment};
use okra_core::{
    analysis::{
        ExperimentAction, Failure, SCALE_DOWN_DEADLINE_ANNOTATION, analysis_run, replica_set, service, template_of,
    },
    cell::is_controlled_by,
};
use okra_provider::{BackendError, Key, Stored};
use serde_json::{Value, json};

use super::{ExperimentController, observe::Around};
use crate::reconciler::ReconcileError;

/// What became of an action.
pub(super) enum Applied {
    /// It is carried out.
    Done,
    /// It can never be.
    Failed(Failure),
    /// okrad lacks a right.
    Denied(BackendError),
}

impl ExperimentController {
    /// Carries out one action. What cannot be done, and would not succeed if it was tried again, is the experiment's
    /// failure. What okrad has no right to is neither: somebody may give it. Anything else is an error, after which
    /// everything is tried again.
    pub(super) async fn apply(
        &self,
        experiment: &Experiment,
        around: &Around,
        action: &ExperimentAction,
    ) -> Result<Applied, ReconcileError> {
        match self.try_apply(experiment, around, action).await {
            Ok(()) => Ok(Applied::Done),
            Err(error @ BackendError::Denied { .. }) => Ok(Applied::Denied(error)),
            Err(error) if is_final(&error) => match failure(action, error.to_string()) {
                Some(failure) => Ok(Applied::Failed(failure)),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn try_apply(
        &self,
        experiment: &Experiment,
        around: &Around,
        action: &ExperimentAction,
    ) -> Result<(), BackendError> {
        let key = |name: &str| Key::new(experiment.metadata.namespace.clone().unwrap_or_default(), name);
        match action {
            ExperimentAction::CreateReplicaSet { template } => {
                let mut templates = experiment.spec.templates.iter();
                let Some(wanted) = templates.find(|known| known.name == *template) else { return Ok(()) };
                let set = replica_set(experiment, wanted).map_err(|message| BackendError::Invalid { message })?;
                self.create(experiment, template, &set).await
            }
            ExperimentAction::Scale { template, to, .. } => {
                let Some(set) = around.sets.get(template) else { return Ok(()) };
                let patch = json!({"spec": {"replicas": to}});
                self.patch_set(set, patch).await
            }
            ExperimentAction::SetScaleDownDeadline { name, deadline } => {
                self.annotate(around, name, json!(deadline.to_string())).await
            }
            ExperimentAction::RemoveScaleDownDeadline { name } => self.annotate(around, name, Value::Null).await,
            ExperimentAction::CreateService { template, name } => {
                let Some(set) = around.sets.get(template) else { return Ok(()) };
                self.create(experiment, template, &service(experiment, template, name, set)).await
            }
            ExperimentAction::DeleteService { template, .. } => {
                let Some(service) = around.services.get(template) else { return Ok(()) };
                gone(self.context.store.delete::<Service>(service).await)
            }
            ExperimentAction::CreateRun { name, spec, annotations, .. } => {
                let run = analysis_run(experiment, name, (**spec).clone(), annotations.clone());
                match self.context.store.create(&run).await {
                    Ok(_) => Ok(()),
                    // Made by an earlier look whose cache did not know it yet: the next one sees whose it is.
                    Err(error @ BackendError::AlreadyExists { .. }) => Err(again(&error, &key(name))),
                    Err(error) => Err(error),
                }
            }
            ExperimentAction::TerminateRun { name, .. } => {
                let patch = json!({"spec": {"terminate": true}});
                gone(self.context.store.merge_patch::<AnalysisRun>(&key(name), &patch).await.map(drop))
            }
        }
    }

    /// Creates a ReplicaSet or a Service. One of the name that was made for the same is taken as made.
    async fn create<K: Stored>(&self, experiment: &Experiment, template: &str, object: &K) -> Result<(), BackendError> {
        let taken = match self.context.store.create(object).await {
            Ok(_) => return Ok(()),
            Err(error @ BackendError::AlreadyExists { .. }) => error,
            Err(error) => return Err(error),
        };
        let key = Key::of_typed(object);
        let present = match self.context.store.get_live::<K>(&key).await {
            // It goes away at this moment.
            Err(BackendError::NotFound { .. }) => return Err(again(&taken, &key)),
            present => present?,
        };
        let uid = experiment.metadata.uid.as_deref().unwrap_or_default();
        let is_own = is_controlled_by(present.meta(), uid) && template_of(present.meta()) == Some(template);
        if !is_own {
            return Err(taken);
        }
        if present.meta().deletion_timestamp.is_some() { Err(again(&taken, &key)) } else { Ok(()) }
    }

    async fn annotate(&self, around: &Around, name: &str, value: Value) -> Result<(), BackendError> {
        let mut sets = around.sets.values();
        let Some(set) = sets.find(|set| set.metadata.name.as_deref() == Some(name)) else { return Ok(()) };
        self.patch_set(set, json!({"metadata": {"annotations": {SCALE_DOWN_DEADLINE_ANNOTATION: value}}})).await
    }

    /// Patches exactly the ReplicaSet that the plan was made from.
    async fn patch_set(&self, set: &ReplicaSet, mut patch: Value) -> Result<(), BackendError> {
        let version = json!({"metadata": {"resourceVersion": set.metadata.resource_version}});
        okra_provider::object::merge(&mut patch, &version);
        self.context.store.merge_patch::<ReplicaSet>(&Key::of_typed(set), &patch).await.map(drop)
    }
}

/// What is not there any more need not be removed or ended.
fn gone(result: Result<(), BackendError>) -> Result<(), BackendError> {
    match result {
        Err(BackendError::NotFound { .. }) => Ok(()),
        result => result,
    }
}

/// The same as a conflict: look again.
fn again(error: &BackendError, key: &Key) -> BackendError {
    let kind = if let BackendError::AlreadyExists { kind, .. } = error { kind.clone() } else { String::new() };
    BackendError::Conflict { kind, key: key.clone() }
}

/// Whether it would fail in the same way the next time.
fn is_final(error: &BackendError) -> bool {
    match error {
        BackendError::AlreadyExists { .. }
        | BackendError::Invalid { .. }
        | BackendError::Absent(_)
        | BackendError::Unsupported(_) => true,
        BackendError::NotFound { .. }
        | BackendError::Denied { .. }
        | BackendError::Conflict { .. }
        | BackendError::Throttled { .. }
        | BackendError::Unreachable(_) => false,
    }
}

fn failure(action: &ExperimentAction, message: String) -> Option<Failure> {
    match action {
        ExperimentAction::CreateReplicaSet { template } => {
            Some(Failure::CreateReplicaSet { template: template.clone(), message })
        }
        ExperimentAction::Scale { template, to, .. } => {
            Some(Failure::Scale { template: template.clone(), replicas: *to, message })
        }
        ExperimentAction::CreateService { template, name } => {
            Some(Failure::CreateService { template: template.clone(), service: name.clone(), message })
        }
        ExperimentAction::DeleteService { template, .. } => {
            Some(Failure::DeleteService { template: template.clone(), message })
        }
        ExperimentAction::CreateRun { analysis, .. } => {
            Some(Failure::CreateRun { analysis: analysis.clone(), message })
        }
        ExperimentAction::TerminateRun { analysis, .. } => {
            Some(Failure::TerminateRun { analysis: analysis.clone(), message })
        }
        ExperimentAction::SetScaleDownDeadline { .. } | ExperimentAction::RemoveScaleDownDeadline { .. } => None,
    }
}

//! The writes of a ClusterSet.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use okra_api::cluster_set::ClusterNote;
use okra_core::cluster_set::{Action, Observed, Plan, plan, refuse};
use okra_provider::{BackendError, Key, Kind};

use super::{ClusterSetController, checked};
use crate::reconciler::ReconcileError;

/// A warning or not, reason and message of an event.
type Told = (bool, &'static str, String);

impl ClusterSetController {
    /// The cluster Secrets of a namespace as they are now.
    pub(super) async fn live_secrets(&self, namespace: &str) -> Result<Vec<Arc<Secret>>, BackendError> {
        let backend = self.context.store.backend();
        let values = backend.list_labelled(&Kind::of::<Secret>(), Some(namespace), &Self::cluster_secrets()).await?;
        let parsed = values.into_iter().filter_map(|value| serde_json::from_value(value).ok());
        Ok(parsed.map(Arc::new).collect())
    }

    /// Plans once more on what is there now, and does it, one set at a time: what the watch has not shown yet, the
    /// Secrets of another set among it, is seen.
    pub(super) async fn apply(
        &self,
        observed: &Observed<'_>,
        now: Timestamp,
    ) -> Result<(Plan, Vec<Told>), ReconcileError> {
        let _one_at_a_time = self.making.lock().await;
        let secrets = self.live_secrets(&observed.set.namespace).await?;
        let observed = &Observed { secrets: &secrets, ..*observed };
        let mut plan = checked(observed, plan(observed, now), now);
        let (mut told, mut failed, mut without) = (Vec::new(), Vec::new(), 0);
        for action in &plan.actions {
            match self.act(action).await {
                Ok(done) => told.push(done),
                Err((cluster, error)) => {
                    let message = words(action, &error).ok_or(error)?;
                    let note = ClusterNote { name: cluster, message };
                    // Tried again at each look, told once.
                    if !observed.status.refused.contains(&note) {
                        let message = format!("cluster {} gets no Secret: {}", note.name, note.message);
                        told.push((true, "RefusedCluster", message));
                    }
                    without += i32::from(matches!(action, Action::Create { .. }));
                    failed.push(note);
                }
            }
        }
        refuse(&mut plan.status, observed.set, failed, without, now);
        Ok((plan, told))
    }

    async fn act(&self, action: &Action) -> Result<Told, (String, BackendError)> {
        let store = &self.context.store;
        match action {
            Action::Create { cluster, secret } => {
                let made = store.create(&**secret).await.map_err(|error| (cluster.clone(), error))?;
                Ok((false, "RegisteredCluster", format!("cluster {cluster} has Secret {}", Key::of_typed(&made).name)))
            }
            Action::Update { cluster, secret, adopts } => {
                store.update(&**secret).await.map_err(|error| (cluster.clone(), error))?;
                let (reason, done) =
                    if *adopts { ("AdoptedCluster", "taken over") } else { ("UpdatedCluster", "brought up to date") };
                let name = secret.metadata.name.as_deref().unwrap_or_default();
                Ok((false, reason, format!("Secret {name} of cluster {cluster} was {done}")))
            }
            Action::Delete { secret } => {
                let name = secret.metadata.name.clone().unwrap_or_default();
                match store.delete(&**secret).await {
                    Ok(()) | Err(BackendError::NotFound { .. }) => {
                        Ok((false, "RemovedCluster", format!("Secret {name} was removed: its cluster is gone")))
                    }
                    Err(error) => Err((name, error)),
                }
            }
        }
    }
}

/// What is told of a failure that only a person can mend; `None`: it may pass.
fn words(action: &Action, error: &BackendError) -> Option<String> {
    match (action, error) {
        (Action::Create { secret, .. }, BackendError::AlreadyExists { .. }) => {
            let name = secret.metadata.name.as_deref().unwrap_or_default();
            Some(format!("Secret {name} exists and is no cluster Secret: set spec.template.metadata.name"))
        }
        (_, BackendError::Denied { message } | BackendError::Invalid { message }) => Some(message.clone()),
        _ => None,
    }
}

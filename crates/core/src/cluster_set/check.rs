//! What no plan of a ClusterSet may hold, said a second time and without the planner (safety.md S13).

use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    cluster_set::AnswerState,
    names::{CLUSTER_ID_ANNOTATION, CLUSTER_SECRET_TYPE, CLUSTER_SET_LABEL, CLUSTER_SET_UID_LABEL, SECRET_TYPE_LABEL},
};

use super::{
    Action, Observed, Plan,
    secret::{annotation, label},
};

/// The first breach of an invariant by a plan, in words.
pub fn check(observed: &Observed<'_>, plan: &Plan) -> Result<(), String> {
    for action in &plan.actions {
        match action {
            Action::Delete { secret } => check_deletion(observed, secret)?,
            Action::Create { secret, .. } => check_written(observed, secret)?,
            Action::Update { secret, .. } => {
                check_written(observed, secret)?;
                let mut present = observed.secrets.iter();
                let present = present.find(|present| present.metadata.name == secret.metadata.name);
                let present = present.ok_or("a Secret would be updated that was not seen")?;
                let owner = label(present, CLUSTER_SET_LABEL).filter(|owner| *owner != observed.set.name);
                if owner.is_some_and(|owner| observed.sets.contains(owner)) {
                    return Err("a Secret of another ClusterSet would be written".to_owned());
                }
            }
        }
    }
    Ok(())
}

fn check_written(observed: &Observed<'_>, secret: &Secret) -> Result<(), String> {
    if secret.metadata.namespace.as_deref() != Some(&observed.set.namespace) {
        return Err("a Secret of another namespace would be written".to_owned());
    }
    if label(secret, SECRET_TYPE_LABEL) != Some(CLUSTER_SECRET_TYPE) {
        return Err("a Secret would be written that is no cluster Secret".to_owned());
    }
    Ok(())
}

fn check_deletion(observed: &Observed<'_>, secret: &Secret) -> Result<(), String> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let ours = label(secret, CLUSTER_SET_LABEL) == Some(&observed.set.name)
        && label(secret, CLUSTER_SET_UID_LABEL) == Some(&observed.set.uid);
    if !ours {
        return Err(format!("Secret {name} would be deleted, which this set did not make"));
    }
    let is_complete = observed.answers.len() == observed.set.generators.len()
        && !observed.answers.is_empty()
        && observed.answers.iter().all(|answer| answer.state == AnswerState::Complete);
    if !is_complete {
        return Err(format!("Secret {name} would be deleted after an incomplete answer"));
    }
    let id = annotation(secret, CLUSTER_ID_ANNOTATION).unwrap_or_default();
    if observed.answers.iter().flat_map(|answer| &answer.clusters).any(|cluster| cluster.id == id) {
        return Err(format!("Secret {name} would be deleted, whose cluster is there"));
    }
    Ok(())
}

//! What no plan of an AWSTargetGroupSet may hold, said a second time and without the planner (safety.md S13).

use okra_api::{
    AWSTargetGroup,
    names::{BINDING_ANNOTATION, CLUSTER_ID_ANNOTATION, TARGET_GROUP_SET_LABEL, TARGET_GROUP_SET_UID_LABEL},
};

use super::{Action, ClusterAnswer, Evidence, Observed, Plan, plan::label, wanted::binding_name};

/// The first breach of an invariant by a plan, in words.
pub fn check(observed: &Observed<'_>, plan: &Plan) -> Result<(), String> {
    for action in &plan.actions {
        match action {
            Action::Create { group, .. } => check_written(observed, group)?,
            Action::Update { group, .. } => {
                check_written(observed, group)?;
                let mut present = observed.groups.iter();
                let present = present.find(|present| present.metadata.name == group.metadata.name);
                let present = present.ok_or("an AWSTargetGroup would be updated that was not seen")?;
                let owner = label(present, TARGET_GROUP_SET_LABEL).filter(|owner| *owner != observed.set.name);
                if owner.is_some_and(|owner| observed.sets.contains(owner)) {
                    return Err("an AWSTargetGroup of another set would be written".to_owned());
                }
            }
            Action::Delete { group, evidence } => check_deletion(observed, group, evidence)?,
        }
    }
    Ok(())
}

fn check_written(observed: &Observed<'_>, group: &AWSTargetGroup) -> Result<(), String> {
    if group.metadata.namespace.as_deref() != Some(&observed.set.namespace) {
        return Err("an AWSTargetGroup of another namespace would be written".to_owned());
    }
    let twin = observed.groups.iter().find(|other| {
        other.spec.arn == group.spec.arn
            && other.metadata.name != group.metadata.name
            && label(other, TARGET_GROUP_SET_LABEL) != Some(&observed.set.name)
    });
    match twin.filter(|_| group.metadata.uid.is_none()) {
        Some(_) => Err(format!("{} would be registered a second time", group.spec.arn)),
        None => Ok(()),
    }
}

fn check_deletion(observed: &Observed<'_>, group: &AWSTargetGroup, evidence: &Evidence) -> Result<(), String> {
    let name = group.metadata.name.as_deref().unwrap_or_default();
    let ours = label(group, TARGET_GROUP_SET_LABEL) == Some(&observed.set.name)
        && label(group, TARGET_GROUP_SET_UID_LABEL) == Some(&observed.set.uid);
    if !ours {
        return Err(format!("AWSTargetGroup {name} would be deleted, which this set did not make"));
    }
    let annotation = |key| group.metadata.annotations.as_ref().and_then(|all| all.get(key)).map_or("", String::as_str);
    let (id, binding) = (annotation(CLUSTER_ID_ANNOTATION), annotation(BINDING_ANNOTATION));
    let proven = match evidence {
        Evidence::ClusterGone => observed.gone.contains(id) && !observed.known.contains(id),
        Evidence::BindingGone { secret, .. } => observed.clusters.iter().any(|cluster| {
            let is_there = |bindings: &[std::sync::Arc<okra_api::TargetGroupBinding>]| {
                let mut there = bindings.iter().filter(|one| one.metadata.deletion_timestamp.is_none());
                there.any(|one| binding_name(one) == binding)
            };
            cluster.id == id
                && cluster.secret == *secret
                && matches!(&cluster.answer, ClusterAnswer::Bindings(bindings) if !is_there(bindings))
        }),
    };
    if proven {
        Ok(())
    } else {
        Err(format!("AWSTargetGroup {name} would be deleted without evidence that it is gone"))
    }
}

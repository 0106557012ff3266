//! Whether the cluster of a target group is ready: reached, and with its Applications of Argo CD Synced and Healthy.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use okra_api::{
    AWSTargetGroupSet, Application,
    cell::Readiness,
    names::{BINDING_CLUSTER_LABEL, CLUSTER_ID_ANNOTATION},
};

use crate::{
    cluster_set::{data_text, normalized},
    placeholder,
    target_group_set::cluster_id,
};

/// What is known of clusters.
#[derive(Clone, Debug, Default)]
pub struct Clusters {
    /// Cluster Secrets of the Cell's namespace.
    pub secrets: Vec<Arc<Secret>>,
    /// Applications of the namespace that [`Readiness::namespace`] names.
    pub applications: Vec<Arc<Application>>,
    /// AWSTargetGroupSets of the Cell's namespace: they know which clusters do not answer.
    pub sets: Vec<Arc<AWSTargetGroupSet>>,
    /// Why some of this is not known.
    pub unknown: Option<String>,
}

/// The cluster of a target group as its Secret has it.
struct Cluster<'a> {
    secret: &'a Secret,
    name: String,
    server: String,
}

/// What the cluster of a target group lacks, in words that name it; `None`: it is ready.
pub(super) fn lacks(readiness: &Readiness, group: &ObjectMeta, clusters: &Clusters) -> Option<String> {
    if let Some(why) = &clusters.unknown {
        return Some(why.clone());
    }
    let cluster = match find(group, &clusters.secrets) {
        Ok(cluster) => cluster,
        Err(why) => return Some(why),
    };
    let why = unreachable(&cluster, clusters).or_else(|| unready(readiness, &cluster, &clusters.applications))?;
    Some(format!("cluster {}: {why}", cluster.name))
}

impl<'a> Cluster<'a> {
    fn of(secret: &'a Secret) -> Self {
        Self { secret, name: data_text(secret, "name"), server: normalized(&data_text(secret, "server")) }
    }
}

/// Whether a target group is in the cluster of a Secret; `None`: it does not say in which it is.
pub fn is_in_cluster(group: &ObjectMeta, secret: &Secret) -> Option<bool> {
    let id = group.annotations.as_ref().and_then(|annotations| annotations.get(CLUSTER_ID_ANNOTATION));
    let name = group.labels.as_ref().and_then(|labels| labels.get(BINDING_CLUSTER_LABEL));
    match (id, name.filter(|name| !name.is_empty())) {
        (Some(id), _) => Some(cluster_id(secret) == *id),
        (None, Some(name)) => Some(data_text(secret, "name") == *name),
        (None, None) => None,
    }
}

/// How many of the Applications on the cluster of a Secret are ready, and how many there are.
pub fn ready_applications(secret: &Secret, applications: &[Arc<Application>]) -> (usize, usize) {
    let cluster = Cluster::of(secret);
    let there: Vec<_> = applications.iter().filter(|application| is_on(application, &cluster)).collect();
    let ready = there.iter().filter(|application| fault(application, &cluster).is_none()).count();
    (ready, there.len())
}

fn find<'a>(group: &ObjectMeta, secrets: &'a [Arc<Secret>]) -> Result<Cluster<'a>, String> {
    let found = secrets.iter().find(|secret| is_in_cluster(group, secret) == Some(true));
    if let Some(secret) = found {
        return Ok(Cluster::of(secret));
    }
    let label = group.labels.as_ref().and_then(|labels| labels.get(BINDING_CLUSTER_LABEL));
    let id = group.annotations.as_ref().and_then(|annotations| annotations.get(CLUSTER_ID_ANNOTATION));
    Err(match label.filter(|name| !name.is_empty()).or(id) {
        Some(cluster) => format!("cluster {cluster} has no Secret"),
        None => format!("it does not say which cluster it is in: set label {BINDING_CLUSTER_LABEL}"),
    })
}

fn unreachable(cluster: &Cluster<'_>, clusters: &Clusters) -> Option<String> {
    let statuses = clusters.sets.iter().filter_map(|set| set.status.as_ref());
    let mut notes = statuses.flat_map(|status| &status.unreachable);
    let note = notes.find(|note| note.name == cluster.name)?;
    Some(format!("is not reached: {}", note.message))
}

fn unready(readiness: &Readiness, cluster: &Cluster<'_>, applications: &[Arc<Application>]) -> Option<String> {
    let there: Vec<&Application> =
        applications.iter().map(|application| &**application).filter(|one| is_on(one, cluster)).collect();
    for set in &readiness.application_sets {
        let mut of_set = there.iter().filter(|application| is_of_set(application, set)).peekable();
        if of_set.peek().is_none() {
            return Some(format!("ApplicationSet {set} has no Application there yet"));
        }
        if let Some(why) = of_set.find_map(|application| fault(application, cluster)) {
            return Some(why);
        }
    }
    for name in &readiness.applications {
        let name = match application_name(name, &cluster.name) {
            Ok(name) => name,
            Err(why) => return Some(why),
        };
        let found = there.iter().find(|application| application.metadata.name.as_deref() == Some(&name));
        let Some(application) = found else { return Some(format!("Application {name} is not there yet")) };
        if let Some(why) = fault(application, cluster) {
            return Some(why);
        }
    }
    None
}

/// The name of an Application for a cluster.
pub(super) fn application_name(text: &str, cluster: &str) -> Result<String, String> {
    placeholder::fill(text, |placeholder| match placeholder {
        ".cluster.name" => Ok(cluster.to_owned()),
        other => Err(format!("{{{{{other}}}}} is not a placeholder: write {{{{.cluster.name}}}}")),
    })
}

/// Whether an Application is deployed to a cluster: its destination has exactly one of the two.
fn is_on(application: &Application, cluster: &Cluster<'_>) -> bool {
    let destination = &application.spec.destination;
    match (&destination.server, &destination.name) {
        (Some(server), _) if !server.is_empty() => normalized(server) == cluster.server,
        (_, Some(name)) => *name == cluster.name,
        _ => false,
    }
}

fn is_of_set(application: &Application, set: &str) -> bool {
    let mut owners = application.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.kind == "ApplicationSet" && owner.name == set)
}

/// Why an Application is not ready. Source: Argo CD's own states; one that was compared before its cluster's Secret was
/// made speaks of another cluster. One that never needed a sync has none.
fn fault(application: &Application, cluster: &Cluster<'_>) -> Option<String> {
    let name = application.metadata.name.as_deref().unwrap_or_default();
    let status = application.status.clone().unwrap_or_default();
    let made = cluster.secret.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let word = |word: &str| if word.is_empty() { "Unknown".to_owned() } else { word.to_owned() };
    let error = status.conditions.iter().find(|condition| condition.type_.ends_with("Error"));
    let why = if status.reconciled_at.is_none_or(|at| made.is_some_and(|made| at < made)) {
        "has not been compared yet".to_owned()
    } else if let Some(error) = error {
        format!("has {}", error.type_)
    } else if status.sync.status != "Synced" {
        format!("is {}", word(&status.sync.status))
    } else if status.health.status != "Healthy" {
        format!("is {}", word(&status.health.status))
    } else {
        let phase = status.operation_state.map(|operation| operation.phase).filter(|phase| phase != "Succeeded")?;
        format!("has a sync that is {}", word(&phase))
    };
    Some(format!("Application {name} {why}"))
}

/// By name, what the clusters of target groups lack.
pub(super) fn unready_groups<'a>(
    readiness: Option<&Readiness>,
    groups: impl Iterator<Item = &'a ObjectMeta>,
    clusters: &Clusters,
) -> BTreeMap<String, String> {
    let Some(readiness) = readiness else { return BTreeMap::new() };
    groups
        .filter_map(|group| Some((group.name.clone().unwrap_or_default(), lacks(readiness, group, clusters)?)))
        .collect()
}

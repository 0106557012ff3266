//! What a Cell's plan is made from, read past every cache: the same picture that okrad decides on.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AnalysisRun, Cell, Experiment, Pause, Route, RunPhase,
    TargetGroup, VersionBlocklist,
    analysis::RunStatus,
    cell::IngressType,
    names::{ADOPT_RULE_ANNOTATION, DRAIN_ANNOTATION},
};
use okra_core::{
    cell::{ObservedCell, ObservedGroup, ObservedPause, ObservedRoute, ObservedRun, desired_of_alb, desired_of_route},
    route::Capabilities,
};
use okra_provider::{BackendError, Key, Store, Stored};

use crate::{error::CommandError, session::Session};

/// Reads everything that the plan of a Cell needs.
pub async fn observe(session: &Session, cell: &Cell) -> Result<ObservedCell, CommandError> {
    let store = &session.store;
    let key = Key::of_typed(cell);
    let uid = cell.metadata.uid.as_deref().unwrap_or_default();
    let namespace = key.namespace.as_str();
    let local = cell.spec.ingress.type_ == IngressType::Local;
    let blocklist: Option<VersionBlocklist> = find(store, &key).await?;
    let pauses: Vec<Pause> = all(store, namespace).await?;
    Ok(ObservedCell {
        cell: cell.clone(),
        groups: groups(store, namespace, local).await?,
        route: route(store, &key, uid, local).await?,
        blocked: blocklist.map(|list| list.spec.items).unwrap_or_default(),
        pauses: pauses
            .iter()
            .filter(|pause| is_controlled_by(&pause.metadata, uid))
            .map(|pause| (name_of(&pause.metadata), observed_pause(pause)))
            .collect(),
        runs: runs(store, namespace, uid).await?,
        router: capabilities(cell.spec.ingress.type_, session.is_directory),
    })
}

/// One object, or none where it or its kind is not there.
async fn find<K: Stored>(store: &Store, key: &Key) -> Result<Option<K>, CommandError> {
    match store.get_live(key).await {
        Ok(object) => Ok(Some(object)),
        Err(BackendError::NotFound { .. } | BackendError::Absent(_)) => Ok(None),
        Err(error) => Err(CommandError::store(format!("failed to read {} {key}", K::kind(&())), &error)),
    }
}

/// Every object of a kind that is not being deleted; none where the kind is not served.
async fn all<K: Stored>(store: &Store, namespace: &str) -> Result<Vec<K>, CommandError> {
    match store.list_live::<K>(Some(namespace)).await {
        Ok(objects) => Ok(objects),
        Err(BackendError::Absent(_)) => Ok(Vec::new()),
        Err(error) => Err(CommandError::store(format!("failed to list {}", K::plural(&())), &error)),
    }
}

async fn groups(store: &Store, namespace: &str, local: bool) -> Result<Vec<ObservedGroup>, CommandError> {
    if local {
        let groups: Vec<TargetGroup> = all(store, namespace).await?;
        return Ok(groups.iter().filter(|group| is_there(&group.metadata)).map(local_group).collect());
    }
    let groups: Vec<AWSTargetGroup> = all(store, namespace).await?;
    Ok(groups.iter().filter(|group| is_there(&group.metadata)).map(aws_group).collect())
}

fn aws_group(group: &AWSTargetGroup) -> ObservedGroup {
    observed_group(&group.metadata, Ok(group.spec.arn.trim().to_owned()), None)
}

fn local_group(group: &TargetGroup) -> ObservedGroup {
    let endpoint = group.spec.endpoint.as_ref();
    let missing = || "spec.endpoint: is missing: the embedded balancer needs a URL".to_owned();
    let url = endpoint.map(|endpoint| endpoint.url.clone()).ok_or_else(missing);
    observed_group(&group.metadata, url, endpoint.and_then(|endpoint| endpoint.health_path.clone()))
}

fn observed_group(meta: &ObjectMeta, id: Result<String, String>, health_path: Option<String>) -> ObservedGroup {
    let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(DRAIN_ANNOTATION));
    ObservedGroup {
        name: name_of(meta),
        id,
        labels: meta.labels.clone().unwrap_or_default(),
        drained: annotation.is_some_and(|value| value == "true"),
        health_path,
    }
}

/// The route object that the Cell owns. Errors when one of its name is somebody else's: okrad leaves that alone too.
async fn route(store: &Store, key: &Key, uid: &str, local: bool) -> Result<Option<ObservedRoute>, CommandError> {
    let own = |meta: &ObjectMeta| {
        if is_controlled_by(meta, uid) {
            return Ok(());
        }
        let what = format!("failed to plan Cell {key}");
        Err(CommandError::failed(what, "the route object of its name is not its own")
            .hint("delete that object (with deletionPolicy Retain its rule stays) or rename the Cell"))
    };
    let adopt = |meta: &ObjectMeta| {
        meta.annotations.as_ref().and_then(|annotations| annotations.get(ADOPT_RULE_ANNOTATION)).cloned()
    };
    if local {
        let route: Option<Route> = find(store, key).await?;
        route.as_ref().map_or(Ok(()), |route| own(&route.metadata))?;
        return Ok(route.map(|route| ObservedRoute {
            generation: route.metadata.generation.unwrap_or(0),
            desired: desired_of_route(&route.spec, adopt(&route.metadata)),
            status: route.status.unwrap_or_default(),
        }));
    }
    let config: Option<AWSApplicationLoadBalancerConfig> = find(store, key).await?;
    config.as_ref().map_or(Ok(()), |config| own(&config.metadata))?;
    Ok(config.map(|config| ObservedRoute {
        generation: config.metadata.generation.unwrap_or(0),
        desired: desired_of_alb(&config.spec, adopt(&config.metadata)),
        status: config.status.unwrap_or_default(),
    }))
}

fn observed_pause(pause: &Pause) -> ObservedPause {
    ObservedPause { phase: pause.status.as_ref().and_then(|status| status.phase), expire_time: pause.spec.expire_time }
}

/// Runs that this Cell owns, and those that nobody owns: a person may have made them by hand.
async fn runs(store: &Store, namespace: &str, uid: &str) -> Result<BTreeMap<String, ObservedRun>, CommandError> {
    let analysis: Vec<AnalysisRun> = all(store, namespace).await?;
    let experiments: Vec<Experiment> = all(store, namespace).await?;
    let analysis = analysis.iter().map(|run| (&run.metadata, run.status.as_ref()));
    let experiments = experiments.iter().map(|run| (&run.metadata, run.status.as_ref()));
    let ours =
        |meta: &ObjectMeta| is_controlled_by(meta, uid) || meta.owner_references.as_ref().is_none_or(Vec::is_empty);
    let both = analysis.chain(experiments).filter(|(meta, _)| ours(meta));
    Ok(both.map(|(meta, status)| (name_of(meta), observed_run(status))).collect())
}

fn observed_run(status: Option<&RunStatus>) -> ObservedRun {
    ObservedRun {
        phase: status.and_then(|status| status.phase).unwrap_or(RunPhase::Pending),
        message: status.and_then(|status| status.message.clone()).unwrap_or_default(),
    }
}

/// What the routers of okrad declare; this program has none of them, so that it needs no cloud SDK.
pub(crate) fn capabilities(type_: IngressType, is_directory: bool) -> Option<Capabilities> {
    match type_ {
        // Five target groups in one action and weights to 999: the ELBv2 quota page.
        IngressType::AWSApplicationLoadBalancer => Some(Capabilities {
            max_groups: 5,
            max_weight: 999,
            settle: SignedDuration::from_secs(10),
            keeps_connections: false,
            sees_health: true,
        }),
        IngressType::Local if is_directory => Some(Capabilities {
            max_groups: 64,
            max_weight: 999,
            settle: SignedDuration::ZERO,
            keeps_connections: true,
            sees_health: true,
        }),
        IngressType::Local | IngressType::AWSNetworkLoadBalancer => None,
    }
}

fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    !uid.is_empty() && owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// A target group that is being deleted is gone.
fn is_there(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_none()
}

fn name_of(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

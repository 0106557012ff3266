//! From the objects around a Cell to what its plan is made from. Pure: whoever reads the objects, from a cache or
//! past it, sees the same picture.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AnalysisRun, AnalysisTemplate, Cell, ClusterAnalysisTemplate,
    Experiment, Pause, Route, RouteStatus, RunPhase, TargetGroup, VersionBlocklist,
    cell::IngressType,
    names::{ADOPT_RULE_ANNOTATION, DRAIN_ANNOTATION},
};

use super::{
    analysis::Templates,
    observed::{DesiredRoute, ObservedCell, ObservedGroup, ObservedPause, ObservedRoute, ObservedRun, ReplicaSets},
    readiness::{Clusters, unready_groups},
    route_object::{desired_of_alb, desired_of_route},
};
use crate::route::Capabilities;

/// The objects around a Cell: those of its namespace, and those of its name.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// AWSTargetGroups of the namespace.
    pub aws_groups: Vec<Arc<AWSTargetGroup>>,
    /// TargetGroups of the namespace.
    pub groups: Vec<Arc<TargetGroup>>,
    /// The AWSApplicationLoadBalancerConfig of the Cell's name.
    pub alb_route: Option<Arc<AWSApplicationLoadBalancerConfig>>,
    /// The Route of the Cell's name.
    pub route: Option<Arc<Route>>,
    /// The VersionBlocklist of the Cell's name.
    pub blocklist: Option<Arc<VersionBlocklist>>,
    /// Pauses of the namespace.
    pub pauses: Vec<Arc<Pause>>,
    /// AnalysisRuns of the namespace.
    pub analysis_runs: Vec<Arc<AnalysisRun>>,
    /// Experiments of the namespace.
    pub experiments: Vec<Arc<Experiment>>,
    /// AnalysisTemplates of the namespace.
    pub templates: Vec<Arc<AnalysisTemplate>>,
    /// ClusterAnalysisTemplates.
    pub cluster_templates: Vec<Arc<ClusterAnalysisTemplate>>,
    /// The ReplicaSets that are wanted ([`super::replica_sets_wanted`]).
    pub replica_sets: ReplicaSets,
    /// What is known of clusters, where `spec.readiness` asks.
    pub clusters: Clusters,
    /// What the Cell's router can do; `None`: there is none here.
    pub router: Option<Capabilities>,
}

/// What the plan is made from; an error in words when the route object of the Cell's name is somebody else's.
pub fn gather(cell: &Cell, around: &Surroundings) -> Result<ObservedCell, String> {
    let uid = cell.metadata.uid.as_deref().unwrap_or_default();
    let local = cell.spec.ingress.type_ == IngressType::Local;
    let route = if local {
        let route = around.route.as_deref();
        route.map(|route| {
            own_route(&route.metadata, uid, route.status.as_ref(), |adopt| desired_of_route(&route.spec, adopt))
        })
    } else {
        let route = around.alb_route.as_deref();
        route.map(|route| {
            own_route(&route.metadata, uid, route.status.as_ref(), |adopt| desired_of_alb(&route.spec, adopt))
        })
    };
    let route = route.transpose()?;
    let counts = |meta: &ObjectMeta| is_there(meta) && concerns(cell, route.as_ref(), meta);
    let groups = if local {
        around.groups.iter().filter(|group| counts(&group.metadata)).map(|group| local_group(group)).collect()
    } else {
        around.aws_groups.iter().filter(|group| counts(&group.metadata)).map(|group| aws_group(group)).collect()
    };
    let metas = around.aws_groups.iter().map(|group| &group.metadata).filter(|meta| !local && counts(meta));
    let unready = unready_groups(cell.spec.readiness.as_ref(), metas, &around.clusters);
    Ok(ObservedCell {
        cell: cell.clone(),
        groups,
        unready,
        route,
        blocked: around.blocklist.iter().flat_map(|list| list.spec.items.clone()).collect(),
        pauses: around
            .pauses
            .iter()
            .filter(|pause| is_controlled_by(&pause.metadata, uid))
            .map(|pause| (name_of(&pause.metadata), observed_pause(pause)))
            .collect(),
        runs: observed_runs(around, uid),
        templates: Templates {
            of_namespace: by_name(&around.templates, |template| &template.metadata),
            of_cluster: by_name(&around.cluster_templates, |template| &template.metadata),
        },
        replica_sets: around.replica_sets.clone(),
        router: around.router.clone(),
    })
}

fn by_name<K>(objects: &[Arc<K>], meta: impl Fn(&K) -> &ObjectMeta) -> BTreeMap<String, Arc<K>> {
    objects
        .iter()
        .filter(|object| is_there(meta(object)))
        .map(|object| (name_of(meta(object)), object.clone()))
        .collect()
}

/// Whether the object of this uid is the controller of another.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    !uid.is_empty() && owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Whether a target group of the namespace concerns a Cell: it is selected, now or by the rollout under way, or the
/// route or the book of retired ones holds it. The others, of which there may be thousands, are not even copied.
fn concerns(cell: &Cell, route: Option<&ObservedRoute>, meta: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let labels = meta.labels.as_ref().unwrap_or(&NONE);
    let ingress = &cell.spec.ingress;
    let alb = ingress.aws_application_load_balancer.as_ref().map(|alb| &alb.target_group_selector);
    let local = ingress.local.as_ref().map(|local| &local.target_group_selector);
    let status = cell.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref()).map(|rollout| &rollout.selector);
    let selected = [alb, local, rollout].into_iter().flatten().any(|selector| selector.matches(labels));
    let name = meta.name.as_deref().unwrap_or_default();
    let held = || route.is_some_and(|route| route.desired.groups.iter().any(|group| group.name == name));
    let retired = || status.is_some_and(|status| status.retired_target_groups.iter().any(|group| group.name == name));
    selected || held() || retired()
}

/// A target group that is being deleted is gone.
fn is_there(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_none()
}

fn name_of(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a String> {
    meta.annotations.as_ref().and_then(|annotations| annotations.get(name))
}

/// A route object that somebody else made is not written over.
fn own_route(
    meta: &ObjectMeta,
    uid: &str,
    status: Option<&RouteStatus>,
    desired: impl FnOnce(Option<String>) -> DesiredRoute,
) -> Result<ObservedRoute, String> {
    if !is_controlled_by(meta, uid) {
        return Err(format!(
            "the route object {} is there and this Cell does not own it: delete it (with deletionPolicy Retain its rule \
             stays) or rename the Cell",
            name_of(meta)
        ));
    }
    Ok(ObservedRoute {
        generation: meta.generation.unwrap_or(0),
        desired: desired(annotation(meta, ADOPT_RULE_ANNOTATION).cloned()),
        status: status.cloned().unwrap_or_default(),
    })
}

fn aws_group(group: &AWSTargetGroup) -> ObservedGroup {
    let arn = group.spec.arn.trim();
    let missing = || "spec.arn: is empty: set the target group's ARN".to_owned();
    observed_group(
        &group.metadata,
        Some(arn).filter(|arn| !arn.is_empty()).map(str::to_owned).ok_or_else(missing),
        None,
    )
}

fn local_group(group: &TargetGroup) -> ObservedGroup {
    let endpoint = group.spec.endpoint.as_ref();
    let missing = || "spec.endpoint: is missing: the embedded balancer needs a URL".to_owned();
    let url = endpoint.map(|endpoint| endpoint.url.clone()).ok_or_else(missing);
    observed_group(&group.metadata, url, endpoint.and_then(|endpoint| endpoint.health_path.clone()))
}

fn observed_group(meta: &ObjectMeta, id: Result<String, String>, health_path: Option<String>) -> ObservedGroup {
    ObservedGroup {
        name: name_of(meta),
        id,
        labels: meta.labels.clone().unwrap_or_default(),
        drained: annotation(meta, DRAIN_ANNOTATION).is_some_and(|value| value == "true"),
        health_path,
    }
}

fn observed_pause(pause: &Pause) -> ObservedPause {
    ObservedPause { phase: pause.status.as_ref().and_then(|status| status.phase), expire_time: pause.spec.expire_time }
}

/// Runs that this Cell owns, and those that nobody owns: a person may have made them by hand.
fn observed_runs(around: &Surroundings, uid: &str) -> BTreeMap<String, ObservedRun> {
    let analysis = around.analysis_runs.iter().map(|run| {
        let status = run.status.as_ref().map(|status| (status.phase, status.message.as_str()));
        (&run.metadata, status, false)
    });
    let experiments = around.experiments.iter().map(|run| {
        let status = run.status.as_ref().map(|status| (status.phase, status.message.as_str()));
        (&run.metadata, status, true)
    });
    let both = analysis.chain(experiments).filter_map(|(meta, status, is_experiment)| {
        let is_own = is_controlled_by(meta, uid);
        let is_free = meta.owner_references.as_ref().is_none_or(Vec::is_empty);
        (is_own || is_free).then(|| {
            let run = observed_run(meta, status.unwrap_or_default());
            (name_of(meta), ObservedRun { is_own, is_experiment, ..run })
        })
    });
    both.collect()
}

fn observed_run(meta: &ObjectMeta, (phase, message): (Option<RunPhase>, &str)) -> ObservedRun {
    ObservedRun {
        phase: phase.unwrap_or(RunPhase::Pending),
        message: message.to_owned(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        ..ObservedRun::default()
    }
}

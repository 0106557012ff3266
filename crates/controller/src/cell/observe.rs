//! Everything that a Cell's plan is made from, read in one place, from caches.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSTargetGroup, AnalysisRun, Cell, Experiment, Pause, RunPhase, TargetGroup,
    analysis::RunStatus,
    cell::IngressType,
    names::{ADOPT_RULE_ANNOTATION, DRAIN_ANNOTATION},
};
use okra_core::cell::{
    ObservedCell, ObservedGroup, ObservedPause, ObservedRoute, ObservedRun, desired_of_alb, desired_of_route,
};
use okra_provider::{Cache, Key, Lookup, Stored};

use super::CellController;

/// What can be seen of a Cell's surroundings.
#[derive(Debug)]
pub(super) enum Sight {
    /// Everything, as far as the caches know.
    Clear(Box<ObservedCell>),
    /// Our own last write has not come back yet: nothing may be decided on an older copy.
    Stale,
    /// Something stands in the way; in words.
    Blocked(String),
}

/// One cached object of the Cell's name.
enum Seen<K> {
    Object(std::sync::Arc<K>),
    Nothing,
}

impl CellController {
    /// Reads what the plan needs.
    pub(super) fn observe(&self, cell: &Cell, key: &Key) -> Sight {
        let Some(route) = self.observe_route(cell, key) else { return Sight::Stale };
        let route = match route {
            Ok(route) => route,
            Err(why) => return Sight::Blocked(why),
        };
        let blocked = match look(&self.blocklists, key) {
            None => return Sight::Stale,
            Some(Err(why)) => return Sight::Blocked(format!("VersionBlocklist {key}: {why}")),
            Some(Ok(Seen::Nothing)) => Vec::new(),
            Some(Ok(Seen::Object(list))) => list.spec.items.clone(),
        };
        let uid = cell.metadata.uid.as_deref().unwrap_or_default();
        let namespace = Some(key.namespace.as_str());
        let mut pauses = BTreeMap::new();
        for pause in self.pauses.list(namespace) {
            if !is_controlled_by(&pause.metadata, uid) {
                continue;
            }
            if self.pauses.is_stale(&Key::of_typed(&*pause)) {
                return Sight::Stale;
            }
            pauses.insert(pause.metadata.name.clone().unwrap_or_default(), observed_pause(&pause));
        }
        Sight::Clear(Box::new(ObservedCell {
            cell: cell.clone(),
            groups: self.observe_groups(cell, namespace),
            route,
            blocked,
            pauses,
            runs: self.observe_runs(uid, namespace),
            router: self.router(cell),
        }))
    }

    /// The Cell's route object. The outer `None`: the cache is behind; the error: it is not the Cell's own.
    fn observe_route(&self, cell: &Cell, key: &Key) -> Option<Result<Option<ObservedRoute>, String>> {
        let uid = cell.metadata.uid.as_deref().unwrap_or_default();
        let adopt = |meta: &ObjectMeta| {
            meta.annotations.as_ref().and_then(|annotations| annotations.get(ADOPT_RULE_ANNOTATION)).cloned()
        };
        if cell.spec.ingress.type_ == IngressType::Local {
            return Some(match look(&self.routes, key)? {
                Err(why) => Err(format!("Route {key}: {why}")),
                Ok(Seen::Nothing) => Ok(None),
                Ok(Seen::Object(route)) => own("Route", key, &route.metadata, uid).map(|()| {
                    Some(ObservedRoute {
                        generation: route.metadata.generation.unwrap_or(0),
                        desired: desired_of_route(&route.spec, adopt(&route.metadata)),
                        status: route.status.clone().unwrap_or_default(),
                    })
                }),
            });
        }
        Some(match look(&self.alb_routes, key)? {
            Err(why) => Err(format!("AWSApplicationLoadBalancerConfig {key}: {why}")),
            Ok(Seen::Nothing) => Ok(None),
            Ok(Seen::Object(route)) => own("AWSApplicationLoadBalancerConfig", key, &route.metadata, uid).map(|()| {
                Some(ObservedRoute {
                    generation: route.metadata.generation.unwrap_or(0),
                    desired: desired_of_alb(&route.spec, adopt(&route.metadata)),
                    status: route.status.clone().unwrap_or_default(),
                })
            }),
        })
    }

    fn observe_groups(&self, cell: &Cell, namespace: Option<&str>) -> Vec<ObservedGroup> {
        if cell.spec.ingress.type_ == IngressType::Local {
            return self
                .groups
                .list(namespace)
                .iter()
                .filter(|group| is_there(&group.metadata))
                .map(|group| local_group(group))
                .collect();
        }
        let groups = self.aws_groups.list(namespace);
        groups.iter().filter(|group| is_there(&group.metadata)).map(|group| aws_group(group)).collect()
    }

    /// Runs that this Cell owns, and those that nobody owns: a person may have made them by hand.
    fn observe_runs(&self, uid: &str, namespace: Option<&str>) -> BTreeMap<String, ObservedRun> {
        let analysis = self.analysis_runs.list(namespace);
        let experiments = self.experiments.list(namespace);
        let analysis = analysis.iter().map(|run: &std::sync::Arc<AnalysisRun>| (&run.metadata, run.status.as_ref()));
        let experiments =
            experiments.iter().map(|run: &std::sync::Arc<Experiment>| (&run.metadata, run.status.as_ref()));
        analysis
            .chain(experiments)
            .filter(|(meta, _)| is_controlled_by(meta, uid) || meta.owner_references.as_ref().is_none_or(Vec::is_empty))
            .map(|(meta, status)| (meta.name.clone().unwrap_or_default(), observed_run(status)))
            .collect()
    }
}

/// Looks up the object of the Cell's name. `None`: the cache is behind our own last write.
fn look<K: Stored>(cache: &Cache<K>, key: &Key) -> Option<Result<Seen<K>, String>> {
    match cache.get(key) {
        Lookup::Stale => None,
        Lookup::Missing => Some(Ok(Seen::Nothing)),
        Lookup::Found(object) => Some(Ok(Seen::Object(object))),
        Lookup::Malformed(error) => Some(Err(format!("cannot be read: {error}"))),
    }
}

/// A route object that somebody else made is not written over.
fn own(kind: &str, key: &Key, meta: &ObjectMeta, uid: &str) -> Result<(), String> {
    if is_controlled_by(meta, uid) {
        return Ok(());
    }
    Err(format!(
        "{kind} {key} is there and this Cell does not own it: delete it (with deletionPolicy Retain its rule stays) or rename the Cell"
    ))
}

fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    let owners = meta.owner_references.iter().flatten();
    !uid.is_empty() && owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// A target group object that is being deleted is gone.
fn is_there(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_none()
}

fn is_drained(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(DRAIN_ANNOTATION)).is_some_and(|value| value == "true")
}

fn aws_group(group: &AWSTargetGroup) -> ObservedGroup {
    let arn = group.spec.arn.trim();
    let id = if arn.is_empty() {
        Err("spec.arn: is empty: set the target group's ARN".to_owned())
    } else {
        Ok(arn.to_owned())
    };
    ObservedGroup {
        name: group.metadata.name.clone().unwrap_or_default(),
        id,
        labels: group.metadata.labels.clone().unwrap_or_default(),
        drained: is_drained(&group.metadata),
        health_path: None,
    }
}

fn local_group(group: &TargetGroup) -> ObservedGroup {
    let endpoint = group.spec.endpoint.as_ref();
    ObservedGroup {
        name: group.metadata.name.clone().unwrap_or_default(),
        id: endpoint
            .map(|endpoint| endpoint.url.clone())
            .ok_or_else(|| "spec.endpoint: is missing: the embedded balancer needs a URL".to_owned()),
        labels: group.metadata.labels.clone().unwrap_or_default(),
        drained: is_drained(&group.metadata),
        health_path: endpoint.and_then(|endpoint| endpoint.health_path.clone()),
    }
}

fn observed_pause(pause: &Pause) -> ObservedPause {
    ObservedPause { phase: pause.status.as_ref().and_then(|status| status.phase), expire_time: pause.spec.expire_time }
}

fn observed_run(status: Option<&RunStatus>) -> ObservedRun {
    ObservedRun {
        phase: status.and_then(|status| status.phase).unwrap_or(RunPhase::Pending),
        message: status.and_then(|status| status.message.clone()).unwrap_or_default(),
    }
}

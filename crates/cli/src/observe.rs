//! What a Cell's plan is made from, read past every cache: the same picture that okrad decides on.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    Cell,
    cell::{IngressType, Readiness},
    names::{CLUSTER_SECRET_TYPE, SECRET_TYPE_LABEL},
};
use okra_core::{
    cell::{Clusters, ObservedCell, Surroundings, gather, is_judged, replica_sets_wanted},
    route::Capabilities,
};
use okra_provider::{BackendError, Key, Kind, Labels, Store, Stored, router};

use crate::{error::CommandError, session::Session};

/// Reads everything that the plan of a Cell needs.
pub async fn observe(session: &Session, cell: &Cell) -> Result<ObservedCell, CommandError> {
    let store = &session.store;
    let key = Key::of_typed(cell);
    let namespace = key.namespace.as_str();
    let around = Surroundings {
        aws_groups: all(store, Some(namespace)).await?,
        groups: all(store, Some(namespace)).await?,
        alb_route: find(store, &key).await?,
        route: find(store, &key).await?,
        blocklist: find(store, &key).await?,
        pauses: all(store, Some(namespace)).await?,
        analysis_runs: all(store, Some(namespace)).await?,
        experiments: all(store, Some(namespace)).await?,
        templates: if is_judged(cell) { all(store, Some(namespace)).await? } else { Vec::new() },
        cluster_templates: if is_judged(cell) { all(store, None).await? } else { Vec::new() },
        replica_sets: store.get_each_live(namespace, replica_sets_wanted(cell)).await,
        clusters: match &cell.spec.readiness {
            Some(readiness) => clusters(store, readiness, namespace).await,
            None => Clusters::default(),
        },
        router: capabilities(cell.spec.ingress.type_, session.is_directory),
    };
    gather(cell, &around).map_err(|why| CommandError::failed(format!("failed to plan Cell {key}"), why))
}

/// What is known of clusters; what cannot be read is said, not an error: a person may not see Secrets.
async fn clusters(store: &Store, readiness: &Readiness, namespace: &str) -> Clusters {
    let labels = Labels::one(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE);
    let secrets = store.backend().list_labelled(&Kind::of::<Secret>(), Some(namespace), &labels).await;
    let applications = store.list_live(Some(readiness.namespace.as_deref().unwrap_or(namespace))).await;
    let sets = store.list_live(Some(namespace)).await;
    let mut known = Clusters::default();
    let mut unknown = Vec::new();
    match secrets {
        Ok(values) => {
            let parsed = values.into_iter().filter_map(|value| serde_json::from_value(value).ok());
            known.secrets = parsed.map(Arc::new).collect();
        }
        Err(error) => unknown.push(format!("cluster Secrets cannot be seen: {error}")),
    }
    let wants_applications = !readiness.application_sets.is_empty() || !readiness.applications.is_empty();
    match applications {
        Ok(objects) => known.applications = objects.into_iter().map(Arc::new).collect(),
        Err(error) if wants_applications => unknown.push(format!("Applications of Argo CD cannot be seen: {error}")),
        Err(_) => {}
    }
    if let Ok(objects) = sets {
        known.sets = objects.into_iter().map(Arc::new).collect();
    }
    known.unknown = (!unknown.is_empty()).then(|| unknown.join("; "));
    known
}

/// One object, or none where it or its kind is not there.
async fn find<K: Stored>(store: &Store, key: &Key) -> Result<Option<Arc<K>>, CommandError> {
    match store.get_live(key).await {
        Ok(object) => Ok(Some(Arc::new(object))),
        Err(BackendError::NotFound { .. } | BackendError::Absent(_)) => Ok(None),
        Err(error) => Err(CommandError::store(format!("failed to read {} {key}", K::kind(&())), &error)),
    }
}

/// Every object of a kind, in a namespace or of a kind without; none where the kind is not served.
async fn all<K: Stored>(store: &Store, namespace: Option<&str>) -> Result<Vec<Arc<K>>, CommandError> {
    match store.list_live::<K>(namespace).await {
        Ok(objects) => Ok(objects.into_iter().map(Arc::new).collect()),
        Err(BackendError::Absent(_)) => Ok(Vec::new()),
        Err(error) => Err(CommandError::store(format!("failed to list {}", K::plural(&())), &error)),
    }
}

/// What the routers of okrad declare; this program has none of them, so that it needs no cloud SDK.
pub(crate) fn capabilities(type_: IngressType, is_directory: bool) -> Option<Capabilities> {
    match type_ {
        IngressType::AWSApplicationLoadBalancer => Some(router::alb_capabilities(SignedDuration::from_mins(1))),
        IngressType::Local if is_directory => Some(router::local_capabilities()),
        IngressType::Local | IngressType::AWSNetworkLoadBalancer => None,
    }
}

//! Everything that a Cell's plan is made from, read in one place.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    AWSTargetGroupSet, Application, Cell,
    cell::Readiness,
    names::{CLUSTER_SECRET_TYPE, SECRET_TYPE_LABEL},
};
use okra_core::cell::{Clusters, ObservedCell, ReplicaSets, Surroundings, gather, is_judged, replica_sets_wanted};
use okra_provider::{Cache, Key, Labels, Lookup, Store, Stored};

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

impl CellController {
    /// Reads what the plan needs.
    pub(super) async fn observe(&self, cell: &Cell, key: &Key) -> Sight {
        let mut around = match self.surroundings(cell, key) {
            Err(sight) => return sight,
            Ok(around) => around,
        };
        around.replica_sets = self.replica_sets(cell, key).await;
        if let Some(readiness) = &cell.spec.readiness {
            around.clusters = self.clusters(readiness, key).await;
        }
        match gather(cell, &around) {
            Ok(observed) => Sight::Clear(Box::new(observed)),
            Err(why) => Sight::Blocked(why),
        }
    }

    /// What the Experiment of the current step is made of, while it is to be made. The only thing that no cache has: what
    /// cannot be read holds up nothing but that step.
    async fn replica_sets(&self, cell: &Cell, key: &Key) -> ReplicaSets {
        let wanted = replica_sets_wanted(cell);
        let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
        let begun = rollout.and_then(|rollout| rollout.current_step_run.as_ref());
        let is_missing =
            |name: &String| !matches!(self.experiments.get(&Key::new(&key.namespace, name)), Lookup::Found(_));
        if wanted.is_empty() || !begun.is_some_and(is_missing) {
            return ReplicaSets::new();
        }
        // Before they are read: what appears afterwards wakes the Cell.
        self.replica_sets.get_or_init(|| self.context.store.cache());
        self.context.store.get_each_live(&key.namespace, wanted).await
    }

    /// What is known of clusters. Watched from the first Cell on that asks.
    async fn clusters(&self, readiness: &Readiness, key: &Key) -> Clusters {
        let caches = self.cluster_caches.get_or_init(|| ClusterCaches::new(&self.context.store));
        let wants_applications = !readiness.application_sets.is_empty() || !readiness.applications.is_empty();
        let mut unknown = caches.unknown(&caches.secrets, "cluster Secrets").await;
        if wants_applications && unknown.is_none() {
            unknown = caches.unknown(&caches.applications, "Applications of Argo CD").await;
        }
        let namespace = readiness.namespace.as_deref().unwrap_or(&key.namespace);
        Clusters {
            secrets: caches.secrets.list(Some(&key.namespace)),
            applications: caches.applications.list(Some(namespace)),
            sets: caches.sets.list(Some(&key.namespace)),
            unknown,
        }
    }

    fn surroundings(&self, cell: &Cell, key: &Key) -> Result<Surroundings, Sight> {
        let namespace = Some(key.namespace.as_str());
        let pauses = self.pauses.list(namespace);
        // Those of other Cells do not count: when they come back, they do not wake this one.
        let mut own =
            pauses.iter().map(|pause| Key::of_typed(&**pause)).filter(|pause| is_child(&pause.name, &key.name));
        if own.any(|pause| self.pauses.is_stale(&pause)) {
            return Err(Sight::Stale);
        }
        Ok(Surroundings {
            aws_groups: self.aws_groups.list(namespace),
            groups: self.groups.list(namespace),
            alb_route: look(&self.alb_routes, key)?,
            route: look(&self.routes, key)?,
            blocklist: look(&self.blocklists, key)?,
            pauses,
            analysis_runs: self.analysis_runs.list(namespace),
            experiments: self.experiments.list(namespace),
            templates: if is_judged(cell) { self.templates.list(namespace) } else { Vec::new() },
            cluster_templates: if is_judged(cell) { self.cluster_templates.list(None) } else { Vec::new() },
            replica_sets: ReplicaSets::new(),
            clusters: Clusters::default(),
            router: self.router(cell),
        })
    }
}

/// What readiness of clusters is read from.
pub(super) struct ClusterCaches {
    secrets: Cache<Secret>,
    applications: Cache<Application>,
    sets: Cache<AWSTargetGroupSet>,
}

impl ClusterCaches {
    fn new(store: &Store) -> Self {
        let labels = Labels::one(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE);
        Self { secrets: store.cache_labelled(&labels), applications: store.cache(), sets: store.cache() }
    }

    /// Why a cache does not know; a watch that has only begun gets a moment.
    async fn unknown<K: Stored>(&self, cache: &Cache<K>, what: &str) -> Option<String> {
        if !cache.is_synced() && cache.trouble().is_none() {
            _ = tokio::time::timeout(FIRST_LOOK, cache.synced()).await;
        }
        let why = match cache.trouble() {
            _ if !cache.is_served() => "the kind is not served here".to_owned(),
            _ if cache.is_synced() => return None,
            Some(trouble) => trouble,
            None => "there was no answer yet".to_owned(),
        };
        Some(format!("{what} cannot be seen: {why}"))
    }
}

/// How long the first look of a watch is waited for.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Whether this is the name of a Pause or a run of a Cell of that name.
pub(super) fn is_child(name: &str, cell: &str) -> bool {
    name.strip_prefix(cell).is_some_and(|rest| rest.starts_with("-r"))
}

/// Looks up the object of the Cell's name.
fn look<K: Stored>(cache: &Cache<K>, key: &Key) -> Result<Option<Arc<K>>, Sight> {
    match cache.get(key) {
        Lookup::Stale => Err(Sight::Stale),
        Lookup::Missing => Ok(None),
        Lookup::Found(object) => Ok(Some(object)),
        Lookup::Malformed(error) => Err(Sight::Blocked(format!("{} {key} cannot be read: {error}", K::kind(&())))),
    }
}

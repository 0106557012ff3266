//! The TargetGroupBindings of clusters: one watch for each cluster, shared by all sets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use okra_api::{TargetGroupBinding, TargetGroupBindingSpec};
use okra_core::target_group_set::{ClusterAnswer, ObservedCluster};
use okra_provider::{BackendError, Cache, Key, RemoteClusters};
use parking_lot::Mutex;
use tokio::task::JoinSet;

/// How long a cluster may keep silent before that is told: a watch that breaks off is soon there again.
const SILENCE: SignedDuration = SignedDuration::from_secs(15);

/// Watches of bindings, by cluster Secret.
pub(super) struct Bindings {
    clusters: Arc<dyn RemoteClusters>,
    watched: Mutex<BTreeMap<Key, Watched>>,
}

struct Watched {
    connection: u64,
    cache: Cache<TargetGroupBinding>,
    /// Since when it has kept silent.
    silent_since: Option<Timestamp>,
    /// Tells of changes; ends with this.
    _told: JoinSet<()>,
}

impl Bindings {
    pub fn new(clusters: Arc<dyn RemoteClusters>) -> Self {
        Self { clusters, watched: Mutex::default() }
    }

    /// The cluster of a Secret as it is known; `true` with it while its first answer may still come. The first call
    /// starts its watch; `changed` is called at each change of its bindings.
    pub async fn observe(
        &self,
        secret: &Secret,
        now: Timestamp,
        changed: impl Fn() + Send + 'static,
    ) -> (ObservedCluster, bool) {
        let key = Key::of_typed(secret);
        let cluster = match self.clusters.connect(secret).await {
            Ok(cluster) => cluster,
            Err(error) => {
                self.watched.lock().remove(&key);
                let answer = ClusterAnswer::Unknown(format!("Secret {} cannot be used: {error}", key.name));
                return (ObservedCluster::new(secret, answer), false);
            }
        };
        let mut all = self.watched.lock();
        if all.get(&key).is_none_or(|watched| watched.connection != cluster.connection) {
            let cache = cluster.store.cache::<TargetGroupBinding>();
            let (mut changes, first) = (cluster.store.changes(), cache.clone());
            let mut told = JoinSet::new();
            told.spawn(async move {
                // An empty first answer is no change of anything, and news nevertheless.
                first.synced().await;
                changed();
                while changes.next().await.is_some() {
                    changed();
                }
            });
            let watched = Watched { connection: cluster.connection, cache, silent_since: None, _told: told };
            all.insert(key.clone(), watched);
        }
        let Some(watched) = all.get_mut(&key) else {
            let answer = ClusterAnswer::Unknown("it is not watched".to_owned());
            return (ObservedCluster::new(secret, answer), false);
        };
        watched.answer(secret, now)
    }

    /// Whether a binding is there now, asked of the cluster itself.
    pub async fn is_there(&self, secret: &Secret, binding: &Key) -> Result<bool, String> {
        let cluster = self.clusters.connect(secret).await.map_err(|error| error.to_string())?;
        match cluster.store.get_live::<TargetGroupBinding>(binding).await {
            Ok(binding) => Ok(binding.metadata.deletion_timestamp.is_none()),
            Err(BackendError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Ends the watches of all Secrets but these.
    pub fn retain(&self, secrets: &BTreeSet<Key>) {
        self.watched.lock().retain(|key, _| secrets.contains(key));
        self.clusters.retain(secrets);
    }
}

impl Watched {
    fn answer(&mut self, secret: &Secret, now: Timestamp) -> (ObservedCluster, bool) {
        let trouble = self.cache.trouble();
        let is_silent = trouble.is_some() || !self.cache.is_synced();
        let since = is_silent.then(|| self.silent_since.unwrap_or(now).min(now));
        self.silent_since = since;
        let is_long = since.is_some_and(|since| now.duration_since(since) >= SILENCE);
        let why = trouble.unwrap_or_else(|| "it has not answered yet".to_owned());
        let answer = if !self.cache.is_synced() {
            ClusterAnswer::Unknown(why)
        } else if self.cache.is_served() {
            let mut observed = ObservedCluster::new(secret, ClusterAnswer::Bindings(self.bindings()));
            observed.trouble = is_long.then_some(why);
            return (observed, false);
        } else {
            ClusterAnswer::Unknown(
                "it knows no TargetGroupBindings: the AWS Load Balancer Controller is not installed there".to_owned(),
            )
        };
        let may_come = since.is_some() && !is_long;
        (ObservedCluster::new(secret, answer), may_come)
    }

    /// All bindings. One that cannot be read is there nevertheless: it stands here without anything that selects it.
    fn bindings(&self) -> Vec<Arc<TargetGroupBinding>> {
        let unreadable = self.cache.malformed(None).into_iter().map(|malformed| {
            let metadata = ObjectMeta {
                namespace: Some(malformed.key.namespace),
                name: Some(malformed.key.name),
                ..ObjectMeta::default()
            };
            Arc::new(TargetGroupBinding { metadata, spec: TargetGroupBindingSpec::default() })
        });
        self.cache.list(None).into_iter().chain(unreadable).collect()
    }
}

//! Clusters that are scripted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use okra_api::cluster_set::AnswerState;
use okra_core::target_group_set::Facts;
use parking_lot::Mutex;

use crate::{
    backend::{Backend, Key},
    cluster::{
        ClusterInventory, ClusterQuery, FoundCluster, InventoryAnswer, Reachability, RemoteCluster, RemoteClusters,
        RemoteError,
    },
    store::{Namespaces, Store},
    target_group::{Answers, NamedGroup, TaggedGroup, TargetGroupInventory},
};

/// A [`ClusterInventory`] that answers what it was told to, by region.
#[derive(Debug, Default)]
pub struct FakeInventory {
    answers: Mutex<BTreeMap<Option<String>, InventoryAnswer>>,
    queries: Mutex<Vec<ClusterQuery>>,
}

impl FakeInventory {
    /// What it answers about a region from now on.
    pub fn answer(&self, region: Option<&str>, answer: InventoryAnswer) {
        self.answers.lock().insert(region.map(str::to_owned), answer);
    }

    /// What it was asked so far, in order.
    pub fn queries(&self) -> Vec<ClusterQuery> {
        self.queries.lock().clone()
    }
}

#[async_trait]
impl ClusterInventory for FakeInventory {
    async fn list(&self, query: &ClusterQuery, _: Duration) -> InventoryAnswer {
        self.queries.lock().push(query.clone());
        let answer = self.answers.lock().get(&query.region).cloned();
        answer.unwrap_or_else(|| InventoryAnswer::incomplete("awseks", AnswerState::Unreachable, "nothing is scripted"))
    }

    async fn describe(
        &self,
        name: &str,
        region: Option<&str>,
        _: Option<&str>,
        _: Duration,
    ) -> Result<FoundCluster, String> {
        let answers = self.answers.lock();
        let mut found = answers.get(&region.map(str::to_owned)).into_iter().flat_map(|answer| &answer.clusters);
        found.find(|cluster| cluster.name == name).cloned().ok_or_else(|| format!("no cluster {name}"))
    }
}

/// A [`TargetGroupInventory`] that answers what it was told to, and else that there is nothing.
#[derive(Debug, Default)]
pub struct FakeTargetGroups {
    facts: Mutex<Facts>,
    asked: Mutex<usize>,
}

impl FakeTargetGroups {
    /// What it answers about a name from now on.
    pub fn arn(&self, group: NamedGroup, answer: Result<Option<String>, String>) {
        self.facts.lock().arns.insert(group, answer);
    }

    /// What it answers about tags from now on.
    pub fn version(&self, group: TaggedGroup, answer: Result<Option<String>, String>) {
        self.facts.lock().versions.insert(group, answer);
    }

    /// About how many target groups it was asked so far.
    pub fn asked(&self) -> usize {
        *self.asked.lock()
    }
}

#[async_trait]
impl TargetGroupInventory for FakeTargetGroups {
    async fn arns(&self, groups: &BTreeSet<NamedGroup>, _: Duration) -> Answers<NamedGroup> {
        *self.asked.lock() += groups.len();
        let facts = self.facts.lock();
        groups.iter().map(|group| (group.clone(), facts.arns.get(group).cloned().unwrap_or(Ok(None)))).collect()
    }

    async fn versions(&self, groups: &BTreeSet<TaggedGroup>, _: Duration) -> Answers<TaggedGroup> {
        *self.asked.lock() += groups.len();
        let facts = self.facts.lock();
        groups.iter().map(|group| (group.clone(), facts.versions.get(group).cloned().unwrap_or(Ok(None)))).collect()
    }
}

/// A connection and its number, or why there is none.
type Connected = Result<(Store, u64), String>;

/// [`RemoteClusters`] over backends in memory, by Secret.
#[derive(Default)]
pub struct FakeRemoteClusters {
    clusters: Mutex<BTreeMap<Key, Connected>>,
    unreachable: Mutex<BTreeSet<Key>>,
    connections: Mutex<u64>,
}

impl std::fmt::Debug for FakeRemoteClusters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRemoteClusters").finish_non_exhaustive()
    }
}

impl FakeRemoteClusters {
    /// The cluster of this Secret from now on: a new connection.
    pub fn set(&self, secret: Key, backend: Arc<dyn Backend>) {
        let mut connections = self.connections.lock();
        *connections += 1;
        self.clusters.lock().insert(secret, Ok((Store::new(backend, Namespaces::All), *connections)));
    }

    /// This Secret cannot be used from now on.
    pub fn refuse(&self, secret: Key, why: &str) {
        self.clusters.lock().insert(secret, Err(why.to_owned()));
    }

    /// Whether the cluster of this Secret answers; its store goes on as it was.
    pub fn answers(&self, secret: &Key, answers: bool) {
        let mut unreachable = self.unreachable.lock();
        if answers {
            unreachable.remove(secret);
        } else {
            unreachable.insert(secret.clone());
        }
    }
}

#[async_trait]
impl RemoteClusters for FakeRemoteClusters {
    async fn connect(&self, secret: &Secret) -> Result<RemoteCluster, RemoteError> {
        let key = Key::of_typed(secret);
        match self.clusters.lock().get(&key) {
            Some(Ok((store, connection))) => Ok(RemoteCluster {
                name: key.name.clone(),
                server: format!("https://{}", key.name),
                store: store.clone(),
                connection: *connection,
                key,
            }),
            Some(Err(why)) => Err(RemoteError(why.clone())),
            None => Err(RemoteError(format!("no cluster is scripted for {key}"))),
        }
    }

    async fn reach(&self, secret: &Secret) -> Reachability {
        if self.unreachable.lock().contains(&Key::of_typed(secret)) {
            return Reachability::Unreachable("no answer".to_owned());
        }
        match self.connect(secret).await {
            Ok(_) => Reachability::Reachable { version: "v1.33.0".to_owned() },
            Err(error) => Reachability::Refused(error.0),
        }
    }

    fn retain(&self, secrets: &BTreeSet<Key>) {
        self.clusters.lock().retain(|key, _| secrets.contains(key));
    }
}

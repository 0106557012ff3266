//! The ports to clusters: who knows which there are, who gives out tokens for them, and who speaks to them.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
pub use okra_core::cluster_set::{
    Answer as InventoryAnswer, ClusterAuth, ClusterQuery, ClusterState, ConfigMembers, FoundCluster,
};

use crate::{backend::Key, metric::SecretText, store::Store};

/// Who knows which clusters there are in a cloud.
#[async_trait]
pub trait ClusterInventory: Send + Sync {
    /// The clusters that a query selects, and whether these are all. An answer is `Complete` only when it was read to
    /// its end and each of the query's known clusters that it lacks was asked for by its name; everything else says
    /// what it is, and is never an error: nothing may be removed because of it (safety.md S13). `timeout` is that of
    /// one call.
    async fn list(&self, query: &ClusterQuery, timeout: Duration) -> InventoryAnswer;

    /// One cluster by its name; why in words when it cannot be read.
    async fn describe(
        &self,
        name: &str,
        region: Option<&str>,
        role_arn: Option<&str>,
        timeout: Duration,
    ) -> Result<FoundCluster, String>;
}

/// Which token is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EksTokenRequest {
    /// Name of the EKS cluster.
    pub cluster_name: String,
    /// Region of the STS that the cluster asks; `None`: the process's own.
    pub region: Option<String>,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// Profile of the credentials.
    pub profile: Option<String>,
}

/// A token that an EKS cluster accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksToken {
    /// The token.
    pub token: SecretText,
    /// When it is not to be used any more.
    pub expires_at: Timestamp,
}

/// Who gives out tokens for EKS clusters.
#[async_trait]
pub trait EksTokens: Send + Sync {
    /// A token made now; why not in words that hold no credential.
    async fn token(&self, request: &EksTokenRequest, now: Timestamp) -> Result<EksToken, String>;
}

/// A cluster that a cluster Secret describes.
#[derive(Clone, Debug)]
pub struct RemoteCluster {
    /// Its Secret.
    pub key: Key,
    /// Its name: `data.name`.
    pub name: String,
    /// URL of its API server.
    pub server: String,
    /// Its objects. Caches and watches of it end when the Secret changes or is forgotten; [`RemoteClusters::connect`]
    /// then gives another one.
    pub store: Store,
    /// Tells this connection from the next one to the same cluster: it is another after a change of the Secret.
    pub connection: u64,
}

/// Why there is no connection: the Secret cannot be used. Only a change of it mends that. The words hold no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RemoteError(pub String);

/// Whether a cluster can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// It answers.
    Reachable {
        /// Its Kubernetes version, like `v1.33.4`.
        version: String,
    },
    /// It does not answer in time, or with nonsense; why.
    Unreachable(String),
    /// It answers, and does not let us in; why.
    Denied(String),
    /// Its Secret cannot be used; why.
    Refused(String),
}

/// Who speaks to the clusters of cluster Secrets. One that is dead delays no other.
#[async_trait]
pub trait RemoteClusters: Send + Sync {
    /// The cluster of a Secret. Does no IO: what cannot be reached is told by the watches of its store. The same
    /// connection is given until the Secret's data or server change.
    async fn connect(&self, secret: &Secret) -> Result<RemoteCluster, RemoteError>;
    /// Asks the cluster for its version, within some seconds.
    async fn reach(&self, secret: &Secret) -> Reachability;
    /// Ends the connections of all Secrets but these.
    fn retain(&self, secrets: &BTreeSet<Key>);
}

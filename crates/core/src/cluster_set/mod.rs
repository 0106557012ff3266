//! What a ClusterSet should do: which cluster Secrets to make, to bring up to date and to remove.
//!
//! [`plan`] is a total function of what the generators answered, the Secrets that are there and the time. It removes a
//! Secret only when this very set made it and every generator answered completely, for as long as `pruneAfter` says,
//! without its cluster (safety.md S13).

mod access;
mod check;
mod kubeconfig;
mod plan;
mod secret;
mod shown;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod validate;

use std::{collections::BTreeMap, fmt};

use okra_api::cluster_set::AnswerState;
use serde_json::{Map, Value};

pub(crate) use self::secret::normalized;
pub use self::{
    access::{ClusterAccess, Login, read_cluster_secret},
    check::check,
    kubeconfig::read_kubeconfig,
    plan::{Action, Observed, Plan, plan},
    secret::{config_of_listed, data_text, render_secret},
    shown::shown_secret,
    status::{blocked, invalid, refuse},
    validate::{ValidatedClusterSet, validate},
};

/// A cluster that a generator found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundCluster {
    /// What tells it from every other one: its ARN, or the generator and its name there.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it can be spoken to.
    pub state: ClusterState,
    /// Its Kubernetes version.
    pub version: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Its ARN.
    pub arn: Option<String>,
    /// Its tags, or labels where it has no tags.
    pub tags: BTreeMap<String, String>,
    /// How to log in.
    pub auth: ClusterAuth,
}

/// Whether a cluster can be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// It can.
    Ready {
        /// URL of its API server.
        server: String,
        /// Certificates of its API server, PEM in base64.
        ca_data: Option<String>,
    },
    /// Not yet, or no more; in a word or a sentence.
    NotReady(String),
}

/// How to log in to a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterAuth {
    /// By an EKS token.
    Eks {
        /// Name of the EKS cluster.
        cluster_name: String,
        /// Role to assume.
        role_arn: Option<String>,
    },
    /// By these members of Argo CD's cluster config.
    Config(ConfigMembers),
}

/// Members of the `config` of a cluster Secret, credentials among them: `Debug` shows their names only.
#[derive(Clone, Default, PartialEq)]
pub struct ConfigMembers(pub Map<String, Value>);

impl fmt::Debug for ConfigMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What EKS clusters are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterQuery {
    /// The region; `None`: the process's own.
    pub region: Option<String>,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// Tags that a cluster must have. Never empty.
    pub match_tags: BTreeMap<String, String>,
    /// ARNs of clusters that were found before. One of them that an answer lacks was asked for by its name: what cannot
    /// be confirmed makes the answer [`AnswerState::Partial`].
    pub known: Vec<String>,
}

/// The prefix of [`FoundCluster::id`] of clusters that Cluster API made.
pub const CLUSTER_API_ID: &str = "cluster-api/";
/// The prefix of [`FoundCluster::id`] of clusters that a kubeconfig Secret describes.
pub const KUBECONFIG_ID: &str = "kubeconfig/";
/// The prefix of [`FoundCluster::id`] of clusters that the set itself lists.
pub const LIST_ID: &str = "list/";

/// What a generator answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Who answered: `awseks ap-northeast-1`.
    pub name: String,
    /// The clusters.
    pub clusters: Vec<FoundCluster>,
    /// Whether these are all.
    pub state: AnswerState,
    /// Why they are not.
    pub message: String,
}

impl Answer {
    /// An answer that names every cluster that there is.
    pub fn complete(name: impl Into<String>, clusters: Vec<FoundCluster>) -> Self {
        Self { name: name.into(), clusters, state: AnswerState::Complete, message: String::new() }
    }

    /// An answer that does not.
    pub fn incomplete(name: impl Into<String>, state: AnswerState, message: impl Into<String>) -> Self {
        Self { name: name.into(), clusters: Vec::new(), state, message: message.into() }
    }
}

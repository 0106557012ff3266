//! Which clusters there are by their Secrets, and whether they answer.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    AWSTargetGroup, Application, Cell,
    names::{CLUSTER_SECRET_TYPE, CLUSTER_SET_LABEL, SECRET_TYPE_LABEL, VERSION_LABEL},
};
use okra_aws::SigV4Signer;
use okra_core::{
    cell::{is_in_cluster, ready_applications},
    cluster_set::data_text,
};
use okra_provider::{Clock, EksTokens, Key, Kind, Labels, Reachability, RemoteClusters, Store};
use okra_store::KubernetesClusters;

use crate::{clock::SystemClock, okrad::install_tls_provider};

/// Clusters that are asked at once.
const AT_ONCE: usize = 32;

/// Who speaks to the clusters of cluster Secrets. `aws_endpoint_url` is where roles are assumed; tokens always name AWS's
/// own STS.
pub fn remote_clusters(aws_endpoint_url: Option<String>, clock: Arc<dyn Clock>) -> Arc<dyn RemoteClusters> {
    let tokens: Arc<dyn EksTokens> = Arc::new(SigV4Signer::new(aws_endpoint_url));
    Arc::new(KubernetesClusters::new(tokens, clock))
}

/// The same for a command: credentials of the environment, time of this machine.
pub fn clusters_of_a_command() -> Arc<dyn RemoteClusters> {
    install_tls_provider();
    remote_clusters(None, Arc::new(SystemClock::new()))
}

/// A cluster as it is found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveyedCluster {
    /// Namespace of its Secret.
    pub namespace: String,
    /// Its Secret.
    pub secret: String,
    /// Its name.
    pub cluster: String,
    /// Its ClusterSet; empty: none.
    pub set: String,
    /// Whether it answers and lets us in.
    pub reachable: bool,
    /// Its Kubernetes version, or why it cannot be reached.
    pub answer: String,
    /// How many Applications of Argo CD on it are ready, and how many there are.
    pub applications: (usize, usize),
    /// Its target groups: the AWSTargetGroups that say that they are in it.
    pub target_groups: Vec<SurveyedGroup>,
}

/// A target group of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveyedGroup {
    /// Name of the AWSTargetGroup.
    pub name: String,
    /// Its version.
    pub version: String,
    /// By Cell, the weight that the load balancer answered with.
    pub weights: BTreeMap<String, i32>,
}

/// What the management cluster knows of clusters.
struct Known {
    groups: Vec<AWSTargetGroup>,
    cells: Vec<Cell>,
    applications: Vec<Arc<Application>>,
}

impl Known {
    async fn read(store: &Store, namespace: Option<&str>) -> Result<Self, String> {
        // Argo CD need not be there, and its Applications may be in any namespace.
        let applications = store.list_live::<Application>(None).await.unwrap_or_default();
        Ok(Self {
            groups: store.list_live(namespace).await.map_err(|error| error.to_string())?,
            cells: store.list_live(namespace).await.map_err(|error| error.to_string())?,
            applications: applications.into_iter().map(Arc::new).collect(),
        })
    }

    fn groups_of(&self, secret: &Secret) -> Vec<SurveyedGroup> {
        let namespace = &secret.metadata.namespace;
        let own = self.groups.iter().filter(|group| {
            group.metadata.namespace == *namespace && is_in_cluster(&group.metadata, secret) == Some(true)
        });
        own.map(|group| {
            let name = group.metadata.name.clone().unwrap_or_default();
            let version = group.metadata.labels.as_ref().and_then(|labels| labels.get(VERSION_LABEL)).cloned();
            let cells = self.cells.iter().filter(|cell| cell.metadata.namespace == *namespace);
            let weights = cells.filter_map(|cell| {
                let states = &cell.status.as_ref()?.target_groups;
                let weight = states.iter().find(|state| state.name == name)?.weight?;
                Some((cell.metadata.name.clone()?, weight))
            });
            SurveyedGroup { weights: weights.collect(), version: version.unwrap_or_default(), name }
        })
        .collect()
    }
}

/// Asks every cluster of a namespace, or of all, for its version, and says what is known of it here. A dead one delays no other; all together take some
/// seconds. Fails when the Secrets cannot be listed.
pub async fn survey(store: &Store, namespace: Option<&str>) -> Result<Vec<SurveyedCluster>, String> {
    let labels = Labels::one(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE);
    let listed = store.backend().list_labelled(&Kind::of::<Secret>(), namespace, &labels).await;
    let listed = listed.map_err(|error| error.to_string())?;
    let known = Known::read(store, namespace).await?;
    let known = &known;
    let clusters = clusters_of_a_command();
    let secrets = listed.into_iter().filter_map(|value| serde_json::from_value::<Secret>(value).ok());
    let asked = secrets.map(|secret| {
        let clusters = clusters.clone();
        async move {
            let reachability = clusters.reach(&secret).await;
            surveyed(&secret, reachability, known)
        }
    });
    Ok(stream::iter(asked).buffered(AT_ONCE).collect().await)
}

fn surveyed(secret: &Secret, reachability: Reachability, known: &Known) -> SurveyedCluster {
    let Key { namespace, name } = Key::of_typed(secret);
    let set = secret.metadata.labels.as_ref().and_then(|labels| labels.get(CLUSTER_SET_LABEL)).cloned();
    let (reachable, answer) = match reachability {
        Reachability::Reachable { version } => (true, version),
        Reachability::Unreachable(why) => (false, why),
        Reachability::Denied(why) => (false, format!("does not let us in: {why}")),
        Reachability::Refused(why) => (false, format!("is not asked: {why}")),
    };
    SurveyedCluster {
        namespace,
        secret: name,
        cluster: data_text(secret, "name"),
        set: set.unwrap_or_default(),
        reachable,
        answer,
        applications: ready_applications(secret, &known.applications),
        target_groups: known.groups_of(secret),
    }
}

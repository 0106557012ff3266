//! A cluster as AWS describes it, and what its ARN says.

use aws_sdk_eks::types::{Cluster, ClusterStatus};
use okra_provider::cluster::{ClusterAuth, ClusterQuery, ClusterState, FoundCluster};

/// What a description says. Endpoint and certificates are there from `ACTIVE` on.
pub(super) fn found_cluster(cluster: &Cluster, asked: &str, region: &str) -> FoundCluster {
    let name = cluster.name().unwrap_or(asked).to_owned();
    let arn = cluster.arn().unwrap_or_default().to_owned();
    let status = cluster.status().map_or("UNKNOWN", ClusterStatus::as_str).to_owned();
    let serves = matches!(cluster.status(), Some(ClusterStatus::Active | ClusterStatus::Updating));
    let state = match cluster.endpoint().filter(|endpoint| serves && endpoint.starts_with("https://")) {
        Some(server) => ClusterState::Ready {
            server: server.to_owned(),
            ca_data: cluster.certificate_authority().and_then(|authority| authority.data()).map(str::to_owned),
        },
        None => ClusterState::NotReady(status),
    };
    FoundCluster {
        id: arn.clone(),
        state,
        version: cluster.version().map(str::to_owned),
        region: Some(region.to_owned()),
        arn: Some(arn),
        tags: cluster.tags().cloned().unwrap_or_default().into_iter().collect(),
        auth: ClusterAuth::Eks { cluster_name: name.clone(), role_arn: None },
        name,
    }
}

pub(super) fn selects(query: &ClusterQuery, cluster: &FoundCluster) -> bool {
    query.match_tags.iter().all(|(key, value)| cluster.tags.get(key) == Some(value))
}

/// The name in `arn:aws:eks:REGION:ACCOUNT:cluster/NAME`, or the text itself where it is no ARN.
pub(super) fn name_of(arn: &str) -> String {
    arn.rsplit_once("cluster/").map_or(arn, |(_, name)| name).to_owned()
}

pub(super) fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// Whether it is the ARN of an EKS cluster of a region.
pub(super) fn is_of_region(arn: &str, region: &str) -> bool {
    let mut parts = arn.split(':');
    parts.next() == Some("arn") && parts.nth(1) == Some("eks") && parts.next() == Some(region)
}

mod properties;
mod table;

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use okra_api::{ClusterSet, cluster_set::ClusterSetStatus};
use serde_json::{Value, json};

use super::*;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// The ClusterSet of the first README, with more fields merged into its spec.
pub(super) fn set(more: Value) -> ClusterSet {
    let mut set = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "ClusterSet",
        "metadata": {"name": "cell1", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": {
            "generators": [{"awseks": {"selector": {"matchTags": {"Service": "demo"}}}}],
            "template": {"metadata": {"labels": {"service": "demo"}}},
        },
    });
    for (key, value) in more.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

pub(super) fn eks(name: &str) -> FoundCluster {
    let arn = format!("arn:aws:eks:ap-northeast-1:123456789012:cluster/{name}");
    FoundCluster {
        id: arn.clone(),
        name: name.to_owned(),
        state: ClusterState::Ready {
            server: format!("https://{}.yl4.ap-northeast-1.eks.amazonaws.com", name.to_uppercase()),
            ca_data: Some("Q0E=".to_owned()),
        },
        version: Some("1.33".to_owned()),
        region: Some("ap-northeast-1".to_owned()),
        arn: Some(arn),
        tags: [("Service".to_owned(), "demo".to_owned())].into(),
        auth: ClusterAuth::Eks { cluster_name: name.to_owned(), role_arn: None },
    }
}

/// A namespace with cluster Secrets, to which plans are applied.
pub(super) struct World {
    pub set: ValidatedClusterSet,
    pub status: ClusterSetStatus,
    pub secrets: Vec<Arc<Secret>>,
    pub sets: BTreeSet<String>,
}

impl World {
    pub fn new(set: &ClusterSet) -> Self {
        let set = validate(set).unwrap();
        let sets = BTreeSet::from([set.name.clone()]);
        Self { set, status: ClusterSetStatus::default(), secrets: Vec::new(), sets }
    }

    pub fn plan(&self, answers: &[Answer], now: Timestamp) -> Plan {
        plan(&self.observed(answers), now)
    }

    pub fn observed<'a>(&'a self, answers: &'a [Answer]) -> Observed<'a> {
        let Self { set, status, secrets, sets } = self;
        Observed { set, status, answers, secrets, sets }
    }

    /// Plans and does it; the plan.
    pub fn step(&mut self, answers: &[Answer], now: Timestamp) -> Plan {
        let plan = self.plan(answers, now);
        assert_eq!(check(&self.observed(answers), &plan), Ok(()));
        for action in &plan.actions {
            match action {
                Action::Create { secret, .. } => {
                    assert!(!self.names().contains(secret.metadata.name.as_ref().unwrap()), "a name twice");
                    self.secrets.push(Arc::new((**secret).clone()));
                }
                Action::Update { secret, .. } => {
                    self.secrets.retain(|old| old.metadata.name != secret.metadata.name);
                    self.secrets.push(Arc::new((**secret).clone()));
                }
                Action::Delete { secret } => self.secrets.retain(|old| old.metadata.name != secret.metadata.name),
            }
        }
        self.secrets.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        self.status = plan.status.clone();
        plan
    }

    pub fn names(&self) -> Vec<String> {
        self.secrets.iter().filter_map(|secret| secret.metadata.name.clone()).collect()
    }

    pub fn secret(&self, name: &str) -> &Secret {
        self.secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name)).expect(name)
    }
}

pub(super) fn complete(clusters: Vec<FoundCluster>) -> Vec<Answer> {
    vec![Answer::complete("awseks", clusters)]
}

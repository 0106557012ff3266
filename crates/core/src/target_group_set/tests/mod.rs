mod properties;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use okra_api::{AWSTargetGroup, AWSTargetGroupSet, AWSTargetGroupSetStatus};
use serde_json::{Value, json};

use super::*;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:ap-northeast-1:123456789012:targetgroup/{name}/73e2d6bc24d8a067")
}

pub(super) fn cluster_arn(name: &str) -> String {
    format!("arn:aws:eks:ap-northeast-1:123456789012:cluster/{name}")
}

/// The AWSTargetGroupSet of the first README, with more fields merged into its spec.
pub(super) fn set(more: Value) -> AWSTargetGroupSet {
    let mut set = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroupSet",
        "metadata": {"name": "cell1", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": {
            "generators": [{"awseks": {
                "bindingSelector": {"matchLabels": {"role": "web"}},
                "clusterSelector": {"matchLabels": {"service": "demo"}},
            }}],
            "template": {"metadata": {}},
        },
    });
    for (key, value) in more.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

/// A cluster Secret of a ClusterSet, labelled `service: demo` and what more there is.
pub(super) fn secret(name: &str, more: Value) -> Secret {
    let mut labels = json!({"service": "demo", "argocd.argoproj.io/secret-type": "cluster"});
    labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let texts = [("name", name.to_owned()), ("server", format!("https://{name}"))];
    let data: BTreeMap<&str, ByteString> =
        texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "default", "labels": labels,
            "annotations": {"okra.mumo.co/cluster-id": cluster_arn(name)},
        },
        "data": data,
    }))
    .unwrap()
}

/// A binding `default/NAME` with `role: web` and what more labels there are.
pub(super) fn binding(name: &str, labels: Value, spec: Value) -> Arc<TargetGroupBinding> {
    let mut all = json!({"role": "web"});
    all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    let value = json!({
        "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
        "metadata": {"name": name, "namespace": "default", "labels": all},
        "spec": spec,
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

/// The binding of the first README: `web1` of version 1.0.0, to target group `group`.
pub(super) fn web1(group: &str) -> Arc<TargetGroupBinding> {
    binding("web1", json!({"okra.mumo.co/version": "1.0.0"}), json!({"targetGroupARN": arn(group)}))
}

pub(super) fn answered(name: &str, bindings: Vec<Arc<TargetGroupBinding>>) -> ObservedCluster {
    ObservedCluster::new(&secret(name, json!({})), ClusterAnswer::Bindings(bindings))
}

pub(super) fn silent(name: &str) -> ObservedCluster {
    ObservedCluster::new(&secret(name, json!({})), ClusterAnswer::Unknown("it does not answer".to_owned()))
}

/// A namespace to which plans are applied.
pub(super) struct World {
    pub set: ValidatedTargetGroupSet,
    pub status: AWSTargetGroupSetStatus,
    pub groups: Vec<Arc<AWSTargetGroup>>,
    pub sets: BTreeSet<String>,
    pub known: BTreeSet<String>,
    pub gone: BTreeSet<String>,
    pub facts: Facts,
}

impl World {
    pub fn new(set: &AWSTargetGroupSet) -> Self {
        let set = validate(set).unwrap();
        let sets = BTreeSet::from([set.name.clone()]);
        Self {
            set,
            sets,
            status: AWSTargetGroupSetStatus::default(),
            groups: Vec::new(),
            known: BTreeSet::new(),
            gone: BTreeSet::new(),
            facts: Facts::default(),
        }
    }

    /// Plans and does it; how many writes that were.
    pub fn step(&mut self, clusters: &[ObservedCluster]) -> usize {
        let mut known = self.known.clone();
        known.extend(clusters.iter().map(|cluster| cluster.id.clone()));
        let observed = Observed {
            set: &self.set,
            status: &self.status,
            clusters,
            known: &known,
            gone: &self.gone,
            groups: &self.groups,
            sets: &self.sets,
            facts: &self.facts,
        };
        let plan = plan(&observed, at(0));
        assert_eq!(check(&observed, &plan), Ok(()));
        let mut groups = self.groups.clone();
        for action in &plan.actions {
            match action {
                Action::Create { group, .. } => {
                    assert!(!groups.iter().any(|old| old.metadata.name == group.metadata.name), "a name twice");
                    let mut group = (**group).clone();
                    group.metadata.uid = Some("made".to_owned());
                    groups.push(Arc::new(group));
                }
                Action::Update { group, .. } => {
                    groups.retain(|old| old.metadata.name != group.metadata.name);
                    groups.push(Arc::new((**group).clone()));
                }
                Action::Delete { group, .. } => groups.retain(|old| old.metadata.name != group.metadata.name),
            }
        }
        groups.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        self.groups = groups;
        self.status = plan.status;
        plan.actions.len()
    }

    pub fn names(&self) -> Vec<String> {
        self.groups.iter().filter_map(|group| group.metadata.name.clone()).collect()
    }

    pub fn group(&self, name: &str) -> &AWSTargetGroup {
        self.groups.iter().find(|group| group.metadata.name.as_deref() == Some(name)).expect(name)
    }

    pub fn label(&self, name: &str, key: &str) -> Option<&str> {
        self.group(name).metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Adds an AWSTargetGroup that somebody else made.
    pub fn theirs(&mut self, name: &str, group: &str, labels: Value) {
        let value = json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroup",
            "metadata": {"name": name, "namespace": "default", "labels": labels, "uid": name},
            "spec": {"arn": arn(group)},
        });
        self.groups.push(Arc::new(serde_json::from_value(value).unwrap()));
    }
}

//! What an AWSTargetGroupSet should do: which AWSTargetGroups to make, to bring up to date and to remove.
//!
//! [`plan`] is a total function of what the clusters answered, the AWSTargetGroups that are there and the time. It removes
//! one only when this very set made it and its cluster answered that the binding is gone, or a ClusterSet found out by
//! complete answers that the cluster is (safety.md S13).

mod check;
mod labels;
mod plan;
mod status;
#[cfg(test)]
mod tests;
mod validate;
mod wanted;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use okra_api::{
    TargetGroupBinding,
    names::{CLUSTER_ID_ANNOTATION, VERSION_LABEL},
};

pub use self::{
    check::check,
    plan::{Action, Evidence, Observed, Plan, plan},
    status::{blocked, invalid, refuse},
    validate::{ValidatedTargetGroupSet, validate},
    wanted::{unnamed, unversioned},
};
use crate::cluster_set::{data_text, normalized};

/// A cluster that the set selects.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedCluster {
    /// What tells it from every other one.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its Secret.
    pub secret: String,
    /// Labels of its Secret.
    pub labels: BTreeMap<String, String>,
    /// The version that the cluster itself is tagged with.
    pub version_tag: Option<String>,
    /// What it has.
    pub answer: ClusterAnswer,
    /// Why it does not answer any more: what it has may have changed meanwhile.
    pub trouble: Option<String>,
}

/// What a cluster answered.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterAnswer {
    /// These are all its bindings.
    Bindings(Vec<Arc<TargetGroupBinding>>),
    /// It is not known which it has; why.
    Unknown(String),
}

impl ObservedCluster {
    /// The cluster of a Secret.
    pub fn new(secret: &Secret, answer: ClusterAnswer) -> Self {
        let meta = &secret.metadata;
        let (name, stated) = (meta.name.clone().unwrap_or_default(), data_text(secret, "name"));
        let annotations = meta.annotations.as_ref();
        Self {
            id: cluster_id(secret),
            name: if stated.is_empty() { name.clone() } else { stated },
            secret: name,
            labels: meta.labels.clone().unwrap_or_default(),
            version_tag: annotations.and_then(|annotations| annotations.get(VERSION_LABEL)).cloned(),
            answer,
            trouble: None,
        }
    }
}

/// What tells the cluster of a Secret from every other one: what its ClusterSet says, else its server.
pub fn cluster_id(secret: &Secret) -> String {
    let annotations = secret.metadata.annotations.as_ref();
    let id = annotations.and_then(|annotations| annotations.get(CLUSTER_ID_ANNOTATION));
    id.cloned().unwrap_or_else(|| format!("server/{}", normalized(&data_text(secret, "server"))))
}

/// A target group that a binding names instead of giving its ARN.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedGroup {
    /// Region of its cluster; `None`: the process's own.
    pub region: Option<String>,
    /// Role to assume for the question.
    pub role_arn: Option<String>,
    /// Its name.
    pub name: String,
}

/// A target group whose tags may say its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaggedGroup {
    /// Its ARN.
    pub arn: String,
    /// Role to assume for the question.
    pub role_arn: Option<String>,
}

/// What AWS said of target groups; why it did not, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// ARNs; `None`: there is no such target group.
    pub arns: BTreeMap<NamedGroup, Result<Option<String>, String>>,
    /// Version tags; `None`: it has none.
    pub versions: BTreeMap<TaggedGroup, Result<Option<String>, String>>,
}

//! Metadata of objects that okra shares with others: it replaces what it wrote before, and leaves the rest.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube_core::Resource;
use okra_api::names::TEMPLATE_KEYS_ANNOTATION;

type Texts = BTreeMap<String, String>;

/// Notes in the annotations which labels and annotations okra writes here.
pub(crate) fn note_keys(labels: &Texts, annotations: &mut Texts) {
    let keys: BTreeSet<&str> = labels.keys().chain(annotations.keys()).map(String::as_str).collect();
    let keys = keys.into_iter().collect::<Vec<_>>().join(",");
    if !keys.is_empty() {
        annotations.insert(TEMPLATE_KEYS_ANNOTATION.to_owned(), keys);
    }
}

/// Replaces the labels and annotations that okra wrote before, `own` annotations among them, by these.
pub(crate) fn replace(metadata: &mut ObjectMeta, new_labels: &Texts, new_annotations: &Texts, own: &[&str]) {
    let mut labels = metadata.labels.take().unwrap_or_default();
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    let formerly = annotations.get(TEMPLATE_KEYS_ANNOTATION).cloned().unwrap_or_default();
    let formerly: BTreeSet<&str> = formerly.split(',').collect();
    labels.retain(|key, _| !formerly.contains(key.as_str()));
    labels.extend(new_labels.clone());
    annotations.retain(|key, _| !formerly.contains(key.as_str()) && !own.contains(&key.as_str()));
    annotations.extend(new_annotations.clone());
    metadata.labels = Some(labels);
    metadata.annotations = Some(annotations);
}

/// The owners of an object: the one of kind `K` and this name is among them only when `is_owner`.
pub(crate) fn owners<K: Resource<DynamicType = ()>>(
    mut owners: Vec<OwnerReference>,
    name: &str,
    uid: &str,
    is_owner: bool,
) -> Option<Vec<OwnerReference>> {
    let kind = K::kind(&());
    owners.retain(|owner| owner.kind != kind || owner.name != name);
    if is_owner {
        owners.push(OwnerReference {
            api_version: K::api_version(&()).into_owned(),
            kind: kind.into_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        });
    }
    (!owners.is_empty()).then_some(owners)
}

//! A ClusterSet that can be acted on.

use jiff::SignedDuration;
use okra_api::{
    ClusterSet, GoDuration,
    cluster_set::{ClusterGenerator, ClusterSecretTemplate, SecretDeletionPolicy},
    names::{CLUSTER_SET_LABEL, CLUSTER_SET_UID_LABEL},
    selector::LabelSelector,
};

use super::template;
use crate::field::FieldError;

const DEFAULT_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
const SHORTEST_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
const DEFAULT_PRUNE_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// A ClusterSet that can be acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedClusterSet {
    /// Its namespace, and that of its Secrets.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Where clusters are looked for.
    pub generators: Vec<ClusterGenerator>,
    /// What the Secrets look like.
    pub template: ClusterSecretTemplate,
    /// How often is looked.
    pub interval: SignedDuration,
    /// How long a cluster must be gone before its Secret is removed.
    pub prune_after: SignedDuration,
    /// Whether Secrets of others are taken over.
    pub adopt: bool,
    /// What becomes of the Secrets.
    pub deletion_policy: SecretDeletionPolicy,
}

/// What can be acted on, or every field that is wrong.
pub fn validate(set: &ClusterSet) -> Result<ValidatedClusterSet, Vec<FieldError>> {
    let mut errors = Vec::new();
    let meta = &set.metadata;
    let name = meta.name.clone().unwrap_or_default();
    if name.len() > 63 {
        errors.push(FieldError::new("metadata.name", "is longer than 63 characters, and labels cannot hold it"));
    }
    if set.spec.generators.is_empty() {
        errors.push(FieldError::new("spec.generators", "is empty: write where clusters are looked for"));
    }
    for (index, generator) in set.spec.generators.iter().enumerate() {
        check_generator(&format!("spec.generators[{index}]"), generator, &mut errors);
    }
    check_template(&set.spec.template, &mut errors);
    let mut duration = |field: &str, given: &Option<GoDuration>, default| match given.as_ref().map(GoDuration::get) {
        None => default,
        Some(Ok(duration)) => duration,
        Some(Err(error)) => {
            errors.push(FieldError::new(field, error.to_string()));
            default
        }
    };
    let interval = duration("spec.interval", &set.spec.interval, DEFAULT_INTERVAL);
    let prune_after = duration("spec.pruneAfter", &set.spec.prune_after, DEFAULT_PRUNE_AFTER);
    if interval < SHORTEST_INTERVAL {
        errors.push(FieldError::new("spec.interval", "must be at least 5s"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(ValidatedClusterSet {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name,
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation,
        generators: set.spec.generators.clone(),
        template: set.spec.template.clone(),
        interval,
        prune_after,
        adopt: set.spec.adopt,
        deletion_policy: set.spec.deletion_policy,
    })
}

fn check_generator(at: &str, generator: &ClusterGenerator, errors: &mut Vec<FieldError>) {
    let ClusterGenerator { awseks, cluster_api, kubeconfig_secret, list } = generator;
    let set = [awseks.is_some(), cluster_api.is_some(), kubeconfig_secret.is_some(), list.is_some()];
    if set.iter().filter(|is_set| **is_set).count() != 1 {
        errors.push(FieldError::new(at, "exactly one of awseks, clusterAPI, kubeconfigSecret, list is required"));
    }
    if awseks.as_ref().is_some_and(|eks| eks.selector.match_tags.is_empty()) {
        let field = format!("{at}.awseks.selector.matchTags");
        errors.push(FieldError::new(field, "is empty, and would select every cluster of the account: name a tag"));
    }
    let mut check_selector = |name: &str, selector: &LabelSelector| {
        if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
            let field = format!("{at}.{name}.selector");
            errors.push(FieldError::new(field, "is empty, and would select everything: name a label"));
        }
    };
    if let Some(objects) = cluster_api {
        check_selector("clusterAPI", &objects.selector);
    }
    if let Some(objects) = kubeconfig_secret {
        check_selector("kubeconfigSecret", &objects.selector);
    }
    for (index, cluster) in list.iter().flat_map(|list| &list.clusters).enumerate() {
        if cluster.aws_auth.is_some() && cluster.secret_name.is_some() {
            let field = format!("{at}.list.clusters[{index}]");
            errors.push(FieldError::new(field, "set awsAuth or secretName, not both"));
        }
    }
}

fn check_template(template: &ClusterSecretTemplate, errors: &mut Vec<FieldError>) {
    let metadata = &template.metadata;
    let texts = metadata.labels.iter().map(|(key, value)| (format!("spec.template.metadata.labels[{key}]"), value));
    let annotations = metadata.annotations.iter();
    let texts = texts
        .chain(annotations.map(|(key, value)| (format!("spec.template.metadata.annotations[{key}]"), value)))
        .chain(metadata.name.iter().map(|name| ("spec.template.metadata.name".to_owned(), name)))
        .chain(template.project.iter().map(|project| ("spec.template.project".to_owned(), project)));
    errors.extend(texts.filter_map(|(field, text)| Some(FieldError::new(field, template::fault(text)?))));
    for key in [CLUSTER_SET_LABEL, CLUSTER_SET_UID_LABEL] {
        if metadata.labels.contains_key(key) {
            let field = format!("spec.template.metadata.labels[{key}]");
            errors.push(FieldError::new(field, "is okra's own: it says which set made the Secret"));
        }
    }
}

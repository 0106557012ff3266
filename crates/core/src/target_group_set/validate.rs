//! An AWSTargetGroupSet that can be acted on.

use std::collections::BTreeMap;

use okra_api::{
    AWSTargetGroupSet,
    selector::LabelSelector,
    target_group_set::{BindingGenerator, TargetGroupDeletionPolicy, TargetGroupMetadata},
};

use super::wanted;
use crate::field::FieldError;

/// An AWSTargetGroupSet that can be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedTargetGroupSet {
    /// Its namespace, and that of its AWSTargetGroups.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Where bindings are looked for.
    pub generators: Vec<BindingGenerator>,
    /// What the AWSTargetGroups look like.
    pub template: TargetGroupMetadata,
    /// What becomes of the AWSTargetGroups.
    pub deletion_policy: TargetGroupDeletionPolicy,
}

impl ValidatedTargetGroupSet {
    /// Whether a cluster whose Secret has these labels is selected.
    pub fn selects_cluster(&self, labels: &BTreeMap<String, String>) -> bool {
        self.generators.iter().any(|generator| generator.cluster_selector.matches(labels))
    }

    /// The first generator that selects a binding with these labels in a cluster whose Secret has those.
    pub fn generator_of(
        &self,
        cluster: &BTreeMap<String, String>,
        binding: &BTreeMap<String, String>,
    ) -> Option<&BindingGenerator> {
        let mut generators = self.generators.iter();
        generators.find(|one| one.cluster_selector.matches(cluster) && one.binding_selector.matches(binding))
    }
}

/// What can be acted on, or every field that is wrong.
pub fn validate(set: &AWSTargetGroupSet) -> Result<ValidatedTargetGroupSet, Vec<FieldError>> {
    let mut errors = Vec::new();
    let (meta, spec) = (&set.metadata, &set.spec);
    let name = meta.name.clone().unwrap_or_default();
    if name.len() > 63 {
        errors.push(FieldError::new("metadata.name", "is longer than 63 characters, and labels cannot hold it"));
    }
    if spec.generators.is_empty() {
        errors.push(FieldError::new("spec.generators", "is empty: write where bindings are looked for"));
    }
    for (index, generator) in spec.generators.iter().enumerate() {
        let mut check = |field: &str, selector: &LabelSelector| {
            if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
                let field = format!("spec.generators[{index}].awseks.{field}");
                errors.push(FieldError::new(field, "is empty, and would select everything: name a label"));
            }
        };
        check("clusterSelector", &generator.awseks.cluster_selector);
        check("bindingSelector", &generator.awseks.binding_selector);
    }
    let metadata = &spec.template.metadata;
    for (field, texts) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        for (key, text) in texts {
            let at = format!("spec.template.metadata.{field}[{key}]");
            if let Some(fault) = wanted::fault(text) {
                errors.push(FieldError::new(&at, fault));
            }
            if wanted::is_own(key) {
                errors.push(FieldError::new(at, "is written by okra itself: leave it out"));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(ValidatedTargetGroupSet {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name,
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation,
        generators: spec.generators.iter().map(|generator| generator.awseks.clone()).collect(),
        template: metadata.clone(),
        deletion_policy: spec.deletion_policy,
    })
}

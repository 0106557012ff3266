//! What is wrong with an experiment, in Argo's words: `VerifyExperimentSpec`.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use okra_api::analysis::ExperimentSpec;

use super::durations::progress_deadline_seconds;

/// What is wrong with an experiment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ExperimentFault {
    #[error("Rollout has missing field '.Spec.Templates[{0}].Selector'")]
    NoSelector(usize),
    #[error("This experiment is selecting all pods at index {0}. A non-empty selector is required.")]
    SelectsAll(usize),
    #[error("MinReadySeconds cannot be longer than ProgressDeadlineSeconds. Check template index {0}")]
    MinReadySeconds(usize),
    #[error("Experiment {experiment} has empty template name at index {index}")]
    NoName { experiment: String, index: usize },
    #[error("Experiment {experiment} has repeated template name '{name}' in templates")]
    RepeatedName { experiment: String, name: String },
}

/// Checks the templates of an experiment.
pub fn validate_experiment(experiment: &str, spec: &ExperimentSpec) -> Result<(), ExperimentFault> {
    let mut names = BTreeSet::new();
    for (index, template) in spec.templates.iter().enumerate() {
        let selector = template.selector.as_ref().ok_or(ExperimentFault::NoSelector(index))?;
        if *selector == LabelSelector::default() {
            return Err(ExperimentFault::SelectsAll(index));
        }
        if template.min_ready_seconds > progress_deadline_seconds(spec) {
            return Err(ExperimentFault::MinReadySeconds(index));
        }
        if template.name.is_empty() {
            return Err(ExperimentFault::NoName { experiment: experiment.to_owned(), index });
        }
        if !names.insert(&template.name) {
            let (experiment, name) = (experiment.to_owned(), template.name.clone());
            return Err(ExperimentFault::RepeatedName { experiment, name });
        }
    }
    Ok(())
}

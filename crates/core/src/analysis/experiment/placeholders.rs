//! Placeholders in the arguments of analyses.

use std::collections::BTreeMap;

use okra_api::analysis::Argument;

use super::{
    super::{
        duration::{DurationError, later, parse_duration},
        placeholder::{PlaceholderError, Template},
    },
    observed::ObservedExperiment,
};

/// Why the arguments of an analysis could not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnalysisArgError {
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    #[error(transparent)]
    Duration(#[from] DurationError),
}

/// The arguments with what the experiment knows filled in. Only values count, sources are dropped: Argo's rule.
pub(super) fn analysis_args(
    experiment: &ObservedExperiment<'_>,
    args: &[Argument],
) -> Result<Vec<Argument>, AnalysisArgError> {
    let resolve = |value: &String| {
        let template = Template::parse(value)?;
        if template.is_plain() {
            return Ok(value.clone());
        }
        Ok::<_, AnalysisArgError>(template.resolve(&known(experiment)?)?)
    };
    args.iter()
        .map(|arg| {
            let value = arg.value.as_ref().map(resolve).transpose()?;
            Ok(Argument { name: arg.name.clone(), value, value_from: None })
        })
        .collect()
}

fn known(experiment: &ObservedExperiment<'_>) -> Result<BTreeMap<String, String>, AnalysisArgError> {
    let mut known = BTreeMap::new();
    if let Some(available_at) = experiment.status.and_then(|status| status.available_at) {
        known.insert("experiment.availableAt".to_owned(), available_at.to_string());
        if !experiment.spec.duration.is_empty() {
            let end = later(available_at, parse_duration(&experiment.spec.duration)?);
            known.insert("experiment.finishedAt".to_owned(), super::super::duration::whole_second(end).to_string());
        }
    }
    for template in &experiment.spec.templates {
        if let Some(set) = experiment.replica_sets.get(&template.name) {
            known.insert(format!("templates.{}.podTemplateHash", template.name), set.pod_template_hash.clone());
            known.insert(format!("templates.{}.replicaset.name", template.name), set.name.clone());
        }
    }
    Ok(known)
}

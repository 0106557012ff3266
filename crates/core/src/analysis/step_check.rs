//! What can be said of the templates of a step before it begins: for a Cell's validation, and for a linter.

use okra_api::analysis::{Argument, int_value};

use super::{
    assess::plain_metrics,
    template::Flattened,
    validate::{MetricsError, endless_metric, validate_metrics},
};

/// What is wrong with the templates of a step, in Argo's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// An argument of a template has two sources.
    #[error("arg '{0}' has both Value and ValueFrom fields")]
    BothSources(String),
    /// A placeholder cannot be resolved.
    #[error("{0}")]
    Unresolved(String),
    /// A metric is wrong.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A metric has no end, and so the step would have none.
    #[error("metric {name} which runs indefinitely. Invalid value for count: {count}")]
    Endless {
        /// Name of the metric.
        name: String,
        /// Its count.
        count: String,
    },
}

/// Checks the templates of a step. Arguments without a value get one that stands for any, since who makes the run
/// fills them in. A background analysis may be without end (`may_be_endless`).
pub fn validate_step(templates: &Flattened, may_be_endless: bool) -> Result<(), StepError> {
    if let Some(arg) = templates.args.iter().find(|arg| arg.value.is_some() && arg.value_from.is_some()) {
        return Err(StepError::BothSources(arg.name.clone()));
    }
    let filled: Vec<Argument> = templates.args.iter().map(filled).collect();
    let metrics = plain_metrics(&templates.metrics, &filled).map_err(StepError::Unresolved)?;
    validate_metrics(&metrics)?;
    match endless_metric(&metrics).filter(|_| !may_be_endless) {
        Some(metric) => Err(StepError::Endless {
            name: metric.name.clone(),
            count: metric.count.as_ref().map_or_else(|| "<nil>".to_owned(), |count| int_value(count).to_string()),
        }),
        None => Ok(()),
    }
}

fn filled(arg: &Argument) -> Argument {
    if arg.value.is_some() {
        return arg.clone();
    }
    Argument { name: arg.name.clone(), value: Some("dummy-value".to_owned()), value_from: None }
}

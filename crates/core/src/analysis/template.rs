//! Templates: references followed, and what they say put together.

use std::collections::{BTreeMap, BTreeSet};

use okra_api::analysis::{AnalysisTemplateRef, AnalysisTemplateSpec, Argument, DryRun, MeasurementRetention, Metric};

/// So many templates belong together at most; references to the same one again cost nothing.
const MOST_TEMPLATES: usize = 1_000;

/// Why templates could not be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is no such template.
    #[error("{} \"{}\" not found", resource(.0), .0.template_name)]
    NotFound(AnalysisTemplateRef),
    /// It refers to itself, through those named. Argo's controller dies of it.
    #[error("templates refer to each other in a circle: {0}")]
    Circle(String),
    /// There are too many.
    #[error("more than {MOST_TEMPLATES} templates refer to each other")]
    TooMany,
    /// Two metrics of one name.
    #[error("two metrics have the same name '{0}'")]
    TwoMetrics(String),
    /// Two dry-run rules of one name.
    #[error("two Dry-Run metric rules have the same name '{0}'")]
    TwoDryRuns(String),
    /// Two rules of retention of one name.
    #[error("two Measurement Retention metric rules have the same name '{0}'")]
    TwoRetentions(String),
    /// An argument with two values.
    #[error("Argument `{name}` specified multiple times with different values: '{first}', '{second}'")]
    TwoValues {
        /// Name of the argument.
        name: String,
        /// The value that came first.
        first: String,
        /// The other one.
        second: String,
    },
}

/// As the API server names the resource of a reference.
fn resource(reference: &AnalysisTemplateRef) -> &'static str {
    if reference.cluster_scope { "clusteranalysistemplate.argoproj.io" } else { "analysistemplate.argoproj.io" }
}

/// What templates say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flattened {
    /// All metrics.
    pub metrics: Vec<Metric>,
    /// All arguments, each once.
    pub args: Vec<Argument>,
    /// All dry-run rules.
    pub dry_run: Vec<DryRun>,
    /// All rules of retention.
    pub measurement_retention: Vec<MeasurementRetention>,
    /// The template that each metric comes from, by the metric's name.
    pub origins: BTreeMap<String, AnalysisTemplateRef>,
}

/// Follows references and puts the templates together: a parent before its children, each template once, those of the
/// namespace before those of the cluster. `find` looks up one template.
pub fn flatten<'a>(
    roots: &[AnalysisTemplateRef],
    find: impl Fn(&AnalysisTemplateRef) -> Option<&'a AnalysisTemplateSpec>,
) -> Result<Flattened, TemplateError> {
    let found = follow(roots, &find)?;
    let (of_cluster, of_namespace): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(reference, _)| reference.cluster_scope);
    let specs = || of_namespace.iter().chain(&of_cluster).map(|(_, spec)| *spec);
    let metrics: Vec<Metric> = specs().flat_map(|spec| &spec.metrics).cloned().collect();
    if let Some(name) = repeated(metrics.iter().map(|metric| &metric.name)) {
        return Err(TemplateError::TwoMetrics(name));
    }
    let origins = of_namespace
        .iter()
        .chain(&of_cluster)
        .flat_map(|(reference, spec)| spec.metrics.iter().map(|metric| (metric.name.clone(), reference.clone())));
    Ok(Flattened {
        metrics,
        origins: origins.collect(),
        dry_run: merge_dry_runs(&[], specs().flat_map(|spec| &spec.dry_run))?,
        measurement_retention: merge_retentions(&[], specs().flat_map(|spec| &spec.measurement_retention))?,
        args: merge_declared(specs().flat_map(|spec| &spec.args))?,
    })
}

type Found<'a> = (AnalysisTemplateRef, &'a AnalysisTemplateSpec);

/// What is still to be looked at: the end of a template's children, or a reference.
enum Next<'a> {
    Leave,
    Enter(&'a AnalysisTemplateRef),
}

/// Depth first with a stack of our own: a chain of references may be long.
fn follow<'a>(
    roots: &[AnalysisTemplateRef],
    find: &impl Fn(&AnalysisTemplateRef) -> Option<&'a AnalysisTemplateSpec>,
) -> Result<Vec<Found<'a>>, TemplateError> {
    let mut found: Vec<Found<'a>> = Vec::new();
    let (mut seen, mut above) = (BTreeSet::new(), Vec::new());
    let mut stack: Vec<Next<'_>> = roots.iter().rev().map(Next::Enter).collect();
    while let Some(next) = stack.pop() {
        let reference = match next {
            Next::Leave => {
                above.pop();
                continue;
            }
            Next::Enter(reference) => reference,
        };
        if above.contains(&reference) {
            let names = above.iter().copied().chain([reference]).map(|reference| reference.template_name.as_str());
            return Err(TemplateError::Circle(names.collect::<Vec<_>>().join(" -> ")));
        }
        if !seen.insert(reference.clone()) {
            continue;
        }
        if seen.len() > MOST_TEMPLATES {
            return Err(TemplateError::TooMany);
        }
        let spec = find(reference).ok_or_else(|| TemplateError::NotFound(reference.clone()))?;
        found.push((reference.clone(), spec));
        above.push(reference);
        stack.push(Next::Leave);
        stack.extend(spec.templates.iter().rev().map(Next::Enter));
    }
    Ok(found)
}

/// Arguments of one name are one, unless their values differ. One without a value is replaced whole by the next, also
/// if it had a source: Argo's rule.
fn merge_declared<'a>(args: impl Iterator<Item = &'a Argument>) -> Result<Vec<Argument>, TemplateError> {
    let mut merged: Vec<Argument> = Vec::new();
    for arg in args {
        let Some(own) = merged.iter_mut().find(|own| own.name == arg.name) else {
            merged.push(arg.clone());
            continue;
        };
        match (&own.value, &arg.value) {
            (Some(first), Some(second)) if first != second => {
                let (name, first, second) = (own.name.clone(), first.clone(), second.clone());
                return Err(TemplateError::TwoValues { name, first, second });
            }
            (None, _) => *own = arg.clone(),
            (Some(_), _) => {}
        }
    }
    Ok(merged)
}

/// The first name that comes twice.
fn repeated<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name)).cloned()
}

/// Dry-run rules of the caller, then those of the templates.
pub(super) fn merge_dry_runs<'a>(
    own: &'a [DryRun],
    more: impl IntoIterator<Item = &'a DryRun>,
) -> Result<Vec<DryRun>, TemplateError> {
    let rules: Vec<DryRun> = own.iter().chain(more).cloned().collect();
    match repeated(rules.iter().map(|rule| &rule.metric_name)) {
        Some(name) => Err(TemplateError::TwoDryRuns(name)),
        None => Ok(rules),
    }
}

/// Rules of retention of the caller, then those of the templates.
pub(super) fn merge_retentions<'a>(
    own: &'a [MeasurementRetention],
    more: impl IntoIterator<Item = &'a MeasurementRetention>,
) -> Result<Vec<MeasurementRetention>, TemplateError> {
    let rules: Vec<MeasurementRetention> = own.iter().chain(more).cloned().collect();
    match repeated(rules.iter().map(|rule| &rule.metric_name)) {
        Some(name) => Err(TemplateError::TwoRetentions(name)),
        None => Ok(rules),
    }
}

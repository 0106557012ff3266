//! Arguments, references to other templates, and the rules that name metrics.

use std::collections::BTreeSet;

use okra_core::analysis::{TemplateError, flatten, rule_means};

use super::{
    Sink,
    placeholders::is_used,
    subject::{Subject, Templates},
};

pub(super) fn check(subject: &Subject<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    arguments(subject, templates, sink);
    references(subject, templates, sink);
    rules(subject, templates, sink);
}

fn arguments(subject: &Subject<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    let family = templates.family(subject);
    let mut names = BTreeSet::new();
    for (index, arg) in subject.spec.args.iter().enumerate() {
        let (name, at) = (&arg.name, format!("spec.args[{index}]"));
        if !names.insert(name) {
            sink.error(&at, format!("argument {name} is listed twice"), "keep one of them");
        }
        let source = arg.value_from.as_ref();
        let secret = source.and_then(|source| source.secret_key_ref.as_ref());
        let field = source.and_then(|source| source.field_ref.as_ref());
        if arg.value.is_some() && source.is_some() {
            sink.error(
                &at,
                format!("arg '{name}' has both Value and ValueFrom fields"),
                "keep value or valueFrom; in a run the Secret would win",
            );
        }
        let is_run = subject.reference.is_none();
        if is_run && arg.value.is_none() && secret.is_none() {
            let fix = if field.is_some() {
                "write value: a run does not look fields up"
            } else {
                "add value, or valueFrom.secretKeyRef"
            };
            sink.error(&at, format!("argument \"{name}\" was not supplied"), fix);
        } else if !is_run && field.is_some() {
            sink.warning(
                format!("{at}.valueFrom.fieldRef"),
                "a template does not look fields up: without a value from the caller the run is an Error",
                "remove it here, and write valueFrom.fieldRef in the args of the Cell's step",
            );
        }
        if family.complete && !is_used(name, &family.specs) {
            sink.warning(&at, format!("no metric uses {{{{args.{name}}}}}"), "use it, or remove the argument");
        }
    }
}

fn references(subject: &Subject<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    let Some(own) = &subject.reference else { return };
    let error = match flatten(std::slice::from_ref(own), |reference| templates.get(reference)) {
        // What is not in the files may be in the cluster.
        Ok(_) | Err(TemplateError::NotFound(_)) => return,
        Err(error) => error,
    };
    let (field, fix) = match &error {
        TemplateError::Circle(_) => ("spec.templates", "take one of the references out"),
        TemplateError::TwoMetrics(_) => ("spec.metrics", "give each metric a name of its own, over all templates"),
        TemplateError::TwoDryRuns(_) => ("spec.dryRun", "keep one of the rules"),
        TemplateError::TwoRetentions(_) => ("spec.measurementRetention", "keep one of the rules"),
        TemplateError::TwoValues { .. } => ("spec.args", "give it one value, over all templates"),
        TemplateError::NotFound(_) | TemplateError::TooMany => ("spec.templates", "refer to fewer templates"),
    };
    sink.error(field, error.to_string(), fix);
}

fn rules(subject: &Subject<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    let family = templates.family(subject);
    let names: Vec<&str> =
        family.specs.iter().flat_map(|spec| &spec.metrics).map(|metric| metric.name.as_str()).collect();
    let dry_runs = subject.spec.dry_run.iter().map(|rule| rule.metric_name.as_str());
    let retentions = subject.spec.measurement_retention.iter().map(|rule| rule.metric_name.as_str());
    let lists = [("dryRun", dry_runs.collect::<Vec<_>>()), ("measurementRetention", retentions.collect())];
    for (list, patterns) in lists {
        for (index, pattern) in patterns.into_iter().enumerate() {
            // A template that others refer to may mean their metrics.
            if !family.complete || pattern.contains("{{") || names.iter().any(|name| rule_means(pattern, name)) {
                continue;
            }
            let at = format!("{list}[{index}]");
            let fix = if pattern.starts_with('*') {
                "it is a regular expression: write .* for all metrics".to_owned()
            } else {
                format!(
                    "write the name of a metric ({}), or a regular expression that is found in one",
                    names.join(", ")
                )
            };
            sink.error(format!("spec.{at}.metricName"), format!("{at}: Rule didn't match any metric name(s)"), fix);
        }
    }
}

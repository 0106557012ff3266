//! The analyses of a Cell, where the files hold their templates: whether every argument is given, and whether a step
//! comes to an end.

use std::collections::BTreeSet;

use okra_api::{
    Cell,
    analysis::{AnalysisTemplateRef, Argument},
    step::{AnalysisArg, TemplateRef},
};
use okra_core::analysis::{StepError, flatten, merge_args, validate_step};

use super::{Sink, nearest, subject::Templates};
use crate::manifests::Document;

/// An analysis of a Cell.
struct Analysis<'a> {
    at: String,
    templates: &'a [TemplateRef],
    args: &'a [AnalysisArg],
    may_be_endless: bool,
}

pub(super) fn check(document: &Document, templates: &Templates, sink: &mut Sink<'_>) {
    let (_, "Cell", _) = document.identity() else { return };
    // What cannot be read is told by the schema.
    let Ok(cell) = serde_json::from_value::<Cell>(document.value.clone()) else { return };
    for analysis in analyses(&cell) {
        one(&analysis, templates, sink);
    }
}

fn analyses(cell: &Cell) -> Vec<Analysis<'_>> {
    let strategy = &cell.spec.update_strategy;
    let canary = strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let blue_green = strategy.as_ref().and_then(|strategy| strategy.blue_green.as_ref());
    let canary_steps = canary.into_iter().flat_map(|canary| &canary.steps).map(|step| step.analysis.as_ref());
    let blue_green_steps =
        blue_green.into_iter().flat_map(|strategy| &strategy.steps).map(|step| step.analysis.as_ref());
    let mut found = Vec::new();
    let lists = [("canary", canary_steps.collect::<Vec<_>>()), ("blueGreen", blue_green_steps.collect())];
    for (strategy, steps) in lists {
        for (index, step) in steps.into_iter().enumerate() {
            let Some(step) = step else { continue };
            let at = format!("spec.updateStrategy.{strategy}.steps[{index}].analysis");
            found.push(Analysis { at, templates: &step.templates, args: &step.args, may_be_endless: false });
        }
    }
    if let Some(background) = canary.and_then(|canary| canary.analysis.as_ref()) {
        let at = "spec.updateStrategy.canary.analysis".to_owned();
        let (templates, args) = (&background.templates, &background.args);
        found.push(Analysis { at, templates, args, may_be_endless: true });
    }
    found
}

fn one(analysis: &Analysis<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    let at = &analysis.at;
    let reference = |template: &TemplateRef| AnalysisTemplateRef {
        template_name: template.template_name.clone(),
        cluster_scope: template.cluster_scope,
    };
    let roots: Vec<AnalysisTemplateRef> = analysis.templates.iter().map(reference).collect();
    // What is not in the files may be in the cluster.
    if !templates.reached(Vec::new(), roots.iter()).complete {
        return;
    }
    let flat = match flatten(&roots, |reference| templates.get(reference)) {
        Ok(flat) => flat,
        Err(error) => {
            sink.error(format!("{at}.templates"), error.to_string(), "choose templates that go together");
            return;
        }
    };
    let declared: BTreeSet<&str> = flat.args.iter().map(|arg| arg.name.as_str()).collect();
    for (index, arg) in analysis.args.iter().enumerate() {
        if !declared.contains(arg.name.as_str()) {
            let message = format!("its templates have no argument {}: it is dropped without a word", arg.name);
            let fix = match nearest(&arg.name, declared.iter().copied()) {
                Some(meant) => format!("write {meant}"),
                None => "remove it".to_owned(),
            };
            sink.warning(format!("{at}.args[{index}].name"), message, fix);
        }
    }
    // A value that a field has in time stands for any.
    let given = |arg: &AnalysisArg| Argument {
        name: arg.name.clone(),
        value: Some(arg.value.clone().unwrap_or_default()),
        value_from: None,
    };
    let given: Vec<Argument> = analysis.args.iter().map(given).collect();
    if let Err(error) = merge_args(&given, &flat.args) {
        sink.error(format!("{at}.args"), error.to_string(), "give each argument that has no default in its template");
    }
    // Other faults are told of the template itself.
    if let Err(error @ StepError::Endless { .. }) = validate_step(&flat, analysis.may_be_endless) {
        let fix = "add count to the metric, or make it a background analysis (canary.analysis)";
        sink.error(format!("{at}.templates"), error.to_string(), fix);
    }
}

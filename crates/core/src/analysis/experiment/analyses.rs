//! The AnalysisRuns of an experiment.

use okra_api::{
    RunPhase,
    analysis::{AnalysisRunSpec, AnalysisTemplateRef, ExperimentAnalysis, ExperimentRunStatus},
};

use super::{
    super::{
        event::Event,
        new_run::{collision_name, measures_the_same, run_spec},
        profile::{Annotations, profile_annotations},
        template::{TemplateError, flatten},
    },
    assess::{ExperimentAction, Look},
    observed::Failure,
    placeholders::analysis_args,
};

/// What is to be done for an analysis, and where it stands.
pub(super) fn reconcile(look: &mut Look<'_>, analysis: &ExperimentAnalysis) -> ExperimentRunStatus {
    let before = look.before.analysis_runs.iter().find(|run| run.name == analysis.name).cloned();
    let before =
        before.unwrap_or_else(|| ExperimentRunStatus { name: analysis.name.clone(), ..ExperimentRunStatus::default() });
    let mut status = before.clone();
    let failed =
        look.observed.failures.iter().filter_map(Failure::of_analysis).find(|(name, _)| *name == analysis.name);
    let is_over = status.phase.is_some_and(RunPhase::is_completed);
    match failed {
        Some((_, message)) if !is_over => fail(&mut status, message),
        _ if look.before.available_at.is_none() => check_template(look, analysis, &mut status),
        _ if status.analysis_run.is_empty() => begin(look, analysis, &mut status),
        _ if !is_over => follow(look, &mut status),
        _ => {}
    }
    if let Some(phase) = status.phase.filter(|phase| before.phase != Some(*phase)) {
        look.events.push(transition(&before, &status, phase));
    }
    status
}

fn fail(status: &mut ExperimentRunStatus, message: String) {
    (status.phase, status.message) = (Some(RunPhase::Error), message);
}

fn template_of(analysis: &ExperimentAnalysis) -> AnalysisTemplateRef {
    AnalysisTemplateRef { template_name: analysis.template_name.clone(), cluster_scope: analysis.cluster_scope }
}

/// Before all templates are available nothing begins; only the template must be there.
fn check_template(look: &Look<'_>, analysis: &ExperimentAnalysis, status: &mut ExperimentRunStatus) {
    let template = template_of(analysis);
    if !look.observed.templates.contains_key(&template) {
        let kind = if analysis.cluster_scope { "ClusterAnalysisTemplate" } else { "AnalysisTemplate" };
        let error = TemplateError::NotFound(template);
        fail(status, format!("{kind} verification failed for analysis '{}': {error}", analysis.name));
    }
}

fn begin(look: &mut Look<'_>, analysis: &ExperimentAnalysis, status: &mut ExperimentRunStatus) {
    if look.terminating {
        return;
    }
    let (spec, annotations) = match new_spec(look, analysis) {
        Ok(made) => made,
        Err(error) => {
            let message = format!("Failed to create AnalysisRun for analysis '{}': {error}", analysis.name);
            return fail(status, message);
        }
    };
    let base = format!("{}-{}", look.observed.name, analysis.name);
    let mut names = (0..).map(|collisions| collision_name(&base, collisions));
    let taken_by_another = |name: &String| {
        look.observed.runs.get(name).is_some_and(|run| {
            let is_over = run.phase.is_some_and(RunPhase::is_completed);
            !run.owned || is_over || !measures_the_same(&run.spec, &spec)
        })
    };
    let Some(name) = names.find(|name| !taken_by_another(name)) else { return };
    (status.phase, status.analysis_run) = (Some(RunPhase::Pending), name.clone());
    // One that is there already was made before the status could say so.
    if !look.observed.runs.contains_key(&name) {
        let (analysis, spec) = (analysis.name.clone(), Box::new(spec));
        look.actions.push(ExperimentAction::CreateRun { analysis, name, spec, annotations });
    }
}

fn new_spec(look: &Look<'_>, analysis: &ExperimentAnalysis) -> Result<(AnalysisRunSpec, Annotations), String> {
    let (observed, experiment) = (look.observed, look.observed.spec);
    let args = analysis_args(&observed, &analysis.args).map_err(|error| error.to_string())?;
    let templates = flatten(&[template_of(analysis)], |reference| observed.templates.get(reference));
    let templates = templates.map_err(|error| error.to_string())?;
    let annotations = profile_annotations(&templates.origins, |reference| observed.annotations.get(reference))?;
    let spec = run_spec(templates, &args, &experiment.dry_run, &experiment.measurement_retention);
    Ok((spec.map_err(|error| error.to_string())?, annotations))
}

fn follow(look: &mut Look<'_>, status: &mut ExperimentRunStatus) {
    let Some(run) = look.observed.runs.get(&status.analysis_run) else {
        let message = format!("analysisruns.argoproj.io \"{}\" not found", status.analysis_run);
        return fail(status, message);
    };
    // While it ends, only the end of the run counts: an experiment that waits for it would wait for ever.
    let is_over = run.phase.is_some_and(RunPhase::is_completed);
    if !look.terminating || is_over {
        status.phase = run.phase;
        status.message.clone_from(&run.message);
        return;
    }
    if !run.spec.terminate {
        let (analysis, name) = (status.name.clone(), status.analysis_run.clone());
        look.events.push(Event {
            warning: false,
            reason: "AnalysisRunTerminating".to_owned(),
            message: format!("Terminating {analysis} ({name})"),
        });
        look.actions.push(ExperimentAction::TerminateRun { analysis, name });
    }
}

fn transition(before: &ExperimentRunStatus, status: &ExperimentRunStatus, phase: RunPhase) -> Event {
    let from = before.phase.map_or("", RunPhase::as_str);
    let about = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    Event {
        warning: matches!(phase, RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive),
        reason: format!("AnalysisRun{phase}"),
        message: format!("AnalysisRun '{}' transitioned from {from} -> {phase}{about}", status.name),
    }
}

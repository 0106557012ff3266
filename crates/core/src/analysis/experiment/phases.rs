//! Where an experiment stands.

use jiff::Timestamp;
use okra_api::{
    RunPhase,
    analysis::{ExperimentSpec, ExperimentStatus, TemplatePhase},
};

use super::super::{duration::whole_second, verdict::is_worse};

/// Argo's order of templates, from best to worst.
const ORDER: [TemplatePhase; 5] = [
    TemplatePhase::Successful,
    TemplatePhase::Running,
    TemplatePhase::Progressing,
    TemplatePhase::Error,
    TemplatePhase::Failed,
];

fn place(phase: TemplatePhase) -> Option<usize> {
    ORDER.iter().position(|known| *known == phase)
}

/// Argo's `IsTerminating`: it was asked for, it is over, or something of it has ended in a way that ends the rest.
pub(super) fn is_terminating(spec: &ExperimentSpec, status: &ExperimentStatus) -> bool {
    let bad_template = |phase| matches!(phase, Some(TemplatePhase::Failed | TemplatePhase::Error));
    let bad_run = |phase| matches!(phase, Some(RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive));
    spec.terminate
        || status.phase.is_some_and(RunPhase::is_completed)
        || status.template_statuses.iter().any(|template| bad_template(template.status))
        || status.analysis_runs.iter().any(|run| bad_run(run.phase))
        || are_required_runs_successful(spec, status)
}

/// Whether there are analyses that the experiment waits for.
fn has_required_runs(spec: &ExperimentSpec) -> bool {
    spec.analyses.iter().any(|analysis| analysis.required_for_completion)
}

fn are_required_runs_successful(spec: &ExperimentSpec, status: &ExperimentStatus) -> bool {
    let phase = |name: &String| status.analysis_runs.iter().find(|run| run.name == *name).and_then(|run| run.phase);
    let mut required = spec.analyses.iter().filter(|analysis| analysis.required_for_completion);
    has_required_runs(spec) && required.all(|analysis| phase(&analysis.name) == Some(RunPhase::Successful))
}

/// Brings the phase up to date with templates and analyses: Argo's `calculateStatus`.
pub(super) fn settle(spec: &ExperimentSpec, status: &mut ExperimentStatus, now: Timestamp) {
    match status.phase {
        None => status.phase = Some(RunPhase::Pending),
        Some(RunPhase::Pending | RunPhase::Running) => {
            let templates = of_templates(spec, status);
            if templates.0 == RunPhase::Running {
                status.available_at.get_or_insert(whole_second(now));
            }
            let (phase, message) = both(spec, status, templates, of_runs(spec, status));
            (status.phase, status.message) = (Some(phase), message);
        }
        Some(_) => {}
    }
}

fn both(
    spec: &ExperimentSpec,
    status: &ExperimentStatus,
    templates: (RunPhase, String),
    runs: (RunPhase, String),
) -> (RunPhase, String) {
    if templates.0.is_completed() {
        let runs_decide = runs.0.is_completed() || has_required_runs(spec);
        return if templates.0 == RunPhase::Successful && runs_decide { runs } else { templates };
    }
    let has_ended_badly = runs.0.is_completed() && runs.0 != RunPhase::Successful;
    if has_ended_badly || are_required_runs_successful(spec, status) { runs } else { templates }
}

/// The worst of the templates.
fn of_templates(spec: &ExperimentSpec, status: &ExperimentStatus) -> (RunPhase, String) {
    let (mut worst, mut message) = (TemplatePhase::Successful, String::new());
    for template in &spec.templates {
        let known = status.template_statuses.iter().find(|known| known.name == template.name);
        let phase = known.and_then(|known| known.status).unwrap_or_default();
        if place(phase) > place(worst) {
            worst = phase;
            message = known.map(|known| known.message.clone()).unwrap_or_default();
        }
    }
    let phase = match worst {
        TemplatePhase::Progressing => RunPhase::Pending,
        TemplatePhase::Running => RunPhase::Running,
        TemplatePhase::Successful => RunPhase::Successful,
        TemplatePhase::Failed => RunPhase::Failed,
        TemplatePhase::Error => RunPhase::Error,
    };
    (phase, message)
}

/// The worst of the analyses; none is as good as successful.
fn of_runs(spec: &ExperimentSpec, status: &ExperimentStatus) -> (RunPhase, String) {
    let (mut worst, mut message) = (RunPhase::Successful, String::new());
    for analysis in &spec.analyses {
        let known = status.analysis_runs.iter().find(|run| run.name == analysis.name);
        if let Some((run, phase)) = known.and_then(|run| Some((run, run.phase?)))
            && is_worse(worst, phase)
        {
            worst = phase;
            message.clone_from(&run.message);
        }
    }
    // The others do not hold it up, but one that ended badly counts.
    if are_required_runs_successful(spec, status) && !is_worse(RunPhase::Pending, worst) {
        return (RunPhase::Successful, "Required AnalysisRuns completed".to_owned());
    }
    (if worst == RunPhase::Pending { RunPhase::Running } else { worst }, message)
}

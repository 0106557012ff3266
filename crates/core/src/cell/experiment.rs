//! The Experiments of a rollout: when they are made, and of what.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use okra_api::{
    Cell, GoDuration,
    analysis::{AnalysisTemplateRef, ExperimentAnalysis, ExperimentSpec, ExperimentTemplate},
    cell_status::RolloutStatus,
    condition::reason,
    step::{self, ExperimentStep},
};

use super::plan::{Action, Planner};
use crate::analysis::{endless_metric, flatten, run_spec, template_from, validate_experiment};

/// How often a ReplicaSet is looked for that is not there. The watch tells of it at once; this is for an okrad that may
/// read ReplicaSets and not watch them.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

fn current_step(rollout: &RolloutStatus) -> Option<&ExperimentStep> {
    let index = usize::try_from(rollout.current_step_index).ok()?;
    let canary = rollout.steps.get(index).and_then(|step| step.experiment.as_ref());
    canary.or_else(|| rollout.blue_green_steps.get(index)?.experiment.as_ref())
}

/// Names of the ReplicaSets that the Cell's current step needs to make its Experiment of. They are read past any cache,
/// and watched only while one is missing: whoever has no experiments need not see ReplicaSets.
pub fn replica_sets_wanted(cell: &Cell) -> BTreeSet<String> {
    let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
    let step = rollout.filter(|rollout| rollout.outcome.is_none()).and_then(current_step);
    step.into_iter().flat_map(|step| &step.templates).map(|template| template.spec_ref.clone()).collect()
}

/// Why there is no spec of an Experiment.
enum Missing {
    /// The ReplicaSets were not read yet.
    NotRead,
    /// Something of it is not there, or is wrong.
    Because(String),
}

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Self::Because(why)
    }
}

impl Planner<'_> {
    /// Makes the Experiment of the current step, or says what it waits for.
    pub(super) fn make_experiment(&mut self, name: &str) {
        if !self.may_measure() {
            return;
        }
        let Some((step, rollout)) = self.moving().and_then(|moving| Some((current_step(moving)?.clone(), moving)))
        else {
            return;
        };
        let (rollout, index, at) = (rollout.id.clone(), rollout.current_step_index, self.step_words());
        match self.new_experiment(name, &step) {
            Ok(spec) => {
                self.wait_for_person(reason::ROLLING_OUT, format!("{at}: begins Experiment {name}"));
                let (name, spec) = (name.to_owned(), Box::new(spec));
                self.actions.push(Action::CreateExperiment { name, spec, rollout, step: index });
            }
            Err(Missing::NotRead) => {
                // The step was reached in this very plan; the next one knows them.
                self.wake_after(SignedDuration::from_secs(1));
                self.wait(reason::ROLLING_OUT, format!("{at}: reads what Experiment {name} is made of"));
            }
            Err(Missing::Because(why)) => {
                self.wake_after(LOOK_AGAIN);
                self.wait(reason::INVALID_ANALYSIS, format!("{at}: Experiment {name} cannot be made: {why}"));
            }
        }
    }

    fn wake_after(&mut self, after: SignedDuration) {
        if let Ok(at) = self.now.checked_add(after) {
            self.wake(at);
        }
    }

    fn new_experiment(&self, name: &str, step: &ExperimentStep) -> Result<ExperimentSpec, Missing> {
        let duration = step.duration.as_ref().map(GoDuration::get).transpose().map_err(|error| error.to_string())?;
        if duration.is_none() && step.analyses.is_empty() {
            return Err("it has neither a duration nor analyses, so that the step would never end".to_owned().into());
        }
        let templates = step.templates.iter().map(|template| self.template(template)).collect::<Result<_, _>>()?;
        let analyses = step.analyses.iter().map(|analysis| self.analysis(analysis, duration.is_none()));
        let spec = ExperimentSpec {
            templates,
            duration: duration.map(go_text).unwrap_or_default(),
            analyses: analyses.collect::<Result<_, _>>()?,
            ..ExperimentSpec::default()
        };
        validate_experiment(name, &spec).map_err(|fault| fault.to_string())?;
        Ok(spec)
    }

    fn template(&self, template: &step::ExperimentTemplate) -> Result<ExperimentTemplate, Missing> {
        let set = self.observed.replica_sets.get(&template.spec_ref).ok_or(Missing::NotRead)?;
        let set = set.as_ref().map_err(|why| format!("specRef of template {}: {why}", template.name))?;
        Ok(template_from(set, &template.name, template.replicas.unwrap_or(1)))
    }

    /// Without a duration it lasts until its analyses are done, so each of them is required.
    fn analysis(&self, analysis: &step::ExperimentAnalysis, lasts: bool) -> Result<ExperimentAnalysis, String> {
        let (name, template_name) = (analysis.name.clone(), analysis.template_name.clone());
        let reference =
            AnalysisTemplateRef { template_name: template_name.clone(), cluster_scope: analysis.cluster_scope };
        let of = |error: String| format!("analysis {name}: {error}");
        let templates = flatten(&[reference], |reference| self.observed.templates.find(reference))
            .map_err(|error| of(error.to_string()))?;
        let required_for_completion = analysis.required_for_completion || lasts;
        if let Some(metric) = endless_metric(&templates.metrics).filter(|_| required_for_completion) {
            return Err(of(format!(
                "metric {} has an interval and no count, so that the step would never end: set its count, or the \
                 duration of the experiment and not requiredForCompletion",
                metric.name
            )));
        }
        let args = self.resolved_args(&analysis.args).map_err(of)?;
        run_spec(templates, &args, &[], &[]).map_err(|error| of(error.to_string()))?;
        let cluster_scope = analysis.cluster_scope;
        Ok(ExperimentAnalysis { name, template_name, cluster_scope, args, required_for_completion })
    }
}

/// As Go writes it, with one unit.
fn go_text(duration: SignedDuration) -> String {
    if duration.subsec_nanos() == 0 { format!("{}s", duration.as_secs()) } else { format!("{}ns", duration.as_nanos()) }
}

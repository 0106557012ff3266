//! The AnalysisRuns of a rollout: when they are made, and of what.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use okra_api::{
    AnalysisTemplate, Cell, ClusterAnalysisTemplate,
    analysis::{AnalysisRunSpec, AnalysisTemplateRef, AnalysisTemplateSpec, Argument, DryRun},
    condition::reason,
    step::{self, AnalysisArg, TemplateRef},
};
use serde_json::Value;

use super::plan::{Action, Planner};
use crate::analysis::{
    Annotations, HistoryLimits, IncomingArgument, IncomingContext, PastRun, endless_metric, flatten, incoming_args,
    profile_annotations, run_spec, runs_to_delete,
};

/// What an analysis can be made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Templates {
    /// AnalysisTemplates of the Cell's namespace, by name.
    pub of_namespace: BTreeMap<String, Arc<AnalysisTemplate>>,
    /// ClusterAnalysisTemplates, by name.
    pub of_cluster: BTreeMap<String, Arc<ClusterAnalysisTemplate>>,
}

impl Templates {
    pub(super) fn find(&self, reference: &AnalysisTemplateRef) -> Option<&AnalysisTemplateSpec> {
        let name = &reference.template_name;
        if reference.cluster_scope {
            self.of_cluster.get(name).map(|template| &template.spec.template)
        } else {
            self.of_namespace.get(name).map(|template| &template.spec)
        }
    }

    fn annotations(&self, reference: &AnalysisTemplateRef) -> Option<&Annotations> {
        let name = &reference.template_name;
        if reference.cluster_scope {
            self.of_cluster.get(name)?.metadata.annotations.as_ref()
        } else {
            self.of_namespace.get(name)?.metadata.annotations.as_ref()
        }
    }
}

/// Whether the rollout under way has analyses, or experiments, which may have some.
pub fn is_judged(cell: &Cell) -> bool {
    let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
    rollout.filter(|rollout| rollout.outcome.is_none()).is_some_and(|rollout| {
        rollout.analysis.is_some()
            || rollout.steps.iter().any(|step| step.analysis.is_some() || step.experiment.is_some())
            || rollout.blue_green_steps.iter().any(|step| step.analysis.is_some() || step.experiment.is_some())
    })
}

/// An analysis as a step or a strategy asks for it.
struct Wanted {
    templates: Vec<TemplateRef>,
    args: Vec<AnalysisArg>,
    dry_run: Vec<step::DryRun>,
    /// The step's index; `None`: in the background.
    step: Option<i32>,
}

impl Planner<'_> {
    /// Makes the AnalysisRun of the current step, or says what it waits for.
    pub(super) fn make_step_run(&mut self, name: &str) {
        let wanted = self.moving().and_then(|rollout| {
            let index = usize::try_from(rollout.current_step_index).ok()?;
            let canary = rollout.steps.get(index).and_then(|step| step.analysis.as_ref());
            let analysis = canary.or_else(|| rollout.blue_green_steps.get(index)?.analysis.as_ref())?.clone();
            let step::AnalysisStep { templates, args, dry_run } = analysis;
            Some(Wanted { templates, args, dry_run, step: Some(rollout.current_step_index) })
        });
        if let Some(wanted) = wanted {
            self.make_run(name, &wanted);
        }
    }

    /// Makes the background AnalysisRun, or says what it waits for.
    pub(super) fn make_background_run(&mut self, name: &str) {
        let wanted = self.moving().and_then(|rollout| rollout.analysis.clone()).map(|analysis| {
            let step::BackgroundAnalysis { templates, args, dry_run, starting_step: _ } = analysis;
            Wanted { templates, args, dry_run, step: None }
        });
        if let Some(wanted) = wanted {
            self.make_run(name, &wanted);
        }
    }

    /// Whether the traffic flows as the step asks for; says what it waits for when it does not.
    pub(super) fn may_measure(&mut self) -> bool {
        match self.desired() {
            Some(desired) if self.is_settled(&desired) => {}
            Some(_) => {
                self.wait_for_route();
                return false;
            }
            None => {
                self.wait(reason::NOTHING_HEALTHY, "no target group can take the traffic");
                return false;
            }
        }
        let Some(end) = self.settles_at() else { return true };
        self.wake(end);
        let at = self.step_words();
        let text = format!("{at}: waits until the load balancer's data path has the weights, at {end}, then measures");
        self.wait_for_person(reason::ROLLING_OUT, text);
        false
    }

    fn make_run(&mut self, name: &str, wanted: &Wanted) {
        if !self.may_measure() {
            return;
        }
        let at = self.step_words();
        match self.new_run(wanted) {
            Ok((spec, annotations)) => {
                let rollout = self.moving().map(|rollout| rollout.id.clone()).unwrap_or_default();
                let (name, step) = (name.to_owned(), wanted.step);
                self.wait_for_person(reason::ROLLING_OUT, format!("{at}: begins AnalysisRun {name}"));
                self.actions.push(Action::CreateRun { name, spec: Box::new(spec), annotations, rollout, step });
            }
            Err(why) => self.wait(reason::INVALID_ANALYSIS, format!("{at}: AnalysisRun {name} cannot be made: {why}")),
        }
    }

    /// Until when the data path may still follow what was verified last: what is measured before that is not the
    /// weights of this step.
    fn settles_at(&self) -> Option<Timestamp> {
        let verified = self.route()?.status.verified_at?;
        verified.checked_add(self.router.settle).ok().filter(|end| *end > self.now)
    }

    /// What the run is made of, and its annotations; an error in words.
    fn new_run(&self, wanted: &Wanted) -> Result<(AnalysisRunSpec, Annotations), String> {
        let refs: Vec<AnalysisTemplateRef> = wanted.templates.iter().map(template_ref).collect();
        let templates =
            flatten(&refs, |reference| self.observed.templates.find(reference)).map_err(|error| error.to_string())?;
        if let Some(metric) = endless_metric(&templates.metrics).filter(|_| wanted.step.is_some()) {
            return Err(format!(
                "metric {} has an interval and no count, so that the step would never end: set its count, or make it a \
                 background analysis",
                metric.name
            ));
        }
        let args = self.resolved_args(&wanted.args)?;
        let dry_run: Vec<DryRun> =
            wanted.dry_run.iter().map(|rule| DryRun { metric_name: rule.metric_name.clone() }).collect();
        let known = &self.observed.templates;
        let annotations = profile_annotations(&templates.origins, |reference| known.annotations(reference))?;
        let spec = run_spec(templates, &args, &dry_run, &[]).map_err(|error| error.to_string())?;
        Ok((spec, annotations))
    }

    /// Arguments with the fields of the Cell that they name; an error in words.
    pub(super) fn resolved_args(&self, args: &[AnalysisArg]) -> Result<Vec<Argument>, String> {
        let mut cell = self.observed.cell.clone();
        let version = self.moving().map(|rollout| rollout.version.clone());
        let mut status = self.status.clone();
        status.desired_version.clone_from(&version);
        let stable = status.stable_version.clone().unwrap_or_default();
        cell.status = Some(status);
        let object = serde_json::to_value(&cell).unwrap_or(Value::Null);
        let context =
            IncomingContext { object: &object, stable_hash: &stable, latest_hash: &version.unwrap_or_default() };
        let args: Vec<IncomingArgument> = args.iter().map(IncomingArgument::from).collect();
        incoming_args(&args, context).map_err(|error| error.to_string())
    }

    /// Deletes the oldest runs of earlier rollouts: the last five that passed stay, and the last five that did not,
    /// of AnalysisRuns and of Experiments each.
    pub(super) fn collect_runs(&mut self) {
        self.collect(false);
        self.collect(true);
    }

    fn collect(&mut self, experiments: bool) {
        let own = self.observed.runs.iter().filter(|(_, run)| run.is_own && run.is_experiment == experiments);
        let past: Vec<PastRun> = own
            .map(|(name, run)| PastRun {
                name: name.clone(),
                created: run.created,
                phase: Some(run.phase),
                hash: Some(String::new()),
            })
            .collect();
        let present = BTreeMap::from([(String::new(), true)]);
        let prefix = self.child_prefix();
        let old = runs_to_delete(&past, &present, HistoryLimits::default());
        let deletions = old.into_iter().filter(|name| !name.starts_with(&prefix));
        self.actions.extend(deletions.map(|name| Action::DeleteRun { name }));
    }
}

fn template_ref(reference: &TemplateRef) -> AnalysisTemplateRef {
    AnalysisTemplateRef { template_name: reference.template_name.clone(), cluster_scope: reference.cluster_scope }
}

//! A cluster that does what plans say.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    RunPhase,
    analysis::{
        AnalysisTemplateRef, AnalysisTemplateSpec, ExperimentRunStatus, ExperimentSpec, ExperimentStatus,
        TemplateStatus,
    },
};
use serde_json::{Value, json};

use crate::analysis::{
    Annotations,
    experiment::{
        ExperimentAction, ExperimentPlan, Failure, ObservedExperiment, ObservedReplicaSet, ObservedRun,
        assess_experiment,
    },
};

/// So many seconds after the beginning of all tests.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// An experiment with templates `a` and `b` and the fields given.
pub fn spec_with(fields: Value) -> ExperimentSpec {
    let template =
        |name: &str| json!({"name": name, "replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {}});
    let mut spec = json!({"templates": [template("a"), template("b")]});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// What there is.
pub struct World {
    pub spec: ExperimentSpec,
    pub status: Option<ExperimentStatus>,
    pub sets: BTreeMap<String, ObservedReplicaSet>,
    pub services: BTreeMap<String, String>,
    pub runs: BTreeMap<String, ObservedRun>,
    pub templates: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
    pub annotations: BTreeMap<AnalysisTemplateRef, Annotations>,
    /// The annotations of the runs that were made.
    pub made: BTreeMap<String, Annotations>,
    pub failures: Vec<Failure>,
    pub now: Timestamp,
    pub reasons: Vec<String>,
    /// Whether pods come up as soon as they are wanted.
    pub is_quick: bool,
}

impl World {
    pub fn new(fields: Value) -> Self {
        let template: AnalysisTemplateSpec = serde_json::from_value(json!({
            "metrics": [{"name": "m", "provider": {"web": {"url": "http://{{args.hash}}"}}}], "args": [{"name": "hash", "value": ""}],
        }))
        .unwrap();
        let reference =
            |name: &str, cluster_scope| AnalysisTemplateRef { template_name: name.to_owned(), cluster_scope };
        Self {
            spec: spec_with(fields),
            status: None,
            sets: BTreeMap::new(),
            services: BTreeMap::new(),
            runs: BTreeMap::new(),
            templates: [(reference("t", false), template.clone()), (reference("c", true), template)].into(),
            annotations: BTreeMap::new(),
            made: BTreeMap::new(),
            failures: Vec::new(),
            now: at(0),
            reasons: Vec::new(),
            is_quick: true,
        }
    }

    pub fn look(&self) -> ExperimentPlan {
        let observed = ObservedExperiment {
            name: "exp",
            spec: &self.spec,
            status: self.status.as_ref(),
            replica_sets: &self.sets,
            services: &self.services,
            runs: &self.runs,
            templates: &self.templates,
            annotations: &self.annotations,
            failures: &self.failures,
        };
        assess_experiment(observed, self.now)
    }

    /// One look, carried out.
    pub fn step(&mut self) -> ExperimentPlan {
        let plan = self.look();
        plan.actions.iter().for_each(|action| self.apply(action));
        self.reasons.extend(plan.events.iter().map(|event| event.reason.clone()));
        self.reasons.extend(plan.actions.iter().filter_map(ExperimentAction::event).map(|event| event.reason));
        self.status = Some(plan.status.clone());
        self.failures.clear();
        if self.is_quick {
            self.pods_follow();
        }
        plan
    }

    /// Looks until there is nothing more to do at this time; returns the time of the next look.
    pub fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..50 {
            let before = self.status.clone();
            let plan = self.step();
            if plan.actions.is_empty() && self.status == before {
                return plan.wake_at;
            }
        }
        panic!("the experiment never rests");
    }

    pub fn pods_follow(&mut self) {
        for set in self.sets.values_mut() {
            (set.replicas, set.ready, set.available) = (set.wanted, set.wanted, set.wanted);
        }
    }

    fn apply(&mut self, action: &ExperimentAction) {
        match action {
            ExperimentAction::CreateReplicaSet { template } => {
                let set = ObservedReplicaSet {
                    name: format!("exp-{template}"),
                    pod_template_hash: format!("hash-{template}"),
                    has_ports: true,
                    ..ObservedReplicaSet::default()
                };
                self.sets.entry(template.clone()).or_insert(set);
            }
            ExperimentAction::Scale { template, from, to, .. } => {
                let set = self.sets.get_mut(template).unwrap();
                assert_eq!(set.wanted, *from);
                set.wanted = *to;
            }
            ExperimentAction::SetScaleDownDeadline { name, deadline } => self.set(name).scale_down_at = Some(*deadline),
            ExperimentAction::RemoveScaleDownDeadline { name } => self.set(name).scale_down_at = None,
            ExperimentAction::CreateService { template, name } => {
                assert_eq!(self.services.insert(template.clone(), name.clone()), None);
            }
            ExperimentAction::DeleteService { template, name } => {
                assert_eq!(self.services.remove(template).as_ref(), Some(name));
            }
            ExperimentAction::CreateRun { name, spec, annotations, .. } => {
                self.made.insert(name.clone(), annotations.clone());
                let run = ObservedRun { owned: true, spec: (**spec).clone(), phase: None, message: String::new() };
                assert_eq!(self.runs.insert(name.clone(), run), None);
            }
            ExperimentAction::TerminateRun { name, .. } => self.runs.get_mut(name).unwrap().spec.terminate = true,
        }
    }

    fn set(&mut self, name: &str) -> &mut ObservedReplicaSet {
        self.sets.values_mut().find(|set| set.name == name).unwrap()
    }

    pub fn run_ends(&mut self, name: &str, phase: RunPhase) {
        let run = self.runs.get_mut(name).unwrap();
        run.phase = Some(phase);
        run.message = format!("it ended {phase}");
    }

    pub fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn phase(&self) -> Option<RunPhase> {
        self.status.as_ref().and_then(|status| status.phase)
    }

    pub fn message(&self) -> String {
        self.status.clone().unwrap_or_default().message
    }

    pub fn template(&self, name: &str) -> TemplateStatus {
        let statuses = self.status.clone().unwrap_or_default().template_statuses;
        statuses.into_iter().find(|status| status.name == name).unwrap()
    }

    pub fn analysis(&self, name: &str) -> ExperimentRunStatus {
        let runs = self.status.clone().unwrap_or_default().analysis_runs;
        runs.into_iter().find(|run| run.name == name).unwrap()
    }

    pub fn wanted(&self) -> Vec<i32> {
        self.sets.values().map(|set| set.wanted).collect()
    }
}

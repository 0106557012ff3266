//! A run that is driven through time by hand.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use okra_api::{
    RunPhase,
    analysis::{AnalysisRunSpec, AnalysisRunStatus, Metric, MetricResult},
};
use serde_json::{Value, json};

use crate::analysis::{Event, NoData, Observed, Outcome, Plan, Secrets, Take, Taken, assess};

/// So many seconds after the beginning of all tests.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// A metric of the web provider; `fields` go on top.
pub fn metric(fields: Value) -> Metric {
    let mut object = json!({"name": "m", "provider": {"web": {"url": "http://metrics"}}});
    object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// A run with these metrics.
pub fn run_of(metrics: Vec<Metric>) -> AnalysisRunSpec {
    AnalysisRunSpec { metrics, ..AnalysisRunSpec::default() }
}

/// What providers answer in tests: a condition `result > 0` tells it apart.
pub fn answer(phase: RunPhase) -> Outcome {
    match phase {
        RunPhase::Error => Outcome::error("connection refused"),
        RunPhase::Pending | RunPhase::Running => Outcome::InFlight { metadata: BTreeMap::new(), resume_at: None },
        phase => Outcome::verdict(phase),
    }
}

/// A run and its surroundings.
pub struct Rig {
    pub spec: AnalysisRunSpec,
    pub status: Option<AnalysisRunStatus>,
    pub now: Timestamp,
    pub secrets: Secrets,
    pub no_data: NoData,
    /// Metrics whose measurement in flight is known to be over.
    pub ready: BTreeSet<String>,
    pub events: Vec<Event>,
}

impl Rig {
    pub fn new(spec: AnalysisRunSpec) -> Self {
        let (secrets, no_data) = (Secrets::default(), NoData::default());
        Self { spec, status: None, now: at(0), secrets, no_data, ready: BTreeSet::new(), events: Vec::new() }
    }

    /// One look, with what was measured and what has not answered; the status is written.
    pub fn look_with(&mut self, results: &[Taken], outstanding: &[&str]) -> Plan {
        let outstanding: BTreeSet<String> = outstanding.iter().map(ToString::to_string).collect();
        let observed = Observed {
            spec: &self.spec,
            status: self.status.as_ref(),
            results,
            outstanding: &outstanding,
            ready: &self.ready,
            secrets: &self.secrets,
            no_data: self.no_data,
        };
        let plan = assess(observed, self.now);
        if plan.status != AnalysisRunStatus::default() || self.status.is_some() {
            self.status = Some(plan.status.clone());
        }
        self.events.extend(plan.events.clone());
        plan
    }

    pub fn look(&mut self) -> Plan {
        self.look_with(&[], &[])
    }

    /// The answers to what a plan asks for.
    pub fn measured(&self, plan: &Plan, mut outcome: impl FnMut(&Take) -> Outcome) -> Vec<Taken> {
        plan.take.iter().map(|take| self.taken(take, outcome(take))).collect()
    }

    pub fn taken(&self, take: &Take, outcome: Outcome) -> Taken {
        let metric_metadata = BTreeMap::new();
        Taken { take: take.clone(), outcome, started_at: self.now, finished_at: self.now, metric_metadata }
    }

    /// Looks and answers until there is nothing to do at this time; returns the time of the next look.
    pub fn pass(&mut self, mut outcome: impl FnMut(&Take) -> Outcome) -> Option<Timestamp> {
        let mut plan = self.look();
        for _ in 0..100 {
            if plan.take.is_empty() {
                return plan.wake_at;
            }
            let results = self.measured(&plan, &mut outcome);
            plan = self.look_with(&results, &[]);
        }
        panic!("the run never rests");
    }

    /// Drives the run until it ends, or nothing would happen any more.
    pub fn drive(&mut self, mut outcome: impl FnMut(&Take) -> Outcome) -> AnalysisRunStatus {
        for _ in 0..10_000 {
            match self.pass(&mut outcome) {
                Some(wake_at) if !self.phase().is_some_and(RunPhase::is_completed) => {
                    assert!(wake_at > self.now, "a look at {wake_at} would find nothing new");
                    self.now = wake_at;
                }
                _ => return self.status(),
            }
        }
        panic!("the run never ends");
    }

    /// Drives the run with the same list of answers for every metric; the last one is repeated.
    pub fn drive_with(&mut self, answers: &[RunPhase]) -> AnalysisRunStatus {
        let mut given: BTreeMap<String, usize> = BTreeMap::new();
        self.drive(|take| {
            let index = given.entry(take.name.clone()).or_default();
            let phase = answers.get(*index).or(answers.last()).copied().unwrap();
            *index += 1;
            answer(phase)
        })
    }

    pub fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn status(&self) -> AnalysisRunStatus {
        self.status.clone().unwrap_or_default()
    }

    pub fn phase(&self) -> Option<RunPhase> {
        self.status().phase
    }

    pub fn result(&self, name: &str) -> MetricResult {
        self.status().metric_results.into_iter().find(|result| result.name == name).unwrap_or_default()
    }

    pub fn reasons(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.reason.as_str()).collect()
    }
}

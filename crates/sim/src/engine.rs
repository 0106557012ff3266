//! The analysis engine's part: runs are made when a Cell waits for them, and end with the story's verdicts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use okra_api::{AnalysisRun, Experiment, RunPhase};
use okra_provider::{Key, Kind};
use serde_json::{Value, json};

use crate::{
    api_server::{ApiCall, Changed},
    driver::{Driver, Todo},
    story::{Story, cell_name},
};

/// What the engine knows.
#[derive(Debug)]
pub struct Engine {
    cells: usize,
    begun: BTreeSet<String>,
    verdicts: BTreeMap<usize, VecDeque<RunPhase>>,
}

impl Engine {
    pub fn new(story: &Story) -> Self {
        Self { cells: story.cells.len(), begun: BTreeSet::new(), verdicts: BTreeMap::new() }
    }

    /// The next run of a Cell ends so.
    pub fn verdict(&mut self, cell: usize, phase: RunPhase) {
        self.verdicts.entry(cell).or_default().push_back(phase);
    }
}

fn kind_of(experiment: bool) -> Kind {
    if experiment { Kind::of::<Experiment>() } else { Kind::of::<AnalysisRun>() }
}

impl Driver {
    /// Follows the objects as the engine does.
    pub fn follow(&mut self, changed: &Changed, now: u64) {
        match &*changed.kind.kind {
            "Cell" if !changed.gone => {
                let cell = (0..self.engine.cells).find(|cell| cell_name(*cell) == changed.key.name);
                let Some(cell) = cell else { return };
                for name in runs_of(&changed.object) {
                    if self.engine.begun.insert(name.clone()) {
                        let at = now + self.rng.between(50, 3_000);
                        let experiment = name.ends_with("-experiment");
                        self.agenda.push((at, Todo::BeginRun(name, experiment, cell)));
                    }
                }
            }
            "AnalysisRun" | "Experiment" => {
                let asked = changed.object.pointer("/spec/terminate").and_then(Value::as_bool) == Some(true);
                if asked && !changed.gone {
                    let name = changed.key.name.clone();
                    let at = now + 300;
                    self.agenda.push((at, Todo::EndRun(name, changed.kind.kind == "Experiment", usize::MAX)));
                }
            }
            _ => {}
        }
    }

    /// A run begins.
    pub fn begin_run(&mut self, name: &str, experiment: bool, cell: usize, now: u64) {
        let kind = kind_of(experiment);
        let object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"namespace": "default", "name": name},
            "spec": {}, "status": {"phase": "Running"},
        });
        _ = self.write(&kind, ApiCall::Create(object), now);
        let at = now + if self.calm { 5_000 } else { self.rng.between(2_000, 45_000) };
        self.agenda.push((at, Todo::EndRun(name.to_owned(), experiment, cell)));
    }

    /// A run ends.
    pub fn end_run(&mut self, name: &str, experiment: bool, cell: usize, now: u64) {
        let kind = kind_of(experiment);
        let key = Key::new("default", name);
        let Ok(mut object) = self.world.with(|state| state.api.present(&kind, &key).map(|own| own.as_ref().clone()))
        else {
            return;
        };
        if object.pointer("/status/phase") != Some(&json!("Running")) {
            return;
        }
        let terminated = object.pointer("/spec/terminate").is_some();
        let verdict = if terminated { None } else { self.engine.verdicts.get_mut(&cell).and_then(VecDeque::pop_front) };
        let phase = verdict.unwrap_or(RunPhase::Successful);
        if let Some(status) = object.get_mut("status") {
            *status = json!({"phase": phase});
        }
        self.trace.line(now, format_args!("{name} ends {phase:?}"));
        _ = self.write(&kind, ApiCall::Update(object), now);
    }
}

/// Names of the runs that a Cell waits for.
fn runs_of(cell: &Value) -> Vec<String> {
    let Some(rollout) = cell.pointer("/status/rollout").filter(|own| own.get("finishedAt").is_none()) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    if let Some(run) = rollout.get("currentStepRun").and_then(Value::as_str)
        && !run.ends_with("-pause")
    {
        names.push(run.to_owned());
    }
    let count = cell.pointer("/status/rolloutCount").and_then(Value::as_i64);
    let name = cell.pointer("/metadata/name").and_then(Value::as_str);
    if let (Some(count), Some(name), Some(_)) = (count, name, rollout.get("analysis")) {
        names.push(format!("{name}-r{count}-bg"));
    }
    names
}

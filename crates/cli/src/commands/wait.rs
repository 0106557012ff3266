//! `wait`: until a Cell is as asked.

use std::time::Duration;

use okra_api::{
    Cell, CellStatus,
    cell_status::{CellPhase, RolloutOutcome},
    condition,
};
use okra_provider::Key;
use serde_json::Value;

use crate::{
    args::duration,
    context::Context,
    error::{CommandError, ExitStatus},
    follow::{Seen, deadline, follow, next_until},
};

/// Wait until a Cell is as asked. Exit code 1 when that does not come true in time, or cannot any more.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Cell's name.
    name: String,
    /// `phase=Healthy`, `condition=Ready` or `condition=Degraded=False`, `rollout=Succeeded`, or `step=2` (that step or
    /// a later one has begun, counted from 1 as `get cell NAME` shows them).
    #[arg(long = "for", value_name = "CONDITION")]
    goal: Goal,
    /// How long to wait.
    #[arg(long, default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    Phase(CellPhase),
    Condition {
        type_: String,
        status: String,
    },
    Rollout(RolloutOutcome),
    /// Counted from 1.
    Step(i32),
}

impl std::str::FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let usage = "write phase=Healthy, condition=Ready, condition=Degraded=False, rollout=Succeeded or step=2";
        let (what, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" has no value: {usage}"))?;
        let word = || Value::String(value.to_owned());
        let bad = |what: &str| format!("\"{value}\" is no {what}: {usage}");
        match what {
            "phase" => serde_json::from_value(word()).map(Self::Phase).map_err(|_| bad("phase of a Cell")),
            "rollout" => serde_json::from_value(word()).map(Self::Rollout).map_err(|_| bad("outcome of a rollout")),
            "step" => match value.parse() {
                Ok(step) if (1..=51).contains(&step) => Ok(Self::Step(step)),
                _ => Err(bad("number of a step")),
            },
            "condition" => {
                let (type_, status) = value.split_once('=').unwrap_or((value, "True"));
                if type_.is_empty() || !["True", "False", "Unknown"].contains(&status) {
                    return Err(bad("condition"));
                }
                Ok(Self::Condition { type_: type_.to_owned(), status: status.to_owned() })
            }
            _ => Err(format!("\"{what}\" cannot be waited for: {usage}")),
        }
    }
}

/// How far the goal is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Reached,
    NotYet(String),
    Never(String),
}

impl Goal {
    fn state(&self, cell: &Cell) -> State {
        let Some(status) = &cell.status else { return State::NotYet("okrad has not looked at it yet".to_owned()) };
        if status.observed_generation < cell.metadata.generation {
            return State::NotYet("okrad has not acted on the latest spec yet".to_owned());
        }
        match self {
            Self::Phase(phase) => phase_state(status, *phase),
            Self::Condition { type_, status: wanted } => match condition::find(&status.conditions, type_) {
                Some(found) if found.status == *wanted => State::Reached,
                Some(found) => State::NotYet(format!("{type_} is {}: {}", found.status, found.message)),
                None => State::NotYet(format!("it has no condition {type_}")),
            },
            Self::Rollout(outcome) => rollout_state(status, *outcome),
            Self::Step(step) => step_state(status, *step),
        }
    }
}

fn phase_state(status: &CellStatus, wanted: CellPhase) -> State {
    match status.phase {
        Some(phase) if phase == wanted => State::Reached,
        // The rollout ended and nothing moves until a person acts.
        Some(CellPhase::Failed) if wanted == CellPhase::Healthy => State::Never(words(status)),
        _ => State::NotYet(words(status)),
    }
}

fn rollout_state(status: &CellStatus, wanted: RolloutOutcome) -> State {
    let Some(rollout) = &status.rollout else { return State::NotYet("there is no rollout yet".to_owned()) };
    match (rollout.outcome, rollout.finished_at) {
        (Some(outcome), Some(_)) if outcome == wanted => State::Reached,
        (Some(outcome), _) if outcome != wanted => {
            let why = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
            State::Never(format!("the rollout of {} is {outcome:?}{why}", rollout.version))
        }
        _ => State::NotYet(words(status)),
    }
}

fn step_state(status: &CellStatus, wanted: i32) -> State {
    let Some(rollout) = &status.rollout else { return State::NotYet("there is no rollout yet".to_owned()) };
    if rollout.current_step_index + 1 >= wanted {
        return State::Reached;
    }
    if rollout.steps_total < wanted {
        return State::Never(format!("the rollout of {} has {} steps", rollout.version, rollout.steps_total));
    }
    match rollout.outcome {
        Some(outcome) => State::Never(format!("the rollout of {} is {outcome:?}", rollout.version)),
        None => State::NotYet(words(status)),
    }
}

fn words(status: &CellStatus) -> String {
    let phase = status.phase.map_or("Unknown".to_owned(), |phase| format!("{phase:?}"));
    let gap = if status.message.is_empty() { "" } else { ": " };
    format!("it is {phase}{gap}{}", crate::style::one_line(&status.message))
}

/// Waits.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let key = Key::of_typed(&context.cell(&args.name).await?);
    let session = context.session().await?;
    let until = deadline(args.timeout);
    let mut changes = follow(&session.store, &key);
    let mut last = String::new();
    let what = || format!("Cell {key} is not as asked");
    while let Some(seen) = next_until(&mut changes, until).await {
        match seen {
            Seen::Now(cell) => match args.goal.state(&cell) {
                State::Reached => {
                    context.printer.result(&format!("cell/{} condition met", key.name))?;
                    return Ok(ExitStatus::Ok);
                }
                State::Never(why) => {
                    return Err(CommandError::failed(what(), format!("{why}; it cannot come true any more")));
                }
                State::NotYet(why) if why != last => {
                    context.printer.note(&why);
                    last = why;
                }
                State::NotYet(_) => {}
            },
            Seen::Gone => return Err(CommandError::failed(what(), "it was deleted")),
            Seen::Trouble(why) => context.printer.note(&format!("{why}; trying again")),
        }
    }
    let gap = if last.is_empty() { "" } else { "; " };
    let timeout = crate::render::duration(args.timeout.try_into().unwrap_or_default());
    Err(CommandError::failed(what(), format!("timed out after {timeout}{gap}{last}"))
        .hint(format!("see why with `explain {}`", key.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures;

    fn state(goal: &str, cell: &Cell) -> State {
        goal.parse::<Goal>().unwrap().state(cell)
    }

    #[test]
    fn goals_are_reached_not_yet_or_never() {
        let (healthy, pausing) = (fixtures::healthy().0, fixtures::waiting_for_pause().0);
        let (failed, back) = (fixtures::failed().0, fixtures::rolling_back().0);
        for (goal, cell, expected) in [
            ("phase=Healthy", &healthy, "Reached"),
            ("phase=Healthy", &pausing, "NotYet"),
            ("phase=Healthy", &failed, "Never"),
            ("phase=Paused", &pausing, "Reached"),
            ("condition=Ready", &healthy, "Reached"),
            ("condition=Ready=False", &healthy, "NotYet"),
            ("condition=Nothing", &healthy, "NotYet"),
            ("rollout=Succeeded", &healthy, "Reached"),
            ("rollout=Succeeded", &pausing, "NotYet"),
            ("rollout=Succeeded", &back, "Never"),
            ("rollout=Failed", &back, "NotYet"),
            ("rollout=Failed", &failed, "Reached"),
            ("step=2", &pausing, "Reached"),
            ("step=3", &pausing, "NotYet"),
            ("step=9", &pausing, "Never"),
            ("step=5", &back, "Never"),
        ] {
            let state = state(goal, cell);
            assert!(format!("{state:?}").starts_with(expected), "{goal}: {state:?}");
        }
        assert!(matches!(state("phase=Healthy", &fixtures::cell()), State::NotYet(_)));
    }

    #[test]
    fn a_status_that_is_behind_the_spec_reaches_nothing() {
        let (mut cell, _) = fixtures::healthy();
        cell.metadata.generation = Some(4);
        assert!(matches!(state("phase=Healthy", &cell), State::NotYet(_)));
    }

    #[test]
    fn refuses_what_cannot_be_waited_for() {
        for text in
            ["phase", "phase=Fine", "step=0", "step=x", "rollout=Good", "condition=", "condition=A=Maybe", "a=b"]
        {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }
}

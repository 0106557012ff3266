//! `watch`: a line for each change.

use futures::StreamExt as _;
use okra_api::{
    Cell,
    cell_status::{CellPhase, RolloutOutcome},
};
use okra_provider::Key;

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
    follow::{Seen, follow},
    printer::Output,
    render::{clock_time, phase_paint, shares},
    style::{Paint, Style, one_line},
};

/// Print a line for each change of a Cell's weights, step and phase, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Cell's name.
    name: String,
    /// End when no rollout is under way any more: exit code 0 when the last one succeeded, else 1.
    #[arg(long)]
    until_done: bool,
}

/// Prints them.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let cell = context.cell(&args.name).await?;
    let session = context.session().await?;
    let key = Key::of_typed(&cell);
    let mut changes = follow(&session.store, &key);
    let mut last = None;
    loop {
        let seen = tokio::select! {
            biased;
            interrupt = tokio::signal::ctrl_c() => {
                return interrupt.map(|()| ExitStatus::Ok)
                    .map_err(|error| CommandError::internal("failed to wait for Ctrl-C", error));
            }
            seen = changes.next() => seen,
        };
        match seen {
            Some(Seen::Now(cell)) => {
                let now = View::of(&cell);
                if last.as_ref() != Some(&now) {
                    print(&cell, &now, context)?;
                    last = Some(now);
                }
                if let Some(status) = done(&cell).filter(|_| args.until_done) {
                    return Ok(status);
                }
            }
            Some(Seen::Gone) => {
                return Err(CommandError::failed(format!("stopped watching Cell {key}"), "it was deleted"));
            }
            Some(Seen::Trouble(why)) => context.printer.note(&format!("{why}; trying again")),
            None => return Err(CommandError::internal(format!("stopped watching Cell {key}"), "the watch ended")),
        }
        if context.printer.is_closed() {
            return Ok(ExitStatus::Ok);
        }
    }
}

/// What a line shows; a change of anything else prints none.
#[derive(Clone, Debug, PartialEq)]
struct View {
    phase: Option<CellPhase>,
    step: String,
    weights: String,
    outcome: Option<RolloutOutcome>,
}

impl View {
    fn of(cell: &Cell) -> Self {
        let status = cell.status.clone().unwrap_or_default();
        let rollout = status.rollout.as_ref();
        let step = rollout.filter(|rollout| rollout.finished_at.is_none()).map_or_else(
            || "no rollout".to_owned(),
            |rollout| match rollout.steps_total {
                0 => format!("{} without steps", rollout.version),
                total if rollout.current_step_index >= total => format!("{} steps done", rollout.version),
                total => format!("{} step {}/{total}", rollout.version, rollout.current_step_index + 1),
            },
        );
        let outcome = rollout.and_then(|rollout| rollout.outcome);
        Self { phase: status.phase, step, weights: shares(&status), outcome }
    }

    fn line(&self, message: &str, now: jiff::Timestamp, style: &Style) -> String {
        let phase = self.phase.map_or_else(
            || style.paint(Paint::Dim, &format!("{:<12}", "Unknown")),
            |phase| style.paint(phase_paint(phase), &format!("{:<12}", format!("{phase:?}"))),
        );
        let weights = if self.weights.is_empty() { "no traffic" } else { &self.weights };
        let line = format!("{}  {phase}  {:<20}  {weights:<24}  {}", clock_time(now), self.step, one_line(message));
        line.trim_end().to_owned()
    }
}

fn print(cell: &Cell, view: &View, context: &mut Context) -> Result<(), CommandError> {
    let status = cell.status.clone().unwrap_or_default();
    let now = context.now();
    match context.printer.output() {
        Output::Json | Output::Yaml => {
            let rollout = status.rollout.as_ref();
            // One line each: a reader of a stream needs to know where a record ends.
            let line = serde_json::json!({
                "time": now,
                "phase": status.phase,
                "rollout": rollout.map(|rollout| &rollout.id),
                "step": rollout.map(|rollout| rollout.current_step_index),
                "outcome": view.outcome,
                "targetGroups": status.target_groups,
                "message": status.message,
            });
            context.printer.result(&line.to_string())
        }
        Output::Name | Output::Table | Output::Wide => {
            let line = view.line(&status.message, now, context.printer.style());
            context.printer.result(&line)
        }
    }
}

/// How it ended, once nothing is under way and okrad has seen the latest spec.
fn done(cell: &Cell) -> Option<ExitStatus> {
    let status = cell.status.as_ref()?;
    if status.observed_generation < cell.metadata.generation {
        return None;
    }
    let rollout = status.rollout.as_ref()?;
    rollout.finished_at?;
    let good = rollout.outcome == Some(RolloutOutcome::Succeeded);
    Some(if good { ExitStatus::Ok } else { ExitStatus::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures::{self, NOW};

    fn line(cell: &Cell) -> String {
        let message = cell.status.as_ref().map(|status| status.message.clone()).unwrap_or_default();
        View::of(cell).line(&message, NOW, &Style::plain("okractl"))
    }

    #[test]
    fn a_line_has_time_phase_step_and_weights() {
        let lines = [fixtures::waiting_for_pause().0, fixtures::healthy().0, fixtures::degraded().0, fixtures::cell()]
            .map(|cell| line(&cell));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn it_is_done_when_the_traffic_rests() {
        assert_eq!(done(&fixtures::healthy().0), Some(ExitStatus::Ok));
        assert_eq!(done(&fixtures::failed().0), Some(ExitStatus::Failed));
        assert_eq!(done(&fixtures::rolling_back().0), None);
        assert_eq!(done(&fixtures::cell()), None);
        let (mut behind, _) = fixtures::healthy();
        behind.metadata.generation = Some(9);
        assert_eq!(done(&behind), None);
    }
}

//! `history`: the last rollouts.

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
    printer::to_value,
    render::history_rows,
};

/// Show the last rollouts of a Cell: who, what, why, how long.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Cell's name.
    name: String,
}

/// Prints them, the newest first.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let cell = context.cell(&args.name).await?;
    let printer = &mut context.printer;
    if printer.output().is_for_programs() {
        let history = cell.status.as_ref().map(|status| status.history.clone()).unwrap_or_default();
        let ids: Vec<String> = history.iter().map(|record| record.id.clone()).collect();
        printer.value(&to_value(&history)?, &ids.join("\n"))?;
        return Ok(ExitStatus::Ok);
    }
    let rows = history_rows(&cell, jiff::Timestamp::now(), printer.style());
    if rows.is_empty() {
        printer.note("no rollout yet");
    }
    printer.result(&rows.join("\n"))?;
    Ok(ExitStatus::Ok)
}

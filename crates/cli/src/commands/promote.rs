//! `promote`: skip a step, or all that remain.

use okra_api::Verb;

use crate::{
    args::{Cells, Waiting},
    context::Context,
    error::{CommandError, ExitStatus},
    request::{self, Ask},
};

/// Skip the current step of a rollout, or all remaining ones. Never skips the health floor.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cells: Cells,
    /// Skip all remaining steps.
    #[arg(long)]
    full: bool,
    /// Only while the rollout is at this step, counted from 1 as `get cell NAME` shows them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=50))]
    step: Option<i32>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Asks for it and waits for the answer.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let mut ask = Ask::new(Verb::Promote).at_step(args.step.map(|step| step - 1));
    if args.full {
        ask = ask.with("full", "true");
    }
    request::run(&args.cells, args.waiting, &ask, context).await
}

//! `resume`: go on.

use okra_api::Verb;

use crate::{
    args::{Cells, Waiting},
    context::Context,
    error::{CommandError, ExitStatus},
    request::{self, Ask},
};

/// Go on after a pause, an inconclusive analysis, a lost status or a foreign edit.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cells: Cells,
    /// After a foreign edit: keep the weights that somebody else set, until the next weight step.
    #[arg(long, conflicts_with = "restore")]
    accept_weights: bool,
    /// After a foreign edit: put back what Okra wants.
    #[arg(long)]
    restore: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Asks for it and waits for the answer.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let mut ask = Ask::new(Verb::Resume);
    if args.accept_weights {
        ask = ask.with("acceptWeights", "true");
    }
    if args.restore {
        ask = ask.with("restore", "true");
    }
    request::run(&args.cells, args.waiting, &ask, context).await
}

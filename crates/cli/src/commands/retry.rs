//! `retry`: unblock the version that failed and begin again.

use okra_api::Verb;

use crate::{
    args::{Cells, Waiting},
    context::Context,
    error::{CommandError, ExitStatus},
    request::{self, Ask},
};

/// Unblock the version that failed and begin again at the first step.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cells: Cells,
    #[command(flatten)]
    waiting: Waiting,
}

/// Asks for it and waits for the answer.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    request::run(&args.cells, args.waiting, &Ask::new(Verb::Retry), context).await
}

//! `abort`: the stable version to 100 in one call, the new one blocked.

use okra_api::Verb;

use crate::{
    args::{Cells, Waiting},
    context::Context,
    error::{CommandError, ExitStatus},
    request::{self, Ask},
};

/// Take a rollout back: the stable version to 100 in one call, the new one blocked.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cells: Cells,
    #[command(flatten)]
    waiting: Waiting,
}

/// Asks for it and waits for the answer.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    request::run(&args.cells, args.waiting, &Ask::new(Verb::Abort), context).await
}

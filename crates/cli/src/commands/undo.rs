//! `undo`: back to the version before, after success.

use okra_api::Verb;

use crate::{
    args::{Cells, Waiting},
    context::Context,
    error::{CommandError, ExitStatus},
    request::{self, Ask},
};

/// Go back to the version before after a rollout succeeded; the newer ones are blocked.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cells: Cells,
    /// Go back to this version.
    #[arg(long, value_name = "VERSION", value_parser = request::version)]
    to: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Asks for it and waits for the answer.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let mut ask = Ask::new(Verb::Undo);
    if let Some(to) = &args.to {
        ask = ask.with("to", to);
    }
    request::run(&args.cells, args.waiting, &ask, context).await
}

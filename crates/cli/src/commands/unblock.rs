//! `unblock`: take a version off the blocklist.

use okra_api::Verb;

use crate::{
    args::{Cells, Waiting},
    context::Context,
    error::{CommandError, ExitStatus},
    request::{self, Ask},
};

/// Take a version off the blocklist, so that it may roll out again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The version.
    #[arg(value_name = "VERSION", value_parser = request::version)]
    blocked: String,
    #[command(flatten)]
    cells: Cells,
    #[command(flatten)]
    waiting: Waiting,
}

/// Asks for it and waits for the answer.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let ask = Ask::new(Verb::Unblock).with("version", &args.blocked);
    request::run(&args.cells, args.waiting, &ask, context).await
}

//! The command line of Okra for CI jobs.

mod args;

use clap::{CommandFactory as _, Parser as _};
use okra_cli::{Context, commands};

use self::args::{Okra, Verb};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let args = Okra::parse();
    okra_cli::run("okra", args.global, Okra::command, async |context: &mut Context| match args.verb {
        Verb::Crd => commands::crd::run(context),
        Verb::Shared(verb) => commands::run(verb, context).await,
    })
    .await
}

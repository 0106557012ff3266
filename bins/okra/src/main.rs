//! The command line of Okra for CI jobs.

mod analyze;
mod args;
mod clusters;
mod demo;
mod eks;
mod sync;

use clap::{CommandFactory as _, Parser as _};
use okra_cli::{Context, commands};

use self::args::{Okra, Verb};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args = Okra::parse();
    let global = args.global.clone();
    okra_cli::run("okra", args.global, Okra::command, async |context: &mut Context| match args.verb {
        Verb::Analyze(args) => analyze::run(args, context).await,
        Verb::Clusters(args) => clusters::run(args, context).await,
        Verb::Crd => commands::crd::run(context),
        Verb::Demo(args) => demo::run(args, context).await,
        Verb::Eks(args) => eks::run(args, context).await,
        Verb::Sync(args) => sync::run(args, &global, context).await,
        Verb::Shared(verb) => {
            context.speak_to_clusters(okra_app::clusters::clusters_of_a_command);
            commands::run(verb, context).await
        }
    })
    .await
}

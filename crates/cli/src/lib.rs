//! What the two command lines share: arguments, printing, waiting, exit codes.
//!
//! `okractl` and `okra` parse their own command line and hand the verb to [`run`]. Everything that is printed goes
//! through [`Printer`]; everything that fails is a [`CommandError`].

pub mod analysis_run;
pub mod analyze;
pub mod args;
pub mod commands;
pub mod context;
pub mod error;
pub mod follow;
pub mod lint;
pub mod manifests;
pub mod observe;
pub mod printer;
pub mod render;
pub mod request;
pub mod selector;
pub mod session;
pub mod style;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub use args::{Global, Okractl, Verb};
pub use context::Context;
pub use error::{CommandError, ExitStatus};
pub use printer::{Output, Printer};
pub use style::Style;

/// The whole of okractl: reads the command line, runs the verb, says what went wrong.
pub async fn okractl() -> ExitCode {
    let args = Okractl::parse();
    run("okractl", args.global, Okractl::command, async |context: &mut Context| commands::run(args.verb, context).await)
        .await
}

/// Runs one command of a program and turns its end into an exit code.
pub async fn run<F>(program: &str, global: Global, command: fn() -> clap::Command, verb: F) -> ExitCode
where
    F: AsyncFnOnce(&mut Context) -> Result<ExitStatus, CommandError>,
{
    let printer = Printer::standard(global.output, &as_typed(program, &global));
    let mut context = Context::new(global, printer, command);
    let status = match verb(&mut context).await {
        Ok(status) => status,
        Err(error) => {
            context.printer.error(&error);
            error.status()
        }
    };
    status.into()
}

/// How the reader calls the program, so that the commands on a page can be copied: the store and the context are said
/// again. They would come from the environment otherwise.
fn as_typed(program: &str, global: &Global) -> String {
    let mut words = vec![program.to_owned()];
    if global.store != session::StoreChoice::Kubernetes {
        words.push(format!("--store {}", global.store));
    }
    if let Some(path) = &global.kubeconfig {
        words.push(format!("--kubeconfig {}", path.display()));
    }
    if let Some(context) = &global.context {
        words.push(format!("--context {context}"));
    }
    words.join(" ")
}

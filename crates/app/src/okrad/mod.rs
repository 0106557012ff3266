//! `okrad`: the controllers as a process.

mod args;
mod run;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

pub use args::{AnalysisEngine, Args, AwsRateLimits, LogFormat, StoreLocation};
pub(crate) use run::analysis;
pub use run::run;

use crate::telemetry;

/// What is left of the process's tasks is cut off after this time; all that counts has been waited for before.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs `okrad` with these arguments, the program's name first, until it is told to stop. Exit code 0 after a clean
/// stop, 1 when it failed or lost its lease, 2 when the arguments are wrong.
pub fn main(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args.normalized(),
        Err(error) => return usage(&error),
    };
    if let Err(error) = telemetry::init(args.log_format, args.log_level.as_deref()) {
        return usage(&Args::command().error(ErrorKind::ValueValidation, error));
    }
    match block_on(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "Ends");
            ExitCode::FAILURE
        }
    }
}

fn block_on(args: Args) -> anyhow::Result<()> {
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(args));
    runtime.shutdown_timeout(LEFTOVERS);
    result
}

/// One TLS stack for every client of the process; to be called before the first one is made.
pub fn install_tls_provider() {
    // An error says that there is one already: the same, since no other is linked.
    let _present = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Prints help and versions to standard output, mistakes to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe leaves nobody to tell.
    let _closed = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

//! Writes the files that are generated from code: `cargo run -p xtask -- crds`.
//!
//! Each command has a `--check` that compares instead of writing, for CI.

mod crds;
mod files;
mod reference;

// The shape of okra's command line alone: with the crate around it, every run would build the AWS SDK.
#[path = "../../bins/okra/src/args.rs"]
mod okra_args;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::files::Files;

#[derive(Debug, Parser)]
#[command(about = "Writes the files that are generated from code.")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write config/crd and config/crd-argo, one file per kind.
    Crds {
        /// Compare instead of writing.
        #[arg(long)]
        check: bool,
    },
    /// Write docs/reference.
    Reference {
        /// Compare instead of writing.
        #[arg(long)]
        check: bool,
    },
    /// Compare all generated files.
    Check,
}

fn main() -> anyhow::Result<ExitCode> {
    let (files, check) = match Args::parse().task {
        Task::Crds { check } => (vec![crds::files()?, crds::argo_files()?], check),
        Task::Reference { check } => (vec![reference::files()?], check),
        Task::Check => (vec![crds::files()?, crds::argo_files()?, reference::files()?], true),
    };
    let root = files::root()?;
    let mut stale = Vec::new();
    for files in &files {
        if check {
            stale.extend(files.stale(&root)?.into_iter().map(|path| (path, files.target)));
        } else {
            files.write(&root)?;
        }
    }
    Ok(report(&stale))
}

#[allow(clippy::print_stderr, reason = "this program's only way to say what is stale")]
fn report(stale: &[(String, &'static str)]) -> ExitCode {
    for (path, target) in stale {
        eprintln!("{path} is not what the code says: run `make {target}`");
    }
    if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Files {
    /// Files that `make TARGET` writes.
    fn of(target: &'static str, folder: &'static str) -> Self {
        Self { target, folder, owns: None, contents: Vec::new() }
    }
}

//! What can be said on the command line of okra: every command of okractl, and its own.

use okra_cli::Global;

/// Everything that okrad and okractl do, as commands for CI jobs.
#[derive(Debug, clap::Parser)]
#[command(name = "okra", version, propagate_version = true, max_term_width = 100)]
pub struct Okra {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The commands of okra.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Print Okra's CustomResourceDefinitions as YAML, for `kubectl apply -f -`.
    Crd,
    /// A command of okractl.
    #[command(flatten)]
    Shared(okra_cli::Verb),
}

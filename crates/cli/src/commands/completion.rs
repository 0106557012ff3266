//! `completion`: a script for a shell.

use clap_complete::{Shell, generate};

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
};

/// Print a script that completes commands in a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: KnownShell,
}

/// The shells that are supported.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum KnownShell {
    /// `source <(okractl completion bash)`
    Bash,
    /// `okractl completion zsh > "${fpath[1]}/_okractl"`
    Zsh,
    /// `okractl completion fish | source`
    Fish,
}

/// Prints it.
pub fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let shell = match args.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    let mut command = (context.command)();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut command, name, &mut script);
    context.printer.result(&String::from_utf8_lossy(&script))?;
    Ok(ExitStatus::Ok)
}

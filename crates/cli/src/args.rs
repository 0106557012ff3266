//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{commands, error::CommandError, printer::Output, selector::Selector, session::StoreChoice};

/// See what Okra's Cells do, and tell them what to do.
///
/// It reads and writes objects of the store that okrad uses, never a load balancer. What is asked of a rollout
/// is never written into a spec, so nothing of it fights with what a GitOps tool applies; only `create` and `upsert` make
/// objects from flags.
#[derive(Debug, Parser)]
#[command(name = "okractl", version, propagate_version = true, max_term_width = 100)]
pub struct Okractl {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// Where the objects are: `kubernetes`, or `dir:PATH` for a directory of manifests.
    #[arg(long, global = true, env = "OKRA_STORE", hide_env_values = true, default_value = "kubernetes")]
    pub store: StoreChoice,
    /// The kubeconfig. Default: the files of KUBECONFIG, then ~/.kube/config, then the pod's service account.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context. Default: its current one.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The namespace. Default: the context's, else `default`.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
}

/// The commands that okractl and okra share.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show objects; `get cell NAME` shows everything about a Cell on one page.
    #[command(alias = "list", disable_version_flag = true)]
    Get(commands::get::Args),
    /// Show all that is known of one object.
    Describe(commands::describe::Args),
    /// Say what a Cell waits for and why.
    Explain(commands::explain::Args),
    /// Show what okrad would decide now; nothing is written.
    Plan(commands::plan::Args),
    /// Print a line for each change of a Cell's weights, step and phase.
    Watch(commands::watch::Args),
    /// Show the last rollouts of a Cell: who, what, why, how long.
    History(commands::history::Args),
    /// Skip the current step of a rollout, or all remaining ones. Never skips the health floor.
    Promote(commands::promote::Args),
    /// Hold the weights until `resume`.
    Pause(commands::pause::Args),
    /// Go on after a pause, an inconclusive analysis, a lost status or a foreign edit.
    Resume(commands::resume::Args),
    /// Take a rollout back: the stable version to 100 in one call, the new one blocked.
    Abort(commands::abort::Args),
    /// Go back to the version before after a rollout succeeded; the newer ones are blocked.
    Undo(commands::undo::Args),
    /// Unblock the version that failed and begin again at the first step.
    Retry(commands::retry::Args),
    /// Take a version off the blocklist.
    Unblock(commands::unblock::Args),
    /// Take one target group to weight 0 and keep it there.
    Drain(commands::drain::DrainArgs),
    /// Let a drained target group serve again, once its targets are healthy.
    Undrain(commands::drain::UndrainArgs),
    /// Find what is wrong with manifests, before they are applied. It needs no cluster.
    ///
    /// AnalysisTemplates, ClusterAnalysisTemplates and AnalysisRuns are looked at in depth: fields, Argo's own rules,
    /// arguments that nobody resolves, conditions that do not fit what the provider gives, limits that are never reached.
    /// So are the analyses of Cells whose templates are in the same files. Other kinds of okra and Experiments are held
    /// against their schema; the kinds of others are left alone.
    ///
    /// Exit code 0: nothing, or warnings only. 1: errors; with --strict also warnings. 2: a file cannot be read.
    Lint(commands::lint::Args),
    /// Wait until a Cell is as asked.
    Wait(commands::wait::Args),
    /// End something.
    Cancel(commands::cancel::Args),
    /// Make an object.
    Create(commands::create::Args),
    /// Remove an object.
    Delete(commands::delete::Args),
    /// Set what an object says of itself.
    Update(commands::update::Args),
    /// Make an object from flags, or bring it up to them.
    Upsert(commands::upsert::Args),
    /// Run something, and wait for its verdict if asked to.
    Run(commands::run::Args),
    /// Print a script that completes commands in a shell.
    Completion(commands::completion::Args),
    /// Print the version of this program.
    Version,
}

/// One Cell, or all that a selector selects.
#[derive(Clone, Debug, Args)]
pub struct Cells {
    /// The Cell's name.
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    pub name: Option<String>,
    /// Act on every Cell with these labels.
    #[arg(short = 'l', long)]
    pub selector: Option<Selector>,
    /// Look for them in every namespace.
    #[arg(short = 'A', long, requires = "selector", conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// How a request is waited for.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Do not wait until okrad has accepted or refused the request.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for that.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: std::time::Duration,
}

/// A duration from the command line: `90s`, `10m`, or plain seconds.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    let length = okra_api::GoDuration::from(text).get().map_err(|error| error.to_string())?;
    std::time::Duration::try_from(length).map_err(|error| error.to_string())
}

/// The name in `NAME` or `KIND/NAME`, where KIND must be one of `kinds`.
pub fn bare_name<'a>(text: &'a str, kinds: &[&str]) -> Result<&'a str, CommandError> {
    match text.split_once('/') {
        None => Ok(text),
        Some((kind, name)) if kinds.contains(&kind.to_ascii_lowercase().as_str()) => Ok(name),
        Some(_) => {
            let what = format!("\"{text}\" is not a name here");
            Err(CommandError::usage(what, format!("write NAME or {}/NAME", kinds.first().unwrap_or(&"kind"))))
        }
    }
}

/// How a Cell's kind may be spelled before its name.
pub const CELL_KINDS: [&str; 2] = ["cell", "cells"];

/// How an AnalysisRun's kind may be spelled before its name.
pub const RUN_KINDS: [&str; 3] = ["analysisrun", "analysisruns", "ar"];

/// `KEY=VALUE` of the command line.
pub fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" is not KEY=VALUE"))?;
    match (key.trim(), value.trim()) {
        ("", _) => Err(format!("\"{text}\" has no key: write KEY=VALUE")),
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Okractl::command().debug_assert();
    }

    #[test]
    fn a_name_or_a_selector_is_required() {
        for (line, good) in [
            ("okractl abort web", true),
            ("okractl abort -l app=web -A", true),
            ("okractl abort", false),
            ("okractl abort web -l app=web", false),
            ("okractl abort -A", false),
            ("okractl abort -l app=web -A -n shop", false),
            ("okractl abort -l app=", true),
            ("okractl abort -l =web", false),
            ("okractl resume web --accept-weights --restore", false),
            ("okractl unblock 1.2.0 web", true),
            ("okractl unblock 1.2.0", false),
            ("okractl wait web --for=phase=Healthy --timeout 10m", true),
            ("okractl wait web --for=phase=Fine", false),
            ("okractl wait web --for=phase=Healthy --timeout soon", false),
            ("okractl get cells -o wide --store dir:/tmp/x", true),
            ("okractl get cells --store nfs:/tmp/x", false),
            ("okractl get pods", false),
        ] {
            let parsed = Okractl::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), good, "{line}: {:?}", parsed.err().map(|error| error.to_string()));
        }
    }

    #[test]
    fn names_may_carry_their_kind() {
        assert_eq!(bare_name("web", &CELL_KINDS).unwrap(), "web");
        assert_eq!(bare_name("Cell/web", &CELL_KINDS).unwrap(), "web");
        assert!(bare_name("pod/web", &CELL_KINDS).is_err());
    }
}

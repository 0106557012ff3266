//! The whole-system benchmark: the release build of okrad as a process, on a real API server and on a stub of ELBv2
//! that costs microseconds. `make bench` runs it; `make bench-compare BASE=report.json` sets two reports side by
//! side. What each workload does is told by its module; what the figures do not show, by [`report::CAVEATS`].

mod audit;
mod compare;
mod fleet;
mod metrics;
mod process;
mod report;
mod rig;
mod statistics;
mod workload;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{report::Report, workload::Workload};

/// The whole-system benchmark of okrad.
#[derive(Debug, Parser)]
#[command(name = "okra-bench", max_term_width = 110)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run workloads, print their table, and write the report
    Run(RunArgs),
    /// Print the ratios of a report to an older one
    Compare {
        /// The older report
        base: PathBuf,
        /// The newer report
        #[arg(long, default_value = "target/bench/report.json")]
        with: PathBuf,
    },
}

/// What is run, and how.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Workloads, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Workload>,
    /// The okrad to measure
    #[arg(long, default_value = "target/release/okrad")]
    okrad: PathBuf,
    /// Where the report goes
    #[arg(long, default_value = "target/bench/report.json")]
    out: PathBuf,
    /// Seconds of each look at okrad at rest
    #[arg(long, default_value_t = 120)]
    rest: u64,
    /// Cells of the workload at rest, one run each
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    cells: Vec<usize>,
    /// Cells in one namespace of the workload at rest
    #[arg(long, default_value_t = 1_000)]
    per_namespace: usize,
}

impl RunArgs {
    fn rest(&self) -> Duration {
        Duration::from_secs(self.rest)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.command {
        Command::Compare { base, with } => compare::print(&base, &with),
        Command::Run(args) => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new(&args.okrad)?;
    let chosen = if args.only.is_empty() { Workload::ALL.to_vec() } else { args.only.clone() };
    for workload in chosen {
        report::say(&format!("{}: {}", workload.name(), workload.about()));
        // One that fails is reported as such, and the others go on.
        if let Err(error) = runtime.block_on(workload.run(args, &mut report)) {
            report.fail(workload.name(), &format!("{error:#}"));
        }
        report.write(&args.out)?;
    }
    report.print();
    anyhow::ensure!(!report.has_failed(), "a workload did not come to its end");
    Ok(())
}

//! `run analysis`: a run of a template, and its verdict.

use std::time::Duration;

use okra_api::{
    AnalysisRun, RunPhase,
    analysis::{AnalysisRunStatus, MetricResult},
};
use okra_provider::Key;

use super::create::{make, tell};
use crate::{
    analysis_run::{NewRun, RunName},
    args::duration,
    context::Context,
    error::{CommandError, ExitStatus},
    follow::{Seen, deadline, follow_object, next_until},
    render::measurement_line,
};

/// Run something, and wait for its verdict if asked to.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be run.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make an AnalysisRun of an AnalysisTemplate, for okrad to run.
    ///
    /// Exit code without --wait: 0 when it is made. With --wait its verdict: 0 Successful, 1 Failed, 4 Inconclusive, 5
    /// Error; also 1 when there is no verdict within --timeout. Each measurement is told on stderr. Whoever stops
    /// waiting, by Ctrl-C or the timeout, does not stop the run.
    Analysis(Run),
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    name: RunName,
    /// What it is made of.
    #[command(flatten)]
    new: NewRun,
    /// Wait for the verdict, which is the exit code.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// How long to wait for it.
    #[arg(long, default_value = "1h", value_parser = duration, requires = "wait")]
    timeout: Duration,
}

/// Runs it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let What::Analysis(Run { name, new, wait, timeout }) = args.what;
    let made = make(name.get()?, &new, context).await?;
    if new.dry_run {
        return Ok(ExitStatus::Ok);
    }
    if !wait {
        tell(&made, "created", context)?;
        return Ok(ExitStatus::Ok);
    }
    let key = Key::of_typed(&made);
    context.printer.note(&format!("analysisrun.argoproj.io/{} created", key.name));
    verdict(&key, made.metadata.uid.as_deref(), timeout, context).await
}

/// Waits for the verdict of a run, and tells its measurements as they come.
async fn verdict(
    key: &Key,
    uid: Option<&str>,
    timeout: Duration,
    context: &mut Context,
) -> Result<ExitStatus, CommandError> {
    let session = context.session().await?;
    let until = deadline(timeout);
    let mut changes = follow_object::<AnalysisRun>(&session.store, key);
    let mut before = AnalysisRunStatus::default();
    let what = || format!("no verdict of AnalysisRun {key}");
    while let Some(seen) = next_until(&mut changes, until).await {
        let run = match seen {
            // A list may be older than the run.
            Seen::Gone if before == AnalysisRunStatus::default() => continue,
            Seen::Gone => return Err(CommandError::failed(what(), "it was deleted")),
            Seen::Trouble(why) => {
                context.printer.note(&format!("{why}; trying again"));
                continue;
            }
            Seen::Now(run) => run,
        };
        if run.metadata.uid.as_deref() != uid {
            return Err(CommandError::failed(what(), "there is another one of its name now"));
        }
        let status = run.status.clone().unwrap_or_default();
        let room = run.spec.metrics.iter().map(|metric| metric.name.chars().count()).max().unwrap_or(0);
        for line in news(&before, &status, room) {
            context.printer.note(&line);
        }
        if let Some(phase) = status.phase.filter(|phase| phase.is_completed()) {
            tell(&run, &sentence(phase, &status.message), context)?;
            return Ok(ExitStatus::of_verdict(phase));
        }
        before = status;
    }
    let within = crate::render::duration(timeout.try_into().unwrap_or_default());
    let error = if before.phase.is_none() {
        CommandError::failed(what(), format!("nobody has taken it up within {within}"))
            .hint("check that okrad runs, with the same --analysis-instance-id and with this namespace in its sight")
    } else {
        CommandError::failed(what(), format!("it has not ended within {within}"))
            .hint(format!("it goes on; look at it with `get analysisrun {}`", key.name))
    };
    Err(error)
}

fn sentence(phase: RunPhase, message: &str) -> String {
    let gap = if message.is_empty() { "" } else { ": " };
    format!("is {phase}{gap}{}", crate::style::one_line(message))
}

/// A line for each measurement that is over and was not before.
fn news(before: &AnalysisRunStatus, now: &AnalysisRunStatus, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for result in &now.metric_results {
        let known = before.metric_results.iter().find(|known| known.name == result.name);
        let taken = |result: &MetricResult| result.count.saturating_add(result.error);
        let fresh = taken(result).saturating_sub(known.map_or(0, taken));
        let over = result.measurements.iter().filter(|measurement| measurement.phase.is_completed());
        let over: Vec<_> = over.collect();
        let skip = over.len().saturating_sub(usize::try_from(fresh).unwrap_or(0));
        lines.extend(over.into_iter().skip(skip).map(|measurement| measurement_line(&result.name, room, measurement)));
    }
    lines
}

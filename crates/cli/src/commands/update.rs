//! `update analysisrun`: a verdict by hand.

use clap::ValueEnum;
use jiff::Timestamp;
use okra_api::{AnalysisRun, RunPhase};
use okra_provider::{BackendError, Key};
use serde_json::json;

use super::create::{print, tell};
use crate::{
    args::{RUN_KINDS, bare_name},
    context::{Context, get},
    error::{CommandError, ExitStatus},
};

/// How often the verdict is written again because okrad wrote a measurement in between.
const ATTEMPTS: u32 = 10;

/// Set what an object says of itself.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be set.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Give an AnalysisRun its verdict by hand: it is not measured any more, and a Cell acts on the verdict. A run that
    /// has one keeps it.
    Analysisrun(Judged),
}

#[derive(Debug, clap::Args)]
struct Judged {
    /// The run's name.
    #[arg(required_unless_present = "named")]
    name: Option<String>,
    /// The run's name, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    named: Option<String>,
    /// The verdict.
    #[arg(long, value_enum, ignore_case = true)]
    phase: Verdict,
    /// Why. Default: who said so.
    #[arg(long)]
    message: Option<String>,
    /// Print the AnalysisRun as it would be, as YAML, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The phases that end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Verdict {
    /// The rollout goes on.
    Successful,
    /// The rollout goes back.
    Failed,
    /// The rollout goes back: it could not be measured.
    Error,
    /// The rollout pauses until a person decides.
    Inconclusive,
}

impl From<Verdict> for RunPhase {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Successful => Self::Successful,
            Verdict::Failed => Self::Failed,
            Verdict::Error => Self::Error,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

/// Sets it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let What::Analysisrun(Judged { name, named, phase, message, dry_run }) = args.what;
    let session = context.session().await?;
    let name = name.or(named).unwrap_or_default();
    let key = Key::new(&session.namespace, bare_name(&name, &RUN_KINDS)?);
    let phase = RunPhase::from(phase);
    let message = message.unwrap_or_else(|| match session.user.as_str() {
        "" => "set by hand".to_owned(),
        user => format!("set by {user}"),
    });
    let what = || format!("failed to update AnalysisRun {key}");
    for _ in 0..ATTEMPTS {
        let seen: AnalysisRun = get(&session.store, &key).await?;
        match seen.status.as_ref().and_then(|status| status.phase).filter(|phase| phase.is_completed()) {
            Some(present) if present == phase => {
                tell(&seen, &format!("is {phase} already"), context)?;
                return Ok(ExitStatus::Ok);
            }
            Some(present) => {
                let why = format!("it has ended: {present}");
                return Err(CommandError::failed(what(), why).hint("make a new one with `run analysis`"));
            }
            None => {}
        }
        let after = judged(&seen, phase, &message, context.now());
        if dry_run {
            print(&after, context)?;
            return Ok(ExitStatus::Ok);
        }
        let status = after.status.unwrap_or_default();
        let mut fields = json!({"phase": phase, "message": message, "completedAt": status.completed_at});
        if let (Some(fields), Some(at)) = (fields.as_object_mut(), status.started_at) {
            fields.insert("startedAt".to_owned(), json!(at));
        }
        let patch = json!({"metadata": {"resourceVersion": seen.metadata.resource_version}, "status": fields});
        match session.store.merge_patch::<AnalysisRun>(&key, &patch).await {
            Ok(written) => {
                tell(&written, &format!("is {phase}"), context)?;
                return Ok(ExitStatus::Ok);
            }
            Err(BackendError::Conflict { .. }) => {}
            Err(error) => return Err(CommandError::store(what(), &error)),
        }
    }
    Err(CommandError::failed(what(), "it changes all the time").hint("repeat the command"))
}

/// The run with its verdict. Times of objects have whole seconds.
fn judged(run: &AnalysisRun, phase: RunPhase, message: &str, now: Timestamp) -> AnalysisRun {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut run = run.clone();
    let status = run.status.get_or_insert_default();
    status.phase = Some(phase);
    message.clone_into(&mut status.message);
    status.started_at.get_or_insert(now);
    status.completed_at.get_or_insert(now);
    run.metadata.managed_fields = None;
    run
}

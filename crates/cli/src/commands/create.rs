//! `create`: a run of a template, the Secret of a cluster, a target group.

use okra_api::AnalysisRun;
use okra_provider::Key;

use crate::{
    analysis_run::{NewRun, RunName},
    commands::{cluster, upsert},
    context::Context,
    error::{CommandError, ExitStatus},
    printer::{Output, to_value, yaml},
};

/// Make an object.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be made.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make an AnalysisRun of an AnalysisTemplate. okrad runs it; `run analysis --wait` also waits for its verdict.
    #[command(visible_alias = "analysis")]
    Analysisrun(Run),
    /// Make the Secret by which Argo CD and okrad know an EKS cluster. A ClusterSet does it for every cluster with a tag.
    Cluster(Box<cluster::Create>),
    /// Make an AWSTargetGroup. An AWSTargetGroupSet does it for every TargetGroupBinding of clusters.
    #[command(name = "awstargetgroup", visible_alias = "atg", disable_version_flag = true)]
    AwsTargetGroup(upsert::AwsTargetGroupFlags),
}

/// The run.
#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    name: RunName,
    /// What it is made of.
    #[command(flatten)]
    new: NewRun,
}

/// Makes it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let Run { name, new } = match args.what {
        What::Analysisrun(run) => run,
        What::Cluster(args) => return cluster::create(*args, context).await,
        What::AwsTargetGroup(flags) => return upsert::create_target_group(flags, context).await,
    };
    let made = make(name.get()?, &new, context).await?;
    if !new.dry_run {
        tell(&made, "created", context)?;
    }
    Ok(ExitStatus::Ok)
}

/// Makes the run; in a dry run prints it only.
pub async fn make(name: Option<&str>, new: &NewRun, context: &mut Context) -> Result<AnalysisRun, CommandError> {
    let run = new.build(name, context).await?;
    if new.dry_run {
        print(&run, context)?;
        return Ok(run);
    }
    let session = context.session().await?;
    let created = session.store.create(&run).await;
    created
        .map_err(|error| CommandError::store(format!("failed to create AnalysisRun {}", Key::of_typed(&run)), &error))
}

/// Prints the run as YAML, or in the form for programs that was asked for.
pub fn print(run: &AnalysisRun, context: &mut Context) -> Result<(), CommandError> {
    let value = to_value(run)?;
    match context.printer.output() {
        Output::Table | Output::Wide => context.printer.result(&yaml(&value)?),
        _ => context.printer.value(&value, &resource(run)),
    }
}

/// Tells what became of the run: in a word, or as the whole object.
pub fn tell(run: &AnalysisRun, what: &str, context: &mut Context) -> Result<(), CommandError> {
    if context.printer.output().is_for_programs() {
        return context.printer.value(&to_value(run)?, &resource(run));
    }
    context.printer.result(&format!("{} {what}", resource(run)))
}

fn resource(run: &AnalysisRun) -> String {
    format!("analysisrun.argoproj.io/{}", run.metadata.name.as_deref().unwrap_or_default())
}

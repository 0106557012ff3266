//! `upsert`, and `create awstargetgroup`: objects from flags, for scripts without YAML.

mod cell;
mod target_group;

use std::collections::BTreeMap;

use okra_provider::{BackendError, Key, Stored};
use serde_json::{Map, Value, json};

use crate::{
    args::bare_name,
    context::Context,
    error::{CommandError, ExitStatus},
    printer::{Output, to_value, yaml},
};

/// Make an object from flags, or bring the one of that name up to them; what no flag says stays as it is.
///
/// It writes a spec: what a GitOps tool applies belongs into its repository instead.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What is made.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// A Cell behind an Application Load Balancer.
    Cell(Box<cell::Flags>),
    /// An AWSTargetGroup.
    #[command(name = "awstargetgroup", visible_alias = "atg", disable_version_flag = true)]
    AwsTargetGroup(target_group::Flags),
    /// An AWSTargetGroupSet of one generator.
    #[command(name = "awstargetgroupset", visible_alias = "atgs")]
    AwsTargetGroupSet(target_group::SetFlags),
}

pub use target_group::Flags as AwsTargetGroupFlags;

/// Its name, and whether it is only printed.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The object's name.
    #[arg(required_unless_present = "named")]
    name: Option<String>,
    /// The object's name, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    named: Option<String>,
    /// Print the object as YAML, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Target {
    fn name(&self, kinds: &[&str]) -> Result<String, CommandError> {
        let name = self.name.as_deref().or(self.named.as_deref()).unwrap_or_default();
        Ok(bare_name(name, kinds)?.to_owned())
    }
}

/// Makes it, or brings it up to date.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    match args.what {
        What::Cell(flags) => cell::upsert(*flags, context).await,
        What::AwsTargetGroup(flags) => target_group::upsert(flags, context).await,
        What::AwsTargetGroupSet(flags) => target_group::upsert_set(flags, context).await,
    }
}

/// Makes an AWSTargetGroup that is not there yet.
pub async fn create_target_group(
    flags: AwsTargetGroupFlags,
    context: &mut Context,
) -> Result<ExitStatus, CommandError> {
    target_group::create(flags, context).await
}

/// The object of a name; `None` when there is none yet.
async fn present<K: Stored>(name: &str, context: &mut Context) -> Result<(Key, Option<K>), CommandError> {
    let session = context.session().await?;
    let key = Key::new(&session.namespace, name);
    match session.store.get_live::<K>(&key).await {
        Ok(object) => Ok((key, Some(object))),
        Err(BackendError::NotFound { .. }) => Ok((key, None)),
        Err(error) => Err(CommandError::store(format!("failed to read {} {key}", K::kind(&())), &error)),
    }
}

/// Creates or updates an object, or prints it.
async fn write<K: Stored + PartialEq>(
    present: Option<&K>,
    wanted: &K,
    dry_run: bool,
    context: &mut Context,
) -> Result<ExitStatus, CommandError> {
    let (kind, key) = (K::kind(&()), Key::of_typed(wanted));
    if dry_run {
        context.printer.result(&yaml(&shown(wanted)?)?)?;
        return Ok(ExitStatus::Ok);
    }
    let session = context.session().await?;
    let (done, verb) = match present {
        Some(present) if present == wanted => (Ok(wanted.clone()), "unchanged"),
        Some(_) => (session.store.update(wanted).await, "configured"),
        None => (session.store.create(wanted).await, "created"),
    };
    let done = done.map_err(|error| CommandError::store(format!("failed to write {kind} {key}"), &error))?;
    let resource = format!("{}.{}/{}", kind.to_lowercase(), K::group(&()), key.name);
    match context.printer.output() {
        Output::Table | Output::Wide => context.printer.result(&format!("{resource} {verb}"))?,
        _ => context.printer.value(&shown(&done)?, &resource)?,
    }
    Ok(ExitStatus::Ok)
}

/// The object as a person would write it.
fn shown<K: Stored>(object: &K) -> Result<Value, CommandError> {
    let value = to_value(object)?;
    let fields = ["name", "namespace", "labels", "annotations"].into_iter();
    let metadata = fields.filter_map(|field| Some((field.to_owned(), value.get("metadata")?.get(field)?.clone())));
    Ok(json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata.collect::<Map<_, _>>(),
        "spec": value.get("spec"),
    }))
}

/// Adds labels to an object's metadata.
fn label<K: Stored>(object: &mut K, labels: &[(String, String)]) {
    if !labels.is_empty() {
        let of_object = object.meta_mut().labels.get_or_insert_default();
        of_object.extend(labels.iter().cloned());
    }
}

/// Assignments as a map.
fn map(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

//! `describe`: all that is known of one object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSet, AnalysisRun, Cell, ClusterSet, Pause, Route,
    TargetGroup, VersionBlocklist, condition::Condition,
};
use okra_provider::{Key, Stored};
use serde_json::Value;

use super::{cluster, get::KindName};
use crate::{
    args::bare_name,
    context::{Context, get, route_status},
    error::{CommandError, ExitStatus},
    printer::{to_value, yaml},
    render::{age, render_cell, render_conditions},
};

/// Show all that is known of one object.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind.
    #[arg(value_enum)]
    kind: KindName,
    /// The object's name.
    name: String,
}

/// Prints it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let kind = args.kind;
    match kind {
        KindName::Cell => describe::<Cell>(kind, &args.name, context).await,
        KindName::Awstargetgroups | KindName::Latestawstargetgroups => {
            describe::<AWSTargetGroup>(kind, &args.name, context).await
        }
        KindName::Targetgroups => describe::<TargetGroup>(kind, &args.name, context).await,
        KindName::Albc => describe::<AWSApplicationLoadBalancerConfig>(kind, &args.name, context).await,
        KindName::Route => describe::<Route>(kind, &args.name, context).await,
        KindName::Pause => describe::<Pause>(kind, &args.name, context).await,
        KindName::Vbl => describe::<VersionBlocklist>(kind, &args.name, context).await,
        KindName::Analysisrun => describe::<AnalysisRun>(kind, &args.name, context).await,
        KindName::Cluster => cluster::describe(&args.name, context).await,
        KindName::Clusterset => describe::<ClusterSet>(kind, &args.name, context).await,
        KindName::Targetgroupbindings => Err(CommandError::usage(
            "failed to describe a TargetGroupBinding",
            "it is in another cluster: use `get targetgroupbindings NAME --cluster-name CLUSTER -o yaml`",
        )),
        KindName::Awstargetgroupset => describe::<AWSTargetGroupSet>(kind, &args.name, context).await,
    }
}

async fn describe<K: Stored>(kind: KindName, name: &str, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let session = context.session().await?;
    let key = Key::new(&session.namespace, bare_name(name, kind.spellings())?);
    let object: K = get(&session.store, &key).await?;
    let value = to_value(&object)?;
    let now = context.now();
    let mut lines = Vec::new();
    if kind == KindName::Cell {
        let cell: Cell = get(&session.store, &key).await?;
        let route = route_status(&session.store, &cell).await?;
        lines.push(render_cell(&cell, route.as_ref(), now, context.printer.style()));
    }
    lines.extend(metadata(&K::kind(&()), object.meta(), now));
    let conditions = value.pointer("/status/conditions").cloned().unwrap_or_default();
    // The list is shown as a table; one that cannot be read is in the YAML below.
    let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
    if !conditions.is_empty() {
        lines.push(String::new());
        lines.extend(render_conditions(&conditions, now, context.printer.style()));
    }
    for part in ["spec", "status"] {
        if let Some(mut part_value) = value.get(part).filter(|value| !value.is_null()).cloned() {
            if let Value::Object(fields) = &mut part_value {
                fields.remove("conditions");
            }
            lines.push(String::new());
            lines.push(format!("{part}:"));
            lines.extend(yaml(&part_value)?.lines().map(|line| format!("  {line}")));
        }
    }
    if context.printer.output().is_for_programs() {
        context.printer.value(&value, &format!("{}/{}", kind.resource(), key.name))?;
    } else {
        context.printer.result(&lines.join("\n"))?;
    }
    Ok(ExitStatus::Ok)
}

fn metadata(kind: &str, meta: &ObjectMeta, now: jiff::Timestamp) -> Vec<String> {
    let mut lines = vec![
        format!("Kind:         {kind}"),
        format!("Name:         {}", meta.name.as_deref().unwrap_or_default()),
        format!("Namespace:    {}", meta.namespace.as_deref().unwrap_or_default()),
        format!("UID:          {}", meta.uid.as_deref().unwrap_or_default()),
        format!("Generation:   {}", meta.generation.unwrap_or_default()),
    ];
    if let Some(created) = &meta.creation_timestamp {
        lines.push(format!("Age:          {}", age(created.0, now)));
    }
    for (title, map) in [("Labels", &meta.labels), ("Annotations", &meta.annotations)] {
        // What kubectl keeps for itself is the object once more.
        let own = map.iter().flatten().filter(|(key, _)| !key.starts_with("kubectl.kubernetes.io/"));
        for (at, (key, value)) in own.enumerate() {
            let title = if at == 0 { format!("{title}:") } else { String::new() };
            lines.push(format!("{title:<13} {key}={}", crate::style::one_line(value)));
        }
    }
    for owner in meta.owner_references.iter().flatten() {
        lines.push(format!("Owner:        {}/{}", owner.kind, owner.name));
    }
    if let Some(deleted) = &meta.deletion_timestamp {
        lines.push(format!("Deleted:      {} ago", age(deleted.0, now)));
    }
    lines
}

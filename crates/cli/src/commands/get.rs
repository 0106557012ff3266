//! `get`: objects as tables, a Cell as a page, or as data.

use clap::ValueEnum;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSet, AnalysisRun, Cell, ClusterSet, Pause, Route,
    TargetGroup, TargetGroupBinding, VersionBlocklist, names::VERSION_LABEL,
};
use okra_core::{
    cluster_set::{data_text, shown_secret},
    version,
};
use okra_provider::{Key, Stored};
use serde_json::Value;

use crate::{
    args::{RUN_KINDS, bare_name},
    commands::cluster,
    context::{Context, get, list, route_status},
    error::{CommandError, ExitStatus},
    printer::{Output, to_value},
    render::{
        ListView, RouteRow, aws_place, binding_rows, cell_rows, cluster_rows, cluster_set_rows, pause_rows, place,
        render_cell, render_run, route_rows, run_rows, target_group_rows, target_group_set_rows, vbl_rows,
    },
    selector::Selector,
};

/// Show objects. `get cell NAME` shows a Cell on one page: versions, target groups, weights, health, steps, what it
/// waits for, and the commands that make sense now.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind.
    #[arg(value_enum)]
    kind: KindName,
    /// The object's name. Default: all of the kind.
    #[arg(conflicts_with = "selector")]
    name: Option<String>,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// Of latestawstargetgroups: this version instead of the highest.
    #[arg(long)]
    version: Option<String>,
    /// Of latestawstargetgroups: the label that holds the version.
    #[arg(long, visible_alias = "semver-label-key", value_name = "KEY", default_value = VERSION_LABEL)]
    version_label: String,
    /// Of targetgroupbindings: the cluster, by the name of its Secret or its own.
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// In every namespace.
    #[arg(short = 'A', long, conflicts_with_all = ["name", "namespace"])]
    all_namespaces: bool,
}

/// The kinds that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// Cells.
    #[value(alias = "cells")]
    Cell,
    /// AWS target groups.
    #[value(aliases = ["awstargetgroup", "atg"])]
    Awstargetgroups,
    /// AWS target groups of the highest version, or of --version.
    #[value(aliases = ["latest-awstargetgroups"])]
    Latestawstargetgroups,
    /// Target groups of other routers.
    #[value(aliases = ["targetgroup", "otg"])]
    Targetgroups,
    /// Listener rules of Application Load Balancers.
    #[value(aliases = ["awsapplicationloadbalancerconfig", "awsapplicationloadbalancerconfigs"])]
    Albc,
    /// Routes of other routers.
    #[value(alias = "routes")]
    Route,
    /// Pauses.
    #[value(alias = "pauses")]
    Pause,
    /// Version blocklists.
    #[value(aliases = ["versionblocklist", "versionblocklists"])]
    Vbl,
    /// Runs of Argo's AnalysisTemplates.
    #[value(aliases = ["analysisruns", "ar"])]
    Analysisrun,
    /// Clusters that Argo CD and okrad know, by their Secrets; credentials are not shown.
    #[value(alias = "clusters")]
    Cluster,
    /// Where clusters are discovered.
    #[value(aliases = ["clustersets", "cset"])]
    Clusterset,
    /// TargetGroupBindings in the cluster of --cluster-name, in all of its namespaces. By okra only.
    #[value(aliases = ["targetgroupbinding", "tgb"])]
    Targetgroupbindings,
    /// Where target groups are discovered.
    #[value(aliases = ["awstargetgroupsets", "atgs"])]
    Awstargetgroupset,
}

impl KindName {
    /// How it may be spelled before a name.
    pub fn spellings(self) -> &'static [&'static str] {
        match self {
            Self::Cell => &["cell", "cells"],
            Self::Awstargetgroups | Self::Latestawstargetgroups => &["awstargetgroup", "awstargetgroups", "atg"],
            Self::Targetgroups => &["targetgroup", "targetgroups", "otg"],
            Self::Albc => &["albc", "awsapplicationloadbalancerconfig", "awsapplicationloadbalancerconfigs"],
            Self::Route => &["route", "routes"],
            Self::Pause => &["pause", "pauses"],
            Self::Vbl => &["vbl", "versionblocklist", "versionblocklists"],
            Self::Analysisrun => &RUN_KINDS,
            Self::Cluster => &cluster::CLUSTER_KINDS,
            Self::Clusterset => &["clusterset", "clustersets", "cset"],
            Self::Targetgroupbindings => &["targetgroupbinding", "targetgroupbindings", "tgb"],
            Self::Awstargetgroupset => &["awstargetgroupset", "awstargetgroupsets", "atgs"],
        }
    }

    /// `kind.group`, as `-o name` shows it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Cell => "cell.okra.mumo.co",
            Self::Awstargetgroups | Self::Latestawstargetgroups => "awstargetgroup.okra.mumo.co",
            Self::Targetgroups => "targetgroup.okra.mumo.co",
            Self::Albc => "awsapplicationloadbalancerconfig.okra.mumo.co",
            Self::Route => "route.okra.mumo.co",
            Self::Pause => "pause.okra.mumo.co",
            Self::Vbl => "versionblocklist.okra.mumo.co",
            Self::Analysisrun => "analysisrun.argoproj.io",
            Self::Cluster => "secret",
            Self::Clusterset => "clusterset.okra.mumo.co",
            Self::Targetgroupbindings => "targetgroupbinding.elbv2.k8s.aws",
            Self::Awstargetgroupset => "awstargetgroupset.okra.mumo.co",
        }
    }
}

/// Prints them.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    match args.kind {
        KindName::Cell => cells(&args, context).await,
        KindName::Awstargetgroups | KindName::Latestawstargetgroups => {
            show(&args, context, |groups: &[AWSTargetGroup], view| {
                let rows: Vec<_> = groups.iter().map(|group| (&group.metadata, aws_place(group))).collect();
                target_group_rows(&rows, view)
            })
            .await
        }
        KindName::Targetgroups => {
            show(&args, context, |groups: &[TargetGroup], view| {
                let rows: Vec<(&ObjectMeta, String)> =
                    groups.iter().map(|group| (&group.metadata, place(group))).collect();
                target_group_rows(&rows, view)
            })
            .await
        }
        KindName::Albc => {
            show(&args, context, |configs: &[AWSApplicationLoadBalancerConfig], view| {
                route_rows(&configs.iter().map(RouteRow::from).collect::<Vec<_>>(), view)
            })
            .await
        }
        KindName::Route => {
            show(&args, context, |routes: &[Route], view| {
                route_rows(&routes.iter().map(RouteRow::from).collect::<Vec<_>>(), view)
            })
            .await
        }
        KindName::Pause => show(&args, context, |pauses: &[Pause], view| pause_rows(pauses, view)).await,
        KindName::Vbl => show(&args, context, |lists: &[VersionBlocklist], view| vbl_rows(lists, view)).await,
        KindName::Analysisrun => runs(&args, context).await,
        KindName::Cluster => clusters(&args, context).await,
        KindName::Clusterset => show(&args, context, |sets: &[ClusterSet], view| cluster_set_rows(sets, view)).await,
        KindName::Targetgroupbindings => bindings(&args, context).await,
        KindName::Awstargetgroupset => {
            show(&args, context, |sets: &[AWSTargetGroupSet], view| target_group_set_rows(sets, view)).await
        }
    }
}

/// One Cell is a page, more are a table.
async fn cells(args: &Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let (Some(name), false) = (&args.name, context.printer.output().is_for_programs()) else {
        return show(args, context, |cells: &[Cell], view| cell_rows(cells, view)).await;
    };
    let cell = context.cell(name).await?;
    let session = context.session().await?;
    let route = route_status(&session.store, &cell).await?;
    let page = render_cell(&cell, route.as_ref(), context.now(), context.printer.style());
    context.printer.result(&page)?;
    Ok(ExitStatus::Ok)
}

/// One AnalysisRun is a page with its measurements, more are a table.
async fn runs(args: &Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let (Some(name), false) = (&args.name, context.printer.output().is_for_programs()) else {
        return show(args, context, |runs: &[AnalysisRun], view| run_rows(runs, view)).await;
    };
    let session = context.session().await?;
    let key = Key::new(&session.namespace, bare_name(name, &RUN_KINDS)?);
    let run: AnalysisRun = get(&session.store, &key).await?;
    let wide = context.printer.output() == Output::Wide;
    let page = render_run(&run, wide, context.now(), context.printer.style());
    context.printer.result(&page)?;
    Ok(ExitStatus::Ok)
}

/// TargetGroupBindings as their cluster tells of them.
async fn bindings(args: &Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = args.cluster_name.as_deref().ok_or_else(|| {
        CommandError::usage("failed to get targetgroupbindings", "--cluster-name is missing")
            .hint("list clusters with `get clusters`")
    })?;
    let remote = context.clusters()?;
    let session = context.session().await?;
    let secrets = cluster::list(&session, Some(&session.namespace)).await?;
    let is_it = |secret: &Secret| secret.metadata.name.as_deref() == Some(name) || data_text(secret, "name") == name;
    let failed = |why: String| CommandError::failed(format!("failed to ask cluster {name}"), why);
    let secret = secrets.into_iter().find(is_it).ok_or_else(|| {
        failed(format!("no cluster Secret of that name is in namespace {}", session.namespace))
            .hint("list them with `get clusters`")
    })?;
    let cluster = remote.connect(&secret).await.map_err(|error| failed(error.to_string()))?;
    let listed = cluster.store.list_live::<TargetGroupBinding>(None).await;
    let mut bindings = listed.map_err(|error| failed(error.to_string()))?;
    bindings.retain(|binding| {
        let of_name = args.name.as_deref().is_none_or(|name| binding.metadata.name.as_deref() == Some(name));
        of_name && args.selector.as_ref().is_none_or(|selector| selector.matches(binding.metadata.labels.as_ref()))
    });
    if context.printer.output().is_for_programs() {
        let values = bindings.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        context.printer.objects(args.kind.resource(), &values)?;
        return Ok(ExitStatus::Ok);
    }
    if bindings.is_empty() {
        context.printer.note(&format!("no TargetGroupBinding found in cluster {name}"));
        return Ok(ExitStatus::Ok);
    }
    let view = ListView {
        namespaces: true,
        wide: context.printer.output() == Output::Wide,
        now: context.now(),
        style: context.printer.style(),
    };
    context.printer.result(&binding_rows(&bindings, view).join("\n"))?;
    Ok(ExitStatus::Ok)
}

/// Cluster Secrets, never with their credentials.
async fn clusters(args: &Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let session = context.session().await?;
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    let mut secrets = cluster::list(&session, namespace).await?;
    if let Some(name) = &args.name {
        let name = bare_name(name, args.kind.spellings())?;
        secrets.retain(|secret| secret.metadata.name.as_deref() == Some(name));
        if secrets.is_empty() {
            let why = format!("no cluster Secret of that name is in namespace {}", session.namespace);
            return Err(CommandError::failed(format!("failed to find cluster {name}"), why)
                .hint("list them with `get clusters`"));
        }
    }
    secrets.retain(|secret| {
        args.selector.as_ref().is_none_or(|selector| selector.matches(secret.metadata.labels.as_ref()))
    });
    if context.printer.output().is_for_programs() {
        let values: Vec<Value> = secrets.iter().map(shown_secret).collect();
        context.printer.objects(args.kind.resource(), &values)?;
        return Ok(ExitStatus::Ok);
    }
    if secrets.is_empty() {
        context.printer.note(&format!("no cluster found in {}", session.place(args.all_namespaces)));
        return Ok(ExitStatus::Ok);
    }
    let view = ListView {
        namespaces: args.all_namespaces,
        wide: context.printer.output() == Output::Wide,
        now: context.now(),
        style: context.printer.style(),
    };
    let lines = cluster_rows(&secrets, view);
    context.printer.result(&lines.join("\n"))?;
    Ok(ExitStatus::Ok)
}

async fn show<K: Stored>(
    args: &Args,
    context: &mut Context,
    rows: impl Fn(&[K], ListView<'_>) -> Vec<String>,
) -> Result<ExitStatus, CommandError> {
    let session = context.session().await?;
    let objects: Vec<K> = if let Some(name) = &args.name {
        let key = Key::new(&session.namespace, bare_name(name, args.kind.spellings())?);
        vec![get(&session.store, &key).await?]
    } else {
        let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
        list(&session.store, namespace, args.selector.as_ref()).await?
    };
    let objects = if args.kind == KindName::Latestawstargetgroups { latest(objects, args)? } else { objects };
    let output = context.printer.output();
    if output.is_for_programs() {
        let values = objects.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        match (&args.name, values.as_slice()) {
            (Some(_), [one]) => {
                let name = one.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                context.printer.value(one, &format!("{}/{name}", args.kind.resource()))?;
            }
            _ => context.printer.objects(args.kind.resource(), &values)?,
        }
        return Ok(ExitStatus::Ok);
    }
    if objects.is_empty() {
        let place =
            if args.all_namespaces { "any namespace".to_owned() } else { format!("namespace {}", session.namespace) };
        context.printer.note(&format!("no {} found in {place}", K::kind(&())));
        return Ok(ExitStatus::Ok);
    }
    let view = ListView {
        namespaces: args.all_namespaces,
        wide: output == Output::Wide,
        now: context.now(),
        style: context.printer.style(),
    };
    let lines = rows(&objects, view);
    context.printer.result(&lines.join("\n"))?;
    Ok(ExitStatus::Ok)
}

/// Those of the highest version, or of the one that was asked for; what has no version that can be read is left out.
fn latest<K: Stored>(objects: Vec<K>, args: &Args) -> Result<Vec<K>, CommandError> {
    let version_of = |object: &K| {
        let label = object.meta().labels.as_ref().and_then(|labels| labels.get(&args.version_label));
        label.and_then(|label| version::parse(label).ok())
    };
    let wanted = match &args.version {
        Some(text) => Some(
            version::parse(text)
                .map_err(|error| CommandError::usage("invalid value for --version", error.to_string()))?,
        ),
        None => objects.iter().filter_map(version_of).max(),
    };
    Ok(objects.into_iter().filter(|object| wanted.is_some() && version_of(object) == wanted).collect())
}

/// The object without what only servers need, as kubectl shows it.
fn shown<K: Stored>(object: &K) -> Result<Value, CommandError> {
    let mut value = to_value(object)?;
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    Ok(value)
}

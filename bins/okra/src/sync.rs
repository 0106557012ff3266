//! `okra sync`.

use okra_app::{
    okrad::{AwsRateLimits, LogFormat, StoreLocation, install_tls_provider},
    oneshot::{self, Ending, Held, Object, Options, Outcome, SetKind, SetOptions},
    telemetry,
};
use okra_cli::{
    CommandError, Context, ExitStatus, Global, args::bare_name, printer::to_value, session::StoreChoice,
    style::one_line,
};

use crate::args::{Sync, SyncObject, SyncOne, SyncSet};

/// Syncs one object and says how it stands.
pub async fn run(args: Sync, global: &Global, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let (object, one, kinds) = match args.object {
        SyncObject::ClusterSet(one) => return set(SetKind::ClusterSet, one, global, context).await,
        SyncObject::AwsTargetGroupSet(one) => return set(SetKind::AwsTargetGroupSet, one, global, context).await,
        SyncObject::Cell(one) => (Object::Cell, one, ["cell", "cells"]),
        SyncObject::AwsApplicationLoadBalancerConfig(one) => {
            (Object::AwsApplicationLoadBalancerConfig, one, ["albc", "awsapplicationloadbalancerconfig"])
        }
    };
    let options = options(object, one, &kinds, global)?;
    log_if_wanted()?;
    install_tls_provider();
    let what = format!("failed to sync {} {}", object.kind(), options.name);
    let printer = &mut context.printer;
    let synced = oneshot::sync(options, &mut |text| printer.note(&one_line(text))).await;
    let outcome = synced.map_err(|error| failed(what, &error))?;
    if printer.output().is_for_programs() {
        printer.value(&to_value(&outcome)?, &format!("{}/{}", object.kind().to_lowercase(), outcome.object))?;
    } else {
        printer.result(&page(object, &outcome))?;
    }
    Ok(match outcome.ending {
        Ending::AtRest => ExitStatus::Ok,
        // Saying what would be done is all that was asked.
        Ending::Waits if outcome.would.is_some() => ExitStatus::Ok,
        Ending::Waits | Ending::Failed => ExitStatus::Failed,
    })
}

/// Syncs a set and says how it stands; of a dry run prints the objects.
async fn set(kind: SetKind, one: SyncSet, global: &Global, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = one.name.or(one.named).unwrap_or_default();
    let spellings = match kind {
        SetKind::ClusterSet => ["clusterset", "clustersets", "cset"],
        SetKind::AwsTargetGroupSet => ["awstargetgroupset", "awstargetgroupsets", "atgs"],
    };
    let name = bare_name(&name, &spellings)?.to_owned();
    let options = SetOptions {
        kind,
        namespace: global.namespace.clone(),
        name: name.clone(),
        dry_run: one.dry_run,
        timeout: one.timeout,
        store: store(global),
        kubeconfig: global.kubeconfig.clone(),
        context: global.context.clone(),
        aws_endpoint_url: one.aws_endpoint_url.filter(|url| !url.is_empty()),
    };
    log_if_wanted()?;
    install_tls_provider();
    let synced = oneshot::sync_set(options).await;
    let kind = kind.kind();
    let outcome = synced.map_err(|error| failed(format!("failed to sync {kind} {name}"), &error))?;
    let printer = &mut context.printer;
    if printer.output().is_for_programs() {
        printer.value(&to_value(&outcome)?, &format!("{}/{}", kind.to_lowercase(), outcome.object))?;
    } else if let Some(would) = &outcome.would {
        printer.note(&one_line(&format!("dry run: {kind} {}: {}", outcome.object, outcome.message)));
        let documents: Vec<String> = would.iter().map(|act| format!("# would {act}")).collect();
        printer.result(&if documents.is_empty() {
            "# would do nothing".to_owned()
        } else {
            documents.join("---\n")
        })?;
    } else {
        printer.result(&format!("{kind} {}: {}", outcome.object, one_line(&outcome.message)))?;
    }
    Ok(match outcome.ending {
        Ending::AtRest => ExitStatus::Ok,
        Ending::Waits if outcome.would.is_some() => ExitStatus::Ok,
        Ending::Waits | Ending::Failed => ExitStatus::Failed,
    })
}

fn store(global: &Global) -> StoreLocation {
    match &global.store {
        StoreChoice::Kubernetes => StoreLocation::Kubernetes,
        StoreChoice::Directory(path) => StoreLocation::Directory(path.clone()),
    }
}

fn options(object: Object, one: SyncOne, kinds: &[&str], global: &Global) -> Result<Options, CommandError> {
    let name = one.name.or(one.named).unwrap_or_default();
    Ok(Options {
        object,
        namespace: global.namespace.clone(),
        name: bare_name(&name, kinds)?.to_owned(),
        dry_run: one.dry_run,
        timeout: one.timeout,
        store: store(global),
        kubeconfig: global.kubeconfig.clone(),
        context: global.context.clone(),
        installation_id: one.installation_id.filter(|id| !id.is_empty()),
        aws_endpoint_url: one.aws_endpoint_url.filter(|url| !url.is_empty()),
        aws_rate_limits: if one.aws_rate_limits == "off" { AwsRateLimits::Off } else { AwsRateLimits::Aws },
        aws_settle: one.aws_settle,
    })
}

/// The controllers' log, on stderr, where `RUST_LOG` asks for it.
fn log_if_wanted() -> Result<(), CommandError> {
    if std::env::var_os("RUST_LOG").is_none_or(|level| level.is_empty()) {
        return Ok(());
    }
    telemetry::init(LogFormat::Text, None).map_err(|error| CommandError::usage("failed to begin the log", error))
}

fn failed(what: String, error: &anyhow::Error) -> CommandError {
    let failed = CommandError::failed(what, format!("{error:#}"));
    if error.downcast_ref::<Held>().is_some() {
        return failed.hint("it does the same by itself; wait for it with `okra wait`, or stop it first");
    }
    failed
}

fn page(object: Object, outcome: &Outcome) -> String {
    let Outcome { object: name, ending, message, waits, would, .. } = outcome;
    let message = one_line(message);
    let stands = match ending {
        Ending::AtRest => "is at rest".to_owned(),
        Ending::Waits => "is not at rest".to_owned(),
        Ending::Failed => format!("failed: {message}"),
    };
    let mut lines = vec![format!("{} {name} {stands}", object.kind())];
    if *ending == Ending::AtRest && !message.is_empty() {
        lines = vec![format!("{} {name} is at rest: {message}", object.kind())];
    }
    match would.as_deref() {
        Some([]) => lines.push("  would do nothing now".to_owned()),
        Some(would) => lines.extend(would.iter().map(|act| format!("  would {}", one_line(act)))),
        None => {}
    }
    lines.extend(waits.iter().map(|wait| format!("  waits: {}", one_line(wait))));
    lines.join("\n")
}

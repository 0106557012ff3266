//! `create cluster`, `delete cluster`: Argo CD's cluster Secrets by hand.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use okra_api::names::{CLUSTER_SECRET_TYPE, CLUSTER_SET_LABEL, SECRET_TYPE_LABEL};
use okra_core::cluster_set::{ClusterAuth, ClusterState, FoundCluster, render_secret, shown_secret};
use okra_provider::{Key, Kind, Labels};

use crate::{
    args::{assignment, bare_name},
    context::{Context, get},
    error::{CommandError, ExitStatus},
    printer::{Output, yaml},
    session::Session,
};

/// How the kind may be spelled before a name.
pub const CLUSTER_KINDS: [&str; 2] = ["cluster", "clusters"];

/// The cluster.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Its name, which is that of the EKS cluster.
    #[arg(required_unless_present = "named")]
    name: Option<String>,
    /// Its name, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    named: Option<String>,
    /// URL of its API server.
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Certificates of its API server, as `aws eks describe-cluster` prints them: PEM in base64.
    #[arg(long, value_name = "BASE64")]
    ca_data: Option<String>,
    /// Labels of the Secret; may be repeated, or separated by commas.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = assignment)]
    labels: Vec<(String, String)>,
    /// Role that Argo CD and okrad assume for a token.
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Print the Secret as YAML, and make none.
    #[arg(long)]
    dry_run: bool,
}

/// The cluster whose Secret goes.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The name of its Secret.
    #[arg(required_unless_present = "named")]
    name: Option<String>,
    /// The name of its Secret, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    named: Option<String>,
    /// Print the Secret as YAML, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Makes the Secret.
pub async fn create(args: Create, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = args.name.or(args.named).unwrap_or_default();
    let name = bare_name(&name, &CLUSTER_KINDS)?.to_owned();
    let session = context.session().await?;
    let cluster = FoundCluster {
        id: String::new(),
        name: name.clone(),
        state: ClusterState::Ready { server: args.endpoint, ca_data: args.ca_data },
        version: None,
        region: None,
        arn: None,
        tags: BTreeMap::new(),
        auth: ClusterAuth::Eks { cluster_name: name.clone(), role_arn: args.role_arn },
    };
    let labels = args.labels.into_iter().collect();
    let secret = render_secret(&session.namespace, &cluster, &labels);
    let secret = secret.map_err(|why| CommandError::usage(format!("failed to make cluster {name}"), why))?;
    if args.dry_run {
        context.printer.result(&yaml(&shown_secret(&secret))?)?;
        return Ok(ExitStatus::Ok);
    }
    let made = session.store.create(&secret).await;
    let made = made.map_err(|error| CommandError::store(format!("failed to create Secret {name}"), &error))?;
    tell(&made, "created", context)
}

/// Prints the Secret, without its credentials.
pub async fn describe(name: &str, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let secret = read(name, context).await?;
    let name = format!("secret/{}", secret.metadata.name.as_deref().unwrap_or_default());
    match context.printer.output() {
        Output::Table | Output::Wide => context.printer.result(&yaml(&shown_secret(&secret))?)?,
        _ => context.printer.value(&shown_secret(&secret), &name)?,
    }
    Ok(ExitStatus::Ok)
}

/// The cluster Secret of this name; no other Secret is ever shown or touched.
async fn read(name: &str, context: &mut Context) -> Result<Secret, CommandError> {
    let session = context.session().await?;
    let key = Key::new(&session.namespace, bare_name(name, &CLUSTER_KINDS)?);
    let secret: Secret = get(&session.store, &key).await?;
    let type_ = secret.metadata.labels.as_ref().and_then(|labels| labels.get(SECRET_TYPE_LABEL));
    if type_.is_none_or(|type_| type_ != CLUSTER_SECRET_TYPE) {
        let why = format!("it has no label {SECRET_TYPE_LABEL}: {CLUSTER_SECRET_TYPE}");
        return Err(CommandError::failed(format!("Secret {key} is no cluster"), why));
    }
    Ok(secret)
}

/// Removes the Secret.
pub async fn delete(args: Delete, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = args.name.or(args.named).unwrap_or_default();
    let secret = read(&name, context).await?;
    let session = context.session().await?;
    let key = Key::of_typed(&secret);
    if args.dry_run {
        context.printer.result(&yaml(&shown_secret(&secret))?)?;
        return Ok(ExitStatus::Ok);
    }
    let deleted = session.store.delete(&secret).await;
    deleted.map_err(|error| CommandError::store(format!("failed to delete Secret {key}"), &error))?;
    if let Some(set) = secret.metadata.labels.as_ref().and_then(|labels| labels.get(CLUSTER_SET_LABEL)) {
        context.printer.note(&format!("ClusterSet {set} makes it again while it finds the cluster"));
    }
    tell(&secret, "deleted", context)
}

/// Cluster Secrets of a namespace, or of all.
pub async fn list(session: &Session, namespace: Option<&str>) -> Result<Vec<Secret>, CommandError> {
    let labels = Labels::one(SECRET_TYPE_LABEL, CLUSTER_SECRET_TYPE);
    let listed = session.store.backend().list_labelled(&Kind::of::<Secret>(), namespace, &labels).await;
    let listed = listed.map_err(|error| CommandError::store("failed to list cluster Secrets", &error))?;
    Ok(listed.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect())
}

fn tell(secret: &Secret, what: &str, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let name = format!("secret/{}", secret.metadata.name.as_deref().unwrap_or_default());
    match context.printer.output() {
        Output::Table | Output::Wide => context.printer.result(&format!("{name} {what}"))?,
        _ => context.printer.value(&shown_secret(secret), &name)?,
    }
    Ok(ExitStatus::Ok)
}

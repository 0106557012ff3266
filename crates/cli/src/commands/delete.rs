//! `delete`: objects that a command makes.

use crate::{
    commands::cluster,
    context::Context,
    error::{CommandError, ExitStatus},
};

/// Remove an object.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be removed.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Remove the Secret of a cluster: Argo CD and okrad do not know the cluster any more. The cluster stays.
    Cluster(cluster::Delete),
}

/// Removes it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let What::Cluster(args) = args.what;
    cluster::delete(args, context).await
}

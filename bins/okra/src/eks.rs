//! `okra eks`.

use okra_app::{eks::exec_credential, okrad::install_tls_provider};
use okra_cli::{CommandError, Context, ExitStatus};

use crate::args::{Eks, EksToken, EksVerb};

/// Prints a token. It goes to stdout whatever the output form: a program reads it.
pub async fn run(args: Eks, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let EksVerb::Token(EksToken { cluster_name, region, role_arn, profile }) = args.verb;
    install_tls_provider();
    let credential = exec_credential(cluster_name, region, role_arn, profile).await;
    let credential = credential.map_err(|why| CommandError::failed("failed to make a token", why))?;
    context.printer.result(&credential.to_string())?;
    Ok(ExitStatus::Ok)
}

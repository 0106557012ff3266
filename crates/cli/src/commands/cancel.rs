//! `cancel pause`: end a pause before its time.

use okra_api::{Pause, PausePhase};
use okra_provider::Key;

use crate::{
    args::bare_name,
    context::{Context, get},
    error::{CommandError, ExitStatus},
};

/// End something.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be ended.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// End a pause before its time: the rollout that it holds goes on.
    Pause {
        /// The Pause's name, as `get pause` shows it.
        name: String,
    },
}

/// Ends it.
pub async fn run(args: Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let What::Pause { name } = args.what;
    let session = context.session().await?;
    let key = Key::new(&session.namespace, bare_name(&name, &["pause", "pauses"])?);
    let mut pause: Pause = get(&session.store, &key).await?;
    let mut status = pause.status.clone().unwrap_or_default();
    match status.phase {
        Some(PausePhase::Cancelled) => {
            context.printer.result(&format!("pause/{} is cancelled already", key.name))?;
            return Ok(ExitStatus::Ok);
        }
        Some(PausePhase::Expired) => {
            return Err(CommandError::failed(format!("failed to cancel Pause {key}"), "its time is over already"));
        }
        Some(PausePhase::Started) | None => {}
    }
    status.phase = Some(PausePhase::Cancelled);
    status.last_sync_time = Some(context.now());
    pause.status = Some(status);
    let written = session.store.update_status(&pause).await;
    written.map_err(|error| CommandError::store(format!("failed to cancel Pause {key}"), &error))?;
    context.printer.result(&format!("pause/{} cancelled", key.name))?;
    Ok(ExitStatus::Ok)
}

//! `okra demo`: whole clusters are swapped behind a load balancer under load, in one process.
//!
//! The clusters are small HTTP servers and the load balancer is the embedded one; the controllers, the store and the
//! objects are those of okrad on a directory store.

mod cluster;
mod counters;
mod load;
mod manifests;
mod port;
mod screen;
mod sight;
mod stage;
mod story;

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tempfile::TempDir;
use tracing_subscriber::EnvFilter;

use self::story::Story;
pub use self::{
    counters::Measured,
    load::{Account, Tally},
    screen::Screen,
    story::{Summary, TakenBack},
};
use crate::signals;

/// What can be chosen about the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the balancer listens; port 0: any free one.
    pub listen: SocketAddr,
    /// Requests a second.
    pub rate: u32,
    /// Length of the pauses between the steps.
    pub pause: Duration,
    /// Whether it goes on after the summary, until it is told to stop.
    pub keep: bool,
}

/// Why the demo did not come to a good end.
#[derive(Debug, thiserror::Error)]
#[error("{cause:#}")]
pub struct Failure {
    /// What happened.
    pub cause: anyhow::Error,
    /// The controllers' log, where there is one.
    pub log: Option<PathBuf>,
}

impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { cause, log: None }
    }
}

/// Plays the demo until its end, or until SIGINT or SIGTERM. Fails when a request failed that no bad version answered,
/// when something took longer than it should, and when it was stopped before the end; the folder with the log is kept
/// then.
pub async fn run(options: Options, screen: &mut Screen) -> Result<Summary, Failure> {
    let signals = signals::listen().context("failed to listen for signals")?;
    let made = tempfile::Builder::new().prefix("okra-demo-").tempdir();
    let folder = made.context("failed to make a temporary folder")?;
    let log = folder.path().join("okrad.log");
    log_to(&log).with_context(|| format!("failed to write {}", log.display()))?;
    let played = tokio::select! {
        biased;
        () = signals.abort.cancelled() => Err(anyhow::anyhow!("told to stop a second time before it had finished")),
        played = Story::play(&options, folder.path(), screen, &signals.stop) => played,
    };
    screen.end();
    match played {
        Ok(summary) => {
            remove(folder).await;
            Ok(summary)
        }
        // Who stopped it knows why.
        Err(cause) if signals.stop.is_cancelled() => {
            remove(folder).await;
            Err(Failure { cause, log: None })
        }
        Err(cause) => Err(Failure { cause, log: Some(kept(folder).join("okrad.log")) }),
    }
}

/// How often the folder is tried to be removed, and how long is waited in between.
const REMOVALS: u32 = 40;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// Removes the folder, and once more while a write that was under way when its task was ended still lands in it.
async fn remove(folder: TempDir) {
    let path = folder.keep();
    for _ in 0..REMOVALS {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => tokio::time::sleep(REMOVAL_PAUSE).await,
            _ => return,
        }
    }
    tracing::warn!(folder = %path.display(), "Cannot remove the temporary folder");
}

fn kept(folder: TempDir) -> PathBuf {
    folder.keep()
}

/// Sends the log of the whole process into a file.
fn log_to(path: &Path) -> anyhow::Result<()> {
    let file = Arc::new(File::create(path)?);
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("info")).with_ansi(false).with_writer(file);
    // A second demo in one process (a test) shares the first one's log.
    let _first = log.try_init();
    Ok(())
}

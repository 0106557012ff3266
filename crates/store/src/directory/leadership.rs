//! Leadership over a folder: a lock that is held as long as the process lives.

use std::{
    fs::{File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use okra_provider::{BackendError, Leadership, NotLeader};

use super::{manifests::Stamp, records::Disk};

/// How often a held lock is tried again. There is no wake-up for it.
const RETRY: Duration = Duration::from_millis(500);

/// What the holder says of itself, at most.
const MAX_HOLDER: u64 = 256;

/// Why this process does not lead.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// Another process does.
    #[error("another process works on this folder: {holder}")]
    Held {
        /// What it says of itself.
        holder: String,
    },
    /// The lock cannot be had at all.
    #[error("failed to lock {path}: {source}")]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] BackendError),
}

/// Held from [`DirectoryLeadership::try_acquire`] until it is dropped or the process ends, whichever way.
#[derive(Debug)]
pub struct DirectoryLeadership {
    file: File,
    path: PathBuf,
}

impl DirectoryLeadership {
    /// Takes the lead over a folder, or says who has it. `holder` is what others are told, for example
    /// `okrad, process 4711`.
    pub fn try_acquire(root: &Path, holder: &str) -> Result<Self, LeadershipError> {
        let path = Disk::open(root)?.leader_lock();
        let failed = |source| LeadershipError::Io { path: path.clone(), source };
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                _ = file.take(MAX_HOLDER).read_to_string(&mut text);
                let text = text.trim();
                let holder = if text.is_empty() { "one that has not said its name" } else { text };
                return Err(LeadershipError::Held { holder: holder.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let introduce = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{holder}")
        };
        introduce(&mut file).map_err(failed)?;
        Ok(Self { file, path })
    }

    /// Waits until no other process leads. Errors of the lock itself end the waiting.
    pub async fn acquire(root: &Path, holder: &str) -> Result<Self, LeadershipError> {
        loop {
            match Self::try_acquire(root, holder) {
                Err(LeadershipError::Held { .. }) => tokio::time::sleep(RETRY).await,
                outcome => return outcome,
            }
        }
    }
}

impl Leadership for DirectoryLeadership {
    /// Held for ever, unless somebody took the folder `.okra` away: then another process may have made a new lock.
    fn permits(&self, _: Duration) -> Result<(), NotLeader> {
        let ours = self.file.metadata().map(|metadata| Stamp::of(&metadata));
        let there = std::fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata));
        match (ours, there) {
            (Ok(ours), Ok(there)) if ours == there => Ok(()),
            _ => Err(NotLeader),
        }
    }
}

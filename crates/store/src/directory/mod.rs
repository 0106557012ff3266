//! A folder of manifests as a [`Backend`].
//!
//! The user's files are as `kubectl` would apply them, and are never written. What Kubernetes would keep besides is
//! in `.okra/`, one YAML file for each object in `.okra/objects/<plural>.<group>/<namespace>/<name>.yaml`.

mod catalog;
mod engine;
mod leadership;
mod manifests;
mod merge;
mod records;
mod rules;
mod schema;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};
use okra_provider::{Backend, BackendError, Deletion, Key, Kind, WatchEvent, object};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;

use self::engine::Engine;
pub use self::leadership::{DirectoryLeadership, LeadershipError};
pub use self::rules::ManifestRules;
pub use self::schema::Fault;

/// How long one call may take, the waiting for other calls included.
const DEADLINE: Duration = Duration::from_secs(15);

/// How often a folder is looked at.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryOptions {
    /// The user's files. A file that is missing in two scans this far apart is a deletion. Default: 2 s.
    pub scan: Duration,
    /// What other processes wrote. Default: 200 ms.
    pub poll: Duration,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self { scan: Duration::from_secs(2), poll: Duration::from_millis(200) }
    }
}

/// Something in a file that keeps it, or one of its objects, from being taken in. Its last good version stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the folder.
    pub file: PathBuf,
    /// The object, where it is known.
    pub key: Option<Key>,
    /// Field, fault and remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Problem {
    fn log(&self) {
        let key = self.key.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(file = %self.file.display(), key, message = self.message, "kept the last good version of a file");
    }
}

/// A folder of manifests. Several processes can work on one: okrad, and `okractl` beside it.
#[derive(Clone)]
pub struct DirectoryBackend {
    engine: Arc<Mutex<Engine>>,
    problems: Arc<Mutex<Vec<Problem>>>,
}

impl fmt::Debug for DirectoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryBackend").finish_non_exhaustive()
    }
}

impl DirectoryBackend {
    /// Opens a folder: takes in its files and removes children whose owners are gone. From then on until the last
    /// clone is dropped a task within the tokio runtime of the caller looks after it.
    pub async fn open(root: &Path, options: DirectoryOptions) -> Result<Self, BackendError> {
        let root = root.to_path_buf();
        let engine = blocking(move || Engine::open(&root, options.scan)).await?;
        let problems = engine.problems();
        let engine = Arc::new(Mutex::new(engine));
        tokio::spawn(look_after(Arc::downgrade(&engine), options.poll));
        Ok(Self { engine, problems })
    }

    /// What in the files could not be taken in, as of the last scan, sorted by file. Each is logged once.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().clone()
    }

    /// The id of this installation, in `.okra/id`: made when it is first asked for, the same ever after.
    pub async fn installation_id(&self) -> Result<String, BackendError> {
        self.work(|engine| engine.installation_id()).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let engine = self.engine.clone();
        blocking(move || work(&mut engine.lock())).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(BackendError::Unreachable(format!("the directory store failed: {error}"))),
        Err(_) => Err(BackendError::Unreachable("the directory store did not answer in time".to_owned())),
    }
}

async fn look_after(engine: Weak<Mutex<Engine>>, poll: Duration) {
    loop {
        tokio::time::sleep(poll).await;
        let Some(engine) = engine.upgrade() else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || engine.lock().beat()).await {
            tracing::error!(%error, "failed to look at the folder");
        }
    }
}

#[async_trait]
impl Backend for DirectoryBackend {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        let (kind, namespace) = (kind.clone(), namespace.map(ToOwned::to_owned));
        self.work(move |engine| engine.list(&kind, namespace.as_deref())).await
    }

    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent> {
        let (events, told) = mpsc::unbounded_channel();
        let (engine, kind, namespace) = (self.engine.clone(), kind.clone(), namespace.map(ToOwned::to_owned));
        tokio::task::spawn_blocking(move || engine.lock().watch(&kind, namespace, events));
        futures::stream::unfold(told, |mut told| async { told.recv().await.map(|event| (event, told)) }).boxed()
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        let (kind, key) = (kind.clone(), key.clone());
        self.work(move |engine| engine.get(&kind, &key)).await
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let (kind, wanted) = (kind.clone(), object.clone());
        self.work(move |engine| engine.create(&kind, &wanted)).await
    }

    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let (kind, wanted) = (kind.clone(), object.clone());
        self.work(move |engine| {
            engine.modify(&kind, &Key::of(&wanted), |present, stamp| object::update(&kind, present, &wanted, stamp))
        })
        .await
    }

    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let (kind, wanted) = (kind.clone(), object.clone());
        self.work(move |engine| {
            engine.modify(&kind, &Key::of(&wanted), |present, stamp| {
                object::update_status(&kind, present, &wanted, stamp)
            })
        })
        .await
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        let (kind, key, patch) = (kind.clone(), key.clone(), patch.clone());
        self.work(move |engine| {
            engine.modify(&kind, &key, |present, stamp| object::merge_patch(&kind, present, &patch, stamp))
        })
        .await
    }

    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        let (kind, key, deletion) = (kind.clone(), key.clone(), deletion.clone());
        self.work(move |engine| engine.delete(&kind, &key, &deletion)).await
    }
}

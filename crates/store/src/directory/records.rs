//! `.okra/`: one YAML file for each object, a counter, and the lock under which they are written.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use okra_provider::{BackendError, Key};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{catalog::Kept, manifests::Stamp};

/// How long a write waits for that of another process. Each takes some milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(2);

/// The folder of objects without a namespace; no namespace can have this name.
const CLUSTER: &str = "_cluster";

/// What is kept of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    /// The user's file, relative to the folder; absent for what Okra created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<PathBuf>,
    /// What that file said when it was last applied: its last good version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) manifest: Option<Value>,
    /// The object; absent when it was deleted while its file stayed: a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<Value>,
    /// Of a tombstone: the uid of what was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deleted_uid: Option<String>,
}

/// The folder `.okra`.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    home: PathBuf,
}

/// Held while something is written; other processes wait.
#[derive(Debug)]
pub(super) struct WriteLock {
    _file: File,
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> BackendError {
    BackendError::Unreachable(format!("failed to {verb} {}: {error}", path.display()))
}

impl Disk {
    /// The folder `.okra` of a directory; made when it is missing.
    pub(super) fn open(root: &Path) -> Result<Self, BackendError> {
        let home = root.join(".okra");
        let objects = home.join("objects");
        fs::create_dir_all(&objects).map_err(|error| failed("create", &objects, &error))?;
        // What is kept here is worth a place in Git, the locks are not.
        let ignored = home.join(".gitignore");
        if !ignored.exists() {
            fs::write(&ignored, "*.lock\n*.tmp\n").map_err(|error| failed("write", &ignored, &error))?;
        }
        Ok(Self { home })
    }

    pub(super) fn leader_lock(&self) -> PathBuf {
        self.home.join("leader.lock")
    }

    /// Waits for the write lock.
    pub(super) fn lock(&self) -> Result<WriteLock, BackendError> {
        let path = self.home.join("write.lock");
        let began = Instant::now();
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(|error| failed("open", &path, &error))?;
            match file.try_lock() {
                Ok(()) => return Ok(WriteLock { _file: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIMEOUT => std::thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    let message = format!("failed to lock {}: another process holds it", path.display());
                    return Err(BackendError::Unreachable(message));
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
            }
        }
    }

    /// The next resourceVersion. It is on disk before the object that gets it, so that none is given twice.
    pub(super) fn next_version(&self, _: &WriteLock, at_least: u64) -> Result<u64, BackendError> {
        let path = self.home.join("resourceVersion");
        let last = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed("read", &path, &error)),
        };
        let next = at_least.max(last) + 1;
        // Not synced: after a power cut the objects themselves say how far it was.
        self.replace(&path, format!("{next}\n").as_bytes(), false).map_err(|error| failed("write", &path, &error))?;
        Ok(next)
    }

    /// Changes with every write.
    pub(super) fn counter(&self) -> Option<Stamp> {
        fs::metadata(self.home.join("resourceVersion")).ok().map(|metadata| Stamp::of(&metadata))
    }

    /// The id of this installation, made once.
    pub(super) fn id(&self, _: &WriteLock) -> Result<String, BackendError> {
        let path = self.home.join("id");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("read", &path, &error)),
            _ => {}
        }
        let id = uuid::Uuid::new_v4().to_string();
        self.replace(&path, format!("{id}\n").as_bytes(), true).map_err(|error| failed("write", &path, &error))?;
        Ok(id)
    }

    /// Where the record of an object is.
    pub(super) fn path(&self, kept: &Kept, key: &Key) -> PathBuf {
        let namespace = if key.namespace.is_empty() { CLUSTER } else { &key.namespace };
        self.home.join("objects").join(kept.folder()).join(namespace).join(format!("{}.yaml", key.name))
    }

    /// Every record's place: folder of the kind, key, path and stamp.
    pub(super) fn records(&self) -> Result<Vec<(String, Key, PathBuf, Stamp)>, BackendError> {
        self.find().map_err(|error| failed("read", &self.home, &error))
    }

    fn find(&self) -> io::Result<Vec<(String, Key, PathBuf, Stamp)>> {
        let mut found = Vec::new();
        for kind in folders(&self.home.join("objects"))? {
            let folder = kind.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for namespace in folders(&kind)? {
                let name = namespace.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let name = if name == CLUSTER { String::new() } else { name };
                for entry in fs::read_dir(&namespace)? {
                    let path = entry?.path();
                    let Some(stem) =
                        path.file_name().and_then(|file| file.to_str()).and_then(|file| file.strip_suffix(".yaml"))
                    else {
                        continue;
                    };
                    let key = Key::new(name.clone(), stem);
                    match fs::metadata(&path) {
                        Ok(metadata) => found.push((folder.clone(), key, path, Stamp::of(&metadata))),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(found)
    }

    /// Reads a record; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<(Record, Stamp)>, BackendError> {
        let read = || -> io::Result<(String, Stamp)> {
            let file = File::open(path)?;
            let stamp = Stamp::of(&file.metadata()?);
            Ok((io::read_to_string(file)?, stamp))
        };
        let (text, stamp) = match read() {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", path, &error)),
        };
        let record = serde_saphyr::from_str(&text).map_err(|error| {
            let words = error.to_string().lines().next().unwrap_or_default().to_owned();
            BackendError::Unreachable(format!("failed to parse {}: {words}", path.display()))
        })?;
        Ok(Some((record, stamp)))
    }

    /// Writes a record: afterwards it is the old one or the new one, whatever happens meanwhile.
    pub(super) fn write(&self, _: &WriteLock, path: &Path, record: &Record) -> Result<Stamp, BackendError> {
        let text = serde_saphyr::to_string(record)
            .map_err(|error| BackendError::Invalid { message: format!("failed to write YAML: {error}") })?;
        let write = || -> io::Result<Stamp> {
            self.replace(path, text.as_bytes(), true)?;
            Ok(Stamp::of(&fs::metadata(path)?))
        };
        write().map_err(|error| failed("write", path, &error))
    }

    /// Removes a record; one that is gone is fine.
    pub(super) fn remove(_: &WriteLock, path: &Path) -> Result<(), BackendError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
            _ => Ok(()),
        }
    }

    fn replace(&self, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.home);
        fs::create_dir_all(folder)?;
        // One name is enough: only the holder of the write lock comes here.
        let temporary = self.home.join("writing.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        // Other systems cannot sync a folder, and do not need to.
        if sync && cfg!(unix) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

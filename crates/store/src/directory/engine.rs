//! What is known of the folder, and every step that changes it. All of it blocks: it runs on tokio's threads for
//! that, one step at a time.

mod ingest;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use okra_provider::{
    BackendError, Deletion, Key, Kind, WatchEvent,
    object::{self, Stamp as ObjectStamp, Written},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Problem,
    catalog::Catalog,
    manifests::{self, Files, Stamp},
    records::{Disk, Record, WriteLock},
};

/// An object as it was last read from or written to `.okra`.
struct Held {
    record: Record,
    stamp: Stamp,
}

struct Watcher {
    kind: Kind,
    namespace: Option<String>,
    events: mpsc::UnboundedSender<WatchEvent>,
}

pub(super) struct Engine {
    root: PathBuf,
    disk: Disk,
    catalog: Catalog,
    scan: Duration,
    held: BTreeMap<Kind, BTreeMap<Key, Held>>,
    highest: u64,
    watchers: Vec<Watcher>,
    files: Files,
    scanned: Option<Instant>,
    /// Objects whose files are gone, and since which scan.
    missing: BTreeMap<(Kind, Key), Instant>,
    problems: BTreeSet<Problem>,
    /// All of them, where they can be read while a step blocks.
    published: Arc<Mutex<Vec<Problem>>>,
    /// Records that cannot be read: while there are any, nothing is concluded from what is missing.
    unreadable: BTreeMap<PathBuf, Problem>,
    /// The counter's file as it was at the last complete look: unchanged means that nobody wrote.
    counted: Option<Stamp>,
    trouble: Option<String>,
}

/// Where an object is kept, looked up once per step.
#[derive(Clone)]
struct Place {
    kind: Kind,
    key: Key,
    path: PathBuf,
}

impl Engine {
    pub(super) fn open(root: &Path, scan: Duration) -> Result<Self, BackendError> {
        if !root.is_dir() {
            return Err(BackendError::Unreachable(format!("failed to open {}: it is not a folder", root.display())));
        }
        let mut engine = Self {
            disk: Disk::open(root)?,
            root: root.to_path_buf(),
            catalog: Catalog::new().map_err(BackendError::Unsupported)?,
            scan,
            held: BTreeMap::new(),
            highest: 0,
            watchers: Vec::new(),
            files: Files::default(),
            scanned: None,
            missing: BTreeMap::new(),
            problems: BTreeSet::new(),
            published: Arc::default(),
            unreadable: BTreeMap::new(),
            counted: None,
            trouble: None,
        };
        engine.ingest()?;
        Ok(engine)
    }

    /// What cannot be taken in, as of the last look.
    pub(super) fn problems(&self) -> Arc<Mutex<Vec<Problem>>> {
        self.published.clone()
    }

    fn publish_problems(&self) {
        *self.published.lock() = self.problems.iter().chain(self.unreadable.values()).cloned().collect();
    }

    pub(super) fn installation_id(&self) -> Result<String, BackendError> {
        self.disk.id(&self.disk.lock()?)
    }

    /// One beat of the background task: the user's files when they are due, and what other processes wrote.
    pub(super) fn beat(&mut self) {
        let due = self.scanned.is_none_or(|scanned| scanned.elapsed() >= self.scan);
        let outcome = if due { self.ingest() } else { self.poll() };
        match outcome {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    self.restart();
                }
            }
            Err(error) => {
                let words = error.to_string();
                if self.trouble.as_ref() != Some(&words) {
                    for watcher in &self.watchers {
                        _ = watcher.events.send(WatchEvent::Interrupted(words.clone()));
                    }
                    self.trouble = Some(words);
                }
            }
        }
    }

    // What is asked.

    pub(super) fn list(&mut self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        self.catalog.find(kind)?;
        self.poll()?;
        Ok(self.known(kind, namespace))
    }

    pub(super) fn get(&mut self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        let place = self.place(kind, key)?;
        self.reread(&place)?;
        self.present(&place)
    }

    /// Registers a watch; the first event is sent before any other.
    pub(super) fn watch(&mut self, kind: &Kind, namespace: Option<String>, events: mpsc::UnboundedSender<WatchEvent>) {
        let first = match self.list(kind, namespace.as_deref()) {
            Ok(objects) => WatchEvent::Restarted(objects),
            Err(BackendError::Absent(_) | BackendError::Unsupported(_)) => WatchEvent::Absent,
            Err(error) => {
                // The next beat that works tells the list.
                self.trouble = Some(error.to_string());
                WatchEvent::Interrupted(error.to_string())
            }
        };
        _ = events.send(first);
        self.watchers.push(Watcher { kind: kind.clone(), namespace, events });
    }

    pub(super) fn create(&mut self, kind: &Kind, wanted: &Value) -> Result<Value, BackendError> {
        let place = self.place(kind, &Key::of(wanted))?;
        let lock = self.disk.lock()?;
        self.reread(&place)?;
        let record = self.record(&place).cloned().unwrap_or_default();
        if record.object.is_some() {
            return Err(BackendError::AlreadyExists { kind: kind.to_string(), key: place.key });
        }
        self.make(&lock, &place, wanted, record)
    }

    pub(super) fn modify(
        &mut self,
        kind: &Kind,
        key: &Key,
        change: impl FnOnce(&Value, &ObjectStamp) -> Result<Written, BackendError>,
    ) -> Result<Value, BackendError> {
        let place = self.place(kind, key)?;
        let lock = self.disk.lock()?;
        self.reread(&place)?;
        let present = self.present(&place)?;
        let written = change(&present, &unnumbered())?;
        let record = self.record(&place).cloned().unwrap_or_default();
        let removed = matches!(written, Written::Removed(_));
        let object = self.settle(&lock, &place, &present, written, record)?;
        if removed {
            self.collect(&lock)?;
        }
        Ok(object)
    }

    pub(super) fn delete(&mut self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        self.modify(kind, key, |present, stamp| object::delete(kind, present, deletion, stamp)).map(drop)
    }

    // How writes are kept.

    /// Creates an object and keeps it with the rest of a record.
    fn make(
        &mut self,
        lock: &WriteLock,
        place: &Place,
        wanted: &Value,
        mut record: Record,
    ) -> Result<Value, BackendError> {
        let uid = uuid::Uuid::new_v4().to_string();
        let made = object::create(&place.kind, wanted, &uid, &unnumbered())?;
        let made = self.numbered(lock, self.admit(&place.kind, made, None)?)?;
        record.object = Some(made.clone());
        record.deleted_uid = None;
        self.keep(lock, place, record, None)?;
        Ok(made)
    }

    /// Keeps what became of a write. An object that goes while its file stays leaves a tombstone, so that the next
    /// look at the file does not bring it back.
    fn settle(
        &mut self,
        lock: &WriteLock,
        place: &Place,
        present: &Value,
        written: Written,
        mut record: Record,
    ) -> Result<Value, BackendError> {
        match written {
            Written::Same(object) => {
                if Some(&record) != self.record(place) {
                    record.object = Some(object.clone());
                    self.keep(lock, place, record, None)?;
                }
                Ok(object)
            }
            Written::Changed(object) => {
                let object = self.numbered(lock, self.admit(&place.kind, object, Some(present))?)?;
                record.object = Some(object.clone());
                self.keep(lock, place, record, None)?;
                Ok(object)
            }
            Written::Removed(object) => {
                let object = self.numbered(lock, object)?;
                record.object = None;
                record.deleted_uid = record.manifest.is_some().then(|| object::uid(&object).to_owned());
                self.keep(lock, place, record, Some(object.clone()))?;
                Ok(object)
            }
        }
    }

    /// Writes a record, or removes one that holds nothing, and tells the watches.
    fn keep(
        &mut self,
        lock: &WriteLock,
        place: &Place,
        record: Record,
        last: Option<Value>,
    ) -> Result<(), BackendError> {
        if record.object.is_none() && record.manifest.is_none() {
            Disk::remove(lock, &place.path)?;
            self.forget(&place.kind, &place.key, last);
            return Ok(());
        }
        let stamp = self.disk.write(lock, &place.path, &record)?;
        self.take(&place.kind, &place.key, Held { record, stamp }, last);
        Ok(())
    }

    /// What the API server would say to the object. Faults that the object had before do not hold up other changes
    /// of it (as Kubernetes' ratcheting): a rule may be younger than the object.
    fn admit(&self, kind: &Kind, object: Value, old: Option<&Value>) -> Result<Value, BackendError> {
        let Some(schema) = &self.catalog.find(kind)?.schema else { return Ok(object) };
        schema.admit(object.clone(), old).or_else(|message| {
            let before = old.and_then(|old| schema.admit(old.clone(), Some(old)).err());
            if before.as_ref() == Some(&message) { Ok(object) } else { Err(BackendError::Invalid { message }) }
        })
    }

    /// Gives a state that is about to be kept its resourceVersion: last, so that refused writes use none up.
    fn numbered(&self, lock: &WriteLock, mut object: Value) -> Result<Value, BackendError> {
        let version = self.disk.next_version(lock, self.highest)?;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), json!(version.to_string()));
        }
        Ok(object)
    }

    /// Deletes what only deleted objects own, and what that owns in turn: nobody else does it here.
    fn collect(&mut self, lock: &WriteLock) -> Result<(), BackendError> {
        self.look()?;
        if !self.unreadable.is_empty() {
            return Ok(());
        }
        while let Some(place) = self.orphan()? {
            let present = self.present(&place)?;
            let written = object::delete(&place.kind, &present, &Deletion::default(), &unnumbered())?;
            let record = self.record(&place).cloned().unwrap_or_default();
            self.settle(lock, &place, &present, written, record)?;
        }
        Ok(())
    }

    /// An object all of whose owners are gone. Owners of kinds that are not kept here are not known to be gone.
    fn orphan(&self) -> Result<Option<Place>, BackendError> {
        let objects =
            || self.held.iter().flat_map(|(kind, held)| held.iter().map(move |(key, held)| (kind, key, held)));
        let live: BTreeSet<&str> =
            objects().filter_map(|(_, _, held)| held.record.object.as_ref()).map(object::uid).collect();
        let text = |owner: &Value, field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_gone = |owner: &Value| {
            self.catalog.named(&text(owner, "apiVersion"), &text(owner, "kind")).is_ok()
                && !live.contains(text(owner, "uid").as_str())
        };
        let orphaned = objects().find(|(_, _, held)| {
            let Some(object) = held.record.object.as_ref().filter(|object| !object::is_going(object)) else {
                return false;
            };
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            owners.is_some_and(|owners| !owners.is_empty() && owners.iter().all(is_gone))
        });
        orphaned.map(|(kind, key, _)| self.place(kind, key)).transpose()
    }

    // What others wrote.

    /// Takes in what other processes wrote; nothing is read while the counter stands still.
    fn poll(&mut self) -> Result<(), BackendError> {
        if self.counted.is_some() && self.disk.counter() == self.counted {
            return Ok(());
        }
        // Under the lock no writer is between the counter and its record.
        let _lock = self.disk.lock()?;
        self.look()
    }

    /// Looks at every record and reads those that changed.
    fn look(&mut self) -> Result<(), BackendError> {
        self.counted = self.disk.counter();
        let found = self.disk.records()?;
        let mut seen: BTreeMap<Kind, BTreeSet<Key>> = BTreeMap::new();
        let mut unreadable = BTreeMap::new();
        for (folder, key, path, stamp) in found {
            let Some(kept) = self.catalog.of_folder(&folder) else { continue };
            let kind = kept.kind.clone();
            let known = self.held.get(&kind).and_then(|held| held.get(&key));
            if known.is_none_or(|known| known.stamp != stamp) {
                match Disk::read(&path) {
                    Ok(Some((record, stamp))) => self.take(&kind, &key, Held { record, stamp }, None),
                    Ok(None) => continue,
                    Err(error) => {
                        let file = path.strip_prefix(&self.root).unwrap_or(&path).to_path_buf();
                        let problem = Problem { file, key: Some(key.clone()), message: error.to_string() };
                        unreadable.insert(path, problem);
                    }
                }
            }
            seen.entry(kind).or_default().insert(key);
        }
        let known = self.held.iter().flat_map(|(kind, held)| held.keys().map(move |key| (kind.clone(), key.clone())));
        let gone: Vec<_> = known.filter(|(kind, key)| !seen.get(kind).is_some_and(|keys| keys.contains(key))).collect();
        for (kind, key) in gone {
            self.forget(&kind, &key, None);
        }
        for (path, problem) in &unreadable {
            if !self.unreadable.contains_key(path) {
                problem.log();
            }
        }
        self.unreadable = unreadable;
        self.publish_problems();
        Ok(())
    }

    /// Reads the record of one object again.
    fn reread(&mut self, place: &Place) -> Result<(), BackendError> {
        match Disk::read(&place.path)? {
            Some((record, stamp)) => self.take(&place.kind, &place.key, Held { record, stamp }, None),
            None => self.forget(&place.kind, &place.key, None),
        }
        Ok(())
    }

    fn take(&mut self, kind: &Kind, key: &Key, held: Held, last: Option<Value>) {
        let next = held.record.object.clone();
        self.highest = self.highest.max(next.as_ref().map(object::resource_version).unwrap_or_default());
        let before = self.held.entry(kind.clone()).or_default().insert(key.clone(), held);
        let before = before.and_then(|before| before.record.object);
        match (before, next) {
            (Some(before), Some(next)) if before == next => {}
            (Some(before), Some(next)) if object::uid(&before) == object::uid(&next) => {
                self.tell(kind, key, WatchEvent::Applied(next));
            }
            (before, next) => {
                if let Some(before) = before {
                    self.tell(kind, key, WatchEvent::Deleted(last.unwrap_or(before)));
                }
                if let Some(next) = next {
                    self.tell(kind, key, WatchEvent::Applied(next));
                }
            }
        }
    }

    fn forget(&mut self, kind: &Kind, key: &Key, last: Option<Value>) {
        let before = self.held.get_mut(kind).and_then(|held| held.remove(key));
        if let Some(before) = before.and_then(|before| before.record.object) {
            self.tell(kind, key, WatchEvent::Deleted(last.unwrap_or(before)));
        }
    }

    fn tell(&mut self, kind: &Kind, key: &Key, event: WatchEvent) {
        self.watchers.retain(|watcher| {
            if watcher.kind == *kind && watcher.namespace.as_ref().is_none_or(|name| *name == key.namespace) {
                _ = watcher.events.send(event.clone());
            }
            !watcher.events.is_closed()
        });
    }

    /// Tells every watch the whole of what it watches.
    fn restart(&mut self) {
        for watcher in &self.watchers {
            if self.catalog.find(&watcher.kind).is_ok() {
                let all = self.known(&watcher.kind, watcher.namespace.as_deref());
                _ = watcher.events.send(WatchEvent::Restarted(all));
            }
        }
    }

    fn known(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Value> {
        let held = self.held.get(kind).into_iter().flatten();
        let within = held.filter(|(key, _)| namespace.is_none_or(|name| name == key.namespace));
        within.filter_map(|(_, held)| held.record.object.clone()).collect()
    }

    fn record(&self, place: &Place) -> Option<&Record> {
        self.held.get(&place.kind).and_then(|held| held.get(&place.key)).map(|held| &held.record)
    }

    fn present(&self, place: &Place) -> Result<Value, BackendError> {
        let object = self.record(place).and_then(|record| record.object.clone());
        object.ok_or_else(|| BackendError::NotFound { kind: place.kind.to_string(), key: place.key.clone() })
    }

    fn place(&self, kind: &Kind, key: &Key) -> Result<Place, BackendError> {
        let invalid = |message: String| BackendError::Invalid { message };
        let kept = self.catalog.find(kind)?;
        if key.name.is_empty() {
            return Err(invalid("metadata.name: is required".to_owned()));
        }
        if kept.namespaced == key.namespace.is_empty() {
            let fault = if kept.namespaced { "is required" } else { "must be empty: the kind has no namespace" };
            return Err(invalid(format!("metadata.namespace: {fault}")));
        }
        manifests::check_key(key).map_err(invalid)?;
        Ok(Place { kind: kind.clone(), key: key.clone(), path: self.disk.path(kept, key) })
    }
}

/// Now, and a resourceVersion that is replaced before anything is kept.
fn unnumbered() -> ObjectStamp {
    ObjectStamp { resource_version: 0, now: Timestamp::now() }
}

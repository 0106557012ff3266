//! What a watch has told about one kind, and which of it is older than our own last write.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use okra_core::planted::{Planted, is_planted};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Stored, changes::Hub, parse};
use crate::backend::{Key, Kind, Labels, WatchEvent};

/// The objects of one kind as a watch tells of them; cheap to clone.
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("kind", &self.shared.kind).finish_non_exhaustive()
    }
}

/// What a cache knows about a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup<K> {
    /// The object.
    Found(Arc<K>),
    /// There is an object that cannot be parsed; the reason.
    Malformed(String),
    /// There is none.
    Missing,
    /// What the cache holds is older than our own last write: wait for the watch, which tells of the key again.
    Stale,
}

/// An object that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The object.
    pub key: Key,
    /// Why.
    pub error: String,
}

impl<K: Stored> Cache<K> {
    pub(super) fn new(shared: Arc<Shared<K>>) -> Self {
        Self { shared }
    }

    /// What is known about a key.
    pub fn get(&self, key: &Key) -> Lookup<K> {
        let content = self.shared.content.lock();
        if content.marks.contains_key(key) && !is_planted(Planted::StaleCopyUsed) {
            self.shared.skips.fetch_add(1, Ordering::Relaxed);
            return Lookup::Stale;
        }
        match content.entries.get(key).map(|entry| &entry.object) {
            Some(Ok(object)) => Lookup::Found(object.clone()),
            Some(Err(error)) => Lookup::Malformed(error.clone()),
            None => Lookup::Missing,
        }
    }

    /// Every object that can be parsed, in one namespace or in all, sorted by key.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        let content = self.shared.content.lock();
        content.within(namespace).filter_map(|(_, entry)| entry.object.as_ref().ok().cloned()).collect()
    }

    /// Every object that cannot be parsed, in one namespace or in all, sorted by key.
    pub fn malformed(&self, namespace: Option<&str>) -> Vec<Malformed> {
        let content = self.shared.content.lock();
        let bad = content.within(namespace).filter_map(|(key, entry)| {
            entry.object.as_ref().err().map(|error| Malformed { key: key.clone(), error: error.clone() })
        });
        bad.collect()
    }

    /// Every key, sorted; of malformed objects too.
    pub fn keys(&self) -> Vec<Key> {
        self.shared.content.lock().entries.keys().cloned().collect()
    }

    /// Whether the first whole list was taken in, or the kind is known to be absent.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Whether the kind is served; true until the watch says that it is not. Then what was known stays known:
    /// an absent kind is no deletion of its objects.
    pub fn is_served(&self) -> bool {
        self.shared.content.lock().scopes.iter().all(|scope| scope.served)
    }

    /// What the watch struggles with, since its last good answer; for logs and `/readyz`.
    pub fn trouble(&self) -> Option<String> {
        self.shared.content.lock().scopes.iter().find_map(|scope| scope.trouble.clone())
    }

    /// Waits for [`Cache::is_synced`], or for the end of the store.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        tokio::select! {
            biased;
            _ = synced.wait_for(|synced| *synced) => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    /// Whether our own last write of the object has not come back through the watch yet.
    pub fn is_stale(&self, key: &Key) -> bool {
        self.awaits(key).is_some()
    }

    /// The resourceVersion of our own last write of the object, while it has not come back through the watch yet.
    pub fn awaits(&self, key: &Key) -> Option<u64> {
        self.shared.content.lock().marks.get(key).map(|mark| mark.version)
    }
}

/// What a cache and its feed share.
pub(super) struct Shared<K> {
    /// What logs call the store.
    name: Arc<str>,
    pub(super) kind: Kind,
    pub(super) labels: Labels,
    pub(super) stop: CancellationToken,
    /// A mark was set: the feed looks after it.
    pub(super) marked: Notify,
    content: Mutex<Content<K>>,
    /// By scope, the parts of a list that has not come to its end yet.
    listed: Mutex<BTreeMap<usize, Vec<Item<K>>>>,
    synced: watch::Sender<bool>,
    skips: Arc<AtomicU64>,
}

struct Content<K> {
    entries: BTreeMap<Key, Entry<K>>,
    marks: BTreeMap<Key, Mark>,
    scopes: Vec<Scope>,
}

/// An object of a list, before it is known whether the list comes to its end.
struct Item<K> {
    key: Key,
    entry: Entry<K>,
}

struct Entry<K> {
    uid: String,
    version: Option<u64>,
    object: Result<Arc<K>, String>,
}

/// Our own last write of an object that the watch has not shown yet.
struct Mark {
    uid: String,
    version: u64,
    /// Whether it was there at the last look after marks.
    seen_before: bool,
}

/// One watch of the cache: of a namespace, or of all.
struct Scope {
    namespace: Option<String>,
    synced: bool,
    served: bool,
    trouble: Option<String>,
}

/// A cache as a write of its kind sees it.
pub(super) trait Marked: Send + Sync {
    /// Takes in the answer to a write.
    fn wrote(&self, answer: &Value);
}

impl<K: Stored> Marked for Shared<K> {
    fn wrote(&self, answer: &Value) {
        let Some(version) = version_of(answer).filter(|_| self.labels.select(answer)) else { return };
        let (key, uid) = (Key::of(answer), uid_of(answer));
        {
            let mut content = self.content.lock();
            if !content.covers(&key) {
                return;
            }
            if content.entries.get(&key).is_some_and(|entry| entry.version >= Some(version)) {
                return;
            }
            if content.marks.get(&key).is_some_and(|mark| mark.version >= version) {
                return;
            }
            content.marks.insert(key, Mark { uid, version, seen_before: false });
        }
        self.marked.notify_one();
    }
}

impl<K: Stored> Shared<K> {
    pub(super) fn new(
        name: Arc<str>,
        kind: Kind,
        labels: Labels,
        scopes: Vec<Option<String>>,
        skips: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> Self {
        let nothing_to_see = scopes.is_empty();
        let scopes =
            scopes.into_iter().map(|namespace| Scope { namespace, synced: false, served: true, trouble: None });
        let content = Content { entries: BTreeMap::new(), marks: BTreeMap::new(), scopes: scopes.collect() };
        Self {
            name,
            kind,
            labels,
            stop,
            marked: Notify::new(),
            content: Mutex::new(content),
            listed: Mutex::default(),
            synced: watch::Sender::new(nothing_to_see),
            skips,
        }
    }

    /// The namespaces to watch.
    pub(super) fn namespaces(&self) -> Vec<Option<String>> {
        self.content.lock().scopes.iter().map(|scope| scope.namespace.clone()).collect()
    }

    /// Takes in what the watch of a scope told, and publishes the keys about which something is new. Both under one
    /// lock: who sees that a copy is no longer stale finds the change that says so in its stream. Objects are parsed
    /// before, so that nobody waits for that.
    pub(super) fn take(&self, scope: usize, event: WatchEvent, hub: &Hub) {
        let mut listed = self.listed.lock().remove(&scope).unwrap_or_default();
        let event = match event {
            WatchEvent::Listed { first, objects } => {
                if first {
                    listed.clear();
                }
                listed.extend(objects.into_iter().map(|object| Item::of(&self.kind, object)));
                self.listed.lock().insert(scope, listed);
                return;
            }
            WatchEvent::Restarted(objects) => {
                listed.extend(objects.into_iter().map(|object| Item::of(&self.kind, object)));
                WatchEvent::Restarted(Vec::new())
            }
            event => event,
        };
        let mut content = self.content.lock();
        let changed = match event {
            WatchEvent::Restarted(_) | WatchEvent::Listed { .. } => {
                let namespace = content.mend(scope, true);
                content.restart(namespace.as_deref(), listed)
            }
            WatchEvent::Applied(item) => {
                content.mend(scope, true);
                let Item { key, entry } = Item::of(&self.kind, item);
                if content.put(key.clone(), entry) { BTreeSet::from([key]) } else { BTreeSet::new() }
            }
            WatchEvent::Deleted(item) => {
                content.mend(scope, true);
                content.remove(&item)
            }
            WatchEvent::Absent => {
                content.mend(scope, false);
                BTreeSet::new()
            }
            WatchEvent::Interrupted(words) => {
                let store = (!self.name.is_empty()).then_some(&*self.name);
                tracing::warn!(store, kind = %self.kind, error = %words, "a watch was interrupted and tries again");
                if let Some(scope) = content.scopes.get_mut(scope) {
                    scope.trouble = Some(words);
                }
                BTreeSet::new()
            }
        };
        hub.publish(&self.kind, changed);
        let synced = content.scopes.iter().all(|scope| scope.synced);
        drop(content);
        self.synced.send_if_modified(|known| std::mem::replace(known, synced) != synced);
    }

    /// Whether the cache waits for one of our own writes.
    pub(super) fn has_marks(&self) -> bool {
        !self.content.lock().marks.is_empty()
    }

    /// Marks that were there at the last call already: the watch is slow, or will never show them, because the
    /// object went before the watch saw it.
    pub(super) fn old_marks(&self) -> Vec<Key> {
        let mut content = self.content.lock();
        let marks = content.marks.iter_mut();
        marks.filter_map(|(key, mark)| std::mem::replace(&mut mark.seen_before, true).then(|| key.clone())).collect()
    }

    /// Takes the mark off an object that is gone and that the cache does not hold. While it does hold a copy,
    /// the watch has yet to tell of the deletion.
    pub(super) fn unmark_missing(&self, key: &Key, hub: &Hub) {
        let mut content = self.content.lock();
        if !content.entries.contains_key(key) && content.marks.remove(key).is_some() {
            hub.publish(&self.kind, BTreeSet::from([key.clone()]));
        }
    }
}

impl<K: Stored> Item<K> {
    fn of(kind: &Kind, object: Value) -> Self {
        let (key, uid, version) = (Key::of(&object), uid_of(&object), version_of(&object));
        let object = parse(kind, object).map(Arc::new).map_err(|error| error.to_string());
        Self { key, entry: Entry { uid, version, object } }
    }
}

impl<K: Stored> Content<K> {
    fn within(&self, namespace: Option<&str>) -> impl Iterator<Item = (&Key, &Entry<K>)> {
        let namespace = namespace.map(ToOwned::to_owned);
        self.entries.iter().filter(move |(key, _)| namespace.as_ref().is_none_or(|name| *name == key.namespace))
    }

    fn covers(&self, key: &Key) -> bool {
        self.scopes.iter().any(|scope| scope.namespace.as_ref().is_none_or(|name| *name == key.namespace))
    }

    /// Notes a good answer of a scope's watch and gives its namespace.
    fn mend(&mut self, scope: usize, served: bool) -> Option<String> {
        let scope = self.scopes.get_mut(scope)?;
        (scope.synced, scope.served, scope.trouble) = (true, served, None);
        scope.namespace.clone()
    }

    /// Takes in a whole list. What it lacks is gone; a mark goes with it when the list is newer than the mark.
    fn restart(&mut self, namespace: Option<&str>, items: Vec<Item<K>>) -> BTreeSet<Key> {
        let newest = items.iter().filter_map(|item| item.entry.version).max();
        let mut listed = BTreeSet::new();
        let mut changed = BTreeSet::new();
        for Item { key, entry } in items {
            listed.insert(key.clone());
            if self.put(key.clone(), entry) {
                changed.insert(key);
            }
        }
        let unlisted = |key: &Key| namespace.is_none_or(|name| name == key.namespace) && !listed.contains(key);
        self.entries.retain(|key, _| {
            let keep = !unlisted(key);
            if !keep {
                changed.insert(key.clone());
            }
            keep
        });
        self.marks.retain(|key, mark| {
            let keep = !(unlisted(key) && newest > Some(mark.version));
            if !keep {
                changed.insert(key.clone());
            }
            keep
        });
        changed
    }

    /// Takes in one object. An older state of the object that is held is not taken: a server that lags behind
    /// the one that answered before must not lead back in time.
    fn put(&mut self, key: Key, entry: Entry<K>) -> bool {
        let version = entry.version;
        let held = self.entries.get(&key).filter(|held| held.uid == entry.uid && held.version.is_some());
        if held.is_some_and(|held| version < held.version) {
            return false;
        }
        let same = held.is_some_and(|held| version == held.version);
        let shown = self.marks.get(&key).is_some_and(|mark| version >= Some(mark.version));
        if shown {
            self.marks.remove(&key);
        }
        if !same {
            self.entries.insert(key, entry);
        }
        shown || !same
    }

    /// Takes in a deletion. That of an earlier object of the same name changes nothing.
    fn remove(&mut self, item: &Value) -> BTreeSet<Key> {
        let (key, uid, version) = (Key::of(item), uid_of(item), version_of(item));
        let ours = self.marks.get(&key).is_some_and(|mark| mark.uid == uid || version >= Some(mark.version));
        if ours {
            self.marks.remove(&key);
        }
        let held = self.entries.get(&key).is_some_and(|held| held.uid == uid);
        if held {
            self.entries.remove(&key);
        }
        if ours || held { BTreeSet::from([key]) } else { BTreeSet::new() }
    }
}

/// The resourceVersion as the number that it is (Kubernetes 1.35 and later promise that it is one).
fn version_of(object: &Value) -> Option<u64> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(|text| text.parse().ok())
}

fn uid_of(object: &Value) -> String {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned()
}

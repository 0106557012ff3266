//! A backend that keeps its objects in a map.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;

use super::faults::{Call, CallVerb, Fault, Faults};
use crate::{
    backend::{Backend, BackendError, Deletion, Key, Kind, WatchEvent},
    object::{self, Stamp, Written},
    ports::{Clock, Entropy},
};

/// A [`Backend`] in memory that keeps all of its guarantees. Every kind is served until it is said to be absent;
/// objects are not checked against a schema; nothing collects the children of deleted owners.
pub struct MemoryBackend {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    version: u64,
    kinds: BTreeMap<Kind, BTreeMap<Key, Value>>,
    absent: BTreeSet<Kind>,
    held: BTreeSet<Kind>,
    watchers: Vec<Watcher>,
    faults: Faults,
}

struct Watcher {
    kind: Kind,
    namespace: Option<String>,
    events: mpsc::UnboundedSender<WatchEvent>,
    /// What is told once the kind is released.
    waiting: Vec<WatchEvent>,
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

impl MemoryBackend {
    /// An empty one. Creation times come from the clock, uids from the entropy.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, state: Mutex::default() }
    }

    /// Plans a fault.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.add(fault);
    }

    /// Every call so far, in order; those that failed too.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().faults.calls.clone()
    }

    /// Keeps back what watches of a kind would tell from now on.
    pub fn hold(&self, kind: &Kind) {
        self.state.lock().held.insert(kind.clone());
    }

    /// Tells what was kept back, in order.
    pub fn release(&self, kind: &Kind) {
        let mut state = self.state.lock();
        state.held.remove(kind);
        for watcher in state.watchers.iter_mut().filter(|watcher| watcher.kind == *kind) {
            for event in std::mem::take(&mut watcher.waiting) {
                _ = watcher.events.send(event);
            }
        }
    }

    /// Drops what was kept back and begins the watches anew with the objects as they are: events that nobody
    /// ever saw.
    pub fn release_with_gap(&self, kind: &Kind) {
        let mut state = self.state.lock();
        state.held.remove(kind);
        for watcher in state.watchers.iter_mut().filter(|watcher| watcher.kind == *kind) {
            watcher.waiting.clear();
        }
        state.restart(kind, Some("the connection was lost"));
    }

    /// Whether a kind is served; all are at first. Objects of an absent kind are gone.
    pub fn serve(&self, kind: &Kind, served: bool) {
        let mut state = self.state.lock();
        if served {
            state.absent.remove(kind);
            state.restart(kind, None);
        } else {
            state.absent.insert(kind.clone());
            state.kinds.remove(kind);
            state.tell(kind, |_| Some(WatchEvent::Absent));
        }
    }

    fn stamp(&self, state: &State) -> Stamp {
        Stamp { resource_version: state.version + 1, now: self.clock.now() }
    }

    fn uid(&self) -> String {
        let hex = |length: u32| format!("{:0width$x}", self.entropy.below(1 << (4 * length)), width = length as usize);
        format!("{}-{}-4{}-8{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
    }

    /// Notes a call, and does it unless a fault strikes it before.
    fn call<T>(
        &self,
        verb: CallVerb,
        kind: &Kind,
        key: Key,
        work: impl FnOnce(&mut State) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let mut state = self.state.lock();
        let fault = state.faults.strike(Call { verb, kind: kind.clone(), key });
        match fault {
            Some(fault) if fault.after_effect => work(&mut state).and(Err(fault.error)),
            Some(fault) => Err(fault.error),
            None if state.absent.contains(kind) => Err(BackendError::Absent(kind.to_string())),
            None => work(&mut state),
        }
    }
}

impl State {
    fn list(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Value> {
        let objects = self.kinds.get(kind).into_iter().flatten();
        let within = objects.filter(|(key, _)| namespace.is_none_or(|name| name == key.namespace));
        within.map(|(_, object)| object.clone()).collect()
    }

    fn get(&self, kind: &Kind, key: &Key) -> Result<&Value, BackendError> {
        let found = self.kinds.get(kind).and_then(|objects| objects.get(key));
        found.ok_or_else(|| BackendError::NotFound { kind: kind.to_string(), key: key.clone() })
    }

    /// Keeps what became of a write and tells the watches.
    fn keep(&mut self, kind: &Kind, key: &Key, written: Written) -> Value {
        let (object, event) = match written {
            Written::Same(object) => return object,
            Written::Changed(object) => {
                self.kinds.entry(kind.clone()).or_default().insert(key.clone(), object.clone());
                (object.clone(), WatchEvent::Applied(object))
            }
            Written::Removed(object) => {
                self.kinds.entry(kind.clone()).or_default().remove(key);
                (object.clone(), WatchEvent::Deleted(object))
            }
        };
        self.version = object::resource_version(&object);
        self.tell(kind, |namespace| namespace.is_none_or(|name| name == key.namespace).then(|| event.clone()));
        object
    }

    /// Begins the watches of a kind anew.
    fn restart(&mut self, kind: &Kind, reason: Option<&str>) {
        if let Some(reason) = reason {
            self.tell(kind, |_| Some(WatchEvent::Interrupted(reason.to_owned())));
        }
        let all = self.list(kind, None);
        self.tell(kind, |namespace| {
            let within = all.iter().filter(|object| namespace.is_none_or(|name| name == Key::of(object).namespace));
            Some(WatchEvent::Restarted(within.cloned().collect()))
        });
    }

    /// Tells every watch of a kind what is meant for its namespace.
    fn tell(&mut self, kind: &Kind, event: impl Fn(Option<&str>) -> Option<WatchEvent>) {
        let held = self.held.contains(kind);
        self.watchers.retain_mut(|watcher| {
            if watcher.kind == *kind
                && let Some(event) = event(watcher.namespace.as_deref())
            {
                watcher.tell(event, held);
            }
            !watcher.events.is_closed()
        });
    }
}

impl Watcher {
    fn tell(&mut self, event: WatchEvent, held: bool) {
        if held {
            self.waiting.push(event);
        } else {
            _ = self.events.send(event);
        }
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        let key = Key::new(namespace.unwrap_or_default(), "");
        self.call(CallVerb::List, kind, key, |state| Ok(state.list(kind, namespace)))
    }

    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent> {
        let (events, told) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        let key = Key::new(namespace.unwrap_or_default(), "");
        let fault = state.faults.strike(Call { verb: CallVerb::Watch, kind: kind.clone(), key });
        let namespace = namespace.map(ToOwned::to_owned);
        let held = state.held.contains(kind);
        let first = if state.absent.contains(kind) {
            WatchEvent::Absent
        } else {
            WatchEvent::Restarted(state.list(kind, namespace.as_deref()))
        };
        let mut watcher = Watcher { kind: kind.clone(), namespace, events, waiting: Vec::new() };
        if let Some(fault) = fault {
            watcher.tell(WatchEvent::Interrupted(fault.error.to_string()), held);
        }
        watcher.tell(first, held);
        state.watchers.push(watcher);
        futures::stream::unfold(told, |mut told| async { told.recv().await.map(|event| (event, told)) }).boxed()
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        self.call(CallVerb::Get, kind, key.clone(), |state| state.get(kind, key).cloned())
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let key = Key::of(object);
        self.call(CallVerb::Create, kind, key.clone(), |state| {
            if state.get(kind, &key).is_ok() {
                return Err(BackendError::AlreadyExists { kind: kind.to_string(), key });
            }
            let made = object::create(kind, object, &self.uid(), &self.stamp(state))?;
            Ok(state.keep(kind, &key, Written::Changed(made)))
        })
    }

    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let key = Key::of(object);
        self.call(CallVerb::Update, kind, key.clone(), |state| {
            let written = object::update(kind, state.get(kind, &key)?, object, &self.stamp(state))?;
            Ok(state.keep(kind, &key, written))
        })
    }

    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let key = Key::of(object);
        self.call(CallVerb::UpdateStatus, kind, key.clone(), |state| {
            let written = object::update_status(kind, state.get(kind, &key)?, object, &self.stamp(state))?;
            Ok(state.keep(kind, &key, written))
        })
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        self.call(CallVerb::MergePatch, kind, key.clone(), |state| {
            let written = object::merge_patch(kind, state.get(kind, key)?, patch, &self.stamp(state))?;
            Ok(state.keep(kind, key, written))
        })
    }

    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        self.call(CallVerb::Delete, kind, key.clone(), |state| {
            let written = object::delete(kind, state.get(kind, key)?, deletion, &self.stamp(state))?;
            state.keep(kind, key, written);
            Ok(())
        })
    }
}

//! A copy of the objects that can be written without anything happening: what is planned is seen in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use okra_provider::{
    Backend, BackendError, Deletion, Key, Kind, WatchEvent,
    object::{self, Stamp, Written},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A write of something else than a status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    /// `create`, `change` or `delete`.
    pub(super) verb: &'static str,
    /// The object's kind.
    pub(super) kind: Kind,
    /// The object as it would be.
    pub(super) object: Value,
}

/// A copy of the objects of some kinds in one namespace. Writes change the copy only, and are remembered.
pub(super) struct Overlay {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kinds: BTreeMap<Kind, BTreeMap<Key, Value>>,
    absent: BTreeSet<Kind>,
    version: u64,
    watchers: Vec<(Kind, mpsc::UnboundedSender<WatchEvent>)>,
    writes: Vec<Write>,
}

impl Overlay {
    /// Copies what is there now.
    pub(super) async fn copy(
        backend: &Arc<dyn Backend>,
        kinds: impl IntoIterator<Item = Kind>,
        namespace: &str,
    ) -> Result<Self, BackendError> {
        let mut state = State::default();
        for kind in kinds {
            let objects = match backend.list(&kind, Some(namespace)).await {
                Ok(objects) => objects,
                // What a directory cannot hold is not there.
                Err(BackendError::Absent(_) | BackendError::Unsupported(_)) => {
                    state.absent.insert(kind);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let versions = objects.iter().map(object::resource_version);
            state.version = versions.fold(state.version, u64::max);
            let objects = objects.into_iter().map(|object| (Key::of(&object), object)).collect();
            state.kinds.insert(kind, objects);
        }
        Ok(Self { state: Mutex::new(state) })
    }

    /// Changes one object of the copy as if it had been found so.
    pub(super) fn edit(&self, kind: &Kind, key: &Key, edit: impl FnOnce(&mut Value)) {
        if let Some(object) = self.state.lock().kinds.get_mut(kind).and_then(|objects| objects.get_mut(key)) {
            edit(object);
        }
    }

    /// What was written so far, in order.
    pub(super) fn writes(&self) -> Vec<Write> {
        self.state.lock().writes.clone()
    }

    fn write(
        &self,
        kind: &Kind,
        key: &Key,
        work: impl FnOnce(&Value, &Stamp) -> Result<Written, BackendError>,
    ) -> Result<Value, BackendError> {
        let mut state = self.state.lock();
        let present = state.get(kind, key)?.clone();
        let written = work(&present, &state.stamp())?;
        Ok(state.keep(kind, key, &present, written))
    }
}

impl State {
    fn stamp(&self) -> Stamp {
        Stamp { resource_version: self.version + 1, now: Timestamp::now() }
    }

    fn list(&self, kind: &Kind) -> Result<Vec<Value>, BackendError> {
        if self.absent.contains(kind) {
            return Err(BackendError::Absent(kind.to_string()));
        }
        Ok(self.kinds.get(kind).into_iter().flatten().map(|(_, object)| object.clone()).collect())
    }

    fn get(&self, kind: &Kind, key: &Key) -> Result<&Value, BackendError> {
        let found = self.kinds.get(kind).and_then(|objects| objects.get(key));
        found.ok_or_else(|| BackendError::NotFound { kind: kind.to_string(), key: key.clone() })
    }

    /// Keeps what became of a write, remembers it and tells the watches.
    fn keep(&mut self, kind: &Kind, key: &Key, present: &Value, written: Written) -> Value {
        let objects = self.kinds.entry(kind.clone()).or_default();
        let (verb, object, event) = match written {
            Written::Same(object) => return object,
            Written::Changed(object) => {
                objects.insert(key.clone(), object.clone());
                let verb = if present.is_null() { "create" } else { "change" };
                (verb, object.clone(), WatchEvent::Applied(object))
            }
            Written::Removed(object) => {
                objects.remove(key);
                ("delete", object.clone(), WatchEvent::Deleted(object))
            }
        };
        self.version = object::resource_version(&object).max(self.version);
        if verb != "change" || without_status(present) != without_status(&object) {
            self.writes.push(Write { verb, kind: kind.clone(), object: object.clone() });
        }
        self.watchers.retain(|(watched, sender)| watched != kind || sender.send(event.clone()).is_ok());
        object
    }
}

/// The object without what every write changes.
fn without_status(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
    }
    object
}

#[async_trait]
impl Backend for Overlay {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        let mut objects = self.state.lock().list(kind)?;
        objects.retain(|object| namespace.is_none_or(|namespace| Key::of(object).namespace == namespace));
        Ok(objects)
    }

    fn watch(&self, kind: &Kind, _: Option<&str>) -> BoxStream<'static, WatchEvent> {
        let (sender, told) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        let first = state.list(kind).map_or(WatchEvent::Absent, WatchEvent::Restarted);
        // Nobody can have gone yet.
        let _there = sender.send(first);
        state.watchers.push((kind.clone(), sender));
        futures::stream::unfold(told, |mut told| async { told.recv().await.map(|event| (event, told)) }).boxed()
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        self.state.lock().get(kind, key).cloned()
    }

    async fn create(&self, kind: &Kind, wanted: &Value) -> Result<Value, BackendError> {
        let key = Key::of(wanted);
        let mut state = self.state.lock();
        if state.get(kind, &key).is_ok() {
            return Err(BackendError::AlreadyExists { kind: kind.to_string(), key });
        }
        let made = object::create(kind, wanted, &Uuid::new_v4().to_string(), &state.stamp())?;
        Ok(state.keep(kind, &key, &Value::Null, Written::Changed(made)))
    }

    async fn update(&self, kind: &Kind, wanted: &Value) -> Result<Value, BackendError> {
        self.write(kind, &Key::of(wanted), |present, stamp| object::update(kind, present, wanted, stamp))
    }

    async fn update_status(&self, kind: &Kind, wanted: &Value) -> Result<Value, BackendError> {
        self.write(kind, &Key::of(wanted), |present, stamp| object::update_status(kind, present, wanted, stamp))
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        self.write(kind, key, |present, stamp| object::merge_patch(kind, present, patch, stamp))
    }

    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        self.write(kind, key, |present, stamp| object::delete(kind, present, deletion, stamp)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use okra_api::{Pause, Route};
    use okra_provider::testing::{FixedClock, MemoryBackend, SeededEntropy};
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    fn route(name: &str) -> Value {
        json!({
            "apiVersion": "okra.mumo.co/v1alpha1",
            "kind": "Route",
            "metadata": {"namespace": "default", "name": name},
            "spec": {"local": {"listen": "127.0.0.1:1"}},
        })
    }

    #[tokio::test]
    async fn writes_change_the_copy_only_and_are_remembered() {
        let memory = MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1)));
        let (routes, pauses) = (Kind::of::<Route>(), Kind::of::<Pause>());
        let present = memory.create(&routes, &route("a")).await.unwrap();
        memory.serve(&pauses, false);
        let backend: Arc<dyn Backend> = Arc::new(memory);
        let copy = Overlay::copy(&backend, [routes.clone(), pauses.clone()], "default").await.unwrap();
        assert_eq!(copy.list(&pauses, None).await, Err(BackendError::Absent("Pause".to_owned())));

        let mut watch = copy.watch(&routes, Some("default"));
        assert_eq!(watch.next().await, Some(WatchEvent::Restarted(vec![present.clone()])));
        let mut status = present.clone();
        status["status"] = json!({"message": "read"});
        let status = copy.update_status(&routes, &status).await.unwrap();
        assert_eq!(watch.next().await, Some(WatchEvent::Applied(status.clone())));
        copy.create(&routes, &route("b")).await.unwrap();
        let mut spec = status.clone();
        spec["spec"]["local"]["listen"] = json!("127.0.0.1:2");
        let spec = copy.update(&routes, &spec).await.unwrap();
        assert_eq!(copy.update(&routes, &spec).await.unwrap(), spec, "nothing is different");

        let told: Vec<_> = copy.writes().iter().map(|write| (write.verb, Key::of(&write.object).to_string())).collect();
        assert_eq!(told, [("create", "default/b".to_owned()), ("change", "default/a".to_owned())]);
        assert_eq!(backend.list(&routes, None).await.unwrap(), [present]);
    }

    #[tokio::test]
    async fn an_old_copy_is_not_written_over() {
        let memory = MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1)));
        let routes = Kind::of::<Route>();
        let old = memory.create(&routes, &route("a")).await.unwrap();
        let backend: Arc<dyn Backend> = Arc::new(memory);
        let copy = Overlay::copy(&backend, [routes.clone()], "default").await.unwrap();
        let mut new = old.clone();
        new["spec"]["healthOf"] = json!(["x"]);
        copy.update(&routes, &new).await.unwrap();
        assert!(matches!(copy.update(&routes, &old).await, Err(BackendError::Conflict { .. })));
    }
}

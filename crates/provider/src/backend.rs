//! Where objects are kept: the smallest interface that the Kubernetes API, a directory of manifests
//! and a map in memory can all keep.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};
use kube_core::Resource;
use serde_json::Value;

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// API version.
    pub version: Cow<'static, str>,
    /// Kind, for example `Cell`.
    pub kind: Cow<'static, str>,
    /// Plural, for example `cells`.
    pub plural: Cow<'static, str>,
}

impl Kind {
    /// The kind of a typed object.
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self { group: K::group(&()), version: K::version(&()), kind: K::kind(&()), plural: K::plural(&()) }
    }

    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

/// Names an object of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object; empty parts where its metadata lacks them.
    pub fn of(object: &Value) -> Self {
        let metadata = object.get("metadata");
        let part = |field| metadata.and_then(|own| own.get(field)).and_then(Value::as_str).unwrap_or_default();
        Self::new(part("namespace"), part("name"))
    }

    /// The key of a typed object.
    pub fn of_typed<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What may be deleted: exactly the object that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Delete only the object with this uid.
    pub uid: Option<String>,
    /// Delete only this version of it.
    pub resource_version: Option<String>,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// Everything that is there, together with what was [`WatchEvent::Listed`] right before: replaces what was known,
    /// and whatever is missing is gone. The first event of every watch apart from those, and again after a gap.
    Restarted(Vec<Value>),
    /// Some of what is there: a long list comes in parts, so that nobody has to hold it all. It counts once the last
    /// part has come, which is [`WatchEvent::Restarted`]; any other event says that it will not.
    Listed {
        /// Whether these are the first: what was listed before does not count.
        first: bool,
        /// The objects.
        objects: Vec<Value>,
    },
    /// An object was created or changed.
    Applied(Value),
    /// An object is gone; its last state.
    Deleted(Value),
    /// The kind is not served here: not empty, absent. The watch goes on and tells when it is.
    Absent,
    /// The watch failed and tries again; the words are for logs and `readyz`. What was known stays known.
    Interrupted(String),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// There is no such object.
    #[error("{kind} {key} does not exist")]
    NotFound {
        /// The kind.
        kind: String,
        /// The object.
        key: Key,
    },
    /// There is one already.
    #[error("{kind} {key} exists already")]
    AlreadyExists {
        /// The kind.
        kind: String,
        /// The object.
        key: Key,
    },
    /// It was changed since it was read, or it is another object of that name.
    #[error("{kind} {key} was changed by somebody else")]
    Conflict {
        /// The kind.
        kind: String,
        /// The object.
        key: Key,
    },
    /// It is not a legal object; the message names field, fault and remedy.
    #[error("{message}")]
    Invalid {
        /// Field, fault and remedy.
        message: String,
    },
    /// The caller may not do that.
    #[error("{message}")]
    Denied {
        /// Who may not do what.
        message: String,
    },
    /// The kind is not served here.
    #[error("the kind {0} is not served here: install Okra's CRDs (okra crd | kubectl apply -f -)")]
    Absent(String),
    /// Too many calls.
    #[error("the API server asks to slow down")]
    Throttled {
        /// For how long, if it said so.
        retry_after: Option<Duration>,
    },
    /// No answer, or one that says to try again.
    #[error("{0}")]
    Unreachable(String),
    /// What is asked cannot be done on this store.
    #[error("{0}")]
    Unsupported(String),
}

/// Labels of which all must be there with these values; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// One label.
    pub fn one(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self(BTreeMap::from([(key.into(), value.into())]))
    }

    /// Whether an object has them.
    pub fn select(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let value = |key: &String| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        self.0.iter().all(|(key, wanted)| value(key) == Some(wanted))
    }

    /// As the Kubernetes API asks for them; `None` when everything is selected.
    pub fn selector(&self) -> Option<String> {
        let parts: Vec<String> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        (!parts.is_empty()).then(|| parts.join(","))
    }
}

/// What a watch of selected objects tells of what a watch of all told.
fn selected(event: WatchEvent, labels: &Labels) -> WatchEvent {
    let keep = |objects: Vec<Value>| objects.into_iter().filter(|object| labels.select(object)).collect();
    match event {
        WatchEvent::Restarted(objects) => WatchEvent::Restarted(keep(objects)),
        WatchEvent::Listed { first, objects } => WatchEvent::Listed { first, objects: keep(objects) },
        WatchEvent::Applied(object) if !labels.select(&object) => WatchEvent::Deleted(object),
        event => event,
    }
}

/// Where objects are kept. Objects are JSON as the Kubernetes API shows them; every call has a deadline
/// of its own in the implementation, and none is repeated by it.
///
/// Guarantees that every implementation keeps, and that the conformance suite asserts:
/// - `create` fails with `AlreadyExists` when the name is taken; the answer carries uid, resourceVersion,
///   generation 1 and creationTimestamp. A `status` in it is dropped for kinds with a status subresource.
/// - `update` and `update_status` need `metadata.resourceVersion` and fail with `Conflict` when it is not the
///   present one. `update` changes all but the status and raises the generation when the spec changed;
///   `update_status` changes only the status.
/// - a write that changes nothing leaves the resourceVersion as it is.
/// - resourceVersions of one store can be compared as whole numbers, a later write has a larger one.
/// - `delete` with finalizers sets `deletionTimestamp` and keeps the object until the last one is removed.
/// - `watch` begins with `Restarted`; per object no later state is followed by an earlier one.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Every object of a kind, in one namespace or in all, sorted by key.
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError>;
    /// Every object and then every change, without end. Errors are told as `Interrupted` and mended inside.
    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent>;
    /// Every object of a kind with these labels, sorted by key. By default all are read and the others left out.
    async fn list_labelled(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Value>, BackendError> {
        let mut objects = self.list(kind, namespace).await?;
        objects.retain(|object| labels.select(object));
        Ok(objects)
    }
    /// [`Backend::watch`] of the objects with these labels; one that loses them is told as deleted. By default all are
    /// watched and the others left out.
    fn watch_labelled(&self, kind: &Kind, namespace: Option<&str>, labels: &Labels) -> BoxStream<'static, WatchEvent> {
        let labels = labels.clone();
        self.watch(kind, namespace).map(move |event| selected(event, &labels)).boxed()
    }
    /// One object as it is now.
    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError>;
    /// Creates an object.
    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError>;
    /// Replaces all but the status of an object.
    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError>;
    /// Replaces the status of an object.
    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError>;
    /// Merges a patch into all but the status of an object. With `metadata.resourceVersion` in the patch it
    /// fails with `Conflict` when that is not the present one.
    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError>;
    /// Deletes an object.
    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError>;
}

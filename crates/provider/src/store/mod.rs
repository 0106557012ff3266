//! The typed store: caches that watch, writes that are remembered, over any [`Backend`].

mod cache;
mod changes;
mod feed;

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use kube_core::{ClusterResourceScope, Resource};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use self::{
    cache::{Cache, Lookup, Malformed},
    changes::{ChangeStream, Changed},
};
use self::{
    cache::{Marked, Shared},
    changes::Hub,
};
use crate::backend::{Backend, BackendError, Deletion, Key, Kind, Labels};

/// A type that the store can hold.
pub trait Stored:
    Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
}

impl<K> Stored for K where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
}

/// Which namespaces are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// Every one.
    #[default]
    All,
    /// These. Kinds without a namespace are looked at nevertheless.
    Only(Vec<String>),
}

impl Namespaces {
    /// The namespaces to ask for, one question each; `None` asks for all.
    fn scopes<K: Stored>(&self) -> Vec<Option<String>> {
        match self {
            Self::Only(names) if TypeId::of::<K::Scope>() != TypeId::of::<ClusterResourceScope>() => {
                let mut names = names.clone();
                names.sort();
                names.dedup();
                names.into_iter().map(Some).collect()
            }
            _ => vec![None],
        }
    }
}

/// The typed view of a [`Backend`]; cheap to clone. Watches end when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    /// What logs call it, where there are several.
    name: Arc<str>,
    namespaces: Namespaces,
    caches: Mutex<BTreeMap<Kind, Vec<Registered>>>,
    hub: Arc<Hub>,
    stop: CancellationToken,
    stale_skips: Arc<AtomicU64>,
}

/// A cache, once as the type that it is asked for by, once as what every write of its kind has to tell.
struct Registered {
    cache: Arc<dyn Any + Send + Sync>,
    marked: Arc<dyn Marked>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
        self.hub.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("namespaces", &self.inner.namespaces).finish_non_exhaustive()
    }
}

impl Store {
    /// A store over a backend. Nothing is read before it is asked for.
    pub fn new(backend: Arc<dyn Backend>, namespaces: Namespaces) -> Self {
        Self::named("", backend, namespaces)
    }

    /// The same with a name for the log, where a process has several stores.
    pub fn named(name: &str, backend: Arc<dyn Backend>, namespaces: Namespaces) -> Self {
        Self {
            inner: Arc::new(Inner {
                backend,
                name: name.into(),
                namespaces,
                caches: Mutex::default(),
                hub: Arc::default(),
                stop: CancellationToken::new(),
                stale_skips: Arc::default(),
            }),
        }
    }

    /// What it stands on.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }

    /// The cache of a kind. The first call starts its watch, within the tokio runtime that it is called in;
    /// later calls share it.
    pub fn cache<K: Stored>(&self) -> Cache<K> {
        self.cache_labelled(&Labels::default())
    }

    /// The cache of the objects of a kind with these labels; one that loses them is gone. Otherwise as
    /// [`Store::cache`].
    pub fn cache_labelled<K: Stored>(&self, labels: &Labels) -> Cache<K> {
        let kind = Kind::of::<K>();
        let mut caches = self.inner.caches.lock();
        let of_kind = caches.entry(kind.clone()).or_default();
        let mut known = of_kind.iter().filter_map(|known| known.cache.clone().downcast::<Shared<K>>().ok());
        let shared = known.find(|known| known.labels == *labels).unwrap_or_else(|| {
            let scopes = self.inner.namespaces.scopes::<K>();
            let skips = self.inner.stale_skips.clone();
            let (labels, stop) = (labels.clone(), self.inner.stop.clone());
            let name = self.inner.name.clone();
            let shared = Arc::new(Shared::<K>::new(name, kind, labels, scopes, skips, stop));
            of_kind.push(Registered { cache: shared.clone(), marked: shared.clone() });
            let (backend, hub) = (&self.inner.backend, &self.inner.hub);
            tokio::spawn(feed::run(shared.clone(), backend.clone(), hub.clone()));
            tokio::spawn(feed::look_after_marks(shared.clone(), backend.clone(), hub.clone()));
            shared
        });
        Cache::new(shared)
    }

    /// Every change that a cache takes in from now on, coalesced per object.
    pub fn changes(&self) -> ChangeStream {
        self.inner.hub.subscribe()
    }

    /// Tells everybody who waits for changes to look at an object again, although the store has nothing new of it: for
    /// what a controller knows besides.
    pub fn wake<K: Stored>(&self, key: &Key) {
        self.inner.hub.publish(&Kind::of::<K>(), BTreeSet::from([key.clone()]));
    }

    /// Ends every watch; caches keep what they know.
    pub fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.hub.close();
    }

    /// How often a cache answered [`Lookup::Stale`].
    pub fn stale_skips(&self) -> u64 {
        self.inner.stale_skips.load(Ordering::Relaxed)
    }

    /// One object as it is now, past the cache. `Invalid` when it cannot be parsed.
    pub async fn get_live<K: Stored>(&self, key: &Key) -> Result<K, BackendError> {
        let kind = Kind::of::<K>();
        let value = self.inner.backend.get(&kind, key).await?;
        parse(&kind, value)
    }

    /// The named objects of a namespace as they are now, past the cache; why in words for those that cannot be read.
    pub async fn get_each_live<K: Stored>(
        &self,
        namespace: &str,
        names: BTreeSet<String>,
    ) -> BTreeMap<String, Result<Arc<K>, String>> {
        let reads = names.into_iter().map(|name| async move {
            let read = self.get_live::<K>(&Key::new(namespace, &name)).await;
            (name, read.map(Arc::new).map_err(|error| error.to_string()))
        });
        futures::future::join_all(reads).await.into_iter().collect()
    }

    /// Whether a copy is what the store has, past the cache. `Conflict` when it is not: a copy of the first list of a
    /// process can be older than what the process before it wrote (safety.md S10).
    pub async fn confirm<K: Stored>(&self, copy: &K) -> Result<(), BackendError> {
        let key = Key::of_typed(copy);
        let live = self.get_live::<K>(&key).await?;
        if live.meta().resource_version == copy.meta().resource_version {
            return Ok(());
        }
        Err(BackendError::Conflict { kind: Kind::of::<K>().to_string(), key })
    }

    /// Every object as it is now, past the cache, sorted by key: in one namespace, or in all that the store
    /// looks at. Objects that cannot be parsed are left out and logged.
    pub async fn list_live<K: Stored>(&self, namespace: Option<&str>) -> Result<Vec<K>, BackendError> {
        let kind = Kind::of::<K>();
        let scopes = namespace.map_or_else(|| self.inner.namespaces.scopes::<K>(), |name| vec![Some(name.to_owned())]);
        let mut found = Vec::new();
        for scope in scopes {
            for value in self.inner.backend.list(&kind, scope.as_deref()).await? {
                let key = Key::of(&value);
                match parse(&kind, value) {
                    Ok(object) => found.push(object),
                    Err(error) => tracing::warn!(%kind, %key, %error, "left out an object that cannot be parsed"),
                }
            }
        }
        Ok(found)
    }

    /// Creates an object.
    pub async fn create<K: Stored>(&self, object: &K) -> Result<K, BackendError> {
        let kind = Kind::of::<K>();
        let answer = self.inner.backend.create(&kind, &as_json(&kind, object)?).await?;
        self.wrote(&kind, answer)
    }

    /// Replaces all but the status of an object. `Invalid` without `metadata.resourceVersion`.
    pub async fn update<K: Stored>(&self, object: &K) -> Result<K, BackendError> {
        let kind = Kind::of::<K>();
        let answer = self.inner.backend.update(&kind, &versioned(&kind, object)?).await?;
        self.wrote(&kind, answer)
    }

    /// Replaces the status of an object. `Invalid` without `metadata.resourceVersion`.
    pub async fn update_status<K: Stored>(&self, object: &K) -> Result<K, BackendError> {
        let kind = Kind::of::<K>();
        let answer = self.inner.backend.update_status(&kind, &versioned(&kind, object)?).await?;
        self.wrote(&kind, answer)
    }

    /// Merges a patch into all but the status of an object. With `metadata.resourceVersion` in it, only that
    /// version of the object is patched.
    pub async fn merge_patch<K: Stored>(&self, key: &Key, patch: &Value) -> Result<K, BackendError> {
        let kind = Kind::of::<K>();
        let answer = self.inner.backend.merge_patch(&kind, key, patch).await?;
        self.wrote(&kind, answer)
    }

    /// Deletes exactly this object at this version.
    pub async fn delete<K: Stored>(&self, object: &K) -> Result<(), BackendError> {
        let meta = object.meta();
        let deletion = Deletion { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        self.inner.backend.delete(&Kind::of::<K>(), &Key::of_typed(object), &deletion).await
    }

    /// Remembers the version of a write's answer in every cache of the kind, so that none of them acts on a
    /// copy older than it (KEP-5647).
    fn wrote<K: Stored>(&self, kind: &Kind, answer: Value) -> Result<K, BackendError> {
        if let Some(caches) = self.inner.caches.lock().get(kind) {
            for cache in caches {
                cache.marked.wrote(&answer);
            }
        }
        parse(kind, answer)
    }
}

/// Parses an object. The words of a parse error may repeat a value, so those of a Secret are kept back.
fn parse<K: Stored>(kind: &Kind, value: Value) -> Result<K, BackendError> {
    let key = Key::of(&value);
    serde_json::from_value(value).map_err(|error| {
        let why = if kind.kind == "Secret" { "its fields have wrong types".to_owned() } else { error.to_string() };
        BackendError::Invalid { message: format!("failed to parse {kind} {key}: {}", shortened(why)) }
    })
}

/// At most 500 characters: what stands in an object is somebody else's choice.
fn shortened(text: String) -> String {
    if text.chars().count() <= 500 { text } else { text.chars().take(500).chain("...".chars()).collect() }
}

fn as_json<K: Stored>(kind: &Kind, object: &K) -> Result<Value, BackendError> {
    serde_json::to_value(object).map_err(|error| BackendError::Invalid {
        message: format!("failed to serialize {kind} {}: {error}", Key::of_typed(object)),
    })
}

fn versioned<K: Stored>(kind: &Kind, object: &K) -> Result<Value, BackendError> {
    if object.meta().resource_version.as_deref().unwrap_or_default().is_empty() {
        let key = Key::of_typed(object);
        let message = format!("failed to update {kind} {key}: metadata.resourceVersion is required");
        return Err(BackendError::Invalid { message });
    }
    as_json(kind, object)
}

#[cfg(test)]
mod tests;

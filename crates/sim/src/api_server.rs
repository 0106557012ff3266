//! An API server in memory that remembers every version, so that a watch can be late and a list old.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use okra_judge::record::ApiCall as Recorded;
use okra_provider::{
    BackendError, Deletion, Key, Kind, WatchEvent,
    object::{self, Stamp, Written},
};
use serde_json::Value;

/// One call that changes or reads one object, or reads a kind.
#[derive(Clone, Debug)]
pub enum ApiCall {
    /// `list`
    List(Option<String>),
    /// `get`
    Get(Key),
    /// `create`
    Create(Value),
    /// `update`
    Update(Value),
    /// `update_status`
    UpdateStatus(Value),
    /// `merge_patch`
    MergePatch(Key, Value),
    /// `delete`
    Delete(Key, Deletion),
}

impl ApiCall {
    /// Whether it may change something.
    pub fn writes(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Get(_))
    }

    /// The call and its answer as the judge reads them.
    pub fn recorded(&self, kind: &Kind, answer: &ApiAnswer) -> Recorded {
        let of = |object: &Value| (Key::of(object), version_of(object));
        let (verb, subresource, key, sent_version) = match self {
            Self::List(namespace) => ("list", "", Key::new(namespace.clone().unwrap_or_default(), ""), None),
            Self::Get(key) => ("get", "", key.clone(), None),
            Self::Create(object) => ("create", "", Key::of(object), None),
            Self::Update(object) => ("update", "", of(object).0, of(object).1),
            Self::UpdateStatus(object) => ("update", "status", of(object).0, of(object).1),
            Self::MergePatch(key, patch) => ("patch", "", key.clone(), version_of(patch)),
            Self::Delete(key, deletion) => ("delete", "", key.clone(), deletion.resource_version.clone()),
        };
        let stored = answer.as_ref().ok().and_then(|objects| objects.first());
        Recorded {
            verb: verb.to_owned(),
            kind: kind.kind.to_string(),
            subresource: subresource.to_owned(),
            namespace: key.namespace,
            name: key.name,
            sent_version,
            stored_version: stored.and_then(version_of),
            code: answer.as_ref().map_or_else(code_of, |_| 200),
            ..Recorded::default()
        }
    }

    /// The verb and the object, for a trace.
    pub fn words(&self) -> String {
        match self {
            Self::List(_) => "list".to_owned(),
            Self::Get(key) => format!("get {key}"),
            Self::Create(object) => format!("create {}", Key::of(object)),
            Self::Update(object) => format!("update {}", Key::of(object)),
            Self::UpdateStatus(object) => format!("update status of {}", Key::of(object)),
            Self::MergePatch(key, _) => format!("patch {key}"),
            Self::Delete(key, _) => format!("delete {key}"),
        }
    }
}

fn version_of(object: &Value) -> Option<String> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned)
}

fn code_of(error: &BackendError) -> u16 {
    match error {
        BackendError::NotFound { .. } | BackendError::Absent(_) => 404,
        BackendError::AlreadyExists { .. } | BackendError::Conflict { .. } => 409,
        BackendError::Invalid { .. } | BackendError::Unsupported(_) => 422,
        BackendError::Denied { .. } => 403,
        BackendError::Throttled { .. } => 429,
        BackendError::Unreachable(_) => 503,
    }
}

/// What a call answered.
pub type ApiAnswer = Result<Vec<Value>, BackendError>;

/// An object that changed.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its kind.
    pub kind: Kind,
    /// The object.
    pub key: Key,
    /// What it was before, if it was.
    pub before: Option<Arc<Value>>,
    /// Its new state; for one that is gone, its last.
    pub object: Arc<Value>,
    /// Whether it is gone.
    pub gone: bool,
}

#[derive(Debug, Default)]
struct Served {
    objects: BTreeMap<Key, Arc<Value>>,
    /// Every change since the beginning; `true`: gone.
    log: Vec<(Key, Arc<Value>, bool)>,
}

/// The objects and their whole past.
#[derive(Debug, Default)]
pub struct ApiServer {
    version: u64,
    made: u64,
    /// By kind; one that was asked for is never taken out, so that its place stays.
    kinds: Vec<(String, Served)>,
    /// What changed since somebody looked.
    pub fresh: Vec<Changed>,
}

impl ApiServer {
    /// Carries a call out.
    pub fn execute(&mut self, kind: &Kind, call: &ApiCall, now: Timestamp) -> ApiAnswer {
        let stamp = Stamp { resource_version: self.version + 1, now };
        let (key, written) = match call {
            ApiCall::List(namespace) => return Ok(self.list(kind, namespace.as_deref())),
            ApiCall::Get(key) => return Ok(vec![self.present(kind, key)?.as_ref().clone()]),
            ApiCall::Create(wanted) => {
                let key = Key::of(wanted);
                if self.present(kind, &key).is_ok() {
                    return Err(BackendError::AlreadyExists { kind: kind.to_string(), key });
                }
                self.made += 1;
                let uid = format!("uid-{:06}", self.made);
                (key, Written::Changed(object::create(kind, wanted, &uid, &stamp)?))
            }
            ApiCall::Update(wanted) => {
                let key = Key::of(wanted);
                let written = object::update(kind, self.present(kind, &key)?, wanted, &stamp)?;
                (key, written)
            }
            ApiCall::UpdateStatus(wanted) => {
                let key = Key::of(wanted);
                let written = object::update_status(kind, self.present(kind, &key)?, wanted, &stamp)?;
                (key, written)
            }
            ApiCall::MergePatch(key, patch) => {
                (key.clone(), object::merge_patch(kind, self.present(kind, key)?, patch, &stamp)?)
            }
            ApiCall::Delete(key, deletion) => {
                (key.clone(), object::delete(kind, self.present(kind, key)?, deletion, &stamp)?)
            }
        };
        Ok(vec![self.keep(kind, key, written)])
    }

    fn keep(&mut self, kind: &Kind, key: Key, written: Written) -> Value {
        let (object, gone) = match written {
            Written::Same(object) => return object,
            Written::Changed(object) => (object, false),
            Written::Removed(object) => (object, true),
        };
        self.version = object::resource_version(&object);
        let kept = Arc::new(object.clone());
        let place = self.place(kind);
        let Some((_, served)) = self.kinds.get_mut(place) else { return object };
        let before = if gone { served.objects.remove(&key) } else { served.objects.insert(key.clone(), kept.clone()) };
        served.log.push((key.clone(), kept.clone(), gone));
        self.fresh.push(Changed { kind: kind.clone(), key, before, object: kept, gone });
        object
    }

    /// An object as it is.
    pub fn present(&self, kind: &Kind, key: &Key) -> Result<&Arc<Value>, BackendError> {
        let found = self.served(kind).and_then(|served| served.objects.get(key));
        found.ok_or_else(|| BackendError::NotFound { kind: kind.to_string(), key: key.clone() })
    }

    fn list(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Value> {
        let objects = self.served(kind).into_iter().flat_map(|served| &served.objects);
        objects
            .filter(|(key, _)| namespace.is_none_or(|name| name == key.namespace))
            .map(|(_, object)| object.as_ref().clone())
            .collect()
    }

    /// Every object of every kind.
    pub fn everything(&self) -> impl Iterator<Item = (&String, &Key, &Arc<Value>)> {
        self.kinds.iter().flat_map(|(kind, served)| served.objects.iter().map(move |(key, object)| (kind, key, object)))
    }

    fn served(&self, kind: &Kind) -> Option<&Served> {
        self.kinds.iter().find(|(name, _)| *name == kind.kind).map(|(_, served)| served)
    }

    /// Where the changes of a kind are found: it is asked for them very often.
    pub fn place(&mut self, kind: &Kind) -> usize {
        let known = self.kinds.iter().position(|(name, _)| *name == kind.kind);
        known.unwrap_or_else(|| {
            self.kinds.push((kind.kind.to_string(), Served::default()));
            self.kinds.len() - 1
        })
    }

    /// How many changes of the kind at a place there were.
    pub fn changes(&self, place: usize) -> usize {
        self.kinds.get(place).map_or(0, |(_, served)| served.log.len())
    }

    /// The objects of a kind as they were after so many changes.
    pub fn list_at(&self, kind: &Kind, changes: usize) -> Vec<Value> {
        let mut objects = BTreeMap::new();
        for (key, object, gone) in self.served(kind).into_iter().flat_map(|served| &served.log).take(changes) {
            if *gone {
                objects.remove(key);
            } else {
                objects.insert(key, object);
            }
        }
        objects.into_values().map(|object| object.as_ref().clone()).collect()
    }

    /// One change, as a watch tells it.
    pub fn event(&self, kind: &Kind, index: usize) -> Option<WatchEvent> {
        let (_, object, gone) = self.served(kind)?.log.get(index)?;
        let object = object.as_ref().clone();
        Some(if *gone { WatchEvent::Deleted(object) } else { WatchEvent::Applied(object) })
    }
}

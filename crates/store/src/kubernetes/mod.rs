//! The Kubernetes API as a [`Backend`].

mod call;
mod client;
mod errors;
mod events;
mod remote;
mod watch;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use kube::{
    Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::params::GetParams,
};
use okra_provider::{Backend, BackendError, Deletion, Key, Kind, Labels, WatchEvent};
use serde_json::Value;

pub use self::{
    call::BearerTokens,
    client::{ClientError, ClientOptions, client, client_and_host},
    events::KubernetesEvents,
    remote::KubernetesClusters,
};
use self::{call::Caller, errors::Failure};

/// How many objects one answer to a list holds. As JSON values they take ten times the room that they take as what
/// they are, and the room for the largest answer is what stays with the process.
const PAGE: u32 = 100;

/// How often a list begins anew because its continue token was too old; then it asks for everything at once.
const LIST_ATTEMPTS: u32 = 3;

/// How many objects each answer of the attempts at one list holds: in parts, and at last all at once.
fn page_limits() -> impl Iterator<Item = Option<u32>> {
    (0..LIST_ATTEMPTS).map(|_| Some(PAGE)).chain([None])
}

/// How long things may take. The defaults are right for production; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// One request, answer included. Default: 10 s.
    pub call: Duration,
    /// Silence on a watch after which it begins anew. The server sends a bookmark every minute. Default: 150 s,
    /// so that a silent watch heals within 5 minutes (safety.md L8).
    pub idle: Duration,
    /// How long the server keeps one watch open. Default: 230 s to 290 s.
    pub watch: Duration,
    /// The first wait after a failure; doubled up to `max_backoff`, with jitter. Default: 0.8 s.
    pub min_backoff: Duration,
    /// The longest wait. Default: 30 s.
    pub max_backoff: Duration,
    /// How often an absent kind is asked for. Default: 30 s.
    pub absent: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(10),
            idle: Duration::from_secs(150),
            watch: Duration::from_secs(230),
            min_backoff: Duration::from_millis(800),
            max_backoff: Duration::from_secs(30),
            absent: Duration::from_secs(30),
        }
    }
}

/// The Kubernetes API. Every request has a deadline and none is repeated; the client must not retry by itself
/// either (see [`client`]).
#[derive(Clone)]
pub struct KubernetesBackend {
    caller: Caller,
    field_manager: String,
}

impl std::fmt::Debug for KubernetesBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesBackend").field("field_manager", &self.field_manager).finish_non_exhaustive()
    }
}

impl KubernetesBackend {
    /// The API server of a client. `field_manager` is what `managedFields` call the writer, for example `okrad`.
    pub fn new(client: Client, field_manager: impl Into<String>) -> Self {
        Self {
            caller: Caller { client, timings: Timings::default(), tokens: None },
            field_manager: field_manager.into(),
        }
    }

    /// Other times than the default ones.
    #[must_use]
    pub fn with_timings(mut self, timings: Timings) -> Self {
        self.caller.timings = timings;
        self
    }

    /// With a token from here on each request, instead of what the client has.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Arc<dyn BearerTokens>) -> Self {
        self.caller.tokens = Some(tokens);
        self
    }

    /// The version of the API server, like `v1.33.4`.
    pub async fn server_version(&self) -> Result<String, BackendError> {
        let kind = Kind { group: "".into(), version: "".into(), kind: "version".into(), plural: "version".into() };
        let request = http::Request::get("/version").body(Vec::new());
        let request = request.map_err(|error| BackendError::Invalid { message: error.to_string() })?;
        let answer = self.caller.checked(&Key::default(), Ok(request)).await;
        let answer = answer.map_err(|failure| failure.about(&kind, &Key::default()))?;
        let version = answer.get("gitVersion").and_then(Value::as_str).map(|text| text.chars().take(64).collect());
        version.ok_or_else(|| BackendError::Unreachable("what answers is no API server of Kubernetes".to_owned()))
    }

    fn post(&self) -> PostParams {
        PostParams { dry_run: false, field_manager: Some(self.field_manager.clone()) }
    }
}

#[async_trait]
impl Backend for KubernetesBackend {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        self.list_labelled(kind, namespace, &Labels::default()).await
    }

    async fn list_labelled(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Value>, BackendError> {
        let listed = self.caller.list(&Place::new(kind, namespace, labels)).await;
        listed.map_err(|failure| failure.about(kind, &Key::default()))
    }

    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent> {
        self.watch_labelled(kind, namespace, &Labels::default())
    }

    fn watch_labelled(&self, kind: &Kind, namespace: Option<&str>, labels: &Labels) -> BoxStream<'static, WatchEvent> {
        watch::start(self.caller.clone(), Place::new(kind, namespace, labels))
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        let request = call::path(kind, key).get(&key.name, &GetParams::default());
        self.caller.object(kind, key, request).await
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let key = Key::of(object);
        let request = call::path(kind, &key).create(&self.post(), body(object)?);
        self.caller.object(kind, &key, request).await
    }

    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let key = versioned(object)?;
        let request = call::path(kind, &key).replace(&key.name, &self.post(), body(object)?);
        self.caller.object(kind, &key, request).await
    }

    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let key = versioned(object)?;
        let request = call::path(kind, &key).replace_subresource("status", &key.name, &self.post(), body(object)?);
        self.caller.object(kind, &key, request).await
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        let params = PatchParams { field_manager: Some(self.field_manager.clone()), ..PatchParams::default() };
        let request = call::path(kind, key).patch(&key.name, &params, &Patch::Merge(patch));
        self.caller.object(kind, key, request).await
    }

    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        let preconditions =
            Preconditions { uid: deletion.uid.clone(), resource_version: deletion.resource_version.clone() };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let request = call::path(kind, key).delete(&key.name, &params);
        self.caller.checked(key, request).await.map(drop).map_err(|failure| failure.about(kind, key))
    }
}

fn body(object: &Value) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(object)
        .map_err(|error| BackendError::Invalid { message: format!("failed to serialize the object: {error}") })
}

/// The key of an object that says which version of it is to be replaced; the API server itself lets some kinds
/// go without, and then overwrites what somebody else wrote.
fn versioned(object: &Value) -> Result<Key, BackendError> {
    let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if version.is_empty() {
        return Err(BackendError::Invalid { message: "metadata.resourceVersion: is required".to_owned() });
    }
    Ok(Key::of(object))
}

/// What is listed or watched.
#[derive(Clone, Debug)]
struct Place {
    kind: Kind,
    /// Its namespace; the name is empty.
    key: Key,
    selector: Option<String>,
}

impl Place {
    fn new(kind: &Kind, namespace: Option<&str>, labels: &Labels) -> Self {
        Self { kind: kind.clone(), key: Key::new(namespace.unwrap_or_default(), ""), selector: labels.selector() }
    }
}

/// A part of a list.
struct Page {
    objects: Vec<Value>,
    /// The version at which the list was taken.
    version: String,
    /// Where the next part begins; `None`: this is the last.
    next: Option<String>,
}

impl Caller {
    async fn list(&self, place: &Place) -> Result<Vec<Value>, Failure> {
        for limit in page_limits() {
            match self.pages(place, limit).await {
                // The snapshot that the continue token names was compacted away: begin anew.
                Err(failure) if failure.is_gone() && limit.is_some() => {}
                listed => return listed,
            }
        }
        Ok(Vec::new())
    }

    async fn pages(&self, place: &Place, limit: Option<u32>) -> Result<Vec<Value>, Failure> {
        let (mut objects, mut from) = (Vec::new(), None);
        loop {
            let mut page = self.page(place, limit, from).await?;
            objects.append(&mut page.objects);
            from = page.next;
            if from.is_none() {
                objects.sort_by_cached_key(Key::of);
                return Ok(objects);
            }
        }
    }

    /// One part of a list, from where the one before said.
    async fn page(&self, place: &Place, limit: Option<u32>, from: Option<String>) -> Result<Page, Failure> {
        let Place { kind, key, selector } = place;
        let params =
            ListParams { limit, continue_token: from, label_selector: selector.clone(), ..ListParams::default() };
        let mut page = self.checked(key, call::path(kind, key).list(&params)).await?;
        let text = |field| page.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (next, version) = (text("/metadata/continue"), text("/metadata/resourceVersion"));
        let objects = match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items.into_iter().map(|item| call::tidied(kind, item)).collect(),
            _ => Vec::new(),
        };
        Ok(Page { objects, version, next: Some(next).filter(|next| !next.is_empty()) })
    }

    async fn object(
        &self,
        kind: &Kind,
        key: &Key,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, BackendError> {
        let answer = self.checked(key, request).await.map_err(|failure| failure.about(kind, key))?;
        Ok(call::tidied(kind, answer))
    }
}

//! `--dry-run`: decides and reports, writes nothing outside. Every write is logged and refused.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use okra_core::route::{Capabilities, Change, GroupHealth, Intent, Observed};
use okra_provider::{
    Backend, BackendError, CallContext, Deletion, EventNote, EventSink, Key, Kind, Labels, RouterError,
    RouterErrorKind, TrafficRouter, WatchEvent,
};
use parking_lot::Mutex;
use serde_json::Value;

/// Writes that were told already are told again only when they differ; of so many objects it is remembered.
const REMEMBERED: usize = 4096;

/// What would have been written last, by object.
#[derive(Debug, Default)]
struct Told(Mutex<BTreeMap<String, String>>);

impl Told {
    /// Whether this write of this object is a new one.
    fn is_new(&self, object: &str, write: &str) -> bool {
        let mut told = self.0.lock();
        if told.get(object).is_some_and(|last| last == write) {
            return false;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(object.to_owned(), write.to_owned());
        true
    }
}

/// A [`Backend`] that reads through another and refuses to write.
pub struct DryRunBackend {
    inner: Arc<dyn Backend>,
    told: Told,
}

impl DryRunBackend {
    /// Reads through `inner`.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, told: Told::default() }
    }

    fn refuse(&self, verb: &'static str, kind: &Kind, key: &Key, body: &Value) -> BackendError {
        let body = tellable(kind, body);
        if self.told.is_new(&format!("{verb} {kind} {key}"), &body) {
            tracing::info!(verb, %kind, object = %key, body, "Dry run: would write");
        }
        BackendError::Unsupported(format!("dry run: did not {verb} {kind} {key}"))
    }
}

/// What may be told of an object: secrets keep their contents.
fn tellable(kind: &Kind, body: &Value) -> String {
    if kind.group.is_empty() && kind.kind == "Secret" { "(a Secret)".to_owned() } else { body.to_string() }
}

#[async_trait]
impl Backend for DryRunBackend {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        self.inner.list(kind, namespace).await
    }

    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent> {
        self.inner.watch(kind, namespace)
    }

    async fn list_labelled(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Value>, BackendError> {
        self.inner.list_labelled(kind, namespace, labels).await
    }

    fn watch_labelled(&self, kind: &Kind, namespace: Option<&str>, labels: &Labels) -> BoxStream<'static, WatchEvent> {
        self.inner.watch_labelled(kind, namespace, labels)
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        self.inner.get(kind, key).await
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        Err(self.refuse("create", kind, &Key::of(object), object))
    }

    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        Err(self.refuse("update", kind, &Key::of(object), object))
    }

    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        let status = object.get("status").unwrap_or(&Value::Null);
        Err(self.refuse("update status of", kind, &Key::of(object), status))
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        Err(self.refuse("patch", kind, key, patch))
    }

    async fn delete(&self, kind: &Kind, key: &Key, _: &Deletion) -> Result<(), BackendError> {
        Err(self.refuse("delete", kind, key, &Value::Null))
    }
}

/// A [`TrafficRouter`] that observes through another and refuses to change anything.
pub struct DryRunRouter {
    inner: Arc<dyn TrafficRouter>,
    told: Told,
}

impl DryRunRouter {
    /// Observes through `inner`.
    pub fn new(inner: Arc<dyn TrafficRouter>) -> Self {
        Self { inner, told: Told::default() }
    }
}

#[async_trait]
impl TrafficRouter for DryRunRouter {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn observe(&self, intent: &Intent, call: &CallContext) -> Result<Observed, RouterError> {
        self.inner.observe(intent, call).await
    }

    async fn apply(&self, intent: &Intent, change: &Change, _: &CallContext) -> Result<(), RouterError> {
        let change = format!("{change:?}");
        if self.told.is_new(&intent.owner, &change) {
            tracing::info!(owner = intent.owner, change, "Dry run: would change the load balancer");
        }
        Err(RouterError::new(RouterErrorKind::Refused, "DryRun", "dry run: the load balancer was not changed"))
    }

    async fn health(&self, intent: &Intent, group: &str, call: &CallContext) -> Result<GroupHealth, RouterError> {
        self.inner.health(intent, group, call).await
    }
}

/// An [`EventSink`] that only logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct DryRunEvents;

#[async_trait]
impl EventSink for DryRunEvents {
    async fn publish(&self, note: EventNote) {
        let EventNote { kind, key, reason, action, message, .. } = note;
        tracing::info!(%kind, object = %key, reason, action, note = message, "Dry run: would publish an event");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use okra_core::route::{Adopt, Place};
    use okra_provider::testing::{AlwaysLeader, FakeRouter, FixedClock, MemoryBackend, SeededEntropy};
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    fn kind() -> Kind {
        Kind { group: "".into(), version: "v1".into(), kind: "ConfigMap".into(), plural: "configmaps".into() }
    }

    #[tokio::test]
    async fn reads_pass_and_writes_do_not() {
        let memory = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "b"}});
        let created = memory.create(&kind(), &object).await.unwrap();
        let dry = DryRunBackend::new(memory.clone());
        let key = Key::new("a", "b");
        assert_eq!(dry.get(&kind(), &key).await.unwrap(), created);
        assert_eq!(dry.list(&kind(), None).await.unwrap().len(), 1);
        let refused = [
            dry.create(&kind(), &object).await.map(drop),
            dry.update(&kind(), &created).await.map(drop),
            dry.update_status(&kind(), &created).await.map(drop),
            dry.merge_patch(&kind(), &key, &json!({"data": {"x": "y"}})).await.map(drop),
            dry.delete(&kind(), &key, &Deletion::default()).await,
        ];
        for answer in refused {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, BackendError::Unsupported(text) if text.starts_with("dry run: did not")),
                "{error}"
            );
        }
        assert_eq!(memory.list(&kind(), None).await.unwrap(), [created]);
    }

    #[tokio::test]
    async fn the_load_balancer_is_left_alone() {
        let fake = FakeRouter::new();
        let dry = DryRunRouter::new(fake.clone());
        let intent = Intent {
            owner: "a/b".into(),
            installation: "i".into(),
            place: Place::Local { listen: "127.0.0.1:1".into() },
            groups: Vec::new(),
            stickiness: None,
            known_rule: None,
            adopt: Adopt::No,
        };
        let call = CallContext {
            lane: okra_core::route::Lane::Promote,
            timeout: std::time::Duration::from_secs(1),
            leadership: Arc::new(AlwaysLeader),
        };
        assert!(dry.observe(&intent, &call).await.is_ok());
        let change = Change::Create { weights: BTreeMap::from([("g".into(), 100)]), stickiness: None };
        let error = dry.apply(&intent, &change, &call).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (RouterErrorKind::Refused, "DryRun"));
        assert!(fake.applied().is_empty());
    }

    #[test]
    fn a_secret_is_not_told() {
        let secret = Kind { group: "".into(), version: "v1".into(), kind: "Secret".into(), plural: "secrets".into() };
        assert_eq!(tellable(&secret, &json!({"data": {"token": "c2VjcmV0"}})), "(a Secret)");
    }

    #[test]
    fn the_same_write_is_told_once() {
        let told = Told::default();
        assert_eq!(["x", "x", "y", "x"].map(|write| told.is_new("o", write)), [true, false, true, true]);
    }
}

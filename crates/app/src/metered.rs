//! A [`Backend`] that counts what goes through it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use okra_provider::{Backend, BackendError, Deletion, Key, Kind, Labels, WatchEvent};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use serde_json::Value;

/// Labels of `okra_api_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    kind: String,
    outcome: &'static str,
}

/// Calls to the store of objects, and how long its watches have been silent.
#[derive(Clone, Debug, Default)]
pub struct BackendMetrics {
    requests: Family<RequestLabels, Counter>,
    events: WatchAges,
}

/// When each kind's watch told something last.
#[derive(Clone, Debug, Default)]
struct WatchAges(Arc<Mutex<BTreeMap<String, Instant>>>);

impl BackendMetrics {
    /// Figures at zero, shown by `registry` from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("okra_api_requests", "Calls to the store of objects", metrics.requests.clone());
        registry.register_collector(Box::new(metrics.events.clone()));
        metrics
    }

    fn count<T>(&self, verb: &'static str, kind: &Kind, answer: Result<T, BackendError>) -> Result<T, BackendError> {
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(BackendError::NotFound { .. }) => "not_found",
            Err(BackendError::AlreadyExists { .. } | BackendError::Conflict { .. }) => "conflict",
            Err(BackendError::Invalid { .. }) => "invalid",
            Err(BackendError::Denied { .. }) => "denied",
            Err(BackendError::Absent(_)) => "absent",
            Err(BackendError::Throttled { .. }) => "throttled",
            Err(BackendError::Unreachable(_)) => "unreachable",
            Err(BackendError::Unsupported(_)) => "unsupported",
        };
        self.requests.get_or_create(&RequestLabels { verb, kind: kind.to_string(), outcome }).inc();
        answer
    }
}

impl Collector for WatchAges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ages: Vec<(String, Duration)> =
            self.0.lock().iter().map(|(kind, at)| (kind.clone(), at.elapsed())).collect();
        let mut family = encoder.encode_descriptor(
            "okra_watch_last_event_age",
            "How long ago the watch of a kind told something",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (kind, age) in ages {
            ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&[("kind", kind.as_str())])?)?;
        }
        Ok(())
    }
}

/// Passes everything through and counts it.
pub struct MeteredBackend {
    inner: Arc<dyn Backend>,
    metrics: BackendMetrics,
}

impl MeteredBackend {
    /// Passes everything to `inner`.
    pub fn new(inner: Arc<dyn Backend>, metrics: BackendMetrics) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl Backend for MeteredBackend {
    async fn list(&self, kind: &Kind, namespace: Option<&str>) -> Result<Vec<Value>, BackendError> {
        self.metrics.count("list", kind, self.inner.list(kind, namespace).await)
    }

    async fn list_labelled(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        labels: &Labels,
    ) -> Result<Vec<Value>, BackendError> {
        self.metrics.count("list", kind, self.inner.list_labelled(kind, namespace, labels).await)
    }

    fn watch(&self, kind: &Kind, namespace: Option<&str>) -> BoxStream<'static, WatchEvent> {
        self.watch_labelled(kind, namespace, &Labels::default())
    }

    fn watch_labelled(&self, kind: &Kind, namespace: Option<&str>, labels: &Labels) -> BoxStream<'static, WatchEvent> {
        let (name, ages) = (kind.to_string(), self.metrics.events.clone());
        let tell = move |event: &WatchEvent| {
            if !matches!(event, WatchEvent::Interrupted(_)) {
                ages.0.lock().insert(name.clone(), Instant::now());
            }
        };
        self.inner.watch_labelled(kind, namespace, labels).inspect(tell).boxed()
    }

    async fn get(&self, kind: &Kind, key: &Key) -> Result<Value, BackendError> {
        self.metrics.count("get", kind, self.inner.get(kind, key).await)
    }

    async fn create(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.metrics.count("create", kind, self.inner.create(kind, object).await)
    }

    async fn update(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.metrics.count("update", kind, self.inner.update(kind, object).await)
    }

    async fn update_status(&self, kind: &Kind, object: &Value) -> Result<Value, BackendError> {
        self.metrics.count("update_status", kind, self.inner.update_status(kind, object).await)
    }

    async fn merge_patch(&self, kind: &Kind, key: &Key, patch: &Value) -> Result<Value, BackendError> {
        self.metrics.count("patch", kind, self.inner.merge_patch(kind, key, patch).await)
    }

    async fn delete(&self, kind: &Kind, key: &Key, deletion: &Deletion) -> Result<(), BackendError> {
        self.metrics.count("delete", kind, self.inner.delete(kind, key, deletion).await)
    }
}

#[cfg(test)]
mod tests {
    use okra_provider::testing::{FixedClock, MemoryBackend, SeededEntropy};
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test]
    async fn counts_calls_by_outcome_and_knows_when_a_watch_spoke_last() {
        let mut registry = Registry::default();
        let memory = MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1)));
        let metered = MeteredBackend::new(Arc::new(memory), BackendMetrics::register(&mut registry));
        let kind = Kind { group: "".into(), version: "v1".into(), kind: "Pod".into(), plural: "pods".into() };
        assert!(metered.get(&kind, &Key::new("a", "b")).await.is_err());
        metered.list(&kind, None).await.unwrap();
        assert_eq!(metered.watch(&kind, None).next().await, Some(WatchEvent::Restarted(Vec::new())));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"okra_api_requests_total{verb="get",kind="Pod",outcome="not_found"} 1"#,
            r#"okra_api_requests_total{verb="list",kind="Pod",outcome="ok"} 1"#,
            r#"okra_watch_last_event_age_seconds{kind="Pod"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

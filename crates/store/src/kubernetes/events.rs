//! Events of the API group events.k8s.io/v1.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use okra_provider::{Backend as _, BackendError, Clock, EventNote, EventSink, Key, Kind};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::KubernetesBackend;

/// How many notes may wait; more are dropped, since events are for people and never worth memory.
const QUEUE: usize = 1000;

/// Equal notes within this time are one event with a count.
const SERIES: SignedDuration = SignedDuration::from_mins(10);

/// How often a series is written at most: a hot note must not become a hot write.
const REFRESH: SignedDuration = SignedDuration::from_mins(1);

/// Limits of the API (validation of events.k8s.io/v1), in bytes.
const MAX_NOTE: usize = 1024;
const MAX_WORD: usize = 128;

const CONTROLLER: &str = "okra.mumo.co/okrad";

/// Publishes events from one background task, which ends when this is dropped. Failures are logged and nothing
/// else: no reconcile waits for an event.
#[derive(Debug)]
pub struct KubernetesEvents {
    queue: mpsc::Sender<EventNote>,
}

impl KubernetesEvents {
    /// Events of one process; `instance` names it, for example by its pod. Starts its task within the tokio
    /// runtime that it is called in.
    pub fn new(client: Client, field_manager: &str, instance: &str, clock: Arc<dyn Clock>) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        let backend = KubernetesBackend::new(client, field_manager);
        let writer = Writer { backend, instance: cut(instance, MAX_WORD), clock, series: BTreeMap::new() };
        tokio::spawn(writer.run(notes));
        Self { queue }
    }
}

#[async_trait]
impl EventSink for KubernetesEvents {
    async fn publish(&self, note: EventNote) {
        if let Err(error) = self.queue.try_send(note) {
            let note = error.into_inner();
            tracing::warn!(kind = %note.kind, key = %note.key, reason = note.reason, "dropped an event: too many wait");
        }
    }
}

fn events() -> Kind {
    Kind { group: "events.k8s.io".into(), version: "v1".into(), kind: "Event".into(), plural: "events".into() }
}

/// What makes two notes equal.
type Identity = (String, bool, String, String, String);

struct Series {
    event: Key,
    count: u32,
    last: Timestamp,
    written: Timestamp,
}

struct Writer {
    backend: KubernetesBackend,
    instance: String,
    clock: Arc<dyn Clock>,
    series: BTreeMap<Identity, Series>,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<EventNote>) {
        while let Some(note) = notes.recv().await {
            if let Err(error) = self.write(&note).await {
                tracing::warn!(kind = %note.kind, key = %note.key, reason = note.reason, %error, "failed to write an event");
            }
        }
    }

    async fn write(&mut self, note: &EventNote) -> Result<(), BackendError> {
        let now = self.clock.now();
        self.series.retain(|_, series| now.duration_since(series.last) < SERIES);
        let identity = identity(note);
        if let Some(series) = self.series.get_mut(&identity) {
            series.count = series.count.saturating_add(1);
            series.last = now;
            if series.count > 2 && now.duration_since(series.written) < REFRESH {
                return Ok(());
            }
            series.written = now;
            let patch = json!({"series": {"count": series.count, "lastObservedTime": micros(now)}});
            let event = series.event.clone();
            match self.backend.merge_patch(&events(), &event, &patch).await {
                // Events are kept for an hour: a series may outlive its event.
                Err(BackendError::NotFound { .. }) => {}
                written => return written.map(drop),
            }
        }
        let event = self.event(note, now);
        let key = Key::of(&event);
        self.backend.create(&events(), &event).await?;
        if self.series.len() < QUEUE {
            self.series.insert(identity, Series { event: key, count: 1, last: now, written: now });
        }
        Ok(())
    }

    fn event(&self, note: &EventNote, now: Timestamp) -> Value {
        let namespace = if note.key.namespace.is_empty() { "default" } else { &note.key.namespace };
        let suffix = uuid::Uuid::new_v4().simple().to_string();
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{}.{}", cut(&note.key.name, 200), cut(&suffix, 16))},
            "eventTime": micros(now),
            "reportingController": CONTROLLER,
            "reportingInstance": self.instance,
            "action": cut(if note.action.is_empty() { &note.reason } else { &note.action }, MAX_WORD),
            "reason": cut(&note.reason, MAX_WORD),
            "note": cut(&redacted(&note.message), MAX_NOTE),
            "type": if note.warning { "Warning" } else { "Normal" },
            "regarding": {
                "apiVersion": note.kind.api_version(),
                "kind": note.kind.kind,
                "namespace": note.key.namespace,
                "name": note.key.name,
                "uid": note.uid,
            },
        })
    }
}

fn identity(note: &EventNote) -> Identity {
    (note.uid.clone(), note.warning, note.reason.clone(), note.action.clone(), note.message.clone())
}

/// At most so many bytes.
fn cut(text: &str, max: usize) -> String {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default().to_owned()
}

/// MicroTime: exactly six digits.
fn micros(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The last net under safety.md S17: a message that carries a token of a known form loses it.
fn redacted(message: &str) -> String {
    const FORMS: [&str; 4] = ["k8s-aws-v1.", "X-Amz-Signature=", "X-Amz-Security-Token=", "eyJhbGciOi"];
    let mut bearer = false;
    let words = message.split(' ').map(|word| {
        let secret = std::mem::replace(&mut bearer, word.eq_ignore_ascii_case("bearer"));
        if secret || FORMS.iter().any(|form| word.contains(form)) { "[redacted]" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn tokens_do_not_pass() {
        assert_eq!(
            redacted("call with Bearer abc and k8s-aws-v1.xyz failed: https://x/?X-Amz-Signature=1 (retry)"),
            "call with Bearer [redacted] and [redacted] failed: [redacted] (retry)"
        );
        assert_eq!(redacted("two  spaces stay"), "two  spaces stay");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aéé", 2), "a");
        assert_eq!(cut("ab", 128), "ab");
        assert_eq!(micros("2026-01-02T03:04:05.5Z".parse().unwrap()), "2026-01-02T03:04:05.500000Z");
    }
}

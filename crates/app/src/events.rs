//! Events where there is nobody to keep them.

use async_trait::async_trait;
use okra_provider::{EventNote, EventSink};

/// Writes events into the log: a directory of manifests keeps none. Normal ones only for whoever looks closely, since
/// the controllers log their decisions themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogEvents;

#[async_trait]
impl EventSink for LogEvents {
    async fn publish(&self, note: EventNote) {
        let EventNote { kind, key, reason, action, message, warning, .. } = note;
        if warning {
            tracing::warn!(%kind, object = %key, reason, action, note = message, "Event");
        } else {
            tracing::debug!(%kind, object = %key, reason, action, note = message, "Event");
        }
    }
}

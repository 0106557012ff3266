//! The memory backend keeps the guarantees of a backend.

use std::sync::Arc;

use okra_provider::testing::{FixedClock, MemoryBackend, SeededEntropy};
use okra_store::conformance::{self, Subject};

#[tokio::test]
async fn memory_keeps_every_guarantee() {
    conformance::run(async || Subject {
        backend: Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1)))),
        namespaces: ["a".to_owned(), "b".to_owned()],
    })
    .await;
}

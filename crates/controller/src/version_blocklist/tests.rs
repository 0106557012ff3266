use std::{sync::Arc, time::Duration};

use okra_provider::{
    Backend as _, Namespaces,
    testing::{FixedClock, MemoryBackend, RecordingEvents, SeededEntropy},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

fn items(versions: &[&str]) -> Value {
    versions.iter().map(|version| json!({ "version": version })).collect()
}

#[tokio::test]
async fn unreadable_and_duplicate_versions_are_named_once() {
    let kind = Kind::of::<VersionBlocklist>();
    let key = Key::new("prod", "web");
    let clock = Arc::new(FixedClock::default());
    let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1))));
    let events = Arc::new(RecordingEvents::default());
    let store = Store::new(backend.clone(), Namespaces::All);
    let controller = VersionBlocklistController::new(store, clock, events.clone());
    let reconcile = async || {
        let version =
            backend.get(&kind, &key).await.unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let seen = async {
            loop {
                if let Lookup::Found(list) = controller.cache.get(&key)
                    && list.metadata.resource_version.as_ref() == Some(&version)
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the cache does not catch up");
        assert_eq!(controller.reconcile(&key).await, Ok(Next::IDLE));
        backend.get(&kind, &key).await.unwrap()
    };
    let list = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "VersionBlocklist",
        "metadata": { "namespace": "prod", "name": "web" },
        "spec": { "items": items(&["v1.0", "latest", "1.0.0", "2.0.0", "latest"]) },
    });
    backend.create(&kind, &list).await.unwrap();
    let first = reconcile().await;
    assert_eq!(first["status"], json!({ "observedGeneration": 1, "unreadable": ["latest"] }));
    let told = events.take();
    assert_eq!(
        told.iter().map(|note| note.reason.as_str()).collect::<Vec<_>>(),
        ["UnreadableVersions", "DuplicateVersions"]
    );
    assert!(told[0].message.contains("latest") && told[1].message.contains("1.0.0"));
    assert_eq!(reconcile().await, first, "nothing is new, nothing is written");
    assert_eq!(events.take(), []);
    let patch = json!({ "spec": { "items": items(&["2.0.0"]) } });
    backend.merge_patch(&kind, &key, &patch).await.unwrap();
    assert_eq!(reconcile().await["status"], json!({ "observedGeneration": 2 }));
    assert_eq!(events.take(), []);
}

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use okra_provider::{
    Backend as _, Clock as _, Namespaces,
    testing::{FixedClock, MemoryBackend, SeededEntropy},
};
use pretty_assertions::assert_eq;
use serde_json::json;

use super::*;

struct Rig {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    controller: PauseController,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1))));
        let controller = PauseController::new(Store::new(backend.clone(), Namespaces::All), clock.clone());
        Self { backend, clock, controller }
    }

    async fn create(&self, expires_in: Option<i64>) {
        let expires = expires_in.map(|seconds| (self.clock.now() + SignedDuration::from_secs(seconds)).to_string());
        let mut pause = json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause",
            "metadata": { "namespace": "prod", "name": "web" }, "spec": {},
        });
        if let Some(expires) = expires {
            pause["spec"]["expireTime"] = json!(expires);
        }
        self.backend.create(&Kind::of::<Pause>(), &pause).await.unwrap();
    }

    async fn get(&self) -> serde_json::Value {
        self.backend.get(&Kind::of::<Pause>(), &Key::new("prod", "web")).await.unwrap()
    }

    async fn reconcile(&self) -> Next {
        let key = Key::new("prod", "web");
        let version = self.get().await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let seen = async {
            loop {
                if let Lookup::Found(pause) = self.controller.cache.get(&key)
                    && pause.metadata.resource_version.as_ref() == Some(&version)
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the cache does not catch up");
        self.controller.reconcile(&key).await.unwrap()
    }

    async fn phase(&self) -> String {
        self.get().await["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn a_pause_starts_and_expires_exactly_at_its_time() {
    let rig = Rig::new();
    rig.create(Some(60)).await;
    let end = rig.clock.now() + SignedDuration::from_secs(60);
    assert_eq!(rig.reconcile().await, Next::at(end));
    assert_eq!(rig.phase().await, "Started");
    let started = rig.get().await;
    rig.clock.set(end - SignedDuration::from_nanos(1));
    assert_eq!(rig.reconcile().await, Next::at(end));
    assert_eq!(rig.get().await, started, "nothing is new, nothing is written");
    rig.clock.set(end);
    assert_eq!(rig.reconcile().await, Next::IDLE);
    assert_eq!(rig.phase().await, "Expired");
    let expired = rig.get().await;
    rig.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(rig.reconcile().await, Next::IDLE);
    assert_eq!(rig.get().await, expired, "an expired one is not written again");
}

#[tokio::test]
async fn a_pause_without_a_time_waits_for_a_person() {
    let rig = Rig::new();
    rig.create(None).await;
    assert_eq!(rig.reconcile().await, Next::IDLE);
    assert_eq!(rig.phase().await, "Started");
}

#[tokio::test]
async fn a_cancelled_pause_stays_cancelled() {
    let rig = Rig::new();
    rig.create(Some(60)).await;
    rig.reconcile().await;
    let mut pause = rig.get().await;
    pause["status"]["phase"] = json!("Cancelled");
    rig.backend.update_status(&Kind::of::<Pause>(), &pause).await.unwrap();
    let cancelled = rig.get().await;
    rig.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(rig.reconcile().await, Next::IDLE);
    assert_eq!(rig.get().await, cancelled);
}

#[tokio::test]
async fn a_later_end_counts_while_it_lasts() {
    let rig = Rig::new();
    rig.create(Some(60)).await;
    rig.reconcile().await;
    let later = rig.clock.now() + SignedDuration::from_secs(600);
    let patch = json!({ "spec": { "expireTime": later.to_string() } });
    rig.backend.merge_patch(&Kind::of::<Pause>(), &Key::new("prod", "web"), &patch).await.unwrap();
    assert_eq!(rig.reconcile().await, Next::at(later));
    assert_eq!(rig.get().await["status"]["observedGeneration"], json!(2));
}

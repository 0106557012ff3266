//! Experiment steps, on the in-memory store.

use k8s_openapi::api::apps::v1::ReplicaSet;
use okra_core::analysis::INSTANCE_ID_LABEL;
use pretty_assertions::assert_eq;

use super::*;

const NAME: &str = "web-r2-1-experiment";

impl Rig {
    /// A rollout at an experiment step of a ReplicaSet `wy` that is not there.
    async fn at_experiment() -> Self {
        let rig = Self::new();
        let experiment = json!({"duration": "1h", "templates": [{"name": "wy", "specRef": "wy"}]});
        let step = serde_json::from_value(json!({"experiment": experiment})).unwrap();
        rig.cell("web", 10, vec![set_weight(20), step, set_weight(60)]).await;
        rig.group("v1", "1.0.0").await;
        rig.run().await;
        rig.group("v2", "2.0.0").await;
        rig.run().await;
        rig.pass(120).await;
        rig
    }

    async fn replica_set(&self, name: &str) {
        let labels = json!({"app": name});
        let pods = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "wy", "image": "wy:1"}]}});
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": NAMESPACE, "name": name},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pods},
        });
        self.backend.create(&Kind::of::<ReplicaSet>(), &set).await.unwrap();
    }

    async fn experiment_says(&self, phase: &str, message: &str) {
        let patch = json!({"status": {"phase": phase, "message": message}});
        self.backend.merge_patch(&Kind::of::<Experiment>(), &Key::new(NAMESPACE, NAME), &patch).await.unwrap();
        self.run().await;
    }
}

#[tokio::test]
async fn an_experiment_is_made_once_its_replica_set_appears() {
    let rig = Rig::at_experiment().await;
    let message = rig.status("web").await.message;
    assert!(message.ends_with("specRef of template wy: ReplicaSet prod/wy does not exist"), "{message}");
    assert!(rig.get::<Experiment>(NAME).await.is_none());

    let mut changes = rig.store.changes();
    rig.replica_set("other").await;
    rig.replica_set("wy").await;
    let kind = Kind::of::<ReplicaSet>();
    let seen = async {
        let mut woken = BTreeMap::new();
        while woken.len() < 2 {
            let changed = changes.next().await.expect("the store is open");
            if changed.kind == kind {
                woken.insert(changed.key.name.clone(), rig.controllers[0].wakes(&changed));
            }
        }
        woken
    };
    let woken = tokio::time::timeout(Duration::from_secs(10), seen).await.expect("ReplicaSets are not watched");
    assert_eq!((&woken["other"][..], &woken["wy"][..]), (&[][..], &[Key::new(NAMESPACE, "web")][..]));

    rig.run().await;
    let made: Experiment = rig.get(NAME).await.unwrap();
    let cell: Cell = rig.get("web").await.unwrap();
    let owner = &made.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), Some(&owner.uid), owner.controller),
        ("Cell", cell.metadata.uid.as_ref(), Some(true))
    );
    let labels = made.metadata.labels.clone().unwrap();
    assert_eq!((labels[INSTANCE_ID_LABEL].as_str(), labels["okra.mumo.co/step-index"].as_str()), ("okra", "1"));
    assert_eq!((made.spec.duration.as_str(), made.spec.templates[0].name.as_str()), ("3600s", "wy"));
    assert_eq!(made.spec.templates[0].template["spec"]["containers"][0]["image"], "wy:1");
    assert_eq!(rig.run().await, 0, "it is made once");

    rig.experiment_says("Running", "").await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 80), ("v2", 20)]));
    rig.experiment_says("Successful", "").await;
    rig.pass(120).await;
    assert_eq!(rig.status("web").await.stable_version.as_deref(), Some("2.0.0"));
}

#[tokio::test]
async fn an_experiment_that_was_made_before_a_crash_is_not_made_again() {
    let mut rig = Rig::at_experiment().await;
    rig.replica_set("wy").await;
    rig.backend.inject(Fault::lost_answer(CallVerb::Create, 1).of(Kind::of::<Experiment>()));
    rig.run().await;
    rig.restart();
    rig.run().await;
    assert_eq!(rig.backend.list(&Kind::of::<Experiment>(), None).await.unwrap().len(), 1);
    rig.experiment_says("Failed", "no").await;
    assert_eq!(rig.weights("web"), weights(&[("v1", 100), ("v2", 0)]));
    let list: VersionBlocklist = rig.get("web").await.unwrap();
    assert_eq!(list.spec.items[0].version, "2.0.0");
}

//! Clusters are discovered end to end: EKS of moto behind the strict front, a real API server, okrad as a process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, ObjectList};
use okra_api::{ClusterSet, condition};
use okra_judge::record::{Entry, Event, Record};
use okra_testkit::{
    fault_plan::{ALWAYS, PlannedFault},
    front::{AwsError, AwsFault, AwsPlan},
    scene::{Scene, WITHIN},
    workload::Eks,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");

/// The ClusterSet of the first README, looking more often.
const MANIFEST: &str = "
apiVersion: okra.mumo.co/v1alpha1
kind: ClusterSet
metadata:
  name: cell1
spec:
  interval: 5s
  pruneAfter: 1s
  generators:
  - awseks:
      selector:
        matchTags:
          Service: demo
  template:
    metadata:
      labels:
        service: demo
";

async fn create(eks: &Eks, name: &str, service: &str) {
    eks.create(name, &[("Service", service)]).await;
}

async fn secrets(scene: &Scene) -> BTreeMap<String, Secret> {
    let selected = ListParams::default().labels("argocd.argoproj.io/secret-type=cluster");
    let listed: ObjectList<Secret> = scene.api::<Secret>().list(&selected).await.unwrap();
    listed.into_iter().map(|secret| (secret.metadata.name.clone().unwrap(), secret)).collect()
}

async fn until_clusters(scene: &Scene, wanted: &[&str]) {
    let count = i32::try_from(wanted.len()).unwrap();
    let what = format!("{wanted:?} have Secrets");
    scene
        .until_object::<ClusterSet>("cell1", &what, |set| {
            let status = set.status.clone().unwrap_or_default();
            status.clusters == count && status.missing.is_empty() && condition::is_true(&status.conditions, "Ready")
        })
        .await;
    let names: BTreeSet<String> = secrets(scene).await.into_keys().collect();
    assert_eq!(names, wanted.iter().map(|name| (*name).to_owned()).collect());
}

#[tokio::test]
async fn tagged_clusters_get_secrets_and_lose_them_only_when_they_are_gone() {
    let mut scene = Scene::new(OKRAD, "cluster-set").await;
    let eks = Eks::new(&scene.front, &scene.namespace);
    create(&eks, "cdk1", "demo").await;
    create(&eks, "other", "else").await;
    scene.start_okrad();
    scene.apply(MANIFEST).await.unwrap();
    until_clusters(&scene, &["cdk1"]).await;
    let secret = secrets(&scene).await.remove("cdk1").unwrap();
    let labels = secret.metadata.labels.clone().unwrap();
    assert_eq!(labels["service"], "demo");
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let data = secret.data.unwrap();
    let config: Value = serde_json::from_slice(&data["config"].0).unwrap();
    assert_eq!(config["awsAuthConfig"], json!({"clusterName": "cdk1"}));
    assert!(data["server"].0.starts_with(b"https://"));

    create(&eks, "cdk2", "demo").await;
    until_clusters(&scene, &["cdk1", "cdk2"]).await;
    // A person removes one by hand: it is made again, while its cluster is there.
    scene.api::<Secret>().delete("cdk1", &kube::api::DeleteParams::default()).await.unwrap();
    scene.until_object::<Secret>("cdk1", "it is back", |secret| secret.metadata.deletion_timestamp.is_none()).await;
    eks.delete("cdk2").await;
    scene.until_gone::<Secret>("cdk2").await;
    until_clusters(&scene, &["cdk1"]).await;
    // A restart finds everything as it is.
    assert_eq!(scene.stop_okrad().await, 0);
    let before = secrets(&scene).await;
    scene.start_okrad();
    create(&eks, "cdk3", "demo").await;
    until_clusters(&scene, &["cdk1", "cdk3"]).await;
    assert_eq!(secrets(&scene).await["cdk1"], before["cdk1"], "not written again");
    assert_eq!(scene.stop_okrad().await, 0);
}

/// Whether the set says of the generator's last answer that it was not complete, with these words.
async fn until_incomplete(scene: &Scene, words: &str) {
    let what = format!("it says that the answer is not complete: {words}");
    scene
        .until_object::<ClusterSet>("cell1", &what, |set| {
            let status = set.status.clone().unwrap_or_default();
            condition::find(&status.conditions, condition::DISCOVERED)
                .is_some_and(|found| found.status == "False" && found.message.contains(words))
        })
        .await;
}

#[tokio::test]
async fn no_answer_of_eks_but_a_complete_one_removes_a_secret() {
    const COUNT: usize = 120;
    let mut scene = Scene::new(OKRAD, "cluster-set-faults").await;
    let eks = Eks::new(&scene.front, &scene.namespace);
    // More than a page.
    for number in 0..COUNT {
        create(&eks, &format!("c{number:03}"), "demo").await;
    }
    scene.start_okrad();
    scene.apply(MANIFEST).await.unwrap();
    let all: Vec<String> = (0..COUNT).map(|number| format!("c{number:03}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    until_clusters(&scene, &all).await;
    let before = secrets(&scene).await;
    let denied = AwsError::access_denied("eks:ListClusters");
    let cases = [
        ("GET /clusters", AwsFault::Error(AwsError::throttled()), "Throttl"),
        ("GET /clusters", AwsFault::Error(denied), "eks:ListClusters"),
        ("GET /clusters", AwsFault::Error(AwsError::internal()), "InternalFailure"),
        ("GET /clusters", AwsFault::Reset, "awseks"),
        ("GET /clusters", AwsFault::Half, "awseks"),
    ];
    for (call, fault, words) in cases {
        let planned = PlannedFault::new(call, 1, fault.clone()).by(&scene.namespace).times(ALWAYS);
        scene.front.set_plan(vec![planned]);
        until_incomplete(&scene, words).await;
        assert_eq!(secrets(&scene).await, before, "{fault:?}");
    }
    // An answer that is whole and names nothing: each cluster is asked for by its name, and is there.
    scene
        .front
        .set_plan(vec![PlannedFault::new("GET /clusters", 1, AwsFault::Empty).by(&scene.namespace).times(ALWAYS)]);
    until_clusters(&scene, &all).await;
    let looks = |record: &Record| {
        let empty = |entry: &Entry| matches!(&entry.event, Event::Call(call) if call.error.as_deref() == Some("Empty"));
        record.entries.iter().filter(|entry| empty(entry)).count()
    };
    let begun = looks(&scene.front.record());
    scene.front.wait_for(WITHIN, |record| looks(record) >= begun + 3).await.unwrap();
    assert_eq!(secrets(&scene).await, before);
    // And while they cannot be confirmed, it does not count as complete.
    let blind = PlannedFault::new("GET /clusters/c007", 1, AwsFault::Error(AwsError::throttled()));
    let empty = PlannedFault::new("GET /clusters", 1, AwsFault::Empty);
    scene.front.set_plan(vec![blind.by(&scene.namespace).times(ALWAYS), empty.by(&scene.namespace).times(ALWAYS)]);
    // A description counts for five minutes: this one is asked for again only by a new process.
    assert_eq!(scene.stop_okrad().await, 0);
    scene.start_okrad();
    until_incomplete(&scene, "c007").await;
    assert_eq!(secrets(&scene).await, before);
    scene.front.set_plan(AwsPlan::default());
    eks.delete("c007").await;
    let rest: Vec<&str> = all.iter().copied().filter(|name| *name != "c007").collect();
    until_clusters(&scene, &rest).await;
    assert_eq!(scene.stop_okrad().await, 0);
}

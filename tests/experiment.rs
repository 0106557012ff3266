//! Experiments end to end: okrad on a real API server makes them for a Cell's steps, runs ReplicaSets and analyses, and
//! goes on or takes the traffic back. The test plays the controller of ReplicaSets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::time::Duration;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Service};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use okra_api::{AnalysisRun, Cell, Experiment, RunPhase, cell_status::RolloutOutcome};
use okra_testkit::{
    MetricServer,
    scene::{Scene, V1, V2},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "cell1";
const STEP: &str = "cell1-r2-1-experiment";
/// As in the seed README, but without its duration: it lasts as long as its analysis.
const STEPS: &str = "[{setWeight: 20}, {experiment: {templates: [{name: wy, specRef: wy}], analyses: [{name: rate, \
                     templateName: success-rate, args: [{name: version, valueFrom: {fieldRef: {fieldPath: \
                     status.desiredVersion}}}]}]}}, {setWeight: 60}]";
const SHARES: [u32; 2] = [20, 60];

/// The seed README's ReplicaSet.
const WY: &str = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata:\n  name: wy\n  labels:\n    app: wy\nspec:\n  replicas: 0\n  \
                  selector:\n    matchLabels:\n      app: wy\n  template:\n    metadata:\n      labels:\n        app: wy\n    \
                  spec:\n      containers:\n      - image: mumoshu/wy:latest\n        name: wy\n        ports:\n        - \
                  containerPort: 8080\n";

/// Gives every ReplicaSet of the namespace the pods that it wants, until it is dropped.
fn pods_follow(scene: &Scene) -> JoinSet<()> {
    let sets: Api<ReplicaSet> = scene.api();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let known = sets.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
            for set in known {
                let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                let status = set.status.unwrap_or_default();
                if (status.replicas, status.available_replicas.unwrap_or(0)) != (wanted, wanted) {
                    let counts = json!({"replicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted});
                    let patch = Patch::Merge(json!({"status": counts}));
                    let name = set.metadata.name.unwrap_or_default();
                    _ = sets.patch_status(&name, &PatchParams::default(), &patch).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    tasks
}

/// A Cell whose v1 serves, and a metric server for what comes next.
async fn serving(name: &str) -> (Scene, MetricServer, JoinSet<()>) {
    let metrics = MetricServer::start().await;
    let mut scene = Scene::new(OKRAD, name).await;
    scene.more_args = vec!["--metric-egress-allow".to_owned(), "127.0.0.0/8".to_owned()];
    scene.settle = "1s";
    scene.start_okrad();
    let pods = pods_follow(&scene);
    scene.apply(WY).await.unwrap();
    scene.apply(&metrics.template(3)).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    (scene, metrics, pods)
}

fn is(experiment: &Experiment, phase: RunPhase) -> bool {
    experiment.status.as_ref().is_some_and(|status| status.phase == Some(phase))
}

fn wants(set: &ReplicaSet, pods: i32) -> bool {
    set.spec.as_ref().and_then(|spec| spec.replicas) == Some(pods)
}

#[tokio::test]
async fn an_experiment_that_passes_lets_the_rollout_go_on() {
    let (mut scene, metrics, _pods) = serving("tried-good").await;
    metrics.set(V2, r#"{"rate": 0.99}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let set = scene.until_object::<ReplicaSet>(&format!("{STEP}-wy"), "wants a pod", |set| wants(set, 1)).await;
    let pods = set.spec.unwrap().template.unwrap().spec.unwrap();
    assert_eq!(pods.containers[0].image.as_deref(), Some("mumoshu/wy:latest"));
    scene.until_stable(CELL, V2).await;
    let experiment =
        scene.until_object::<Experiment>(STEP, "is successful", |seen| is(seen, RunPhase::Successful)).await;
    assert_eq!(set.metadata.owner_references.unwrap()[0].uid, experiment.metadata.uid.unwrap());
    let run = scene.api::<AnalysisRun>().get(&format!("{STEP}-rate")).await.unwrap();
    let available = experiment.status.unwrap().available_at.unwrap();
    let status = run.status.unwrap();
    assert!(status.started_at.unwrap() >= available, "nothing is measured before its pods are there");
    assert_eq!((status.metric_results[0].successful, metrics.asked()), (3, vec![V2.to_owned(); 3]));
    assert_eq!(scene.api::<ReplicaSet>().get("wy").await.unwrap().spec.unwrap().replicas, Some(0), "it is only read");
    // Its pods stay for half a minute.
    scene.until_object::<ReplicaSet>(&format!("{STEP}-wy"), "wants no pod", |set| wants(set, 0)).await;
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn an_experiment_that_fails_takes_the_traffic_back() {
    let (mut scene, metrics, _pods) = serving("tried-bad").await;
    metrics.set(V2, r#"{"rate": 0.67}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    let status = cell.status.unwrap();
    assert_eq!(status.blocked_versions, [V2]);
    assert!(status.history[0].reason.contains(&format!("Experiment {STEP} ended Failed")), "{:?}", status.history[0]);
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn okrad_killed_in_the_middle_of_an_experiment_finds_it_again() {
    let (mut scene, metrics, _pods) = serving("tried-killed").await;
    metrics.set(V2, r#"{"rate": 1}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    scene.until_object::<Experiment>(STEP, "runs", |seen| is(seen, RunPhase::Running)).await;
    scene.kill_okrad();
    scene.start_okrad();
    scene.until_stable(CELL, V2).await;
    let sets = scene.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(sets.len(), 2, "the seed's and one of the experiment's");
    let runs = scene.api::<AnalysisRun>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(runs.len(), 1);
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn an_installed_controller_carries_experiments_out_when_it_is_told_to() {
    let metrics = MetricServer::start().await;
    let mut scene = Scene::new(OKRAD, "tried-argo").await;
    scene.more_args = ["--analysis-engine=argo", "--analysis-instance-id=argo-1"].map(str::to_owned).into();
    scene.settle = "1s";
    scene.start_okrad();
    scene.apply(WY).await.unwrap();
    scene.apply(&metrics.template(3)).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let made = scene.until_object::<Experiment>(STEP, "is made", |_| true).await;
    assert_eq!(made.metadata.labels.unwrap()["argo-rollouts.argoproj.io/controller-instance-id"], "argo-1");
    let analysis = &made.spec.analyses[0];
    assert_eq!(analysis.args[0].value.as_deref(), Some(V2), "arguments are resolved here");
    let says = async |phase: &str, message: &str| {
        let status = json!({"status": {"phase": phase, "message": message}});
        scene.merge::<Experiment>(STEP, &status).await;
    };
    says("Running", "").await;
    let runs = |cell: &Cell| cell.status.as_ref().is_some_and(|status| status.message.contains("is Running"));
    scene.until(CELL, "follows the Experiment", runs).await;
    says("Failed", "the other controller says so").await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    let status = cell.status.unwrap();
    assert_eq!(status.blocked_versions, [V2]);
    assert!(status.history[0].reason.ends_with("the other controller says so"), "{:?}", status.history[0]);
    let sets = scene.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items;
    let runs = scene.api::<AnalysisRun>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!((sets.len(), runs.len(), metrics.asked().len()), (1, 0, 0), "okrad itself runs nothing of it");
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn an_experiment_waits_for_the_rights_that_okrad_lacks() {
    const USER: &str = "limited-1";
    let mut scene = Scene::new(OKRAD, "tried-denied").await;
    scene.grant_okrad(USER).await;
    scene.start_okrad_as(USER);
    let _pods = pods_follow(&scene);
    let wy: Value = serde_saphyr::from_str(WY).unwrap();
    let template = json!({"name": "a", "selector": wy["spec"]["selector"], "template": wy["spec"]["template"]});
    let experiment = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
        "metadata": {"name": "tried", "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "okra"}},
        "spec": {"templates": [template], "duration": "1h"},
    });
    scene.apply(&experiment.to_string()).await.unwrap();
    let says = |seen: &Experiment| {
        let status = seen.status.as_ref();
        status.is_some_and(|status| {
            let lacks = status.message.contains("replicasets") && status.message.contains("okrad-experiments");
            lacks && status.phase == Some(RunPhase::Pending)
        })
    };
    scene.until_object::<Experiment>("tried", "says what okrad lacks", says).await;
    scene.grant(USER, "okrad-experiments").await;
    let seen = scene.until_object::<Experiment>("tried", "runs", |seen| is(seen, RunPhase::Running)).await;
    assert_eq!(seen.status.unwrap().message, "");
}

#[tokio::test]
async fn a_replica_set_that_appears_late_is_seen_at_once() {
    let metrics = MetricServer::start().await;
    let mut scene = Scene::new(OKRAD, "tried-late").await;
    scene.more_args = vec!["--metric-egress-allow".to_owned(), "127.0.0.0/8".to_owned()];
    scene.settle = "1s";
    scene.start_okrad();
    let _pods = pods_follow(&scene);
    scene.apply(&metrics.template(3)).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    metrics.set(V2, r#"{"rate": 1}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let waits = |cell: &Cell| cell.status.as_ref().is_some_and(|status| status.message.contains("wy does not exist"));
    scene.until(CELL, "waits for the ReplicaSet", waits).await;
    let applied = scene.apply(WY).await.unwrap().metadata.creation_timestamp.unwrap().0;
    let made = scene.until_object::<Experiment>(STEP, "is made", |_| true).await;
    let waited = made.metadata.creation_timestamp.unwrap().0.duration_since(applied);
    assert!(waited.as_secs() < 30, "the net catches it after a minute; this took {waited}");
    scene.until_stable(CELL, V2).await;
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn an_experiment_by_hand_has_its_service_and_ends_when_it_is_told_to() {
    let mut scene = Scene::new(OKRAD, "tried-by-hand").await;
    scene.start_okrad();
    let _pods = pods_follow(&scene);
    let label = "argo-rollouts.argoproj.io/controller-instance-id";
    let manifest = |name: &str, instance: &str| {
        let wy: Value = serde_saphyr::from_str(WY).unwrap();
        let template = json!({
            "name": "a", "replicas": 2, "service": {}, "selector": wy["spec"]["selector"],
            "template": wy["spec"]["template"],
        });
        let experiment = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
            "metadata": {"name": name, "labels": {label: instance}},
            "spec": {"templates": [template], "scaleDownDelaySeconds": 0},
        });
        experiment.to_string()
    };
    scene.apply(&manifest("other", "argo")).await.unwrap();
    scene.apply(&manifest("tried", "okra")).await.unwrap();
    scene.until_object::<Experiment>("tried", "runs", |seen| is(seen, RunPhase::Running)).await;
    let service = scene.api::<Service>().get("tried-a").await.unwrap().spec.unwrap();
    let set = scene.api::<ReplicaSet>().get("tried-a").await.unwrap();
    let hash =
        ("rollouts-pod-template-hash".to_owned(), set.metadata.labels.unwrap()["rollouts-pod-template-hash"].clone());
    assert_eq!(service.selector.unwrap(), [hash].into());
    assert_eq!(service.ports.unwrap()[0].port, 8080);
    scene.merge::<Experiment>("tried", &json!({"spec": {"terminate": true}})).await;
    scene.until_object::<Experiment>("tried", "is successful", |seen| is(seen, RunPhase::Successful)).await;
    scene.until_object::<ReplicaSet>("tried-a", "wants no pod", |set| wants(set, 0)).await;
    scene.until_gone::<Service>("tried-a").await;
    let other = scene.api::<Experiment>().get("other").await.unwrap();
    assert_eq!(other.status, None, "it is another controller's");
    assert_eq!(scene.stop_okrad().await, 0);
}

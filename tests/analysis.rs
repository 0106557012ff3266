//! Rollouts judged by AnalysisTemplates, end to end: okrad on a real API server makes the AnalysisRuns, asks a metric
//! server, and goes on or takes the traffic back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use okra_api::{AnalysisRun, RunPhase, cell_status::RolloutOutcome};
use okra_testkit::{
    MetricServer,
    scene::{Scene, V1, V2, WITHIN, weights},
};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "cell1";
const STEPS: &str = "[{setWeight: 20}, {analysis: {templates: [{templateName: success-rate}], args: [{name: version, \
                     valueFrom: {fieldRef: {fieldPath: status.desiredVersion}}}]}}, {setWeight: 60}]";
const SHARES: [u32; 2] = [20, 60];

/// A Cell whose v1 serves, and a metric server for what comes next.
async fn serving(name: &str) -> (Scene, MetricServer) {
    let metrics = MetricServer::start().await;
    let mut scene = Scene::new(OKRAD, name).await;
    scene.more_args = vec!["--metric-egress-allow".to_owned(), "127.0.0.0/8".to_owned()];
    scene.settle = "1s";
    scene.start_okrad();
    scene.apply(&metrics.template(3)).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    (scene, metrics)
}

#[tokio::test]
async fn a_version_whose_metric_is_good_is_rolled_out() {
    let (mut scene, metrics) = serving("judged-good").await;
    metrics.set(V2, r#"{"rate": 0.99}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    scene.until_stable(CELL, V2).await;
    let run = scene
        .until_object::<AnalysisRun>("cell1-r2-1-analysis", "is successful", |run| {
            run.status.as_ref().is_some_and(|status| status.phase == Some(RunPhase::Successful))
        })
        .await;
    let result = run.status.unwrap().metric_results[0].clone();
    assert_eq!((result.count, result.successful), (3, 3));
    assert_eq!(result.measurements[0].value, r#"{"rate":0.99}"#);
    assert_eq!(metrics.asked(), [V2, V2, V2], "each measurement asks once");
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn a_version_whose_metric_is_bad_is_taken_back_and_blocked() {
    let (mut scene, metrics) = serving("judged-bad").await;
    metrics.set(V2, r#"{"rate": 0.67}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    assert_eq!(cell.status.unwrap().blocked_versions, [V2]);
    assert_eq!(scene.weights(), weights(&[("web-1-v1", 100), ("web-1-v2", 0)]));
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn okrad_killed_in_the_middle_of_a_run_neither_loses_nor_doubles_a_measurement() {
    let (mut scene, metrics) = serving("judged-killed").await;
    metrics.set(V2, r#"{"rate": 1}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let measured = |run: &AnalysisRun, count| {
        run.status.as_ref().is_some_and(|status| status.metric_results.iter().any(|result| result.count >= count))
    };
    scene.until_object::<AnalysisRun>("cell1-r2-1-analysis", "is measured", |run| measured(run, 1)).await;
    scene.kill_okrad();
    scene.start_okrad();
    scene.until_stable(CELL, V2).await;
    let run = scene.until_object::<AnalysisRun>("cell1-r2-1-analysis", "is measured", |run| measured(run, 3)).await;
    assert_eq!(run.status.unwrap().metric_results[0].count, 3);
    let asked = metrics.asked().len();
    assert!((3..=4).contains(&asked), "{asked}");
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn what_the_egress_policy_denies_is_an_error_and_no_pass() {
    let metrics = MetricServer::start().await;
    let mut scene = Scene::new(OKRAD, "judged-denied").await;
    scene.settle = "1s";
    scene.start_okrad();
    let template = metrics.template(3).replace("count: 3", "count: 3\n    consecutiveErrorLimit: 0");
    scene.apply(&template).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    metrics.set(V2, r#"{"rate": 1}"#);
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    assert!(metrics.asked().is_empty(), "loopback is not asked unless it is allowed");
    scene.path.settled(WITHIN).await.unwrap();
    scene.end(load, CELL, &SHARES).await;
}

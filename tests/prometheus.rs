//! Rollouts judged by a real Prometheus that scrapes the load balancer, end to end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use okra_api::{AnalysisRun, RunPhase, cell_status::RolloutOutcome};
use okra_testkit::{
    MetricServer,
    prometheus::Prometheus,
    scene::{Scene, V1, V2},
};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "cell1";
const STEPS: &str = "[{setWeight: 40}, {analysis: {templates: [{templateName: success-rate}], args: [{name: \
                     target-group, value: web-1-v2}]}}, {setWeight: 60}]";
const SHARES: [u32; 2] = [40, 60];
const RUN: &str = "cell1-r2-1-analysis";

/// The query of the first README's template, of the balancer's counters instead of Istio's; the rest is as there.
fn template(prometheus: &Prometheus) -> String {
    let counted = |metric: &str| {
        format!(
            "sum(rate(okra_balancer_target_group_{metric}{{target_group=~\".*/{{{{args.target-group}}}}-.*\"}}[5s]))"
        )
    };
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata:\n  name: success-rate\nspec:\n  args:\n  - \
         name: target-group\n  metrics:\n  - name: success-rate\n    initialDelay: 6s\n    interval: 1s\n    count: 3\n    \
         # NOTE: prometheus queries return results in the form of a vector.\n    successCondition: result[0] >= \
         0.95\n    failureLimit: 1\n    provider:\n      prometheus:\n        address: {}\n        query: |\n          1 - \
         {}\n          /\n          {}\n",
        prometheus.url(),
        counted("backend_errors_total"),
        counted("requests_total"),
    )
}

/// A Cell whose v1 serves, and a Prometheus that sees its balancer.
async fn serving(name: &str) -> (Scene, Prometheus, MetricServer) {
    let mut scene = Scene::new(OKRAD, name).await;
    let exported = scene.path.export().await;
    let prometheus = Prometheus::start(&[exported.address]).await.unwrap();
    scene.more_args = vec!["--metric-egress-allow".to_owned(), "127.0.0.0/8".to_owned()];
    scene.settle = "1s";
    scene.start_okrad();
    scene.apply(&template(&prometheus)).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    (scene, prometheus, exported)
}

#[tokio::test]
async fn a_version_that_answers_well_is_rolled_out() {
    let (mut scene, _prometheus, _exported) = serving("prometheus-good").await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    scene.until_stable(CELL, V2).await;
    let successful = |run: &AnalysisRun| run.status.as_ref().unwrap().phase == Some(RunPhase::Successful);
    let run = scene.until_object::<AnalysisRun>(RUN, "is successful", successful).await;
    let values: Vec<String> =
        run.status.unwrap().metric_results.remove(0).measurements.into_iter().map(|m| m.value).collect();
    assert_eq!(values, ["[1]", "[1]", "[1]"]);
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn a_version_that_fails_a_third_of_its_requests_is_taken_back_and_blocked() {
    let (mut scene, _prometheus, _exported) = serving("prometheus-bad").await;
    let load = scene.load();
    scene.target_group("web-1-v2", V2).await;
    scene.clusters["web-1-v2"].set_fails_every(3);
    scene.register("web-1-v2", V2).await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    assert_eq!(cell.status.unwrap().blocked_versions, [V2]);
    let failed = |run: &AnalysisRun| run.status.as_ref().unwrap().phase == Some(RunPhase::Failed);
    let run = scene.until_object::<AnalysisRun>(RUN, "has failed", failed).await;
    let measured = &run.status.unwrap().metric_results[0].measurements[0].value;
    let rate: Vec<f64> = serde_json::from_str(measured).unwrap();
    assert!((0.5..0.8).contains(&rate[0]), "a third fails: {measured}");
    let summary = load.stop().await;
    assert_eq!(summary.failed, scene.clusters["web-1-v2"].failed(), "no other request failed");
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

//! The commands of AnalysisRuns, end to end: `okra run`, `create`, `update` and `get` on a real API server, with an okrad
//! that measures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]

use okra_api::{AnalysisRun, RunPhase, analysis::AnalysisRunStatus};
use okra_testkit::{MetricServer, scene::Scene};
use pretty_assertions::assert_eq;
use serde_json::Value;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");

/// An okrad, and a template in the cluster that measures what argument `goodness` says.
async fn scene(name: &str) -> (Scene, MetricServer) {
    let metrics = MetricServer::start().await;
    for goodness in ["0.31", "0.99", "1"] {
        metrics.set(goodness, goodness);
    }
    let mut scene = Scene::new(OKRAD, name).await;
    scene.more_args = vec!["--metric-egress-allow".to_owned(), "127.0.0.0/8".to_owned()];
    scene.start_okrad();
    let template = format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata:\n  name: rate\nspec:\n  args:\n  - name: \
         goodness\n  - name: every\n    value: 1s\n  metrics:\n  - name: rate\n    interval: '{{{{args.every}}}}'\n    count: \
         2\n    successCondition: result >= 0.95\n    provider:\n      web:\n        url: \
         http://{}/{{{{args.goodness}}}}\n",
        metrics.address
    );
    scene.apply(&template).await.unwrap();
    (scene, metrics)
}

#[tokio::test]
async fn a_run_is_made_measured_and_judged() {
    let (scene, _metrics) = scene("run-analysis").await;
    let line = ["run", "analysis", "good", "--template-name", "rate", "--args", "goodness=0.99", "--wait"];
    let ran = scene.okra(&line).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "analysisrun.argoproj.io/good is Successful\n"), "{}", ran.err);
    assert_eq!(ran.err.matches("  rate  Successful    0.99\n").count(), 2, "each is told once: {}", ran.err);

    let line = ["run", "analysis", "bad", "--template-name", "rate", "--args", "goodness=0.31", "--wait"];
    let ran = scene.okra(&line).await;
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("analysisrun.argoproj.io/bad is Failed: Metric \"rate\" assessed Failed"), "{}", ran.out);
    assert!(ran.err.contains("  rate  Failed        0.31\n"), "{}", ran.err);

    let ran = scene.okra(&["get", "analysisrun", "bad"]).await;
    assert!(ran.out.contains("Args:      goodness=0.31\n") && ran.out.contains("0.31"), "{}", ran.out);
    let ran = scene.okra(&["get", "analysisruns", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&ran.out).unwrap();
    let phases: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|run| run["status"]["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["Failed", "Successful"]);

    // What was there before is no answer to this one.
    let ran = scene.okra(&line).await;
    assert!(ran.code == Some(1) && ran.err.contains("exists already"), "{}{}", ran.out, ran.err);
}

#[tokio::test]
async fn a_verdict_by_hand_ends_a_run_that_is_being_measured() {
    let (scene, _metrics) = scene("update-analysis").await;
    let create =
        ["create", "analysisrun", "slow", "--template-name", "rate", "--args", "goodness=1", "--args", "every=1h"];
    let ran = scene.okra(&[&create[..], &["--dry-run"]].concat()).await;
    assert!(ran.code == Some(0) && ran.out.contains("kind: AnalysisRun\n"), "{}{}", ran.out, ran.err);
    assert!(scene.api::<AnalysisRun>().get_opt("slow").await.unwrap().is_none(), "a dry run makes nothing");
    let ran = scene.okra(&create).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "analysisrun.argoproj.io/slow created\n"), "{}", ran.err);
    scene
        .until_object::<AnalysisRun>("slow", "is measured", |run| {
            run.status.as_ref().is_some_and(|status| status.metric_results.iter().any(|result| result.count == 1))
        })
        .await;
    let ran = scene.okra(&["update", "analysisrun", "--name", "slow", "--phase", "inconclusive"]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "analysisrun.argoproj.io/slow is Inconclusive\n"),
        "{}",
        ran.err
    );
    let run = scene.api::<AnalysisRun>().get("slow").await.unwrap();
    let AnalysisRunStatus { phase, message, completed_at, metric_results, .. } = run.status.unwrap();
    assert_eq!((phase, completed_at.is_some()), (Some(RunPhase::Inconclusive), true));
    assert!(message.starts_with("set by "), "{message}");
    assert_eq!(metric_results[0].count, 1, "what was measured stays");
    let ran = scene.okra(&["update", "analysisrun", "slow", "--phase", "successful"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("it has ended: Inconclusive"), "{}{}", ran.out, ran.err);
}

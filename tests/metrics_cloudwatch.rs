//! Rollouts judged by CloudWatch, end to end: okrad on a real API server asks moto, which holds what the test put there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use jiff::{SignedDuration, Timestamp};
use okra_api::{AnalysisRun, RunPhase, cell_status::RolloutOutcome};
use okra_testkit::{
    moto::shared_moto,
    scene::{Scene, V1, V2},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tempfile::TempDir;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "cell1";
const RUN: &str = "cell1-r2-1-analysis";
const STEPS: &str = "[{setWeight: 20}, {analysis: {templates: [{templateName: success-rate}], args: [{name: version, \
                     valueFrom: {fieldRef: {fieldPath: status.desiredVersion}}}]}}, {setWeight: 60}]";
const SHARES: [u32; 2] = [20, 60];

/// As it is written for Argo Rollouts.
const TEMPLATE: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: success-rate
spec:
  args:
  - name: version
  metrics:
  - name: success-rate
    interval: 1s
    count: 3
    successCondition: len(result[0].Values) > 0 && result[0].Values[0] >= 0.95
    provider:
      cloudWatch:
        interval: 30m
        metricDataQueries:
        - id: rate
          metricStat:
            metric:
              namespace: Shop
              metricName: SuccessRate
              dimensions:
              - {name: Version, value: "{{args.version}}"}
            period: 300
            stat: Average
"#;

const ELSEWHERE: &str = "111122223333";
const PROFILES: &str =
    "profiles: {west: {aws: {region: us-west-2, roleARN: 'arn:aws:iam::111122223333:role/metrics'}}}";

/// Puts a rate of a version into an account and a region of moto.
async fn put(account: &str, region: &str, version: &str, rate: f64) {
    let at = Timestamp::now().checked_sub(SignedDuration::from_mins(1)).unwrap().as_second();
    let datum = json!({
        "MetricName": "SuccessRate", "Value": rate, "Timestamp": at,
        "Dimensions": [{"Name": "Version", "Value": version}],
    });
    let scope = format!("Credential=test/20260101/{region}/monitoring/aws4_request");
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(shared_moto().await.unwrap().endpoint());
    let answer = request
        .header("Content-Type", "application/x-amz-json-1.0")
        .header("X-Amz-Target", "GraniteServiceVersion20100801.PutMetricData")
        .header("Authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
        .header("x-moto-account-id", account)
        .body(json!({"Namespace": "Shop", "MetricData": [datum]}).to_string())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// The account that the scene's okrad has by itself.
fn home(scene: &Scene) -> String {
    scene.world.listener.split(':').nth(4).unwrap().to_owned()
}

/// The region that it has by itself.
fn region(scene: &Scene) -> String {
    scene.world.listener.split(':').nth(3).unwrap().to_owned()
}

/// A Cell whose v1 serves, judged by this template.
async fn serving(name: &str, template: &str) -> (Scene, TempDir) {
    let mut scene = Scene::new(OKRAD, name).await;
    scene.more_args = vec!["--metric-egress-allow".to_owned(), "127.0.0.0/8".to_owned()];
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles.yaml");
    std::fs::write(&profiles, PROFILES).unwrap();
    scene.more_args.extend(["--metric-profiles".to_owned(), profiles.display().to_string()]);
    scene.settle = "1s";
    scene.start_okrad();
    scene.apply(template).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    (scene, folder)
}

fn is(run: &AnalysisRun, phase: RunPhase) -> bool {
    run.status.as_ref().is_some_and(|status| status.phase == Some(phase))
}

#[tokio::test]
async fn a_version_that_cloudwatch_calls_good_is_rolled_out() {
    let (mut scene, _folder) = serving("cloud-good", TEMPLATE).await;
    put(&home(&scene), &region(&scene), V2, 0.99).await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    scene.until_stable(CELL, V2).await;
    let run = scene.until_object::<AnalysisRun>(RUN, "is successful", |run| is(run, RunPhase::Successful)).await;
    let result = &run.status.unwrap().metric_results[0];
    assert_eq!((result.successful, result.measurements[0].value.as_str()), (3, "[[0.99]]"));
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn a_version_that_cloudwatch_calls_bad_is_taken_back() {
    let (mut scene, _folder) = serving("cloud-bad", TEMPLATE).await;
    put(&home(&scene), &region(&scene), V2, 0.67).await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    assert_eq!(cell.status.unwrap().blocked_versions, [V2]);
    scene.end(load, CELL, &SHARES).await;
}

/// A run of the template's metric, with these annotations.
async fn run(scene: &Scene, name: &str, annotations: Value) -> AnalysisRun {
    let template: Value = serde_saphyr::from_str(TEMPLATE).unwrap();
    let mut metric = template["spec"]["metrics"][0].clone();
    metric["consecutiveErrorLimit"] = json!(0);
    let run = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {
            "name": name, "annotations": annotations,
            "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "okra"},
        },
        "spec": {"metrics": [metric], "args": [{"name": "version", "value": V2}]},
    });
    scene.apply(&run.to_string()).await.unwrap();
    let ended =
        |run: &AnalysisRun| run.status.as_ref().and_then(|status| status.phase).is_some_and(RunPhase::is_completed);
    scene.until_object::<AnalysisRun>(name, "has ended", ended).await
}

#[tokio::test]
async fn a_profile_asks_another_account_in_another_region() {
    let template = TEMPLATE.replace(
        "  name: success-rate\nspec",
        "  name: success-rate\n  annotations: {okra.mumo.co/metric-profile: west}\nspec",
    );
    let (mut scene, _folder) = serving("cloud-west", &template).await;
    put(&home(&scene), &region(&scene), V2, 0.1).await;
    put(ELSEWHERE, &region(&scene), V2, 0.2).await;
    put(ELSEWHERE, "us-west-2", V2, 0.98).await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    scene.until_stable(CELL, V2).await;
    let made = scene.api::<AnalysisRun>().get(RUN).await.unwrap();
    assert_eq!(made.metadata.annotations.unwrap()["okra.mumo.co/metric-profile"], "west");
    assert_eq!(made.status.unwrap().metric_results[0].measurements[0].value, "[[0.98]]");

    let at_home = run(&scene, "at-home", json!({})).await;
    assert_eq!(at_home.status.unwrap().metric_results[0].measurements[0].value, "[[0.1]]");
    let own = run(&scene, "own", json!({"okra.mumo.co/metric-profile.success-rate": "west"})).await;
    assert!(is(&own, RunPhase::Successful), "{:?}", own.status);
    let unknown = run(&scene, "unknown", json!({"okra.mumo.co/metric-profile": "east"})).await.status.unwrap();
    assert_eq!(unknown.phase, Some(RunPhase::Error), "{unknown:?}");
    assert!(unknown.message.contains("no metric profile \"east\" is configured"), "{}", unknown.message);
    scene.end(load, CELL, &SHARES).await;
}

//! Rollouts judged by Jobs, end to end: okrad on a real API server makes them, and the test plays the controller of Jobs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use okra_api::{AnalysisRun, RunPhase, cell_status::RolloutOutcome};
use okra_testkit::{
    ApiServer,
    scene::{Scene, V1, V2, WITHIN},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "cell1";
const RUN: &str = "cell1-r2-1-analysis";
const STEPS: &str = "[{setWeight: 20}, {analysis: {templates: [{templateName: smoke}]}}, {setWeight: 60}]";
const SHARES: [u32; 2] = [20, 60];
const UID_LABEL: &str = "analysisrun.argoproj.io/uid";

/// As it is written for Argo Rollouts.
const TEMPLATE: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: smoke
spec:
  metrics:
  - name: smoke
    provider:
      job:
        metadata:
          labels:
            team: web
        spec:
          backoffLimit: 0
          template:
            spec:
              restartPolicy: Never
              containers:
              - name: smoke
                image: curlimages/curl:8.11.0
                args: [--fail, "http://web.example"]
"#;

/// A Cell whose v1 serves, judged by a Job.
async fn serving(name: &str) -> Scene {
    let mut scene = Scene::new(OKRAD, name).await;
    scene.settle = "1s";
    scene.start_okrad();
    scene.apply(TEMPLATE).await.unwrap();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    scene
}

async fn jobs(scene: &Scene) -> Vec<Job> {
    scene.api::<Job>().list(&ListParams::default()).await.unwrap().items
}

/// The Job that a run has in flight, once its status says so.
async fn job_in_flight(scene: &Scene, run: &str) -> (AnalysisRun, Job) {
    let in_flight = |run: &AnalysisRun| {
        let results = run.status.iter().flat_map(|status| &status.metric_results);
        results.flat_map(|result| &result.measurements).any(|taken| taken.metadata.contains_key("job-name"))
    };
    let run = scene.until_object::<AnalysisRun>(run, "has a Job in flight", in_flight).await;
    let measured = &run.status.as_ref().unwrap().metric_results[0].measurements[0];
    let job = scene.api::<Job>().get(&measured.metadata["job-name"]).await.unwrap();
    (run, job)
}

/// What the controller of Jobs writes when one ends. The API server wants what leads up to an end before the end.
async fn ends(jobs: &Api<Job>, job: &Job, kind: &str) {
    let start = job.metadata.creation_timestamp.clone().unwrap();
    let is_good = kind == "Complete";
    let before = if is_good { "SuccessCriteriaMet" } else { "FailureTarget" };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": start});
    let mut statuses = [
        json!({"startTime": start, "conditions": [condition(before)]}),
        json!({"conditions": [condition(before), condition(kind)]}),
    ];
    if is_good {
        statuses[1]["completionTime"] = json!(start);
        statuses[1]["succeeded"] = json!(1);
    }
    for status in statuses {
        let name = job.metadata.name.as_deref().unwrap();
        jobs.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    }
}

#[tokio::test]
async fn a_job_that_completes_lets_the_rollout_go_on() {
    let mut scene = serving("job-good").await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let (run, job) = job_in_flight(&scene, RUN).await;
    let uid = run.metadata.uid.clone().unwrap();
    assert_eq!(job.metadata.name.as_deref(), Some(format!("{uid}.smoke.1").as_str()));
    let owner = &job.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), &owner.uid, owner.controller),
        ("AnalysisRun", &uid, Some(true)),
        "it goes with the run"
    );
    let labels = job.metadata.labels.clone().unwrap();
    assert_eq!((labels["team"].as_str(), &labels[UID_LABEL]), ("web", &uid));
    ends(&scene.api(), &job, "Complete").await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(jobs(&scene).await.len(), 1, "one measurement, one Job");
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn a_job_that_fails_takes_the_traffic_back() {
    let mut scene = serving("job-bad").await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    let (_, job) = job_in_flight(&scene, RUN).await;
    ends(&scene.api(), &job, "Failed").await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Failed).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-1-v2", 0)]).await;
    assert_eq!(cell.status.unwrap().blocked_versions, [V2]);
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn a_killed_okrad_makes_no_second_job() {
    let mut scene = serving("job-killed").await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    // Killed as soon as the Job is there, written down or not.
    let made = async {
        while jobs(&scene).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, made).await.expect("no Job is made");
    scene.kill_okrad();
    scene.start_okrad();
    let (_, job) = job_in_flight(&scene, RUN).await;
    scene.kill_okrad();
    ends(&scene.api(), &job, "Complete").await;
    scene.start_okrad();
    scene.until_stable(CELL, V2).await;
    assert_eq!(jobs(&scene).await.len(), 1);
    let run = scene.api::<AnalysisRun>().get(RUN).await.unwrap().status.unwrap();
    assert_eq!((run.phase, run.metric_results[0].count), (Some(RunPhase::Successful), 1));
    scene.end(load, CELL, &SHARES).await;
}

/// A run of a Job by itself.
async fn run(scene: &Scene, name: &str, spec: Value) {
    let template: Value = serde_saphyr::from_str(TEMPLATE).unwrap();
    let mut metric = template["spec"]["metrics"][0].clone();
    metric.as_object_mut().unwrap().extend(spec["metric"].as_object().cloned().unwrap_or_default());
    let mut own = json!({"metrics": [metric]});
    own.as_object_mut().unwrap().extend(spec["spec"].as_object().cloned().unwrap_or_default());
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {
            "name": name, "annotations": spec["annotations"],
            "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "okra"},
        },
        "spec": own,
    });
    scene.apply(&object.to_string()).await.unwrap();
}

fn is(run: &AnalysisRun, phase: RunPhase) -> bool {
    run.status.as_ref().is_some_and(|status| status.phase == Some(phase))
}

/// The end of a Job wakes its run long before the time at which it would be looked at; a run that is ended takes its Job
/// along; of Jobs whose measurements are dropped none stays; a Job that is taken away is an Error.
#[tokio::test]
async fn jobs_are_watched_and_cleaned_up() {
    let mut scene = Scene::new(OKRAD, "job-alone").await;
    scene.start_okrad();

    run(&scene, "slow", json!({})).await;
    let (_, job) = job_in_flight(&scene, "slow").await;
    // After 18 s it looks every 6 s.
    let looks_later = |run: &AnalysisRun| {
        let measured = &run.status.as_ref().unwrap().metric_results[0].measurements[0];
        measured.resume_at.is_some_and(|at| at > Timestamp::now() + SignedDuration::from_secs(5))
    };
    let seen = scene.until_object::<AnalysisRun>("slow", "is looked at later", looks_later).await;
    let planned = seen.status.unwrap().metric_results[0].measurements[0].resume_at.unwrap();
    ends(&scene.api(), &job, "Complete").await;
    let done = scene.until_object::<AnalysisRun>("slow", "is over", |run| is(run, RunPhase::Successful)).await;
    let finished = done.status.unwrap().metric_results[0].measurements[0].finished_at.unwrap();
    assert!(finished < planned, "it ended at {finished}, and would have been looked at at {planned}");

    run(&scene, "ended", json!({})).await;
    let (_, job) = job_in_flight(&scene, "ended").await;
    scene.merge::<AnalysisRun>("ended", &json!({"spec": {"terminate": true}})).await;
    let over =
        |run: &AnalysisRun| run.status.as_ref().and_then(|status| status.phase).is_some_and(RunPhase::is_completed);
    let ended = scene.until_object::<AnalysisRun>("ended", "has ended", over).await;
    assert!(is(&ended, RunPhase::Inconclusive), "{:?}", ended.status);
    assert!(scene.api::<Job>().get_opt(job.metadata.name.as_deref().unwrap()).await.unwrap().is_none());

    run(&scene, "gone", json!({"metric": {"consecutiveErrorLimit": 0}})).await;
    let (_, job) = job_in_flight(&scene, "gone").await;
    scene.api::<Job>().delete(job.metadata.name.as_deref().unwrap(), &DeleteParams::background()).await.unwrap();
    let gone = scene.until_object::<AnalysisRun>("gone", "has ended", over).await.status.unwrap();
    assert_eq!(gone.phase, Some(RunPhase::Error), "{gone:?}");
    assert!(gone.message.contains("not found"), "{}", gone.message);

    let kept = json!({"measurementRetention": [{"metricName": "smoke", "limit": 1}]});
    run(&scene, "many", json!({"metric": {"interval": "1s", "count": 3}, "spec": kept})).await;
    let many = scene.api::<AnalysisRun>().get("many").await.unwrap().metadata.uid.unwrap();
    let own = ListParams::default().labels(&format!("{UID_LABEL}={many}"));
    for number in 1..=3 {
        let name = format!("{many}.smoke.{number}");
        scene.until_object::<Job>(&name, "is there", |_| true).await;
        let job = scene.api::<Job>().get(&name).await.unwrap();
        ends(&scene.api(), &job, "Complete").await;
    }
    scene.until_object::<AnalysisRun>("many", "is over", |run| is(run, RunPhase::Successful)).await;
    let left = async {
        while scene.api::<Job>().list(&own).await.unwrap().items.len() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WITHIN, left).await.expect("Jobs of dropped measurements stay");
    let left: Vec<Option<String>> =
        scene.api::<Job>().list(&own).await.unwrap().items.into_iter().map(|job| job.metadata.name).collect();
    assert_eq!(left, [Some(format!("{many}.smoke.3"))]);
    scene.assert_okrad_runs();
}

/// A profile runs Jobs in another cluster, which is another API server here.
#[tokio::test]
async fn a_profile_runs_jobs_in_another_cluster() {
    let mut scene = Scene::new(OKRAD, "job-away").await;
    let away = ApiServer::start().await;
    let namespace = away.namespace("checks").await;
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles.yaml");
    let place = json!({"kubeconfig": away.kubeconfig("okrad"), "namespace": namespace});
    std::fs::write(&profiles, json!({"profiles": {"west": {"jobs": place}}}).to_string()).unwrap();
    scene.more_args = vec!["--metric-profiles".to_owned(), profiles.display().to_string()];
    scene.start_okrad();
    run(&scene, "away", json!({"annotations": {"okra.mumo.co/metric-profile": "west"}})).await;
    let begun = |run: &AnalysisRun| {
        let results = run.status.iter().flat_map(|status| &status.metric_results);
        results.flat_map(|result| &result.measurements).any(|taken| taken.metadata.contains_key("job-name"))
    };
    let run = scene.until_object::<AnalysisRun>("away", "has a Job in flight", begun).await;
    let metadata = run.status.unwrap().metric_results[0].measurements[0].metadata.clone();
    assert_eq!(metadata["job-namespace"], namespace);
    assert!(jobs(&scene).await.is_empty(), "none is made at home");
    let there: Api<Job> = Api::namespaced(away.client("test"), &namespace);
    let job = there.get(&metadata["job-name"]).await.unwrap();
    assert_eq!(job.metadata.owner_references, None, "the owner is in another cluster");
    ends(&there, &job, "Failed").await;
    scene.until_object::<AnalysisRun>("away", "has failed", |run| is(run, RunPhase::Failed)).await;
}

/// The roles that the documentation shows are enough, and the one for metrics can be left out until a metric needs it.
#[tokio::test]
async fn okrad_needs_the_role_for_metrics_only_for_metrics() {
    const USER: &str = "limited-1";
    let mut scene = Scene::new(OKRAD, "job-rights").await;
    scene.grant_okrad(USER).await;
    scene.start_okrad_as(USER);
    run(&scene, "denied", json!({"metric": {"consecutiveErrorLimit": 0}})).await;
    let over =
        |run: &AnalysisRun| run.status.as_ref().and_then(|status| status.phase).is_some_and(RunPhase::is_completed);
    let denied = scene.until_object::<AnalysisRun>("denied", "has ended", over).await.status.unwrap();
    assert_eq!(denied.phase, Some(RunPhase::Error), "{denied:?}");
    assert!(denied.message.contains("cannot create resource \"jobs\""), "{}", denied.message);
    assert!(jobs(&scene).await.is_empty());

    scene.grant(USER, "okrad-metrics").await;
    run(&scene, "granted", json!({})).await;
    let (_, job) = job_in_flight(&scene, "granted").await;
    ends(&scene.api(), &job, "Complete").await;
    scene.until_object::<AnalysisRun>("granted", "is successful", |run| is(run, RunPhase::Successful)).await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "api"}, "stringData": {"token": "t0ken"}});
    scene.apply(&secret.to_string()).await.unwrap();
    let args = json!([{"name": "token", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}}]);
    run(&scene, "secret", json!({"spec": {"args": args}})).await;
    job_in_flight(&scene, "secret").await;
    scene.merge::<AnalysisRun>("secret", &json!({"spec": {"terminate": true}})).await;
    let ended = scene.until_object::<AnalysisRun>("secret", "has ended", over).await;
    assert!(is(&ended, RunPhase::Inconclusive), "{:?}", ended.status);
    assert_eq!(jobs(&scene).await.len(), 1, "the Job of the run that was ended is gone");
}

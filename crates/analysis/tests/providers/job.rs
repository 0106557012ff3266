//! `job`, on a store in memory.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use okra_analysis::{JobPlace, JobPlaces};
use okra_provider::metric::{
    Judgement, MetricProvider as _, MetricRequest, OpenMeasurement, Outcome, Reading, Running,
};
use okra_provider::testing::{FixedClock, MemoryBackend, SeededEntropy};
use okra_provider::{Key, Kind, Namespaces, Store};
use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};

use crate::rig::*;

const UID: &str = "0b7c0e5e-5f0e-4a6e-9d39-6a1c7b8e0d11";

fn store() -> Store {
    let backend = MemoryBackend::new(Arc::new(FixedClock::new(now())), Arc::new(SeededEntropy::new(1)));
    Store::new(Arc::new(backend), Namespaces::All)
}

fn bench(store: &Store) -> Bench {
    let place = JobPlace { store: store.clone(), namespace: None, remote: false };
    Bench { jobs: JobPlaces { default: Some(place), ..JobPlaces::default() }, ..Bench::default() }
}

fn spec() -> Json {
    let container = json!({"name": "test", "image": "test:1", "command": ["sh", "-c", "exit 0"]});
    json!({"job": {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}, "name": "ignored"},
        "spec": {"backoffLimit": 1, "template": {
            "metadata": {"labels": {"e": "f"}},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }},
    }})
}

fn named(name: &str) -> MetricRequest {
    MetricRequest { name: name.to_owned(), ..request(spec()) }
}

fn running(reading: &Reading) -> Running {
    match reading {
        Reading::Running(running) => running.clone(),
        other => panic!("not running: {other:?}"),
    }
}

fn open(running: &Running) -> OpenMeasurement {
    OpenMeasurement { started_at: Some(now()), metadata: running.metadata.clone() }
}

async fn job(store: &Store, name: &str) -> Job {
    store.get_live(&Key::new("shop", name)).await.unwrap()
}

async fn set_status(store: &Store, name: &str, status: Json) {
    let mut job = job(store, name).await;
    job.status = serde_json::from_value(status).unwrap();
    store.update_status(&job).await.unwrap();
}

#[tokio::test]
async fn a_job_is_made_with_its_labels_and_its_owner() {
    let store = store();
    let reading = bench(&store).providers().run(&named("check"), now()).await.unwrap();
    let name = format!("{UID}.check.1");
    let metadata =
        [("job-name", name.as_str()), ("job-namespace", "shop")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(running(&reading), Running { resume_at: now(), metadata: metadata.into() });
    let made = serde_json::to_value(job(&store, &name).await).unwrap();
    assert_eq!(made["metadata"]["labels"], json!({"a": "b", "analysisrun.argoproj.io/uid": UID}));
    assert_eq!(
        made["metadata"]["annotations"],
        json!({
            "c": "d",
            "analysisrun.argoproj.io/name": "run",
            "analysisrun.argoproj.io/namespace": "shop",
            "analysisrun.argoproj.io/metric-name": "check",
        })
    );
    let owner = json!([{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "name": "run", "uid": UID,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    assert_eq!(made["metadata"]["ownerReferences"], owner);
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], json!({"e": "f", "analysisrun.argoproj.io/uid": UID}));
    assert_eq!(made["spec"]["backoffLimit"], json!(1));
}

#[tokio::test]
async fn names_are_cut_to_what_a_label_holds() {
    let store = store();
    let providers = bench(&store).providers();
    let long = "a-metric-with-a-name-that-is-far-too-long";
    for (taken, cut) in [(0, "a-metric-with-a-name-tha"), (99, "a-metric-with-a-name-t")] {
        let request = MetricRequest { taken, ..named(long) };
        let name = running(&providers.run(&request, now()).await.unwrap()).metadata["job-name"].clone();
        assert_eq!(name, format!("{UID}.{cut}.{}", taken + 1));
        assert_eq!(name.len(), 63);
    }
}

#[tokio::test]
async fn an_own_job_is_adopted_and_a_foreign_one_is_not() {
    let store = store();
    let providers = bench(&store).providers();
    let first = providers.run(&named("check"), now()).await.unwrap();
    let again = providers.run(&named("check"), now()).await.unwrap();
    assert_eq!(running(&first), running(&again));

    let foreign = named("foreign");
    let name = format!("{UID}.foreign.1");
    let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "shop"}});
    store.backend().create(&Kind::of::<Job>(), &object).await.unwrap();
    let error = providers.run(&foreign, now()).await.unwrap_err();
    assert_eq!(error.message, format!("jobs.batch \"{name}\" already exists"));

    // In another cluster the name alone counts.
    let place = JobPlace { store: store.clone(), namespace: None, remote: true };
    let remote = Bench { jobs: JobPlaces { default: Some(place), ..JobPlaces::default() }, ..Bench::default() };
    assert!(remote.providers().run(&foreign, now()).await.is_ok());
}

#[tokio::test]
async fn profiles_lead_to_other_clusters() {
    let (home, away) = (store(), store());
    let mut bench = bench(&home);
    let place = JobPlace { store: away.clone(), namespace: Some("jobs".to_owned()), remote: true };
    bench.jobs.profiles.insert("west".to_owned(), place);
    let request = MetricRequest { profile: Some("west".to_owned()), ..named("check") };
    let reading = bench.providers().run(&request, now()).await.unwrap();
    assert_eq!(running(&reading).metadata["job-namespace"], "jobs");
    let jobs = away.list_live::<Job>(Some("jobs")).await.unwrap();
    assert_eq!((jobs.len(), jobs[0].metadata.owner_references.clone()), (1, None));
    assert!(home.list_live::<Job>(None).await.unwrap().is_empty());

    let nowhere = Bench::default().providers().run(&named("check"), now()).await.unwrap_err();
    assert_eq!(nowhere.message, "no cluster is configured that Jobs can run in");
    let unknown = MetricRequest { profile: Some("east".to_owned()), ..named("check") };
    let unknown = bench.providers().run(&unknown, now()).await.unwrap_err();
    assert!(unknown.message.starts_with("no metric profile \"east\" is configured"), "{unknown}");
    assert!(home.list_live::<Job>(None).await.unwrap().is_empty(), "another cluster does not stand in");
}

#[tokio::test]
async fn the_condition_of_the_job_is_the_verdict() {
    let store = store();
    let providers = bench(&store).providers();
    let begun = running(&providers.run(&named("check"), now()).await.unwrap());
    let name = begun.metadata["job-name"].clone();
    let later = "2026-11-20T12:00:50.5Z".parse().unwrap();
    let reading = providers.resume(&named("check"), &open(&begun), later).await.unwrap();
    // sqrt(2 * 50) = 10 s
    assert_eq!(running(&reading).resume_at, "2026-11-20T12:01:00.5Z".parse().unwrap());

    for (conditions, expected) in [
        (json!(["Complete"]), Outcome::Successful),
        (json!(["Failed"]), Outcome::Failed),
        (json!(["SuccessCriteriaMet", "Complete", "Suspended"]), Outcome::Successful),
        (json!(["Complete", "Failed"]), Outcome::Failed),
    ] {
        let conditions: Vec<Json> =
            conditions.as_array().unwrap().iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        set_status(&store, &name, json!({"conditions": conditions})).await;
        match providers.resume(&named("check"), &open(&begun), later).await.unwrap() {
            Reading::Judged(Judgement { outcome, metadata, .. }) => {
                assert_eq!((outcome, &metadata), (expected, &begun.metadata));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_pod_that_never_starts_is_inconclusive() {
    let store = store();
    let providers = bench(&store).providers();
    let begun = running(&providers.run(&named("check"), now()).await.unwrap());
    let mut made = job(&store, &begun.metadata["job-name"]).await;
    made.spec.as_mut().unwrap().selector =
        serde_json::from_value(json!({"matchLabels": {"controller-uid": "1"}})).unwrap();
    store.update(&made).await.unwrap();
    let pod = |name: &str, uid: &str, reason: &str| {
        let waiting = json!({"reason": reason, "message": "no such image"});
        let status = json!({"name": "test", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": waiting}});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"controller-uid": uid}},
            "status": {"containerStatuses": [status]},
        })
    };
    let add = async |object: Json| {
        let pod: Pod = serde_json::from_value(object).unwrap();
        let mut made = store.create(&pod).await.unwrap();
        made.status = pod.status;
        store.update_status(&made).await.unwrap();
    };
    add(pod("other", "2", "ErrImagePull")).await;
    add(pod("slow", "1", "ContainerCreating")).await;
    assert!(matches!(providers.resume(&named("check"), &open(&begun), now()).await.unwrap(), Reading::Running(_)));
    add(pod("stuck", "1", "ImagePullBackOff")).await;
    match providers.resume(&named("check"), &open(&begun), now()).await.unwrap() {
        Reading::Judged(judgement) => {
            assert_eq!(judgement.outcome, Outcome::Inconclusive);
            assert_eq!(
                judgement.message,
                "Pod stuck, container test has terminal error (ImagePullBackOff): no such image\n"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_that_is_gone_is_an_error() {
    let providers = bench(&store()).providers();
    let mut measurement = OpenMeasurement::default();
    let message = providers.resume(&named("check"), &measurement, now()).await.unwrap_err().message;
    assert_eq!(message, "job metadata reference missing");
    measurement.metadata.insert("job-name".to_owned(), "x".to_owned());
    let message = providers.resume(&named("check"), &measurement, now()).await.unwrap_err().message;
    assert_eq!(message, "job.batch \"x\" not found");
}

#[tokio::test]
async fn a_terminated_job_is_deleted_and_inconclusive() {
    let store = store();
    let providers = bench(&store).providers();
    let begun = running(&providers.run(&named("check"), now()).await.unwrap());
    for _ in 0..2 {
        match providers.terminate(&named("check"), &open(&begun), now()).await.unwrap() {
            Reading::Judged(judgement) => assert_eq!(judgement.outcome, Outcome::Inconclusive),
            other => panic!("{other:?}"),
        }
        assert!(store.list_live::<Job>(None).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_oldest_jobs_of_the_run_are_collected() {
    let store = store();
    let providers = bench(&store).providers();
    for taken in 0..5 {
        providers.run(&MetricRequest { taken, ..named("check") }, now()).await.unwrap();
    }
    let mut other = named("check");
    "other".clone_into(&mut other.run.uid);
    providers.run(&other, now()).await.unwrap();
    providers.garbage_collect(&named("check"), 2).await.unwrap();
    let jobs = store.list_live::<Job>(Some("shop")).await.unwrap();
    assert_eq!(jobs.len(), 3, "two of the run, one of another");
    providers.garbage_collect(&request(json!({"web": {"url": "x"}})), 0).await.unwrap();
    assert_eq!(store.list_live::<Job>(Some("shop")).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_spec_that_is_none_is_refused() {
    for spec in [json!({"job": {}}), json!({"job": {"spec": "x"}}), json!({"job": {"spec": {"parallelism": "x"}}})] {
        let error = bench(&store()).providers().run(&request(spec), now()).await.unwrap_err();
        assert!(error.message.starts_with("failed to parse provider.job.spec: "), "{error}");
    }
}

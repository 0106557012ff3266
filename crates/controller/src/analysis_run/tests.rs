use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use okra_core::analysis::INSTANCE_ID_LABEL;
use okra_provider::{
    Backend as _, BackendError, Clock as _, MetricError, MetricRequest, Namespaces, Reading, SecretText,
    metric::{
        JOB_NAME, JOB_NAMESPACE, JOB_RUN_NAME, JOB_RUN_NAMESPACE, Judgement, OpenMeasurement, Outcome as Judged,
        Running, Sample,
    },
    testing::{FixedClock, MemoryBackend, RecordingEvents, SeededEntropy},
};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::reconciler::Changed;

/// Answers each metric as its name says, and remembers who asked for what.
#[derive(Default)]
struct Server {
    asked: Mutex<Vec<String>>,
    value: Mutex<f64>,
    let_go: Notify,
}

#[async_trait]
impl MetricProvider for Server {
    fn type_name(&self, _: &Value) -> &'static str {
        "WebMetric"
    }

    fn metadata(&self, _: &MetricRequest) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    async fn run(&self, request: &MetricRequest, now: Timestamp) -> Result<Reading, MetricError> {
        let asked = request.provider["web"]["url"].as_str().unwrap_or("null");
        self.asked.lock().push(format!("{} {asked}", request.name));
        match request.name.as_str() {
            "hangs" => {
                self.let_go.notified().await;
                Err(MetricError::new("gave up"))
            }
            "job" => {
                let metadata = [(JOB_NAME, "job-1"), (JOB_NAMESPACE, "prod")];
                let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
                Ok(Reading::Running(Running { resume_at: now + SignedDuration::from_hours(1), metadata }))
            }
            "panics" => panic!("a fault of the provider"),
            "tells" => Err(MetricError::new(format!("denied for {}", request.secrets[0].expose()))),
            _ => {
                let value = *self.value.lock();
                Ok(Reading::Sample(Sample::new(value.into(), value.to_string())))
            }
        }
    }

    async fn resume(&self, request: &MetricRequest, _: &OpenMeasurement, _: Timestamp) -> Result<Reading, MetricError> {
        self.asked.lock().push(format!("{} again", request.name));
        Ok(Reading::Judged(Judgement { outcome: Judged::Successful, ..Judgement::default() }))
    }

    async fn terminate(&self, _: &MetricRequest, _: &OpenMeasurement, _: Timestamp) -> Result<Reading, MetricError> {
        Err(MetricError::new("nothing to end"))
    }

    async fn garbage_collect(&self, _: &MetricRequest, _: usize) -> Result<(), MetricError> {
        Ok(())
    }
}

#[async_trait]
impl Secrets for Server {
    async fn secret(&self, _: &str, name: &str) -> Result<BTreeMap<String, SecretText>, String> {
        match name {
            "api" => Ok(BTreeMap::from([("token".to_owned(), SecretText::new("hunter22"))])),
            _ => Err(format!("secrets \"{name}\" not found")),
        }
    }
}

struct Rig {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    server: Arc<Server>,
    events: Arc<RecordingEvents>,
    store: Store,
    controller: AnalysisRunController,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(1))));
        Self::on(backend, clock)
    }

    /// As after a restart: what is in memory is gone.
    fn again(self) -> Self {
        Self::on(self.backend, self.clock)
    }

    fn on(backend: Arc<MemoryBackend>, clock: Arc<FixedClock>) -> Self {
        let (server, events) = (Arc::new(Server::default()), Arc::new(RecordingEvents::default()));
        let store = Store::new(backend.clone(), Namespaces::All);
        let controller = AnalysisRunController::new(AnalysisRunContext {
            store: store.clone(),
            clock: clock.clone(),
            provider: server.clone(),
            secrets: server.clone(),
            events: events.clone(),
            instance_id: "okra".to_owned(),
        });
        Self { backend, clock, server, events, store, controller }
    }

    async fn create(&self, metrics: Value, more: Value) {
        let mut run = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
            "metadata": {"namespace": "prod", "name": "run", "labels": {INSTANCE_ID_LABEL: "okra"}},
            "spec": {"metrics": metrics},
        });
        okra_provider::object::merge(&mut run, &more);
        self.backend.create(&Kind::of::<AnalysisRun>(), &run).await.unwrap();
    }

    async fn get(&self) -> Value {
        self.backend.get(&Kind::of::<AnalysisRun>(), &key()).await.unwrap()
    }

    /// Reconciles once the cache knows what is there.
    async fn reconcile(&self) -> Next {
        let version = self.get().await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let seen = async {
            loop {
                match self.controller.runs.get(&key()) {
                    Lookup::Found(run) if run.metadata.resource_version.as_ref() == Some(&version) => return,
                    Lookup::Malformed(_) => return,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the cache does not catch up");
        self.controller.reconcile(&key()).await.unwrap()
    }

    /// Reconciles each time that the run is woken, until its status has the phase.
    async fn until(&self, phase: &str) -> Value {
        let mut changes = self.store.changes();
        let until = async {
            loop {
                self.reconcile().await;
                let run = self.get().await;
                if run["status"]["phase"] == phase {
                    return run["status"].clone();
                }
                let Some(Changed { .. }) = changes.next().await else { panic!("the store is closed") };
            }
        };
        tokio::time::timeout(Duration::from_secs(10), until).await.expect("the phase does not come")
    }

    fn asked(&self) -> usize {
        self.server.asked.lock().len()
    }
}

fn key() -> Key {
    Key::new("prod", "run")
}

fn metric(name: &str, more: Value) -> Value {
    let mut metric = json!({"name": name, "provider": {"web": {"url": "http://metrics/value"}}});
    okra_provider::object::merge(&mut metric, &more);
    metric
}

#[tokio::test]
async fn a_run_is_measured_and_judged() {
    let rig = Rig::new();
    *rig.server.value.lock() = 0.99;
    let rate = metric("rate", json!({"interval": "30s", "count": 2, "successCondition": "result > 0.9"}));
    rig.create(json!([rate]), json!({})).await;
    let status = rig.until("Running").await;
    assert_eq!(status["metricResults"][0]["successful"], 1);
    assert_eq!(status["metricResults"][0]["measurements"][0]["value"], "0.99");
    let due = rig.reconcile().await.wake_at.unwrap();
    assert_eq!(rig.asked(), 1, "nothing is measured before its time");
    rig.clock.set(due);
    let status = rig.until("Successful").await;
    assert_eq!((&status["metricResults"][0]["count"], rig.asked()), (&json!(2), 2));
    assert!(status["completedAt"].is_string());
    let told: Vec<String> = rig.events.take().into_iter().map(|note| note.reason).collect();
    assert!(told.contains(&"AnalysisRunSuccessful".to_owned()), "{told:?}");
    let before = rig.get().await;
    assert_eq!((rig.reconcile().await, rig.get().await), (Next::IDLE, before), "what is over is at rest");
}

#[tokio::test]
async fn a_metric_that_fails_does_not_wait_for_one_that_hangs() {
    let rig = Rig::new();
    let rate = metric("rate", json!({"successCondition": "result > 0.9"}));
    rig.create(json!([metric("hangs", json!({})), rate]), json!({})).await;
    let status = rig.until("Failed").await;
    assert!(status["message"].as_str().unwrap().starts_with("Metric \"rate\" assessed Failed"), "{status}");
    rig.server.let_go.notify_waiters();
    let before = rig.get().await;
    rig.reconcile().await;
    assert_eq!(rig.get().await, before, "what comes too late changes nothing");
}

#[tokio::test]
async fn a_restart_measures_again_only_what_was_under_way() {
    let rig = Rig::new();
    *rig.server.value.lock() = 1.0;
    let rate = metric("rate", json!({"interval": "30s", "count": 2}));
    rig.create(json!([metric("hangs", json!({})), rate]), json!({})).await;
    rig.until("Running").await;
    assert_eq!(rig.asked(), 2);
    let rig = rig.again();
    rig.reconcile().await;
    let asked = async {
        while rig.asked() < 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("it is not measured again");
    assert_eq!(*rig.server.asked.lock(), ["hangs http://metrics/value"]);
    let status = rig.get().await["status"].clone();
    assert_eq!(status["metricResults"][0]["count"], 1, "what was written down is not measured again");
}

#[tokio::test]
async fn a_job_that_is_over_is_looked_at_at_once() {
    let rig = Rig::new();
    let job = json!({"name": "job", "provider": {"job": {"spec": {"template": {"spec": {}}}}}});
    rig.create(json!([job]), json!({})).await;
    rig.until("Running").await;
    let annotations = json!({JOB_RUN_NAME: "run", JOB_RUN_NAMESPACE: "prod"});
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"namespace": "prod", "name": "job-1", "annotations": annotations},
    });
    let kind = Kind::of::<Job>();
    rig.backend.create(&kind, &job).await.unwrap();
    let due = rig.reconcile().await.wake_at.unwrap();
    assert!(due > rig.clock.now(), "a Job that runs is looked at when its time comes");
    assert_eq!(*rig.server.asked.lock(), ["job null"]);

    let mut changes = rig.store.changes();
    job["metadata"] = rig.backend.get(&kind, &Key::new("prod", "job-1")).await.unwrap()["metadata"].clone();
    job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    rig.backend.update_status(&kind, &job).await.unwrap();
    let woken = async {
        while let Some(changed) = changes.next().await {
            if changed.kind == kind {
                return rig.controller.wakes(&changed);
            }
        }
        Vec::new()
    };
    let woken = tokio::time::timeout(Duration::from_secs(10), woken).await.expect("the watch is silent");
    assert_eq!(woken, [key()], "the Job names its run");
    rig.until("Successful").await;
    assert_eq!(*rig.server.asked.lock(), ["job null", "job again"], "long before its time");
}

#[tokio::test]
async fn runs_of_another_controller_are_left_alone() {
    let rig = Rig::new();
    rig.create(json!([metric("rate", json!({}))]), json!({"metadata": {"labels": {INSTANCE_ID_LABEL: "argo"}}})).await;
    let before = rig.get().await;
    assert_eq!(rig.reconcile().await, Next::IDLE);
    assert_eq!((rig.get().await, rig.asked()), (before, 0));
}

#[tokio::test]
async fn a_provider_that_panics_is_an_error_and_no_pass() {
    let rig = Rig::new();
    rig.create(json!([metric("panics", json!({"consecutiveErrorLimit": 0}))]), json!({})).await;
    let status = rig.until("Error").await;
    assert_eq!(status["metricResults"][0]["error"], 1);
    assert!(status["metricResults"][0]["measurements"][0]["message"].as_str().unwrap().contains("broke off"));
}

#[tokio::test]
async fn secrets_go_into_the_request_and_into_nothing_else() {
    let rig = Rig::new();
    let from =
        |name: &str, key: &str| json!({"valueFrom": {"secretKeyRef": {"name": name, "key": key}}, "name": "token"});
    let tells = metric(
        "tells",
        json!({"consecutiveErrorLimit": 0, "provider": {"web": {"url": "http://metrics/{{args.token}}"}}}),
    );
    rig.create(json!([tells]), json!({"spec": {"args": [from("api", "token")]}})).await;
    rig.until("Error").await;
    assert_eq!(*rig.server.asked.lock(), ["tells http://metrics/hunter22"]);
    assert!(!rig.get().await.to_string().contains("hunter22"));
    assert!(rig.events.take().iter().all(|note| !note.message.contains("hunter22")));

    for (name, key, message) in
        [("gone", "token", "secrets \"gone\" not found"), ("api", "user", "key 'user' does not exist in secret 'api'")]
    {
        let rig = Rig::new();
        rig.create(json!([metric("rate", json!({}))]), json!({"spec": {"args": [from(name, key)]}})).await;
        let status = rig.until("Error").await;
        assert_eq!(status["message"], format!("Unable to resolve metric arguments: {message}"));
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_an_error() {
    let rig = Rig::new();
    rig.create(json!([metric("rate", json!({"interval": 7}))]), json!({})).await;
    let status = rig.until("Error").await;
    assert!(status["message"].as_str().unwrap().starts_with("Analysis spec invalid: "), "{status}");
    let before = rig.get().await;
    assert_eq!(rig.reconcile().await, Next::IDLE);
    assert_eq!(rig.get().await, before, "it is said once");
}

#[tokio::test]
async fn a_run_is_deleted_when_its_time_is_over() {
    let rig = Rig::new();
    let more = json!({"spec": {"ttlStrategy": {"secondsAfterCompletion": 60}}});
    rig.create(json!([metric("rate", json!({}))]), more).await;
    rig.until("Successful").await;
    let end = rig.reconcile().await.wake_at.expect("it is looked at again when its time is over");
    assert!(end > rig.clock.now() + SignedDuration::from_secs(60));
    rig.clock.set(end);
    rig.reconcile().await;
    let gone = rig.backend.get(&Kind::of::<AnalysisRun>(), &key()).await;
    assert!(matches!(gone, Err(BackendError::NotFound { .. })));
}

#[tokio::test]
async fn a_run_that_is_told_to_end_measures_no_more() {
    let rig = Rig::new();
    *rig.server.value.lock() = 1.0;
    rig.create(json!([metric("rate", json!({"interval": "30s"}))]), json!({})).await;
    rig.until("Running").await;
    let version = rig.get().await["metadata"]["resourceVersion"].clone();
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"terminate": true}});
    rig.store.merge_patch::<AnalysisRun>(&key(), &patch).await.unwrap();
    let status = rig.until("Successful").await;
    assert_eq!((&status["message"], rig.asked()), (&json!("Run Terminated"), 1));
}

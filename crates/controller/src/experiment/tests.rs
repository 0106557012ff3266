//! The Experiment section of the specification, line by line, on the in-memory store: the test plays the controllers of
//! ReplicaSets and AnalysisRuns.

use std::time::Duration;

use jiff::SignedDuration;
use okra_api::{
    RunPhase,
    analysis::{ExperimentStatus, TemplatePhase},
};
use okra_core::analysis::INSTANCE_ID_LABEL;
use okra_provider::{
    Backend as _, BackendError, Clock as _, Namespaces, Stored,
    testing::{CallVerb, Fault, FixedClock, MemoryBackend, RecordingEvents, SeededEntropy},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::*;

const HASH: &str = "rollouts-pod-template-hash";

struct Rig {
    backend: Arc<MemoryBackend>,
    clock: Arc<FixedClock>,
    events: Arc<RecordingEvents>,
    store: Store,
    controller: ExperimentController,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let backend = Arc::new(MemoryBackend::new(clock.clone(), Arc::new(SeededEntropy::new(3))));
        Self::on(backend, clock)
    }

    /// As after a restart: what is in memory is gone.
    fn again(self) -> Self {
        self.store.shutdown();
        Self::on(self.backend, self.clock)
    }

    fn on(backend: Arc<MemoryBackend>, clock: Arc<FixedClock>) -> Self {
        let events = Arc::new(RecordingEvents::default());
        let store = Store::new(backend.clone(), Namespaces::All);
        let controller = ExperimentController::new(ExperimentContext {
            store: store.clone(),
            clock: clock.clone(),
            events: events.clone(),
            instance_id: "okra".to_owned(),
        });
        Self { backend, clock, events, store, controller }
    }

    /// An experiment of okra's with one template, an AnalysisTemplate `t`, and the fields given.
    async fn begin(fields: Value) -> Self {
        let rig = Self::new();
        rig.template("t").await;
        rig.experiment(fields).await;
        rig
    }

    async fn experiment(&self, fields: Value) {
        let mut experiment = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
            "metadata": {"namespace": "prod", "name": "exp", "labels": {INSTANCE_ID_LABEL: "okra"}},
            "spec": {"templates": [template("a")]},
        });
        okra_provider::object::merge(&mut experiment, &fields);
        self.backend.create(&Kind::of::<Experiment>(), &experiment).await.unwrap();
    }

    async fn template(&self, name: &str) {
        let metric = json!({"name": "m", "interval": "10s", "provider": {"web": {"url": "http://m/{{args.hash}}"}}});
        let object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
            "metadata": {"namespace": "prod", "name": name},
            "spec": {"metrics": [metric], "args": [{"name": "hash", "value": ""}]},
        });
        self.backend.create(&Kind::of::<AnalysisTemplate>(), &object).await.unwrap();
    }

    async fn get<K: Stored>(&self, name: &str) -> Option<Value> {
        self.backend.get(&Kind::of::<K>(), &Key::new("prod", name)).await.ok()
    }

    async fn patch<K: Stored>(&self, name: &str, patch: Value) {
        self.backend.merge_patch(&Kind::of::<K>(), &Key::new("prod", name), &patch).await.unwrap();
    }

    async fn status(&self) -> ExperimentStatus {
        let object = self.get::<Experiment>("exp").await.unwrap();
        serde_json::from_value(object["status"].clone()).unwrap_or_default()
    }

    async fn phase(&self) -> (Option<RunPhase>, String) {
        let status = self.status().await;
        (status.phase, status.message)
    }

    /// Pods wanted of the ReplicaSet of template `a`.
    async fn wanted(&self) -> Value {
        self.get::<ReplicaSet>("exp-a").await.unwrap()["spec"]["replicas"].clone()
    }

    async fn run_says(&self, name: &str, phase: &str, message: &str) {
        self.patch::<AnalysisRun>(name, json!({"status": {"phase": phase, "message": message}})).await;
        self.settle().await;
    }

    /// The ReplicaSet controller: pods are there as soon as they are wanted.
    async fn pods_follow(&self) {
        for mut set in self.backend.list(&Kind::of::<ReplicaSet>(), None).await.unwrap() {
            let count = set["spec"]["replicas"].clone();
            set["status"] = json!({"replicas": count, "readyReplicas": count, "availableReplicas": count});
            self.backend.update_status(&Kind::of::<ReplicaSet>(), &set).await.unwrap();
        }
    }

    /// Waits until a cache that is in use holds what the backend holds.
    async fn caught_up<K: Stored>(&self, cache: &Cache<K>) {
        let there = self.backend.list(&Kind::of::<K>(), None).await.unwrap();
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let there: Vec<String> = there.iter().map(version).collect();
        let seen = async {
            loop {
                let stale = cache.keys().iter().any(|key| cache.is_stale(key));
                let held = cache.list(None).len() + cache.malformed(None).len();
                let mut own = cache.list(None).into_iter().map(|own| own.meta().resource_version.clone().unwrap());
                if cache.is_synced() && !stale && held == there.len() && own.all(|own| there.contains(&own)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the cache does not catch up");
    }

    async fn all_caught_up(&self) {
        let controller = &self.controller;
        self.caught_up(&controller.experiments).await;
        self.caught_up(&controller.runs).await;
        self.caught_up(&controller.templates).await;
        if let Some(sets) = controller.replica_sets.get() {
            self.caught_up(sets).await;
        }
        if let Some(services) = controller.services.get() {
            self.caught_up(services).await;
        }
    }

    fn writes(&self) -> usize {
        self.backend.calls().iter().filter(|call| call.verb.writes()).count()
    }

    /// One look with all that there is to see.
    async fn look(&self) -> Result<Next, ReconcileError> {
        self.all_caught_up().await;
        let next = self.controller.reconcile(&Key::new("prod", "exp")).await;
        // The first one only begins the watches.
        if next == Ok(self.controller.context.clock.now().checked_add(SYNCING).map_or(Next::IDLE, Next::at)) {
            self.all_caught_up().await;
            return self.controller.reconcile(&Key::new("prod", "exp")).await;
        }
        next
    }

    /// Looks, with pods that follow, until nothing is written any more; when it looks again.
    async fn settle(&self) -> Next {
        let versions = async || {
            let mut all = self.backend.list(&Kind::of::<Experiment>(), None).await.unwrap();
            all.extend(self.backend.list(&Kind::of::<ReplicaSet>(), None).await.unwrap());
            all.extend(self.backend.list(&Kind::of::<AnalysisRun>(), None).await.unwrap());
            all.extend(self.backend.list(&Kind::of::<Service>(), None).await.unwrap());
            all.into_iter().map(|object| object["metadata"]["resourceVersion"].clone()).collect::<Vec<_>>()
        };
        for _ in 0..50 {
            let before = versions().await;
            let next = self.look().await.unwrap();
            self.pods_follow().await;
            if versions().await == before {
                return next;
            }
        }
        panic!("the experiment never rests");
    }

    async fn sets(&self) -> usize {
        self.backend.list(&Kind::of::<ReplicaSet>(), None).await.unwrap().len()
    }

    async fn pass(&self, seconds: i64) -> Next {
        self.clock.advance(SignedDuration::from_secs(seconds));
        self.settle().await
    }
}

fn template(name: &str) -> Value {
    json!({
        "name": name, "replicas": 2, "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "c", "ports": [{"containerPort": 80}]}]},
        },
    })
}

fn judged(more: Value) -> Value {
    let mut analysis = json!({
        "name": "an", "templateName": "t", "args": [{"name": "hash", "value": "{{templates.a.podTemplateHash}}"}],
    });
    okra_provider::object::merge(&mut analysis, &more);
    json!({"spec": {"analyses": [analysis]}})
}

#[tokio::test]
async fn line_1_a_set_is_made_without_pods_and_then_scaled() {
    let rig = Rig::begin(json!({})).await;
    rig.look().await.unwrap();
    let set = rig.get::<ReplicaSet>("exp-a").await.unwrap();
    assert_eq!(set["spec"]["replicas"], 0);
    let uid = rig.get::<Experiment>("exp").await.unwrap()["metadata"]["uid"].clone();
    assert_eq!(set["metadata"]["ownerReferences"][0]["uid"], uid);
    assert_eq!(rig.phase().await.0, Some(RunPhase::Pending));
    rig.look().await.unwrap();
    assert_eq!(rig.wanted().await, 2);
    rig.settle().await;
    assert_eq!(rig.phase().await.0, Some(RunPhase::Running));
    let told: Vec<String> = rig.events.take().into_iter().map(|note| note.reason).collect();
    let wanted =
        ["TemplateProgressing", "ExperimentPending", "ScalingReplicaSet", "TemplateRunning", "ExperimentRunning"];
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn line_1_what_is_wrong_with_it_is_a_condition_and_a_missing_template_an_error() {
    let rig = Rig::begin(json!({"spec": {"templates": [{"name": "a", "template": {}}]}})).await;
    rig.settle().await;
    let status = rig.status().await;
    assert_eq!((status.phase, status.conditions[0].type_.as_str()), (None, "InvalidSpec"));
    assert_eq!(rig.sets().await, 0);

    let rig = Rig::begin(judged(json!({"templateName": "none"}))).await;
    rig.settle().await;
    let wanted =
        "AnalysisTemplate verification failed for analysis 'an': analysistemplate.argoproj.io \"none\" not found";
    assert_eq!(rig.phase().await, (Some(RunPhase::Error), wanted.to_owned()));
    assert_eq!(rig.wanted().await, 0);

    let rig = Rig::begin(json!({"spec": {"templates": 7}})).await;
    rig.look().await.unwrap();
    let (phase, message) = rig.phase().await;
    assert!(phase == Some(RunPhase::Error) && message.starts_with("Experiment spec invalid: "), "{message}");
    let writes = rig.writes();
    rig.look().await.unwrap();
    assert_eq!(rig.writes(), writes, "it is said once");
}

#[tokio::test]
async fn line_1_a_template_whose_watch_is_slow_is_not_missing() {
    let rig = Rig::new();
    rig.all_caught_up().await;
    rig.backend.hold(&Kind::of::<AnalysisTemplate>());
    rig.template("t").await;
    rig.experiment(judged(json!({}))).await;
    rig.caught_up(&rig.controller.experiments).await;
    rig.controller.reconcile(&Key::new("prod", "exp")).await.unwrap();
    rig.caught_up(rig.controller.replica_sets.get().unwrap()).await;
    rig.controller.reconcile(&Key::new("prod", "exp")).await.unwrap();
    assert_eq!(rig.phase().await.0, Some(RunPhase::Pending));
}

#[tokio::test]
async fn line_2_a_service_is_there_while_pods_are() {
    let mut with_service = template("a");
    with_service["service"] = json!({"name": "mine"});
    let rig = Rig::begin(json!({"spec": {"templates": [with_service], "scaleDownDelaySeconds": 0}})).await;
    rig.settle().await;
    let service = rig.get::<Service>("mine").await.unwrap();
    let hash = rig.get::<ReplicaSet>("exp-a").await.unwrap()["metadata"]["labels"][HASH].clone();
    assert_eq!(service["spec"]["selector"], json!({HASH: hash}));
    assert_eq!(service["spec"]["ports"], json!([{"port": 80, "targetPort": 80}]));
    assert_eq!(rig.status().await.template_statuses[0].service_name, "mine");
    rig.patch::<Experiment>("exp", json!({"spec": {"terminate": true}})).await;
    rig.settle().await;
    assert_eq!((rig.wanted().await, rig.get::<Service>("mine").await), (json!(0), None));

    // One of that name that somebody else made is left as it is.
    let mut with_service = template("a");
    with_service["service"] = json!({"name": "mine"});
    let rig = Rig::begin(json!({"spec": {"templates": [with_service]}})).await;
    let other = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "prod", "name": "mine"}});
    rig.backend.create(&Kind::of::<Service>(), &other).await.unwrap();
    rig.settle().await;
    let wanted = "Failed to create Service mine for template 'a': Service prod/mine exists already";
    assert_eq!(rig.phase().await, (Some(RunPhase::Error), wanted.to_owned()));
    assert_eq!(rig.get::<Service>("mine").await.unwrap()["spec"], Value::Null);
}

#[tokio::test]
async fn line_3_a_template_without_progress_fails() {
    let rig = Rig::begin(json!({"spec": {"progressDeadlineSeconds": 60}})).await;
    rig.look().await.unwrap();
    rig.look().await.unwrap();
    let wake = rig.look().await.unwrap().wake_at.unwrap();
    assert_eq!(wake.duration_since(rig.clock.now()).as_secs(), 60);
    rig.clock.set(wake);
    rig.look().await.unwrap();
    let wanted = "Template 'a' exceeded its progressDeadlineSeconds (60)";
    assert_eq!(rig.phase().await, (Some(RunPhase::Failed), wanted.to_owned()));
    rig.settle().await;
    assert_eq!(rig.wanted().await, 0, "at once: its pods were never available");
}

#[tokio::test]
async fn line_3_what_the_server_refuses_is_an_error_and_what_it_cannot_answer_is_tried_again() {
    let rig = Rig::begin(json!({})).await;
    let invalid = BackendError::Invalid { message: "no such field".to_owned() };
    rig.backend.inject(Fault::nth(CallVerb::Create, 1, invalid).of(Kind::of::<ReplicaSet>()));
    rig.settle().await;
    let wanted = "Failed to create ReplicaSet for template 'a': no such field";
    assert_eq!(rig.phase().await, (Some(RunPhase::Error), wanted.to_owned()));

    let rig = Rig::begin(json!({})).await;
    let down = BackendError::Unreachable("no answer".to_owned());
    rig.backend.inject(Fault::nth(CallVerb::Create, 1, down).of(Kind::of::<ReplicaSet>()));
    rig.look().await.unwrap_err();
    assert_eq!(rig.phase().await.0, None);
    rig.settle().await;
    assert_eq!(rig.phase().await.0, Some(RunPhase::Running));
}

#[tokio::test]
async fn what_okrad_has_no_right_to_is_waited_for_and_said() {
    let may_not = |what: &str| BackendError::Denied { message: format!("okrad may not create {what}") };
    let says = |what: &str| format!("waits, since okrad cannot go on: okrad may not create {what}; {ROLE}");
    // Of a ReplicaSet, before there is any status.
    let rig = Rig::begin(json!({})).await;
    rig.backend.inject(Fault::nth(CallVerb::Create, 1, may_not("replicasets")).of(Kind::of::<ReplicaSet>()));
    rig.backend.inject(Fault::nth(CallVerb::Create, 2, may_not("replicasets")).of(Kind::of::<ReplicaSet>()));
    for _ in 0..2 {
        let error = rig.look().await.unwrap_err();
        assert_eq!(error.category, "ApiDenied", "the queue tries it again, ever more rarely");
        assert_eq!(rig.phase().await, (Some(RunPhase::Pending), says("replicasets")));
    }
    let told: Vec<_> = rig.events.take().into_iter().filter(|note| note.reason == MISSING_RIGHTS).collect();
    assert_eq!((told.len(), told[0].warning), (1, true), "said once");
    rig.settle().await;
    assert_eq!(rig.phase().await, (Some(RunPhase::Running), String::new()), "somebody gave the right");

    // Of a run, in the middle: nothing is claimed to be there that is not.
    let rig = Rig::begin(json!({"spec": {"analyses": [{"name": "an", "templateName": "t"}]}})).await;
    rig.backend.inject(Fault::nth(CallVerb::Create, 1, may_not("analysisruns")).of(Kind::of::<AnalysisRun>()));
    let held = async {
        while rig.look().await.is_ok() {
            rig.pods_follow().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), held).await.expect("it is not held");
    assert_eq!(rig.phase().await, (Some(RunPhase::Running), says("analysisruns")));
    assert!(rig.get::<AnalysisRun>("exp-an").await.is_none());
    rig.settle().await;
    assert!(rig.get::<AnalysisRun>("exp-an").await.is_some());
    assert_eq!(rig.phase().await, (Some(RunPhase::Running), String::new()));
}

#[tokio::test]
async fn line_3_a_set_that_somebody_else_made_is_left_alone() {
    let rig = Rig::begin(json!({})).await;
    // Name, labels and annotations are as okra gives them; only the owner is missing.
    let other = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "namespace": "prod", "name": "exp-a",
            "annotations": {"experiment.argoproj.io/name": "exp", "experiment.argoproj.io/template-name": "a"},
        },
        "spec": {"replicas": 7, "selector": {"matchLabels": {"app": "a"}}},
    });
    rig.backend.create(&Kind::of::<ReplicaSet>(), &other).await.unwrap();
    rig.settle().await;
    let wanted = "Failed to create ReplicaSet for template 'a': ReplicaSet prod/exp-a exists already";
    assert_eq!(rig.phase().await, (Some(RunPhase::Error), wanted.to_owned()));
    assert_eq!(rig.wanted().await, 7);
}

#[tokio::test]
async fn lines_4_and_7_the_duration_counts_from_available_and_pods_are_kept_for_the_delay() {
    let rig = Rig::begin(json!({"spec": {"duration": "60s"}})).await;
    rig.look().await.unwrap();
    rig.clock.advance(SignedDuration::from_secs(100));
    let wake = rig.settle().await.wake_at.unwrap();
    let available = rig.status().await.available_at.unwrap();
    assert_eq!(wake.duration_since(available).as_secs(), 60);
    assert_eq!(rig.phase().await.0, Some(RunPhase::Running));
    let wake = rig.pass(61).await.wake_at.unwrap();
    assert_eq!((rig.phase().await.0, rig.wanted().await), (Some(RunPhase::Successful), json!(2)));
    let set = rig.get::<ReplicaSet>("exp-a").await.unwrap();
    let deadline = set["metadata"]["annotations"]["scale-down-deadline"].as_str().unwrap();
    assert_eq!(deadline.parse::<jiff::Timestamp>().unwrap(), wake);
    rig.pass(29).await;
    assert_eq!(rig.wanted().await, 2);
    assert_eq!(rig.pass(1).await, Next::IDLE);
    assert_eq!(rig.wanted().await, 0);
    assert_eq!(rig.status().await.template_statuses[0].status, Some(TemplatePhase::Successful));
}

#[tokio::test]
async fn line_5_runs_begin_once_all_is_available_and_are_the_experiments() {
    let mut fields = judged(json!({}));
    fields["spec"]["analysisRunMetadata"] = json!({"labels": {"team": "x"}});
    let rig = Rig::begin(fields).await;
    rig.look().await.unwrap();
    rig.look().await.unwrap();
    rig.look().await.unwrap();
    assert_eq!(rig.get::<AnalysisRun>("exp-an").await, None);
    rig.settle().await;
    let run = rig.get::<AnalysisRun>("exp-an").await.unwrap();
    let hash = rig.get::<ReplicaSet>("exp-a").await.unwrap()["metadata"]["labels"][HASH].clone();
    assert_eq!(run["spec"]["args"], json!([{"name": "hash", "value": hash}]));
    assert_eq!(run["metadata"]["labels"], json!({"team": "x", INSTANCE_ID_LABEL: "okra"}));
    let owner = &run["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["controller"]), (&json!("Experiment"), &json!(true)));
    let status = rig.status().await;
    assert_eq!((status.analysis_runs[0].analysis_run.as_str(), status.phase), ("exp-an", Some(RunPhase::Running)));
    // The run of another is not taken for its own.
    let rig = Rig::begin(judged(json!({}))).await;
    let mut other = run.clone();
    other["metadata"] = json!({"namespace": "prod", "name": "exp-an"});
    rig.backend.create(&Kind::of::<AnalysisRun>(), &other).await.unwrap();
    rig.settle().await;
    assert_eq!(rig.status().await.analysis_runs[0].analysis_run, "exp-an.1");
}

#[tokio::test]
async fn line_6_a_run_that_fails_ends_the_experiment_and_the_other_runs() {
    for (phase, is) in
        [("Failed", RunPhase::Failed), ("Error", RunPhase::Error), ("Inconclusive", RunPhase::Inconclusive)]
    {
        let analyses = json!([{"name": "an", "templateName": "t"}, {"name": "other", "templateName": "t"}]);
        let rig = Rig::begin(json!({"spec": {"analyses": analyses, "duration": "1h"}})).await;
        rig.settle().await;
        rig.run_says("exp-an", phase, "too many errors").await;
        assert_eq!(rig.phase().await, (Some(is), "too many errors".to_owned()));
        assert_eq!(rig.get::<AnalysisRun>("exp-other").await.unwrap()["spec"]["terminate"], true);
        assert_eq!(rig.pass(31).await, Next::IDLE);
        assert_eq!(rig.wanted().await, 0);
    }
}

#[tokio::test]
async fn line_6_required_analyses_end_it_and_others_do_not_hold_it() {
    let rig = Rig::begin(judged(json!({"requiredForCompletion": true}))).await;
    rig.settle().await;
    rig.run_says("exp-an", "Successful", "").await;
    assert_eq!(rig.phase().await, (Some(RunPhase::Successful), "Required AnalysisRuns completed".to_owned()));

    let mut fields = judged(json!({}));
    fields["spec"]["duration"] = json!("10s");
    let rig = Rig::begin(fields).await;
    rig.settle().await;
    rig.run_says("exp-an", "Running", "").await;
    rig.pass(11).await;
    assert_eq!(rig.phase().await.0, Some(RunPhase::Successful));
    assert_eq!(rig.get::<AnalysisRun>("exp-an").await.unwrap()["spec"]["terminate"], true);
}

#[tokio::test]
async fn line_6_terminate_ends_it() {
    let rig = Rig::begin(judged(json!({}))).await;
    rig.look().await.unwrap();
    rig.patch::<Experiment>("exp", json!({"spec": {"terminate": true}})).await;
    rig.settle().await;
    assert_eq!(rig.phase().await.0, Some(RunPhase::Successful));
    assert_eq!((rig.wanted().await, rig.get::<AnalysisRun>("exp-an").await), (json!(0), None));
}

#[tokio::test]
async fn line_9_a_status_that_is_taken_away_begins_it_anew() {
    let rig = Rig::begin(judged(json!({}))).await;
    rig.settle().await;
    rig.run_says("exp-an", "Failed", "").await;
    rig.pass(31).await;
    assert_eq!((rig.phase().await.0, rig.wanted().await), (Some(RunPhase::Failed), json!(0)));
    rig.patch::<Experiment>("exp", json!({"status": null})).await;
    rig.settle().await;
    assert_eq!((rig.phase().await.0, rig.wanted().await), (Some(RunPhase::Running), json!(2)));
    assert_eq!(rig.status().await.analysis_runs[0].analysis_run, "exp-an.1", "the old verdict does not count");
    let set = rig.get::<ReplicaSet>("exp-a").await.unwrap();
    assert_eq!(set["metadata"]["annotations"].get("scale-down-deadline"), None, "nor does the old deadline");
}

#[tokio::test]
async fn experiments_of_another_controller_are_left_alone_and_without_any_nothing_is_watched() {
    let rig = Rig::begin(json!({"metadata": {"labels": {INSTANCE_ID_LABEL: "argo"}}})).await;
    let writes = rig.writes();
    assert_eq!(rig.look().await, Ok(Next::IDLE));
    assert_eq!(rig.writes(), writes);
    let calls = rig.backend.calls();
    assert!(calls.iter().all(|call| !["ReplicaSet", "Service"].contains(&&*call.kind.kind)), "{calls:?}");
    let rig = Rig::begin(json!({})).await;
    rig.settle().await;
    let watched =
        |kind: &str| rig.backend.calls().iter().any(|call| call.verb == CallVerb::Watch && call.kind.kind == kind);
    assert_eq!((watched("ReplicaSet"), watched("Service")), (true, false), "no template asks for a Service");
}

/// Everything that the story below comes to, without times and versions.
async fn story(fault: Option<Fault>) -> Value {
    let mut with_service = template("a");
    with_service["service"] = json!({});
    let mut fields = judged(json!({}));
    okra_provider::object::merge(&mut fields, &json!({"spec": {"templates": [with_service], "duration": "60s"}}));
    let mut rig = Rig::begin(fields).await;
    if let Some(fault) = fault {
        rig.backend.inject(fault);
    }
    for _ in 0..40 {
        if rig.look().await.is_err() {
            rig = rig.again();
        }
        rig.pods_follow().await;
        if let Some(mut run) = rig.get::<AnalysisRun>("exp-an").await
            && run["status"]["phase"] != "Running"
            && run["spec"]["terminate"] != true
        {
            // Not with a verb that may be struck.
            run["status"] = json!({"phase": "Running"});
            rig.backend.update(&Kind::of::<AnalysisRun>(), &run).await.unwrap();
        }
        rig.clock.advance(SignedDuration::from_secs(5));
    }
    let status = rig.status().await;
    let template = &status.template_statuses[0];
    let runs = rig.backend.list(&Kind::of::<AnalysisRun>(), None).await.unwrap();
    json!({
        "phase": status.phase, "message": status.message, "template": template.status, "replicas": template.replicas,
        "runs": runs.iter().map(|run| json!([run["metadata"]["name"], run["spec"]])).collect::<Vec<_>>(),
        "sets": rig.sets().await, "wanted": rig.wanted().await, "service": rig.get::<Service>("exp-a").await,
    })
}

#[tokio::test]
async fn killed_at_either_side_of_any_write_it_comes_to_the_same() {
    let wanted = story(None).await;
    assert_eq!(
        (&wanted["phase"], &wanted["wanted"], &wanted["runs"][0][1]["terminate"]),
        (&json!("Successful"), &json!(0), &json!(true))
    );
    let down = || BackendError::Unreachable("killed".to_owned());
    for (verb, count) in [(CallVerb::Create, 3), (CallVerb::MergePatch, 12), (CallVerb::Delete, 1)] {
        for nth in 1..=count {
            for fault in [Fault::nth(verb, nth, down()), Fault::lost_answer(verb, nth)] {
                let words = format!("{fault:?}");
                assert_eq!(story(Some(fault)).await, wanted, "{words}");
            }
        }
    }
}

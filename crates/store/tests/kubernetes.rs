//! The Kubernetes backend against a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use okra_api::Pause;
use okra_provider::{Backend, BackendError, EventNote, EventSink as _, Key, Kind, WatchEvent, testing::FixedClock};
use okra_store::{
    DirectoryBackend, DirectoryOptions,
    conformance::{self, Subject},
    kubernetes::{ClientOptions, KubernetesBackend, KubernetesEvents, Timings, client},
};
use okra_testkit::{ApiServer, shared_api_server};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const LIMIT: Duration = Duration::from_secs(30);

static CRDS: OnceCell<()> = OnceCell::const_new();

async fn apply_crds(server: &ApiServer) {
    let dir = tempfile::tempdir().unwrap();
    for (number, crd) in okra_api::crds().iter().enumerate() {
        let text = serde_json::to_string(crd).unwrap();
        std::fs::write(dir.path().join(format!("{number}.yaml")), text).unwrap();
    }
    server.apply_crds(dir.path()).await;
}

/// The server of this file, with the CRDs.
async fn server() -> &'static ApiServer {
    let server = shared_api_server().await;
    CRDS.get_or_init(async || apply_crds(server).await).await;
    server
}

async fn backend_of(server: &ApiServer, user: &str) -> KubernetesBackend {
    let options = ClientOptions { kubeconfig: Some(server.kubeconfig(user)), context: None };
    KubernetesBackend::new(client(&options).await.unwrap(), "okrad")
}

fn kind() -> Kind {
    Kind::of::<Pause>()
}

fn pause(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause",
        "metadata": {"namespace": namespace, "name": name}, "spec": {},
    })
}

async fn next(events: &mut (impl futures::Stream<Item = WatchEvent> + Unpin)) -> WatchEvent {
    tokio::time::timeout(LIMIT, events.next()).await.expect("an event in time").expect("a watch never ends")
}

#[tokio::test]
async fn kubernetes_keeps_every_guarantee() {
    let server = server().await;
    conformance::run(async || {
        let mut namespaces = [server.namespace("conformance").await, server.namespace("conformance").await];
        namespaces.sort();
        Subject { backend: Arc::new(backend_of(server, "okrad").await), namespaces }
    })
    .await;
}

#[tokio::test]
async fn refusals_name_field_and_fault() {
    let server = server().await;
    let backend = backend_of(server, "okrad").await;
    let namespace = server.namespace("refusals").await;
    let mut bad = pause(&namespace, "bad");
    bad["spec"]["expireTime"] = json!(7);
    let error = backend.create(&kind(), &bad).await.unwrap_err();
    assert!(matches!(&error, BackendError::Invalid { message } if message.starts_with("spec.expireTime: ")), "{error}");

    let error = backend.create(&kind(), &pause("no-such-namespace", "one")).await.unwrap_err();
    assert_eq!(error.to_string(), "metadata.namespace: namespace no-such-namespace does not exist");

    let error = backend.get(&kind(), &Key::new(namespace.clone(), "../secrets/x")).await.unwrap_err();
    assert_eq!(error.to_string(), "metadata.name: \"../secrets/x\" is not a name");

    let limited = backend_of(server, "limited-1").await;
    let error = limited.list(&kind(), Some(&namespace)).await.unwrap_err();
    assert!(matches!(&error, BackendError::Denied { message } if message.contains("limited-1")), "{error}");
}

#[tokio::test]
async fn writes_carry_the_field_manager() {
    let server = server().await;
    let backend = backend_of(server, "okrad").await;
    let namespace = server.namespace("manager").await;
    let made = backend.create(&kind(), &pause(&namespace, "one")).await.unwrap();
    let key = Key::of(&made);
    let patched = backend.merge_patch(&kind(), &key, &json!({"metadata": {"labels": {"l": "1"}}})).await.unwrap();
    let mut told = patched.clone();
    told["status"] = json!({"phase": "Started"});
    backend.update_status(&kind(), &told).await.unwrap();
    let path = format!("/apis/okra.mumo.co/v1alpha1/namespaces/{namespace}/pauses/one");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let raw: Value = server.client("admin").request(request).await.unwrap();
    let managers = raw["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().all(|entry| entry["manager"] == "okrad"), "{managers:?}");
    assert!(managers.len() >= 2, "{managers:?}");
}

#[tokio::test]
async fn an_absent_kind_is_told_and_found_once_it_is_served() {
    let server = ApiServer::start().await;
    let timings = Timings { absent: Duration::from_millis(200), ..Timings::default() };
    let backend = backend_of(&server, "okrad").await.with_timings(timings);
    assert_eq!(backend.list(&kind(), None).await, Err(BackendError::Absent("Pause".into())));
    let answer = backend.create(&kind(), &pause("default", "one")).await;
    assert_eq!(answer, Err(BackendError::Absent("Pause".into())));
    let mut events = backend.watch(&kind(), None);
    assert_eq!(next(&mut events).await, WatchEvent::Absent);
    apply_crds(&server).await;
    // For a moment a new kind is known and not ready, for watches a little longer: "storage is (re)initializing".
    let mut ready = events.filter(|event| std::future::ready(!matches!(event, WatchEvent::Interrupted(_))));
    assert_eq!(next(&mut ready).await, WatchEvent::Restarted(vec![]), "Absent is told once");
    let made = backend.create(&kind(), &pause("default", "one")).await.unwrap();
    let mut told = next(&mut ready).await;
    while told == WatchEvent::Restarted(vec![]) {
        told = next(&mut ready).await;
    }
    assert!(told == WatchEvent::Applied(made.clone()) || told == WatchEvent::Restarted(vec![made]), "{told:?}");
}

#[tokio::test]
async fn a_watch_outlives_its_server() {
    let server = ApiServer::start().await;
    apply_crds(&server).await;
    let timings = Timings {
        min_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(400),
        ..Timings::default()
    };
    let backend = backend_of(&server, "okrad").await.with_timings(timings);
    let mut events = backend.watch(&kind(), None);
    assert_eq!(next(&mut events).await, WatchEvent::Restarted(vec![]));
    server.stop_api().await;
    let error = backend.list(&kind(), None).await.unwrap_err();
    assert!(matches!(error, BackendError::Unreachable(_)), "{error}");
    assert!(matches!(next(&mut events).await, WatchEvent::Interrupted(_)));
    server.start_api().await;
    let made = backend.create(&kind(), &pause("default", "one")).await.unwrap();
    loop {
        match next(&mut events).await {
            WatchEvent::Interrupted(_) => {}
            WatchEvent::Restarted(objects) if objects.is_empty() => {}
            WatchEvent::Restarted(objects) => break assert_eq!(objects, vec![made]),
            WatchEvent::Applied(object) => break assert_eq!(object, made),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_in_time() {
    let server = ApiServer::start().await;
    apply_crds(&server).await;
    let timings = Timings { call: Duration::from_millis(500), idle: Duration::from_secs(1), ..Timings::default() };
    let backend = backend_of(&server, "okrad").await.with_timings(timings);
    let mut events = backend.watch(&kind(), None);
    assert_eq!(next(&mut events).await, WatchEvent::Restarted(vec![]));
    server.signal_api("STOP");
    let error = backend.list(&kind(), None).await.unwrap_err();
    assert_eq!(error.to_string(), "the API server did not answer in time");
    assert!(matches!(next(&mut events).await, WatchEvent::Interrupted(_)), "silence is noticed");
    server.signal_api("CONT");
    loop {
        match next(&mut events).await {
            WatchEvent::Interrupted(_) => {}
            event => break assert_eq!(event, WatchEvent::Restarted(vec![])),
        }
    }
}

#[tokio::test]
async fn equal_events_become_a_series() {
    let server = server().await;
    let namespace = server.namespace("events").await;
    let backend = backend_of(server, "okrad").await;
    let made = backend.create(&kind(), &pause(&namespace, "one")).await.unwrap();
    let clock = Arc::new(FixedClock::default());
    let sink = KubernetesEvents::new(server.client("okrad"), "okrad", "okrad-0", clock.clone());
    let note = |message: &str| EventNote {
        kind: kind(),
        key: Key::of(&made),
        uid: made["metadata"]["uid"].as_str().unwrap().to_owned(),
        warning: true,
        reason: "WaitingForHealth".into(),
        action: "ShiftTraffic".into(),
        message: message.into(),
    };
    for _ in 0..5 {
        sink.publish(note("1 of 3 healthy, token k8s-aws-v1.abc")).await;
    }
    sink.publish(note("2 of 3 healthy")).await;
    let events =
        Kind { group: "events.k8s.io".into(), version: "v1".into(), kind: "Event".into(), plural: "events".into() };
    let mut told = backend.watch(&events, Some(&namespace));
    let mut found = std::collections::BTreeMap::new();
    while found.len() < 2 {
        let objects = match next(&mut told).await {
            WatchEvent::Restarted(objects) => objects,
            WatchEvent::Applied(object) => vec![object],
            other => panic!("unexpected: {other:?}"),
        };
        found.extend(objects.into_iter().map(|event| (event["note"].as_str().unwrap().to_owned(), event)));
    }
    let series = &found["1 of 3 healthy, token [redacted]"];
    assert_eq!(series["series"]["count"], 2, "more repeats are written a minute later: {series}");
    assert_eq!(series["type"], "Warning");
    assert_eq!(series["regarding"]["name"], "one");
    assert_eq!(series["reportingController"], "okra.mumo.co/okrad");
    assert_eq!(found["2 of 3 healthy"].get("series").filter(|series| !series.is_null()), None);

    clock.advance(jiff::SignedDuration::from_mins(2));
    sink.publish(note("1 of 3 healthy, token k8s-aws-v1.abc")).await;
    loop {
        if let WatchEvent::Applied(event) = next(&mut told).await
            && event["series"]["count"] == 6
        {
            break;
        }
    }
}

const LISTENER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/0123456789abcdef/0123456789abcdef";

fn cell(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Cell",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": 2,
            "ingress": {
                "type": "AWSApplicationLoadBalancer",
                "awsApplicationLoadBalancer": {
                    "listenerARN": LISTENER,
                    "listener": {"rule": {"priority": 10, "hosts": ["example.com"], "forward": {}}},
                    "targetGroupSelector": {"matchLabels": {"role": "web"}},
                },
            },
            "updateStrategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {"duration": "10m"}}]}},
        },
    })
}

/// What the API server refuses, by pointer and value, and the field that both stores name.
fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let alb = "/spec/ingress/awsApplicationLoadBalancer";
    vec![
        ("/spec/replicas", json!(0), "spec.replicas"),
        ("/spec/replicas", json!("two"), "spec.replicas"),
        ("/spec/replicas", json!(65), "spec.replicas"),
        ("/spec/version", json!("newest"), "spec.version"),
        ("/spec/ingress", json!(null), "spec.ingress"),
        ("/spec/ingress/type", json!("Carrier pigeon"), "spec.ingress.type"),
        ("/spec/ingress/type", json!("Local"), "spec.ingress"),
        (alb, json!({}), "listenerARN"),
        ("/spec/ingress/awsApplicationLoadBalancer/listenerARN", json!("web"), "listenerARN"),
        (
            "/spec/ingress/awsApplicationLoadBalancer/targetGroupSelector",
            json!({}),
            "spec.ingress.awsApplicationLoadBalancer",
        ),
        ("/spec/ingress/awsApplicationLoadBalancer/listener/rule/priority", json!(0), "listener.rule.priority"),
        ("/spec/ingress/awsApplicationLoadBalancer/listener/rule/priority", json!(1.5), "listener.rule.priority"),
        ("/spec/updateStrategy/canary/steps", json!([{"setWeight": 101}]), "steps[0].setWeight"),
        ("/spec/updateStrategy/canary/steps", json!([{"setWeight": 1, "stepWeight": 2}]), "steps[0]"),
        ("/spec/updateStrategy/canary/steps", json!([{}]), "steps[0]"),
        ("/spec/updateStrategy/canary/steps", json!("all"), "spec.updateStrategy.canary.steps"),
        ("/spec/progressDeadlineSeconds", json!(-1), "spec.progressDeadlineSeconds"),
        ("/spec/minHealthyTargets", json!("120%"), "spec.minHealthyTargets"),
        ("/spec/onFailure", json!("Shrug"), "spec.onFailure"),
        ("/metadata/labels", json!({"a": "b c"}), "metadata.labels"),
        ("/metadata/name", json!("Web"), "metadata.name"),
    ]
}

#[tokio::test]
async fn both_stores_refuse_the_same_objects_for_the_same_fields() {
    let server = server().await;
    let namespace = server.namespace("parity").await;
    let cluster = backend_of(server, "okrad").await;
    let folder = tempfile::tempdir().unwrap();
    let directory = DirectoryBackend::open(folder.path(), DirectoryOptions::default()).await.unwrap();
    let stores: [(&str, &dyn Backend); 2] = [("the API server", &cluster), ("the directory", &directory)];
    let kind = Kind::of::<okra_api::Cell>();
    for (number, (pointer, value, field)) in mistakes().into_iter().enumerate() {
        let mut bad = cell(&namespace, &format!("bad-{number}"));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value.clone());
        for (store, backend) in stores {
            match backend.create(&kind, &bad).await {
                Err(BackendError::Invalid { message }) => {
                    assert!(message.contains(field), "{store}, {pointer} = {value}: {message}");
                }
                other => panic!("{store}, {pointer} = {value}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn both_stores_make_the_same_object_of_a_manifest() {
    let server = server().await;
    let namespace = server.namespace("parity").await;
    let cluster = backend_of(server, "okrad").await;
    let folder = tempfile::tempdir().unwrap();
    let directory = DirectoryBackend::open(folder.path(), DirectoryOptions::default()).await.unwrap();
    let kind = Kind::of::<okra_api::Cell>();
    let mut made = Vec::new();
    for backend in [&cluster as &dyn Backend, &directory] {
        let mut object = backend.create(&kind, &cell(&namespace, "web")).await.unwrap();
        let other = LISTENER.replace("app/web", "app/other");
        let patch = json!({"spec": {"ingress": {"awsApplicationLoadBalancer": {"listenerARN": other}}}});
        let error = backend.merge_patch(&kind, &Key::of(&object), &patch).await.unwrap_err();
        assert!(error.to_string().contains("listenerARN cannot be changed"), "{error}");
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            object["metadata"].as_object_mut().unwrap().remove(field);
        }
        made.push(object);
    }
    assert_eq!(made[0], made[1]);
}

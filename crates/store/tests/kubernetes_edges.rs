//! The Kubernetes backend against answers that a real API server gives too rarely to wait for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream::BoxStream};
use okra_api::Pause;
use okra_provider::{Backend, BackendError, Deletion, Key, Kind, WatchEvent};
use okra_store::kubernetes::{ClientOptions, KubernetesBackend, Timings, client};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path, query_param, query_param_is_missing},
};

const PAUSES: &str = "/apis/okra.mumo.co/v1alpha1/pauses";
const LIMIT: Duration = Duration::from_secs(30);

fn kind() -> Kind {
    Kind::of::<Pause>()
}

fn key() -> Key {
    Key::new("ns", "a")
}

/// A client as okrad makes it, of a server that says what the test wants.
async fn backend(server: &MockServer) -> KubernetesBackend {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server.uri()}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let client = client(&ClientOptions { kubeconfig: Some(file), context: Some("c".into()) }).await.unwrap();
    KubernetesBackend::new(client, "okrad").with_timings(Timings {
        call: Duration::from_millis(500),
        min_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(50),
        ..Timings::default()
    })
}

fn pause(name: &str, version: u64) -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause", "spec": {},
        "metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string()},
    })
}

fn list(version: u64, items: &[Value], next: &str) -> ResponseTemplate {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    ResponseTemplate::new(200).set_body_json(json!({"kind": "PauseList", "metadata": metadata, "items": items}))
}

fn watch(events: &[Value]) -> ResponseTemplate {
    let lines = events.iter().fold(String::new(), |lines, event| lines + &event.to_string() + "\n");
    ResponseTemplate::new(200).set_body_raw(lines, "application/json")
}

fn status(code: u16, reason: &str) -> ResponseTemplate {
    ResponseTemplate::new(code).set_body_json(json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason,
    }))
}

async fn next(events: &mut BoxStream<'static, WatchEvent>) -> WatchEvent {
    tokio::time::timeout(LIMIT, events.next()).await.expect("an event in time").expect("a watch never ends")
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

#[tokio::test]
async fn a_list_whose_token_expired_begins_anew() {
    let server = MockServer::start().await;
    let first = || Mock::given(method("GET")).and(path(PAUSES)).and(query_param_is_missing("continue"));
    first().respond_with(list(5, &[pause("a", 1)], "old")).up_to_n_times(1).mount(&server).await;
    first().respond_with(list(9, &[pause("b", 2)], "new")).mount(&server).await;
    let token = |token: &str| Mock::given(method("GET")).and(path(PAUSES)).and(query_param("continue", token));
    token("old").respond_with(status(410, "Expired")).mount(&server).await;
    token("new").respond_with(list(9, &[pause("a", 7)], "")).mount(&server).await;
    let listed = backend(&server).await.list(&kind(), None).await.unwrap();
    assert_eq!(listed, [pause("a", 7), pause("b", 2)]);
    assert!(requests(&server).await.iter().all(|request| request.url.query().unwrap().contains("limit=100")));
}

#[tokio::test]
async fn a_watch_tells_a_long_list_in_parts_and_says_when_it_begins_anew() {
    let server = MockServer::start().await;
    let lists = || Mock::given(method("GET")).and(path(PAUSES)).and(query_param_is_missing("watch"));
    let first = || lists().and(query_param_is_missing("continue"));
    first().respond_with(list(5, &[pause("a", 1)], "old")).up_to_n_times(1).mount(&server).await;
    first().respond_with(list(9, &[pause("b", 2)], "new")).mount(&server).await;
    lists().and(query_param("continue", "old")).respond_with(status(410, "Expired")).mount(&server).await;
    lists().and(query_param("continue", "new")).respond_with(list(9, &[pause("c", 7)], "")).mount(&server).await;
    let part = |objects: &[Value]| WatchEvent::Listed { first: true, objects: objects.to_vec() };
    let mut events = backend(&server).await.watch(&kind(), None);
    assert_eq!(next(&mut events).await, part(&[pause("a", 1)]));
    assert_eq!(next(&mut events).await, part(&[]), "what was told does not count");
    assert_eq!(next(&mut events).await, part(&[pause("b", 2)]));
    assert_eq!(next(&mut events).await, WatchEvent::Restarted(vec![pause("c", 7)]));
}

#[tokio::test]
async fn a_watch_goes_on_from_the_last_bookmark_and_lists_again_after_a_gap() {
    let server = MockServer::start().await;
    let lists = || Mock::given(method("GET")).and(path(PAUSES)).and(query_param_is_missing("watch"));
    lists().respond_with(list(5, &[pause("a", 3)], "")).up_to_n_times(1).mount(&server).await;
    lists().respond_with(list(40, &[pause("b", 33)], "")).mount(&server).await;
    let from =
        |version: &str| Mock::given(method("GET")).and(path(PAUSES)).and(query_param("resourceVersion", version));
    let bookmark =
        json!({"apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause", "metadata": {"resourceVersion": "20"}});
    let told = [json!({"type": "MODIFIED", "object": pause("a", 9)}), json!({"type": "BOOKMARK", "object": bookmark})];
    from("5").respond_with(watch(&told)).mount(&server).await;
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"});
    from("20").respond_with(watch(&[json!({"type": "ERROR", "object": gone})])).mount(&server).await;
    let deleted = [json!({"type": "DELETED", "object": pause("b", 41)})];
    from("40").respond_with(watch(&deleted)).mount(&server).await;
    from("41").respond_with(status(500, "InternalError")).mount(&server).await;

    let mut events = backend(&server).await.watch(&kind(), None);
    assert_eq!(next(&mut events).await, WatchEvent::Restarted(vec![pause("a", 3)]));
    assert_eq!(next(&mut events).await, WatchEvent::Applied(pause("a", 9)));
    assert_eq!(next(&mut events).await, WatchEvent::Restarted(vec![pause("b", 33)]), "a gap is no failure");
    assert_eq!(next(&mut events).await, WatchEvent::Deleted(pause("b", 41)));
    let WatchEvent::Interrupted(words) = next(&mut events).await else { panic!("a failure is told") };
    assert!(words.contains("InternalError"), "{words}");
    assert_eq!(next(&mut events).await, WatchEvent::Restarted(vec![pause("b", 33)]));
    let watches = requests(&server).await.into_iter().filter(|request| request.url.query().unwrap().contains("watch="));
    assert!(watches.into_iter().all(|request| request.url.query().unwrap().contains("allowWatchBookmarks=true")));
}

#[tokio::test]
async fn no_call_is_repeated() {
    let server = MockServer::start().await;
    let busy = || status(429, "TooManyRequests").insert_header("Retry-After", "7");
    Mock::given(method("GET")).respond_with(busy()).mount(&server).await;
    Mock::given(method("POST")).respond_with(status(503, "ServiceUnavailable")).mount(&server).await;
    Mock::given(method("PATCH")).respond_with(status(504, "Timeout")).mount(&server).await;
    let backend = backend(&server).await;
    let throttled = BackendError::Throttled { retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(backend.get(&kind(), &key()).await, Err(throttled));
    assert!(matches!(backend.create(&kind(), &pause("a", 1)).await, Err(BackendError::Unreachable(_))));
    assert!(matches!(backend.merge_patch(&kind(), &key(), &json!({})).await, Err(BackendError::Unreachable(_))));
    assert_eq!(requests(&server).await.len(), 3);
}

#[tokio::test]
async fn a_slow_answer_is_not_waited_for() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_body_json(pause("a", 1)).set_delay(LIMIT);
    Mock::given(method("GET")).respond_with(slow).mount(&server).await;
    let began = Instant::now();
    let error = backend(&server).await.get(&kind(), &key()).await.unwrap_err();
    assert_eq!(error.to_string(), "the API server did not answer in time");
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_api_server_is_unreachable() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string("<html>log in</html>"))
        .mount(&server)
        .await;
    let backend = backend(&server).await;
    let error = backend.get(&kind(), &key()).await.unwrap_err();
    assert!(error.to_string().contains("failed to parse the answer"), "{error}");
    drop(server);
}

#[tokio::test]
async fn a_deletion_names_what_was_seen() {
    let server = MockServer::start().await;
    Mock::given(method("DELETE")).respond_with(status(200, "")).mount(&server).await;
    let deletion = Deletion { uid: Some("u".into()), resource_version: Some("7".into()) };
    backend(&server).await.delete(&kind(), &key(), &deletion).await.unwrap();
    let sent: Value = requests(&server).await[0].body_json().unwrap();
    assert_eq!(sent["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
    assert_eq!(sent["propagationPolicy"], "Background");
}

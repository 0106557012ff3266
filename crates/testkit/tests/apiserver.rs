//! The API servers of the rig: real ones, apart from each other, and gone with the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta, PostParams};
use kube::discovery::ApiResource;
use okra_testkit::apiserver::Options;
use okra_testkit::process::Spec;
use okra_testkit::{ApiServer, shared_api_server};
use pretty_assertions::assert_eq;

const SOON: Duration = Duration::from_secs(20);

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process is there and not a zombie that only waits to be counted.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

#[tokio::test]
async fn namespaces_keep_tests_apart() {
    let server = shared_api_server().await;
    let (first, second) = (server.namespace("apart").await, server.namespace("apart").await);
    assert_ne!(first, second);
    let client = server.client("test");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &first);
    maps.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
    let others: Api<ConfigMap> = Api::namespaced(client, &second);
    assert_eq!(others.list(&ListParams::default()).await.unwrap().items, Vec::new());
}

#[tokio::test]
async fn it_calls_itself_by_its_version() {
    let version = shared_api_server().await.client("test").apiserver_version().await.unwrap();
    assert!(version.git_version.starts_with("v1."), "{version:?}");
}

#[tokio::test]
async fn the_audit_log_shows_who_did_what() {
    let server = shared_api_server().await;
    let namespace = server.namespace("audit").await;
    for user in ["okrad", "okractl"] {
        let maps: Api<ConfigMap> = Api::namespaced(server.client(user), &namespace);
        maps.create(&PostParams::default(), &config_map(user, "1")).await.unwrap();
        let again = maps.create(&PostParams::default(), &config_map(user, "1")).await.unwrap_err();
        assert!(matches!(&again, kube::Error::Api(status) if status.code == 409), "{again}");
    }
    let of_namespace = |events: &[okra_testkit::AuditEvent]| -> Vec<(String, String, String, u16)> {
        let events = events.iter().filter(|event| event.namespace == namespace && event.resource == "configmaps");
        events.map(|event| (event.user.clone(), event.verb.clone(), event.name.clone(), event.code)).collect()
    };
    let events = server.wait_for_audit("four creations", |events| of_namespace(events).len() == 4).await;
    let creation = |user: &str, code| (user.to_owned(), "create".to_owned(), user.to_owned(), code);
    let expected = [creation("okrad", 201), creation("okrad", 409), creation("okractl", 201), creation("okractl", 409)];
    assert_eq!(of_namespace(&events), expected);
    assert!(events.iter().all(|event| event.user != "system:apiserver" && event.request_object.is_none()));
}

#[tokio::test]
async fn a_user_without_groups_may_do_nothing() {
    let server = shared_api_server().await;
    let namespace = server.namespace("limited").await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client("limited-1"), &namespace);
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
}

#[tokio::test]
async fn a_kubeconfig_is_private_and_trusts_only_the_servers_certificate() {
    let server = shared_api_server().await;
    let path = server.kubeconfig("okrad");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("certificate-authority") && !text.contains("insecure"), "{text}");
}

#[tokio::test]
async fn definitions_of_a_folder_are_served_when_applied() {
    let server = shared_api_server().await;
    let folder = tempfile::tempdir().unwrap();
    let documents = ["left", "right"].map(definition).join("---\n");
    std::fs::write(folder.path().join("crds.yaml"), format!("# two\n---\n{documents}")).unwrap();
    server.apply_crds(folder.path()).await;
    server.apply_crds(folder.path()).await;

    let namespace = server.namespace("crds").await;
    for (kind, plural) in [("Left", "lefts"), ("Right", "rights")] {
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("testkit.okra.test", "v1", kind), plural);
        let api: Api<DynamicObject> = Api::namespaced_with(server.client("test"), &namespace, &kind);
        api.create(&PostParams::default(), &DynamicObject::new("one", &kind)).await.unwrap();
    }
}

fn definition(singular: &str) -> String {
    let kind = format!("{}{}", singular[..1].to_uppercase(), &singular[1..]);
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {singular}s.testkit.okra.test}}
spec:
  group: testkit.okra.test
  scope: Namespaced
  names: {{kind: {kind}, plural: {singular}s, singular: {singular}}}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {{openAPIV3Schema: {{type: object}}}}
"
    )
}

/// One server of its own for all that stops, breaks and ends servers; a second one beside it.
#[tokio::test]
async fn restarts_keep_data_servers_keep_apart_and_dropped_ones_are_gone() {
    let options = || Options::default().user("bound", &["testers"]).audit_bodies();
    let (first, second) = tokio::join!(ApiServer::start_with(options()), ApiServer::start());
    assert_ne!(first.url(), second.url());
    let maps: Api<ConfigMap> = Api::namespaced(first.client("test"), "default");
    maps.create(&PostParams::default(), &config_map("kept", "before")).await.unwrap();
    let elsewhere: Api<ConfigMap> = Api::namespaced(second.client("test"), "default");
    assert!(elsewhere.get_opt("kept").await.unwrap().is_none());
    first
        .wait_for_audit("the object that was sent", |events| {
            let sent = events.iter().filter_map(|event| event.request_object.as_ref());
            sent.clone().any(|object| object.pointer("/data/key").is_some_and(|value| value == "before"))
        })
        .await;

    first.stop_api().await;
    assert!(maps.get("kept").await.is_err());
    first.start_api().await;
    assert_eq!(maps.get("kept").await.unwrap().data.unwrap()["key"], "before");

    first.stop_etcd().await;
    let stale = tokio::time::timeout(Duration::from_secs(5), maps.delete("kept", &DeleteParams::default())).await;
    assert!(!matches!(stale, Ok(Ok(_))), "a write succeeded without etcd");
    first.start_etcd().await;
    eventually("the object is readable again", async || maps.get("kept").await.is_ok()).await;
    assert!(elsewhere.list(&ListParams::default()).await.is_ok());

    let (pids, dir) = (first.pids(), first.dir().to_owned());
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    drop(first);
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(!dir.exists());
    assert!(second.pids().iter().all(|pid| is_alive(*pid)));
}

#[tokio::test]
async fn the_controller_manager_takes_namespaces_away() {
    let server = ApiServer::start().await;
    server.start_controller_manager(&["namespace-controller"]).await;
    let name = server.namespace("doomed").await;
    let namespaces: Api<Namespace> = Api::all(server.client("test"));
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt(&name).await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let started = ApiServer::try_start(Options::default().arg("--no-such-flag")).await;
    let error = format!("{:#}", started.unwrap_err());
    assert!(error.contains("kube-apiserver ended with code") && error.contains("no-such-flag"), "{error}");
}

#[tokio::test]
async fn a_panicking_test_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (tell, told) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let sleeper = sleeper(&log).start().unwrap();
        tell.send(sleeper.pid()).unwrap();
        panic!("as a failed assertion does");
    });
    let pid = told.recv().unwrap();
    assert!(panicked.join().is_err());
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn signals_and_exit_codes_pass_through() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done";
    let mut process = Spec::new("trapper", "sh", &log).args(["-c", script]).start().unwrap();
    eventually("the trap is set", async || std::fs::read_to_string(&log).unwrap() == "ready\n").await;
    assert!(process.wait(Duration::from_millis(50)).await.unwrap_err().to_string().contains("still running"));
    process.signal("TERM").unwrap();
    assert_eq!(process.wait(SOON).await.unwrap(), 7);
    assert!(process.signal("TERM").is_err());

    let mut killed = sleeper(&log).start().unwrap();
    killed.kill();
    assert_eq!(killed.exit_code(), Some(128 + 9));

    let mut missing = Spec::new("missing", "/no/such/program", &log).start().unwrap();
    assert_eq!(missing.wait(SOON).await.unwrap(), 127);
    assert!(missing.log_tail().contains("/no/such/program"), "{}", missing.log_tail());
}

fn sleeper(log: &Path) -> Spec {
    Spec::new("sleeper", "sleep", log).arg("600")
}

const VICTIM: &str = "OKRA_TESTKIT_VICTIM_FOLDER";

/// The test process that `kill_nine_of_the_test_leaves_nothing` starts and kills; without its folder, nothing to do.
#[test]
fn victim_of_kill_nine() {
    let Some(folder) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let sleeper = sleeper(&folder.join("log")).remove_after_death(&folder).start().unwrap();
    println!("\npid {}", sleeper.pid());
    let _killed_here = std::io::stdin().read(&mut [0]);
    drop(sleeper);
}

#[tokio::test]
async fn kill_nine_of_the_test_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("of the victim");
    std::fs::create_dir(&folder).unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim_of_kill_nine", "--nocapture"])
        .env(VICTIM, &folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pid = lines.find_map(|line| line.strip_prefix("pid ").map(|pid| pid.parse::<u32>().unwrap()));
    let pid = pid.expect("the victim tells the process id of its child");
    assert!(is_alive(pid));
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the child is killed", async || !is_alive(pid)).await;
    eventually("its folder is removed", async || !folder.exists()).await;
}

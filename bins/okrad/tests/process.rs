//! okrad as a process: its arguments, its life and its lease. What the controllers do is tested elsewhere.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{path::Path, process::Command, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use okra_testkit::{
    ApiServer,
    process::{Process, Spec},
    shared_api_server,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(40);

fn okrad() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_okrad"));
    command.env_clear();
    command
}

/// Exit code, standard output and standard error.
fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (flag, expected) in [("--help", "--lease-duration"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let (code, stdout, stderr) = output(okrad().arg(flag));
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(stdout.contains(expected), "{stdout}");
    }
}

#[test]
fn wrong_arguments_end_with_code_2_and_name_the_flag() {
    let mut from_environment = okrad();
    from_environment.env("OKRA_SYNC_PERIOD", "often");
    let mut bad_level = okrad();
    bad_level.args(["--log-level", "okra=loud"]);
    let mut unknown = okrad();
    unknown.arg("--leese-duration=5s");
    for (mut command, name) in
        [(from_environment, "--sync-period"), (bad_level, "--log-level"), (unknown, "--leese-duration")]
    {
        let (code, stdout, stderr) = output(&mut command);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(name), "{stderr}");
    }
}

#[test]
fn what_cannot_be_opened_ends_with_code_1_and_says_why() {
    let mut no_server = okrad();
    no_server.args(["--kubeconfig", "/no/such/file", "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0"]);
    let mut no_folder = okrad();
    no_folder.args(["--record", "/no/such/folder/file", "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0"]);
    for (mut command, what) in [(no_server, "/no/such/file"), (no_folder, "--record")] {
        let (code, _, stderr) = output(&mut command);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(what), "{stderr}");
    }
}

/// An okrad that logs JSON into a file of its folder.
struct Okrad {
    process: Process,
    folder: TempDir,
    /// A folder that must outlive it.
    kept: Option<TempDir>,
}

impl Okrad {
    fn start(server: &ApiServer, namespace: &str, user: &str, flags: &[&str]) -> Self {
        Self::start_with(&server.kubeconfig(user), namespace, flags)
    }

    fn start_with(kubeconfig: &Path, namespace: &str, flags: &[&str]) -> Self {
        let folder = TempDir::with_prefix("okrad-").unwrap();
        let process = Spec::new("okrad", env!("CARGO_BIN_EXE_okrad"), folder.path().join("log"))
            .args(["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--log-format=json"])
            .args(["--namespace", namespace])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(flags)
            .env("POD_NAMESPACE", namespace)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .start()
            .unwrap();
        Self { process, folder, kept: None }
    }

    fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The address that a line of the log names.
    async fn address(&self, message: &str) -> String {
        let find = || self.log().into_iter().find(|line| line["message"] == message);
        eventually(message, async || find().is_some()).await;
        find().unwrap()["address"].as_str().unwrap().to_owned()
    }

    async fn ready(&self) -> (u16, String) {
        get(&format!("http://{}/readyz", self.address("Serves health").await)).await
    }

    async fn until_ready(&self) {
        eventually("okrad is ready", async || self.ready().await.0 == 200).await;
    }

    async fn leads(&self) -> bool {
        let (_, text) = get(&format!("http://{}/metrics", self.address("Serves metrics").await)).await;
        text.lines().any(|line| line == "okra_leader 1")
    }

    async fn until_leading(&self) {
        eventually("okrad leads", async || self.leads().await).await;
    }

    async fn stop(mut self) -> i32 {
        self.process.signal("TERM").unwrap();
        self.process.wait(SOON).await.unwrap()
    }
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap().get(url).send().await;
    match answer {
        Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
        Err(error) => (0, error.to_string()),
    }
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The shared server with Okra's kinds, and a namespace of the test's own.
async fn server() -> (&'static ApiServer, String) {
    let server = shared_api_server().await;
    let folder = TempDir::new().unwrap();
    for crd in okra_api::crds() {
        let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap());
        std::fs::write(folder.path().join(name), serde_json::to_string(&crd).unwrap()).unwrap();
    }
    server.apply_crds(folder.path()).await;
    (server, server.namespace("okrad").await)
}

fn leases(server: &ApiServer, namespace: &str) -> Api<Lease> {
    Api::namespaced(server.client("admin"), namespace)
}

async fn holder(server: &ApiServer, namespace: &str) -> String {
    let lease = leases(server, namespace).get("okra").await.unwrap();
    lease.spec.unwrap().holder_identity.unwrap()
}

#[tokio::test]
async fn a_clean_stop_hands_the_lease_over() {
    let (server, namespace) = server().await;
    // So long that only a release, never its expiry, lets the other take over within this test.
    let flags = ["--lease-duration=10m"];
    let first = Okrad::start(server, &namespace, "okrad", &flags);
    first.until_ready().await;
    first.until_leading().await;
    let second = Okrad::start(server, &namespace, "okrad-2", &flags);
    second.until_ready().await;
    assert!(!second.leads().await, "a follower is ready, too");
    let before = holder(server, &namespace).await;

    assert_eq!(first.stop().await, 0);
    second.until_leading().await;
    assert_ne!(holder(server, &namespace).await, before);
    assert_eq!(second.stop().await, 0);
    assert_eq!(holder(server, &namespace).await, "");
}

#[tokio::test]
async fn a_killed_leader_is_followed() {
    let (server, namespace) = server().await;
    let flags = ["--lease-duration=4s"];
    let mut first = Okrad::start(server, &namespace, "okrad", &flags);
    first.until_leading().await;
    let second = Okrad::start(server, &namespace, "okrad-2", &flags);
    second.until_ready().await;
    first.process.kill();
    second.until_leading().await;
    assert_eq!(second.stop().await, 0);
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_ends() {
    let (server, namespace) = server().await;
    let mut okrad = Okrad::start(server, &namespace, "okrad", &["--lease-duration=6s"]);
    okrad.until_leading().await;
    let patch = json!({"spec": {"holderIdentity": "thief"}});
    leases(server, &namespace).patch("okra", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(okrad.process.wait(SOON).await.unwrap(), 1);
    let log = okrad.log();
    let last = log.iter().rev().find(|line| line["message"] == "Ends").unwrap();
    assert!(last["error"].as_str().unwrap().contains("thief has it"), "{last}");
    assert_eq!(holder(server, &namespace).await, "thief", "it is left alone");
}

#[tokio::test]
async fn without_an_election_there_is_no_lease() {
    let (server, namespace) = server().await;
    for flag in ["--enable-leader-election=false", "--dry-run"] {
        let okrad = Okrad::start(server, &namespace, "okrad", &[flag]);
        okrad.until_ready().await;
        okrad.until_leading().await;
        assert_eq!(okrad.stop().await, 0);
        assert!(leases(server, &namespace).get_opt("okra").await.unwrap().is_none(), "{flag}");
    }
}

#[tokio::test]
async fn a_server_without_the_kinds_is_said_to_be_so() {
    let server = ApiServer::start().await;
    let namespace = server.namespace("okrad").await;
    let okrad = Okrad::start(&server, &namespace, "okrad", &[]);
    eventually("the missing kinds are named", async || {
        let (status, body) = okrad.ready().await;
        status == 503 && body.contains("Cell: not served, install Okra's CRDs")
    })
    .await;
    assert_eq!(okrad.stop().await, 0);
}

#[tokio::test]
async fn a_server_that_is_away_makes_it_unready_not_dead() {
    let (server, namespace) = server().await;
    let text = std::fs::read_to_string(server.kubeconfig("okrad")).unwrap();
    let closed = format!("https://127.0.0.1:{}", okra_testkit::ports::free_port());
    let folder = TempDir::new().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, text.replace(&server.url(), &closed)).unwrap();
    let okrad = Okrad::start_with(&kubeconfig, &namespace, &[]);
    eventually("what is missing is named", async || {
        let (status, body) = okrad.ready().await;
        status == 503 && body.contains("Cell: not read yet") && body.contains("installation id: failed to read")
    })
    .await;
    let health = okrad.address("Serves health").await;
    assert_eq!(get(&format!("http://{health}/livez")).await, (200, "ok\n".to_owned()));
    assert_eq!(okrad.stop().await, 0);
}

#[tokio::test]
async fn a_directory_is_led_by_one() {
    let folder = TempDir::new().unwrap();
    let store = format!("--store=dir:{}", folder.path().display());
    let first = Okrad::start_with(Path::new("/no/such/kubeconfig"), "default", &[&store]);
    first.until_ready().await;
    first.until_leading().await;
    let (status, _) = get(&format!("http://{}/metrics/balancer", first.address("Serves metrics").await)).await;
    assert_eq!(status, 200);
    let second = Okrad::start_with(Path::new("/no/such/kubeconfig"), "default", &[&store]);
    second.until_ready().await;
    eventually("the second follows", async || second.log().iter().any(|line| line["message"] == "Follows")).await;
    assert!(!second.leads().await);
    assert_eq!(first.stop().await, 0);
    second.until_leading().await;
    std::fs::remove_dir_all(folder.path().join(".okra")).unwrap();
    let mut second = second;
    assert_eq!(second.process.wait(SOON).await.unwrap(), 1, "its lock is gone");
}

/// An AWS that takes a request and never answers, and an okrad that waits for it.
async fn waiting_for_aws(flags: &[&str]) -> (Okrad, tokio::net::TcpListener, tokio::net::TcpStream) {
    let aws = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = TempDir::new().unwrap();
    let manifest = json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "AWSApplicationLoadBalancerConfig",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "listenerARN": "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/web/1/2",
            "listener": {"rule": {
                "priority": 10,
                "hosts": ["example.com"],
                "forward": {"targetGroups": [{
                    "name": "web-1",
                    "arn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web-1/1",
                    "weight": 100,
                }]},
            }},
        },
    });
    std::fs::write(folder.path().join("web.yaml"), manifest.to_string()).unwrap();
    let store = format!("--store=dir:{}", folder.path().display());
    let endpoint = format!("--aws-endpoint-url=http://{}", aws.local_addr().unwrap());
    let flags: Vec<&str> = [store.as_str(), endpoint.as_str()].into_iter().chain(flags.iter().copied()).collect();
    let mut okrad = Okrad::start_with(Path::new("/no/such/kubeconfig"), "default", &flags);
    okrad.kept = Some(folder);
    let (connection, _) = tokio::time::timeout(SOON, aws.accept()).await.unwrap().unwrap();
    (okrad, aws, connection)
}

#[tokio::test]
async fn a_stop_waits_for_the_call_in_flight_and_its_status() {
    let (mut okrad, _aws, _connection) = waiting_for_aws(&["--lease-duration=9s"]).await;
    okrad.process.signal("TERM").unwrap();
    eventually("it finishes", async || okrad.log().iter().any(|line| line["message"] == "Finishes what is under way"))
        .await;
    assert_eq!(okrad.process.wait(SOON).await.unwrap(), 0);
    let log = okrad.log();
    assert!(log.iter().any(|line| line["message"] == "Stopped"), "{log:?}");
    assert!(!log.iter().any(|line| line["message"].as_str().unwrap().contains("cut off")), "{log:?}");
    let records = okrad.kept.as_ref().unwrap().path().join(".okra/objects");
    let record = "awsapplicationloadbalancerconfigs.okra.mumo.co/default/web.yaml";
    let record = std::fs::read_to_string(records.join(record)).unwrap();
    assert!(record.contains("reason: Unreachable"), "the status tells of it: {record}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut okrad, _aws, _connection) = waiting_for_aws(&["--lease-duration=1h"]).await;
    okrad.process.signal("TERM").unwrap();
    eventually("it finishes", async || okrad.log().iter().any(|line| line["message"] == "Finishes what is under way"))
        .await;
    okrad.process.signal("INT").unwrap();
    assert_eq!(okrad.process.wait(SOON).await.unwrap(), 1);
    let log = okrad.log();
    assert!(!log.iter().any(|line| line["message"] == "Stopped"), "{log:?}");
}

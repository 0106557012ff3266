//! `okra sync cell`, as a CI job without a management cluster runs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    time::Duration,
};

use okra_store::DirectoryLeadership;
use pretty_assertions::assert_eq;
use serde_json::Value;
use tempfile::TempDir;

/// A "cluster": answers every request with 200. It lives as long as the test's process.
fn cluster() -> SocketAddr {
    server("ok")
}

/// Answers every request with this text.
fn server(body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _gone = stream.write_all(format!("{head}{body}").as_bytes());
            });
        }
    });
    address
}

/// A port for the embedded balancer, below those that systems give to others by chance. Tests run side by side, so each
/// looks in a range of its own.
fn port(test: u16) -> u16 {
    let start = 10_000 + u16::try_from(std::process::id() % 90).unwrap() * 100 + test * 10;
    (start..20_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// What a run came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A folder of manifests with a Cell in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::with_prefix("okra-sync-").unwrap())
    }

    /// With a Cell whose balancer has a port of its own.
    fn with_cell(test: u16, steps: &str) -> Self {
        let folder = Self::new();
        let listen = port(test);
        folder.write(
            "cell.yaml",
            &format!(
                "\
apiVersion: okra.mumo.co/v1alpha1
kind: Cell
metadata: {{name: web}}
spec:
  replicas: 2
  ingress:
    type: Local
    local:
      listen: 127.0.0.1:{listen}
      targetGroupSelector: {{matchLabels: {{role: web}}}}
  updateStrategy: {{canary: {{steps: {steps}}}}}
"
            ),
        );
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join(file), text).unwrap();
    }

    fn register(&self, name: &str, version: &str) {
        let manifest = format!(
            "\
apiVersion: okra.mumo.co/v1alpha1
kind: TargetGroup
metadata: {{name: {name}, labels: {{role: web, okra.mumo.co/version: {version}}}}}
spec: {{endpoint: {{url: 'http://{}'}}}}
",
            cluster()
        );
        self.write(&format!("{name}.yaml"), &manifest);
    }

    fn okra(&self, args: &[&str]) -> Ran {
        let store = format!("dir:{}", self.path().display());
        let output = Command::new(env!("CARGO_BIN_EXE_okra"))
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("OKRA_METRIC_EGRESS_ALLOW", "127.0.0.0/8")
            .args(["--store", &store])
            .args(args)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The Cell's weights by target group, as the balancer answered.
    fn weights(&self) -> Value {
        let ran = self.okra(&["get", "cell", "web", "-o", "json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let cell: Value = serde_json::from_str(&ran.out).unwrap();
        let groups = cell["status"]["targetGroups"].as_array().cloned().unwrap_or_default();
        groups.iter().map(|group| (group["name"].as_str().unwrap().to_owned(), group["weight"].clone())).collect()
    }
}

fn assert_ran(ran: &Ran, code: i32, texts: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}{}", ran.out, ran.err);
    for text in texts {
        assert!(ran.out.contains(text), "{text:?} is missing in\n{}", ran.out);
    }
}

#[test]
fn a_cell_is_deployed_and_swapped_by_one_shot_runs() {
    let folder = Folder::with_cell(0, "[{setWeight: 20}, {pause: {}}, {setWeight: 50}, {pause: {duration: 1s}}]");
    let ran = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&ran, 1, &["Cell default/web is not at rest", "waits: waits for 2 target group(s)"]);

    folder.register("web-1-v1", "1.0.0");
    folder.register("web-2-v1", "1.0.0");
    let ran = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&ran, 0, &["Cell default/web is at rest: 1.0.0 serves"]);
    assert_eq!(folder.weights(), serde_json::json!({"web-1-v1": 50, "web-2-v1": 50}));
    assert_ran(&folder.okra(&["sync", "cell", "--name", "web"]), 0, &["is at rest"]);

    folder.register("web-1-v2", "2.0.0");
    folder.register("web-2-v2", "2.0.0");
    let ran = folder.okra(&["sync", "cell", "cell/web", "-o", "json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let outcome: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(outcome["ending"], "Waits");
    assert_eq!(outcome["status"]["phase"], "Paused");
    assert!(outcome["waits"][0].as_str().unwrap().contains("step 2 of 4"), "{outcome}");
    let split = serde_json::json!({"web-1-v1": 40, "web-2-v1": 40, "web-1-v2": 10, "web-2-v2": 10});
    assert_eq!(folder.weights(), split);
    assert_ran(&folder.okra(&["sync", "cell", "web"]), 1, &["waits: step 2 of 4"]);
    assert_eq!(folder.weights(), split, "a second look moves nothing");

    assert_eq!(folder.okra(&["resume", "web", "--no-wait"]).code, Some(0));
    let ran = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&ran, 0, &["Cell default/web is at rest: 2.0.0 serves"]);
    assert_eq!(folder.weights()["web-1-v2"], 50);
    assert_eq!(folder.weights()["web-1-v1"], 0);
}

/// A folder whose Cell serves 1.0.0 and judges what comes by this answer of its metric server, with 2.0.0 registered.
fn judged(test: u16, answer: &'static str) -> Folder {
    let analysis = "{templates: [{templateName: rate}]}";
    let folder = Folder::with_cell(test, &format!("[{{setWeight: 20}}, {{analysis: {analysis}}}]"));
    let template = format!(
        "\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {{name: rate}}
spec:
  metrics:
  - name: rate
    interval: 1s
    count: 2
    successCondition: result.rate >= 0.95
    provider: {{web: {{url: 'http://{}/'}}}}
",
        server(answer)
    );
    folder.write("rate.yaml", &template);
    for (name, version) in [("web-1-v1", "1.0.0"), ("web-2-v1", "1.0.0")] {
        folder.register(name, version);
    }
    assert_ran(&folder.okra(&["sync", "cell", "web"]), 0, &["1.0.0 serves"]);
    for (name, version) in [("web-1-v2", "2.0.0"), ("web-2-v2", "2.0.0")] {
        folder.register(name, version);
    }
    folder
}

#[test]
fn a_good_version_is_measured_and_rolled_out_by_one_run() {
    let folder = judged(4, r#"{"rate": 0.99}"#);
    let ran = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&ran, 0, &["Cell default/web is at rest: 2.0.0 serves"]);
    let runs = folder.okra(&["get", "analysisrun", "-o", "json"]);
    let runs: Value = serde_json::from_str(&runs.out).unwrap();
    let result = &runs["items"][0]["status"]["metricResults"][0];
    assert_eq!((&result["phase"], &result["successful"]), (&Value::from("Successful"), &Value::from(2)), "{runs}");
}

#[test]
fn a_bad_version_is_measured_and_taken_back_by_one_run() {
    let folder = judged(5, r#"{"rate": 0.67}"#);
    let ran = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&ran, 1, &["2.0.0 was taken back: AnalysisRun", "; 1.0.0 serves"]);
    assert_eq!(folder.weights()["web-1-v1"], 50);
    assert_eq!(folder.weights()["web-1-v2"], 0);
}

#[test]
fn what_is_measured_beside_a_pause_does_not_keep_the_run() {
    let folder = Folder::with_cell(6, "[{setWeight: 20}, {pause: {}}]");
    let cell = fs::read_to_string(folder.path().join("cell.yaml")).unwrap();
    let analysis = "canary: {analysis: {templates: [{templateName: rate}]}, steps:";
    folder.write("cell.yaml", &cell.replace("canary: {steps:", analysis));
    let provider = format!("{{web: {{url: 'http://{}/'}}}}", server(r#"{"rate": 1}"#));
    let metric = format!("{{name: rate, interval: 1h, successCondition: result.rate == 1, provider: {provider}}}");
    let template = "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: rate}\n";
    folder.write("rate.yaml", &format!("{template}spec: {{metrics: [{metric}]}}\n"));
    folder.register("web-1-v1", "1.0.0");
    folder.register("web-2-v1", "1.0.0");
    assert_ran(&folder.okra(&["sync", "cell", "web"]), 0, &["1.0.0 serves"]);
    folder.register("web-1-v2", "2.0.0");
    folder.register("web-2-v2", "2.0.0");
    assert_ran(&folder.okra(&["sync", "cell", "web"]), 1, &["step 2 of 2: pause until a person resumes"]);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let folder = Folder::with_cell(1, "[{setWeight: 20}]");
    folder.register("web-1-v1", "1.0.0");
    folder.register("web-2-v1", "1.0.0");
    let ran = folder.okra(&["sync", "cell", "web", "--dry-run"]);
    let rule = "would create its rule on the load balancer: web-1-v1=50, web-2-v1=50";
    assert_ran(&ran, 0, &["would create Route default/web: web-1-v1=50, web-2-v1=50", rule]);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert_eq!(ran.err, "dry run: nothing is done\n");
    assert_eq!(folder.weights(), serde_json::json!({}));
    let routes = folder.okra(&["get", "routes", "-o", "name"]);
    assert_eq!((routes.code, routes.out.as_str()), (Some(0), ""));

    let real = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&real, 0, &["1.0.0 serves"]);
}

#[test]
fn while_an_okrad_works_on_the_folder_it_is_refused() {
    let folder = Folder::with_cell(2, "[]");
    folder.register("web-1-v1", "1.0.0");
    folder.register("web-2-v1", "1.0.0");
    let lock = DirectoryLeadership::try_acquire(folder.path(), "okrad, process 4711").unwrap();
    let ran = folder.okra(&["sync", "cell", "web"]);
    assert_ran(&ran, 1, &[]);
    assert!(ran.err.contains("okrad, process 4711 works on these objects"), "{}", ran.err);
    assert_eq!(folder.weights(), serde_json::json!({}));
    assert_ran(&folder.okra(&["sync", "cell", "web", "--dry-run"]), 0, &["would create Route default/web"]);
    drop(lock);
    assert_ran(&folder.okra(&["sync", "cell", "web"]), 0, &["1.0.0 serves"]);
}

#[test]
fn what_cannot_be_synced_is_named() {
    let folder = Folder::new();
    let missing = folder.okra(&["sync", "cell", "web"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("Cell default/web does not exist"), "{}", missing.err);
    folder.write("cell.yaml", "apiVersion: okra.mumo.co/v1alpha1\nkind: Cell\nmetadata: {name: web}\nspec: {}\n");
    let invalid = folder.okra(&["sync", "cell", "web"]);
    assert_eq!(invalid.code, Some(1));
    assert!(invalid.err.contains("cell.yaml: default/web: spec.ingress"), "{}", invalid.err);
    let config = folder.okra(&["sync", "albc", "web"]);
    assert_eq!(config.code, Some(1));
    assert!(config.err.contains("AWSApplicationLoadBalancerConfig default/web does not exist"), "{}", config.err);
    assert_eq!(folder.okra(&["sync", "cell", "pod/web"]).code, Some(2));
    assert_eq!(folder.okra(&["sync", "cell"]).code, Some(2));
}

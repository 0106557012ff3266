//! Metric servers that hang, drip, lie and lead astray, end to end: okrad on a real API server never takes what they say
//! for a pass, and what is honest beside them is measured as if they were not there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use okra_api::{AnalysisRun, RunPhase};
use okra_testkit::scene::Scene;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");

/// What a pass would be.
const GOOD: &str = r#"{"rate": 1}"#;

/// Where the servers listen: not where the API server does, so that it alone can be allowed.
const ADDRESS: &str = "127.0.0.2:0";
const ALLOWED: &str = "127.0.0.2/32";

/// A way to answer that must not pass, and a word of the reason.
struct Lie {
    path: &'static str,
    answer: Vec<u8>,
    reason: &'static str,
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

fn whole(status: &str, kind: &str, body: &str) -> Vec<u8> {
    answer(&format!("{status}\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len()), body)
}

fn redirect(to: &str) -> Vec<u8> {
    answer(&format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0"), "")
}

/// Every lie. The body would be a pass wherever it can.
fn lies(api_server: &str) -> Vec<Lie> {
    let json = |body: &str| whole("200 OK", "application/json", body);
    let huge = format!(r#"{{"rate": 1, "padding": "{}"}}"#, "x".repeat(10 << 20));
    let endless_head = format!("200 OK\r\n{}content-length: 11", "x-padding: 1\r\n".repeat(500));
    let chunked = |body: &str| answer("200 OK\r\ntransfer-encoding: chunked", body);
    let length = |length: &str| answer(&format!("200 OK\r\ncontent-length: {length}"), GOOD);
    let twice = answer("200 OK\r\ncontent-length: 11\r\ncontent-length: 5", GOOD);
    let vector = |value: &str| {
        json(&format!(r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{value}]}}}}"#))
    };
    let lie = |path, answer, reason| Lie { path, answer, reason };
    vec![
        lie("html", json("<html>rate: 1</html>"), ""),
        lie("cut-off", length("100"), ""),
        lie("too-short", length("8"), ""),
        lie("two-lengths", twice, ""),
        lie("no-length", length("many"), ""),
        lie("bad-chunk", chunked("zz\r\n{\"rate\": 1}\r\n0\r\n\r\n"), ""),
        lie("half-chunk", chunked("b\r\n{\"rate\": 1}\r\n"), ""),
        lie("huge", json(&huge), "larger than 1048576 bytes"),
        lie("huge-chunks", chunked(&format!("{:x}\r\n{huge}\r\n0\r\n\r\n", huge.len())), "larger than 1048576 bytes"),
        lie("huge-head", answer(&endless_head, GOOD), ""),
        lie("compressed", answer("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 11", GOOD), "compressed"),
        lie("not-http", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), ""),
        lie("nothing", Vec::new(), ""),
        lie("nan", json(r#"{"rate": NaN}"#), ""),
        lie("nan-text", json(r#"{"rate": "NaN"}"#), ""),
        lie("null", json("null"), ""),
        lie("null-rate", json(r#"{"rate": null}"#), ""),
        lie("empty", json(""), ""),
        lie("empty-object", json("{}"), ""),
        lie("empty-list", json("[]"), ""),
        lie("deep", json(&"[".repeat(100_000)), ""),
        lie("error", whole("500 Internal Server Error", "application/json", GOOD), "500"),
        lie("unavailable", whole("503 Service Unavailable", "application/json", GOOD), "503"),
        lie("forbidden", whole("403 Forbidden", "application/json", GOOD), "403"),
        lie("to-metadata", redirect("http://169.254.169.254/latest/meta-data/"), "169.254.169.254 is denied"),
        lie("to-metadata-6", redirect("http://[fd00:ec2::254]/"), "denied"),
        lie("to-mapped", redirect("http://[::ffff:169.254.169.254]/"), "denied"),
        lie("to-api-server", redirect(api_server), "127.0.0.1 is denied"),
        lie("to-localhost", redirect("http://localhost:6443/version"), "denied"),
        lie("to-file", redirect("file:///etc/passwd"), "unsupported protocol scheme"),
        lie("loop", redirect("/loop"), "stopped after 10 redirects"),
        lie("prometheus-nan/api/v1/query", vector(r#"{"metric": {}, "value": [1, "NaN"]}"#), ""),
        lie("prometheus-none/api/v1/query", vector(""), ""),
    ]
}

/// Answers each path as its lie says; `/good` honestly; `/hang` never; `/drip` a byte at a time.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(lies: Vec<Lie>) -> Self {
        let listener = TcpListener::bind(ADDRESS).await.unwrap();
        let address = listener.local_addr().unwrap();
        let lies = Arc::new(lies);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, lies.clone()));
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn serve(mut stream: TcpStream, lies: Arc<Vec<Lie>>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend(part.iter().take(count)),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/');
    match path.split('?').next().unwrap_or_default() {
        "good" => _ = stream.write_all(&whole("200 OK", "application/json", GOOD)).await,
        "hang" => std::future::pending().await,
        "drip" => {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        "drip-head" => {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx-padding: ").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        path => {
            let lie = lies.iter().find(|lie| lie.path == path);
            let lie = lie.unwrap_or_else(|| panic!("nobody asks for {path}"));
            _ = stream.write_all(&lie.answer).await;
            _ = stream.shutdown().await;
        }
    }
}

/// Conditions that a lie must not meet: one that says what is good, and one that only says what is bad.
const CONDITIONS: [(&str, &str, &str); 2] =
    [("ok", "successCondition", "result.rate >= 0.95"), ("bad", "failureCondition", "result.rate < 0.95")];

struct Runs {
    scene: Scene,
    address: SocketAddr,
}

impl Runs {
    async fn make(&self, name: &str, provider: Value, more: &Value) {
        let mut metric = json!({"name": "rate", "consecutiveErrorLimit": 0, "provider": provider});
        metric.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let run = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
            "metadata": {"name": name, "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "okra"}},
            "spec": {"metrics": [metric]},
        });
        self.scene.apply(&run.to_string()).await.unwrap();
    }

    async fn web(&self, name: &str, path: &str, timeout: u32, more: Value) {
        let url = format!("http://{}/{path}", self.address);
        self.make(name, json!({"web": {"url": url, "timeoutSeconds": timeout}}), &more).await;
    }

    /// A run for each condition; their names.
    async fn lie(&self, path: &str, timeout: u32) -> Vec<String> {
        let mut names = Vec::new();
        for (suffix, field, condition) in CONDITIONS {
            let name = format!("{}-{suffix}", path.split('/').next().unwrap());
            if path.starts_with("prometheus") {
                let address = format!("http://{}/{}", self.address, path.split('/').next().unwrap());
                let condition = condition.replace("result.rate", "result[0]");
                let provider = json!({"prometheus": {"address": address, "query": "rate"}});
                self.make(&name, provider, &json!({field: condition})).await;
            } else {
                self.web(&name, path, timeout, json!({field: condition})).await;
            }
            names.push(name);
        }
        names
    }

    async fn ended(&self, name: &str) -> AnalysisRun {
        let over =
            |run: &AnalysisRun| run.status.as_ref().and_then(|status| status.phase).is_some_and(RunPhase::is_completed);
        self.scene.until_object::<AnalysisRun>(name, "has ended", over).await
    }
}

#[tokio::test]
async fn no_lie_of_a_metric_server_passes_and_none_holds_up_what_is_honest() {
    let mut scene = Scene::new(OKRAD, "hostile").await;
    let api_server = scene.server.url();
    let told: Vec<(&str, &str)> = lies(&api_server).iter().map(|lie| (lie.path, lie.reason)).collect();
    let server = Server::start(lies(&api_server)).await;
    scene.more_args = vec!["--metric-egress-allow".to_owned(), ALLOWED.to_owned()];
    scene.start_okrad();
    let runs = Runs { scene, address: server.address };

    // These hang for longer than the test takes.
    let hanging: Vec<String> = (0..30).map(|number| format!("hangs-{number}")).collect();
    for name in &hanging {
        runs.web(name, "hang", 300, json!({"successCondition": "result.rate >= 0.95"})).await;
    }
    let mut lying: Vec<(String, &str)> = Vec::new();
    for (path, reason) in &told {
        lying.extend(runs.lie(path, 10).await.into_iter().map(|name| (name, *reason)));
    }
    for path in ["hang", "drip", "drip-head"] {
        lying.extend(runs.lie(path, 1).await.into_iter().map(|name| (name, "deadline exceeded")));
    }
    let honest = json!({"successCondition": "result.rate >= 0.95", "interval": "1s", "count": 5});
    runs.web("good", "good", 10, honest).await;

    let good = runs.ended("good").await.status.unwrap();
    assert_eq!((good.phase, good.metric_results[0].successful), (Some(RunPhase::Successful), 5), "{good:?}");
    for name in &hanging {
        let run = runs.scene.api::<AnalysisRun>().get(name).await.unwrap();
        let phase = run.status.and_then(|status| status.phase);
        assert!(!phase.is_some_and(RunPhase::is_completed), "{name} is {phase:?}, so that it held nothing up");
    }
    let mut passed = Vec::new();
    for (name, reason) in &lying {
        let status = runs.ended(name).await.status.unwrap();
        let result = &status.metric_results[0];
        if status.phase == Some(RunPhase::Successful) || result.successful > 0 {
            passed.push(name);
        }
        assert!(status.message.contains(reason), "{name}: {}", status.message);
    }
    assert_eq!(passed, Vec::<&String>::new(), "these passed");
    assert_eq!(lying.len(), 2 * (told.len() + 3));
    let mut scene = runs.scene;
    scene.assert_okrad_runs();
}

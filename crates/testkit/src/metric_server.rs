//! A metric server whose answers a test sets.
#![allow(clippy::expect_used, reason = "only used in tests")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The answer to a path, without its first slash; `None`: 404.
type Answer = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;
type Answers = Arc<Mutex<BTreeMap<String, String>>>;
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers `GET /VERSION` with what was set for the version, and 404 for others.
#[derive(Debug)]
pub struct MetricServer {
    /// Where it listens.
    pub address: SocketAddr,
    answers: Answers,
    asked: Asked,
    _tasks: JoinSet<()>,
}

impl MetricServer {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let answers = Answers::default();
        let known = answers.clone();
        Self { answers, ..Self::serving(move |version| known.lock().get(version).cloned()).await }
    }

    /// One that answers as the function says: it gets the path without its first slash; `None` is a 404.
    pub async fn serving(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let answer: Answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let asked = Asked::default();
        let mut tasks = JoinSet::new();
        let of_asked = asked.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answer.clone(), of_asked.clone()));
            }
        });
        Self { address, answers: Answers::default(), asked, _tasks: tasks }
    }

    /// Sets the answer for a version, JSON.
    pub fn set(&self, version: &str, answer: &str) {
        self.answers.lock().insert(version.to_owned(), answer.to_owned());
    }

    /// The versions that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    /// A template `success-rate` that asks for `args.version` so often, a second apart, and wants a rate of 0.95.
    pub fn template(&self, count: u32) -> String {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata:\n  name: success-rate\nspec:\n  args:\n  \
             - name: version\n  metrics:\n  - name: success-rate\n    interval: 1s\n    count: {count}\n    \
             successCondition: result.rate >= 0.95\n    provider:\n      web:\n        url: \
             http://{}/{{{{args.version}}}}\n",
            self.address
        )
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, asked: Asked) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1024];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend(part.iter().take(count)),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let version = request.split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let known = answer(&version);
    asked.lock().push(version);
    let (status, body) = known.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

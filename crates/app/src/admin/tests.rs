use std::time::Duration;

use axum::serve::Listener as _;
use okra_api::{Cell, Pause};
use okra_provider::{
    Kind, Namespaces, Store,
    testing::{FixedClock, MemoryBackend, SeededEntropy},
};
use pretty_assertions::assert_eq;
use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// One request; status and body, within a deadline.
async fn request(address: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn content() -> AdminContent {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc();
    registry.register("okra_test", "A counter", counter);
    AdminContent { registry: Arc::new(registry), balancer: None, readiness: Readiness::new() }
}

#[tokio::test]
async fn each_server_has_its_own_paths() {
    let sockets = AdminSockets::bind(any_port(), any_port()).await.unwrap();
    let (metrics, health) = (sockets.metrics_addr().unwrap(), sockets.health_addr().unwrap());
    assert_ne!(metrics, health);
    let stop = CancellationToken::new();
    let server = tokio::spawn(sockets.serve(content(), stop.clone()));
    assert_eq!(request(health, "/livez").await, (200, "ok\n".into()));
    assert_eq!(request(health, "/readyz").await, (200, "ok\n".into()));
    let (status, body) = request(metrics, "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("okra_test_total 1") && body.ends_with("# EOF\n"), "{body}");
    assert_eq!(request(health, "/metrics").await.0, 404);
    assert_eq!(request(metrics, "/livez").await.0, 404);
    assert_eq!(request(metrics, "/metrics/balancer").await.0, 404);
    stop.cancel();
    tokio::time::timeout(DEADLINE, server).await.unwrap().unwrap();
    assert!(TcpStream::connect(health).await.is_err());
}

#[tokio::test]
async fn one_address_serves_both() {
    let free = std::net::TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let sockets = AdminSockets::bind(free, free).await.unwrap();
    let _server = tokio::spawn(sockets.serve(content(), CancellationToken::new()));
    assert_eq!(request(free, "/livez").await.0, 200);
    assert_eq!(request(free, "/metrics").await.0, 200);
}

#[tokio::test]
async fn a_taken_address_names_its_flag() {
    let taken = std::net::TcpListener::bind(any_port()).unwrap();
    let error = AdminSockets::bind(any_port(), taken.local_addr().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("--health-addr"), "{error}");
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let memory = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
    memory.hold(&Kind::of::<Cell>());
    memory.serve(&Kind::of::<Pause>(), false);
    let store = Store::new(memory.clone(), Namespaces::All);
    let readiness = Readiness::new();
    let (cells, pauses) = (store.cache::<Cell>(), store.cache::<Pause>());
    readiness.watch(&cells, true);
    readiness.watch(&pauses, true);
    readiness.set("installation id", Some("not known yet".into()));
    pauses.synced().await;

    let sockets = AdminSockets::bind(any_port(), any_port()).await.unwrap();
    let health = sockets.health_addr().unwrap();
    let content = AdminContent { readiness: readiness.clone(), ..content() };
    let _server = tokio::spawn(sockets.serve(content, CancellationToken::new()));
    let (status, body) = request(health, "/readyz").await;
    assert_eq!((status, body.lines().count()), (503, 3), "{body}");
    for line in ["installation id: not known yet", "Cell: not read yet", "Pause: not served, install Okra's CRDs"] {
        assert!(body.contains(line), "{line} is not in\n{body}");
    }
    assert_eq!(request(health, "/livez").await.0, 200, "it runs all the same");

    memory.release(&Kind::of::<Cell>());
    memory.serve(&Kind::of::<Pause>(), true);
    readiness.set("installation id", None);
    let ready = async {
        while request(health, "/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, ready).await.unwrap();
}

#[tokio::test]
async fn an_optional_kind_may_be_absent() {
    let memory = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
    memory.serve(&Kind::of::<Pause>(), false);
    let store = Store::new(memory, Namespaces::All);
    let (readiness, pauses) = (Readiness::new(), store.cache::<Pause>());
    readiness.watch(&pauses, false);
    pauses.synced().await;
    assert_eq!(readiness.missing(), Vec::<String>::new());
}

/// A client that sends nothing is not kept for ever, and does not keep others out.
#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let socket = listener::bind(any_port()).await.unwrap();
    let bounded = listener::Bounded::new(socket).with_lifetime(Duration::from_millis(50));
    let address = bounded.local_addr().unwrap();
    let _server = tokio::spawn(async { axum::serve(bounded, health_routes(content())).await });
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(DEADLINE, silent.read_to_end(&mut rest)).await.unwrap();
    assert!(end.is_err() || rest.is_empty());
}

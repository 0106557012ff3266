//! Real servers and clients on 127.0.0.1 for the tests of the balancer.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use okra_balancer::{
    Action, Balancer, Conditions, DEFAULT_PRIORITY, Group, HealthSource, Options, RoutingTable, Rule, WeightedGroup,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub const DEADLINE: Duration = Duration::from_secs(30);

pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Fails the test instead of hanging.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A backend that answers with its name; see `answer` for its paths.
pub struct Origin {
    pub address: SocketAddr,
    pub state: Arc<OriginState>,
    task: JoinHandle<()>,
}

pub struct OriginState {
    name: &'static str,
    pub healthy: AtomicBool,
    pub requests: AtomicUsize,
    release: watch::Sender<bool>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(OriginState {
            name,
            healthy: AtomicBool::new(true),
            requests: AtomicUsize::new(0),
            release: watch::channel(false).0,
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, state, task }
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(SeqCst)
    }

    /// Lets all requests for `/slow` be answered.
    pub fn release(&self) {
        self.state.release.send_replace(true);
    }
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

async fn answer(state: Arc<OriginState>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/healthz" {
        let status = if state.healthy.load(SeqCst) { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        return Ok(Response::builder().status(status).body(full("")).unwrap());
    }
    state.requests.fetch_add(1, SeqCst);
    Ok(match path.as_str() {
        "/echo" => Response::new(request.into_body().boxed_unsync()),
        "/headers" => {
            let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (name, value) in request.headers() {
                seen.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
            }
            seen.insert(":uri".to_owned(), vec![request.uri().to_string()]);
            let json = serde_json::to_string(&seen).unwrap();
            Response::builder().header("connection", "x-hop").header("x-hop", "1").body(full(json)).unwrap()
        }
        "/slow" => {
            let mut released = state.release.subscribe();
            let _ = released.wait_for(|released| *released).await;
            Response::new(full(state.name))
        }
        "/503" => Response::builder().status(503).body(full(state.name)).unwrap(),
        _ => Response::new(full(state.name)),
    })
}

/// A WebSocket server that answers each message with its name before it.
pub async fn websocket_origin(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        let reply = format!("{name}:{}", message.into_text().unwrap());
                        if socket.send(reply.into()).await.is_err() {
                            break;
                        }
                    }
                }
            });
        }
    });
    address
}

/// One keep-alive connection. It never reconnects, so a connection that the balancer drops fails the test.
pub struct Client {
    sender: SendRequest<Body>,
    host: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        Self { sender, host: address.to_string() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::builder().uri(path)).await
    }

    pub async fn send(&mut self, request: http::request::Builder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub async fn try_send(&mut self, request: http::request::Builder) -> Result<Answer, hyper::Error> {
        let mut request = request.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap();
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", self.host.parse().unwrap());
        }
        let response = self.raw(request).await?;
        let (parts, body) = response.into_parts();
        let body = within("body", body.collect()).await?.to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub async fn raw(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        within("connection ready", self.sender.ready()).await?;
        within("response", self.sender.send_request(request)).await
    }
}

pub async fn balancer(options: Options) -> Balancer {
    Balancer::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap()
}

pub fn given(targets: &[SocketAddr]) -> Group {
    Group { targets: targets.iter().map(|address| (*address).into()).collect(), health: HealthSource::Given }
}

pub fn forward(weights: &[(&str, u32)]) -> Action {
    let groups = weights.iter().map(|(group, weight)| WeightedGroup { group: (*group).to_owned(), weight: *weight });
    Action::Forward { groups: groups.collect(), stickiness: None }
}

pub fn rule(name: &str, priority: u32, conditions: Conditions, action: Action) -> Rule {
    Rule { name: name.to_owned(), priority, conditions, action }
}

/// A table with only the default rule, over all groups at these weights.
pub fn table(groups: &[(&str, u32, Group)]) -> RoutingTable {
    let weights: Vec<_> = groups.iter().map(|(name, weight, _)| (*name, *weight)).collect();
    RoutingTable {
        rules: vec![rule("default", DEFAULT_PRIORITY, Conditions::default(), forward(&weights))],
        groups: groups.iter().map(|(name, _, group)| ((*name).to_owned(), group.clone())).collect(),
    }
}

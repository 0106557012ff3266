//! A small "cluster": a real HTTP server that says which version it is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The header in which a cluster says its version.
pub const VERSION_HEADER: &str = "x-okra-version";
/// The header in which a cluster says its name.
pub const NAME_HEADER: &str = "x-okra-cluster";

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    failing: AtomicBool,
    latency: Mutex<Duration>,
}

/// A server on 127.0.0.1 that answers every request with its version and name. It stops when it is dropped.
pub struct TestCluster {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: Option<DropGuard>,
}

impl TestCluster {
    /// Starts a cluster on a free port.
    pub async fn start(name: &str, version: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.with_context(|| format!("failed to bind {name}"))?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let stop = CancellationToken::new();
        let identity = Arc::new(Identity {
            name: HeaderValue::from_str(name).context("a cluster's name must be printable")?,
            version: HeaderValue::from_str(version).context("a version must be printable")?,
            body: Bytes::from(format!("{version} {name}\n")),
        });
        tokio::spawn(accept(listener, identity, counters.clone(), stop.clone()));
        Ok(Self { address, counters, stop: Some(stop.drop_guard()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it got.
    pub fn requests(&self) -> u64 {
        self.counters.requests.load(Ordering::Relaxed)
    }

    /// From now on it answers 500, or its version again.
    pub fn set_failing(&self, failing: bool) {
        self.counters.failing.store(failing, Ordering::Relaxed);
    }

    /// From now on every answer takes this long.
    pub fn set_latency(&self, latency: Duration) {
        *self.counters.latency.lock() = latency;
    }

    /// Closes its port and all connections, as a cluster that is gone.
    pub fn stop(&mut self) {
        self.stop = None;
    }
}

struct Identity {
    name: HeaderValue,
    version: HeaderValue,
    body: Bytes,
}

async fn accept(listener: TcpListener, identity: Arc<Identity>, counters: Arc<Counters>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (identity, counters, stop) = (identity.clone(), counters.clone(), stop.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|_: Request<Incoming>| answer(identity.clone(), counters.clone()));
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}

async fn answer(identity: Arc<Identity>, counters: Arc<Counters>) -> Result<Response<Full<Bytes>>, Infallible> {
    counters.requests.fetch_add(1, Ordering::Relaxed);
    let latency = *counters.latency.lock();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut response = Response::new(Full::new(identity.body.clone()));
    if counters.failing.load(Ordering::Relaxed) {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response.headers_mut().insert(VERSION_HEADER, identity.version.clone());
    response.headers_mut().insert(NAME_HEADER, identity.name.clone());
    Ok(response)
}

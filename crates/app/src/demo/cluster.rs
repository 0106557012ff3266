//! A small "cluster": a real HTTP server that says which one it is.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::manifests::HEALTH_PATH;

/// The header in which a cluster says its version.
pub(super) const VERSION_HEADER: &str = "x-okra-version";

/// Every so many requests one fails, where the version is a bad one.
const FAILS_EVERY: u64 = 3;

/// A server on 127.0.0.1 that answers every request with its version and name. It stops when it is dropped.
pub(super) struct Cluster {
    /// Its name.
    pub(super) name: String,
    /// Its version, as `v2`.
    pub(super) version: String,
    address: SocketAddr,
    _stop: DropGuard,
}

struct Identity {
    version: HeaderValue,
    body: Bytes,
    quality: Quality,
    requests: AtomicU64,
}

/// How well a version answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quality {
    /// Every request.
    Good,
    /// A third of the requests gets a 500. Its health checks see nothing of it.
    Bad,
}

impl Identity {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        response.headers_mut().insert(VERSION_HEADER, self.version.clone());
        let counts = self.quality == Quality::Bad && request.uri().path() != HEALTH_PATH;
        if counts && (self.requests.fetch_add(1, Relaxed) + 1).is_multiple_of(FAILS_EVERY) {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    }
}

impl Cluster {
    /// Starts one on a free port.
    pub(super) async fn start(name: &str, version: &str, quality: Quality) -> anyhow::Result<Self> {
        let bound = TcpListener::bind("127.0.0.1:0").await;
        let listener = bound.with_context(|| format!("failed to start cluster {name}"))?;
        let identity = Identity {
            version: HeaderValue::from_str(version).context("a version must be printable")?,
            body: Bytes::from(format!("{name} serves {version}\n")),
            quality,
            requests: AtomicU64::new(0),
        };
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::new(identity), stop.clone()));
        Ok(Self { name: name.to_owned(), version: version.to_owned(), address, _stop: stop.drop_guard() })
    }

    /// The version as its label says it: `2.0.0`.
    pub(super) fn label(&self) -> String {
        format!("{}.0.0", self.version.trim_start_matches('v'))
    }

    /// Where it answers; the embedded balancer's id of its target group.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, identity: Arc<Identity>, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (identity, stop) = (identity.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(identity.answer(&request)))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A connection that breaks is the balancer's to see.
            let _broken = stop.run_until_cancelled(connection).await;
        });
    }
}

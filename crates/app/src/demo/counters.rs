//! The balancer's counters by version, over HTTP: what the demo's AnalysisTemplate asks.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use okra_balancer::LocalRouter;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::manifests::{ENOUGH, GOOD};

/// `GET /versions/2.0.0`: the balancer's counters of the target groups of that version. It stops when it is dropped.
pub(super) struct Counters {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    balancer: Arc<LocalRouter>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Version of each target group, by its URL.
    versions: BTreeMap<String, String>,
    /// The first answer of each version that its analysis has to call bad, and when it was asked for.
    first_bad: BTreeMap<String, (Instant, Measured)>,
}

/// What the balancer counted for one version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Requests that were answered.
    pub requests: u64,
    /// Answers 5xx, the balancer's own included.
    pub failed: u64,
    /// The part that did not fail; none without a request.
    pub success_rate: Option<f64>,
}

impl Measured {
    fn new(requests: u64, failed: u64) -> Self {
        let success_rate = (requests > 0).then(|| 1.0 - failed as f64 / requests as f64);
        Self { requests, failed, success_rate }
    }

    /// Whether the demo's AnalysisTemplate has to call it a failure.
    fn is_bad(&self) -> bool {
        self.requests >= ENOUGH && self.success_rate.is_some_and(|rate| rate < GOOD)
    }
}

impl Counters {
    /// Starts on a free port of this machine.
    pub(super) async fn start(balancer: Arc<LocalRouter>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen for the counters")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { balancer, book: Mutex::default() });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, shared.clone(), stop.clone()));
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says which version a target group has.
    pub(super) fn register(&self, url: String, version: String) {
        self.shared.book.lock().versions.insert(url, version);
    }

    /// The first answer about a version that its analysis has to call bad, and when it was asked for.
    pub(super) fn first_bad(&self, version: &str) -> Option<(Instant, Measured)> {
        self.shared.book.lock().first_bad.get(version).copied()
    }
}

impl Shared {
    /// `None`: there is no such version.
    async fn measure(&self, version: &str) -> Option<Measured> {
        let asked = Instant::now();
        let stats = self.balancer.stats().await;
        let mut book = self.book.lock();
        book.versions.values().find(|known| *known == version)?;
        let of_version = |group: &str| book.versions.get(group).is_some_and(|known| known == version);
        let groups = stats.values().flat_map(|stats| &stats.groups).filter(|(group, _)| of_version(group));
        let (requests, failed) = groups.fold((0, 0), |(requests, failed), (_, group)| {
            let own = group.balancer_errors;
            (requests + group.responses + own, failed + group.backend_errors + own)
        });
        let measured = Measured::new(requests, failed);
        if measured.is_bad() {
            book.first_bad.entry(version.to_owned()).or_insert((asked, measured));
        }
        Some(measured)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let measured = match request.uri().path().strip_prefix("/versions/") {
            Some(version) => self.measure(version).await,
            None => None,
        };
        let body = measured.and_then(|measured| serde_json::to_vec(&measured).ok());
        let status = if body.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let mut response = Response::new(Full::new(body.unwrap_or_default().into()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        response
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (shared, stop) = (shared.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(shared.answer(request).await) }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A connection that breaks is for the analysis to see.
            let _broken = stop.run_until_cancelled(connection).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[test]
    fn bad_is_what_the_template_calls_bad() {
        let table = [((0, 0), false), ((19, 19), false), ((20, 1), false), ((20, 2), true), ((300, 100), true)];
        for ((requests, failed), bad) in table {
            assert_eq!(Measured::new(requests, failed).is_bad(), bad, "{failed} of {requests}");
        }
        let nothing = serde_json::to_value(Measured::new(0, 0)).unwrap();
        assert_eq!(nothing, json!({"requests": 0, "failed": 0, "successRate": null}));
    }
}

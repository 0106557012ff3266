//! The admin servers: `/livez` (the process runs), `/readyz` (it can work; else what is missing), `/metrics`.

mod listener;
mod readiness;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::BoxFuture;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use readiness::Readiness;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures of another registry in the older text form, for example those of the embedded balancer.
pub type MoreMetrics = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// The listening sockets of the admin servers.
#[derive(Debug)]
pub struct AdminSockets {
    metrics: TcpListener,
    /// `None`: the same address as the metrics.
    health: Option<TcpListener>,
}

/// What the admin servers show.
#[derive(Clone)]
pub struct AdminContent {
    /// `/metrics`.
    pub registry: Arc<Registry>,
    /// `/metrics/balancer`, where there is an embedded balancer.
    pub balancer: Option<MoreMetrics>,
    /// `/readyz`.
    pub readiness: Readiness,
}

impl AdminSockets {
    /// Listens on both addresses, or once when they are the same, and names the real ones in the log.
    pub async fn bind(metrics: SocketAddr, health: SocketAddr) -> anyhow::Result<Self> {
        let listen = async |flag: &str, address: SocketAddr| {
            let error = |error| anyhow::anyhow!("failed to listen on {address} ({flag}): {error}");
            listener::bind(address).await.map_err(error)
        };
        let same = metrics == health && metrics.port() != 0;
        let sockets = Self {
            metrics: listen("--metrics-addr", metrics).await?,
            health: if same { None } else { Some(listen("--health-addr", health).await?) },
        };
        tracing::info!(address = %sockets.metrics_addr()?, "Serves metrics");
        tracing::info!(address = %sockets.health_addr()?, "Serves health");
        Ok(sockets)
    }

    /// Where `/metrics` is.
    pub fn metrics_addr(&self) -> std::io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    /// Where `/livez` and `/readyz` are.
    pub fn health_addr(&self) -> std::io::Result<SocketAddr> {
        self.health.as_ref().unwrap_or(&self.metrics).local_addr()
    }

    /// Serves until `stop`.
    pub async fn serve(self, content: AdminContent, stop: CancellationToken) {
        match self.health {
            Some(health) => {
                let metrics = run(self.metrics, metrics_routes(content.clone()), stop.clone());
                tokio::join!(metrics, run(health, health_routes(content), stop));
            }
            None => run(self.metrics, metrics_routes(content.clone()).merge(health_routes(content)), stop).await,
        }
    }
}

/// Answers until `stop`, and is then gone at once: nothing here is worth waiting for.
async fn run(socket: TcpListener, routes: Router, stop: CancellationToken) {
    let server = axum::serve(listener::Bounded::new(socket), routes);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        result = async { server.await } => if let Err(error) = result {
            tracing::error!(%error, "An admin server ended");
        }
    }
}

fn health_routes(content: AdminContent) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(ready)).with_state(content)
}

fn metrics_routes(content: AdminContent) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/metrics/balancer", get(balancer_metrics)).with_state(content)
}

async fn ready(State(content): State<AdminContent>) -> Response {
    let missing = content.readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
    }
}

async fn metrics(State(content): State<AdminContent>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &content.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn balancer_metrics(State(content): State<AdminContent>) -> Response {
    match &content.balancer {
        Some(balancer) => ([(header::CONTENT_TYPE, PLAIN_METRICS)], balancer().await).into_response(),
        None => (StatusCode::NOT_FOUND, "no embedded balancer on this store\n").into_response(),
    }
}

#[cfg(test)]
mod tests;

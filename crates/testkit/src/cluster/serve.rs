//! What a cluster answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};
use tokio_util::sync::CancellationToken;

use super::{Counters, NAME_HEADER, VERSION_HEADER};

/// Who answers.
pub(super) struct Identity {
    pub name: HeaderValue,
    pub version: HeaderValue,
    pub body: Bytes,
}

/// Serves one target until `stop`.
pub(super) async fn accept(
    listener: TcpListener,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (identity, counters, stop) = (identity.clone(), counters.clone(), stop.clone());
        tokio::spawn(async move {
            let service =
                hyper::service::service_fn(|request| answer(request, identity.clone(), counters.clone(), stop.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}

/// A request under way; over when it is dropped, also with its connection.
struct UnderWay<'a>(&'a Counters);

impl<'a> UnderWay<'a> {
    /// Takes a place; `None`: the cluster has no more.
    fn begin(counters: &'a Counters) -> Option<Self> {
        let limit = counters.limit();
        let count = counters.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let place = Self(counters);
        if count > limit {
            return None;
        }
        counters.peak.fetch_max(count, Ordering::Relaxed);
        Some(place)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(
    request: Request<Incoming>,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = counters.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let mut response = Response::new(Full::new(identity.body.clone()));
    response.headers_mut().insert(VERSION_HEADER, identity.version.clone());
    response.headers_mut().insert(NAME_HEADER, identity.name.clone());
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() {
        switch(&mut response, &key);
        let upgrade = hyper::upgrade::on(request);
        tokio::spawn(async move {
            counters.sockets.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = echo(upgrade) => {}
            }
            counters.sockets.fetch_sub(1, Ordering::Relaxed);
        });
        return Ok(response);
    }
    let place = UnderWay::begin(&counters);
    let latency = *counters.latency.lock();
    if !latency.is_zero() {
        // Also what is refused: a client in a loop must not make a storm of it.
        tokio::time::sleep(latency).await;
    }
    if place.is_none() {
        counters.refused.fetch_add(1, Ordering::Relaxed);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    } else if fails(&counters, number) {
        counters.failed.fetch_add(1, Ordering::Relaxed);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

fn fails(counters: &Counters, number: u64) -> bool {
    number.checked_rem(counters.fails_every.load(Ordering::Relaxed)) == Some(0)
}

/// The server's half of the handshake (RFC 6455, section 4.2.2).
fn switch(response: &mut Response<Full<Bytes>>, key: &HeaderValue) {
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.body_mut() = Full::default();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// Sends every message back until the other side closes.
async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() && socket.send(message).await.is_err() {
            return;
        }
    }
}

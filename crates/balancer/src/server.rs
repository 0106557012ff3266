//! Client connections: accepting, timeouts, shutdown.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Options;
use crate::balancer::Shared;
use crate::forward::{Client, handle};
use crate::io::{IoState, Phase, TrackedIo};

/// The time that a connection without a request has, when the balancer shuts down, to send one that is on its way.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// The pause after a failed accept: most failures (no file descriptors left) last, and would be a busy loop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Accepts until the balancer drains. Above the limit of connections new ones wait in the listen queue of the kernel.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(shared.options.max_connections));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.draining.cancelled() => break,
            accepted = accept_one(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => start(&shared, stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "failed to accept connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    // Who has connected already gets an answer and not a reset.
    while let Some(Ok((stream, peer, permit))) = accept_one(&listener, &permits).now_or_never() {
        start(&shared, stream, peer, permit);
    }
    drop(listener);
    shared.unbound.cancel();
}

async fn accept_one(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

fn start(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
    shared.totals.connections.add(1);
    let serve = serve(Arc::clone(shared), stream, peer, permit);
    shared.tasks.spawn_on(serve, &shared.runtime);
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
    // Latency only: the connection works without it.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().unwrap_or(shared.local);
    let state = IoState::of_client();
    let io = TrackedIo::new(stream, Arc::clone(&state), shared.totals.active_connections.enter(), Some(permit));
    let client = Client { peer, local, io: Arc::clone(&state) };
    let service = {
        let shared = Arc::clone(&shared);
        service_fn(move |request| handle(Arc::clone(&shared), client.clone(), request))
    };
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(shared.options.max_headers)
        .max_header_size(shared.options.max_header_bytes)
        .max_buf_size(shared.options.buffer_bytes())
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut asked_to_close = false;
    loop {
        tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            result = connection.as_mut() => {
                if let Err(error) = result {
                    if error.is_parse() {
                        shared.totals.refused.add(1);
                    }
                    tracing::debug!(%peer, %error, "client connection ended");
                }
                return;
            }
            () = shared.draining.cancelled(), if !asked_to_close => {
                asked_to_close = true;
                connection.as_mut().graceful_shutdown();
            }
            verdict = overdue(&state, &shared.options, asked_to_close) => match verdict {
                Overdue::Idle if !asked_to_close => {
                    asked_to_close = true;
                    connection.as_mut().graceful_shutdown();
                }
                Overdue::Idle | Overdue::Stuck => return,
            },
        }
    }
}

enum Overdue {
    /// No request for too long.
    Idle,
    /// The client does not send the head it began, or does not take the answer.
    Stuck,
}

/// Returns when the client has used up its time.
async fn overdue(state: &IoState, options: &Options, asked_to_close: bool) -> Overdue {
    let idle_timeout = if asked_to_close { DRAIN_GRACE.min(options.idle_timeout) } else { options.idle_timeout };
    let shortest = idle_timeout.min(options.request_header_timeout);
    let tick = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
    loop {
        tokio::time::sleep(tick).await;
        // A client that still takes the end of its answer is not idle, though hyper has let go of the body.
        if let Some(time) = state.write_blocked() {
            if time > options.idle_timeout {
                return Overdue::Stuck;
            }
            continue;
        }
        match state.phase() {
            (Phase::Waiting, time) if time > idle_timeout => return Overdue::Idle,
            (Phase::Reading, time) if time > options.request_header_timeout => return Overdue::Stuck,
            _ => {}
        }
    }
}

//! The connections of one user.

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Cut, Shared, serve};

pub(super) async fn listen(
    listener: TcpListener,
    shared: Arc<Shared>,
    user: Arc<str>,
    cut: watch::Receiver<Cut>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let connection = connection(stream, shared.clone(), user.clone(), cut.clone());
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(connection).await });
    }
}

/// Serves a connection until it ends or the user is cut off.
async fn connection(stream: TcpStream, shared: Arc<Shared>, user: Arc<str>, mut cut: watch::Receiver<Cut>) {
    // Events are small, and Nagle's algorithm would hold each back for the acknowledgement of the one before.
    _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(|request| serve::handle(shared.clone(), user.clone(), request));
    // Not only dropped: a connection in a black hole stays open, with nothing done on it.
    let mut served = Box::pin(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let is_cut = tokio::select! {
        biased;
        Ok(cut) = cut.wait_for(|cut| *cut != Cut::Healed) => *cut,
        _ = served.as_mut() => return,
    };
    if is_cut == Cut::BlackHole {
        // Nothing that was under way is taken up again: the client has long given it up.
        _ = cut.wait_for(|cut| *cut != Cut::BlackHole).await;
    }
}

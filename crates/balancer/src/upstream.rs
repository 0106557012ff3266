//! Targets and the connections to them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::Options;
use crate::body::RequestBody;
use crate::io::{IoState, TrackedIo};
use crate::stats::GroupCounters;

/// One target of one group: its health and its idle connections. Both live on while the target stays in the group,
/// whatever else a change of the table brings.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: String,
    pub(crate) counters: Arc<GroupCounters>,
    healthy: AtomicBool,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection to a target, ready for one request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    pub(crate) io: Arc<IoState>,
    /// It has carried a request before, so the target may be closing it at this moment.
    pub(crate) reused: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("nothing answered within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Backend {
    pub(crate) fn new(address: String, counters: Arc<GroupCounters>) -> Self {
        Self { address, counters, healthy: AtomicBool::new(false), idle: Mutex::new(Vec::new()) }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Relaxed)
    }

    /// Returns whether this changed anything.
    pub(crate) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Relaxed) != healthy
    }

    /// The idle connection used last, since it is the least likely to be closed.
    pub(crate) fn take_idle(&self, options: &Options) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some(Idle { connection, since }) = idle.pop() {
            if connection.sender.is_ready() && since.elapsed() < options.target_idle_timeout {
                return Some(connection);
            }
        }
        None
    }

    /// Closes idle connections that are over their time or closed already.
    pub(crate) fn sweep(&self, options: &Options) {
        self.idle
            .lock()
            .retain(|idle| !idle.connection.sender.is_closed() && idle.since.elapsed() < options.target_idle_timeout);
    }

    pub(crate) async fn connect(&self, options: &Options) -> Result<Connection, ConnectError> {
        let limit = options.connect_timeout;
        match tokio::time::timeout(limit, self.connect_untimed(options)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout(limit)),
        }
    }

    async fn connect_untimed(&self, options: &Options) -> Result<Connection, ConnectError> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let io = IoState::of_target();
        let open = self.counters.active_connections.enter();
        let tracked = TrackedIo::new(stream, Arc::clone(&io), open, None);
        let (sender, driver) = http1::Builder::new()
            .max_headers(options.max_headers)
            .max_buf_size(options.buffer_bytes())
            .handshake(TokioIo::new(tracked))
            .await?;
        // It ends by itself when the sender is dropped, or after the upgrade.
        tokio::spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "connection to target ended");
            }
        });
        Ok(Connection { sender, io, reused: false })
    }

    /// Keeps the connection for another request, once the answer's body has been read to its end. When the body is
    /// dropped before that, the connection closes and is not kept.
    pub(crate) fn give_back(self: &Arc<Self>, mut connection: Connection, options: &Arc<Options>) {
        connection.reused = true;
        if connection.sender.is_ready() {
            return self.keep(connection, options);
        }
        let (backend, options) = (Arc::downgrade(self), Arc::clone(options));
        tokio::spawn(async move {
            if connection.sender.ready().await.is_ok()
                && let Some(backend) = backend.upgrade()
            {
                backend.keep(connection, &options);
            }
        });
    }

    fn keep(&self, connection: Connection, options: &Options) {
        let mut idle = self.idle.lock();
        if idle.len() < options.max_idle_per_target {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

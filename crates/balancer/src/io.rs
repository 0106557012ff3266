//! Sockets that say when bytes last moved. The timeouts of client connections and the decision whether a request may
//! be sent again rest on it, because hyper tells neither.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use crate::stats::GaugeGuard;

/// The time of the last sign of life.
#[derive(Debug)]
pub(crate) struct Activity {
    started: Instant,
    last_millis: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), last_millis: AtomicU64::new(0) }
    }

    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(now, Relaxed);
    }

    pub(crate) fn quiet_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_millis.load(Relaxed)))
    }

    /// Returns when nothing has happened for `limit`.
    pub(crate) async fn quiet(&self, limit: Duration) {
        while let Some(left) = limit.checked_sub(self.quiet_for()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left).await;
        }
    }
}

const WAITING: u8 = 0;
const READING: u8 = 1;
const ACTIVE: u8 = 2;

/// Where a connection is in its life. Only client connections go through phases; one to a target stays `Active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Waiting,
    /// The head of a request has begun to arrive.
    Reading,
    /// A request is being answered, or the connection has been upgraded.
    Active,
}

#[derive(Debug)]
pub(crate) struct IoState {
    /// Bytes moved, either way.
    pub(crate) moved: Activity,
    phase: AtomicU8,
    phase_began: Activity,
    bytes_read: AtomicU64,
    write_blocked: AtomicBool,
}

impl IoState {
    pub(crate) fn of_client() -> Arc<Self> {
        Arc::new(Self::new(WAITING))
    }

    pub(crate) fn of_target() -> Arc<Self> {
        Arc::new(Self::new(ACTIVE))
    }

    fn new(phase: u8) -> Self {
        Self {
            moved: Activity::new(),
            phase: AtomicU8::new(phase),
            phase_began: Activity::new(),
            bytes_read: AtomicU64::new(0),
            write_blocked: AtomicBool::new(false),
        }
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Relaxed)
    }

    /// The phase and for how long it has lasted.
    pub(crate) fn phase(&self) -> (Phase, Duration) {
        let phase = match self.phase.load(Relaxed) {
            WAITING => Phase::Waiting,
            READING => Phase::Reading,
            _ => Phase::Active,
        };
        (phase, self.phase_began.quiet_for())
    }

    /// Whether the peer takes nothing of what it was sent, and for how long nothing has moved.
    pub(crate) fn write_blocked(&self) -> Option<Duration> {
        self.write_blocked.load(Relaxed).then(|| self.moved.quiet_for())
    }

    /// Marks the connection as busy with a request until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.enter(ACTIVE);
        ActiveRequest(Arc::clone(self))
    }

    fn enter(&self, phase: u8) {
        self.phase_began.touch();
        self.phase.store(phase, Relaxed);
    }

    fn read(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.touch();
            self.bytes_read.fetch_add(bytes as u64, Relaxed);
            if self.phase.load(Relaxed) == WAITING {
                self.enter(READING);
            }
        }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        self.write_blocked.store(result.is_pending(), Relaxed);
        if matches!(result, Poll::Ready(Ok(bytes)) if *bytes > 0) {
            self.moved.touch();
        }
    }
}

/// A request under way on a client connection.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Arc<IoState>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.enter(WAITING);
    }
}

/// A socket that keeps an [`IoState`] up to date, and what must live as long as the socket.
#[derive(Debug)]
pub(crate) struct TrackedIo<T> {
    inner: T,
    state: Arc<IoState>,
    _open: GaugeGuard,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<T> TrackedIo<T> {
    pub(crate) fn new(inner: T, state: Arc<IoState>, open: GaugeGuard, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { inner, state, _open: open, _permit: permit }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.state.read(buf.filled().len().saturating_sub(before));
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.state.wrote(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.state.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

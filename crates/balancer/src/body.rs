//! Bodies on their way through. Neither is ever held as a whole: a frame is passed on when the other side takes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::io::{ActiveRequest, Activity};
use crate::stats::{GaugeGuard, GroupCounters};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("failed to read body")]
    Read(#[from] hyper::Error),
    #[error("failed to read body: nothing came for {0:?}")]
    Stalled(Duration),
}

/// How far a request's body has got.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) moved: Activity,
    complete: AtomicBool,
}

impl Upload {
    pub(crate) fn new(complete: bool) -> Arc<Self> {
        Arc::new(Self { moved: Activity::new(), complete: AtomicBool::new(complete) })
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Relaxed)
    }
}

/// The body of a request to a target.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Stream { inner: Incoming, upload: Arc<Upload> },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream { inner, upload } => {
                let frame = Pin::new(&mut *inner).poll_frame(cx);
                if frame.is_ready() {
                    upload.moved.touch();
                    if matches!(frame, Poll::Ready(None)) || inner.is_end_stream() {
                        upload.complete.store(true, Relaxed);
                    }
                }
                frame.map_err(BodyError::Read)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { inner, .. } => inner.size_hint(),
        }
    }
}

/// A request that a group is busy with: counted until dropped, which is at the end of the answer's body or when an
/// upgraded connection closes.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) counters: Arc<GroupCounters>,
    _active: GaugeGuard,
}

impl InFlight {
    pub(crate) fn new(counters: &Arc<GroupCounters>) -> Self {
        counters.requests.add(1);
        Self { _active: counters.active_requests.enter(), counters: Arc::clone(counters) }
    }
}

/// The body of an answer to a client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    inner: Inner,
    busy: Option<ActiveRequest>,
}

#[derive(Debug)]
enum Inner {
    Full(Full<Bytes>),
    Stream(Box<Streamed>),
}

#[derive(Debug)]
struct Streamed {
    body: Incoming,
    in_flight: InFlight,
    complete: bool,
    limit: Duration,
    stall: Pin<Box<Sleep>>,
}

impl ResponseBody {
    pub(crate) fn full(body: impl Into<Bytes>) -> Self {
        Self { inner: Inner::Full(Full::new(body.into())), busy: None }
    }

    /// Streams what a target answers; it breaks off when the target is silent for `limit`.
    pub(crate) fn stream(body: Incoming, in_flight: InFlight, limit: Duration) -> Self {
        let stall = Box::pin(tokio::time::sleep(limit));
        Self { inner: Inner::Stream(Box::new(Streamed { body, in_flight, complete: false, limit, stall })), busy: None }
    }

    /// Keeps the client connection marked as busy until this body is done.
    pub(crate) fn hold(mut self, busy: ActiveRequest) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().inner {
            Inner::Full(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Inner::Stream(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Full(body) => body.is_end_stream(),
            Inner::Stream(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Full(body) => body.size_hint(),
            Inner::Stream(streamed) => streamed.body.size_hint(),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.complete = frame.is_none();
                // A distant limit may not be representable; then the old deadline is the better of the two.
                if let Some(deadline) = Instant::now().checked_add(self.limit) {
                    self.stall.as_mut().reset(deadline);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Read)))
            }
            Poll::Pending => match self.stall.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Stalled(self.limit)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if !self.complete && !self.body.is_end_stream() {
            self.in_flight.counters.aborted.add(1);
        }
    }
}

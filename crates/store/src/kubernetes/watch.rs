//! List, then watch, again and again.

use std::{ops::ControlFlow, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    api::WatchParams,
    core::{Status, watch::WatchEvent as RawEvent},
};
use okra_provider::WatchEvent;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    Place,
    call::{self, Caller},
    errors::Failure,
    page_limits,
};

/// How many events may wait for a slow reader before the connection is read no further.
const BUFFER: usize = 256;

/// A watch that worked for this long has no bad past (as kube's `default_backoff`).
const HEALTHY: Duration = Duration::from_mins(2);

/// A watch that the server ends sooner than this, without an event, is not worth asking for at once again.
const SHORT: Duration = Duration::from_secs(5);

pub(super) fn start(caller: Caller, place: Place) -> BoxStream<'static, WatchEvent> {
    let (events, told) = mpsc::channel(BUFFER);
    let backoff = Backoff::new(caller.timings.min_backoff, caller.timings.max_backoff);
    let mut watcher = Watcher { caller, place, events: events.clone(), backoff };
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = events.closed() => {}
            () = watcher.run() => {}
        }
    });
    futures::stream::unfold(told, |mut told| async { told.recv().await.map(|event| (event, told)) }).boxed()
}

struct Watcher {
    caller: Caller,
    place: Place,
    events: mpsc::Sender<WatchEvent>,
    backoff: Backoff,
}

/// Why a watch ended.
enum End {
    /// The server ended it, as it does every few minutes, or nothing was heard for too long: go on from here.
    Resume { version: String, worked: bool },
    /// The version is too old, or the kind is no longer served: the list tells.
    Relist,
    /// It failed.
    Failed(Failure),
}

impl Watcher {
    async fn run(&mut self) {
        let mut absent = false;
        while !self.events.is_closed() {
            match self.list().await {
                Ok(version) => {
                    absent = false;
                    if let Some(failure) = self.follow(version).await {
                        self.fail(failure).await;
                    }
                }
                Err(failure) if failure.is_absent() => {
                    if !std::mem::replace(&mut absent, true) {
                        self.tell(WatchEvent::Absent).await;
                    }
                    tokio::time::sleep(self.caller.timings.absent).await;
                }
                Err(failure) => self.fail(failure).await,
            }
        }
    }

    /// Tells everything that is there, part by part; the version at which it was.
    async fn list(&mut self) -> Result<String, Failure> {
        for limit in page_limits() {
            match self.list_in_parts(limit).await {
                // The snapshot that the continue token names was compacted away: begin anew.
                Err(failure) if failure.is_gone() && limit.is_some() => {
                    self.tell(WatchEvent::Listed { first: true, objects: Vec::new() }).await;
                }
                listed => return listed,
            }
        }
        Err(Failure::Broken("failed to read the list: it never came to its end".to_owned()))
    }

    async fn list_in_parts(&mut self, limit: Option<u32>) -> Result<String, Failure> {
        let (mut from, mut first) = (None, true);
        loop {
            let page = self.caller.page(&self.place, limit, from).await?;
            from = page.next;
            if from.is_none() {
                self.tell(WatchEvent::Restarted(page.objects)).await;
                return Ok(page.version);
            }
            self.tell(WatchEvent::Listed { first, objects: page.objects }).await;
            first = false;
        }
    }

    /// Watches from a version on, until it has to be listed again; the failure that made it so, if any.
    async fn follow(&mut self, mut version: String) -> Option<Failure> {
        loop {
            let began = Instant::now();
            match self.watch(version).await {
                End::Resume { version: next, worked } => {
                    version = next;
                    if began.elapsed() >= HEALTHY {
                        self.backoff.reset();
                    } else if !worked && began.elapsed() < SHORT {
                        tokio::time::sleep(self.backoff.next()).await;
                    }
                }
                End::Relist => {
                    tokio::time::sleep(self.backoff.next()).await;
                    return None;
                }
                End::Failed(failure) => {
                    if began.elapsed() >= HEALTHY {
                        self.backoff.reset();
                    }
                    return Some(failure);
                }
            }
        }
    }

    /// One watch request.
    async fn watch(&mut self, mut version: String) -> End {
        let timings = self.caller.timings;
        // Spread, so that the watches of many kinds do not all begin anew in the same second.
        let seconds = timings.watch.as_secs().max(1) as u32;
        let mut params = WatchParams::default().timeout((seconds + jitter(u64::from(seconds) / 4) as u32).min(294));
        params.label_selector.clone_from(&self.place.selector);
        let request = match call::path(&self.place.kind, &self.place.key).watch(&params, &version) {
            Ok(request) => request,
            Err(error) => return End::Failed(Failure::Unsendable(error.to_string())),
        };
        let open = async {
            let request = self.caller.authorized(request).await?;
            self.caller.client.request_events::<Value>(request).await.map_err(Failure::from)
        };
        let opened = timeout(timings.call, open).await;
        let mut stream = match opened {
            Ok(Ok(stream)) => std::pin::pin!(stream),
            Ok(Err(failure)) => {
                if let Failure::Refused { code, .. } = &failure {
                    self.caller.learn(*code);
                }
                return End::of(failure);
            }
            Err(_) => return End::Failed(Failure::Slow),
        };
        let mut worked = false;
        loop {
            match timeout(timings.idle, stream.next()).await {
                Ok(Some(Ok(event))) => match self.pass_on(event, &mut version).await {
                    ControlFlow::Continue(()) => worked = true,
                    ControlFlow::Break(end) => return end,
                },
                Ok(Some(Err(error))) => return End::of(error.into()),
                Ok(None) | Err(_) => return End::Resume { version, worked },
            }
        }
    }

    async fn pass_on(&self, event: RawEvent<Value>, version: &mut String) -> ControlFlow<End> {
        let (object, deleted) = match event {
            RawEvent::Added(object) | RawEvent::Modified(object) => (object, false),
            RawEvent::Deleted(object) => (object, true),
            RawEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                return ControlFlow::Continue(());
            }
            RawEvent::Error(status) => return ControlFlow::Break(End::told(status)),
        };
        let object = call::tidied(&self.place.kind, object);
        if let Some(seen) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
            seen.clone_into(version);
        }
        self.tell(if deleted { WatchEvent::Deleted(object) } else { WatchEvent::Applied(object) }).await;
        ControlFlow::Continue(())
    }

    async fn fail(&mut self, failure: Failure) {
        let words = failure.words(&self.place.kind);
        self.tell(WatchEvent::Interrupted(words)).await;
        tokio::time::sleep(self.backoff.next()).await;
    }

    /// A reader that went away ends the task by itself.
    async fn tell(&self, event: WatchEvent) {
        _ = self.events.send(event).await;
    }
}

impl End {
    fn of(failure: Failure) -> Self {
        if failure.is_gone() || failure.is_absent() { Self::Relist } else { Self::Failed(failure) }
    }

    fn told(status: Box<Status>) -> Self {
        Self::of(kube::Error::Api(status).into())
    }
}

/// Waits between attempts: doubled each time, and a random part of up to as much again, so that many clients of a
/// server that was away do not come back together.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        (wait + Duration::from_millis(jitter(wait.as_millis() as u64))).min(self.max)
    }
}

/// A random number below a bound; 0 when the bound is 0.
fn jitter(bound: u64) -> u64 {
    let random = uuid::Uuid::new_v4().as_u128() as u64;
    random.checked_rem(bound).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_failures_makes_few_attempts() {
        let mut backoff = Backoff::new(Duration::from_millis(800), Duration::from_secs(30));
        let mut waited = Duration::ZERO;
        let mut attempts = 0;
        while waited < Duration::from_mins(1) {
            let wait = backoff.next();
            assert!(wait >= Duration::from_millis(800) && wait <= Duration::from_secs(30), "{wait:?}");
            waited += wait;
            attempts += 1;
        }
        assert!(attempts <= 7, "{attempts}");
        backoff.reset();
        assert!(backoff.next() < Duration::from_millis(1600));
    }
}

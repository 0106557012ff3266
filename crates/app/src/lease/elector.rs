//! Takes the lease, renews it, gives it up.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use okra_controller::runtime::MonotonicClock;
use okra_provider::{Backend, BackendError, Clock, Key, Kind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Observation, Verdict,
    leadership::Hold,
    record::{LeaseRecord, parse},
};

/// How often a follower looks at the lease: half of the two seconds within which it takes over after a release.
const POLL: Duration = Duration::from_secs(1);
/// Longest time that one call about the lease may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What an elector runs for.
#[derive(Clone, Debug)]
pub struct ElectorConfig {
    /// The Lease.
    pub key: Key,
    /// Who this process is; no other may ever have the same.
    pub identity: String,
    /// How long the lease holds after each renewal.
    pub duration: Duration,
}

/// Where this process stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LeaderState {
    /// It has not read the lease yet.
    #[default]
    Unknown,
    /// Somebody else leads; who, for people.
    Follower(String),
    /// It leads.
    Leader,
    /// It led, and does not any more.
    Lost,
}

/// This process led and lost the lease: its work must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost the lease {key}: {reason}")]
pub struct LeaseLost {
    /// The Lease.
    pub key: Key,
    /// Why.
    pub reason: String,
}

/// Takes the lease when it is free, renews it while it holds it, and gives it up when told to stop.
///
/// Its [`Backend`] must be its own (its own connections), so that it never waits behind other calls.
pub struct Elector {
    config: ElectorConfig,
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    monotonic: Arc<dyn MonotonicClock>,
    hold: Arc<Hold>,
    state: watch::Sender<LeaderState>,
    observation: Observation,
    /// The Lease as it was read or written last: what the next write is based on.
    lease: Option<Lease>,
    last_error: Option<String>,
}

/// How a write of the lease went.
enum Written {
    Done,
    /// Somebody else wrote it, or it is not there any more: it must be read again.
    Raced,
}

impl Elector {
    /// An elector that is not running yet; where it stands is told to `state`, and until when it holds to `hold`.
    pub fn new(
        config: ElectorConfig,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        monotonic: Arc<dyn MonotonicClock>,
        hold: Arc<Hold>,
        state: watch::Sender<LeaderState>,
    ) -> Self {
        let observation = Observation::default();
        Self { config, backend, clock, monotonic, hold, state, observation, lease: None, last_error: None }
    }

    /// Runs until `stop`, and gives the lease up then. Ends with an error when it led and lost the lease.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), LeaseLost> {
        if !self.follow(&stop).await {
            return Ok(());
        }
        tracing::info!(lease = %self.config.key, identity = self.config.identity, "Leads now");
        self.state.send_replace(LeaderState::Leader);
        let led = self.lead(&stop).await;
        self.hold.give_up();
        match led {
            Ok(()) => {
                self.release().await;
                self.state.send_replace(LeaderState::Unknown);
                Ok(())
            }
            Err(reason) => {
                self.state.send_replace(LeaderState::Lost);
                Err(LeaseLost { key: self.config.key, reason })
            }
        }
    }

    /// Waits for the lease; false when told to stop before.
    async fn follow(&mut self, stop: &CancellationToken) -> bool {
        loop {
            let wait = match self.try_acquire().await {
                Ok(None) => return true,
                Ok(Some(wait)) => {
                    self.last_error = None;
                    wait
                }
                Err(error) => {
                    self.complain(&error, "Failed to read or take the lease");
                    POLL
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One look at the lease, and one attempt when it is to be had; how long to wait for the next, `None`: got it.
    async fn try_acquire(&mut self) -> Result<Option<Duration>, BackendError> {
        self.read(CALL_TIMEOUT).await?;
        let now = self.monotonic.elapsed();
        match self.observation.evaluate(&self.config.identity, now) {
            Verdict::Wait { until } => {
                let holder = self.observation.record().map_or_else(String::new, |record| record.holder.clone());
                let state = LeaderState::Follower(holder);
                if self.state.send_if_modified(|old| {
                    *old != state && {
                        *old = state.clone();
                        true
                    }
                }) {
                    tracing::info!(lease = %self.config.key, ?state, "Follows");
                }
                Ok(Some(until.saturating_sub(now).min(POLL)))
            }
            // Ours without having led: the answer to our own taking was lost. Written again, so that the time that
            // it holds is counted from a moment before a write that is known to have arrived.
            Verdict::Acquire | Verdict::Renew { .. } => match self.write_held(CALL_TIMEOUT).await? {
                Written::Done => Ok(None),
                Written::Raced => Ok(Some(Duration::ZERO)),
            },
        }
    }

    /// Renews the lease until told to stop; why it was lost otherwise.
    async fn lead(&mut self, stop: &CancellationToken) -> Result<(), String> {
        let mut retry = None;
        loop {
            let now = self.monotonic.elapsed();
            let wait = match self.observation.evaluate(&self.config.identity, now) {
                Verdict::Renew { at } => retry.take().unwrap_or(at.saturating_sub(now)),
                Verdict::Acquire | Verdict::Wait { .. } => return Err(self.other_holder()),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            let left = self.left();
            if left.is_zero() {
                return Err("it could not be renewed in time".to_owned());
            }
            let timeout = (self.config.duration / 3).min(CALL_TIMEOUT);
            // A renewal can be several calls; none of them may keep us from stopping in time.
            match limited(left, self.renew(timeout)).await {
                Ok(()) => self.last_error = None,
                Err(error) => {
                    self.complain(&error, "Failed to renew the lease");
                    retry = Some((self.config.duration / 10).min(POLL).min(self.left()));
                }
            }
        }
    }

    /// One renewal. Without an error the lease is renewed, or it was read again and says who has it.
    async fn renew(&mut self, timeout: Duration) -> Result<(), BackendError> {
        if let Written::Done = self.write_held(timeout).await? {
            return Ok(());
        }
        // A renewal whose answer was lost, an edit of a label, or another holder: only a read can tell.
        self.read(timeout).await?;
        if self.observation.record().is_none_or(|record| record.holder != self.config.identity) {
            return Ok(());
        }
        match self.write_held(timeout).await? {
            Written::Done => Ok(()),
            Written::Raced => Err(BackendError::Conflict { kind: "Lease".to_owned(), key: self.config.key.clone() }),
        }
    }

    fn other_holder(&self) -> String {
        match self.observation.record() {
            Some(record) if record.holder.is_empty() => "somebody emptied it".to_owned(),
            Some(record) => format!("{} has it", record.holder),
            None => "somebody deleted it".to_owned(),
        }
    }

    /// How long the lease is still ours.
    fn left(&self) -> Duration {
        self.hold.get().map_or(Duration::ZERO, |until| until.saturating_sub(self.monotonic.elapsed()))
    }

    async fn read(&mut self, timeout: Duration) -> Result<(), BackendError> {
        let kind = Kind::of::<Lease>();
        let lease = match limited(timeout, self.backend.get(&kind, &self.config.key)).await {
            Ok(value) => Some(parse(&self.config.key, value)?),
            Err(BackendError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        self.observation.observe(lease.as_ref().map(LeaseRecord::of), self.monotonic.elapsed());
        self.lease = lease;
        Ok(())
    }

    /// Writes the lease as ours, on the condition that it is still as it was read.
    async fn write_held(&mut self, timeout: Duration) -> Result<Written, BackendError> {
        let before = self.monotonic.elapsed();
        let ElectorConfig { key, identity, duration } = &self.config;
        let record = LeaseRecord::held_by(self.observation.record(), identity, *duration, self.clock.now());
        let object = record.write(self.lease.as_ref(), key)?;
        let kind = Kind::of::<Lease>();
        let answer = match &self.lease {
            Some(_) => limited(timeout, self.backend.update(&kind, &object)).await,
            None => limited(timeout, self.backend.create(&kind, &object)).await,
        };
        match answer {
            Ok(value) => {
                let lease = parse(key, value)?;
                // Both are counted from before the call: contenders can have seen the write no sooner.
                self.hold.until(before + *duration);
                self.observation.observe(Some(LeaseRecord::of(&lease)), before);
                self.lease = Some(lease);
                Ok(Written::Done)
            }
            Err(BackendError::Conflict { .. } | BackendError::AlreadyExists { .. } | BackendError::NotFound { .. }) => {
                Ok(Written::Raced)
            }
            Err(error) => Err(error),
        }
    }

    /// Empties the lease, so that nobody has to wait until it expires. A failure only costs them that time.
    async fn release(&mut self) {
        let mut released = self.write_released().await;
        if let Err(BackendError::Conflict { .. }) = released {
            // Our last renewal may have arrived without its answer; another holder's lease is left alone.
            released = match self.read(CALL_TIMEOUT).await {
                Ok(()) => self.write_released().await,
                Err(error) => Err(error),
            };
        }
        match released {
            Ok(()) => tracing::info!(lease = %self.config.key, "Gave up the lease"),
            Err(error) => tracing::warn!(lease = %self.config.key, %error, "Failed to give up the lease: it expires"),
        }
    }

    async fn write_released(&self) -> Result<(), BackendError> {
        let Some(record) = self.observation.record().filter(|record| record.holder == self.config.identity) else {
            return Ok(());
        };
        let object = record.released(self.clock.now()).write(self.lease.as_ref(), &self.config.key)?;
        limited(CALL_TIMEOUT, self.backend.update(&Kind::of::<Lease>(), &object)).await.map(drop)
    }

    /// Tells of an error once, not at every look.
    fn complain(&mut self, error: &BackendError, what: &'static str) {
        let text = error.to_string();
        if self.last_error.as_ref() != Some(&text) {
            tracing::warn!(lease = %self.config.key, error = text, "{what}");
            self.last_error = Some(text);
        }
    }
}

/// A call with a deadline of our own, whatever the backend's is.
async fn limited<T>(timeout: Duration, call: impl Future<Output = Result<T, BackendError>>) -> Result<T, BackendError> {
    tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(|_| Err(BackendError::Unreachable(format!("no answer within {timeout:?}"))))
}

//! The controller of Pauses: begins them, and ends them when their time is over.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use okra_api::{Pause, PausePhase, PauseStatus};
use okra_provider::{Cache, Clock, Key, Kind, Lookup, Store};

use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// The controller of Pauses.
pub struct PauseController {
    store: Store,
    cache: Cache<Pause>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for PauseController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PauseController").finish_non_exhaustive()
    }
}

impl PauseController {
    /// A controller; starts the watch of Pauses, within the tokio runtime that it is called in.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        let cache = store.cache();
        Self { store, cache, clock }
    }
}

#[async_trait]
impl Reconciler for PauseController {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![Kind::of::<Pause>()]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        if changed.kind == Kind::of::<Pause>() { vec![changed.key.clone()] } else { Vec::new() }
    }

    fn all(&self) -> Vec<Key> {
        self.cache.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let now = self.clock.now();
        let pause = match self.cache.get(key) {
            Lookup::Found(pause) => pause,
            Lookup::Missing | Lookup::Stale => return Ok(Next::IDLE),
            Lookup::Malformed(error) => return malformed::report::<Pause>(&self.store, key, &error, now).await,
        };
        if pause.metadata.deletion_timestamp.is_some() {
            return Ok(Next::IDLE);
        }
        let (status, next) = plan(&pause, now);
        if pause.status.as_ref() != Some(&status) {
            let mut pause = (*pause).clone();
            pause.status = Some(status);
            self.store.update_status(&pause).await?;
        }
        Ok(next)
    }
}

/// What a Pause's status should be, and when to look again. A Pause that ended stays ended, whatever its
/// `expireTime` says later; a rollout that went on cannot be held any more.
fn plan(pause: &Pause, now: Timestamp) -> (PauseStatus, Next) {
    let status = pause.status.clone().unwrap_or_default();
    if matches!(status.phase, Some(PausePhase::Expired | PausePhase::Cancelled)) {
        return (status, Next::IDLE);
    }
    let expires = pause.spec.expire_time;
    let over = expires.is_some_and(|time| time <= now);
    let phase = if over { PausePhase::Expired } else { PausePhase::Started };
    let generation = pause.metadata.generation;
    let next = if over { Next::IDLE } else { Next { wake_at: expires } };
    if status.phase == Some(phase) && status.observed_generation == generation {
        return (status, next);
    }
    (PauseStatus { phase: Some(phase), observed_generation: generation, last_sync_time: Some(now) }, next)
}

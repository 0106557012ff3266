//! What a Lease says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use okra_api::names::FIELD_MANAGER;
use okra_provider::{BackendError, Key};
use serde_json::Value;

/// How long a record holds that does not say so, or not legally.
const DEFAULT_DURATION: Duration = Duration::from_secs(15);

/// What a Lease says, as far as it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who has it; empty: nobody.
    pub holder: String,
    /// How long it holds after each renewal.
    pub duration: Duration,
    /// When the holder got it, by the holder's clock.
    pub acquired: Option<Timestamp>,
    /// When the holder renewed it last, by the holder's clock: only a change of it counts.
    pub renewed: Option<Timestamp>,
    /// How often it went from one holder to another.
    pub transitions: i32,
}

impl LeaseRecord {
    /// Reads a Lease.
    pub(super) fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.map_or(DEFAULT_DURATION, Duration::from_secs),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
        }
    }

    /// The record after `identity` took the lease or renewed it.
    pub(super) fn held_by(previous: Option<&Self>, identity: &str, duration: Duration, now: Timestamp) -> Self {
        let same = previous.filter(|previous| previous.holder == identity);
        let transitions = previous.map_or(0, |previous| previous.transitions);
        // Contenders see a renewal by the change of this time, so it changes even when the clock was set back.
        let least = previous.and_then(|previous| previous.renewed?.checked_add(SignedDuration::from_micros(1)).ok());
        Self {
            holder: identity.to_owned(),
            duration,
            acquired: same.map_or(Some(now), |same| same.acquired),
            renewed: Some(least.map_or(now, |least| now.max(least))),
            transitions: if same.is_some() || previous.is_none() { transitions } else { transitions.saturating_add(1) },
        }
    }

    /// The record after its holder gave it up.
    pub(super) fn released(&self, now: Timestamp) -> Self {
        Self { holder: String::new(), duration: Duration::from_secs(1), renewed: Some(now), ..self.clone() }
    }

    fn spec(&self) -> LeaseSpec {
        // The record speaks in whole seconds; rounding up keeps contenders away for at least as long as it is held.
        let seconds = self.duration.as_secs() + u64::from(self.duration.subsec_nanos() > 0);
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: self.acquired.map(MicroTime),
            renew_time: self.renewed.map(MicroTime),
            lease_transitions: Some(self.transitions),
            ..LeaseSpec::default()
        }
    }

    /// A Lease that says so: `base` with this record, or a new one.
    pub(super) fn write(&self, base: Option<&Lease>, key: &Key) -> Result<Value, BackendError> {
        let mut lease = base.cloned().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                namespace: Some(key.namespace.clone()),
                name: Some(key.name.clone()),
                labels: Some([("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let kept = lease.spec.take().unwrap_or_default();
        lease.spec =
            Some(LeaseSpec { strategy: kept.strategy, preferred_holder: kept.preferred_holder, ..self.spec() });
        serde_json::to_value(lease)
            .map_err(|error| BackendError::Invalid { message: format!("failed to write Lease {key}: {error}") })
    }
}

/// Reads a Lease out of an answer.
pub(super) fn parse(key: &Key, value: Value) -> Result<Lease, BackendError> {
    serde_json::from_value(value)
        .map_err(|error| BackendError::Invalid { message: format!("failed to read Lease {key}: {error}") })
}

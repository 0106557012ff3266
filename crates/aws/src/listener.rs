//! Readings of whole listeners, shared by all who look at the same one at about the same time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use aws_sdk_elasticloadbalancingv2::types::Rule;
use okra_core::route::Intent;
use okra_provider::RouterError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::memory::Memory;

/// How long a reading serves others: long enough for a round of looks at all Cells of a listener.
pub(crate) const SHARED_FOR: Duration = Duration::from_secs(10);

type ListenerAndRole = (String, Option<String>);
type Slot = Arc<tokio::sync::Mutex<Option<Reading>>>;

/// One reading of a listener, or why there is none: a failure is shared too, or fifty Cells would repeat it.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    begun: Instant,
    ended: Instant,
    /// All rules but the default one.
    pub rules: Result<Arc<Vec<Rule>>, RouterError>,
}

/// The shared readings by listener and role.
#[derive(Debug, Default)]
pub(crate) struct SharedReadings {
    slots: Mutex<BTreeMap<ListenerAndRole, Slot>>,
}

impl SharedReadings {
    /// A reading that is young enough and not older than our own last write for this intent; else `read` makes one,
    /// while the others wait for it.
    pub async fn get(
        &self,
        key: ListenerAndRole,
        intent: &Intent,
        memory: &Memory,
        read: impl Future<Output = Result<Arc<Vec<Rule>>, RouterError>>,
    ) -> Result<Arc<Vec<Rule>>, RouterError> {
        let own = self.slots.lock().entry(key).or_default().clone();
        let mut slot = own.lock().await;
        if let Some(reading) = slot.as_ref()
            && reading.ended.elapsed() < SHARED_FOR
            && !memory.wrote_since(intent, reading.begun)
        {
            return reading.rules.clone();
        }
        let begun = Instant::now();
        let rules = read.await;
        *slot = Some(Reading { begun, ended: Instant::now(), rules: rules.clone() });
        tokio::spawn(forget_in_time(Arc::downgrade(&own)));
        rules
    }
}

/// At rest nobody asks for minutes: thousands of rules must not be kept for nobody.
async fn forget_in_time(slot: Weak<tokio::sync::Mutex<Option<Reading>>>) {
    tokio::time::sleep(SHARED_FOR).await;
    if let Some(slot) = slot.upgrade() {
        slot.lock().await.take_if(|reading| reading.ended.elapsed() >= SHARED_FOR);
    }
}

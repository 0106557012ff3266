//! The controller of VersionBlocklists: says which entries cannot be read as versions and therefore block nothing.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use okra_api::{VersionBlocklist, version_blocklist::VersionBlocklistStatus};
use okra_core::version;
use okra_provider::{Cache, Clock, EventNote, EventSink, Key, Kind, Lookup, Store};

use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// The longest text of a version in the status.
const MAX_VERSION: usize = 128;

/// The controller of VersionBlocklists.
pub struct VersionBlocklistController {
    store: Store,
    cache: Cache<VersionBlocklist>,
    clock: Arc<dyn Clock>,
    events: Arc<dyn EventSink>,
}

impl fmt::Debug for VersionBlocklistController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionBlocklistController").finish_non_exhaustive()
    }
}

impl VersionBlocklistController {
    /// A controller; starts the watch of VersionBlocklists, within the tokio runtime that it is called in.
    pub fn new(store: Store, clock: Arc<dyn Clock>, events: Arc<dyn EventSink>) -> Self {
        let cache = store.cache();
        Self { store, cache, clock, events }
    }
}

#[async_trait]
impl Reconciler for VersionBlocklistController {
    fn name(&self) -> &'static str {
        "version_blocklist"
    }

    fn watches(&self) -> Vec<Kind> {
        vec![Kind::of::<VersionBlocklist>()]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        if changed.kind == Kind::of::<VersionBlocklist>() { vec![changed.key.clone()] } else { Vec::new() }
    }

    fn all(&self) -> Vec<Key> {
        self.cache.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let list = match self.cache.get(key) {
            Lookup::Found(list) => list,
            Lookup::Missing | Lookup::Stale => return Ok(Next::IDLE),
            Lookup::Malformed(error) => {
                return malformed::report::<VersionBlocklist>(&self.store, key, &error, self.clock.now()).await;
            }
        };
        let (status, findings) = plan(&list);
        if list.metadata.deletion_timestamp.is_some() || list.status.as_ref() == Some(&status) {
            return Ok(Next::IDLE);
        }
        let mut list = (*list).clone();
        list.status = Some(status);
        let written = self.store.update_status(&list).await?;
        for (reason, message) in findings {
            self.events.publish(note(&written, key, reason, message)).await;
        }
        Ok(Next::IDLE)
    }
}

/// The status of a list, and what a person should hear of it once. Two texts of one version, `v1.0` and `1.0.0`, are
/// duplicates: they block as one, and taking off only one of them unblocks nothing.
fn plan(list: &VersionBlocklist) -> (VersionBlocklistStatus, Vec<(&'static str, String)>) {
    let (mut unreadable, mut seen, mut duplicates) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for item in &list.spec.items {
        match version::parse(&item.version) {
            Err(_) => _ = unreadable.insert(item.version.chars().take(MAX_VERSION).collect::<String>()),
            Ok(version) => {
                if !seen.insert(version) {
                    duplicates.insert(item.version.clone());
                }
            }
        }
    }
    let names = |texts: &BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut findings = Vec::new();
    if !unreadable.is_empty() {
        let message = format!(
            "these are no versions and block nothing: {}; write them like 1.2.3, v2 or 1.25-rc.1",
            names(&unreadable)
        );
        findings.push(("UnreadableVersions", message));
    }
    if !duplicates.is_empty() {
        let message = format!(
            "these versions are on the list more than once: {}; a version is unblocked when all of its entries are gone",
            names(&duplicates)
        );
        findings.push(("DuplicateVersions", message));
    }
    let status = VersionBlocklistStatus {
        observed_generation: list.metadata.generation,
        unreadable: unreadable.into_iter().collect(),
    };
    (status, findings)
}

fn note(list: &VersionBlocklist, key: &Key, reason: &str, message: String) -> EventNote {
    EventNote {
        kind: Kind::of::<VersionBlocklist>(),
        key: key.clone(),
        uid: list.metadata.uid.clone().unwrap_or_default(),
        warning: true,
        reason: reason.to_owned(),
        action: "ReadBlocklist".to_owned(),
        message,
    }
}

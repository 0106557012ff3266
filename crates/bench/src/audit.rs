//! What a user asked the API server for, counted from the audit log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_testkit::AuditEvent;

/// Requests by `verb resource/subresource`.
#[derive(Clone, Debug, Default)]
pub struct Requests(pub BTreeMap<String, u64>);

const WRITES: [&str; 6] = ["create", "update", "patch", "delete", "deletecollection", "apply"];

impl Requests {
    /// Those of a user that arrived in a span of time.
    pub fn of(events: &[AuditEvent], user: &str, from: Timestamp, to: Timestamp) -> Self {
        let mut counts = BTreeMap::new();
        for event in events.iter().filter(|event| event.user == user && event.at >= from && event.at <= to) {
            // A watch that begins and ends is told twice.
            if (event.verb == "watch") != (event.stage == "ResponseStarted") {
                continue;
            }
            let slash = if event.subresource.is_empty() { "" } else { "/" };
            let refused = if event.code >= 400 { format!(" ({})", event.code) } else { String::new() };
            let key = format!("{} {}{slash}{}{refused}", event.verb, event.resource, event.subresource);
            *counts.entry(key).or_default() += 1;
        }
        Self(counts)
    }

    /// All of them but those about the Lease.
    pub fn total(&self) -> u64 {
        self.sum(|key| !key.contains(" leases"))
    }

    /// Writes, without the Lease and without events, which tell people and change nothing.
    pub fn writes(&self) -> u64 {
        self.sum(|key| is_write(key) && !key.contains(" leases") && !key.contains(" events"))
    }

    /// Events that were written.
    pub fn events(&self) -> u64 {
        self.sum(|key| is_write(key) && key.contains(" events"))
    }

    fn sum(&self, counts: impl Fn(&str) -> bool) -> u64 {
        self.0.iter().filter(|(key, _)| counts(key)).map(|(_, count)| count).sum()
    }
}

fn is_write(key: &str) -> bool {
    key.split(' ').next().is_some_and(|verb| WRITES.contains(&verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_and_events_are_no_writes() {
        let keys =
            ["patch cells/status", "create pauses", "update leases", "create events", "list cells", "watch cells"];
        let requests = Requests(keys.iter().map(|key| ((*key).to_owned(), 2)).collect());
        assert_eq!((requests.writes(), requests.events(), requests.total()), (4, 2, 10));
    }
}

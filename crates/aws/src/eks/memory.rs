//! What was told of clusters before.

use std::{collections::BTreeMap, time::Duration};

use okra_provider::cluster::{ClusterState, FoundCluster};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::describe::account;

/// How long a description counts. Endpoint and certificates of an EKS cluster never change, but a cluster can be made
/// anew under its name.
const FRESH: Duration = Duration::from_mins(5);
/// How long the tagging API is left alone that knew nothing.
const LEAVE_TAGGING: Duration = Duration::from_mins(10);

/// Region and role.
pub(super) type Place = (String, Option<String>);

/// What was told of clusters before, by region, role and name.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    described: BTreeMap<(Place, String), Described>,
    accounts: BTreeMap<Place, String>,
    left: BTreeMap<Place, Instant>,
}

/// A cluster as it was described.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) cluster: FoundCluster,
    at: Instant,
}

impl Described {
    /// Whether it need not be asked for again. `tags` are those that a listing told of just now.
    pub(super) fn is_fresh(&self, tags: Option<&BTreeMap<String, String>>) -> bool {
        let is_settled = matches!(self.cluster.state, ClusterState::Ready { .. });
        is_settled && self.at.elapsed() < FRESH && tags.is_none_or(|tags| *tags == self.cluster.tags)
    }
}

impl Memory {
    pub(super) fn known(&self, place: &Place, name: &str) -> Option<Described> {
        self.0.lock().described.get(&(place.clone(), name.to_owned())).cloned()
    }

    pub(super) fn keep(&self, place: &Place, name: &str, cluster: FoundCluster) {
        let mut state = self.0.lock();
        state.accounts.insert(place.clone(), account(&cluster.id).to_owned());
        let described = Described { cluster, at: Instant::now() };
        state.described.insert((place.clone(), name.to_owned()), described);
    }

    pub(super) fn forget(&self, place: &Place, name: &str) {
        self.0.lock().described.remove(&(place.clone(), name.to_owned()));
    }

    /// The account whose clusters a region and role show; `None` until one was seen.
    pub(super) fn account(&self, place: &Place) -> Option<String> {
        self.0.lock().accounts.get(place).cloned()
    }

    pub(super) fn may_ask_tagging(&self, place: &Place) -> bool {
        self.0.lock().left.get(place).is_none_or(|since| since.elapsed() >= LEAVE_TAGGING)
    }

    pub(super) fn leave_tagging(&self, place: &Place) {
        self.0.lock().left.insert(place.clone(), Instant::now());
    }
}

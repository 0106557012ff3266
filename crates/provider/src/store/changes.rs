//! Who wants to know of changes, and what they have not been told yet.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backend::{Key, Kind};

/// An object that changed, appeared, went, or stopped being stale.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// Its kind.
    pub kind: Kind,
    /// The object.
    pub key: Key,
}

/// The changes that one subscriber has not taken yet.
#[derive(Debug)]
pub struct ChangeStream {
    queue: Arc<Queue>,
}

impl ChangeStream {
    /// The next change, in the order of their first mention; `None` after the store was shut down. Several
    /// changes of one object that were not taken yet are one. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Changed> {
        loop {
            {
                let mut waiting = self.queue.waiting.lock();
                if let Some(changed) = waiting.order.pop_front() {
                    waiting.members.remove(&changed);
                    return Some(changed);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.queue.filled.notified().await;
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Changed>,
    members: BTreeSet<Changed>,
    closed: bool,
}

/// All subscribers of a store.
#[derive(Debug, Default)]
pub(super) struct Hub {
    subscribers: Mutex<Vec<Weak<Queue>>>,
}

impl Hub {
    pub(super) fn subscribe(&self) -> ChangeStream {
        let queue = Arc::new(Queue::default());
        self.subscribers.lock().push(Arc::downgrade(&queue));
        ChangeStream { queue }
    }

    pub(super) fn publish(&self, kind: &Kind, keys: BTreeSet<Key>) {
        if keys.is_empty() {
            return;
        }
        self.each(|waiting| {
            for key in &keys {
                let changed = Changed { kind: kind.clone(), key: key.clone() };
                if waiting.members.insert(changed.clone()) {
                    waiting.order.push_back(changed);
                }
            }
        });
    }

    pub(super) fn close(&self) {
        self.each(|waiting| waiting.closed = true);
    }

    fn each(&self, mut tell: impl FnMut(&mut Waiting)) {
        self.subscribers.lock().retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else { return false };
            tell(&mut queue.waiting.lock());
            queue.filled.notify_one();
            true
        });
    }
}

//! The tasks behind a cache: one carries its watches into it, one looks after writes that no watch shows.

use std::{sync::Arc, time::Duration};

use futures::stream::{StreamExt as _, select_all};

use super::{Stored, cache::Shared, changes::Hub};
use crate::backend::{Backend, BackendError, Key};

/// How often marks that the watch has not shown are looked after. A mark is asked about after one to two of
/// these, far longer than a watch that works takes.
const MARK_CHECK: Duration = Duration::from_secs(5);

/// How long one such question may take; the backend has a deadline of its own, this one is the last resort.
const MARK_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn run<K: Stored>(shared: Arc<Shared<K>>, backend: Arc<dyn Backend>, hub: Arc<Hub>) {
    let watches = shared.namespaces().into_iter().enumerate().map(|(scope, namespace)| {
        let events = if shared.labels.0.is_empty() {
            backend.watch(&shared.kind, namespace.as_deref())
        } else {
            backend.watch_labelled(&shared.kind, namespace.as_deref(), &shared.labels)
        };
        events.map(move |event| (scope, event)).boxed()
    });
    let mut events = select_all(watches);
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            event = events.next() => match event {
                Some((scope, event)) => shared.take(scope, event, &hub),
                None => return,
            },
        }
    }
}

/// Takes marks off objects that are gone: created and deleted between two lists, the watch never tells of them.
pub(super) async fn look_after_marks<K: Stored>(shared: Arc<Shared<K>>, backend: Arc<dyn Backend>, hub: Arc<Hub>) {
    let looking = async {
        loop {
            shared.marked.notified().await;
            while shared.has_marks() {
                tokio::time::sleep(MARK_CHECK).await;
                for key in shared.old_marks() {
                    if is_gone(&shared, backend.as_ref(), &key).await {
                        shared.unmark_missing(&key, &hub);
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = looking => {}
    }
}

async fn is_gone<K: Stored>(shared: &Shared<K>, backend: &dyn Backend, key: &Key) -> bool {
    let answer = tokio::time::timeout(MARK_TIMEOUT, backend.get(&shared.kind, key)).await;
    matches!(answer, Ok(Err(BackendError::NotFound { .. })))
}

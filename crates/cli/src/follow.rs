//! Following one object as it changes.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use okra_api::Cell;
use okra_provider::{Key, Kind, Store, Stored, WatchEvent};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

/// What is seen of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<K = Cell> {
    /// It is like this now.
    Now(Box<K>),
    /// It is not there, or not any more.
    Gone,
    /// It cannot be seen for the moment; the watch goes on.
    Trouble(String),
}

/// A Cell as it is, and then every change, without end.
pub fn follow(store: &Store, key: &Key) -> impl Stream<Item = Seen> + Send + Unpin + use<> {
    follow_object::<Cell>(store, key)
}

/// An object as it is, and then every change, without end.
pub fn follow_object<K: Stored>(store: &Store, key: &Key) -> impl Stream<Item = Seen<K>> + Send + Unpin + use<K> {
    let wanted = key.clone();
    let namespace = (!key.namespace.is_empty()).then_some(key.namespace.as_str());
    let events = store.backend().watch(&Kind::of::<K>(), namespace);
    let mut listed = None;
    Box::pin(events.flat_map(move |event| stream::iter(seen(event, &wanted, &mut listed))))
}

/// What an event says of the wanted object; `listed` is what the parts of a list that came before it say.
fn seen<K: Stored>(event: WatchEvent, wanted: &Key, listed: &mut Option<Value>) -> Option<Seen<K>> {
    let find = |objects: Vec<Value>| objects.into_iter().find(|object| Key::of(object) == *wanted);
    let before = listed.take();
    match event {
        WatchEvent::Listed { first, objects } => {
            *listed = find(objects).or(before.filter(|_| !first));
            None
        }
        WatchEvent::Restarted(objects) => Some(find(objects).or(before).map_or(Seen::Gone, parsed)),
        WatchEvent::Applied(object) => (Key::of(&object) == *wanted).then(|| parsed(object)),
        WatchEvent::Deleted(object) => (Key::of(&object) == *wanted).then_some(Seen::Gone),
        WatchEvent::Absent => Some(Seen::Trouble(format!("the kind {} is not served here", K::kind(&())))),
        WatchEvent::Interrupted(why) => Some(Seen::Trouble(why)),
    }
}

fn parsed<K: Stored>(object: Value) -> Seen<K> {
    match serde_json::from_value(object) {
        Ok(object) => Seen::Now(Box::new(object)),
        Err(error) => Seen::Trouble(format!("the {} cannot be read: {error}", K::kind(&()))),
    }
}

/// What comes next, or `None` when nothing does until the deadline.
pub async fn next_until<S: Stream + Unpin>(seen: &mut S, deadline: Instant) -> Option<S::Item> {
    timeout_at(deadline, seen.next()).await.ok().flatten()
}

/// A deadline from now; a very long one for a timeout that cannot be added.
pub fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    Instant::now() + timeout.min(YEAR)
}

//! The controller of route objects: the one hand on the load balancer.

mod fence;
mod kind;
mod memory;
mod reconcile;
mod report;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use okra_api::condition::{self, READY, reason};
use okra_provider::{Cache, Clock, DecisionLog, EventSink, Key, Kind, Leadership, Lookup, Store, TrafficRouter};
use parking_lot::Mutex;

pub use self::kind::{Claim, RouteKind};
use self::{memory::Memory, reconcile::Run};
use crate::{
    malformed,
    reconciler::{Changed, Next, ReconcileError, Reconciler},
};

/// Routes that are reconciled at once: nearly all of them wait, and what they may call is limited elsewhere.
const CONCURRENCY: usize = 512;

/// How long one reconcile may take: a call waits for its turn for up to ten minutes.
const DEADLINE: Duration = Duration::from_mins(15);

/// What a route controller needs of the world.
#[derive(Clone)]
pub struct RouteContext {
    /// Where the objects are.
    pub store: Store,
    /// The load balancer; `None`: there is none for this kind here, and its objects are refused.
    pub router: Option<Arc<dyn TrafficRouter>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether this process may write to the load balancer.
    pub leadership: Arc<dyn Leadership>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// Where changes are recorded.
    pub decisions: Arc<dyn DecisionLog>,
    /// Id of this installation.
    pub installation: String,
    /// How often a rule at rest is looked at.
    pub drift_interval: SignedDuration,
    /// How long one call of the load balancer may take.
    pub call_timeout: Duration,
}

/// The controller of one kind of route objects.
pub struct RouteController<K> {
    context: RouteContext,
    cache: Cache<K>,
    memory: Mutex<BTreeMap<Key, Memory>>,
    /// Until then a call of the leader before us may take effect: what was seen sooner is looked at again (S9).
    settled_from: Timestamp,
}

impl<K> fmt::Debug for RouteController<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteController").field("installation", &self.context.installation).finish_non_exhaustive()
    }
}

impl<K: RouteKind> RouteController<K> {
    /// A controller of a process that begins to lead; starts the watch of its kind, within the tokio runtime that it
    /// is called in.
    pub fn new(context: RouteContext) -> Self {
        let cache = context.store.cache::<K>();
        let now = context.clock.now();
        let settled_from = now.checked_add(context.call_timeout).unwrap_or(now);
        Self { context, cache, memory: Mutex::default(), settled_from }
    }

    /// How long a look at a rule at rest counts.
    fn drift_interval(&self, last_look: Option<Timestamp>) -> SignedDuration {
        let unsettled = last_look.filter(|look| *look < self.settled_from);
        let interval = self.context.drift_interval;
        unsettled.map_or(interval, |look| interval.min(self.settled_from.duration_since(look)))
    }

    /// The object with the same claim that came before this one, if there is one (safety.md S11).
    fn claimed_by(&self, object: &K) -> Option<String> {
        let claim = object.claim();
        let others = self.cache.list(None);
        let rank = |object: &K| (object.meta().creation_timestamp.as_ref().map(|time| time.0), Key::of_typed(object));
        let own = rank(object);
        let first = others.iter().filter(|other| other.claim() == claim).map(|other| rank(other)).min();
        first.filter(|first| *first < own).map(|(_, key)| key.to_string())
    }
}

#[async_trait]
impl<K: RouteKind> Reconciler for RouteController<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn watches(&self) -> Vec<Kind> {
        vec![Kind::of::<K>()]
    }

    fn wakes(&self, changed: &Changed) -> Vec<Key> {
        if changed.kind != Kind::of::<K>() {
            return Vec::new();
        }
        let objects = self.cache.list(None);
        let now = match self.cache.get(&changed.key) {
            Lookup::Found(object) => Some(object),
            Lookup::Missing | Lookup::Stale | Lookup::Malformed(_) => None,
        };
        let claim = now.as_ref().map(|object| object.claim());
        // Those in its place now, and those that were refused a place: it may be the one that left it.
        let concerned = |object: &&Arc<K>| Some(object.claim()) == claim || is_refused_a_place(object.as_ref());
        let mut keys: Vec<Key> = objects.iter().filter(concerned).map(|object| Key::of_typed(&**object)).collect();
        keys.push(changed.key.clone());
        keys.sort();
        keys.dedup();
        keys
    }

    fn all(&self) -> Vec<Key> {
        self.cache.keys()
    }

    /// A reconcile waits in here for the rate limit of its account. Those of a busy or throttled account must leave room
    /// for those of the others (safety.md L6), and for the roll-backs of their own.
    fn concurrency(&self) -> Option<usize> {
        Some(CONCURRENCY)
    }

    /// A thousand Cells that wait for their turn take all the room that there is: a way back needs none of it.
    fn is_urgent(&self, key: &Key) -> bool {
        matches!(self.cache.get(key), Lookup::Found(object) if object.way_back() == Some(true))
    }

    fn deadline(&self) -> Option<Duration> {
        Some(DEADLINE)
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let object = match self.cache.get(key) {
            Lookup::Found(object) => object,
            Lookup::Missing => {
                self.memory.lock().remove(key);
                return Ok(Next::IDLE);
            }
            // The watch tells of it again.
            Lookup::Stale => return Ok(Next::IDLE),
            Lookup::Malformed(error) => {
                return malformed::report::<K>(&self.context.store, key, &error, self.context.clock.now()).await;
            }
        };
        let memory = self.memory.lock().remove(key).unwrap_or_default();
        let mut run = Run::new(self, key, object, memory);
        let next = run.reconcile().await;
        let memory = run.into_memory();
        self.memory.lock().insert(key.clone(), memory);
        next
    }
}

fn is_refused_a_place<K: RouteKind>(object: &K) -> bool {
    let ready = object.status().and_then(|status| condition::find(&status.conditions, READY));
    ready.is_some_and(|ready| ready.reason == reason::RULE_TAKEN)
}

//! Leave to call for one intent: only while this process leads, and while the intent is what is wanted.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_provider::{Cache, Key, Leadership, Lookup, NotLeader, Stored};

/// The lease, and the object that a call is made for. A call can wait a minute for a rate limit; when the object changes
/// meanwhile, to take traffic back perhaps, the call must neither go out (safety.md S7) nor be waited for any longer.
pub(super) struct Fence<K> {
    cache: Cache<K>,
    key: Key,
    meta: ObjectMeta,
    leadership: Arc<dyn Leadership>,
}

impl<K: Stored> Fence<K> {
    pub(super) fn new(cache: &Cache<K>, key: &Key, object: &K, leadership: &Arc<dyn Leadership>) -> Arc<Self> {
        Arc::new(Self {
            cache: cache.clone(),
            key: key.clone(),
            meta: object.meta().clone(),
            leadership: leadership.clone(),
        })
    }

    /// Whether the object is, as far as the cache knows, still the one that was planned for. Our own write of its status
    /// that the watch has not shown yet is no reason to stop; anybody else's in this process is.
    pub(super) fn is_current(&self) -> bool {
        match self.cache.get(&self.key) {
            Lookup::Found(object) => {
                let (now, then) = (object.meta(), &self.meta);
                now.uid == then.uid
                    && now.generation == then.generation
                    && now.deletion_timestamp == then.deletion_timestamp
            }
            Lookup::Stale => {
                let awaited = self.cache.awaits(&self.key).map(|version| version.to_string());
                awaited.is_none() || awaited == self.meta.resource_version
            }
            Lookup::Missing | Lookup::Malformed(_) => false,
        }
    }
}

impl<K: Stored> Leadership for Fence<K> {
    fn permits(&self, timeout: Duration) -> Result<(), NotLeader> {
        if self.is_current() { self.leadership.permits(timeout) } else { Err(NotLeader) }
    }
}

#[cfg(test)]
mod tests {
    use okra_api::{AWSApplicationLoadBalancerConfig, AWSApplicationLoadBalancerConfigSpec, RouteStatus};
    use okra_provider::{
        Kind, Namespaces, Store,
        testing::{AlwaysLeader, FixedClock, MemoryBackend, SeededEntropy},
    };

    use super::*;

    type Config = AWSApplicationLoadBalancerConfig;

    #[tokio::test(start_paused = true)]
    async fn a_spec_that_this_process_wrote_closes_it_before_the_watch_shows_it() {
        let backend = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(7))));
        let store = Store::new(backend.clone(), Namespaces::All);
        let cache = store.cache::<Config>();
        cache.synced().await;
        let mut object = Config::new("web", AWSApplicationLoadBalancerConfigSpec::default());
        object.metadata.namespace = Some("prod".to_owned());
        let (key, lease): (_, Arc<dyn Leadership>) = (Key::of_typed(&object), Arc::new(AlwaysLeader));
        let made = store.create(&object).await.unwrap();
        while cache.is_stale(&key) {
            tokio::task::yield_now().await;
        }
        assert!(Fence::new(&cache, &key, &made, &lease).permits(Duration::ZERO).is_ok());

        backend.hold(&Kind::of::<Config>());
        let mut noted = made.clone();
        noted.status = Some(RouteStatus { message: "noted".to_owned(), ..RouteStatus::default() });
        let noted = store.update_status(&noted).await.unwrap();
        let fence = Fence::new(&cache, &key, &noted, &lease);
        assert!(fence.permits(Duration::ZERO).is_ok(), "our own note is no reason to stop");

        let mut aborted = noted.clone();
        aborted.spec.listener_arn = "another".to_owned();
        store.update(&aborted).await.unwrap();
        assert_eq!(fence.permits(Duration::ZERO), Err(NotLeader));
    }
}

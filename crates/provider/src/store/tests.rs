use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use okra_api::{Pause, PausePhase, PauseSpec, PauseStatus};
use pretty_assertions::assert_eq;
use serde_json::json;

use super::*;
use crate::backend::WatchEvent;
use crate::testing::{CallVerb, Fault, FixedClock, MemoryBackend, SeededEntropy};

const LIMIT: Duration = Duration::from_mins(1);

fn memory() -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(7))))
}

fn store(backend: &Arc<MemoryBackend>) -> Store {
    Store::new(backend.clone(), Namespaces::All)
}

fn pause(namespace: &str, name: &str) -> Pause {
    let mut pause = Pause::new(name, PauseSpec::default());
    pause.metadata.namespace = Some(namespace.to_owned());
    pause
}

fn kind() -> Kind {
    Kind::of::<Pause>()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("within the limit")
}

/// Waits, change by change, until the condition holds.
async fn until(changes: &mut ChangeStream, mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            changes.next().await.expect("the store is open");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_follows_every_change() {
    let backend = memory();
    let store = store(&backend);
    let mut changes = store.changes();
    let cache = store.cache::<Pause>();
    let key = Key::new("a", "one");
    assert!(!cache.is_synced());
    within(cache.synced()).await;
    assert!(cache.is_synced() && cache.is_served());
    assert_eq!(cache.get(&key), Lookup::Missing);

    let made = store.create(&pause("a", "one")).await.unwrap();
    until(&mut changes, || matches!(cache.get(&key), Lookup::Found(_))).await;

    let mut wanted = made.clone();
    wanted.status = Some(PauseStatus { phase: Some(PausePhase::Started), ..PauseStatus::default() });
    let written = store.update_status(&wanted).await.unwrap();
    until(&mut changes, || cache.get(&key) == Lookup::Found(Arc::new(written.clone()))).await;

    store.delete(&written).await.unwrap();
    until(&mut changes, || cache.get(&key) == Lookup::Missing).await;
    assert_eq!(cache.keys(), vec![]);
}

#[tokio::test(start_paused = true)]
async fn lists_are_sorted_and_keep_to_the_namespace() {
    let backend = memory();
    let store = store(&backend);
    for (namespace, name) in [("b", "z"), ("a", "y"), ("b", "x"), ("a", "z")] {
        store.create(&pause(namespace, name)).await.unwrap();
    }
    let cache = store.cache::<Pause>();
    within(cache.synced()).await;
    let names = |found: Vec<Arc<Pause>>| {
        found.iter().map(|pause| Key::of_typed(pause.as_ref()).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(cache.list(None)), ["a/y", "a/z", "b/x", "b/z"]);
    assert_eq!(names(cache.list(Some("b"))), ["b/x", "b/z"]);
    assert_eq!(store.list_live::<Pause>(Some("a")).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_named_namespaces_are_looked_at() {
    let backend = memory();
    let all = store(&backend);
    for namespace in ["a", "b", "c"] {
        all.create(&pause(namespace, "one")).await.unwrap();
    }
    let some = Store::new(backend.clone(), Namespaces::Only(vec!["c".into(), "a".into(), "c".into()]));
    let cache = some.cache::<Pause>();
    within(cache.synced()).await;
    assert_eq!(cache.keys(), vec![Key::new("a", "one"), Key::new("c", "one")]);
    assert_eq!(some.list_live::<Pause>(None).await.unwrap().len(), 2);
    let watched = backend.calls().into_iter().filter(|call| call.verb == CallVerb::Watch).count();
    assert_eq!(watched, 2);
    some.create(&pause("b", "two")).await.unwrap();
    assert!(!cache.is_stale(&Key::new("b", "two")), "no watch would ever show it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sees_a_fresh_copy_finds_its_change_in_the_stream() {
    let (store, key) = (store(&memory()), Key::new("a", "one"));
    let (mut changes, cache) = (store.changes(), store.cache::<Pause>());
    within(cache.synced()).await;
    store.create(&pause("a", "one")).await.unwrap();
    for round in 0..2000 {
        within(async {
            while cache.is_stale(&key) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(changes.next().now_or_never().flatten().is_some(), "round {round}: the change is not there yet");
        while changes.next().now_or_never().flatten().is_some() {}
        let label = json!({"metadata": {"labels": {"round": round.to_string()}}});
        store.merge_patch::<Pause>(&key, &label).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn our_own_write_is_waited_for() {
    let backend = memory();
    let store = store(&backend);
    let mut changes = store.changes();
    let cache = store.cache::<Pause>();
    let key = Key::new("a", "one");
    within(cache.synced()).await;

    backend.hold(&kind());
    let made = store.create(&pause("a", "one")).await.unwrap();
    assert!(cache.is_stale(&key));
    assert_eq!(cache.get(&key), Lookup::Stale);
    assert_eq!(store.stale_skips(), 1);
    backend.release(&kind());
    until(&mut changes, || !cache.is_stale(&key)).await;

    backend.hold(&kind());
    let patch = json!({"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"l": "1"}}});
    let patched = store.merge_patch::<Pause>(&key, &patch).await.unwrap();
    assert_eq!(cache.get(&key), Lookup::Stale);
    let same = store.update(&patched).await.unwrap();
    assert_eq!(same.metadata.resource_version, patched.metadata.resource_version);
    backend.release_with_gap(&kind());
    until(&mut changes, || cache.get(&key) == Lookup::Found(Arc::new(patched.clone()))).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_no_watch_ever_shows_is_forgotten() {
    let backend = memory();
    let store = store(&backend);
    let mut changes = store.changes();
    let cache = store.cache::<Pause>();
    let key = Key::new("a", "one");
    within(cache.synced()).await;

    backend.hold(&kind());
    let made = store.create(&pause("a", "one")).await.unwrap();
    store.delete(&made).await.unwrap();
    backend.release_with_gap(&kind());
    until(&mut changes, || cache.get(&key) == Lookup::Missing).await;
    assert!(!cache.is_stale(&key));
}

#[tokio::test(start_paused = true)]
async fn a_newer_list_without_the_object_takes_its_mark() {
    let backend = memory();
    let store = store(&backend);
    let mut changes = store.changes();
    let cache = store.cache::<Pause>();
    within(cache.synced()).await;
    backend.hold(&kind());
    let made = store.create(&pause("a", "one")).await.unwrap();
    store.delete(&made).await.unwrap();
    store.create(&pause("a", "two")).await.unwrap();
    let before = backend.calls().len();
    backend.release_with_gap(&kind());
    until(&mut changes, || !cache.is_stale(&Key::new("a", "one"))).await;
    assert_eq!(backend.calls().len(), before, "nothing had to be asked");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_an_error_and_the_watch_tells_the_rest() {
    let backend = memory();
    let store = store(&backend);
    let mut changes = store.changes();
    let cache = store.cache::<Pause>();
    within(cache.synced()).await;
    backend.inject(Fault::lost_answer(CallVerb::Create, 1).of(kind()));
    let error = store.create(&pause("a", "one")).await.unwrap_err();
    assert_eq!(error, BackendError::Unreachable("the answer was lost".into()));
    until(&mut changes, || matches!(cache.get(&Key::new("a", "one")), Lookup::Found(_))).await;
    let again = store.create(&pause("a", "one")).await.unwrap_err();
    assert!(matches!(again, BackendError::AlreadyExists { .. }), "{again}");
}

#[tokio::test(start_paused = true)]
async fn malformed_objects_are_told_apart() {
    let backend = memory();
    let store = store(&backend);
    let bad = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause",
        "metadata": {"namespace": "a", "name": "bad"}, "spec": {"expireTime": "soon"},
    });
    backend.create(&kind(), &bad).await.unwrap();
    store.create(&pause("a", "good")).await.unwrap();
    let cache = store.cache::<Pause>();
    within(cache.synced()).await;
    assert_eq!(cache.list(None).len(), 1);
    assert_eq!(cache.keys().len(), 2);
    let malformed = cache.malformed(Some("a"));
    assert_eq!(malformed.len(), 1);
    assert_eq!(malformed[0].key, Key::new("a", "bad"));
    assert!(matches!(cache.get(&Key::new("a", "bad")), Lookup::Malformed(_)));
    assert_eq!(store.list_live::<Pause>(None).await.unwrap().len(), 1);
    let error = store.get_live::<Pause>(&Key::new("a", "bad")).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to parse Pause a/bad: "), "{error}");
}

#[test]
fn words_about_a_malformed_secret_hold_none_of_its_values() {
    let kind = Kind { group: "".into(), version: "v1".into(), kind: "Secret".into(), plural: "secrets".into() };
    let error = parse::<Pause>(&kind, json!({"metadata": {"name": "s"}, "spec": "hunter2"})).unwrap_err();
    assert_eq!(error.to_string(), "failed to parse Secret s: its fields have wrong types");
}

#[tokio::test(start_paused = true)]
async fn an_absent_kind_is_no_deletion() {
    let backend = memory();
    let store = store(&backend);
    store.create(&pause("a", "one")).await.unwrap();
    let mut changes = store.changes();
    let cache = store.cache::<Pause>();
    within(cache.synced()).await;
    backend.serve(&kind(), false);
    within(async {
        while cache.is_served() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(matches!(cache.get(&Key::new("a", "one")), Lookup::Found(_)));
    assert!(matches!(store.get_live::<Pause>(&Key::new("a", "one")).await, Err(BackendError::Absent(_))));
    backend.serve(&kind(), true);
    until(&mut changes, || cache.is_served() && cache.get(&Key::new("a", "one")) == Lookup::Missing).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_watch_tells_why_until_it_works() {
    let backend = memory();
    backend.hold(&kind());
    backend.inject(Fault::nth(CallVerb::Watch, 1, BackendError::Unreachable("no route".into())));
    let store = store(&backend);
    let cache = store.cache::<Pause>();
    assert!(!cache.is_synced());
    backend.release(&kind());
    within(cache.synced()).await;
    assert_eq!(cache.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn changes_are_coalesced_for_each_subscriber() {
    let backend = memory();
    let store = store(&backend);
    let cache = store.cache::<Pause>();
    within(cache.synced()).await;
    let (mut first, mut second) = (store.changes(), store.changes());
    let mut written = store.create(&pause("a", "one")).await.unwrap();
    for label in ["1", "2"] {
        written.metadata.labels = Some([("l".to_owned(), label.to_owned())].into());
        written = store.update(&written).await.unwrap();
    }
    let last = written.clone();
    within(async {
        while cache.get(&Key::new("a", "one")) != Lookup::Found(Arc::new(last.clone())) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for changes in [&mut first, &mut second] {
        assert_eq!(changes.next().await, Some(Changed { kind: kind(), key: Key::new("a", "one") }));
    }
    store.shutdown();
    assert_eq!(within(first.next()).await, None);
    assert_eq!(within(second.next()).await, None);
}

#[tokio::test(start_paused = true)]
async fn watches_end_with_the_last_clone() {
    let backend = memory();
    let store = store(&backend);
    let cache = store.cache::<Pause>();
    let mut changes = store.changes();
    within(cache.synced()).await;
    let clone = store.clone();
    drop(store);
    clone.create(&pause("a", "one")).await.unwrap();
    until(&mut changes, || matches!(cache.get(&Key::new("a", "one")), Lookup::Found(_))).await;
    drop(clone);
    assert_eq!(within(changes.next()).await, None);
}

#[tokio::test]
async fn writes_need_a_version() {
    let backend = memory();
    let store = store(&backend);
    let error = store.update(&pause("a", "one")).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to update Pause a/one: metadata.resourceVersion is required");
    assert!(matches!(store.update_status(&pause("a", "one")).await, Err(BackendError::Invalid { .. })));
    assert_eq!(backend.calls(), vec![]);
}

#[tokio::test]
async fn a_list_in_parts_counts_once_it_has_come_to_its_end() {
    let hub = changes::Hub::default();
    let stop = CancellationToken::new();
    let shared =
        Arc::new(cache::Shared::<Pause>::new("".into(), kind(), Labels::default(), vec![None], Arc::default(), stop));
    let cache = Cache::new(shared.clone());
    let object = |name: &str, version: u64| {
        let mut object = serde_json::to_value(pause("a", name)).unwrap();
        object["metadata"]["uid"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object
    };
    let part = |first: bool, name: &str| WatchEvent::Listed { first, objects: vec![object(name, 1)] };
    let names = || cache.keys().into_iter().map(|key| key.name).collect::<Vec<_>>();

    shared.take(0, part(true, "one"), &hub);
    shared.take(0, part(false, "two"), &hub);
    assert_eq!((names(), cache.is_synced()), (vec![], false), "it may never come to its end");
    shared.take(0, WatchEvent::Restarted(vec![object("three", 1)]), &hub);
    assert_eq!((names().join(" "), cache.is_synced()), ("one three two".to_owned(), true));

    // Begun anew, and broken off: neither what was listed before nor what was listed then counts.
    shared.take(0, part(true, "four"), &hub);
    shared.take(0, part(true, "five"), &hub);
    shared.take(0, WatchEvent::Restarted(vec![object("one", 2)]), &hub);
    assert_eq!(names(), ["five", "one"]);
    shared.take(0, part(true, "six"), &hub);
    shared.take(0, WatchEvent::Interrupted("it broke off".to_owned()), &hub);
    shared.take(0, WatchEvent::Restarted(vec![object("one", 3)]), &hub);
    assert_eq!(names(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_cache_of_labelled_objects_holds_no_others() {
    let backend = memory();
    let store = store(&backend);
    let labelled = |name: &str| {
        let mut pause = pause("a", name);
        pause.metadata.labels = Some([("role".to_owned(), "web".to_owned())].into());
        pause
    };
    store.create(&pause("a", "plain")).await.unwrap();
    store.create(&labelled("one")).await.unwrap();
    let cache = store.cache_labelled::<Pause>(&Labels::one("role", "web"));
    within(cache.synced()).await;
    assert_eq!(cache.keys(), [Key::new("a", "one")]);
    assert_eq!(store.cache::<Pause>().keys().len(), 0, "another cache, which knows nothing yet");
    let mut changes = store.changes();
    store.create(&pause("a", "plain2")).await.unwrap();
    store.create(&labelled("two")).await.unwrap();
    until(&mut changes, || matches!(cache.get(&Key::new("a", "two")), Lookup::Found(_))).await;
    assert_eq!(cache.get(&Key::new("a", "plain2")), Lookup::Missing, "our own write of another one is not waited for");
    let mut bare = store.get_live::<Pause>(&Key::new("a", "one")).await.unwrap();
    bare.metadata.labels = None;
    store.update(&bare).await.unwrap();
    until(&mut changes, || cache.get(&Key::new("a", "one")) == Lookup::Missing).await;
}

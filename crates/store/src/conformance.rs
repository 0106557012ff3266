//! One suite for every [`Backend`]: a function for each guarantee that is written there.
//!
//! A failed guarantee panics with its name, as a test does. The kind is Okra's own `Pause`, whose spec and status
//! are simple, so that a store that checks schemas can be judged too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a suite of assertions: whatever is not as promised ends the test"
)]

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use okra_api::Pause;
use okra_provider::{Backend, BackendError, Deletion, Key, Kind, WatchEvent};
use serde_json::{Value, json};

/// How long a watch may take to tell what happened.
const LIMIT: Duration = Duration::from_secs(30);

/// More than two pages of a list (500 objects each).
const MANY: usize = 1100;

/// A store and two namespaces of it that nobody else uses.
#[derive(Clone)]
pub struct Subject {
    /// The store.
    pub backend: Arc<dyn Backend>,
    /// Two different namespaces, in this order by name, empty.
    pub namespaces: [String; 2],
}

/// Runs the whole suite, each guarantee on a subject of its own.
///
/// # Panics
/// When a guarantee is not kept.
pub async fn run(make: impl AsyncFn() -> Subject) {
    creation_gives_an_identity(make().await).await;
    a_taken_name_is_refused(make().await).await;
    what_is_missing_is_not_found(make().await).await;
    updates_need_the_present_version(make().await).await;
    the_generation_follows_the_spec(make().await).await;
    the_status_is_separate(make().await).await;
    a_write_without_a_change_keeps_the_version(make().await).await;
    versions_rise(make().await).await;
    patches_are_merged(make().await).await;
    finalizers_hold_an_object(make().await).await;
    deletions_are_of_the_object_that_was_seen(make().await).await;
    lists_are_sorted_and_keep_to_the_namespace(make().await).await;
    a_watch_tells_in_order(make().await).await;
    a_watch_keeps_to_its_namespace(make().await).await;
    many_objects_are_listed_whole(make().await).await;
}

fn kind() -> Kind {
    Kind::of::<Pause>()
}

impl Subject {
    fn key(&self, name: &str) -> Key {
        Key::new(self.namespaces[0].clone(), name)
    }

    fn pause(&self, name: &str) -> Value {
        pause(&self.namespaces[0], name)
    }

    async fn create(&self, name: &str) -> Value {
        self.backend.create(&kind(), &self.pause(name)).await.expect("created")
    }

    async fn get(&self, name: &str) -> Value {
        self.backend.get(&kind(), &self.key(name)).await.expect("found")
    }

    async fn is_missing(&self, name: &str) -> bool {
        matches!(self.backend.get(&kind(), &self.key(name)).await, Err(BackendError::NotFound { .. }))
    }
}

fn pause(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1",
        "kind": "Pause",
        "metadata": {"namespace": namespace, "name": name, "labels": {"suite": "conformance"}},
        "spec": {"expireTime": "2030-01-01T00:00:00Z"},
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).expect("the parent is there");
    parent.as_object_mut().expect("an object").insert(field.to_owned(), value);
    object
}

fn phase(object: Value, phase: &str) -> Value {
    with(object, "/status", json!({"phase": phase}))
}

fn version(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).expect("a resourceVersion");
    text.parse().expect("a resourceVersion is a whole number")
}

fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).expect("a generation")
}

fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).expect("a uid")
}

/// `create` answers with uid, resourceVersion, generation 1 and creationTimestamp, and drops a status.
pub async fn creation_gives_an_identity(subject: Subject) {
    let wanted = phase(subject.pause("one"), "Started");
    let wanted = with(wanted, "/metadata/generation", json!(7));
    let made = subject.backend.create(&kind(), &wanted).await.expect("created");
    assert!(!uid(&made).is_empty());
    assert!(version(&made) > 0);
    assert_eq!(generation(&made), 1);
    let born = made.pointer("/metadata/creationTimestamp").and_then(Value::as_str).expect("a creationTimestamp");
    born.parse::<jiff::Timestamp>().expect("a creationTimestamp is a time");
    assert_eq!(made.get("status"), None, "a status given to create is dropped");
    assert_eq!(made["apiVersion"], "okra.mumo.co/v1alpha1");
    assert_eq!(made["kind"], "Pause");
    assert_eq!(made["spec"], wanted["spec"]);
    assert_eq!(made["metadata"]["labels"], wanted["metadata"]["labels"]);
    assert_eq!(made.pointer("/metadata/managedFields"), None, "managedFields never enter memory");
    assert_eq!(subject.get("one").await, made);
    assert_eq!(subject.backend.list(&kind(), Some(&subject.namespaces[0])).await, Ok(vec![made.clone()]));
    let other = subject.create("two").await;
    assert_ne!(uid(&made), uid(&other));
}

/// `create` fails with `AlreadyExists` when the name is taken, and changes nothing.
pub async fn a_taken_name_is_refused(subject: Subject) {
    let made = subject.create("one").await;
    let error = subject.backend.create(&kind(), &subject.pause("one")).await.expect_err("the name is taken");
    assert_eq!(error, BackendError::AlreadyExists { kind: "Pause".into(), key: subject.key("one") });
    assert_eq!(subject.get("one").await, made);
    let elsewhere = subject.backend.create(&kind(), &pause(&subject.namespaces[1], "one")).await.expect("another one");
    assert_ne!(uid(&elsewhere), uid(&made));
}

/// Whatever is asked of an object that does not exist fails with `NotFound`.
pub async fn what_is_missing_is_not_found(subject: Subject) {
    let missing = || BackendError::NotFound { kind: "Pause".into(), key: subject.key("none") };
    let backend = &subject.backend;
    assert_eq!(backend.get(&kind(), &subject.key("none")).await, Err(missing()));
    let object = with(subject.pause("none"), "/metadata/resourceVersion", json!("1"));
    assert_eq!(backend.update(&kind(), &object).await, Err(missing()));
    assert_eq!(backend.update_status(&kind(), &phase(object, "Started")).await, Err(missing()));
    let patch = json!({"metadata": {"labels": {"l": "1"}}});
    assert_eq!(backend.merge_patch(&kind(), &subject.key("none"), &patch).await, Err(missing()));
    assert_eq!(backend.delete(&kind(), &subject.key("none"), &Deletion::default()).await, Err(missing()));
}

/// `update` and `update_status` need the present resourceVersion.
pub async fn updates_need_the_present_version(subject: Subject) {
    let made = subject.create("one").await;
    let conflict = || BackendError::Conflict { kind: "Pause".into(), key: subject.key("one") };
    let labelled = with(made.clone(), "/metadata/labels", json!({"l": "1"}));
    let updated = subject.backend.update(&kind(), &labelled).await.expect("updated");
    for stale in [labelled, made.clone()] {
        let stale = with(stale, "/spec/expireTime", json!("2031-01-01T00:00:00Z"));
        assert_eq!(subject.backend.update(&kind(), &stale).await, Err(conflict()));
        assert_eq!(subject.backend.update_status(&kind(), &phase(stale, "Expired")).await, Err(conflict()));
    }
    let mut unversioned = updated.clone();
    unversioned["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    for answer in [
        subject.backend.update(&kind(), &unversioned).await,
        subject.backend.update_status(&kind(), &unversioned).await,
    ] {
        let error = answer.expect_err("a resourceVersion is needed");
        assert!(matches!(&error, BackendError::Invalid { message } if message.contains("resourceVersion")), "{error}");
    }
    let impostor = with(updated.clone(), "/metadata/uid", json!("00000000-0000-4000-8000-000000000000"));
    let impostor = with(impostor, "/metadata/labels", json!({"l": "2"}));
    assert_eq!(subject.backend.update(&kind(), &impostor).await, Err(conflict()));
    assert_eq!(subject.get("one").await, updated);
}

/// The generation rises with the spec, and with nothing else of what is written.
pub async fn the_generation_follows_the_spec(subject: Subject) {
    let made = subject.create("one").await;
    let labelled = with(made, "/metadata/labels", json!({"l": "1"}));
    let labelled = subject.backend.update(&kind(), &labelled).await.expect("updated");
    assert_eq!(generation(&labelled), 1);
    let told = subject.backend.update_status(&kind(), &phase(labelled, "Started")).await.expect("updated");
    assert_eq!(generation(&told), 1);
    let respecified = with(told, "/spec/expireTime", json!("2031-01-01T00:00:00Z"));
    let respecified = subject.backend.update(&kind(), &respecified).await.expect("updated");
    assert_eq!(generation(&respecified), 2);
    let patch = json!({"spec": {"expireTime": "2032-01-01T00:00:00Z"}});
    let patched = subject.backend.merge_patch(&kind(), &subject.key("one"), &patch).await.expect("patched");
    assert_eq!(generation(&patched), 3);
    let patch = json!({"metadata": {"annotations": {"a": "1"}}});
    let patched = subject.backend.merge_patch(&kind(), &subject.key("one"), &patch).await.expect("patched");
    assert_eq!(generation(&patched), 3);
    assert_eq!(subject.get("one").await, patched);
}

/// `update` and `merge_patch` leave the status, `update_status` leaves everything else.
pub async fn the_status_is_separate(subject: Subject) {
    let made = subject.create("one").await;
    let told = subject.backend.update_status(&kind(), &phase(made.clone(), "Started")).await.expect("updated");
    assert_eq!(told["status"], json!({"phase": "Started"}));
    assert!(version(&told) > version(&made));

    let both = phase(with(told.clone(), "/metadata/labels", json!({"l": "1"})), "Cancelled");
    let updated = subject.backend.update(&kind(), &both).await.expect("updated");
    assert_eq!(updated["status"], json!({"phase": "Started"}));
    assert_eq!(updated["metadata"]["labels"], json!({"l": "1"}));

    let patch = json!({"status": {"phase": "Cancelled"}, "metadata": {"labels": {"m": "2"}}});
    let patched = subject.backend.merge_patch(&kind(), &subject.key("one"), &patch).await.expect("patched");
    assert_eq!(patched["status"], json!({"phase": "Started"}));

    let both = with(phase(patched.clone(), "Expired"), "/spec/expireTime", json!("2031-01-01T00:00:00Z"));
    let both = with(both, "/metadata/labels", json!({"l": "3"}));
    let told = subject.backend.update_status(&kind(), &both).await.expect("updated");
    assert_eq!(told["status"], json!({"phase": "Expired"}));
    assert_eq!(told["spec"], patched["spec"]);
    assert_eq!(told["metadata"]["labels"], json!({"l": "1", "m": "2"}));
    assert_eq!(subject.get("one").await, told);
}

/// A write that changes nothing leaves the resourceVersion as it is.
pub async fn a_write_without_a_change_keeps_the_version(subject: Subject) {
    let made = subject.create("one").await;
    let told = subject.backend.update_status(&kind(), &phase(made, "Started")).await.expect("updated");
    let patch = json!({"metadata": {"labels": {"suite": "conformance"}}});
    for answer in [
        subject.backend.update(&kind(), &told).await,
        subject.backend.update_status(&kind(), &told).await,
        subject.backend.merge_patch(&kind(), &subject.key("one"), &patch).await,
    ] {
        assert_eq!(answer.expect("written"), told);
    }
    assert_eq!(subject.get("one").await, told);
}

/// resourceVersions of one store can be compared, a later write has a larger one, of whatever object.
pub async fn versions_rise(subject: Subject) {
    let mut last = 0;
    let mut rises = |object: &Value| {
        assert!(version(object) > last, "{} after {last}", version(object));
        last = version(object);
    };
    let one = subject.create("one").await;
    rises(&one);
    let two = subject.create("two").await;
    rises(&two);
    let one = subject.backend.update_status(&kind(), &phase(one, "Started")).await.expect("updated");
    rises(&one);
    let two = subject.backend.update(&kind(), &with(two, "/metadata/labels", json!({"l": "1"}))).await;
    rises(&two.expect("updated"));
    let patch = json!({"metadata": {"labels": {"l": "2"}}});
    rises(&subject.backend.merge_patch(&kind(), &subject.key("one"), &patch).await.expect("patched"));
    subject.backend.delete(&kind(), &subject.key("one"), &Deletion::default()).await.expect("deleted");
    rises(&subject.create("one").await);
}

/// `merge_patch` merges maps, removes by null, and keeps to the version that the patch names.
pub async fn patches_are_merged(subject: Subject) {
    let made = subject.create("one").await;
    let merge = async |patch: Value| subject.backend.merge_patch(&kind(), &subject.key("one"), &patch).await;
    let patched = merge(json!({"metadata": {"annotations": {"a": "1", "b": "2"}}})).await.expect("patched");
    let patched_again = merge(json!({"metadata": {"annotations": {"a": null, "c": "3"}}})).await.expect("patched");
    assert_eq!(patched_again["metadata"]["annotations"], json!({"b": "2", "c": "3"}));
    assert_eq!(patched_again["metadata"]["labels"], made["metadata"]["labels"]);
    let versioned = |object: &Value| json!({"metadata": {"resourceVersion": object["metadata"]["resourceVersion"], "annotations": {"d": "4"}}});
    let conflict = BackendError::Conflict { kind: "Pause".into(), key: subject.key("one") };
    assert_eq!(merge(versioned(&patched)).await, Err(conflict));
    let last = merge(versioned(&patched_again)).await.expect("patched");
    assert_eq!(last["metadata"]["annotations"], json!({"b": "2", "c": "3", "d": "4"}));
    let emptied = merge(json!({"spec": {"expireTime": null}})).await.expect("patched");
    assert_eq!(emptied.pointer("/spec/expireTime"), None);
}

/// `delete` with finalizers sets `deletionTimestamp` and keeps the object until the last one is removed.
pub async fn finalizers_hold_an_object(subject: Subject) {
    let wanted = with(subject.pause("one"), "/metadata/finalizers", json!(["okra.mumo.co/a", "okra.mumo.co/b"]));
    let made = subject.backend.create(&kind(), &wanted).await.expect("created");
    let delete = async || subject.backend.delete(&kind(), &subject.key("one"), &Deletion::default()).await;
    delete().await.expect("deleted");
    let going = subject.get("one").await;
    let time = going.pointer("/metadata/deletionTimestamp").and_then(Value::as_str).expect("a deletionTimestamp");
    time.parse::<jiff::Timestamp>().expect("a deletionTimestamp is a time");
    assert_eq!(uid(&going), uid(&made));
    assert!(version(&going) > version(&made));
    delete().await.expect("deleting it again changes nothing");
    assert_eq!(subject.get("one").await, going);

    let more = json!(["okra.mumo.co/a", "okra.mumo.co/b", "okra.mumo.co/c"]);
    let error = subject.backend.update(&kind(), &with(going.clone(), "/metadata/finalizers", more)).await;
    assert!(matches!(error, Err(BackendError::Invalid { .. })), "no finalizer can be added now: {error:?}");
    let told = subject.backend.update_status(&kind(), &phase(going, "Expired")).await.expect("a status can be told");
    let fewer = with(told, "/metadata/finalizers", json!(["okra.mumo.co/b"]));
    let fewer = subject.backend.update(&kind(), &fewer).await.expect("updated");
    assert_eq!(subject.get("one").await, fewer);
    let none = json!({"metadata": {"resourceVersion": fewer["metadata"]["resourceVersion"], "finalizers": null}});
    subject.backend.merge_patch(&kind(), &subject.key("one"), &none).await.expect("patched");
    assert!(subject.is_missing("one").await);
    let again = subject.create("one").await;
    assert_ne!(uid(&again), uid(&made));
}

/// `delete` deletes the object with that uid and that version, or none.
pub async fn deletions_are_of_the_object_that_was_seen(subject: Subject) {
    let first = subject.create("one").await;
    let made = subject.backend.update_status(&kind(), &phase(first.clone(), "Started")).await.expect("updated");
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().map(ToOwned::to_owned);
    let delete = async |uid: Option<String>, resource_version: Option<String>| {
        subject.backend.delete(&kind(), &subject.key("one"), &Deletion { uid, resource_version }).await
    };
    let conflict = || Err(BackendError::Conflict { kind: "Pause".into(), key: subject.key("one") });
    let other = Some("00000000-0000-4000-8000-000000000000".to_owned());
    assert_eq!(delete(other.clone(), None).await, conflict());
    assert_eq!(delete(text(&made, "uid"), text(&first, "resourceVersion")).await, conflict());
    assert_eq!(delete(other, text(&made, "resourceVersion")).await, conflict());
    assert_eq!(subject.get("one").await, made);
    delete(text(&made, "uid"), text(&made, "resourceVersion")).await.expect("deleted");
    assert!(subject.is_missing("one").await);
}

/// `list` is sorted by key, in one namespace or in all.
pub async fn lists_are_sorted_and_keep_to_the_namespace(subject: Subject) {
    let [first, second] = &subject.namespaces;
    for (namespace, name) in [(second, "b"), (first, "c"), (second, "a"), (first, "b-1"), (first, "b")] {
        subject.backend.create(&kind(), &pause(namespace, name)).await.expect("created");
    }
    let keys = async |namespace: Option<&str>| {
        let listed = subject.backend.list(&kind(), namespace).await.expect("listed");
        let ours = listed.iter().map(Key::of).filter(|key| subject.namespaces.contains(&key.namespace));
        ours.collect::<Vec<_>>()
    };
    let of_first = ["b", "b-1", "c"].map(|name| Key::new(first, name));
    let of_second = ["a", "b"].map(|name| Key::new(second, name));
    assert_eq!(keys(Some(first)).await, of_first);
    assert_eq!(keys(Some(second)).await, of_second);
    assert_eq!(keys(None).await, [of_first.as_slice(), of_second.as_slice()].concat());
}

/// What a watch tells, with a limit of time.
struct Told(stream::BoxStream<'static, WatchEvent>);

impl Told {
    async fn next(&mut self) -> WatchEvent {
        let event = tokio::time::timeout(LIMIT, self.0.next()).await.expect("the watch tells within its limit");
        event.expect("a watch never ends")
    }
}

/// `watch` begins with `Restarted`; then per object no later state is followed by an earlier one, and the last
/// state is told.
pub async fn a_watch_tells_in_order(subject: Subject) {
    let before = subject.create("before").await;
    let mut told = Told(subject.backend.watch(&kind(), Some(&subject.namespaces[0])));
    assert_eq!(told.next().await, WatchEvent::Restarted(vec![before.clone()]));

    let mut last = subject.create("one").await;
    for label in 0..20 {
        let next = with(last, "/metadata/labels", json!({"l": label.to_string()}));
        last = subject.backend.update(&kind(), &next).await.expect("updated");
        let next = phase(last, if label % 2 == 0 { "Started" } else { "Expired" });
        last = subject.backend.update_status(&kind(), &next).await.expect("updated");
    }
    subject.backend.delete(&kind(), &subject.key("before"), &Deletion::default()).await.expect("deleted");
    let mut seen = 0;
    let mut shown = None;
    let mut deleted = false;
    while !(deleted && shown.as_ref() == Some(&last)) {
        match told.next().await {
            WatchEvent::Applied(object) if Key::of(&object) == subject.key("one") => {
                assert!(version(&object) > seen, "{} after {seen}", version(&object));
                seen = version(&object);
                shown = Some(object);
            }
            WatchEvent::Deleted(object) => {
                assert_eq!(uid(&object), uid(&before));
                assert!(version(&object) >= version(&before));
                deleted = true;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    subject.backend.delete(&kind(), &subject.key("one"), &Deletion::default()).await.expect("deleted");
    match told.next().await {
        WatchEvent::Deleted(object) => assert_eq!(object["status"], last["status"], "the last state"),
        other => panic!("unexpected: {other:?}"),
    }
    let again = subject.create("one").await;
    assert_eq!(told.next().await, WatchEvent::Applied(again));
}

/// A watch of one namespace tells nothing of another, a watch of all tells of both.
pub async fn a_watch_keeps_to_its_namespace(subject: Subject) {
    let mut one = Told(subject.backend.watch(&kind(), Some(&subject.namespaces[0])));
    let mut all = Told(subject.backend.watch(&kind(), None));
    assert_eq!(one.next().await, WatchEvent::Restarted(vec![]));
    assert!(matches!(all.next().await, WatchEvent::Restarted(_)));
    let elsewhere = subject.backend.create(&kind(), &pause(&subject.namespaces[1], "one")).await.expect("created");
    let here = subject.create("one").await;
    assert_eq!(one.next().await, WatchEvent::Applied(here.clone()));
    let mut wanted = vec![elsewhere, here];
    while !wanted.is_empty() {
        if let WatchEvent::Applied(object) = all.next().await {
            wanted.retain(|object_wanted| *object_wanted != object);
        }
    }
}

/// Lists and watches hold every object, however many pages that takes.
pub async fn many_objects_are_listed_whole(subject: Subject) {
    let names: Vec<String> = (0..MANY).map(|number| format!("p-{number:04}")).collect();
    let creations = names.iter().map(|name| {
        let (backend, object) = (subject.backend.clone(), subject.pause(name));
        Ok(async move { backend.create(&kind(), &object).await.map(drop) })
    });
    stream::iter(creations).try_buffer_unordered(16).try_collect::<()>().await.expect("created");
    let wanted: Vec<Key> = names.iter().map(|name| subject.key(name)).collect();
    let keys = |objects: Vec<Value>| objects.iter().map(Key::of).collect::<Vec<_>>();
    assert_eq!(keys(subject.backend.list(&kind(), Some(&subject.namespaces[0])).await.expect("listed")), wanted);
    let mut told = Told(subject.backend.watch(&kind(), Some(&subject.namespaces[0])));
    let mut parts = Vec::new();
    loop {
        match told.next().await {
            WatchEvent::Listed { first, mut objects } => {
                assert_eq!(first, parts.is_empty(), "nothing makes it begin anew");
                parts.append(&mut objects);
            }
            WatchEvent::Restarted(mut objects) => {
                parts.append(&mut objects);
                break assert_eq!(keys(parts), wanted);
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
}

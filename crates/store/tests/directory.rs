//! The directory store: each sentence that the design says of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

use std::{fs, path::Path, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use okra_api::{Cell, Pause, VersionBlocklist};
use okra_provider::{Backend, BackendError, Deletion, Key, Kind, Leadership as _, NotLeader, WatchEvent};
use okra_store::{
    DirectoryBackend, DirectoryLeadership, DirectoryOptions,
    conformance::{self, Subject},
    directory::LeadershipError,
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn quick() -> DirectoryOptions {
    DirectoryOptions { scan: Duration::from_millis(100), poll: Duration::from_millis(20) }
}

async fn open(root: &Path) -> DirectoryBackend {
    DirectoryBackend::open(root, quick()).await.unwrap()
}

fn pauses() -> Kind {
    Kind::of::<Pause>()
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

fn pause(name: &str) -> String {
    format!("apiVersion: okra.mumo.co/v1alpha1\nkind: Pause\nmetadata:\n  name: {name} # a comment\nspec: {{}}\n")
}

const CELL: &str = "
apiVersion: okra.mumo.co/v1alpha1
kind: Cell
metadata: {name: web}
spec:
  replicas: 2
  ingress:
    type: AWSApplicationLoadBalancer
    awsApplicationLoadBalancer:
      listenerARN: arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/0123456789abcdef/0123456789abcdef
      listener: {rule: {priority: 10, hosts: [example.com], forward: {}}}
      targetGroupSelector: {matchLabels: {role: web}}
";

struct Told(BoxStream<'static, WatchEvent>);

impl Told {
    async fn next(&mut self) -> WatchEvent {
        tokio::time::timeout(LIMIT, self.0.next()).await.expect("an event in time").expect("a watch never ends")
    }
}

async fn watch(backend: &DirectoryBackend, kind: &Kind) -> Told {
    let mut told = Told(backend.watch(kind, None));
    assert!(matches!(told.next().await, WatchEvent::Restarted(_)));
    told
}

/// Waits for a problem, and gives all of them as text.
async fn problems_with(backend: &DirectoryBackend, part: &str) -> Vec<String> {
    let look = async {
        loop {
            let problems: Vec<String> = backend.problems().iter().map(ToString::to_string).collect();
            if problems.iter().any(|problem| problem.contains(part)) {
                return problems;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("no {part:?} in {:?}", backend.problems()))
}

async fn no_problems(backend: &DirectoryBackend) {
    let look = async {
        while !backend.problems().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.expect("no problems in time");
}

async fn is_missing(backend: &DirectoryBackend, kind: &Kind, name: &str) -> bool {
    matches!(backend.get(kind, &key(name)).await, Err(BackendError::NotFound { .. }))
}

#[tokio::test]
async fn a_directory_keeps_every_guarantee() {
    let folders = std::cell::RefCell::new(Vec::new());
    conformance::run(async || {
        let folder = tempfile::tempdir().unwrap();
        let backend = open(folder.path()).await;
        folders.borrow_mut().push(folder);
        Subject { backend: Arc::new(backend), namespaces: ["a".to_owned(), "b".to_owned()] }
    })
    .await;
}

#[tokio::test]
async fn files_are_taken_in_as_kubectl_would_apply_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(root.join("two.yaml"), format!("{}---\n# nothing\n---\n{}", pause("a"), pause("b"))).unwrap();
    fs::write(root.join("deep/er/cell.yml"), CELL).unwrap();
    fs::write(root.join(".git/no.yaml"), pause("hidden")).unwrap();
    fs::write(root.join("notes.txt"), pause("text")).unwrap();
    let exported = json!({"apiVersion": "v1", "kind": "List", "items": [{
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause", "spec": {}, "status": {"phase": "Expired"},
        "metadata": {"name": "c", "namespace": "other", "uid": "x", "resourceVersion": "7", "generation": 9,
            "creationTimestamp": null, "managedFields": [{"manager": "kubectl"}]},
    }]});
    fs::write(root.join("list.json"), exported.to_string()).unwrap();
    let backend = open(root).await;
    assert_eq!(backend.problems(), []);
    let keys: Vec<Key> = backend.list(&pauses(), None).await.unwrap().iter().map(Key::of).collect();
    assert_eq!(keys, [key("a"), key("b"), Key::new("other", "c")], "without a namespace it is default");
    let exported = backend.get(&pauses(), &Key::new("other", "c")).await.unwrap();
    assert_eq!(exported.get("status"), None);
    assert_eq!(exported["metadata"]["generation"], 1);
    assert_ne!(exported["metadata"]["uid"], "x");
    let cell = backend.get(&Kind::of::<Cell>(), &key("web")).await.unwrap();
    assert_eq!(cell["spec"]["replicas"], 2);
}

#[tokio::test]
async fn user_files_are_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pause("a")).unwrap();
    let stamp = fs::metadata(&file).unwrap().modified().unwrap();
    let backend = open(folder.path()).await;
    let patch = json!({"metadata": {"annotations": {"okra.mumo.co/request": "{}"}, "finalizers": ["okra.mumo.co/x"]}});
    let mut object = backend.merge_patch(&pauses(), &key("a"), &patch).await.unwrap();
    object["status"] = json!({"phase": "Started"});
    backend.update_status(&pauses(), &object).await.unwrap();
    backend.delete(&pauses(), &key("a"), &Deletion::default()).await.unwrap();
    backend.merge_patch(&pauses(), &key("a"), &json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert!(is_missing(&backend, &pauses(), "a").await);
    assert_eq!(fs::read_to_string(&file).unwrap(), pause("a"));
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), stamp);
}

#[tokio::test]
async fn what_okra_adds_is_yaml_to_read_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), pause("a")).unwrap();
    let backend = open(folder.path()).await;
    let patch = json!({"metadata": {"annotations": {"note": "by okra"}}});
    let mut object = backend.merge_patch(&pauses(), &key("a"), &patch).await.unwrap();
    object["status"] = json!({"phase": "Started"});
    let kept = backend.update_status(&pauses(), &object).await.unwrap();
    let text = fs::read_to_string(folder.path().join(".okra/objects/pauses.okra.mumo.co/default/a.yaml")).unwrap();
    for part in ["note: by okra", "phase: Started", "uid: ", "file: a.yaml", "generation: 1", "resourceVersion: "] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let id = backend.installation_id().await.unwrap();
    drop(backend);
    let backend = open(folder.path()).await;
    assert_eq!(backend.get(&pauses(), &key("a")).await, Ok(kept));
    assert_eq!(backend.installation_id().await.unwrap(), id);
    assert_eq!(fs::read_to_string(folder.path().join(".okra/id")).unwrap().trim(), id);
}

#[tokio::test]
async fn an_edit_changes_what_it_speaks_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let labelled = pause("a").replace("metadata:\n", "metadata:\n  labels: {mine: '1', old: '1'}\n");
    fs::write(&file, &labelled).unwrap();
    let backend = open(folder.path()).await;
    let patch = json!({"metadata": {"labels": {"okras": "2"}, "finalizers": ["okra.mumo.co/x"]}});
    let before = backend.merge_patch(&pauses(), &key("a"), &patch).await.unwrap();
    let mut told = watch(&backend, &pauses()).await;
    let edited = labelled.replace(", old: '1'", "").replace("spec: {}", "spec: {expireTime: \"2030-01-01T00:00:00Z\"}");
    fs::write(&file, edited).unwrap();
    let WatchEvent::Applied(after) = told.next().await else { panic!("an edit is told") };
    assert_eq!(after["metadata"]["labels"], json!({"mine": "1", "okras": "2"}));
    assert_eq!(after["metadata"]["finalizers"], before["metadata"]["finalizers"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["metadata"]["generation"], 2);
    assert_eq!(after["spec"]["expireTime"], "2030-01-01T00:00:00Z");
}

#[tokio::test]
async fn mistakes_name_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let bad = CELL.replace("replicas: 2", "replicas: 0\n  pauseed: true").replace("priority: 10", "priority: high");
    fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let rule = CELL.replace("name: web", "name: rule").replace("matchLabels: {role: web}", "matchLabels: {}");
    fs::write(folder.path().join("rule.yaml"), rule).unwrap();
    fs::write(folder.path().join("broken.yaml"), "apiVersion: [").unwrap();
    fs::write(folder.path().join("nameless.yaml"), "apiVersion: okra.mumo.co/v1alpha1\nkind: Pause\nspec: {}\n")
        .unwrap();
    fs::write(folder.path().join("name.yaml"), pause("Not_A_Name")).unwrap();
    let backend = open(folder.path()).await;
    let problems: Vec<String> = backend.problems().iter().map(ToString::to_string).collect();
    let of = |file: &str| problems.iter().find(|problem| problem.starts_with(file)).expect("a problem").clone();
    let bad = of("bad.yaml: default/web: ");
    assert!(bad.contains("spec.pauseed: unknown field; known here: "), "{bad}");
    assert!(bad.contains("spec.replicas: 0 is less than the minimum of 1"), "{bad}");
    assert!(bad.contains("spec.ingress.awsApplicationLoadBalancer.listener.rule.priority: "), "{bad}");
    let rule = of("rule.yaml: default/rule: ");
    assert!(
        rule.contains(
            "spec.ingress.awsApplicationLoadBalancer: targetGroupSelector needs matchLabels or matchExpressions"
        ),
        "{rule}"
    );
    assert!(of("broken.yaml: ").contains("failed to parse YAML: "));
    assert!(of("nameless.yaml: ").contains("metadata.name: is required"));
    assert!(of("name.yaml: ").contains("metadata.name: \"Not_A_Name\" is not a name"));
    assert_eq!(problems.len(), 5);
    assert_eq!(backend.list(&Kind::of::<Cell>(), None).await, Ok(vec![]));
}

#[tokio::test]
async fn writes_through_the_store_are_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(folder.path()).await;
    let mut bad = json!({"apiVersion": "okra.mumo.co/v1alpha1", "kind": "Pause",
        "metadata": {"namespace": "default", "name": "a"}, "spec": {"expireTime": "soon"}});
    let error = backend.create(&pauses(), &bad).await.unwrap_err();
    assert!(matches!(&error, BackendError::Invalid { message } if message.starts_with("spec.expireTime: ")), "{error}");
    bad["spec"] = json!({});
    let mut made = backend.create(&pauses(), &bad).await.unwrap();
    made["status"] = json!({"phase": "Nonsense"});
    let error = backend.update_status(&pauses(), &made).await.unwrap_err();
    assert!(matches!(&error, BackendError::Invalid { message } if message.starts_with("status.phase: ")), "{error}");
    let traversal = Key::new("default", "../../id");
    assert!(matches!(backend.get(&pauses(), &traversal).await, Err(BackendError::Invalid { .. })));
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    let list = "apiVersion: okra.mumo.co/v1alpha1\nkind: VersionBlocklist\nmetadata: {name: web}\nspec: {}\n";
    fs::write(folder.path().join("list.yaml"), list).unwrap();
    let steps = "  updateStrategy: {canary: {steps: [{setWeight: 20}]}}\n";
    fs::write(folder.path().join("cell.yaml"), format!("{}{steps}", CELL.trim_end().to_owned() + "\n")).unwrap();
    let backend = open(folder.path()).await;
    assert_eq!(backend.problems(), []);
    let list = backend.get(&Kind::of::<VersionBlocklist>(), &key("web")).await.unwrap();
    assert_eq!(list["spec"], json!({"items": []}));
    let cell = backend.get(&Kind::of::<Cell>(), &key("web")).await.unwrap();
    assert_eq!(cell["spec"]["updateStrategy"]["type"], "Canary");
}

#[tokio::test]
async fn an_invalid_file_keeps_its_last_good_version() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cell.yaml");
    fs::write(&file, CELL).unwrap();
    let backend = open(folder.path()).await;
    let cells = Kind::of::<Cell>();
    let good = backend.get(&cells, &key("web")).await.unwrap();

    fs::write(&file, CELL.replace("replicas: 2", "replicas: 0")).unwrap();
    problems_with(&backend, "spec.replicas: ").await;
    assert_eq!(backend.get(&cells, &key("web")).await, Ok(good.clone()));

    fs::write(&file, CELL.replace("listener/app/web/", "listener/app/other/")).unwrap();
    let problems = problems_with(&backend, "listenerARN: ").await;
    assert!(problems[0].contains("cannot be changed"), "a rule over old and new: {problems:?}");
    assert_eq!(backend.get(&cells, &key("web")).await, Ok(good.clone()));

    fs::write(&file, "apiVersion: okra.mumo.co/v1alpha1\nkind: Cell\nmetadata: {name: web").unwrap();
    problems_with(&backend, "failed to parse YAML").await;
    drop(backend);
    let backend = open(folder.path()).await;
    let problems = problems_with(&backend, "failed to parse YAML").await;
    assert_eq!(problems.len(), 1, "told once: {problems:?}");
    assert_eq!(backend.get(&cells, &key("web")).await, Ok(good), "after a start too");

    let mut told = watch(&backend, &cells).await;
    fs::write(&file, CELL.replace("replicas: 2", "replicas: 3")).unwrap();
    let WatchEvent::Applied(mended) = told.next().await else { panic!("the mended file is told") };
    assert_eq!(mended["spec"]["replicas"], 3);
    no_problems(&backend).await;
}

#[tokio::test]
async fn a_vanished_file_is_a_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.yaml");
    fs::write(&file, format!("{}---\n{}", pause("a"), pause("b"))).unwrap();
    let backend = open(folder.path()).await;
    let patch = json!({"metadata": {"finalizers": ["okra.mumo.co/x"]}});
    backend.merge_patch(&pauses(), &key("b"), &patch).await.unwrap();
    let mut told = watch(&backend, &pauses()).await;

    fs::write(&file, pause("b")).unwrap();
    assert!(matches!(told.next().await, WatchEvent::Deleted(object) if Key::of(&object) == key("a")));
    assert!(!folder.path().join(".okra/objects/pauses.okra.mumo.co/default/a.yaml").exists());

    fs::remove_file(&file).unwrap();
    let WatchEvent::Applied(going) = told.next().await else { panic!("finalizers hold it") };
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let patch = json!({"metadata": {"finalizers": null}});
    backend.merge_patch(&pauses(), &key("b"), &patch).await.unwrap();
    assert!(matches!(told.next().await, WatchEvent::Deleted(object) if Key::of(&object) == key("b")));
    assert!(!folder.path().join(".okra/objects/pauses.okra.mumo.co/default/b.yaml").exists());
}

#[tokio::test]
async fn a_tombstone_keeps_a_deleted_object_away_until_its_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, pause("a")).unwrap();
    let backend = open(folder.path()).await;
    let first = backend.get(&pauses(), &key("a")).await.unwrap();
    backend.delete(&pauses(), &key("a"), &Deletion::default()).await.unwrap();
    let text = fs::read_to_string(folder.path().join(".okra/objects/pauses.okra.mumo.co/default/a.yaml")).unwrap();
    assert!(text.contains("deletedUid: "), "{text}");
    drop(backend);
    let backend = open(folder.path()).await;
    assert!(is_missing(&backend, &pauses(), "a").await, "the file alone does not bring it back");
    let mut told = watch(&backend, &pauses()).await;
    fs::write(&file, pause("a").replace("spec: {}", "spec: {expireTime: \"2030-01-01T00:00:00Z\"}")).unwrap();
    let WatchEvent::Applied(again) = told.next().await else { panic!("a changed file does") };
    assert_ne!(again["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(again["metadata"]["generation"], 1);
}

fn child(name: &str, owner: &Value, kind: &str) -> Value {
    json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": kind, "spec": {},
        "metadata": {"namespace": "default", "name": name, "ownerReferences": [{
            "apiVersion": owner["apiVersion"], "kind": owner["kind"],
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true,
        }]},
    })
}

#[tokio::test]
async fn children_go_with_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cell.yaml"), CELL).unwrap();
    let backend = open(folder.path()).await;
    let blocklists = Kind::of::<VersionBlocklist>();
    let cell = backend.get(&Kind::of::<Cell>(), &key("web")).await.unwrap();
    let list = backend.create(&blocklists, &child("web", &cell, "VersionBlocklist")).await.unwrap();
    backend.create(&pauses(), &child("grandchild", &list, "Pause")).await.unwrap();
    let mut strange = child("strange", &cell, "Pause");
    strange["metadata"]["ownerReferences"][0]["apiVersion"] = json!("apps/v1");
    strange["metadata"]["ownerReferences"][0]["kind"] = json!("Deployment");
    strange["metadata"]["ownerReferences"][0]["uid"] = json!("never-seen");
    backend.create(&pauses(), &strange).await.unwrap();
    backend.delete(&Kind::of::<Cell>(), &key("web"), &Deletion::default()).await.unwrap();
    assert!(is_missing(&backend, &blocklists, "web").await, "at once");
    assert!(is_missing(&backend, &pauses(), "grandchild").await, "what they own too");
    assert!(!is_missing(&backend, &pauses(), "strange").await, "an owner of a kind that is not kept here may live");
}

#[tokio::test]
async fn children_of_a_deleted_owner_are_removed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cell.yaml"), CELL).unwrap();
    let backend = open(folder.path()).await;
    let cell = backend.get(&Kind::of::<Cell>(), &key("web")).await.unwrap();
    backend.create(&pauses(), &child("one", &cell, "Pause")).await.unwrap();
    drop(backend);
    // A crash between the owner's removal and the child's.
    fs::remove_file(folder.path().join("cell.yaml")).unwrap();
    fs::remove_file(folder.path().join(".okra/objects/cells.okra.mumo.co/default/web.yaml")).unwrap();
    let backend = open(folder.path()).await;
    assert!(is_missing(&backend, &pauses(), "one").await);
}

#[tokio::test]
async fn one_process_leads_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let lead = DirectoryLeadership::try_acquire(folder.path(), "okrad, process 1").unwrap();
    assert_eq!(lead.permits(Duration::from_secs(10)), Ok(()));
    let error = DirectoryLeadership::try_acquire(folder.path(), "okra, process 2").unwrap_err();
    assert!(matches!(&error, LeadershipError::Held { holder } if holder == "okrad, process 1"), "{error}");
    let root = folder.path().to_path_buf();
    let waiting = tokio::spawn(async move { DirectoryLeadership::acquire(&root, "okra, process 2").await });
    drop(lead);
    let lead = tokio::time::timeout(LIMIT, waiting).await.expect("the lock in time").unwrap().unwrap();
    assert_eq!(lead.permits(Duration::from_secs(10)), Ok(()));
    fs::remove_dir_all(folder.path().join(".okra")).unwrap();
    assert_eq!(lead.permits(Duration::from_secs(10)), Err(NotLeader), "its lock no longer keeps anybody out");
}

#[tokio::test]
async fn single_writes_work_beside_a_leader_and_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), pause("a")).unwrap();
    let _lead = DirectoryLeadership::try_acquire(folder.path(), "okrad").unwrap();
    let okrad = open(folder.path()).await;
    let okractl = open(folder.path()).await;
    let mut told = watch(&okrad, &pauses()).await;
    let patch = json!({"metadata": {"annotations": {"okra.mumo.co/request": "{}"}}});
    let patched = okractl.merge_patch(&pauses(), &key("a"), &patch).await.unwrap();
    assert_eq!(told.next().await, WatchEvent::Applied(patched.clone()));
    let mut answered = patched;
    answered["status"] = json!({"phase": "Started"});
    let answered = okrad.update_status(&pauses(), &answered).await.unwrap();
    assert_eq!(okractl.get(&pauses(), &key("a")).await, Ok(answered.clone()));
    assert_eq!(told.next().await, WatchEvent::Applied(answered));
    okractl.delete(&pauses(), &key("a"), &Deletion::default()).await.unwrap();
    assert!(matches!(told.next().await, WatchEvent::Deleted(_)));
}

#[tokio::test]
async fn writers_of_one_object_never_lose_each_others_work() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), pause("a")).unwrap();
    let mut writers = Vec::new();
    for writer in 0..4 {
        let backend = open(folder.path()).await;
        writers.push(tokio::spawn(async move {
            for number in 0..25 {
                let patch = json!({"metadata": {"annotations": {format!("w{writer}-{number}"): "x"}}});
                backend.merge_patch(&pauses(), &key("a"), &patch).await.unwrap();
                backend.list(&pauses(), None).await.unwrap();
            }
            backend.problems()
        }));
    }
    for writer in writers {
        assert_eq!(writer.await.unwrap(), []);
    }
    let object = open(folder.path()).await.get(&pauses(), &key("a")).await.unwrap();
    assert_eq!(object["metadata"]["annotations"].as_object().unwrap().len(), 100);
    assert!(!folder.path().join(".okra/writing.tmp").exists());
}

#[tokio::test]
async fn what_needs_a_cluster_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("job.yaml"), "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n").unwrap();
    let backend = open(folder.path()).await;
    let problems = problems_with(&backend, "Job").await;
    assert!(problems[0].contains("kind: Job needs a real cluster"), "{problems:?}");
    for (group, kind, plural) in [("batch", "Job", "jobs"), ("apps", "ReplicaSet", "replicasets")] {
        let kind = Kind { group: group.into(), version: "v1".into(), kind: kind.into(), plural: plural.into() };
        let object =
            json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"namespace": "a", "name": "b"}});
        let error = backend.create(&kind, &object).await.unwrap_err();
        assert!(
            matches!(&error, BackendError::Unsupported(reason) if reason.contains("needs a real cluster")),
            "{error}"
        );
        assert_eq!(Told(backend.watch(&kind, None)).next().await, WatchEvent::Absent);
    }
}

#[tokio::test]
async fn an_object_in_two_files_belongs_to_the_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b.yaml"), pause("a")).unwrap();
    let backend = open(folder.path()).await;
    fs::write(
        folder.path().join("a.yaml"),
        pause("a").replace("spec: {}", "spec: {expireTime: \"2030-01-01T00:00:00Z\"}"),
    )
    .unwrap();
    let problems = problems_with(&backend, "is also in b.yaml").await;
    assert!(problems[0].starts_with("a.yaml: default/a: "), "{problems:?}");
    let object = backend.get(&pauses(), &key("a")).await.unwrap();
    assert_eq!(object["spec"], json!({}), "the file that had it keeps it");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = DirectoryBackend::open(&folder.path().join("no"), quick()).await.unwrap_err();
    assert!(error.to_string().ends_with("it is not a folder"), "{error}");
    assert!(!folder.path().join("no").exists());
}

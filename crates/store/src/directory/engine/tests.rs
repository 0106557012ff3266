//! What time and order make hard to see from outside.

use std::fs;

use okra_api::Pause;
use pretty_assertions::assert_eq;

use super::*;

const SCAN: Duration = Duration::from_millis(50);

struct Folder {
    dir: tempfile::TempDir,
    engine: Engine,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), SCAN).unwrap();
        Self { dir, engine }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join(file)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.engine.known(&kind(), None).iter().map(|object| Key::of(object).name).collect()
    }

    fn ingest(&mut self) {
        self.engine.ingest().unwrap();
    }

    /// Scans until the names are these; how long that took.
    fn ingest_until(&mut self, names: &[&str]) -> Duration {
        let began = Instant::now();
        while self.names() != names {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?} instead of {names:?}", self.names());
            std::thread::sleep(Duration::from_millis(1));
            self.ingest();
        }
        began.elapsed()
    }
}

fn kind() -> Kind {
    Kind::of::<Pause>()
}

fn pause(name: &str) -> String {
    format!("apiVersion: okra.mumo.co/v1alpha1\nkind: Pause\nmetadata: {{name: {name}}}\nspec: {{}}\n")
}

#[test]
fn a_vanished_file_is_a_deletion_after_two_scans_that_are_far_enough_apart() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &pause("a"));
    folder.write("b.yaml", &pause("b"));
    folder.ingest();
    folder.remove("a.yaml");
    folder.ingest();
    assert_eq!(folder.names(), ["a", "b"], "one scan is not enough");
    assert!(folder.ingest_until(&["b"]) >= SCAN);
}

#[test]
fn a_file_that_comes_back_was_never_gone() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &pause("a"));
    folder.ingest();
    let before = folder.engine.known(&kind(), None);
    folder.remove("a.yaml");
    folder.ingest();
    folder.write("a.yaml", &pause("a"));
    folder.ingest();
    assert_eq!(folder.engine.missing, BTreeMap::new());
    folder.remove("a.yaml");
    folder.ingest();
    folder.write("moved.yaml", &pause("a"));
    folder.ingest();
    assert_eq!(folder.engine.known(&kind(), None), before);
}

#[test]
fn an_incomplete_scan_concludes_nothing() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &pause("a"));
    folder.ingest();
    folder.remove("a.yaml");
    fs::write(folder.dir.path().join("huge.yaml"), vec![b'#'; 9 << 20]).unwrap();
    let until = Instant::now() + SCAN * 3;
    while Instant::now() < until {
        folder.ingest();
    }
    assert_eq!(folder.names(), ["a"]);
    folder.remove("huge.yaml");
    folder.ingest_until(&[]);
}

#[test]
fn a_record_that_cannot_be_read_holds_up_deletions_only() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &pause("a"));
    folder.write("b.yaml", &pause("b"));
    folder.ingest();
    let record = folder.dir.path().join(".okra/objects/pauses.okra.mumo.co/default/b.yaml");
    let good = fs::read_to_string(&record).unwrap();
    fs::write(&record, "object: [").unwrap();
    folder.remove("a.yaml");
    let until = Instant::now() + SCAN * 3;
    while Instant::now() < until {
        folder.ingest();
    }
    assert_eq!(folder.names(), ["a", "b"], "what was known stays known");
    let problems = folder.engine.problems().lock().clone();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.starts_with("failed to parse "), "{}", problems[0]);
    fs::write(&record, good).unwrap();
    folder.ingest_until(&["b"]);
}

#[test]
fn a_folder_at_rest_is_not_written_to() {
    let mut folder = Folder::new();
    folder.write("a.yaml", &pause("a"));
    folder.write("bad.yaml", "apiVersion: okra.mumo.co/v1alpha1\nkind: Pause\nmetadata: {name: c}\nspec: {x: 1}\n");
    folder.ingest();
    let counter = folder.engine.disk.counter();
    let records = |folder: &Folder| folder.engine.disk.records().unwrap();
    let before: Vec<_> = records(&folder).into_iter().map(|(_, key, _, stamp)| (key, stamp)).collect();
    for _ in 0..5 {
        folder.ingest();
        folder.engine.poll().unwrap();
    }
    assert_eq!(folder.engine.disk.counter(), counter);
    assert_eq!(records(&folder).into_iter().map(|(_, key, _, stamp)| (key, stamp)).collect::<Vec<_>>(), before);
}

#[test]
fn what_yaml_could_misread_comes_back_as_it_was() {
    let folder = Folder::new();
    let odd = [
        "yes",
        "on",
        "1",
        "1e3",
        "0x10",
        "null",
        "~",
        "",
        " a ",
        "a: b",
        "# c",
        "2026-01-01",
        "- x",
        "é\n\n b\n",
        "\"q\"",
        "'s'",
        "{",
        "%",
        "@a",
        "`",
        "!t",
        "&a",
        "*a",
        "|",
        ">",
        "tab\there",
        "line\r\nend",
        "=",
        "<<",
        "1_000",
    ];
    let annotations: serde_json::Map<String, Value> =
        odd.iter().enumerate().map(|(number, text)| (format!("k{number}"), json!(text))).collect();
    let object = json!({"metadata": {"annotations": annotations, "labels": {"true": "false", "1": "2", "~": "x"}},
        "spec": {"i": 1, "f": 1.5, "whole": 2.0, "n": null, "b": true, "l": [], "m": {}, "big": 9_007_199_254_740_993_i64}});
    let record = Record { object: Some(object), ..Record::default() };
    let path = folder.dir.path().join(".okra/odd.yaml");
    let lock = folder.engine.disk.lock().unwrap();
    folder.engine.disk.write(&lock, &path, &record).unwrap();
    let (read, _) = Disk::read(&path).unwrap().unwrap();
    assert_eq!(read, record, "{}", fs::read_to_string(&path).unwrap());
}

//! The user's files: found, read and taken apart, never written.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use okra_provider::{Key, Kind, object};
use serde_json::{Value, json};

use super::{Problem, catalog::Catalog};

/// The largest file that is read; a manifest of etcd's limit fits four times.
const MAX_FILE: u64 = 8 << 20;
/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;
/// How many files are read.
const MAX_FILES: usize = 20_000;

/// Tells whether a file is still the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), length: metadata.len(), inode }
    }
}

/// One object of a file, in the form that is compared and merged: with its namespace, without status and without
/// the metadata that only the store writes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) kind: Kind,
    pub(super) key: Key,
    pub(super) manifest: Value,
}

/// What was read from one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Parsed {
    pub(super) documents: Vec<Document>,
    pub(super) problems: Vec<Problem>,
    /// Nobody knows what is in it; it is read again next time, whether it changed or not.
    unread: bool,
}

/// The files as they were read last.
#[derive(Debug, Default)]
pub(super) struct Files {
    read: BTreeMap<PathBuf, (Stamp, Parsed)>,
}

impl Files {
    /// Looks at every file below the root and reads those that changed. False when something could not be looked
    /// at: then nothing may be concluded from what is missing.
    pub(super) fn scan(&mut self, root: &Path, catalog: &Catalog) -> bool {
        let mut found = BTreeMap::new();
        let mut complete = walk(root, 0, &mut found).is_ok();
        let mut read = BTreeMap::new();
        for (path, stamp) in found {
            let name = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            if let Some((known, parsed)) = self.read.remove(&name)
                && known == stamp
                && !parsed.unread
            {
                read.insert(name, (stamp, parsed));
                continue;
            }
            match read_file(&path) {
                Ok(text) => _ = read.insert(name.clone(), (stamp, parse(&name, &text, catalog))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    complete = false;
                    let problem =
                        Problem { file: name.clone(), key: None, message: format!("failed to read: {error}") };
                    read.insert(name, (stamp, Parsed { problems: vec![problem], unread: true, ..Parsed::default() }));
                }
            }
        }
        self.read = read;
        complete
    }

    /// Every file, in the order of their paths.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Parsed)> {
        self.read.iter().map(|(path, (_, parsed))| (path.as_path(), parsed))
    }
}

/// Finds the manifests. Hidden folders (`.okra`, `.git`) and links to folders are left alone.
fn walk(folder: &Path, depth: usize, found: &mut BTreeMap<PathBuf, Stamp>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("folders are nested too deep"));
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if is_manifest(&path) {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => _ = found.insert(path, Stamp::of(&metadata)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if found.len() > MAX_FILES {
                return Err(io::Error::other("too many files"));
            }
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
}

fn read_file(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(io::Error::other(format!("{length} bytes are more than the {MAX_FILE} that a manifest may have")));
    }
    fs::read_to_string(path)
}

fn parse(file: &Path, text: &str, catalog: &Catalog) -> Parsed {
    let mut parsed = Parsed::default();
    let problem = |key: Option<Key>, message: String| Problem { file: file.to_path_buf(), key, message };
    let documents = match serde_saphyr::from_multiple::<Value>(text) {
        Ok(documents) => documents,
        Err(error) => {
            // The rest of its words quotes the file.
            let words = error.to_string().lines().next().unwrap_or_default().to_owned();
            parsed.problems.push(problem(None, format!("failed to parse YAML: {words}")));
            return parsed;
        }
    };
    for document in documents.into_iter().flat_map(items) {
        if document.is_null() {
            continue;
        }
        match identify(document, catalog) {
            Ok(document) => parsed.documents.push(document),
            Err((key, message)) => parsed.problems.push(problem(key, message)),
        }
    }
    parsed
}

/// `kind: List` is what `kubectl get -o yaml` prints, and applies.
fn items(document: Value) -> Vec<Value> {
    let is_list = document.get("kind").and_then(Value::as_str) == Some("List")
        && document.get("apiVersion").and_then(Value::as_str) == Some("v1");
    match document.get("items") {
        Some(Value::Array(items)) if is_list => items.clone(),
        _ => vec![document],
    }
}

fn identify(mut document: Value, catalog: &Catalog) -> Result<Document, (Option<Key>, String)> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut key = Key::new(text("/metadata/namespace"), text("/metadata/name"));
    let named = (!key.name.is_empty()).then(|| key.clone());
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    for (field, value) in [("apiVersion", &api_version), ("kind", &kind), ("metadata.name", &key.name)] {
        if value.is_empty() {
            return Err((named, format!("{field}: is required")));
        }
    }
    let kept = catalog.named(&api_version, &kind).map_err(|error| (named.clone(), format!("kind: {error}")))?;
    if kept.namespaced && key.namespace.is_empty() {
        "default".clone_into(&mut key.namespace);
    }
    if !kept.namespaced && !key.namespace.is_empty() {
        return Err((named, format!("metadata.namespace: {kind} has no namespace: remove the field")));
    }
    check_key(&key).map_err(|message| (named, message))?;
    if let Some(fields) = document.as_object_mut() {
        if object::has_status(&kept.kind) {
            fields.remove("status");
        }
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["managedFields", "selfLink", "generateName"].into_iter().chain(object::OWN_METADATA) {
                metadata.remove(field);
            }
            if kept.namespaced {
                metadata.insert("namespace".into(), json!(key.namespace));
            }
        }
    }
    Ok(Document { kind: kept.kind.clone(), key, manifest: document })
}

/// Names become file names: only what Kubernetes takes as a name is one.
pub(super) fn check_key(key: &Key) -> Result<(), String> {
    for (field, name, limit) in [("metadata.namespace", &key.namespace, 63), ("metadata.name", &key.name, 253)] {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (c == '.' && limit == 253);
        let edges = name.starts_with(['-', '.']) || name.ends_with(['-', '.']);
        if !name.chars().all(legal) || edges || name.len() > limit {
            return Err(format!(
                "{field}: {name:?} is not a name: at most {limit} of a-z, 0-9 and '-', a letter or digit at both ends"
            ));
        }
    }
    Ok(())
}

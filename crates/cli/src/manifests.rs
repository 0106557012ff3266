//! Manifests from files: what `-f` names.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::error::CommandError;

/// A file has at most so many bytes.
const MAX_FILE: u64 = 4 << 20;
/// So many files are read at most.
const MAX_FILES: usize = 1_000;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The file, as it was named; `-` for stdin.
    pub file: String,
    /// Which one of the file, counted from 1; empty ones do not count, each item of a `List` does.
    pub number: usize,
    /// What it says.
    pub value: Value,
}

impl Document {
    /// `apiVersion`, `kind` and name of the object; empty where it has none.
    pub fn identity(&self) -> (&str, &str, &str) {
        let text = |pointer| self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    }
}

/// A file that is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// The file, as it was named.
    pub file: String,
    /// What is wrong, and where; without what the file says.
    pub message: String,
}

/// What files hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The documents, in the order of the files.
    pub documents: Vec<Document>,
    /// Files that cannot be parsed.
    pub bad: Vec<BadFile>,
}

/// Reads files, folders (their `.yaml`, `.yml` and `.json` files) and `-` for stdin. Errors when one cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Manifests, CommandError> {
    let mut manifests = Manifests::default();
    for path in files(paths)? {
        let name = path.display().to_string();
        let text = text(&path)
            .map_err(|error| CommandError::usage(format!("failed to read {name}"), error).hint("name files with -f"))?;
        match serde_saphyr::from_multiple::<Value>(&text) {
            Ok(documents) => {
                let documents = documents.into_iter().flat_map(items).filter(|value| !value.is_null());
                let numbered = documents.enumerate().map(|(index, value)| Document {
                    file: name.clone(),
                    number: index + 1,
                    value,
                });
                manifests.documents.extend(numbered);
            }
            Err(error) => {
                // The rest of its words quotes the file, which may hold a Secret.
                let message = error.to_string().lines().next().unwrap_or_default().to_owned();
                manifests.bad.push(BadFile { file: name, message });
            }
        }
    }
    Ok(manifests)
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CommandError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let listed = fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut within: Vec<PathBuf> = listed
            .map_err(|error: io::Error| CommandError::usage(format!("failed to read {}", path.display()), error))?;
        within.retain(|path| path.is_file() && is_manifest(path));
        within.sort();
        files.extend(within);
    }
    if files.len() > MAX_FILES {
        let why = format!("{} files are more than {MAX_FILES}", files.len());
        return Err(CommandError::usage("failed to read the files", why));
    }
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    matches!(extension.as_deref(), Some("yaml" | "yml" | "json"))
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_FILE + 1).read_to_string(&mut text)?
    } else {
        File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?
    };
    if read as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it has more than the {MAX_FILE} bytes that a manifest may have")));
    }
    Ok(text)
}

/// `kind: List` is what `kubectl get -o yaml` prints.
fn items(document: Value) -> Vec<Value> {
    let is_list = document.get("kind").and_then(Value::as_str) == Some("List");
    match document.get("items") {
        Some(Value::Array(items)) if is_list => items.clone(),
        _ => vec![document],
    }
}

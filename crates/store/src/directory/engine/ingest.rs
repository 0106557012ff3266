//! The user's files become objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Instant,
};

use okra_provider::{BackendError, Deletion, Key, Kind, object};
use serde_json::{Value, json};

use super::{
    super::{Problem, manifests::Document, merge::three_way, records::WriteLock},
    Engine, unnumbered,
};

/// Every document of every file, by object.
type Found = BTreeMap<(Kind, Key), Vec<(PathBuf, Document)>>;

impl Engine {
    /// Takes in the user's files.
    pub(super) fn ingest(&mut self) -> Result<(), BackendError> {
        let lock = self.disk.lock()?;
        self.look()?;
        let complete = self.files.scan(&self.root, &self.catalog);
        self.scanned = Some(Instant::now());
        let mut problems: BTreeSet<Problem> =
            self.files.iter().flat_map(|(_, parsed)| parsed.problems.iter().cloned()).collect();
        let mut found = Found::new();
        for (file, parsed) in self.files.iter() {
            for document in &parsed.documents {
                let place = (document.kind.clone(), document.key.clone());
                found.entry(place).or_default().push((file.to_path_buf(), document.clone()));
            }
        }
        for ((kind, key), copies) in &found {
            let Some((file, document)) = self.chosen(kind, key, copies) else { continue };
            for (other, _) in copies.iter().filter(|copy| copy.0 != *file) {
                let message = format!("{kind} {key} is also in {}: keep it in one file", file.display());
                problems.insert(Problem { file: other.clone(), key: Some(key.clone()), message });
            }
            match self.apply(&lock, file, document) {
                Ok(()) => {}
                Err(BackendError::Invalid { message }) => {
                    problems.insert(Problem { file: file.clone(), key: Some(key.clone()), message });
                }
                Err(error) => return Err(error),
            }
        }
        if complete && self.unreadable.is_empty() {
            self.withdraw_missing(&lock, &found)?;
        }
        self.collect(&lock)?;
        for problem in problems.difference(&self.problems) {
            problem.log();
        }
        self.problems = problems;
        self.publish_problems();
        Ok(())
    }

    /// Which of several files speaks for an object: the one that did before, else the first.
    fn chosen<'a>(&self, kind: &Kind, key: &Key, copies: &'a [(PathBuf, Document)]) -> Option<&'a (PathBuf, Document)> {
        let held = self.held.get(kind).and_then(|held| held.get(key));
        let before = held.and_then(|held| held.record.file.as_ref());
        copies.iter().find(|(file, _)| Some(file) == before).or_else(|| copies.first())
    }

    /// Applies one document, as `kubectl apply` would.
    fn apply(&mut self, lock: &WriteLock, file: &Path, document: &Document) -> Result<(), BackendError> {
        let place = self.place(&document.kind, &document.key)?;
        let mut record = self.record(&place).cloned().unwrap_or_default();
        let same = record.manifest.as_ref() == Some(&document.manifest);
        let moved = record.file.as_deref() != Some(file);
        record.file = Some(file.to_path_buf());
        let Some(present) = record.object.clone() else {
            // A tombstone holds as long as the file says what it said when the object was deleted.
            if same {
                return if moved { self.keep(lock, &place, record, None) } else { Ok(()) };
            }
            record.manifest = Some(document.manifest.clone());
            return self.make(lock, &place, &document.manifest, record).map(drop);
        };
        if object::is_going(&present) {
            return Ok(());
        }
        if same {
            return if moved { self.keep(lock, &place, record, None) } else { Ok(()) };
        }
        let mut wanted = three_way(record.manifest.as_ref(), &document.manifest, &present);
        if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), json!(object::resource_version(&present).to_string()));
        }
        record.manifest = Some(document.manifest.clone());
        // Compared with its defaults, so that an edit which says what was the case already is none.
        let wanted = self.admit(&place.kind, wanted, Some(&present))?;
        let written = object::update(&place.kind, &present, &wanted, &unnumbered())?;
        self.settle(lock, &place, &present, written, record).map(drop)
    }

    /// Deletes objects whose files were missing in an earlier complete scan already. A file that cannot be read as
    /// a whole speaks for every object that it ever held.
    fn withdraw_missing(&mut self, lock: &WriteLock, found: &Found) -> Result<(), BackendError> {
        let troubled: BTreeSet<PathBuf> = self
            .files
            .iter()
            .filter(|(_, parsed)| !parsed.problems.is_empty())
            .map(|(file, _)| file.to_path_buf())
            .collect();
        let now = Instant::now();
        let mut missing = BTreeMap::new();
        let mut withdrawn = Vec::new();
        for (kind, held) in &self.held {
            for (key, held) in held {
                let from_file = held.record.manifest.is_some();
                let unsure = held.record.file.as_ref().is_some_and(|file| troubled.contains(file));
                let place = (kind.clone(), key.clone());
                if !from_file || unsure || found.contains_key(&place) {
                    continue;
                }
                let since = self.missing.get(&place).copied().unwrap_or(now);
                if now.duration_since(since) >= self.scan {
                    withdrawn.push(place);
                } else {
                    missing.insert(place, since);
                }
            }
        }
        self.missing = missing;
        for (kind, key) in withdrawn {
            let place = self.place(&kind, &key)?;
            let mut record = self.record(&place).cloned().unwrap_or_default();
            (record.file, record.manifest, record.deleted_uid) = (None, None, None);
            match record.object.clone() {
                None => self.keep(lock, &place, record, None)?,
                Some(present) => {
                    let written = object::delete(&kind, &present, &Deletion::default(), &unnumbered())?;
                    self.settle(lock, &place, &present, written, record)?;
                }
            }
        }
        Ok(())
    }
}

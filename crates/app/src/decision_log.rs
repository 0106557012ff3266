//! Decisions in a file, for whoever judges them later (`--record FILE`).

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use okra_provider::DecisionLog;
use parking_lot::Mutex;
use serde_json::Value;

/// Appends decisions to a file, one line of JSON each, one write each: a reader never sees half a line of one process
/// within another's.
#[derive(Debug)]
pub struct FileDecisionLog {
    file: Mutex<File>,
    failing: AtomicBool,
}

impl FileDecisionLog {
    /// Opens the file, or creates it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file), failing: AtomicBool::new(false) })
    }
}

impl DecisionLog for FileDecisionLog {
    fn append(&self, decision: &Value) {
        let line = format!("{decision}\n");
        let written = self.file.lock().write_all(line.as_bytes());
        // A full disk must not stop traffic from going back to safety; it is told once, not per decision.
        let failed = written.is_err();
        if let Err(error) = written
            && !self.failing.load(Ordering::Relaxed)
        {
            tracing::error!(%error, "Failed to record a decision");
        }
        self.failing.store(failed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn appends_a_line_for_each_decision_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions");
        std::fs::write(&path, "{\"old\":1}\n").unwrap();
        for round in 0..2 {
            let log = FileDecisionLog::open(&path).unwrap();
            log.append(&json!({"round": round, "text": "two\nlines"}));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines,
            [json!({"old": 1}), json!({"round": 0, "text": "two\nlines"}), json!({"round": 1, "text": "two\nlines"}),]
        );
        assert!(FileDecisionLog::open(&folder.path().join("no/such/folder")).is_err());
    }
}

//! What a run did, in words and as one number.

use std::fmt::{self, Arguments, Write};

use serde_json::Value;

/// The log of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty one; `keep`: not only the hash, the words too.
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: keep.then(Vec::new) }
    }

    /// Adds a line.
    pub fn line(&mut self, now: u64, words: Arguments<'_>) {
        self.take(&now.to_le_bytes());
        // The words are made only where somebody reads them.
        _ = Hashing(self).write_fmt(words);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  {words}", now as f64 / 1000.0));
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        // FNV-1a: the standard library promises no hash that stays the same from build to build.
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds how an object changed, for a person who reads the log: it says nothing that the hash does not know.
    pub fn change(&mut self, now: u64, before: Option<&Value>, after: &Value, words: Arguments<'_>) {
        let Some(lines) = &mut self.lines else { return };
        let mut parts = Vec::new();
        differences("", before.unwrap_or(&Value::Null), after, &mut parts);
        lines.extend(parts.into_iter().map(|part| format!("{:>9.3} s      {words} {part}", now as f64 / 1000.0)));
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The words, if they were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// Takes words into the hash as they are made.
struct Hashing<'a>(&'a mut Trace);

impl Write for Hashing<'_> {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        self.0.take(words.as_bytes());
        Ok(())
    }
}

fn differences(path: &str, before: &Value, after: &Value, parts: &mut Vec<String>) {
    if before == after || path.ends_with("/resourceVersion") {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&format!("{path}/{key}"), &of(old), &of(new), parts);
            }
        }
        _ => parts.push(format!("{path}: {before} -> {after}")),
    }
}

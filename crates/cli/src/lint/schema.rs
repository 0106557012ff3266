//! What the API server would refuse, and what it would drop without a word.

use okra_store::{Fault, ManifestRules};

use super::{Sink, nearest};
use crate::manifests::Document;

/// Checks a document against the schema of its kind. Kinds of others are left alone. An error is a fault of the CRD.
pub(super) fn check(document: &Document, rules: &ManifestRules, sink: &mut Sink<'_>) -> Result<(), String> {
    for Fault { field, words, known } in rules.faults(&document.value)?.unwrap_or_default() {
        if words == "unknown field" {
            let name = field.rsplit('.').next().unwrap_or_default();
            let fix = match nearest(name, known.iter().map(String::as_str)) {
                Some(meant) => format!("write {meant}"),
                None if known.is_empty() => "remove it".to_owned(),
                None => format!("remove it, or write one of {}", known.join(", ")),
            };
            sink.error(field, "unknown field: an API server drops it without a word", fix);
            continue;
        }
        let fix = if words == "is required" { "add it" } else { "write what the reference of the kind asks for" };
        sink.error(field, words, fix);
    }
    Ok(())
}

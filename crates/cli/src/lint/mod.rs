//! What is wrong with manifests before they are applied: AnalysisTemplates and runs in depth, okra's other kinds by
//! their schema and rules.
//!
//! An error is what the API server, Argo's rules or okra would refuse, or what makes each measurement an Error. A warning
//! is what runs, but hardly as it reads. Every finding names its place and what to write instead.

mod arguments;
mod cells;
mod conditions;
mod limits;
mod metrics;
mod placeholders;
mod schema;
mod subject;

use okra_store::ManifestRules;
use serde::Serialize;

use self::subject::{Subject, Templates};
use crate::manifests::{Document, Manifests};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is refused, or cannot be measured.
    Error,
    /// It runs, but hardly as it reads.
    Warning,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// Which document of the file, counted from 1; 0 for the file itself.
    pub document: usize,
    /// `KIND NAME`.
    pub object: String,
    /// The field: `spec.metrics[0].successCondition`; empty for the object itself.
    pub field: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

/// All that is wrong, in the order of the documents. An error is a fault of this program.
pub fn lint(manifests: &Manifests) -> Result<Vec<Finding>, String> {
    with_rules(manifests, &ManifestRules::new()?)
}

fn with_rules(manifests: &Manifests, rules: &ManifestRules) -> Result<Vec<Finding>, String> {
    let templates = Templates::of(&manifests.documents);
    let mut findings = Vec::new();
    for bad in &manifests.bad {
        findings.push(Finding {
            file: bad.file.clone(),
            document: 0,
            object: String::new(),
            field: String::new(),
            severity: Severity::Error,
            message: format!("it is no YAML: {}", bad.message),
            fix: "mend the syntax at that place".to_owned(),
        });
    }
    for document in &manifests.documents {
        let mut sink = Sink::new(document);
        schema::check(document, rules, &mut sink)?;
        if let Some(subject) = Subject::of(document) {
            arguments::check(&subject, &templates, &mut sink);
            placeholders::check(&subject, &templates, &mut sink);
            metrics::check(&subject, &templates, &mut sink);
        }
        cells::check(document, &templates, &mut sink);
        findings.extend(sink.findings);
    }
    Ok(findings)
}

/// Takes the findings of one document.
struct Sink<'a> {
    document: &'a Document,
    findings: Vec<Finding>,
}

impl<'a> Sink<'a> {
    fn new(document: &'a Document) -> Self {
        Self { document, findings: Vec::new() }
    }

    fn error(&mut self, field: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Error, field.into(), message.into(), fix.into());
    }

    fn warning(&mut self, field: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Warning, field.into(), message.into(), fix.into());
    }

    fn add(&mut self, severity: Severity, field: String, message: String, fix: String) {
        let (_, kind, name) = self.document.identity();
        let object = format!("{kind} {name}").trim().to_owned();
        let (file, document) = (self.document.file.clone(), self.document.number);
        self.findings.push(Finding { file, document, object, field, severity, message, fix });
    }
}

/// The name that was probably meant: at most two letters away, and not by more than a third of them.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 3).clamp(1, 2);
    let near = known.into_iter().map(|known| (distance(name, known), known)).filter(|(far, _)| *far <= most);
    near.min().map(|(_, known)| known)
}

/// How many letters have to be added, removed or changed; capitals do not count.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.to_lowercase().chars().enumerate() {
        let mut next = vec![index + 1];
        for ((column, known), pair) in other.iter().enumerate().zip(row.windows(2)) {
            let [diagonal, above] = pair else { continue };
            let left = next.get(column).copied().unwrap_or(0);
            next.push((diagonal + usize::from(*known != letter)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;

//! `lint`: what is wrong with manifests before they are applied.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, ExitStatus},
    lint::{Finding, Severity, lint},
    manifests,
    printer::to_value,
    style::{Paint, Style, one_line},
};

/// The manifests.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File, folder, or `-` for stdin; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Take warnings for errors.
    #[arg(long)]
    strict: bool,
}

/// Looks, and prints what it finds.
pub fn run(args: &Args, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let manifests = manifests::read(&args.files)?;
    let findings = lint(&manifests).map_err(|error| CommandError::internal("failed to read the CRDs", error))?;
    let printer = &mut context.printer;
    if printer.output().is_for_programs() {
        let places: Vec<String> = findings.iter().map(place).collect();
        printer.value(&json!({"findings": to_value(&findings)?}), &places.join("\n"))?;
    } else if !findings.is_empty() {
        let page = page(&findings, printer.style());
        printer.result(&page)?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let documents = manifests.documents.len();
    let counts = [(documents, "document"), (errors, "error"), (warnings, "warning")];
    printer.note(&counts.map(|(count, word)| counted(count, word)).join(", "));
    let is_bad = errors > 0 || args.strict && warnings > 0;
    Ok(if is_bad { ExitStatus::Failed } else { ExitStatus::Ok })
}

fn counted(count: usize, word: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {word}{s}")
}

fn place(finding: &Finding) -> String {
    let Finding { file, document, field, .. } = finding;
    one_line(&format!("{file} document {document} {field}"))
}

/// The findings, under the document that they are about.
fn page(findings: &[Finding], style: &Style) -> String {
    let mut lines = Vec::new();
    let mut last = None;
    for finding in findings {
        let Finding { file, document, object, field, severity, message, fix } = finding;
        if last != Some((file, document)) {
            let object = if object.is_empty() { String::new() } else { format!(", {object}") };
            let number = if *document == 0 { String::new() } else { format!(" document {document}") };
            lines.push(style.paint(Paint::Bold, &one_line(&format!("{file}{number}{object}"))));
            last = Some((file, document));
        }
        let word = match severity {
            Severity::Error => style.paint(Paint::Bad, "error"),
            Severity::Warning => style.paint(Paint::Warn, "warning"),
        };
        let gap = if field.is_empty() { "" } else { ": " };
        lines.push(format!("  {word} {}", one_line(&format!("{field}{gap}{message}"))));
        lines.push(format!("    {}", one_line(fix)));
    }
    lines.join("\n")
}

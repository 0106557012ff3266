//! `{{args.NAME}}`: whether somebody knows what it stands for.

use okra_api::analysis::AnalysisTemplateSpec;
use serde_json::Value;

use super::{
    Sink, nearest,
    subject::{Subject, Templates},
};

/// What stands between `{{` and `}}` in a text; none for what has no end.
fn tags(text: &str) -> impl Iterator<Item = Option<&str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_once("{{")?;
        let closed = from.split_once("}}");
        rest = closed.map_or("", |(_, after)| after);
        Some(closed.map(|(tag, _)| tag))
    })
}

/// The arguments that a text uses.
pub(super) fn args_of(text: &str) -> impl Iterator<Item = &str> {
    tags(text).flatten().filter_map(|tag| tag.trim().strip_prefix("args."))
}

/// Whether a metric of these templates uses an argument.
pub(super) fn is_used(name: &str, specs: &[&AnalysisTemplateSpec]) -> bool {
    let metrics = specs.iter().flat_map(|spec| &spec.metrics);
    metrics.filter_map(|metric| serde_json::to_string(metric).ok()).any(|text| args_of(&text).any(|arg| arg == name))
}

/// Every text of a value, with its place.
fn texts(at: &str, value: &Value, told: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => told(at, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(&format!("{at}[{index}]"), item, told);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                told(at, name);
                texts(&format!("{at}.{name}"), value, told);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub(super) fn check(subject: &Subject<'_>, templates: &Templates, sink: &mut Sink<'_>) {
    let family = templates.family(subject);
    let known = family.args();
    for index in 0..subject.spec.metrics.len() {
        let Some(metric) = subject.metric(index) else { continue };
        texts(&format!("spec.metrics[{index}]"), metric, &mut |at, text| {
            for tag in tags(text) {
                let Some(tag) = tag else {
                    sink.error(at, "{{ has no }}", "close it: {{args.NAME}}; there is no way to write {{ itself");
                    continue;
                };
                let Some(name) = tag.trim().strip_prefix("args.") else {
                    let message = format!("failed to resolve {{{{{tag}}}}}: only {{{{args.NAME}}}} is replaced");
                    sink.error(at, message, "write {{args.NAME}}, or fill it in before the file is applied");
                    continue;
                };
                if known.contains(name) {
                    continue;
                }
                let message = format!("failed to resolve {{{{{tag}}}}}: there is no argument {name}");
                let fix = match nearest(name, known.iter().copied()) {
                    Some(meant) => format!("write {{{{args.{meant}}}}}"),
                    None => format!("declare it: - name: {name} under spec.args"),
                };
                if family.complete {
                    sink.error(at, message, fix);
                } else {
                    sink.warning(at, format!("{message} in these files"), fix);
                }
            }
        });
    }
}

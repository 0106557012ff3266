//! Arguments in metrics: `ResolveMetricArgs` of Argo.

use std::{collections::BTreeMap, fmt::Write as _};

use okra_api::analysis::{Argument, Metric};

use super::{
    placeholder::{PlaceholderError, Template, is_plain},
    quote::escape,
};

/// Why the arguments of a metric could not be filled in, in Argo's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// An argument has no value; it is not asked whether it is used.
    #[error("argument \"{0}\" was not supplied")]
    NotSupplied(String),
    /// A placeholder cannot be resolved.
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
    /// A value holds a character that Go quotes in a way that is no JSON.
    #[error("invalid character '{0}' in string escape code")]
    Escape(char),
    /// The metric cannot be written or read.
    #[error("{0}")]
    Json(String),
}

/// The metric with `{{args.NAME}}` replaced in every text of it: once, so that a value is not looked through again.
pub fn resolve_metric(metric: &Metric, args: &[Argument]) -> Result<Metric, SubstituteError> {
    let text = serde_json::to_string(metric).map_err(|error| SubstituteError::Json(error.to_string()))?;
    let text = if is_plain(&text) { text } else { go_json(&text) };
    let template = Template::parse(&text)?;
    let mut values = BTreeMap::new();
    for arg in args {
        let value = arg.value.as_ref().ok_or_else(|| SubstituteError::NotSupplied(arg.name.clone()))?;
        values.insert(format!("args.{}", arg.name), escape(value));
    }
    if template.is_plain() {
        return Ok(metric.clone());
    }
    let resolved = template.resolve(&values)?;
    serde_json::from_str(&resolved).map_err(|error| match bad_escape(&resolved) {
        Some(bad) => SubstituteError::Escape(bad),
        None => SubstituteError::Json(error.to_string()),
    })
}

/// As Go's `json.Marshal` writes it: what means something in HTML is escaped, also in the name of a placeholder.
fn go_json(json: &str) -> String {
    let mut written = String::with_capacity(json.len());
    for c in json.chars() {
        let _infallible = match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => write!(written, "\\u{:04x}", u32::from(c)),
            c => written.write_char(c),
        };
    }
    written
}

/// The first escape of a JSON text that JSON does not know.
fn bad_escape(json: &str) -> Option<char> {
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        if c == '\\'
            && let Some(escaped) = chars.next().filter(|c| !"\"\\/bfnrtu".contains(*c))
        {
            return Some(escaped);
        }
    }
    None
}

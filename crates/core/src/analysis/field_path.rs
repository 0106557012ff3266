//! `valueFrom.fieldRef` over the object that makes a run.

use okra_expr::Value as Printed;
use serde_json::Value;

use super::quote::quote;

/// Why a field could not be read, in Argo's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// A list is followed by something else than a number.
    #[error("invalid index '{0}'")]
    Index(String),
    /// The list is shorter.
    #[error("index {0} out of range")]
    Range(String),
    /// There is no such field.
    #[error("invalid path {0} in rollout")]
    Path(String),
    /// It is a list or a map.
    #[error("path {0} in rollout must terminate in a primitive value")]
    NotPrimitive(String),
    /// Only labels and annotations take a key.
    #[error("fieldPath {} does not support subscript", quote(.0))]
    Subscript(String),
    /// The key can be no label or annotation.
    #[error("invalid key subscript in {0}: it is not a qualified name")]
    Key(String),
    /// There is no such field in the metadata.
    #[error("unsupported fieldPath: {0}")]
    Unsupported(String),
}

/// The value of a field, as a text. Paths that begin with `metadata` follow the rules of the downward API; all others
/// are walked through the object.
pub fn field_path(object: &Value, path: &str) -> Result<String, FieldPathError> {
    if path.starts_with("metadata") { metadata(object, path) } else { walk(object, path) }
}

fn metadata(object: &Value, path: &str) -> Result<String, FieldPathError> {
    let subscript = path.strip_suffix("']").and_then(|rest| rest.split_once("['"));
    if let Some((map, key)) = subscript.filter(|(map, _)| !map.is_empty()) {
        let (field, checked) = match map {
            "metadata.annotations" => ("annotations", key.to_lowercase()),
            "metadata.labels" => ("labels", key.to_owned()),
            _ => return Err(FieldPathError::Subscript(path.to_owned())),
        };
        if !is_qualified_name(&checked) {
            return Err(FieldPathError::Key(path.to_owned()));
        }
        let value = object.get("metadata").and_then(|metadata| metadata.get(field)).and_then(|map| map.get(key));
        return Ok(value.and_then(Value::as_str).unwrap_or_default().to_owned());
    }
    match path {
        "metadata.name" | "metadata.namespace" | "metadata.uid" => {
            let field = path.strip_prefix("metadata.").unwrap_or_default();
            let value = object.get("metadata").and_then(|metadata| metadata.get(field));
            Ok(value.and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        "metadata.labels" | "metadata.annotations" => {
            let field = path.strip_prefix("metadata.").unwrap_or_default();
            let map = object.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_object);
            let line = |(key, value): (&String, &Value)| format!("{key}={}", quote(value.as_str().unwrap_or_default()));
            Ok(map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n"))
        }
        _ => Err(FieldPathError::Unsupported(path.to_owned())),
    }
}

/// `[prefix/]name` of Kubernetes.
fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let ends = |text: &str| {
        let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        alphanumeric(text.chars().next()) && alphanumeric(text.chars().next_back())
    };
    let inner = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let label = |label: &str| ends(label) && inner(label, "-") && !label.chars().any(|c| c.is_ascii_uppercase());
    name.len() <= 63
        && ends(name)
        && inner(name, "-_.")
        && prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(label))
}

fn walk(object: &Value, path: &str) -> Result<String, FieldPathError> {
    let invalid = || FieldPathError::Path(path.to_owned());
    let mut at = object;
    for section in path.split(['.', '[', ']']).filter(|section| !section.is_empty()) {
        at = match at {
            Value::Array(items) => {
                let index: i64 = section.parse().map_err(|_| FieldPathError::Index(section.to_owned()))?;
                let item = usize::try_from(index).ok().and_then(|index| items.get(index));
                item.ok_or_else(|| FieldPathError::Range(index.to_string()))?
            }
            Value::Object(fields) => fields.get(section).unwrap_or(&Value::Null),
            _ => return Err(invalid()),
        };
    }
    match at {
        Value::Null => Err(invalid()),
        Value::Array(_) | Value::Object(_) => Err(FieldPathError::NotPrimitive(path.to_owned())),
        Value::String(text) => Ok(text.clone()),
        // Numbers are floats behind Go's `any`, and print like them: 1e+06.
        Value::Bool(_) | Value::Number(_) => Ok(Printed::json(at).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_as_argo_reads_them() {
        let object = json!({
            "metadata": {"name": "web", "uid": "u1", "labels": {"team": "a", "app.io/x": "y\"z"}},
            "spec": {"replicas": 5, "many": 12_345_678, "on": true, "empty": null, "steps": [{"w": "10"}, {}], "map": {}},
        });
        for (path, wanted) in [
            ("metadata.name", Ok("web")),
            ("metadata.namespace", Ok("")),
            ("metadata.uid", Ok("u1")),
            ("metadata.labels['team']", Ok("a")),
            ("metadata.labels['none']", Ok("")),
            ("metadata.annotations['none']", Ok("")),
            ("metadata.labels", Ok("app.io/x=\"y\\\"z\"\nteam=\"a\"")),
            ("metadata.generation", Err("unsupported fieldPath: metadata.generation")),
            ("metadata.name['x']", Err("fieldPath \"metadata.name['x']\" does not support subscript")),
            ("metadata.labels['-']", Err("invalid key subscript in metadata.labels['-']: it is not a qualified name")),
            ("spec.replicas", Ok("5")),
            ("spec.many", Ok("1.2345678e+07")),
            ("spec.on", Ok("true")),
            ("spec.steps[0].w", Ok("10")),
            ("spec.steps.0.w.", Ok("10")),
            ("spec.steps[x]", Err("invalid index 'x'")),
            ("spec.steps[2]", Err("index 2 out of range")),
            ("spec.steps", Err("path spec.steps in rollout must terminate in a primitive value")),
            ("spec.map", Err("path spec.map in rollout must terminate in a primitive value")),
            ("spec.none", Err("invalid path spec.none in rollout")),
            ("spec.none.more", Err("invalid path spec.none.more in rollout")),
            ("spec.empty", Err("invalid path spec.empty in rollout")),
        ] {
            let found = field_path(&object, path).map_err(|error| error.to_string());
            assert_eq!(found, wanted.map(str::to_owned).map_err(str::to_owned), "{path}");
        }
    }
}

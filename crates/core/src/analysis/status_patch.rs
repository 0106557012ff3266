//! Writing a status: as one merge patch of the object, since Argo's kinds have no status subresource.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The merge patch that turns one status into another; `None`: they are the same. Lists are replaced whole, and what is
/// gone is removed by a null.
pub fn status_patch<S: Serialize>(before: Option<&S>, after: &S) -> Result<Option<Value>, serde_json::Error> {
    let before = before.map(serde_json::to_value).transpose()?.unwrap_or_else(|| json!({}));
    let patch = difference(&before, &serde_json::to_value(after)?);
    Ok(patch.map(|status| json!({"status": status})))
}

fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, after) in after {
        let changed = match before.get(name) {
            Some(before) => difference(before, after),
            None => Some(after.clone()),
        };
        patch.extend(changed.map(|changed| (name.clone(), changed)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_differs() {
        let patch = |before: Value, after: Value| status_patch(Some(&before), &after).unwrap();
        assert_eq!(patch(json!({"a": 1}), json!({"a": 1})), None);
        assert_eq!(
            patch(
                json!({"a": 1, "b": {"c": 1, "d": 2}, "l": [1, 2], "gone": 1}),
                json!({"a": 1, "b": {"c": 3, "d": 2}, "l": [1, 3]})
            ),
            Some(json!({"status": {"b": {"c": 3}, "l": [1, 3], "gone": null}}))
        );
        assert_eq!(status_patch(None, &json!({"a": 1})).unwrap(), Some(json!({"status": {"a": 1}})));
    }
}

//! What `kubectl apply` does when a manifest changes: a three-way merge.

use serde_json::{Map, Value};

/// What the object should be: what the manifest says, without what it said last time and says no more, and with
/// everything that it never spoke of as it is. Lists are one value, as for every custom resource.
pub(super) fn three_way(last: Option<&Value>, manifest: &Value, live: &Value) -> Value {
    let Value::Object(wanted) = manifest else { return manifest.clone() };
    let mut merged = live.as_object().cloned().unwrap_or_default();
    let empty = Map::new();
    let last = last.and_then(Value::as_object).unwrap_or(&empty);
    merged.retain(|name, _| wanted.contains_key(name) || !last.contains_key(name));
    for (name, value) in wanted {
        if value.is_null() {
            merged.remove(name);
            continue;
        }
        let live = live.get(name).unwrap_or(&Value::Null);
        merged.insert(name.clone(), three_way(last.get(name), value, live));
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_manifest_speaks_of_changes() {
        let last = json!({"labels": {"a": "1", "b": "2"}, "spec": {"steps": [1, 2], "pin": "v1", "deep": {"x": 1}}});
        let new = json!({"labels": {"a": "3"}, "spec": {"steps": [3], "deep": {"x": 1}, "gone": null}});
        let live = json!({
            "labels": {"a": "1", "b": "2", "own": "4"}, "finalizers": ["f"],
            "spec": {"steps": [1, 2], "pin": "v1", "defaulted": true, "gone": 1, "deep": {"x": 2, "y": 3}},
        });
        assert_eq!(
            three_way(Some(&last), &new, &live),
            json!({
                "labels": {"a": "3", "own": "4"}, "finalizers": ["f"],
                "spec": {"steps": [3], "defaulted": true, "deep": {"x": 1, "y": 3}},
            })
        );
        assert_eq!(three_way(None, &json!({"a": {"b": 1}}), &json!({"a": 7})), json!({"a": {"b": 1}}));
    }
}

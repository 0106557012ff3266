//! What a write does to an object, as the Kubernetes API server does it: pure functions over JSON, for the
//! stores that have no API server to do it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::backend::{BackendError, Deletion, Key, Kind};

/// What the store gives to a write.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The resourceVersion that the object gets if the write changes it.
    pub resource_version: u64,
    /// What time it is.
    pub now: Timestamp,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Nothing was different; the object as it is.
    Same(Value),
    /// The new state.
    Changed(Value),
    /// The object is gone; its last state.
    Removed(Value),
}

/// Fields of the metadata that only the store writes.
pub const OWN_METADATA: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion"];

/// Whether the API server keeps the status of a kind apart. Okra's own kinds all do; Argo's CRDs of the analysis
/// kinds do not, and what Kubernetes itself holds without one is listed here.
pub fn has_status(kind: &Kind) -> bool {
    const WITHOUT: [&str; 6] = ["ConfigMap", "ControllerRevision", "Event", "Lease", "Secret", "ServiceAccount"];
    kind.group != "argoproj.io" && !WITHOUT.contains(&kind.kind.as_ref())
}

/// A new object. `Invalid` without a name, or with an apiVersion or kind that is not the kind's.
pub fn create(kind: &Kind, object: &Value, uid: &str, stamp: &Stamp) -> Result<Value, BackendError> {
    let mut made = checked(kind, object)?.clone();
    if Key::of(object).name.is_empty() {
        return Err(invalid("metadata.name", "is required"));
    }
    if has_status(kind) {
        made.remove("status");
    }
    edit_metadata(&mut made, |metadata| {
        for field in OWN_METADATA {
            metadata.remove(field);
        }
        metadata.insert("uid".into(), json!(uid));
        metadata.insert("creationTimestamp".into(), json!(seconds(stamp.now)));
        metadata.insert("generation".into(), json!(1));
        metadata.insert("resourceVersion".into(), json!(stamp.resource_version.to_string()));
    });
    Ok(tidied(Value::Object(made)))
}

/// All but the status replaced. `Invalid` without a resourceVersion, `Conflict` when it is not the present one
/// or the uid is another's.
pub fn update(kind: &Kind, present: &Value, wanted: &Value, stamp: &Stamp) -> Result<Written, BackendError> {
    same_version(kind, present, wanted)?;
    replace(kind, present, wanted, stamp)
}

/// The status replaced, and nothing else. Errors as those of [`update`]; `Unsupported` for a kind without one.
pub fn update_status(kind: &Kind, present: &Value, wanted: &Value, stamp: &Stamp) -> Result<Written, BackendError> {
    if !has_status(kind) {
        return Err(BackendError::Unsupported(format!("{kind} has no status subresource")));
    }
    checked(kind, wanted)?;
    same_version(kind, present, wanted)?;
    let mut next = but_status(present.as_object());
    if let Some(status) = wanted.get("status").filter(|status| !status.is_null()) {
        next.insert("status".into(), status.clone());
    }
    Ok(finish(kind, present, Value::Object(next), stamp))
}

/// A merge patch (RFC 7386) of all but the status. `Conflict` when the patch holds a resourceVersion or a uid
/// that is not the present one.
pub fn merge_patch(kind: &Kind, present: &Value, patch: &Value, stamp: &Stamp) -> Result<Written, BackendError> {
    if !patch.is_object() {
        return Err(invalid("patch", "must be an object"));
    }
    let mut wanted = present.clone();
    merge(&mut wanted, patch);
    if Key::of(&wanted) != Key::of(present) {
        return Err(invalid("metadata.name", "cannot be changed"));
    }
    same_version(kind, present, &wanted)?;
    replace(kind, present, &wanted, stamp)
}

/// The object marked as going while finalizers hold it, else gone. `Conflict` when it is not the one that may
/// be deleted.
pub fn delete(kind: &Kind, present: &Value, deletion: &Deletion, stamp: &Stamp) -> Result<Written, BackendError> {
    let differs =
        |wanted: &Option<String>, field| wanted.as_deref().is_some_and(|wanted| wanted != text(present, field));
    if differs(&deletion.uid, "/metadata/uid") || differs(&deletion.resource_version, "/metadata/resourceVersion") {
        return Err(conflict(kind, present));
    }
    if !is_held(present) {
        return Ok(Written::Removed(versioned(present.clone(), stamp)));
    }
    if is_going(present) {
        return Ok(Written::Same(present.clone()));
    }
    let mut next = versioned(present.clone(), stamp);
    let generation = generation(present) + 1;
    if let Some(fields) = next.as_object_mut() {
        edit_metadata(fields, |metadata| {
            metadata.insert("deletionTimestamp".into(), json!(seconds(stamp.now)));
            metadata.insert("deletionGracePeriodSeconds".into(), json!(0));
            metadata.insert("generation".into(), json!(generation));
        });
    }
    Ok(Written::Changed(next))
}

/// Merges a patch into a value, as RFC 7386 says.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Whether the object waits for its finalizers to be removed.
pub fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// Whether a finalizer holds the object.
pub fn is_held(object: &Value) -> bool {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|held| !held.is_empty())
}

/// The resourceVersion; 0 where there is none.
pub fn resource_version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or_default()
}

/// The generation; 0 where there is none.
pub fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default()
}

/// The uid; empty where there is none.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The fields of an object that says it is of the kind.
fn checked<'a>(kind: &Kind, object: &'a Value) -> Result<&'a Map<String, Value>, BackendError> {
    let Value::Object(fields) = object else { return Err(invalid("object", "must be an object")) };
    for (field, wanted) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_string())] {
        match fields.get(field).and_then(Value::as_str) {
            Some(found) if found == wanted => {}
            found => {
                let found = found.unwrap_or("nothing");
                return Err(invalid(field, &format!("must be {wanted}, not {found}")));
            }
        }
    }
    if fields.get("metadata").is_some_and(|metadata| !metadata.is_object()) {
        return Err(invalid("metadata", "must be an object"));
    }
    Ok(fields)
}

/// A copy of an object's fields without its status, which is the greater part of many and would be copied in vain.
fn but_status(fields: Option<&Map<String, Value>>) -> Map<String, Value> {
    let kept = fields.into_iter().flatten().filter(|(name, _)| *name != "status");
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn replace(kind: &Kind, present: &Value, wanted: &Value, stamp: &Stamp) -> Result<Written, BackendError> {
    let fields = checked(kind, wanted)?;
    let mut next = if has_status(kind) { but_status(Some(fields)) } else { fields.clone() };
    if let Some(status) = present.get("status").filter(|_| has_status(kind)) {
        next.insert("status".into(), status.clone());
    }
    edit_metadata(&mut next, |metadata| {
        for field in OWN_METADATA {
            match present.pointer(&format!("/metadata/{field}")) {
                Some(value) => metadata.insert(field.into(), value.clone()),
                None => metadata.remove(field),
            };
        }
    });
    let next = Value::Object(next);
    if is_going(present) && adds_finalizer(present, &next) {
        return Err(invalid("metadata.finalizers", "no finalizer can be added to an object that is being deleted"));
    }
    Ok(finish(kind, present, next, stamp))
}

fn adds_finalizer(present: &Value, next: &Value) -> bool {
    let names = |object: &Value| object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned();
    let known = names(present).unwrap_or_default();
    names(next).unwrap_or_default().iter().any(|name| !known.contains(name))
}

/// Gives the next state its version and generation, or finds that nothing is different.
fn finish(kind: &Kind, present: &Value, next: Value, stamp: &Stamp) -> Written {
    let next = tidied(next);
    if is_same(&next, present) {
        return Written::Same(present.clone());
    }
    let respecified = content(kind, &next) != content(kind, present);
    let mut next = versioned(next, stamp);
    if respecified && let Some(fields) = next.as_object_mut() {
        let generation = generation(present) + 1;
        edit_metadata(fields, |metadata| _ = metadata.insert("generation".into(), json!(generation)));
    }
    if is_going(&next) && !is_held(&next) { Written::Removed(next) } else { Written::Changed(next) }
}

/// Without what the API server does not keep: empty maps and lists of the metadata, and nulls of it.
fn tidied(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| is_kept(value));
    }
    object
}

fn is_kept(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// Whether two objects are the same but for what the API server does not keep.
fn is_same(one: &Value, two: &Value) -> bool {
    fn fields(object: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
        object.and_then(Value::as_object).into_iter().flatten()
    }
    let metadata = |object| fields(Value::get(object, "metadata")).filter(|(_, value)| is_kept(value));
    let rest = |object| fields(Some(object)).filter(|(name, _)| *name != "metadata");
    metadata(one).eq(metadata(two)) && rest(one).eq(rest(two))
}

/// What raises the generation: everything but the metadata, and a status that is kept apart.
fn content<'a>(kind: &Kind, object: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let apart = has_status(kind);
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| *name != "metadata" && !(apart && *name == "status")).collect()
}

fn versioned(mut object: Value, stamp: &Stamp) -> Value {
    if let Some(fields) = object.as_object_mut() {
        let version = json!(stamp.resource_version.to_string());
        edit_metadata(fields, |metadata| _ = metadata.insert("resourceVersion".into(), version));
    }
    object
}

fn same_version(kind: &Kind, present: &Value, wanted: &Value) -> Result<(), BackendError> {
    let version = text(wanted, "/metadata/resourceVersion");
    if version.is_empty() {
        return Err(invalid("metadata.resourceVersion", "is required"));
    }
    let other = !uid(wanted).is_empty() && uid(wanted) != uid(present);
    if other || version != text(present, "/metadata/resourceVersion") { Err(conflict(kind, present)) } else { Ok(()) }
}

/// Edits the metadata of an object, which it gets when it has none.
fn edit_metadata(fields: &mut Map<String, Value>, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut metadata = match fields.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    edit(&mut metadata);
    fields.insert("metadata".into(), Value::Object(metadata));
}

fn conflict(kind: &Kind, present: &Value) -> BackendError {
    BackendError::Conflict { kind: kind.to_string(), key: Key::of(present) }
}

fn invalid(field: &str, fault: &str) -> BackendError {
    BackendError::Invalid { message: format!("{field}: {fault}") }
}

/// Timestamps of objects have whole seconds.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn a_status_that_is_not_kept_apart_is_a_field_like_any_other() {
        let kind = Kind {
            group: "argoproj.io".into(),
            version: "v1alpha1".into(),
            kind: "AnalysisRun".into(),
            plural: "analysisruns".into(),
        };
        let stamp = |resource_version| Stamp { resource_version, now: Timestamp::UNIX_EPOCH };
        let wanted = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
            "metadata": {"namespace": "a", "name": "run"}, "spec": {}, "status": {"phase": "Running"},
        });
        let made = create(&kind, &wanted, "u", &stamp(1)).unwrap();
        assert_eq!(made["status"], wanted["status"]);
        let mut next = made.clone();
        next["status"] = json!({"phase": "Successful"});
        let Written::Changed(updated) = update(&kind, &made, &next, &stamp(2)).unwrap() else { panic!("a change") };
        assert_eq!(updated["status"], next["status"]);
        assert_eq!(generation(&updated), 2);
        assert!(matches!(update_status(&kind, &updated, &next, &stamp(3)), Err(BackendError::Unsupported(_))));
    }

    #[test]
    fn merge_patches_follow_the_rfc() {
        let mut target = json!({"a": "b", "c": {"d": "e", "f": "g"}, "l": [1, 2]});
        merge(&mut target, &json!({"a": "z", "c": {"f": null}, "l": [3], "n": {"x": null, "y": 1}}));
        assert_eq!(target, json!({"a": "z", "c": {"d": "e"}, "l": [3], "n": {"y": 1}}));
    }
}

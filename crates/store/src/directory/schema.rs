//! What the API server checks of a custom resource: its structural schema, defaults and CEL rules.

use std::fmt::Write as _;

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use kube_cel::{CompiledSchema, compile_schema};
use serde_json::{Map, Value, json};

/// How many faults one message names at most, and how long the words for one may be.
const MAX_FAULTS: usize = 8;
const MAX_WORDS: usize = 300;

/// Something that the API server would refuse, or drop without a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, as people write it: `spec.steps[2].setWeight`; empty for the object itself.
    pub field: String,
    /// What is wrong.
    pub words: String,
    /// Of an unknown field: those that are known in its place.
    pub known: Vec<String>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.words)?;
        if self.known.is_empty() { Ok(()) } else { write!(f, "; known here: {}", self.known.join(", ")) }
    }
}

/// The schema of a kind.
pub(super) struct Schema {
    /// As the CRD has it.
    structural: Value,
    /// As plain JSON Schema in which fields that the CRD does not know are an error.
    closed: Value,
    validator: Validator,
    rules: CompiledSchema,
}

impl Schema {
    pub(super) fn new(crd: &Value) -> Result<Self, String> {
        let mut structural = crd.clone();
        if let Some(properties) = structural.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("apiVersion".into(), json!({"type": "string"}));
            properties.insert("kind".into(), json!({"type": "string"}));
            properties.insert("metadata".into(), metadata());
        }
        let closed = closed(&structural);
        // Draft 4 is what OpenAPI 3.0 schemas, and with them CRDs, are made of.
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft4).should_validate_formats(true);
        let validator = options.build(&closed).map_err(|error| error.to_string())?;
        let rules = compile_schema(&structural);
        Ok(Self { structural, closed, validator, rules })
    }

    /// The object with the defaults filled in, or what is wrong with it: `field: fault`, several joined by `; `.
    /// `old` is the object that it replaces, for rules like `self == oldSelf`.
    pub(super) fn admit(&self, object: Value, old: Option<&Value>) -> Result<Value, String> {
        let (object, faults) = self.judge(object, old);
        if faults.is_empty() {
            return Ok(object);
        }
        let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.dedup();
        let more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        Err(faults.join("; "))
    }

    /// The object with the defaults filled in, and all that is wrong with it.
    pub(super) fn judge(&self, mut object: Value, old: Option<&Value>) -> (Value, Vec<Fault>) {
        prune_nulls(&self.structural, &mut object);
        let object = kube_cel::apply_defaults(&self.structural, &object);
        let mut faults: Vec<Fault> =
            self.validator.iter_errors(&object).flat_map(|error| self.faults(&error)).collect();
        if faults.is_empty() {
            faults = self.broken_rules(&object, old);
        }
        (object, faults)
    }

    fn broken_rules(&self, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        // A validator holds no state but the functions of the language; one per call keeps it off other threads.
        let outcome = kube_cel::Validator::new().validate_compiled(&self.rules, object, old);
        let broken = outcome.err().map(kube_cel::ValidationErrors::into_vec).unwrap_or_default();
        broken.into_iter().map(|error| fault(&error.field_path, &error.message)).collect()
    }

    fn faults(&self, error: &ValidationError<'_>) -> Vec<Fault> {
        let pointer = error.instance_path().as_str();
        let path = dotted(pointer);
        let child = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.known_fields(pointer);
                let unknown = |name: &String| Fault { known: known.clone(), ..fault(&child(name), "unknown field") };
                unexpected.iter().map(unknown).collect()
            }
            ValidationErrorKind::Required { property } => {
                vec![fault(&child(property.as_str().unwrap_or_default()), "is required")]
            }
            _ => vec![fault(&path, &error.to_string())],
        }
    }

    /// The fields that the schema knows at a place of the object.
    fn known_fields(&self, pointer: &str) -> Vec<String> {
        let mut at = &self.closed;
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let next = at.pointer("/properties").and_then(|properties| properties.get(&segment));
            match next.or_else(|| at.get("items")).or_else(|| at.get("additionalProperties")) {
                Some(schema) => at = schema,
                None => return Vec::new(),
            }
        }
        at.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }
}

fn fault(path: &str, words: &str) -> Fault {
    Fault { field: path.to_owned(), words: words.chars().take(MAX_WORDS).collect(), known: Vec::new() }
}

/// `/spec/steps/2/setWeight` as people write it: `spec.steps[2].setWeight`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            _ = write!(path, "[{segment}]");
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&segment.replace("~1", "/").replace("~0", "~"));
    }
    path
}

/// The metadata that a manifest may have, what only the store writes included: an object that `okractl get -o yaml`
/// printed can be applied.
fn metadata() -> Value {
    let strings = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
            "namespace": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
            "labels": {
                "type": "object",
                "additionalProperties": {
                    "type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
                },
            },
            "annotations": strings,
            "finalizers": {"type": "array", "items": text},
            "ownerReferences": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["apiVersion", "kind", "name", "uid"],
                    "properties": {
                        "apiVersion": text, "kind": text, "name": text, "uid": text,
                        "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
                    },
                },
            },
            "uid": text, "resourceVersion": text, "creationTimestamp": {"type": "string", "nullable": true},
            "deletionTimestamp": text, "deletionGracePeriodSeconds": {"type": "integer"},
            "generation": {"type": "integer"}, "generateName": text, "selfLink": text,
            "managedFields": {"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }},
        },
    })
}

/// A structural schema as JSON Schema: `nullable` spelled out, unknown fields refused.
fn closed(schema: &Value) -> Value {
    convert(schema, true)
}

fn convert(schema: &Value, close: bool) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let is_true = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let mut converted = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "properties" => {
                let each = value.as_object().into_iter().flatten();
                let each = each.map(|(name, schema)| (name.clone(), convert(schema, close)));
                converted.insert(name.clone(), Value::Object(each.collect()));
            }
            "items" | "additionalProperties" => _ = converted.insert(name.clone(), convert(value, close)),
            // Branches say more about fields that the schema around them declares: they close nothing.
            "allOf" | "anyOf" | "oneOf" => {
                let branches = value.as_array().into_iter().flatten().map(|branch| convert(branch, false));
                converted.insert(name.clone(), Value::Array(branches.collect()));
            }
            "not" => _ = converted.insert(name.clone(), convert(value, false)),
            "default" | "description" | "nullable" | "x-kubernetes-validations" => {}
            _ => _ = converted.insert(name.clone(), value.clone()),
        }
    }
    if is_true("nullable") {
        if let Some(Value::String(kind)) = fields.get("type") {
            converted.insert("type".into(), json!([kind, "null"]));
        }
        if let Some(Value::Array(values)) = converted.get_mut("enum") {
            values.push(Value::Null);
        }
    }
    let is_object = fields.get("type").and_then(Value::as_str) == Some("object");
    let open = is_true("x-kubernetes-preserve-unknown-fields") || fields.contains_key("additionalProperties");
    if close && is_object && !open {
        converted.insert("additionalProperties".into(), Value::Bool(false));
    }
    Value::Object(converted)
}

/// Drops nulls of fields that cannot be null, as the API server does before it fills in defaults.
fn prune_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let of = |name: &str| {
                let known = schema.get("properties").and_then(|properties| properties.get(name));
                known.or_else(|| schema.get("additionalProperties").filter(|schema| schema.is_object()))
            };
            fields.retain(|name, value| {
                let nullable = |schema: &Value| schema.get("nullable") == Some(&Value::Bool(true));
                !value.is_null() || of(name).is_none_or(nullable)
            });
            for (name, value) in fields.iter_mut() {
                if let Some(schema) = of(name) {
                    prune_nulls(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    prune_nulls(schema, item);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn schema() -> Schema {
        Schema::new(&json!({"type": "object", "properties": {"spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "maxLength": 5,
                    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "cannot be changed"}]},
                "count": {"type": "integer", "minimum": 1, "default": 3},
                "note": {"type": "string", "nullable": true},
                "until": {"type": "string", "format": "date-time"},
                "steps": {"type": "array", "items": {"type": "object", "properties": {"weight": {"type": "integer"}}}},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            },
            "x-kubernetes-validations": [{"rule": "self.count < 10", "message": "count must be below 10"}],
        }}}))
        .unwrap()
    }

    fn object(spec: Value) -> Value {
        json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec})
    }

    fn refused(spec: Value) -> String {
        schema().admit(object(spec), None).unwrap_err()
    }

    #[test]
    fn defaults_are_filled_in_and_nulls_dropped() {
        let admitted = schema().admit(object(json!({"name": "a", "count": null, "note": null, "any": {"x": 1}})), None);
        assert_eq!(admitted.unwrap()["spec"], json!({"name": "a", "count": 3, "note": null, "any": {"x": 1}}));
        assert!(schema().admit(object(json!({"name": "a", "port": "80%"})), None).is_ok());
    }

    #[test]
    fn faults_name_their_field() {
        assert_eq!(refused(json!({})), "spec.name: is required");
        assert_eq!(refused(json!({"name": 7})), "spec.name: 7 is not of type \"string\"");
        assert_eq!(
            refused(json!({"name": "a", "steps": [{"weight": 1}, {"wieght": 2}]})),
            "spec.steps[1].wieght: unknown field; known here: weight"
        );
        assert!(refused(json!({"name": "a", "count": 0})).starts_with("spec.count: "));
        assert!(refused(json!({"name": "a", "until": "soon"})).starts_with("spec.until: "));
        assert_eq!(refused(json!({"name": "a", "count": 10})), "spec: count must be below 10");
    }

    #[test]
    fn rules_see_what_was_there_before() {
        let old = object(json!({"name": "a", "count": 3}));
        assert!(schema().admit(object(json!({"name": "a", "count": 4})), Some(&old)).is_ok());
        let error = schema().admit(object(json!({"name": "b"})), Some(&old)).unwrap_err();
        assert_eq!(error, "spec.name: cannot be changed");
    }

    #[test]
    fn metadata_is_checked_too() {
        let mut bad = object(json!({"name": "a"}));
        bad["metadata"] = json!({"name": "Web", "labels": {"a": "b c"}, "lables": {}});
        let error = schema().admit(bad, None).unwrap_err();
        assert!(error.contains("metadata.name: "), "{error}");
        assert!(error.contains("metadata.labels.a: "), "{error}");
        assert!(error.contains("metadata.lables: unknown field"), "{error}");
    }
}

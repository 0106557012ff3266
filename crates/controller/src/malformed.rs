//! Objects that do not parse: their status says so, everything else of them stays as it is.

use jiff::Timestamp;
use okra_api::condition::{self, Condition, NewCondition, VALID, reason};
use okra_provider::{BackendError, Key, Kind, Store, Stored};
use serde_json::{Value, json};

use crate::reconciler::{Next, ReconcileError};

/// Sets condition `Valid` to False, with reason `Malformed`, on an object that does not parse. Only a change of the
/// object can mend it, so nothing is retried.
pub async fn report<K: Stored>(store: &Store, key: &Key, error: &str, now: Timestamp) -> Result<Next, ReconcileError> {
    let kind = Kind::of::<K>();
    let mut object = match store.backend().get(&kind, key).await {
        Err(BackendError::NotFound { .. }) => return Ok(Next::IDLE),
        object => object?,
    };
    let before = object.pointer("/status/conditions").cloned().unwrap_or_default();
    let mut conditions: Vec<Condition> = serde_json::from_value(before.clone()).unwrap_or_default();
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let message = format!("the object cannot be read: {error}");
    let new = NewCondition { type_: VALID, status: Some(false), reason: reason::MALFORMED, message };
    condition::set(&mut conditions, now, generation, new);
    let after = json!(conditions);
    if after == before {
        return Ok(Next::IDLE);
    }
    let Some(fields) = object.as_object_mut() else { return Ok(Next::IDLE) };
    match fields.entry("status").or_insert_with(|| json!({})).as_object_mut() {
        Some(status) => _ = status.insert("conditions".into(), after),
        None => _ = fields.insert("status".into(), json!({ "conditions": after })),
    }
    store.backend().update_status(&kind, &object).await?;
    Ok(Next::IDLE)
}

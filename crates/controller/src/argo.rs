//! What the controllers of Argo's kinds share: whose an object is, and how its status is written. These kinds have no
//! status subresource, so a status is a merge patch of the object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::RunPhase;
use okra_core::analysis::{INSTANCE_ID_LABEL, status_patch};
use okra_provider::{BackendError, Key, Kind, Store, Stored};
use serde::Serialize;
use serde_json::{Value, json};

use crate::reconciler::{Next, ReconcileError};

/// Whether okra carries the object out: those of another instance belong to another controller. The id is empty for
/// objects without the label.
pub(crate) fn is_ours(meta: &ObjectMeta, instance_id: &str) -> bool {
    let label = meta.labels.as_ref().and_then(|labels| labels.get(INSTANCE_ID_LABEL));
    label.map_or("", String::as_str) == instance_id
}

/// Writes what changed of the status, onto the copy that the plan was made from.
pub(crate) async fn write_status<K: Stored, S: Serialize + Sync>(
    store: &Store,
    object: &K,
    before: Option<&S>,
    after: &S,
) -> Result<(), ReconcileError> {
    let patch = status_patch(before, after)
        .map_err(|error| BackendError::Invalid { message: format!("failed to write the status: {error}") })?;
    let Some(Value::Object(mut patch)) = patch else { return Ok(()) };
    patch.insert("metadata".to_owned(), json!({"resourceVersion": object.meta().resource_version}));
    store.merge_patch::<K>(&Key::of_typed(object), &Value::Object(patch)).await?;
    Ok(())
}

/// Ends an object that does not parse: it can never be carried out, which is an Error; only a change of it can mend it.
pub(crate) async fn refuse<K: Stored>(
    store: &Store,
    key: &Key,
    instance_id: &str,
    message: &str,
) -> Result<Next, ReconcileError> {
    let kind = Kind::of::<K>();
    let object = match store.backend().get(&kind, key).await {
        Err(BackendError::NotFound { .. }) => return Ok(Next::IDLE),
        object => object?,
    };
    let pointer = format!("/metadata/labels/{}", INSTANCE_ID_LABEL.replace('/', "~1"));
    let label = object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default();
    let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if label != instance_id || !matches!(phase, "" | "Pending" | "Running") {
        return Ok(Next::IDLE);
    }
    let version = object.pointer("/metadata/resourceVersion");
    let status = json!({"phase": RunPhase::Error, "message": message});
    let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
    store.backend().merge_patch(&kind, key, &patch).await?;
    Ok(Next::IDLE)
}

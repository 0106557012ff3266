//! What a person does with okractl: the same annotation, written through a store of their own.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::Context as _;
use okra_api::{Cell, Request, Verb, names::REQUEST_ANNOTATION};
use okra_provider::{BackendError, Key, Namespaces, Store};
use okra_store::{DirectoryBackend, DirectoryOptions};
use serde_json::json;
use uuid::Uuid;

use super::manifests::{CELL, NAMESPACE};

/// How often a request is written again because the Cell changed in between.
const ATTEMPTS: u32 = 10;

/// Asks the Cell to take its rollout back, as `okractl abort` does: it opens the store beside the controllers, reads
/// the Cell and annotates it. The request's id.
pub(super) async fn abort(folder: &Path) -> anyhow::Result<String> {
    let directory = DirectoryBackend::open(folder, DirectoryOptions::default()).await;
    let store = Store::new(Arc::new(directory.context("failed to open the folder")?), Namespaces::All);
    let key = Key::new(NAMESPACE, CELL);
    let id = Uuid::new_v4().to_string();
    for _ in 0..ATTEMPTS {
        let cell: Cell = store.get_live(&key).await.context("failed to read the Cell")?;
        let rollout = cell.status.as_ref().and_then(|status| status.rollout.as_ref());
        let request = Request {
            id: id.clone(),
            verb: Verb::Abort,
            rollout_id: rollout.map(|rollout| rollout.id.clone()),
            step: rollout.map(|rollout| rollout.current_step_index),
            user: "okra demo".to_owned(),
            args: BTreeMap::new(),
        };
        let patch = json!({"metadata": {
            "resourceVersion": cell.metadata.resource_version,
            "annotations": {REQUEST_ANNOTATION: serde_json::to_string(&request)?},
        }});
        match store.merge_patch::<Cell>(&key, &patch).await {
            Ok(_) => return Ok(id),
            Err(BackendError::Conflict { .. }) => {}
            Err(error) => return Err(error).context("failed to annotate the Cell"),
        }
    }
    anyhow::bail!("failed to annotate the Cell: it changes all the time")
}

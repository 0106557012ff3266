//! CustomResourceDefinitions from a folder of YAML files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::Value;
use tokio::time::Instant;

use crate::process::POLL;

const DEADLINE: Duration = Duration::from_mins(1);

pub(super) async fn apply(client: Client, dir: &Path) -> Result<()> {
    let definitions = read(dir)?;
    ensure!(!definitions.is_empty(), "{} holds no CustomResourceDefinition", dir.display());
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("okra-testkit").force();
    let mut names = Vec::new();
    for (path, definition) in &definitions {
        let name = definition.pointer("/metadata/name").and_then(Value::as_str);
        let name = name.with_context(|| format!("{}: metadata.name is missing", path.display()))?;
        let applied = api.patch(name, &params, &Patch::Apply(definition)).await;
        applied.with_context(|| format!("failed to apply CustomResourceDefinition {name} of {}", path.display()))?;
        names.push(name.to_owned());
    }
    let deadline = Instant::now() + DEADLINE;
    for name in &names {
        wait_until_served(&client, &api, name, deadline).await?;
    }
    Ok(())
}

/// Every document of the folder's YAML files, in the order of file names. Errors on one of another kind.
fn read(dir: &Path) -> Result<Vec<(PathBuf, Value)>> {
    let listing = std::fs::read_dir(dir).with_context(|| format!("failed to read folder {}", dir.display()))?;
    let mut paths = listing.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    paths.sort();
    let mut definitions = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let documents = serde_saphyr::from_multiple::<Value>(&text);
        for document in documents.with_context(|| format!("failed to parse {}", path.display()))? {
            if document.is_null() {
                continue;
            }
            let kind = document.pointer("/kind").and_then(Value::as_str).unwrap_or("none");
            ensure!(kind == "CustomResourceDefinition", "{} holds a document of kind {kind}", path.display());
            definitions.push((path.clone(), document));
        }
    }
    Ok(definitions)
}

async fn wait_until_served(
    client: &Client,
    api: &Api<CustomResourceDefinition>,
    name: &str,
    deadline: Instant,
) -> Result<()> {
    loop {
        let definition = api.get(name).await.with_context(|| format!("failed to read {name}"))?;
        if is_established(&definition) && is_served(client, &definition).await {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let status = serde_json::to_string(&definition.status).unwrap_or_default();
            bail!("CustomResourceDefinition {name} is not served after {DEADLINE:?}; its status: {status}");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// The handler of a new version answers a moment after the condition says so.
async fn is_served(client: &Client, definition: &CustomResourceDefinition) -> bool {
    let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
    for version in definition.spec.versions.iter().filter(|version| version.served) {
        let path = format!("/apis/{group}/{}/{plural}?limit=1", version.name);
        let Ok(request) = http::Request::get(path).body(Vec::new()) else { return false };
        if client.request_text(request).await.is_err() {
            return false;
        }
    }
    true
}

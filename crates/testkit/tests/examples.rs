//! Every example, and every manifest within the documentation, is accepted by a real API server; and what the pages
//! name is there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]

use std::path::{Path, PathBuf};

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery::Scope;
use okra_testkit::{ApiServer, shared_api_server};
use pretty_assertions::assert_eq;
use serde_json::Value;
use tokio::sync::OnceCell;

static INSTALLED: OnceCell<()> = OnceCell::const_new();

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

async fn server() -> &'static ApiServer {
    let server = shared_api_server().await;
    let install = || async {
        server.apply_crds(root().join("config/crd")).await;
        server.apply_crds(root().join("config/crd-argo")).await;
        server.apply_crds(root().join("testing/crd")).await;
    };
    INSTALLED.get_or_init(install).await;
    server
}

/// Files of a folder and the folders below it that have this extension, sorted; hidden ones are left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn documents(text: &str, whence: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(text).unwrap_or_else(|error| panic!("{whence}: {error}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The text of each block of a page that is fenced as YAML, with the number of its first line.
fn yaml_blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in page.lines().enumerate() {
        match line.trim_start() {
            "```yaml" => {
                inside = true;
                blocks.push((number + 2, String::new()));
            }
            "```" => inside = false,
            _ if inside => {
                let (_, text) = blocks.last_mut().unwrap();
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    blocks
}

/// Applies an object as `kubectl apply --server-side --validate=strict` does. Objects with a namespace get this one.
async fn apply(server: &ApiServer, namespace: &str, document: &Value, dry_run: bool) -> Result<(), String> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let kind = GroupVersionKind::gvk(group, version, text("/kind"));
    let client = server.client("test");
    let found = kube::discovery::pinned_kind(&client, &kind).await;
    let (kind, capabilities): (ApiResource, _) = found.map_err(|error| format!("{}: {error}", text("/kind")))?;
    let mut document = document.clone();
    let api: Api<DynamicObject> = if capabilities.scope == Scope::Namespaced {
        document["metadata"]["namespace"] = namespace.into();
        Api::namespaced_with(client, namespace, &kind)
    } else {
        Api::all_with(client, &kind)
    };
    let params = PatchParams { dry_run, ..PatchParams::apply("examples").validation_strict() };
    let name = text("/metadata/name");
    let applied = api.patch(name, &params, &Patch::Apply(&document)).await;
    applied.map(drop).map_err(|error| format!("{} {name}: {error}", text("/kind")))
}

#[tokio::test]
async fn every_example_is_accepted() {
    let server = server().await;
    let paths = files(&root().join("examples"), "yaml");
    let (mut kinds, mut wrong) = (Vec::new(), Vec::new());
    for path in &paths {
        let name = path.strip_prefix(root().join("examples")).unwrap().display().to_string();
        // One namespace for each file: they are examples of different installations.
        let namespace = server.namespace("examples").await;
        let documents = documents(&std::fs::read_to_string(path).unwrap(), &name);
        assert!(!documents.is_empty(), "{name} holds nothing");
        for document in documents {
            kinds.push(document["kind"].as_str().unwrap().to_owned());
            if let Err(why) = apply(server, &namespace, &document, false).await {
                wrong.push(format!("{name}: {why}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    for kind in okra_api::crds().into_iter().map(|crd| crd.spec.names.kind).filter(|kind| kind != "Route") {
        assert!(kinds.contains(&kind), "no example shows a {kind}");
    }
}

#[tokio::test]
async fn every_manifest_of_the_documentation_is_accepted() {
    let server = server().await;
    let namespace = server.namespace("docs").await;
    let mut pages = files(&root().join("docs"), "md");
    pages.push(root().join("README.md"));
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in &pages {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        for (line, text) in yaml_blocks(&std::fs::read_to_string(page).unwrap()) {
            let whence = format!("{name}:{line}");
            // Excerpts of an object are no manifests.
            for document in documents(&text, &whence).iter().filter(|document| document.get("apiVersion").is_some()) {
                seen += 1;
                if let Err(why) = apply(server, &namespace, document, true).await {
                    wrong.push(format!("{whence}: {why}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(seen > 0, "no page shows a manifest");
}

#[tokio::test]
async fn a_field_that_is_not_known_would_be_noticed() {
    let server = server().await;
    let namespace = server.namespace("strict").await;
    let text = std::fs::read_to_string(root().join("examples/pause.yaml")).unwrap();
    let mut pause = documents(&text, "pause.yaml").remove(0);
    pause["spec"]["expires"] = "2030-01-01T00:10:00Z".into();
    let why = apply(server, &namespace, &pause, true).await.unwrap_err();
    assert!(why.contains("spec.expires"), "{why}");
}

#[test]
fn blocks_are_found_within_lists_too() {
    let page = "text\n```yaml\na: 1\n```\n```console\nb\n```\n1. one\n   ```yaml\n   c: 1\n   ```\n";
    assert_eq!(yaml_blocks(page), [(3, "a: 1\n".to_owned()), (10, "   c: 1\n".to_owned())]);
}

/// Links of the documentation lead to files that are there.
#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| root().join(page)));
    let mut broken = Vec::new();
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || path.is_empty();
            if !elsewhere && !page.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// The page of what okra never does names only tests that there are, and the pages name every reason.
#[test]
fn tests_and_reasons_that_the_documentation_names_are_there() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let sources: String = ["crates", "bins", "tests"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let safety = read("docs/safety.md");
    let quoted = safety.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted.filter(|name| name.matches('_').count() > 1 && !name.contains(['/', ':'])).collect();
    let missing: Vec<&&str> = names.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert_eq!(missing, Vec::<&&str>::new());
    assert!(names.len() > 30, "{names:?}");

    let troubleshooting = read("docs/guides/troubleshooting.md");
    let reasons = read("crates/api/src/condition.rs");
    let (_, reasons) = reasons.split_once("pub mod reason").unwrap();
    let values = reasons.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let unexplained: Vec<&str> = values.filter(|value| !troubleshooting.contains(&format!("`{value}`"))).collect();
    assert_eq!(unexplained, Vec::<&str>::new());
}

/// The page of `okractl get cell` in the README is one that a snapshot holds.
#[test]
fn the_page_in_the_readme_is_what_is_printed() {
    let folder = root().join("crates/cli/src/render/cell/snapshots");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown = files(&folder, "snap").into_iter().any(|path| {
        let snapshot = std::fs::read_to_string(path).unwrap();
        let page = snapshot.splitn(3, "---\n").nth(2).unwrap_or_default().trim_end().to_owned();
        page.contains("COMMANDS NOW") && readme.contains(&page)
    });
    assert!(shown, "the README shows no page that a snapshot holds");
}

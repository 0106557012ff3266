//! A real API server accepts and refuses what the schemas and rules of Okra's kinds say, with the field's path.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed helper fails its test; Clippy exempts only the test functions"
)]

mod admission {
    pub mod cells;
    pub mod edit;
    pub mod others;
}

use std::path::Path;

use admission::edit::{Case, refusal};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use okra_api::{Cell, TargetGroup};
use okra_testkit::{ApiServer, shared_api_server};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// The shared server with Okra's kinds, and a namespace of the caller's own.
async fn server() -> (&'static ApiServer, String) {
    let server = shared_api_server().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/crd");
    INSTALLED.get_or_init(|| server.apply_crds(folder)).await;
    (server, server.namespace("admission").await)
}

/// The API of an object's kind.
fn api_of(server: &ApiServer, namespace: &str, object: &Value) -> Api<DynamicObject> {
    let kind = object["kind"].as_str().unwrap();
    let crd = okra_api::crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let kind = ApiResource {
        group: crd.spec.group.clone(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{}/v1alpha1", crd.spec.group),
        kind: crd.spec.names.kind.clone(),
        plural: crd.spec.names.plural,
    };
    Api::namespaced_with(server.client("test"), namespace, &kind)
}

async fn create(api: &Api<DynamicObject>, object: &Value, dry_run: bool) -> Result<DynamicObject, kube::Error> {
    let object = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams { dry_run, field_manager: None }, &object).await
}

/// Every case is refused, with a cause at its path, in its words. All failures are told at once.
async fn all_refused(good: &Value, cases: Vec<Case>) {
    let (server, namespace) = server().await;
    let api = api_of(server, &namespace, good);
    let mut wrong = Vec::new();
    for case in cases {
        let outcome = create(&api, &case.applied_to(good), true).await;
        if let Err(why) = refusal(&case, outcome.map(drop)) {
            wrong.push(why);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_kind_is_established_and_its_schema_is_sound() {
    let (server, _) = server().await;
    let api: Api<CustomResourceDefinition> = Api::all(server.client("test"));
    let found = api.list(&ListParams::default()).await.unwrap().items;
    for crd in okra_api::crds() {
        let name = crd.metadata.name.unwrap();
        let there = found.iter().find(|crd| crd.metadata.name.as_ref() == Some(&name));
        let conditions = there.unwrap().status.as_ref().unwrap().conditions.as_ref().unwrap();
        let is = |type_: &str| conditions.iter().any(|found| found.type_ == type_ && found.status == "True");
        assert!(is("Established") && is("NamesAccepted"), "{name}: {conditions:?}");
        assert!(!is("NonStructuralSchema") && !is("KubernetesAPIApprovalPolicyConformant"), "{name}: {conditions:?}");
    }
}

#[tokio::test]
async fn bad_cells_are_refused_with_the_path_of_the_field() {
    let cases = admission::cells::bad();
    assert!(cases.len() >= 60, "{}", cases.len());
    all_refused(&admission::cells::minimal(), cases).await;
}

#[tokio::test]
async fn good_cells_are_accepted_and_read_back() {
    let (server, namespace) = server().await;
    for good in admission::cells::good() {
        let api = api_of(server, &namespace, &good);
        let made = create(&api, &good, false).await.unwrap();
        let cell: Cell = serde_json::from_value(serde_json::to_value(&made).unwrap()).unwrap();
        let written: Cell = serde_json::from_value(good).unwrap();
        assert_eq!(cell.spec, written.spec);
    }
}

#[tokio::test]
async fn the_listener_of_a_cell_cannot_be_changed() {
    let (server, namespace) = server().await;
    let mut cell = admission::cells::minimal();
    let api = api_of(server, &namespace, &cell);
    create(&api, &cell, false).await.unwrap();
    let name = cell["metadata"]["name"].take();
    let name = name.as_str().unwrap();
    let change = |alb: Value| Patch::Merge(json!({"spec": {"ingress": {"awsApplicationLoadBalancer": alb}}}));
    let other = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/other/1/2";
    let moved = api.patch(name, &PatchParams::default(), &change(json!({"listenerARN": other}))).await;
    let case = Case::new(
        "another listener",
        vec![],
        "spec.ingress.awsApplicationLoadBalancer.listenerARN",
        "listenerARN cannot be changed: create a new Cell for another listener",
    );
    assert_eq!(refusal(&case, moved.map(drop)), Ok(()));
    let priority = change(json!({"listener": {"rule": {"priority": 11}}}));
    api.patch(name, &PatchParams::default(), &priority).await.unwrap();
}

#[tokio::test]
async fn the_listener_of_a_config_cannot_be_changed() {
    let (server, namespace) = server().await;
    let config = admission::others::config();
    let api = api_of(server, &namespace, &config);
    create(&api, &config, false).await.unwrap();
    let other = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/other/1/2";
    let patch = Patch::Merge(json!({"spec": {"listenerARN": other}}));
    let moved = api.patch("web", &PatchParams::default(), &patch).await;
    let case = Case::new("another listener", vec![], "spec.listenerARN", "listenerARN cannot be changed");
    assert_eq!(refusal(&case, moved.map(drop)), Ok(()));
}

#[tokio::test]
async fn bad_objects_of_the_other_kinds_are_refused_with_the_path_of_the_field() {
    for (good, cases) in admission::others::bad() {
        all_refused(&good, cases).await;
    }
}

#[tokio::test]
async fn good_objects_of_the_other_kinds_are_accepted() {
    let (server, namespace) = server().await;
    for good in admission::others::good() {
        let api = api_of(server, &namespace, &good);
        let made = create(&api, &good, true).await;
        assert!(made.is_ok(), "{good}: {}", made.unwrap_err());
    }
}

#[tokio::test]
async fn a_status_is_checked_and_its_conditions_are_one_per_type() {
    let (server, namespace) = server().await;
    let cell = admission::cells::minimal();
    let api = api_of(server, &namespace, &cell);
    create(&api, &cell, false).await.unwrap();
    let name = cell["metadata"]["name"].as_str().unwrap();
    let condition = |reason: &str, status: &str| json!({"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-20T12:00:00Z"});
    let whole = |status: Value| Patch::Merge(json!({"status": status}));
    for (status, path, words) in [
        (json!({"phase": "Fine"}), "status.phase", "supported values"),
        (json!({"targetGroups": [{"name": "a"}]}), "status.targetGroups[0].version", "Required value"),
        (json!({"conditions": [condition("A", "Maybe")]}), "status.conditions[0].status", "supported values"),
        (json!({"conditions": [condition("", "True")]}), "status.conditions[0].reason", "at least 1"),
        (
            json!({"conditions": [condition("A", "True"), condition("B", "True")]}),
            "status.conditions[1]",
            "Duplicate value",
        ),
    ] {
        let written = api.patch_status(name, &PatchParams::default(), &whole(status)).await;
        assert_eq!(refusal(&Case::new(path, vec![], path, words), written.map(drop)), Ok(()));
    }
    let good = json!({"phase": "Healthy", "conditions": [condition("AsDesired", "True")]});
    api.patch_status(name, &PatchParams::default(), &whole(good)).await.unwrap();
}

#[tokio::test]
async fn printer_columns_show_what_the_status_says() {
    let (server, namespace) = server().await;
    let group = admission::others::target_group();
    let api = api_of(server, &namespace, &group);
    create(&api, &group, false).await.unwrap();
    let kind = <TargetGroup as kube::core::Resource>::plural(&());
    let path = format!("/apis/okra.mumo.co/v1alpha1/namespaces/{namespace}/{kind}");
    let request = http::Request::get(path)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = server.client("test").request(request).await.unwrap();
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Version", "Endpoint", "Age"]);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("web-1"), json!("1.0.0"), json!("http://127.0.0.1:8081")]);
}

#[tokio::test]
async fn bad_target_group_sets_are_refused_with_the_field_and_the_remedy() {
    let (server, namespace) = server().await;
    let set = |generators: Value| {
        json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroupSet",
            "metadata": {"name": "cell1", "namespace": namespace}, "spec": {"generators": generators},
        })
    };
    let labels = json!({"matchLabels": {"role": "web"}});
    let eks = json!({"clusterSelector": labels, "bindingSelector": labels});
    let api = api_of(server, &namespace, &set(json!([{"awseks": eks}])));
    create(&api, &set(json!([{"awseks": eks}])), true).await.unwrap();
    let mut role = eks.clone();
    role["roleARN"] = json!("arn:aws:iam::1:role/x");
    for (generators, words) in [
        (json!([]), "spec.generators"),
        (json!([{}]), "awseks"),
        (json!([{"awseks": {"clusterSelector": labels}}]), "bindingSelector"),
        (
            json!([{"awseks": {"clusterSelector": {}, "bindingSelector": labels}}]),
            "set matchLabels or matchExpressions",
        ),
        (json!([{"awseks": role}]), "roleARN"),
    ] {
        let error = create(&api, &set(generators.clone()), true).await.unwrap_err().to_string();
        assert!(error.contains(words), "{generators}: {error}");
    }
}

#[tokio::test]
async fn bad_cluster_sets_are_refused_with_the_field_and_the_remedy() {
    let (server, namespace) = server().await;
    let set = |spec: Value| {
        json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "ClusterSet",
            "metadata": {"name": "cell1", "namespace": namespace}, "spec": spec,
        })
    };
    let eks = json!({"selector": {"matchTags": {"Service": "demo"}}});
    let good = set(json!({"generators": [{"awseks": eks}], "template": {"metadata": {"labels": {"service": "demo"}}}}));
    let api = api_of(server, &namespace, &good);
    create(&api, &good, true).await.unwrap();
    let listed = |server: &str| json!({"list": {"clusters": [{"name": "a", "server": server}]}});
    let mut region = eks.clone();
    region["region"] = json!("EU_WEST");
    let mut role = eks.clone();
    role["roleARN"] = json!("arn:aws:iam::1:role/x");
    for (generator, words) in [
        (json!({}), "exactly one of awseks, clusterAPI, kubeconfigSecret, list"),
        (json!({"awseks": eks, "list": {"clusters": [{"name": "a", "server": "https://a"}]}}), "exactly one of"),
        (json!({"awseks": {"selector": {"matchTags": {}}}}), "matchTags"),
        (json!({"awseks": region}), "region"),
        (json!({"awseks": role}), "roleARN"),
        (json!({"kubeconfigSecret": {"selector": {}}}), "set matchLabels or matchExpressions"),
        (json!({"clusterAPI": {"selector": {"matchLabels": {}}}}), "set matchLabels or matchExpressions"),
        (listed("http://a"), "https://HOST"),
    ] {
        let error = create(&api, &set(json!({"generators": [generator]})), true).await.unwrap_err().to_string();
        assert!(error.contains(words), "{generator}: {error}");
    }
    let none = create(&api, &set(json!({"generators": []})), true).await.unwrap_err().to_string();
    assert!(none.contains("spec.generators"), "{none}");
}

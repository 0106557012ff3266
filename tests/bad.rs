//! Bad objects beside a good Cell, end to end: each says what is wrong with it, the good one swaps unhindered, and
//! okrad never exits. What admission refuses is not repeated here.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
};
use okra_api::{
    AWSTargetGroup, Cell, VersionBlocklist,
    condition::{self, reason},
    names::{REQUEST_ANNOTATION, VERSION_LABEL},
};
use okra_testkit::scene::{Scene, V1, V2, WITHIN};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "good";
const STEPS: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}]";
const SHARES: [u32; 2] = [20, 40];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];

/// A Cell that admission takes and that cannot be acted on, and the words with which it says so.
async fn bad_cell(scene: &Scene, name: &str, priority: u32, change: impl FnOnce(&mut Value)) {
    let manifest = scene.cell_manifest(name, 1, STEPS).replace("priority: 10", &format!("priority: {priority}"));
    let mut cell: Value = serde_saphyr::from_str(&manifest).unwrap();
    change(&mut cell);
    scene.apply(&cell.to_string()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn set(pointer: &'static str, key: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |cell| _ = cell.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value)
}

/// Every bad Cell, and the words that its message must hold.
async fn bad_cells(scene: &Scene) -> Vec<(&'static str, Vec<&'static str>)> {
    const ALB: &str = "/spec/ingress/awsApplicationLoadBalancer";
    bad_cell(scene, "drain", 101, set("/spec", "drainDuration", json!("9999999h"))).await;
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": "9999999h"}}]);
    bad_cell(scene, "pause", 102, set("/spec/updateStrategy/canary", "steps", steps)).await;
    bad_cell(scene, "version", 103, set("/spec", "version", json!("99999999999999999999.0.0"))).await;
    bad_cell(scene, "network", 104, set("/spec", "ingress", json!({"type": "AWSNetworkLoadBalancer"}))).await;
    let local = json!({"listen": "127.0.0.1:1", "targetGroupSelector": {"matchLabels": {"role": "web"}}});
    bad_cell(scene, "local", 105, set("/spec", "ingress", json!({"type": "Local", "local": local}))).await;
    let listener = scene.world.listener.replace("listener/app/okra/", "listener/app/nobody/");
    bad_cell(scene, "nowhere", 106, set(ALB, "listenerARN", json!(listener))).await;
    let garbled = json!({REQUEST_ANNOTATION: "{\"verb\": \"explode\"}"});
    bad_cell(scene, "garbled", 107, |cell| {
        cell["metadata"]["annotations"] = garbled;
        cell["spec"]["ingress"]["awsApplicationLoadBalancer"]["targetGroupSelector"] =
            json!({"matchLabels": {"role": "nobody"}});
    })
    .await;
    let hand_made = format!(
        "apiVersion: okra.mumo.co/v1alpha1\nkind: AWSApplicationLoadBalancerConfig\nmetadata:\n  name: squatted\nspec:\n  \
         listenerARN: {}\n  listener:\n    rule: {{priority: 108, hosts: [example.net], forward: {{}}}}\n",
        scene.world.listener
    );
    scene.apply(&hand_made).await.unwrap();
    bad_cell(scene, "squatted", 108, |_| {}).await;
    bad_cell(scene, "taken", 10, |_| {}).await;
    vec![
        ("drain", vec!["spec.drainDuration", "\"9999999h\" is not a duration"]),
        ("pause", vec!["spec.updateStrategy.canary.steps[1].pause.duration", "is not a duration"]),
        ("version", vec!["spec.version", "99999999999999999999.0.0"]),
        ("network", vec!["spec.ingress.type", "use AWSApplicationLoadBalancer"]),
        ("local", vec!["spec.ingress.type", "--store dir:PATH"]),
        ("nowhere", vec!["ListenerNotFound"]),
        ("garbled", vec![REQUEST_ANNOTATION, "explode", "okractl"]),
        ("squatted", vec!["squatted", "this Cell does not own it"]),
        ("taken", vec!["good has this listener and priority and is older"]),
    ]
}

async fn until_all_say(scene: &Scene, bad: &[(&str, Vec<&str>)]) {
    for (name, words) in bad {
        let says = |cell: &Cell| {
            let message = cell.status.as_ref().map(|status| status.message.as_str()).unwrap_or_default();
            words.iter().all(|words| message.contains(words))
        };
        scene.until(name, &format!("{words:?}"), says).await;
    }
}

/// Objects around the good Cell that cannot be used: it names them and goes on without them.
async fn bad_surroundings(scene: &mut Scene) {
    let list = json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "VersionBlocklist", "metadata": {"name": CELL},
        "spec": {"items": [{"version": "latest"}, {"version": "0.5.0"}]},
    });
    scene.apply(&list.to_string()).await.unwrap();
    for (name, arn, version) in [
        ("latest", "unversioned", Some("latest")),
        ("nameless", "nameless", None),
        ("twin-a", "twin", Some(V1)),
        ("twin-b", "twin", Some(V2)),
    ] {
        if !scene.arns.contains_key(arn) {
            scene.target_group(arn, V1).await;
        }
        let mut group = json!({
            "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroup",
            "metadata": {"name": name, "labels": {"role": "web"}}, "spec": {"arn": scene.arns[arn]},
        });
        if let Some(version) = version {
            group["metadata"]["labels"][VERSION_LABEL] = json!(version);
        }
        scene.apply(&group.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_good_cell_swaps_unhindered_beside_bad_ones() {
    let mut scene = Scene::new(OKRAD, "bad").await;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    let bad = bad_cells(&scene).await;
    bad_surroundings(&mut scene).await;
    until_all_say(&scene, &bad).await;

    scene.version(V2).await;
    let cell = scene.until_stable(CELL, V2).await;
    let valid = condition::find(&cell.status.as_ref().unwrap().conditions, condition::VALID).unwrap().clone();
    assert_eq!((valid.status.as_str(), valid.reason.as_str()), ("False", reason::INVALID_TARGET_GROUPS));
    for name in ["latest", "nameless", "twin-a", "twin-b"] {
        assert!(valid.message.contains(name), "{name}: {}", valid.message);
    }
    let read = |list: &VersionBlocklist| list.status.as_ref().is_some_and(|status| status.unreadable == ["latest"]);
    scene.until_object::<VersionBlocklist>(CELL, "the list says what it cannot read", read).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    until_all_say(&scene, &bad).await;
    assert_eq!(scene.front.rules(&scene.world.listener).len(), 2, "no bad Cell made a rule");

    // What is mended goes on at once.
    scene.patch_cell("drain", json!({"drainDuration": "10m"})).await;
    scene.until_stable("drain", V2).await;
    scene.rest().await;
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn a_group_that_aws_does_not_know_is_named_and_left_out() {
    let mut scene = Scene::new(OKRAD, "ghost").await;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    let arn = format!("{}dead", scene.arns["web-1-v1"]);
    let mut ghost = AWSTargetGroup::new("ghost", okra_api::AWSTargetGroupSpec { arn: arn.clone() });
    ghost.metadata.labels =
        Some([("role".to_owned(), "web".to_owned()), (VERSION_LABEL.to_owned(), V2.to_owned())].into());
    scene.api::<AWSTargetGroup>().create(&PostParams::default(), &ghost).await.unwrap();
    scene.version(V2).await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    let names = |valid: bool| {
        move |cell: &Cell| {
            let status = cell.status.clone().unwrap_or_default();
            let found = condition::find(&status.conditions, condition::VALID).cloned();
            found.is_some_and(|found| found.message.contains("ghost: is gone") != valid)
        }
    };
    scene.until(CELL, "it names the group", names(false)).await;
    scene.api::<AWSTargetGroup>().delete("ghost", &DeleteParams::default()).await.unwrap();
    scene.until(CELL, "it has nothing to say any more", names(true)).await;
    scene.rest().await;
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

/// The schema of Cells as it was before there was one, or as it is.
async fn set_schema(scene: &Scene, schema: &Value) {
    let api: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let mut definition = api.get("cells.okra.mumo.co").await.unwrap();
    definition.spec.versions[0].schema = serde_json::from_value(json!({"openAPIV3Schema": schema})).unwrap();
    api.replace("cells.okra.mumo.co", &PostParams::default(), &definition).await.unwrap();
}

/// Cells whose replicas are no number.
const WRONG: [(&str, &str); 3] = [("many", "many"), ("nothing", ""), ("quoted", "1")];

#[tokio::test]
async fn cells_that_cannot_even_be_read_say_so_and_harm_nobody() {
    let mut scene = Scene::with_own_server(OKRAD, "malformed").await;
    let other = scene.server.namespace("old").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client.clone());
    let definition = definitions.get("cells.okra.mumo.co").await.unwrap();
    let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"].clone();
    set_schema(&scene, &json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).await;
    let resource = ApiResource::erase::<Cell>(&());
    let cells: Api<DynamicObject> = Api::namespaced_with(scene.client.clone(), &other, &resource);
    let mut manifest: Value = serde_saphyr::from_str(&scene.cell_manifest("any", 1, STEPS)).unwrap();
    for (name, replicas) in WRONG {
        manifest["spec"]["replicas"] = json!(replicas);
        let object = DynamicObject::new(name, &resource).data(json!({"spec": manifest["spec"]}));
        let create = async {
            while let Err(error) = cells.create(&PostParams::default(), &object).await {
                assert!(error.to_string().contains("nvalid"), "{error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(WITHIN, create).await.expect("the schema is taken away in time");
    }
    set_schema(&scene, &schema).await;

    scene.also.push(other);
    scene.serve(CELL, STEPS).await;
    for (name, _) in WRONG {
        let says = async {
            loop {
                let cell = cells.get(name).await.unwrap();
                let conditions = cell.data.pointer("/status/conditions").cloned().unwrap_or_default();
                let conditions: Vec<condition::Condition> = serde_json::from_value(conditions).unwrap_or_default();
                if let Some(valid) = condition::find(&conditions, condition::VALID) {
                    return (valid.status.clone(), valid.reason.clone(), valid.message.clone());
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let (status, reason, message) =
            tokio::time::timeout(WITHIN, says).await.unwrap_or_else(|_| panic!("{name}\n{}", scene.log()));
        assert_eq!((status.as_str(), reason.as_str()), ("False", reason::MALFORMED), "{name}");
        assert!(message.starts_with("the object cannot be read: "), "{name}: {message}");
    }
    let load = scene.load();
    scene.version(V2).await;
    scene.until_stable(CELL, V2).await;
    scene.rest().await;
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

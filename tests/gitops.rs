//! The spec is edited in mid-rollout, end to end, as a GitOps tool or a person with kubectl would.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::time::Duration;

use okra_api::{Cell, Verb, cell_status::CellPhase};
use okra_testkit::{
    load::Load,
    scene::{MID_CANARY, Scene, V2, V3},
};
use pretty_assertions::assert_eq;
use serde_json::json;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {}}]";
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];

async fn mid_canary(name: &str) -> (Scene, Load) {
    Scene::mid_canary(OKRAD, name, CELL, STEPS).await
}

async fn end(mut scene: Scene, load: Load, shares: &[u32]) {
    scene.rest().await;
    scene.end(load, CELL, shares).await;
}

#[tokio::test]
async fn a_tool_that_applies_the_same_manifest_again_and_again_is_no_fight() {
    let mut scene = Scene::new(OKRAD, "again").await;
    scene.serve(CELL, "[{setWeight: 20}, {pause: {duration: 2s}}, {setWeight: 40}, {pause: {}}]").await;
    let generation = scene.api::<Cell>().get(CELL).await.unwrap().metadata.generation;
    let manifest =
        scene.cell_manifest(CELL, 2, "[{setWeight: 20}, {pause: {duration: 2s}}, {setWeight: 40}, {pause: {}}]");
    let load = scene.load();
    scene.version(V2).await;
    let rollout = async {
        scene.until_pause(CELL, V2, 3).await;
    };
    let mut applied = 0;
    let tool = async {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            scene.apply_as("gitops", &manifest).await.unwrap();
            applied += 1;
        }
    };
    tokio::select! {
        biased;
        () = rollout => {}
        () = tool => {}
    }
    assert!(applied > 10, "{applied}");
    // A request in mid-rollout survives the tool: it owns another field.
    let request = scene.request(CELL, Verb::Resume, &[]).await;
    scene.ask_this(CELL, &request).await.unwrap();
    scene.apply_as("gitops", &manifest).await.unwrap();
    let cell = scene.until_stable(CELL, V2).await;
    assert_eq!(cell.metadata.generation, generation, "nobody but the tool writes the spec");
    assert_eq!(cell.status.unwrap().last_request.unwrap().id, request.id);
    let managers = cell.metadata.managed_fields.unwrap();
    let spec_of_okrad = managers.iter().any(|entry| {
        entry.manager.as_deref() == Some("okrad")
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
    });
    assert!(!spec_of_okrad, "{managers:?}");
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    assert_eq!(scene.writes().len(), 5, "made, attached, 20, 40, 100");
    end(scene, load, &[20, 40]).await;
}

#[tokio::test]
async fn steps_that_change_in_mid_rollout_count_from_the_next_one() {
    let (mut scene, load) = mid_canary("steps").await;
    let steps = json!([{"setWeight": 60}, {"pause": {}}]);
    scene.patch_cell(CELL, json!({"updateStrategy": {"canary": {"steps": steps}}})).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    let cell = scene.until_pause(CELL, V2, 3).await;
    assert_eq!(cell.status.unwrap().rollout.unwrap().steps_total, 4);
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);

    scene.version(V3).await;
    let cell = scene.until_pause(CELL, V3, 1).await;
    assert_eq!(cell.status.unwrap().rollout.unwrap().steps_total, 2);
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V3).await;
    assert_eq!(scene.shares(&["web-1-v3", "web-2-v3"]), [0.0, 60.0, 100.0]);
    end(scene, load, &[20, 40, 60]).await;
}

#[tokio::test]
async fn changed_conditions_and_priority_apply_at_once_with_the_weights_unchanged() {
    let (mut scene, load) = mid_canary("conditions").await;
    let (rule, before) = (scene.rule(), scene.writes().len());
    let changed =
        |rule: serde_json::Value| json!({"ingress": {"awsApplicationLoadBalancer": {"listener": {"rule": rule}}}});
    scene.patch_cell(CELL, changed(json!({"hosts": ["example.com", "example.org"]}))).await;
    let conditions = || scene.try_rule().map(|rule| rule.conditions.join(" ")).unwrap_or_default();
    scene.until_front("the new host", || conditions().contains("example.org")).await;
    scene.until_weights(&MID_CANARY).await;
    scene.until_pause(CELL, V2, 1).await;
    assert_eq!(scene.operations_since(before), ["ModifyRule"]);

    scene.patch_cell(CELL, changed(json!({"priority": 20}))).await;
    scene.priority = 20;
    scene.until_weights(&MID_CANARY).await;
    assert_eq!(scene.rule(), rule, "it is the same rule");
    assert_eq!(scene.operations_since(before), ["ModifyRule", "SetRulePriorities"]);
    scene.until_phase(CELL, CellPhase::Paused).await;
    scene.until_pause(CELL, V2, 1).await;

    for step in [3, 4] {
        scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
        if step == 3 {
            scene.until_pause(CELL, V2, step).await;
        }
    }
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    end(scene, load, &[20, 40]).await;
}

#[tokio::test]
async fn a_suspended_cell_moves_nothing_but_goes_back() {
    let (mut scene, load) = mid_canary("suspend").await;
    scene.patch_cell(CELL, json!({"suspend": true})).await;
    scene.until_says(CELL, "spec.suspend is set").await;
    let before = scene.writes().len();
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_looks(1).await;
    assert_eq!(scene.writes().len(), before);
    scene.ask(CELL, Verb::Abort, &[]).await.unwrap();
    scene.until_weights(&[("web-1-v1", 50), ("web-2-v1", 50), ("web-1-v2", 0), ("web-2-v2", 0)]).await;
    scene.until_phase(CELL, CellPhase::Failed).await;
    end(scene, load, &[20]).await;
}

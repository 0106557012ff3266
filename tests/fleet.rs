//! The fleet changes while a rollout is under way, end to end: versions and target groups come, go and fall ill.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use okra_api::{
    Verb,
    cell_status::{CellPhase, RolloutOutcome},
    condition::{self, reason},
};
use okra_testkit::{
    front::Health,
    load::Load,
    scene::{MID_CANARY, Scene, V1, V2, V3, weights},
};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}]";
const SHARES: [u32; 2] = [20, 40];

async fn mid_canary(name: &str) -> (Scene, Load) {
    Scene::mid_canary(OKRAD, name, CELL, STEPS).await
}

async fn end(mut scene: Scene, load: Load, shares: &[u32]) {
    scene.rest().await;
    scene.end(load, CELL, shares).await;
}

#[tokio::test]
async fn a_third_version_in_mid_canary_starts_over_from_stable() {
    let (mut scene, load) = mid_canary("third").await;
    let before = scene.writes().len();
    scene.cluster("web-1-v3", V3).await;
    let cell = scene.until_knows(CELL, "web-1-v3").await;
    assert_eq!(cell.status.unwrap().rollout.unwrap().outcome, None, "one of two changes nothing");
    assert_eq!(scene.writes().len(), before);
    scene.cluster("web-2-v3", V3).await;
    scene.until_outcome(CELL, V2, RolloutOutcome::Superseded).await;
    scene.until_pause(CELL, V3, 1).await;
    scene.until_weights(&[("web-1-v1", 40), ("web-2-v1", 40), ("web-1-v3", 10), ("web-2-v3", 10)]).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    let cell = scene.until_stable(CELL, V3).await;
    assert!(cell.status.unwrap().blocked_versions.is_empty(), "nothing failed");
    assert_eq!(scene.shares(&["web-1-v2", "web-2-v2"]), [0.0, 20.0, 0.0]);
    assert_eq!(scene.shares(&["web-1-v3", "web-2-v3"]), [0.0, 20.0, 40.0, 100.0]);
    end(scene, load, &SHARES).await;
}

#[tokio::test]
async fn a_canary_that_loses_a_group_goes_back_and_may_come_again() {
    let (mut scene, load) = mid_canary("withdrawn").await;
    scene.unregister("web-2-v2").await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Withdrawn).await;
    assert!(cell.status.unwrap().blocked_versions.is_empty());
    let shares = scene.shares(&["web-1-v2", "web-2-v2"]);
    assert_eq!((shares[0], shares.last()), (0.0, Some(&0.0)), "{shares:?}");
    scene.until_stable(CELL, V1).await;
    scene.register("web-2-v2", V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&MID_CANARY).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    end(scene, load, &SHARES).await;
}

#[tokio::test]
async fn when_the_stable_groups_vanish_the_canary_takes_all() {
    let (mut scene, load) = mid_canary("fallback").await;
    scene.unregister("web-1-v1").await;
    scene.unregister("web-2-v1").await;
    scene.until_stable(CELL, V2).await;
    scene.until_weights(&[("web-1-v2", 50), ("web-2-v2", 50)]).await;
    end(scene, load, &SHARES).await;
}

#[tokio::test]
async fn when_all_groups_vanish_the_rule_stays() {
    let (mut scene, load) = mid_canary("vanished").await;
    // okrad sees them all go at once, as after a namespace was emptied by mistake.
    assert_eq!(scene.stop_okrad().await, 0);
    let before = scene.writes().len();
    for group in ["web-1-v1", "web-2-v1", "web-1-v2", "web-2-v2"] {
        scene.unregister(group).await;
    }
    scene.start_okrad();
    let cell = scene.until_phase(CELL, CellPhase::Degraded).await;
    let status = cell.status.unwrap();
    assert!(status.message.contains("the rule stays as it is"), "{}", status.message);
    let degraded = condition::find(&status.conditions, condition::DEGRADED).unwrap();
    assert_eq!(degraded.reason, reason::NO_TARGET_GROUPS);
    scene.until_looks(1).await;
    assert_eq!(scene.weights(), weights(&MID_CANARY));
    assert_eq!(scene.writes().len(), before);
    for (group, version) in [("web-1-v1", V1), ("web-2-v1", V1)] {
        scene.register(group, version).await;
    }
    scene.until_stable(CELL, V1).await;
    let weights = scene.weights();
    assert_eq!((weights["web-1-v1"], weights["web-2-v1"]), (50, 50), "{weights:?}");
    end(scene, load, &SHARES).await;
}

#[tokio::test]
async fn a_relabelled_group_gets_what_its_new_versions_step_gives_it() {
    let mut scene = Scene::new(OKRAD, "relabel").await;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    scene.cluster("web-2-v1", V1).await;
    scene.until_weights(&[("web-1-v1", 50), ("web-2-v1", 50)]).await;
    scene.until_stable(CELL, V1).await;
    let load = scene.load();
    scene.relabel("web-2-v1", V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&[("web-1-v1", 80), ("web-2-v1", 20)]).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    scene.until_weights(&[("web-1-v1", 0), ("web-2-v1", 100)]).await;
    // As one version they had half each.
    end(scene, load, &[20, 40, 50]).await;
}

#[tokio::test]
async fn groups_that_join_enter_at_zero_and_never_change_the_canarys_total() {
    let mut scene = Scene::new(OKRAD, "join").await;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.until_stable(CELL, V1).await;
    let load = scene.load();
    join_ill(&mut scene, "web-2-v1", V1).await;
    scene.until_weights(&[("web-1-v1", 100), ("web-2-v1", 0)]).await;
    heal(&scene, "web-2-v1");
    scene.until_weights(&[("web-1-v1", 50), ("web-2-v1", 50)]).await;
    scene.until_stable(CELL, V1).await;

    scene.cluster("web-1-v2", V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&[("web-1-v1", 40), ("web-2-v1", 40), ("web-1-v2", 20)]).await;
    join_ill(&mut scene, "web-2-v2", V2).await;
    scene.until_weights(&[("web-1-v1", 40), ("web-2-v1", 40), ("web-1-v2", 20), ("web-2-v2", 0)]).await;
    heal(&scene, "web-2-v2");
    scene.until_weights(&MID_CANARY).await;
    scene.cluster("web-3-v1", V1).await;
    scene.until_front("web-3-v1 serves", || scene.weights().get("web-3-v1").is_some_and(|weight| *weight > 0)).await;
    assert_eq!(scene.shares(&["web-1-v2", "web-2-v2"]), [0.0, 20.0]);
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&["web-1-v2", "web-2-v2"]), [0.0, 20.0, 40.0, 100.0]);
    end(scene, load, &SHARES).await;
}

#[tokio::test]
async fn a_group_without_healthy_targets_gets_nothing_and_holds_up_nobody() {
    let mut scene = Scene::new(OKRAD, "ill").await;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    scene.cluster("web-1-v2", V2).await;
    join_ill(&mut scene, "web-2-v2", V2).await;
    let cell = scene.until_says(CELL, "web-2-v2: 0 of 1 healthy").await;
    assert_eq!(cell.status.unwrap().rollout.unwrap().canary_weight, 0);
    assert_eq!(scene.shares(&["web-1-v2", "web-2-v2"]), [0.0], "two are asked for, and one is healthy");
    scene.cluster("web-3-v2", V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene
        .until_front("3.0.0 has all", || {
            let weights = scene.weights();
            (weights["web-1-v2"], weights["web-2-v2"], weights["web-3-v2"]) == (50, 0, 50)
        })
        .await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&["web-2-v2"]), [0.0], "it never got anything");
    heal(&scene, "web-2-v2");
    scene.until_front("it gets its share", || scene.weights()["web-2-v2"] == 33).await;
    scene.until_stable(CELL, V2).await;
    end(scene, load, &SHARES).await;
}

/// A target group joins whose targets fail their health checks.
async fn join_ill(scene: &mut Scene, name: &str, version: &str) {
    scene.target_group(name, version).await;
    scene.front.set_health(&scene.arns[name], Health::Unhealthy).unwrap();
    scene.register(name, version).await;
}

fn heal(scene: &Scene, name: &str) {
    scene.front.set_health(&scene.arns[name], None).unwrap();
}

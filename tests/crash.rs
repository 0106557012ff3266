//! okrad dies, its status is lost, the API server goes away, end to end: the same end, and no weight step twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use okra_api::{Cell, Verb, condition::reason};
use okra_testkit::{
    fault_plan::{ALWAYS, PlannedFault},
    front::AwsFault,
    scene::{Scene, V1, V2, weights},
};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}]";
const PAUSING: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}]";
const SHARES: [u32; 2] = [20, 40];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];
const MID_CANARY: [(&str, i64); 4] = [("web-1-v1", 40), ("web-2-v1", 40), ("web-1-v2", 10), ("web-2-v2", 10)];

/// All that the rule of the two rollouts ever holds: made, attached, 20, 40, 100.
fn the_plan() -> Vec<BTreeMap<String, i64>> {
    let both =
        |old: i64, new: i64| weights(&[("web-1-v1", old), ("web-2-v1", old), ("web-1-v2", new), ("web-2-v2", new)]);
    vec![weights(&[("web-1-v1", 50), ("web-2-v1", 50)]), both(50, 0), both(40, 10), both(30, 20), both(0, 50)]
}

/// Exactly the plan, each state written once.
async fn end(mut scene: Scene) {
    assert_eq!(scene.history(), the_plan());
    assert_eq!(scene.writes().len(), the_plan().len(), "{}", scene.told(40));
    scene.rest().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

/// Kills okrad after each of its writes and starts it again, until this version is stable.
async fn kill_after_each_write(scene: &mut Scene, version: &str) -> usize {
    let mut kills = 0;
    loop {
        let seen = scene.writes().len();
        let done = tokio::select! {
            biased;
            _ = scene.until_stable(CELL, version) => true,
            () = scene.until_writes(seen + 1) => false,
        };
        if done {
            return kills;
        }
        scene.kill_okrad();
        scene.start_okrad();
        kills += 1;
    }
}

async fn swap_with_a_kill_after_each_write(scene: &mut Scene) {
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 2, STEPS)).await.unwrap();
    scene.cluster("web-1-v1", V1).await;
    scene.cluster("web-2-v1", V1).await;
    assert_eq!(kill_after_each_write(scene, V1).await, 1);
    scene.version(V2).await;
    assert_eq!(kill_after_each_write(scene, V2).await, 4);
}

#[tokio::test]
async fn a_kill_after_each_answered_write_changes_nothing() {
    let mut scene = Scene::new(OKRAD, "killed").await;
    swap_with_a_kill_after_each_write(&mut scene).await;
    end(scene).await;
}

#[tokio::test]
async fn a_kill_before_the_answer_of_each_write_changes_nothing() {
    let mut scene = Scene::new(OKRAD, "unanswered").await;
    // Writes are carried out, and their answers do not arrive in time.
    let late = |call| PlannedFault::new(call, 1, AwsFault::SlowAfter { millis: 20_000 }).times(ALWAYS);
    scene.front.set_plan(vec![late("CreateRule"), late("ModifyRule")]);
    swap_with_a_kill_after_each_write(&mut scene).await;
    end(scene).await;
}

#[tokio::test]
async fn a_kill_after_each_change_of_the_status_changes_nothing() {
    let mut scene = Scene::new(OKRAD, "between").await;
    scene.serve(CELL, STEPS).await;
    scene.version(V2).await;
    let place = |cell: &Cell| {
        let status = cell.status.clone().unwrap_or_default();
        let rollout = status.rollout.unwrap_or_default();
        let step = (rollout.id, rollout.current_step_index, rollout.canary_weight, rollout.current_step_run);
        (status.stable_version, step)
    };
    let mut seen = vec![place(&scene.api::<Cell>().get(CELL).await.unwrap())];
    loop {
        let cell = scene.until(CELL, "the next place", |cell| !seen.contains(&place(cell))).await;
        let is_over = cell.status.as_ref().is_some_and(|status| status.stable_version.as_deref() == Some(V2));
        seen.push(place(&cell));
        scene.kill_okrad();
        scene.start_okrad();
        if is_over {
            break;
        }
    }
    assert!(seen.len() >= 5, "{seen:?}");
    // The last one to start comes to its own conclusion.
    scene.until_looks(1).await;
    scene.until_stable(CELL, V2).await;
    end(scene).await;
}

async fn mid_canary_without_status(name: &str) -> Scene {
    let mut scene = Scene::new(OKRAD, name).await;
    scene.serve(CELL, PAUSING).await;
    scene.version(V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&MID_CANARY).await;
    assert_eq!(scene.stop_okrad().await, 0);
    scene.forget_status(CELL).await;
    let before = scene.writes().len();
    scene.start_okrad();
    let cell = scene.until_paused(CELL, reason::STATE_LOST).await;
    let message = cell.status.unwrap().message;
    assert!(message.contains("1.0.0: 80, 2.0.0: 20"), "{message}");
    scene.until_looks(1).await;
    assert_eq!((scene.weights(), scene.writes().len()), (weights(&MID_CANARY), before), "the weights stay");
    scene
}

#[tokio::test]
async fn a_lost_status_in_mid_canary_waits_for_resume() {
    let mut scene = mid_canary_without_status("lostresume").await;
    assert_eq!(scene.ask(CELL, Verb::Resume, &[]).await.unwrap(), "1.0.0 is stable");
    scene.until_pause(CELL, V2, 1).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    let shares = scene.shares(&NEW);
    assert!([vec![0.0, 20.0, 40.0, 100.0], vec![0.0, 20.0, 0.0, 20.0, 40.0, 100.0]].contains(&shares), "{shares:?}");
    scene.rest().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn a_lost_status_in_mid_canary_waits_for_undo() {
    let mut scene = mid_canary_without_status("lostundo").await;
    assert_eq!(scene.ask(CELL, Verb::Undo, &[]).await.unwrap(), "all traffic goes back to 1.0.0");
    let cell = scene.until_stable(CELL, V1).await;
    scene.until_weights(&[("web-1-v1", 50), ("web-2-v1", 50), ("web-1-v2", 0), ("web-2-v2", 0)]).await;
    assert_eq!(cell.status.unwrap().blocked_versions, [V2]);
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 0.0]);
    scene.rest().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn while_the_api_server_is_away_the_weights_stay_and_it_goes_on_by_itself_afterwards() {
    let mut scene = Scene::with_own_server(OKRAD, "away").await;
    // The outage is shorter than the lease: okrad stays the leader and alive.
    scene.lease = "2m";
    scene.serve(CELL, "[{setWeight: 20}, {pause: {duration: 2s}}, {setWeight: 40}]").await;
    let load = scene.load();
    scene.version(V2).await;
    scene.until_pause(CELL, V2, 1).await;
    let before = scene.writes().len();
    scene.server.stop_api().await;
    // okrad looks for foreign edits all the same, ten seconds apart: the pause ends in the outage.
    scene.until_looks(1).await;
    assert_eq!((scene.weights(), scene.writes().len()), (weights(&MID_CANARY), before));
    scene.assert_okrad_runs();
    scene.server.start_api().await;
    scene.until_stable(CELL, V2).await;
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    end(scene).await;
}

#[tokio::test]
async fn the_second_okrad_takes_over_when_the_leader_dies() {
    let mut scene = Scene::new(OKRAD, "two").await;
    scene.serve(CELL, PAUSING).await;
    scene.start_okrad_as("okrad-2");
    scene.version(V2).await;
    scene.until_pause(CELL, V2, 1).await;
    let holder = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let leads = |user: &str| {
        let start = format!("{user}_");
        move |lease: &Lease| holder(lease).starts_with(&start)
    };
    scene.until_object::<Lease>("okra", "the first leads", leads("okrad")).await;
    scene.kill_okrad();
    scene.until_object::<Lease>("okra", "the second leads", leads("okrad-2")).await;
    scene.start_okrad();
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    scene.until_object::<Lease>("okra", "the second still leads", leads("okrad-2")).await;
    end(scene).await;
}

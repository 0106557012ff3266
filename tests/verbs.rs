//! What people ask of a rollout, end to end: pins and every verb, in mid-canary and after, under load.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use okra_api::{
    Cell, Pause, PausePhase, Verb, VersionBlocklist,
    cell_status::{CellPhase, RolloutOutcome},
    condition::reason,
};
use okra_testkit::{
    load::Load,
    scene::{MID_CANARY, Scene, V1, V2, WITHIN},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {}}]";
const SHARES: [u32; 2] = [20, 40];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];
const BACK: [(&str, i64); 4] = [("web-1-v1", 50), ("web-2-v1", 50), ("web-1-v2", 0), ("web-2-v2", 0)];
const DONE: [(&str, i64); 4] = [("web-1-v1", 0), ("web-2-v1", 0), ("web-1-v2", 50), ("web-2-v2", 50)];

/// Version 1 serves under load, and version 2 has 20 % and waits in its first pause.
async fn mid_canary(name: &str) -> (Scene, Load) {
    Scene::mid_canary(OKRAD, name, CELL, STEPS).await
}

/// Nothing failed, everything was as allowed, and okrad stops cleanly.
async fn end(mut scene: Scene, load: Load) {
    scene.rest().await;
    scene.end(load, CELL, &SHARES).await;
}

/// The way back took exactly one call.
fn assert_one_call(scene: &Scene, from: usize) {
    assert_eq!(scene.operations_since(from), ["ModifyRule"], "{}", scene.told(30));
}

fn blocked(cell: &Cell) -> &[String] {
    &cell.status.as_ref().unwrap().blocked_versions
}

#[tokio::test]
async fn abort_is_one_call_and_retry_unblock_and_promote_go_on() {
    let (mut scene, load) = mid_canary("abort").await;
    let before = scene.writes().len();
    let old = scene.request(CELL, Verb::Promote, &[]).await;
    let answer = scene.ask(CELL, Verb::Abort, &[]).await.unwrap();
    assert_eq!(answer, "all traffic goes back to 1.0.0; 2.0.0 is blocked");
    let cell = scene.until_phase(CELL, CellPhase::Failed).await;
    scene.until_weights(&BACK).await;
    assert_one_call(&scene, before);
    assert_eq!(blocked(&cell), [V2]);
    let list = scene.api::<VersionBlocklist>().get(CELL).await.unwrap();
    assert_eq!((list.spec.items[0].version.as_str(), list.spec.items[0].cause.as_str()), (V2, "aborted by ann"));
    let last = cell.status.unwrap().history.remove(0);
    assert_eq!((last.outcome, last.by.as_str()), (RolloutOutcome::Aborted, "ann"));
    assert!(scene.ask(CELL, Verb::Abort, &[]).await.unwrap_err().contains("no rollout is under way"));

    scene.ask(CELL, Verb::Retry, &[]).await.unwrap();
    let cell = scene.until_pause(CELL, V2, 1).await;
    assert!(blocked(&cell).is_empty());
    scene.until_weights(&MID_CANARY).await;
    // The person who asks this still sees the rollout that was aborted.
    let refusal = scene.ask_this(CELL, &old).await.unwrap_err();
    assert!(refusal.contains("it was asked of rollout 2.0.0-2, and it is 2.0.0-3 now"), "{refusal}");
    scene.until_weights(&MID_CANARY).await;

    scene.ask(CELL, Verb::Abort, &[]).await.unwrap();
    scene.until_weights(&BACK).await;
    scene.until_phase(CELL, CellPhase::Failed).await;
    assert!(scene.ask(CELL, Verb::Unblock, &[("version", "3.0.0")]).await.unwrap_err().contains("is not blocked"));
    scene.ask(CELL, Verb::Unblock, &[("version", "v2")]).await.unwrap();
    scene.until_pause(CELL, V2, 1).await;
    let seen = scene.request(CELL, Verb::Promote, &[]).await;
    assert_eq!(scene.ask_this(CELL, &seen).await.unwrap(), "step 2 of 4 is skipped");
    scene.until_pause(CELL, V2, 3).await;
    let late = okra_api::Request { id: "late".to_owned(), ..seen };
    assert!(scene.ask_this(CELL, &late).await.unwrap_err().contains("moved on"), "step 2 was seen, not step 4");
    scene.ask(CELL, Verb::Promote, &[("full", "true")]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    scene.until_weights(&DONE).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 0.0, 20.0, 0.0, 20.0, 40.0, 100.0]);
    end(scene, load).await;
}

#[tokio::test]
async fn a_pin_takes_the_traffic_back_in_mid_canary_and_after_success() {
    let (mut scene, load) = mid_canary("pin").await;
    let before = scene.writes().len();
    scene.patch_cell(CELL, json!({"version": V1})).await;
    let cell = scene.until_outcome(CELL, V2, RolloutOutcome::Superseded).await;
    scene.until_weights(&BACK).await;
    assert_one_call(&scene, before);
    assert!(blocked(&cell).is_empty(), "a pin blocks nothing");

    scene.patch_cell(CELL, json!({"version": Value::Null})).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.ask(CELL, Verb::Promote, &[("full", "true")]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    scene.until_weights(&DONE).await;

    let before = scene.writes().len();
    scene.patch_cell(CELL, json!({"version": V1})).await;
    let cell = scene.until_stable(CELL, V1).await;
    scene.until_weights(&BACK).await;
    assert_one_call(&scene, before);
    assert!(blocked(&cell).is_empty());
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 0.0, 20.0, 100.0, 0.0]);
    end(scene, load).await;
}

#[tokio::test]
async fn pause_holds_the_weights_resume_goes_on_and_undo_goes_back() {
    let mut scene = Scene::new(OKRAD, "pause").await;
    scene.serve(CELL, "[{setWeight: 20}, {pause: {duration: 4s}}, {setWeight: 40}, {pause: {}}]").await;
    let load = scene.load();
    scene.version(V2).await;
    scene.until_pause(CELL, V2, 1).await;
    assert_eq!(scene.ask(CELL, Verb::Pause, &[]).await.unwrap(), "the weights are held");
    scene.until_paused(CELL, reason::PAUSED_BY_PERSON).await;
    assert!(scene.ask(CELL, Verb::Pause, &[]).await.unwrap_err().contains("held already"));
    let expired = |pause: &Pause| pause.status.as_ref().is_some_and(|status| status.phase == Some(PausePhase::Expired));
    scene.until_object::<Pause>("web-r2-1-pause", "the pause expires", expired).await;
    // An answer shows that the Cell was looked at after the pause of its step was over.
    assert!(scene.ask(CELL, Verb::Undo, &[]).await.unwrap_err().contains("use abort"));
    let cell = scene.until_paused(CELL, reason::PAUSED_BY_PERSON).await;
    assert_eq!(cell.status.unwrap().rollout.unwrap().current_step_index, 1);
    assert_eq!(scene.shares(&NEW), [0.0, 20.0]);

    assert_eq!(scene.ask(CELL, Verb::Resume, &[]).await.unwrap(), "the rollout goes on");
    scene.until_pause(CELL, V2, 3).await;
    assert_eq!(scene.ask(CELL, Verb::Resume, &[]).await.unwrap(), "step 4 of 4: the pause is over");
    scene.until_stable(CELL, V2).await;
    scene.until_weights(&DONE).await;

    let before = scene.writes().len();
    scene.ask(CELL, Verb::Undo, &[]).await.unwrap();
    let cell = scene.until_stable(CELL, V1).await;
    scene.until_weights(&BACK).await;
    assert_one_call(&scene, before);
    assert_eq!(blocked(&cell), [V2]);
    assert!(scene.ask(CELL, Verb::Retry, &[]).await.unwrap_err().contains("1.0.0 is stable already"));
    scene.ask(CELL, Verb::Unblock, &[("version", V2)]).await.unwrap();
    scene.until_pause(CELL, V2, 1).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0, 0.0, 20.0]);
    end(scene, load).await;
}

#[tokio::test]
async fn a_drained_group_gets_nothing_until_it_is_undrained() {
    let mut scene = Scene::new(OKRAD, "drain").await;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    scene.drain("web-1-v1", true).await;
    scene.until_weights(&[("web-1-v1", 0), ("web-2-v1", 100)]).await;
    scene.until_stable(CELL, V1).await;
    scene.path.settled(WITHIN).await.unwrap();
    let mark = load.mark(WITHIN).await.unwrap();
    let at_rest = scene.clusters["web-1-v1"].requests();
    load.wait_for(WITHIN, |now| now.sent >= mark.sent + 100).await.unwrap();
    assert_eq!(scene.clusters["web-1-v1"].requests(), at_rest, "no request reaches a drained group");

    // The last one that serves keeps its traffic, and the other one stays drained.
    scene.drain("web-2-v1", true).await;
    scene.until_looks(1).await;
    scene.until_weights(&[("web-1-v1", 0), ("web-2-v1", 100)]).await;
    scene.cluster("web-3-v1", V1).await;
    scene.until_weights(&[("web-1-v1", 0), ("web-2-v1", 0), ("web-3-v1", 100)]).await;
    assert_eq!(scene.clusters["web-1-v1"].requests(), at_rest, "it was never taken back into service");

    scene.drain("web-1-v1", false).await;
    scene.drain("web-2-v1", false).await;
    scene.until_weights(&[("web-1-v1", 34), ("web-2-v1", 33), ("web-3-v1", 33)]).await;
    scene.until_stable(CELL, V1).await;
    end(scene, load).await;
}

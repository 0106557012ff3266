//! Rules that others own or change, end to end: refused by name, adopted when told, held until a person decides.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use okra_api::{
    Cell, Verb,
    cell_status::CellPhase,
    condition::{self, reason},
    names::{ADOPT_RULE_ANNOTATION, CELL_TAG, OWNER_TAG},
};
use okra_testkit::scene::{MID_CANARY, Scene, V1, V2, weights};
use pretty_assertions::assert_eq;
use serde_json::json;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}]";
const SHARES: [u32; 2] = [20, 40];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];
const EDITED: [(&str, i64); 4] = [("web-1-v1", 10), ("web-2-v1", 10), ("web-1-v2", 40), ("web-2-v2", 40)];

async fn mid_canary(name: &str) -> Scene {
    let mut scene = Scene::new(OKRAD, name).await;
    scene.serve(CELL, STEPS).await;
    scene.version(V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&MID_CANARY).await;
    scene
}

async fn allow_adoption(scene: &mut Scene, of: &str, rule: &str) {
    scene.adoptable.push(rule.to_owned());
    scene.merge::<Cell>(CELL, &json!({"metadata": {"annotations": {ADOPT_RULE_ANNOTATION: of}}})).await;
}

/// The rollout goes on to its end, and everything was as allowed.
async fn end(mut scene: Scene) {
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    scene.rest().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

/// The Cell says that it cannot act, in words and in its conditions.
fn assert_refused(cell: &Cell, words: &[&str]) {
    let status = cell.status.as_ref().unwrap();
    let verified = condition::find(&status.conditions, condition::TRAFFIC_VERIFIED).unwrap();
    for words in words {
        assert!(status.message.contains(words), "{words}: {}", status.message);
        assert!(verified.message.contains(words), "{words}: {}", verified.message);
    }
    assert_eq!(verified.status, "False");
    assert!(condition::is_true(&status.conditions, condition::DEGRADED));
}

#[tokio::test]
async fn a_rule_of_nobody_is_refused_by_name_and_adopted_with_all_that_it_has() {
    let mut scene = Scene::new(OKRAD, "adopt").await;
    scene.world.listener = scene.world.https_listener(&scene.world.load_balancer, 443).await.unwrap();
    scene.target_group("web-1-v1", V1).await;
    let rule = scene.rule_with_login("/shop/*", "web-1-v1").await;
    let before = scene.try_rule();
    scene.register("web-1-v1", V1).await;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    let cell = scene.until_phase(CELL, CellPhase::Degraded).await;
    assert_refused(&cell, &[&rule, "priority 10", "has no tag of Okra", ADOPT_RULE_ANNOTATION]);
    scene.until_looks(1).await;
    assert_eq!(scene.try_rule(), before, "nobody touches it");
    assert!(scene.writes().is_empty());

    allow_adoption(&mut scene, "true", &rule).await;
    let cell = scene.until_stable(CELL, V1).await;
    assert_eq!(scene.rule(), rule);
    assert_eq!(scene.weights(), weights(&[("web-1-v1", 100)]), "what it serves is what is stable");
    let tags = scene.try_rule().unwrap().tags;
    assert_eq!(tags[CELL_TAG], format!("{}/{CELL}", scene.namespace));
    assert_eq!(tags[OWNER_TAG], scene.namespace);
    assert!(cell.status.unwrap().history.iter().all(|rollout| rollout.version == V1));
    scene.cluster("web-1-v2", V2).await;
    scene.until_pause(CELL, V2, 1).await;
    scene.until_weights(&[("web-1-v1", 80), ("web-1-v2", 20)]).await;
    let (actions, sticky) = scene.rule_actions(&rule).await;
    assert_eq!(actions, ["authenticate-oidc", "forward"]);
    assert_eq!(sticky, Some(300));
    end(scene).await;
}

#[tokio::test]
async fn another_installations_rule_is_taken_over_only_by_its_id() {
    let mut scene = Scene::new(OKRAD, "theirs").await;
    scene.target_group("web-1-v1", V1).await;
    let tags = [(OWNER_TAG, "blue"), (CELL_TAG, "shop/web")];
    let groups = scene.by_arn(&[("web-1-v1", 100)]);
    let rule = scene.front.foreign_create_rule(&scene.world.listener, 10, "/", &groups, &tags).unwrap();
    scene.register("web-1-v1", V1).await;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 1, STEPS)).await.unwrap();
    let cell = scene.until_phase(CELL, CellPhase::Degraded).await;
    assert_refused(&cell, &[&rule, "okra.mumo.co/owner=blue", "priority 10"]);

    scene.merge::<Cell>(CELL, &json!({"metadata": {"annotations": {ADOPT_RULE_ANNOTATION: "true"}}})).await;
    scene.until_looks(1).await;
    scene.until_phase(CELL, CellPhase::Degraded).await;
    assert!(scene.writes().is_empty(), "\"true\" is for rules without an owner");
    allow_adoption(&mut scene, "blue", &rule).await;
    scene.until_stable(CELL, V1).await;
    assert_eq!((scene.rule(), scene.try_rule().unwrap().tags[OWNER_TAG].clone()), (rule, scene.namespace.clone()));
    scene.cluster("web-1-v2", V2).await;
    scene.until_pause(CELL, V2, 1).await;
    end(scene).await;
}

#[tokio::test]
async fn a_foreign_edit_in_mid_rollout_is_held_and_restored() {
    let mut scene = mid_canary("restore").await;
    edit(&mut scene).await;
    scene.ask(CELL, Verb::Resume, &[("restore", "true")]).await.unwrap();
    scene.until_weights(&MID_CANARY).await;
    scene.until_pause(CELL, V2, 1).await;
    end(scene).await;
}

#[tokio::test]
async fn a_foreign_edit_in_mid_rollout_is_held_and_accepted() {
    let mut scene = mid_canary("accept").await;
    edit(&mut scene).await;
    let before = scene.writes().len();
    scene.ask(CELL, Verb::Resume, &[("acceptWeights", "true")]).await.unwrap();
    scene.until_pause(CELL, V2, 1).await;
    scene.until_looks(1).await;
    assert_eq!(scene.weights(), weights(&EDITED));
    assert_eq!(scene.writes().len(), before, "they count until the next weight step");
    scene.until_pause(CELL, V2, 1).await;
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 80.0, 40.0, 100.0]);
    scene.rest().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn a_foreign_edit_does_not_keep_an_abort_from_going_back() {
    let mut scene = mid_canary("abortedit").await;
    edit(&mut scene).await;
    scene.ask(CELL, Verb::Abort, &[]).await.unwrap();
    scene.until_weights(&[("web-1-v1", 50), ("web-2-v1", 50), ("web-1-v2", 0), ("web-2-v2", 0)]).await;
    scene.until_phase(CELL, CellPhase::Failed).await;
    scene.rest().await;
    scene.judge(CELL, &SHARES);
    assert_eq!(scene.stop_okrad().await, 0);
}

/// Somebody else turns the weights around; okrad sees it, says it and does nothing.
async fn edit(scene: &mut Scene) {
    let before = scene.writes().len();
    scene.front.foreign_modify_rule(&scene.rule(), &scene.by_arn(&EDITED)).unwrap();
    let cell = scene.until_paused(CELL, reason::FOREIGN_EDIT).await;
    let message = cell.status.unwrap().message;
    assert!(message.contains("somebody else changed the rule (weight of web-1-v1 is 10, should be 40"), "{message}");
    let refusal = scene.ask(CELL, Verb::Resume, &[]).await.unwrap_err();
    assert!(refusal.contains("--accept-weights") && refusal.contains("--restore"), "{refusal}");
    assert_eq!(scene.weights(), weights(&EDITED));
    assert_eq!(scene.writes().len(), before, "never reverted by itself");
}

#[tokio::test]
async fn a_rule_that_a_third_party_deletes_is_made_again_with_the_weights_that_it_had() {
    let scene = mid_canary("deleted").await;
    let rule = scene.rule();
    scene.front.foreign_delete_rule(&rule).unwrap();
    scene.until_weights(&MID_CANARY).await;
    assert_ne!(scene.rule(), rule);
    scene.until_pause(CELL, V2, 1).await;
    end(scene).await;
}

#[tokio::test]
async fn a_rule_that_lost_its_tags_is_left_alone_until_it_may_be_adopted() {
    let mut scene = mid_canary("untagged").await;
    let (rule, before) = (scene.rule(), scene.writes().len());
    // A running okrad believes the tags that it has read for a while; one that starts reads them.
    assert_eq!(scene.stop_okrad().await, 0);
    scene.front.foreign_untag(&rule, &[OWNER_TAG, CELL_TAG]).unwrap();
    scene.start_okrad();
    let cell = scene.until_phase(CELL, CellPhase::Degraded).await;
    assert_refused(&cell, &[&rule, "has no tag of Okra", ADOPT_RULE_ANNOTATION]);
    assert_eq!((scene.weights(), scene.writes().len()), (weights(&MID_CANARY), before));
    allow_adoption(&mut scene, "true", &rule).await;
    let is_ours = || scene.try_rule().is_some_and(|rule| rule.tags.get(OWNER_TAG) == Some(&scene.namespace));
    scene.until_front("it is adopted", is_ours).await;
    scene.until_pause(CELL, V2, 1).await;
    end(scene).await;
}

//! The product's main job, end to end: okrad as a process on a real API server, AWS's rules, real requests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use okra_testkit::scene::{Scene, weights};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
/// The seed README's steps, without the analysis.
const STEPS: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}]";

#[tokio::test]
async fn two_and_two_clusters_are_swapped_under_load_without_a_failed_request() {
    let mut scene = Scene::new(OKRAD, "swap").await;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest("cell1", 2, STEPS)).await.unwrap();
    scene.until_says("cell1", "waits for 2 target group(s)").await;
    scene.cluster("web-1-v1", "1.0.0").await;
    scene.cluster("web-2-v1", "1.0.0").await;
    scene.until_stable("cell1", "1.0.0").await;
    assert_eq!(scene.weights(), weights(&[("web-1-v1", 50), ("web-2-v1", 50)]));

    scene.path.settled(okra_testkit::scene::WITHIN).await.unwrap();
    let load = scene.load();
    scene.cluster("web-1-v2", "2.0.0").await;
    scene.cluster("web-2-v2", "2.0.0").await;
    let cell = scene.until_stable("cell1", "2.0.0").await;
    scene.path.settled(okra_testkit::scene::WITHIN).await.unwrap();
    let before = load.mark(okra_testkit::scene::WITHIN).await.unwrap();
    let after = load.wait_for(okra_testkit::scene::WITHIN, |now| now.sent >= before.sent + 100).await.unwrap();
    assert_eq!(after.since(&before).answers("1.0.0"), 0, "all traffic is at the new version");
    scene.rest().await;
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    assert!(summary.sent > 300, "{}", summary.sent);

    assert_eq!(scene.shares(&["web-1-v2", "web-2-v2"]), [0.0, 20.0, 40.0, 100.0]);
    let status = cell.status.unwrap();
    assert_eq!(status.history.len(), 2);
    assert_eq!(status.rollout.unwrap().previous_version.as_deref(), Some("1.0.0"));
    scene.judge("cell1", &[20, 40]);
    assert_eq!(scene.stop_okrad().await, 0);
}

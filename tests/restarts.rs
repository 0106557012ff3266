//! The API server and etcd stop and start again, end to end: the weights stay meanwhile, the rollout goes on and ends,
//! and no request is lost.
#![allow(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::time::Duration;

use okra_api::{Verb, cell_status::RolloutOutcome};
use okra_testkit::{
    ApiServer,
    load::Load,
    scene::{Scene, V1, V2, WITHIN},
};
use pretty_assertions::assert_eq;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const OKRAD_USER: &str = "okrad";
const STEPS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}, {pause: {}}, {setWeight: 60}, {pause: {}}, \
                     {setWeight: 80}, {pause: {duration: 1s}}]";
const SHARES: [u32; 4] = [20, 40, 60, 80];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];

/// What is away for a while.
#[derive(Clone, Copy, Debug)]
enum Away {
    Api,
    Etcd,
    Both,
}

impl Away {
    async fn stop(self, server: &ApiServer) {
        if matches!(self, Self::Api | Self::Both) {
            server.stop_api().await;
        }
        if matches!(self, Self::Etcd | Self::Both) {
            server.stop_etcd().await;
        }
    }

    async fn start(self, server: &ApiServer) {
        if matches!(self, Self::Etcd | Self::Both) {
            server.start_etcd().await;
        }
        if matches!(self, Self::Api | Self::Both) {
            server.start_api().await;
        }
    }
}

/// It is away for longer than okrad's lease lasts: okrad ends, is started again as a kubelet does, waits, and leads.
async fn outlasts_the_lease(scene: &mut Scene, away: Away) {
    let (weights, writes) = (scene.weights(), scene.writes().len());
    scene.front.note(format!("{away:?} goes away"));
    away.stop(&scene.server).await;
    assert_eq!(scene.okrad_ended_as(OKRAD_USER).await, 1, "{away:?}");
    scene.start_okrad();
    scene.until_logged(OKRAD_USER, "a watch was interrupted and tries again").await;
    scene.assert_okrad_runs();
    assert_eq!((scene.weights(), scene.writes().len()), (weights, writes), "{away:?}");
    away.start(&scene.server).await;
    scene.front.note(format!("{away:?} is back"));
    scene.until_leads(OKRAD_USER).await;
}

#[tokio::test]
async fn a_rollout_outlives_its_api_server_and_etcd() {
    let mut scene = Scene::with_own_server(OKRAD, "restarts").await;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    scene.version(V2).await;
    for (step, away) in [(1, Away::Api), (3, Away::Etcd), (5, Away::Both)] {
        scene.until_pause(CELL, V2, step).await;
        outlasts_the_lease(&mut scene, away).await;
        scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    }
    end(scene, load).await;
}

/// The rollout ends as if nothing had been.
async fn end(mut scene: Scene, load: Load) {
    scene.until_outcome(CELL, V2, RolloutOutcome::Succeeded).await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    scene.rest().await;
    scene.end(load, CELL, &SHARES).await;
}

/// What happens to a rollout that is not held: okrad is in the middle of anything when both go away.
#[tokio::test]
async fn okrad_begins_before_the_api_server_and_a_running_rollout_outlives_both() {
    const RUNNING: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}, {pause: {duration: 1s}}, \
                           {setWeight: 60}, {setWeight: 80}]";
    let mut scene = Scene::with_own_server(OKRAD, "before").await;
    Away::Both.stop(&scene.server).await;
    scene.start_okrad();
    scene.until_logged(OKRAD_USER, "Serves health").await;
    Away::Both.start(&scene.server).await;
    scene.until_leads(OKRAD_USER).await;
    scene.apply(&scene.cell_manifest(CELL, 2, RUNNING)).await.unwrap();
    scene.version(V1).await;
    scene.until_stable(CELL, V1).await;
    scene.path.settled(WITHIN).await.unwrap();
    let load = scene.load();
    let before = scene.writes().len();
    scene.version(V2).await;
    scene.until_writes(before + 2).await;
    Away::Both.stop(&scene.server).await;
    Away::Both.start(&scene.server).await;
    revived_until_stable(&mut scene).await;
    end(scene, load).await;
}

/// Starts okrad again whenever it has ended, as a kubelet does.
async fn revived_until_stable(scene: &mut Scene) {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        let done = tokio::time::timeout(Duration::from_millis(200), scene.until_stable(CELL, V2)).await;
        if done.is_ok() {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}\n{}", scene.told(60), scene.log());
        scene.revive_okrads();
    }
}

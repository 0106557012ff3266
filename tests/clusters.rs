//! Clusters as they are, end to end: they can do only so much at once, warm up, follow their load up and down, and
//! have connections that last.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use okra_api::{Cell, Verb, cell_status::RetiredTargetGroup, condition};
use okra_judge::{CellRules, Floor, Rules};
use okra_testkit::{
    cluster::{Autoscaler, Capacity, Scaling, TestCluster},
    load::{Load, LoadOptions, Pinned},
    scene::{Scene, V1, V2, WITHIN},
};
use pretty_assertions::assert_eq;
use serde_json::json;

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const HOST: &str = "example.com";
const OLD: [&str; 2] = ["web-1-v1", "web-2-v1"];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];

/// So many requests are under way at any time, each for a tenth of a second: with all of them a cluster of a pair has
/// eight, for which it wants its four targets and which one target cannot do.
const CLIENTS: u32 = 16;
const TARGETS: u32 = 4;
const LATENCY: Duration = Duration::from_millis(100);
const WARM: Capacity = Capacity { per_target: 5, warm_up: Duration::ZERO, cold_percent: 100 };
/// A quarter of it at the first request: five at once.
const COLD: Capacity = Capacity { warm_up: Duration::from_secs(20), cold_percent: 25, ..WARM };
const SCALING: Scaling = Scaling {
    min: 1,
    per_target: 2,
    every: Duration::from_millis(200),
    stabilization: Duration::from_secs(2),
    start: Duration::from_secs(1),
};

/// Clusters that follow their load, by the name of their target group.
type Scalers = BTreeMap<&'static str, Autoscaler>;

/// Two clusters of a version, of which `serving` targets are up at first.
async fn pair(
    scene: &mut Scene,
    (names, version): ([&'static str; 2], &str),
    capacity: Capacity,
    (serving, scaling): (u32, Scaling),
) -> Scalers {
    let mut scalers = Scalers::new();
    for name in names {
        let cluster = TestCluster::with_targets(name, version, TARGETS).await.unwrap();
        cluster.set_latency(LATENCY);
        cluster.set_capacity(capacity);
        let up = &cluster.targets()[..serving as usize];
        let arn = scene.world.target_group(name, up).await.unwrap();
        scalers.insert(name, Autoscaler::start(&cluster, scene.front.client("autoscaler"), &arn, serving, scaling));
        scene.clusters.insert(name.to_owned(), cluster);
        scene.arns.insert(name.to_owned(), arn);
        scene.register(name, version).await;
    }
    scalers
}

/// Version 1 serves from two clusters that follow their load, and carries all of it.
async fn busy(name: &str, steps: &str, floor: &str) -> (Scene, Load, Scalers) {
    let mut scene = Scene::new(OKRAD, name).await;
    scene.start_okrad();
    scene.apply(&scene.cell_manifest(CELL, 2, steps)).await.unwrap();
    scene.patch_cell(CELL, json!({"minHealthyTargets": floor})).await;
    let full = Scaling { min: TARGETS, ..SCALING };
    let scalers = pair(&mut scene, (OLD, V1), WARM, (TARGETS, full)).await;
    scene.until_stable(CELL, V1).await;
    scene.path.settled(WITHIN).await.unwrap();
    let options = LoadOptions { clients: Some(CLIENTS), host: Some(HOST.to_owned()), ..LoadOptions::default() };
    let load = Load::start(&scene.path.url(), options).unwrap();
    load.wait_for(WITHIN, |now| now.sent >= 10 * u64::from(CLIENTS)).await.unwrap();
    // From here on they follow the load: under all of it they stay as they are.
    for scaler in scalers.values() {
        scaler.set_min(SCALING.min);
    }
    (scene, load, scalers)
}

async fn until_rollback_ready(scene: &Scene, ready: bool, words: &str) -> Cell {
    let holds = |cell: &Cell| {
        let conditions = cell.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        condition::find(conditions, condition::ROLLBACK_READY).is_some_and(|found| {
            found.status == (if ready { "True" } else { "False" }) && found.message.starts_with(words)
        })
    };
    scene.until(CELL, &format!("RollbackReady is {ready}: {words}"), holds).await
}

/// The judge with the floor that the Cell names, and the end of the scene.
async fn end(mut scene: Scene, load: Load, shares: &[u32], floor: Floor) {
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    assert!(summary.sent > 500, "{}", summary.sent);
    let refused: u64 = scene.clusters.values().map(TestCluster::refused).sum();
    assert_eq!(refused, 0);
    scene.judge(CELL, shares);
    let version = |name: &String| if OLD.contains(&name.as_str()) { V1 } else { V2 };
    let versions = scene.arns.iter().map(|(name, arn)| (arn.as_str(), version(name)));
    let rules = CellRules { floor, ..CellRules::new(shares.iter().copied(), versions) };
    let rules = Rules::alb(&scene.namespace, &scene.namespace).cell(&format!("{}/{CELL}", scene.namespace), rules);
    assert_eq!(okra_judge::judge(&scene.front.record(), &rules), []);
    assert_eq!(scene.stop_okrad().await, 0);
}

#[tokio::test]
async fn steps_at_the_pace_of_a_warm_up_lose_nothing_and_the_shrunk_side_is_told() {
    let steps = "[{setWeight: 10}, {pause: {duration: 7s}}, {setWeight: 40}, {pause: {duration: 7s}}, \
                 {setWeight: 70}, {pause: {duration: 7s}}]";
    let (mut scene, load, old) = busy("warm", steps, "80%").await;
    let full = Scaling { min: TARGETS, ..SCALING };
    let _new = pair(&mut scene, (NEW, V2), COLD, (TARGETS, full)).await;
    scene.until_step(CELL, 1).await;
    until_rollback_ready(&scene, true, "1.0.0: 8 of 8 healthy").await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 10.0, 40.0, 70.0, 100.0]);

    // The old side has followed its load down: going back now would be too much for it.
    for scaler in old.values() {
        scaler.until(1, WITHIN).await.unwrap();
    }
    until_rollback_ready(&scene, false, "1.0.0: 2 of 8 healthy").await;
    for scaler in old.values() {
        scaler.set_min(TARGETS);
    }
    until_rollback_ready(&scene, true, "1.0.0: 8 of 8 healthy").await;

    // And then it is true.
    scene.ask(CELL, Verb::Undo, &[]).await.unwrap();
    scene.until_stable(CELL, V1).await;
    scene.path.settled(WITHIN).await.unwrap();
    load.mark(WITHIN).await.unwrap();
    end(scene, load, &[10, 40, 70], Floor::Percent { percent: 80, of: TARGETS }).await;
}

#[tokio::test]
async fn a_floor_waits_for_targets_that_are_still_starting() {
    let (mut scene, load, old) = busy("starting", "[{setWeight: 20}, {setWeight: 50}]", "80%").await;
    let full = Scaling { min: TARGETS, ..SCALING };
    let new = pair(&mut scene, (NEW, V2), WARM, (1, full)).await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 50.0, 100.0]);
    assert_eq!(new.values().map(Autoscaler::serving).collect::<Vec<_>>(), [TARGETS; 2]);
    for scaler in old.values() {
        scaler.until(1, WITHIN).await.unwrap();
    }
    until_rollback_ready(&scene, false, "1.0.0: 2 of 8 healthy").await;
    end(scene, load, &[20, 50], Floor::Percent { percent: 80, of: TARGETS }).await;
}

/// That nothing fails above is okra's doing: the same clusters break when they are asked for all of it at once.
#[tokio::test]
async fn without_steps_the_same_clusters_are_overrun() {
    let (mut scene, load, _old) = busy("overrun", "[]", "1").await;
    let full = Scaling { min: TARGETS, ..SCALING };
    let _new = pair(&mut scene, (NEW, V2), COLD, (TARGETS, full)).await;
    scene.until_stable(CELL, V2).await;
    load.wait_for(WITHIN, |now| now.failed > 0).await.unwrap();
    assert!(scene.clusters["web-1-v2"].refused() > 0);
    scene.judge(CELL, &[]);
    assert_eq!(scene.stop_okrad().await, 0);
}

/// Connections that are opened once, and stay open over everything that follows.
async fn open(scene: &Scene) -> (Vec<Pinned>, Vec<Pinned>) {
    let (mut kept_alive, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        kept_alive.push(Pinned::keep_alive(scene.path.address(), HOST).await.unwrap());
        sockets.push(Pinned::web_socket(scene.path.address(), HOST).await.unwrap());
    }
    for pinned in kept_alive.iter().chain(&sockets) {
        assert_eq!(pinned.more(WITHIN, 3).await.unwrap().versions, [V1]);
    }
    (kept_alive, sockets)
}

/// Waits until both old groups are detached and the Cell calls them safe to destroy.
async fn until_safe_to_destroy(scene: &Scene) -> Vec<RetiredTargetGroup> {
    let detached = |cell: &Cell| {
        let retired = cell.status.as_ref().map(|status| status.retired_target_groups.as_slice()).unwrap_or_default();
        retired.len() == OLD.len() && retired.iter().all(|group| group.detached_at.is_some())
    };
    let cell = scene.until(CELL, "the old groups are detached", detached).await;
    let retired = cell.status.unwrap().retired_target_groups;
    let safe = retired.iter().map(|group| group.safe_to_destroy_at).max().unwrap();
    let wait = safe.duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
    retired
}

#[tokio::test]
async fn connections_that_last_are_not_cut_until_the_old_clusters_are_safe_to_destroy() {
    let mut scene = Scene::new(OKRAD, "lasting").await;
    scene.serve(CELL, "[{setWeight: 20}, {pause: {duration: 2s}}, {setWeight: 50}]").await;
    scene.patch_cell(CELL, json!({"retireAfter": "1s", "drainDuration": "6s"})).await;
    let load = scene.load();
    let (kept_alive, sockets) = open(&scene).await;
    let on_old = |scene: &Scene| OLD.iter().map(|name| scene.clusters[*name].sockets()).collect::<Vec<_>>();
    assert_eq!(on_old(&scene).iter().sum::<u32>(), 4);

    scene.version(V2).await;
    scene.until_stable(CELL, V2).await;
    scene.path.settled(WITHIN).await.unwrap();
    // A request goes where the rule says, whatever its connection carried before.
    for pinned in &kept_alive {
        pinned.more(WITHIN, 2).await.unwrap();
        let lasted = pinned.more(WITHIN, 20).await.unwrap();
        assert_eq!((lasted.versions.first().unwrap().as_str(), lasted.versions.last().unwrap().as_str()), (V1, V2));
    }
    let late = Pinned::web_socket(scene.path.address(), HOST).await.unwrap();
    assert_eq!(late.more(WITHIN, 3).await.unwrap().versions, [V2]);

    // A WebSocket stays where it is: with no weight, detached, and until its cluster may go.
    let retired = until_safe_to_destroy(&scene).await;
    for group in &retired {
        assert!(group.detached_at.unwrap() < group.safe_to_destroy_at, "{group:?}");
    }
    for name in OLD {
        scene.world.deregister(&scene.arns[name], &[scene.clusters[name].address()]).await.unwrap();
    }
    for socket in &sockets {
        assert_eq!(socket.more(WITHIN, 5).await.unwrap().versions, [V1]);
    }
    assert_eq!(on_old(&scene).iter().sum::<u32>(), 4, "none was opened anew");

    // Its people close it; then the old clusters go, and nobody feels it.
    for socket in sockets {
        assert_eq!(socket.stop().await.failure, None);
    }
    for name in OLD {
        scene.clusters.get_mut(name).unwrap().stop();
    }
    for pinned in kept_alive.into_iter().chain([late]) {
        pinned.more(WITHIN, 20).await.unwrap();
        assert_eq!(pinned.stop().await.failure, None);
    }
    scene.end(load, CELL, &[20, 50]).await;
}

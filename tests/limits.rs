//! What comes from outside is too much, too long, nonsense or forged, end to end: okrad's memory stays bounded, the
//! others go on, and nothing unsafe arrives at the load balancer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use kube::api::PostParams;
use okra_api::{
    AWSApplicationLoadBalancerConfig, AWSTargetGroup, AWSTargetGroupSpec, Cell, CellStatus, Verb,
    cell_status::CellPhase, condition, names::VERSION_LABEL,
};
use okra_judge::{CellRules, Rules, record::Event};
use okra_testkit::{
    load::Load,
    scene::{MID_CANARY, Scene, V1, V2, V3, weights},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

const OKRAD: &str = env!("CARGO_BIN_EXE_okrad");
const CELL: &str = "web";
const STEPS: &str = "[{setWeight: 20}, {pause: {duration: 1s}}, {setWeight: 40}]";
const PAUSING: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 40}]";
const SHARES: [u32; 2] = [20, 40];
const NEW: [&str; 2] = ["web-1-v2", "web-2-v2"];

/// So many are written at once: enough to keep the API server busy.
const AT_ONCE: usize = 16;
/// So long that a busy machine does not lose the lease.
const LEASE: &str = "15s";
/// What okrad may have resident in these tests, in MiB. An unoptimized build; its own aim with 10,000 Cells is 200.
const MAX_RSS: u64 = 400;

/// What okrad has resident, and the most that it had, in MiB.
fn resident(scene: &Scene) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.okrad_process().pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn assert_memory(scene: &Scene, what: &str) {
    let (now, most) = resident(scene);
    assert!(most < MAX_RSS, "{what}: {now} MiB resident, {most} at most");
}

fn group(scene: &Scene, name: &str, role: &str, version: &str) -> AWSTargetGroup {
    let arn = format!("{}{name}", scene.world.load_balancer.replace(":loadbalancer/app/okra/", ":targetgroup/"));
    let mut object = AWSTargetGroup::new(name, AWSTargetGroupSpec { arn });
    let labels = [("role".to_owned(), role.to_owned()), (VERSION_LABEL.to_owned(), version.to_owned())];
    object.metadata.labels = Some(labels.into());
    object
}

async fn create_groups(scene: &Scene, groups: impl Iterator<Item = AWSTargetGroup>) {
    let api = scene.api::<AWSTargetGroup>();
    let create = async |object: AWSTargetGroup| _ = api.create(&PostParams::default(), &object).await.unwrap();
    stream::iter(groups).map(create).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Waits until the Cell says of what it leaves out. A status over the bounds of its schema would be refused for ever.
async fn until_left_out(scene: &Scene, cell: &str, words: &str) -> CellStatus {
    let says = |cell: &Cell| {
        let conditions = cell.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        condition::find(conditions, condition::VALID).is_some_and(|valid| valid.message.contains(words))
    };
    scene.until(cell, words, says).await.status.unwrap()
}

/// A Cell of another selector and priority, with one replica.
async fn other_cell(scene: &Scene, name: &str, priority: u32, role: &str) {
    let manifest = scene.cell_manifest(name, 1, STEPS);
    let manifest = manifest.replace("priority: 10", &format!("priority: {priority}"));
    scene.apply(&manifest.replace("role: web", &format!("role: {role}"))).await.unwrap();
}

/// So many groups say enough of what grows with them and what does not; the bench has ten thousand.
const GROUPS: usize = 2_000;
/// How many of the bad ones a status names.
const NAMED: usize = 20;

#[tokio::test]
async fn thousands_of_target_groups_in_the_namespace_hinder_nobody() {
    let mut scene = Scene::new(OKRAD, "flood").await;
    scene.lease = LEASE;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    // Nobody selects half of them; another Cell selects as many, half of which say no version.
    let name = |number: usize| format!("a-very-long-name-of-a-target-group-that-somebody-made-{number:05}");
    let role = |number: usize| if number.is_multiple_of(2) { "nobody" } else { "greedy" };
    let version = |number: usize| if number % 4 == 1 { "latest" } else { V1 };
    create_groups(&scene, (0..GROUPS).map(|number| group(&scene, &name(number), role(number), version(number)))).await;
    other_cell(&scene, "greedy", 11, "greedy").await;
    let status = until_left_out(&scene, "greedy", &format!("; and {} more", GROUPS / 4 - NAMED)).await;
    assert_eq!(status.target_groups.len(), 128);
    let degraded = |cell: &Cell| cell.status.as_ref().is_some_and(|status| status.phase == Some(CellPhase::Degraded));
    scene.until("greedy", "is degraded", degraded).await;

    scene.version(V2).await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    assert_eq!(scene.front.rules(&scene.world.listener).len(), 2, "the greedy Cell's rule was never made");
    assert_memory(&scene, "thousands of target groups");
    scene.end(load, CELL, &SHARES).await;
}

/// Labels and annotations are what an object can be made huge with: 1.4 MB of the 1.5 MiB that etcd takes.
fn huge_labels() -> BTreeMap<String, String> {
    let value = "x".repeat(63);
    (0..11_000).map(|number| (format!("example.com/{}-{number:05}", "k".repeat(50)), value.clone())).collect()
}

/// Objects of that size; together they are as large as three thousand usual ones.
const HUGE: usize = 8;

#[tokio::test]
async fn huge_objects_hinder_nobody() {
    let mut scene = Scene::new(OKRAD, "huge").await;
    scene.lease = LEASE;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    let text = "é".repeat(128 << 10);
    let annotated = scene.api::<Cell>();
    let annotate =
        |text: &str| kube::api::Patch::Merge(json!({"metadata": {"annotations": {"example.com/text": text}}}));
    let refused =
        annotated.patch(CELL, &kube::api::PatchParams::default(), &annotate(&text.repeat(6))).await.unwrap_err();
    assert!(refused.to_string().contains("annotations"), "the API server takes 256 KiB: {refused}");
    scene.merge::<Cell>(CELL, &json!({"metadata": {"annotations": {"example.com/text": &text[..250 << 10]}}})).await;
    for number in 0..HUGE {
        let mut huge = group(&scene, &format!("huge-{number}"), "web", "latest");
        huge.metadata.labels.as_mut().unwrap().extend(huge_labels());
        scene.api::<AWSTargetGroup>().create(&PostParams::default(), &huge).await.unwrap();
    }
    until_left_out(&scene, CELL, &format!("huge-{}: has a bad version", HUGE - 1)).await;
    scene.version(V2).await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    assert_memory(&scene, "objects of 1.4 MB");
    scene.end(load, CELL, &SHARES).await;
}

#[tokio::test]
async fn hostile_labels_and_annotations_hinder_nobody() {
    let mut scene = Scene::new(OKRAD, "hostile").await;
    scene.serve(CELL, STEPS).await;
    let load = scene.load();
    let longest = format!("1.0.0-{}", "9".repeat(57));
    let versions = [
        "",
        "v",
        "vv1",
        "1.2.3.4",
        "01.2.3",
        "1..0",
        "latest",
        "1e9.0.0",
        "99999999999999999999.0.0",
        "18446744073709551616",
        "0x10",
        "1_0",
        &longest,
    ];
    for (number, version) in versions.iter().enumerate() {
        let mut hostile = group(&scene, &format!("hostile-{number}"), "web", version);
        let annotations = [
            ("okra.mumo.co/drain", "\u{202e}true\u{0}".replace('\u{0}', "")),
            ("okra.mumo.co/request", "\u{1F4A5}".repeat(1000)),
            ("okra.mumo.co/adopt-rule", "../../*".to_owned()),
        ];
        hostile.metadata.annotations = Some(annotations.map(|(key, value)| (key.to_owned(), value)).into());
        scene.api::<AWSTargetGroup>().create(&PostParams::default(), &hostile).await.unwrap();
    }
    until_left_out(&scene, CELL, "hostile-9: ").await;
    // Requests that nobody can have made by okractl.
    for request in [
        "[".repeat(100_000),
        json!({"id": "x".repeat(100_000), "verb": "promote", "rolloutID": null, "user": "\u{202e}", "args": {}}).to_string(),
        json!({"id": "1", "verb": "promote", "step": 9_000_000_000_u64, "user": "ann", "args": {}}).to_string(),
        json!({"id": "2", "verb": "undo", "rolloutID": "1.0.0-1", "user": "x".repeat(100_000), "args": {"to": "9".repeat(100_000)}}).to_string(),
    ] {
        scene.merge::<Cell>(CELL, &json!({"metadata": {"annotations": {"okra.mumo.co/request": request}}})).await;
        let generation = scene.api::<Cell>().get(CELL).await.unwrap().metadata.resource_version;
        scene
            .until(CELL, "it is answered or named", |cell| {
                let status = cell.status.clone().unwrap_or_default();
                cell.metadata.resource_version != generation
                    || status.message.contains("okra.mumo.co/request")
                    || status.last_request.is_some()
            })
            .await;
    }
    scene.merge::<Cell>(CELL, &json!({"metadata": {"annotations": {"okra.mumo.co/request": null}}})).await;
    scene.version(V2).await;
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    assert_memory(&scene, "hostile labels");
    scene.end(load, CELL, &SHARES).await;
}

/// The bench starts with a thousand and with ten thousand.
const CELLS: usize = 300;

#[tokio::test]
async fn hundreds_of_cells_at_the_start_hinder_nobody() {
    let mut scene = Scene::new(OKRAD, "many").await;
    scene.lease = LEASE;
    scene.serve(CELL, STEPS).await;
    assert_eq!(scene.stop_okrad().await, 0);
    let api = scene.api::<Cell>();
    let any: Value = serde_saphyr::from_str(&scene.cell_manifest("any", 1, STEPS)).unwrap();
    let create = async |number: usize| {
        let mut cell = any.clone();
        cell["metadata"]["name"] = json!(format!("idle-{number}"));
        let alb = &mut cell["spec"]["ingress"]["awsApplicationLoadBalancer"];
        alb["listener"]["rule"]["priority"] = json!(1000 + number);
        alb["targetGroupSelector"]["matchLabels"] = json!({"role": "nobody"});
        api.create(&PostParams::default(), &serde_json::from_value(cell).unwrap()).await.unwrap();
    };
    stream::iter(0..CELLS).map(create).buffer_unordered(AT_ONCE).collect::<()>().await;
    let load = scene.load();
    scene.version(V2).await;
    scene.start_okrad();
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    let last = format!("idle-{}", CELLS - 1);
    for cell in ["idle-0", &last] {
        scene.until_phase(cell, CellPhase::Pending).await;
    }
    assert_memory(&scene, "hundreds of Cells");
    scene.end(load, CELL, &SHARES).await;
}

/// Writes over the Cell's status; the resourceVersion that it has then.
async fn forge(scene: &Scene, change: impl Fn(&mut Value)) -> String {
    // okrad writes at the same time: a conflict is tried again.
    let api = scene.api::<Cell>();
    loop {
        let mut cell = serde_json::to_value(api.get(CELL).await.unwrap()).unwrap();
        change(&mut cell["status"]);
        let forged: Cell = serde_json::from_value(cell).unwrap();
        match api.replace_status(CELL, &PostParams::default(), &forged).await {
            Ok(cell) => return cell.metadata.resource_version.unwrap(),
            Err(kube::Error::Api(error)) if error.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// The end of a scene whose judge does not see the forged state: it is not okra's doing, what came of it would be.
async fn end_without(mut scene: Scene, load: Load, forged: &str) {
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure), (0, None));
    scene.assert_okrad_runs();
    let mut record = scene.front.record();
    let is_forged = |event: &Event| match event {
        Event::Object(seen) => seen.object["metadata"]["resourceVersion"] == forged,
        _ => false,
    };
    let before = record.entries.len();
    record.entries.retain(|entry| !is_forged(&entry.event));
    assert_eq!(record.entries.len(), before - 1, "the forged state was seen");
    let version = |name: &String| if NEW.contains(&name.as_str()) { V2 } else { V1 };
    let versions = scene.arns.iter().map(|(name, arn)| (arn.as_str(), version(name)));
    let rules = Rules::alb(&scene.namespace, &scene.namespace)
        .cell(&format!("{}/{CELL}", scene.namespace), CellRules::new(SHARES, versions));
    assert_eq!(okra_judge::judge(&record, &rules), []);
    assert_eq!(scene.stop_okrad().await, 0);
}

async fn forge_route(scene: &Scene, change: impl Fn(&mut Value)) {
    let api = scene.api::<AWSApplicationLoadBalancerConfig>();
    loop {
        let mut route = serde_json::to_value(api.get(CELL).await.unwrap()).unwrap();
        change(&mut route["status"]);
        let forged: AWSApplicationLoadBalancerConfig = serde_json::from_value(route).unwrap();
        match api.replace_status(CELL, &PostParams::default(), &forged).await {
            Ok(_) => return,
            Err(kube::Error::Api(error)) if error.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What somebody else wrote into the Cell's status in mid-canary gives the canary nothing that it has not earned, and
/// is written over; then the rollout goes on as if nothing had been.
async fn forged(name: &str, change: impl Fn(&mut Value)) {
    let (mut scene, load) = Scene::mid_canary(OKRAD, name, CELL, PAUSING).await;
    let before = scene.until_pause(CELL, V2, 1).await.status.unwrap();
    let forged = forge(&scene, change).await;
    scene.until_looks(3).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0], "{}", scene.told(30));
    assert_eq!(scene.weights(), weights(&MID_CANARY));
    let status = scene.until_pause(CELL, V2, 1).await.status.unwrap();
    assert_eq!((&status.rollout, &status.history), (&before.rollout, &before.history));
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0, 40.0, 100.0]);
    assert_memory(&scene, name);
    end_without(scene, load, &forged).await;
}

#[tokio::test]
async fn a_forged_step_gives_the_canary_nothing() {
    forged("forged-step", |status| {
        status["rollout"]["currentStepIndex"] = json!(3);
        status["rollout"]["canaryWeight"] = json!(100);
    })
    .await;
}

#[tokio::test]
async fn a_forged_rollout_gives_the_canary_nothing() {
    forged("forged-rollout", |status| {
        let now = status["rollout"]["startedAt"].clone();
        status["stableVersion"] = json!(V2);
        status["rollout"] = json!({
            "id": "9.9.9-99", "version": V3, "startedAt": now, "stepStartedAt": now, "currentStepIndex": 1,
            "stepsTotal": 1, "canaryWeight": 100, "strategy": "Canary", "steps": [{"setWeight": 100}],
        });
    })
    .await;
}

#[tokio::test]
async fn forged_lists_give_the_canary_nothing() {
    forged("forged-lists", |status| {
        let now = status["rollout"]["startedAt"].clone();
        let name = |number: usize| format!("{number:0>253}");
        status["targetGroups"] =
            (0..128).map(|n| json!({"name": name(n), "version": "9".repeat(128), "weight": i32::MAX})).collect();
        status["blockedVersions"] = (0..256).map(|n| json!(format!("{n:0>128}"))).collect();
        status["retiredTargetGroups"] = (0..64)
            .map(|n| json!({"name": name(n), "zeroSince": now, "detachedAt": now, "safeToDestroyAt": now}))
            .collect();
        status["rollout"]["healthyAtStart"] = (0..64).map(|n| (name(n), json!(u32::MAX))).collect();
    })
    .await;
}

#[tokio::test]
async fn a_forged_status_of_the_route_gives_the_canary_nothing() {
    let (mut scene, load) = Scene::mid_canary(OKRAD, "forged-route", CELL, PAUSING).await;
    scene.until_pause(CELL, V2, 1).await;
    forge_route(&scene, |status| {
        for weight in status["weights"].as_array_mut().unwrap() {
            let canary = weight["name"].as_str().unwrap().ends_with("v2");
            weight["weight"] = json!(if canary { 50 } else { 0 });
        }
        for health in status["health"].as_array_mut().unwrap() {
            health["healthy"] = json!(u32::MAX);
        }
        status["outcome"] = json!("Verified");
    })
    .await;
    scene.until_looks(3).await;
    assert_eq!(scene.shares(&NEW), [0.0, 20.0], "{}", scene.told(30));
    assert_eq!(scene.weights(), weights(&MID_CANARY));
    scene.ask(CELL, Verb::Resume, &[]).await.unwrap();
    scene.until_stable(CELL, V2).await;
    assert_memory(&scene, "a forged route status");
    scene.end(load, CELL, &SHARES).await;
}

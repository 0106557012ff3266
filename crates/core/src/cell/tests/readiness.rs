use std::sync::Arc;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use okra_api::{AWSTargetGroupSet, Application, cell::Readiness, cell_status::CellPhase, condition::reason};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::world::{World, set_weight};
use crate::cell::readiness::{Clusters, lacks};

fn secret(name: &str) -> Arc<Secret> {
    let bytes = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let value = json!({
        "metadata": {
            "name": name, "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"okra.mumo.co/cluster-id": format!("arn:aws:eks:r:1:cluster/{name}")},
        },
        "data": {"name": bytes(name), "server": bytes(&format!("https://{name}.example.com"))},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

/// An Application of ApplicationSet `web` on a cluster, ready but for what `more` says of its status.
fn application(name: &str, destination: Value, more: Value) -> Arc<Application> {
    let mut status = json!({
        "sync": {"status": "Synced"}, "health": {"status": "Healthy"}, "operationState": {"phase": "Succeeded"},
        "reconciledAt": "2026-01-01T00:01:00Z",
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let value = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {
            "name": name, "namespace": "argocd",
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "web", "uid": "u"}],
        },
        "spec": {"destination": destination}, "status": status,
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn group(cluster: &str) -> ObjectMeta {
    serde_json::from_value(json!({
        "name": format!("web-{cluster}"),
        "labels": {"okra.mumo.co/target-group-binding-cluster": cluster},
        "annotations": {"okra.mumo.co/cluster-id": format!("arn:aws:eks:r:1:cluster/{cluster}")},
    }))
    .unwrap()
}

fn readiness(value: Value) -> Readiness {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_cluster_is_ready_when_all_applications_are_and_there_is_one() {
    let here = json!({"server": "https://cdk1.example.com:443/"});
    let set = readiness(json!({"applicationSets": ["web"]}));
    let said = |readiness: &Readiness, applications: Vec<Arc<Application>>| {
        let clusters = Clusters { secrets: vec![secret("cdk1"), secret("cdk2")], applications, ..Clusters::default() };
        lacks(readiness, &group("cdk1"), &clusters).unwrap_or_default()
    };
    let of = |more: Value| vec![application("web-cdk1", here.clone(), more)];
    assert_eq!(said(&set, of(json!({}))), "");
    assert_eq!(said(&set, vec![]), "cluster cdk1: ApplicationSet web has no Application there yet");
    let elsewhere = application("web-cdk2", json!({"name": "cdk2"}), json!({}));
    assert_eq!(said(&set, vec![elsewhere.clone()]), "cluster cdk1: ApplicationSet web has no Application there yet");
    for (more, words) in [
        (json!({"sync": {"status": "OutOfSync"}}), "Application web-cdk1 is OutOfSync"),
        (json!({"health": {"status": "Progressing"}}), "Application web-cdk1 is Progressing"),
        (json!({"health": {}}), "Application web-cdk1 is Unknown"),
        (json!({"operationState": {"phase": "Running"}}), "Application web-cdk1 has a sync that is Running"),
        (json!({"conditions": [{"type": "SyncError"}]}), "Application web-cdk1 has SyncError"),
        (json!({"reconciledAt": "2025-12-31T23:59:59Z"}), "Application web-cdk1 has not been compared yet"),
        (json!({"reconciledAt": null}), "Application web-cdk1 has not been compared yet"),
    ] {
        assert_eq!(said(&set, of(more)), format!("cluster cdk1: {words}"));
    }
    // A warning is no error, and what never needed a sync has none; one that is bad elsewhere does not count here.
    let bad_elsewhere = application("web-cdk2", json!({"name": "cdk2"}), json!({"sync": {"status": "OutOfSync"}}));
    let quiet = application(
        "web-cdk1",
        here.clone(),
        json!({"operationState": null, "conditions": [{"type": "OrphanedResourceWarning"}]}),
    );
    assert_eq!(said(&set, vec![quiet, bad_elsewhere]), "");
    // One of two is enough to wait for.
    let second = application("web-b", here.clone(), json!({"health": {"status": "Degraded"}}));
    assert_eq!(said(&set, [of(json!({})), vec![second]].concat()), "cluster cdk1: Application web-b is Degraded");
    let by_name = readiness(json!({"applications": ["web-{{.cluster.name}}"]}));
    assert_eq!(said(&by_name, of(json!({}))), "");
    assert_eq!(said(&by_name, vec![elsewhere]), "cluster cdk1: Application web-cdk1 is not there yet");
}

#[test]
fn a_cluster_that_is_not_known_or_not_reached_is_not_ready() {
    let any = readiness(json!({}));
    let mut clusters = Clusters { secrets: vec![secret("cdk1")], ..Clusters::default() };
    assert_eq!(lacks(&any, &group("cdk1"), &clusters), None);
    assert_eq!(lacks(&any, &group("cdk9"), &clusters).unwrap(), "cluster cdk9 has no Secret");
    let by_hand = ObjectMeta { name: Some("x".to_owned()), ..ObjectMeta::default() };
    assert!(lacks(&any, &by_hand, &clusters).unwrap().contains("set label okra.mumo.co/target-group-binding-cluster"));
    let mut named = group("cdk1");
    named.annotations = None;
    assert_eq!(lacks(&any, &named, &clusters), None, "a label by hand is enough");
    let set: AWSTargetGroupSet = serde_json::from_value(json!({
        "apiVersion": "okra.mumo.co/v1alpha1", "kind": "AWSTargetGroupSet", "metadata": {"name": "s"},
        "spec": {"generators": []}, "status": {"unreachable": [{"name": "cdk1", "message": "no answer"}]},
    }))
    .unwrap();
    clusters.sets = vec![Arc::new(set)];
    assert_eq!(lacks(&any, &group("cdk1"), &clusters).unwrap(), "cluster cdk1: is not reached: no answer");
    clusters.unknown = Some("cluster Secrets cannot be seen".to_owned());
    assert_eq!(lacks(&any, &group("cdk1"), &clusters).unwrap(), "cluster Secrets cannot be seen");
}

fn unready(world: &mut World, names: &[&str]) {
    let why = |name: &&str| ((*name).to_owned(), format!("cluster of {name}: Application web is OutOfSync"));
    world.unready = names.iter().map(why).collect();
}

#[test]
fn a_version_begins_when_enough_of_its_clusters_are_ready() {
    let mut world = World::serving(vec![set_weight(20)], 2, &["v1-a", "v1-b"]);
    unready(&mut world, &["v2-b"]);
    world.add("v2-a", "2.0.0");
    world.add("v2-b", "2.0.0");
    world.run();
    assert_eq!((world.phase(), world.stable()), (CellPhase::Healthy, "1.0.0".to_owned()));
    let expected = "1.0.0 serves; 2.0.0 waits for its clusters: v2-b: cluster of v2-b: Application web is OutOfSync";
    assert_eq!(world.message(), expected);
    unready(&mut world, &[]);
    world.run();
    assert_eq!((world.phase(), world.stable()), (CellPhase::Healthy, "2.0.0".to_owned()));
}

#[test]
fn a_first_deployment_and_a_pin_wait_and_say_for_what() {
    let mut world = World::new(vec![], 1);
    unready(&mut world, &["v1-a"]);
    world.add("v1-a", "1.0.0");
    world.run();
    assert!(world.message().contains("not ready: v1-a: cluster of v1-a"), "{}", world.message());
    unready(&mut world, &[]);
    world.run();
    assert_eq!(world.stable(), "1.0.0");
    unready(&mut world, &["v2-a"]);
    world.add("v2-a", "2.0.0");
    world.edit(|spec| spec.version = Some("2.0.0".to_owned()));
    world.run();
    assert!(world.message().contains("not ready: v2-a"), "{}", world.message());
}

#[test]
fn what_serves_and_every_way_back_wait_for_nobody() {
    let mut world = World::serving(vec![set_weight(20), super::world::pause(None)], 1, &["v1-a"]);
    world.add("v2-a", "2.0.0");
    world.run();
    let split = world.weights();
    // In mid-canary clusters become unready: nothing moves because of that, and the way back does not wait.
    unready(&mut world, &["v1-a", "v2-a"]);
    world.run();
    assert_eq!(world.weights(), split);
    world.ask(okra_api::Verb::Abort, &[]);
    world.run();
    assert_eq!(world.stable(), "1.0.0");
    assert_eq!(world.weights().iter().find(|(_, weight)| *weight > 0).unwrap().0, "v1-a");
    // An older version is never held back.
    let mut world = World::serving(vec![], 1, &["v2-a"]);
    world.edit(|spec| spec.version = Some("2.0.0".to_owned()));
    let mut world = {
        world.relabel("v2-a", "2.0.0");
        world.run();
        world
    };
    unready(&mut world, &["v0-a"]);
    world.add("v0-a", "0.9.0");
    world.edit(|spec| spec.version = Some("0.9.0".to_owned()));
    world.run();
    assert_eq!(world.stable(), "0.9.0");
}

#[test]
fn a_cluster_that_becomes_unready_before_the_first_step_is_waited_for() {
    let mut world = World::serving(vec![set_weight(20)], 1, &["v1-a"]);
    world.health.insert("v2-a".to_owned(), (0, 3));
    world.add("v2-a", "2.0.0");
    world.run();
    world.health.insert("v2-a".to_owned(), (3, 3));
    unready(&mut world, &["v2-a"]);
    world.run();
    assert!(world.message().contains("waits for the clusters of 2.0.0: v2-a"), "{}", world.message());
    let status = world.status();
    let ready = okra_api::condition::find(&status.conditions, "Ready").unwrap();
    assert_eq!(ready.reason, reason::WAITING_FOR_CLUSTERS);
    unready(&mut world, &[]);
    world.run();
    assert_eq!(world.stable(), "2.0.0");
}

#[test]
fn a_placeholder_that_nobody_knows_is_named() {
    let mut world = World::new(vec![], 1);
    world.edit(|spec| spec.readiness = Some(readiness(json!({"applications": ["web", "web-{{.x}}"]}))));
    world.run();
    assert!(world.message().contains("spec.readiness.applications[1]"), "{}", world.message());
    world.edit(|spec| {
        spec.readiness = Some(readiness(json!({})));
        spec.ingress.type_ = okra_api::cell::IngressType::Local;
        spec.ingress.local = Some(okra_api::cell::LocalIngress::default());
    });
    world.run();
    assert!(world.message().contains("spec.readiness: is of AWS load balancers only"), "{}", world.message());
}

//! The router type `Local` through its port.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step of a test fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use okra_balancer::{HealthCheck, LocalOptions, LocalRouter};
use okra_core::route::{Adopt, Change, Intent, IntentGroup, Lane, Observed, ObservedRule, Place, Sticky};
use okra_provider::{CallContext, Leadership, NotLeader, RouterErrorKind, TrafficRouter};
use pretty_assertions::assert_eq;
use support::{Client, Origin, within};
use tokio::net::TcpListener;

struct Leader(bool);

impl Leadership for Leader {
    fn permits(&self, _: Duration) -> Result<(), NotLeader> {
        if self.0 { Ok(()) } else { Err(NotLeader) }
    }
}

fn call(leader: bool) -> CallContext {
    CallContext { lane: Lane::Promote, timeout: support::DEADLINE, leadership: Arc::new(Leader(leader)) }
}

fn router() -> LocalRouter {
    let health = HealthCheck { interval: Duration::from_millis(10), ..HealthCheck::default() };
    LocalRouter::new(LocalOptions { health, ..LocalOptions::default() })
}

/// Loopback addresses that no other test binds: a port that is freed on them stays free.
const OWN: [&str; 2] = ["127.0.0.2:0", "127.0.0.3:0"];

fn url(origin: &Origin) -> String {
    format!("http://{}", origin.address)
}

fn intent(owner: &str, listen: &str, groups: &[String]) -> Intent {
    let group = |id: &String| IntentGroup {
        name: "web".to_owned(),
        id: id.clone(),
        weight: 0,
        min_healthy: None,
        health_path: Some("/healthz".to_owned()),
    };
    Intent {
        owner: owner.to_owned(),
        installation: "one".to_owned(),
        place: Place::Local { listen: listen.to_owned() },
        groups: groups.iter().map(group).collect(),
        stickiness: None,
        known_rule: None,
        adopt: Adopt::No,
    }
}

fn weights(pairs: &[(&String, i32)]) -> BTreeMap<String, i32> {
    pairs.iter().map(|(id, weight)| ((*id).clone(), *weight)).collect()
}

fn create(pairs: &[(&String, i32)]) -> Change {
    Change::Create { weights: weights(pairs), stickiness: None }
}

fn modify(rule: &str, pairs: &[(&String, i32)]) -> Change {
    Change::Modify { rule: rule.to_owned(), weights: Some(weights(pairs)), conditions: None, stickiness: None }
}

async fn refusal(router: &LocalRouter, intent: &Intent, change: &Change) -> (RouterErrorKind, String) {
    let error = router.apply(intent, change, &call(true)).await.unwrap_err();
    (error.kind, error.code)
}

#[tokio::test]
async fn weights_are_written_read_back_and_served() {
    let (v1, v2) = (Origin::start("v1").await, Origin::start("v2").await);
    let (a, b) = (url(&v1), url(&v2));
    let (router, call) = (router(), call(true));
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let intent = intent("ns/web", &listen.to_string(), &[a.clone(), b.clone()]);
    assert_eq!(router.observe(&intent, &call).await, Ok(Observed::default()));

    router.apply(&intent, &create(&[(&a, 100)]), &call).await.unwrap();
    let rule = router.observe(&intent, &call).await.unwrap().ours.unwrap();
    let expected = ObservedRule {
        id: "local/127.0.0.1:0".to_owned(),
        weights: weights(&[(&a, 100)]),
        cell_tag: Some("ns/web".to_owned()),
        owner_tag: Some("one".to_owned()),
        ..ObservedRule::default()
    };
    assert_eq!(rule, expected);

    // Attached at 0 the new group is checked before it gets any traffic.
    assert_eq!(router.health(&intent, &b, &call).await.unwrap().healthy, 0);
    router.apply(&intent, &modify(&rule.id, &[(&a, 100), (&b, 0)]), &call).await.unwrap();
    within("the new group is healthy", async {
        while router.health(&intent, &b, &call).await.unwrap().healthy == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(v2.requests(), 0);

    let address = router.local_addr(listen).await.unwrap();
    let mut client = Client::connect(address).await;
    router.apply(&intent, &modify(&rule.id, &[(&a, 80), (&b, 20)]), &call).await.unwrap();
    assert_eq!(router.observe(&intent, &call).await.unwrap().ours.unwrap().weights, weights(&[(&a, 80), (&b, 20)]));
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!((v1.requests(), v2.requests()), (8, 2));
    assert_eq!(router.stats().await[&address].groups[&b].requests, 2);
    let text = router.render_prometheus().await;
    let line = format!("okra_balancer_target_group_requests_total{{listener=\"{address}\",target_group=\"{b}\"}} 2\n");
    assert!(text.contains(&line), "{text}");
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name() {
    let v1 = Origin::start("v1").await;
    let a = url(&v1);
    let (router, call) = (router(), call(true));
    let intent = intent("ns/web", "127.0.0.1:0", std::slice::from_ref(&a));
    let sticky = Sticky { enabled: true, seconds: 60 };
    let create = Change::Create { weights: weights(&[(&a, 1)]), stickiness: Some(sticky) };
    router.apply(&intent, &create, &call).await.unwrap();
    let id = router.observe(&intent, &call).await.unwrap().ours.unwrap().id;
    router.apply(&intent, &modify(&id, &[(&a, 7)]), &call).await.unwrap();
    let rule = router.observe(&intent, &call).await.unwrap().ours.unwrap();
    assert_eq!((rule.stickiness, rule.weights), (sticky, weights(&[(&a, 7)])));
    let off = Change::Modify { rule: id, weights: None, conditions: None, stickiness: Some(Sticky::default()) };
    router.apply(&intent, &off, &call).await.unwrap();
    let rule = router.observe(&intent, &call).await.unwrap().ours.unwrap();
    assert_eq!((rule.stickiness, rule.weights), (Sticky::default(), weights(&[(&a, 7)])));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let (a, router) = ("http://127.0.0.1:9".to_owned(), router());
    let here = intent("ns/web", "127.0.0.1:0", &[]);
    let refused = |code: &str| (RouterErrorKind::Refused, code.to_owned());
    let gone = (RouterErrorKind::RuleNotFound, "RuleNotFound".to_owned());
    assert_eq!(refusal(&router, &here, &modify("local/127.0.0.1:0", &[(&a, 1)])).await, gone);
    assert_eq!(refusal(&router, &here, &create(&[(&a, 0)])).await, refused("BadTable"));
    assert_eq!(refusal(&router, &here, &create(&[(&a, 1000)])).await, refused("BadTable"));
    assert_eq!(refusal(&router, &here, &create(&[(&a, -1)])).await, refused("BadWeight"));
    for id in ["https://a:1", "http://a:1/path", "a:1", "arn:aws:x"] {
        let bad = create(&[(&id.to_owned(), 1)]);
        assert_eq!(refusal(&router, &here, &bad).await, refused("BadTargetGroup"), "{id}");
    }
    let nowhere = intent("ns/web", "localhost:80", &[]);
    assert_eq!(refusal(&router, &nowhere, &create(&[(&a, 1)])).await, refused("BadListen"));
    let taken = Origin::start("taken").await;
    let taken = intent("ns/web", &taken.address.to_string(), &[]);
    assert_eq!(refusal(&router, &taken, &create(&[(&a, 1)])).await, refused("ListenFailed"));
    assert_eq!(router.observe(&here, &call(true)).await, Ok(Observed::default()), "nothing was made");

    let error = router.apply(&here, &create(&[(&a, 1)]), &call(false)).await.unwrap_err();
    assert_eq!(error.kind, RouterErrorKind::NotLeader);
    assert_eq!(router.observe(&here, &call(true)).await, Ok(Observed::default()));
}

#[tokio::test]
async fn a_listener_belongs_to_one_owner_until_it_is_adopted() {
    let (a, router, call) = ("http://127.0.0.1:9".to_owned(), router(), call(true));
    let (first, second) = (intent("ns/web", "127.0.0.1:0", &[]), intent("ns/api", "127.0.0.1:0", &[]));
    router.apply(&first, &create(&[(&a, 1)]), &call).await.unwrap();
    let refused = refusal(&router, &second, &create(&[(&a, 1)])).await;
    assert_eq!(refused, (RouterErrorKind::Refused, "ListenInUse".to_owned()));
    let seen = router.observe(&second, &call).await.unwrap();
    let other = seen.in_the_way.unwrap();
    assert_eq!((seen.ours, other.cell_tag.as_deref()), (None, Some("ns/web")));
    router.apply(&second, &Change::Adopt { rule: other.id.clone() }, &call).await.unwrap();
    assert_eq!(router.observe(&second, &call).await.unwrap().ours.unwrap().id, other.id);
    assert_eq!(router.observe(&first, &call).await.unwrap().ours, None);
}

#[tokio::test]
async fn a_removed_listener_frees_its_port_and_finishes_its_requests() {
    let v1 = Origin::start("v1").await;
    let a = url(&v1);
    let (router, call) = (router(), call(true));
    let intent = intent("ns/web", OWN[0], &[]);
    router.apply(&intent, &create(&[(&a, 1)]), &call).await.unwrap();
    let address = router.local_addr(OWN[0].parse().unwrap()).await.unwrap();
    let slow = tokio::spawn(async move { Client::connect(address).await.get("/slow").await.body });
    within("the slow request arrives", async {
        while router.stats().await[&address].groups[&a].active_requests == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let id = router.observe(&intent, &call).await.unwrap().ours.unwrap().id;
    router.apply(&intent, &Change::Remove { rule: id }, &call).await.unwrap();
    assert_eq!(router.observe(&intent, &call).await, Ok(Observed::default()));
    drop(TcpListener::bind(address).await.expect("the port is free"));
    v1.release();
    assert_eq!(within("the slow answer", slow).await.unwrap(), "v1");
    router.apply(&intent, &create(&[(&a, 1)]), &call).await.unwrap();
}

#[tokio::test]
async fn a_route_that_names_another_address_leaves_the_old_one() {
    let v1 = Origin::start("v1").await;
    let a = url(&v1);
    let (router, call) = (router(), call(true));
    router.apply(&intent("ns/web", OWN[1], &[]), &create(&[(&a, 1)]), &call).await.unwrap();
    let old = router.local_addr(OWN[1].parse().unwrap()).await.unwrap();
    router.apply(&intent("ns/web", "127.0.0.1:0", &[]), &create(&[(&a, 1)]), &call).await.unwrap();
    drop(TcpListener::bind(old).await.expect("the port is free"));
    let new = router.local_addr("127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert_eq!(Client::connect(new).await.get("/").await.body, "v1");
    assert_eq!(router.stats().await.into_keys().collect::<Vec<_>>(), [new]);
    within("the shutdown", router.shutdown()).await;
    assert!(router.stats().await.is_empty());
}

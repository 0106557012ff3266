//! Which group and target a request goes to.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step of a test fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::{Request, StatusCode};
use okra_balancer::{
    Action, Conditions, DEFAULT_PRIORITY, Group, GroupHealth, HealthCheck, HealthSource, Options, RoutingTable,
    TableError,
};
use pretty_assertions::assert_eq;
use support::{Client, Origin, balancer, forward, given, rule, table, until, within};

async fn counts(client: &mut Client, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let answer = client.get("/").await;
        *counts.entry(format!("{} {}", answer.status.as_u16(), answer.body.trim())).or_default() += 1;
    }
    counts
}

fn expect(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_exact_over_concurrent_clients() {
    let (v1, v2) = (Origin::start("v1").await, Origin::start("v2").await);
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 80, given(&[v1.address])), ("v2", 20, given(&[v2.address]))])).unwrap();
    let clients = (0..4).map(|_| {
        let address = balancer.local_addr();
        tokio::spawn(async move { counts(&mut Client::connect(address).await, 250).await })
    });
    let mut sum: BTreeMap<String, usize> = BTreeMap::new();
    for client in clients {
        for (name, count) in client.await.unwrap() {
            *sum.entry(name).or_default() += count;
        }
    }
    assert_eq!(sum, expect(&[("200 v1", 800), ("200 v2", 200)]));
    let stats = balancer.stats();
    assert_eq!((stats.groups["v1"].requests, stats.groups["v2"].requests), (800, 200));
    assert_eq!((stats.requests, stats.total.requests, stats.total.balancer_errors), (1000, 1000, 0));
}

#[tokio::test]
async fn the_same_rule_applied_again_keeps_the_turn() {
    let (v1, v2) = (Origin::start("v1").await, Origin::start("v2").await);
    let balancer = balancer(Options::default()).await;
    let same = table(&[("v1", 4, given(&[v1.address])), ("v2", 1, given(&[v2.address]))]);
    let mut client = Client::connect(balancer.local_addr()).await;
    let mut seen = String::new();
    for _ in 0..5 {
        balancer.apply(same.clone()).unwrap();
        seen.push_str(&client.get("/").await.body);
    }
    // A poll of the table before each request must not starve the small group.
    assert_eq!(seen.matches("v2").count(), 1, "{seen}");
}

#[tokio::test]
async fn weight_zero_gets_nothing_and_an_empty_group_answers_503() {
    let (v1, v2) = (Origin::start("v1").await, Origin::start("v2").await);
    let balancer = balancer(Options::default()).await;
    let groups = [("v1", 1, given(&[v1.address])), ("empty", 1, given(&[])), ("v2", 0, given(&[v2.address]))];
    balancer.apply(table(&groups)).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    let seen = counts(&mut client, 20).await;
    assert_eq!(seen, expect(&[("200 v1", 10), ("503 the target group has no targets", 10)]));
    assert_eq!(v2.requests(), 0);
    assert_eq!(balancer.stats().groups["empty"].balancer_errors, 10);
}

#[tokio::test]
async fn a_refused_table_changes_nothing() {
    let v1 = Origin::start("v1").await;
    let balancer = balancer(Options::default()).await;
    let good = table(&[("v1", 1, given(&[v1.address]))]);
    balancer.apply(good.clone()).unwrap();
    let error = balancer.apply(table(&[("v1", 0, given(&[v1.address]))])).unwrap_err();
    assert!(matches!(error, TableError::Invalid { .. }), "{error}");
    assert_eq!(*balancer.table(), good);
    assert_eq!(Client::connect(balancer.local_addr()).await.get("/").await.body, "v1");
}

#[tokio::test]
async fn a_removed_group_gets_no_new_request_and_finishes_the_old_one() {
    let (v1, v2) = (Origin::start("v1").await, Origin::start("v2").await);
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 1, given(&[v1.address]))])).unwrap();
    let address = balancer.local_addr();
    let slow = tokio::spawn(async move { Client::connect(address).await.get("/slow").await.body });
    until("the slow request arrives", || v1.requests() == 1).await;
    balancer.apply(table(&[("v2", 1, given(&[v2.address]))])).unwrap();
    let mut client = Client::connect(address).await;
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 v2", 10)]));
    assert_eq!(balancer.stats().groups["v1"].active_requests, 1);
    v1.release();
    assert_eq!(within("the slow answer", slow).await.unwrap(), "v1");
    until("v1 is drained", || balancer.stats().groups["v1"].active_requests == 0).await;
    assert_eq!(balancer.health("v1"), None);
    until("idle connections close", || balancer.stats().groups["v1"].active_connections == 0).await;
}

#[tokio::test]
async fn given_health_takes_targets_out_and_a_group_without_any_fails_open() {
    let (a, b) = (Origin::start("a").await, Origin::start("b").await);
    let balancer = balancer(Options::default()).await;
    let both = table(&[("g", 1, given(&[a.address, b.address]))]);
    balancer.apply(both.clone()).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    assert_eq!(balancer.health("g"), Some(GroupHealth { healthy: 0, total: 2 }));
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 a", 5), ("200 b", 5)]));

    assert!(balancer.set_health("g", &a.address.to_string(), true));
    assert!(!balancer.set_health("g", "127.0.0.1:1", true));
    assert!(!balancer.set_health("other", &a.address.to_string(), true));
    assert_eq!(balancer.health("g"), Some(GroupHealth { healthy: 1, total: 2 }));
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 a", 10)]));

    let mut wider = both;
    wider.groups.get_mut("g").unwrap().targets.push("127.0.0.1:1".into());
    balancer.apply(wider).unwrap();
    assert_eq!(balancer.health("g"), Some(GroupHealth { healthy: 1, total: 3 }), "health survives a change");
    assert_eq!(balancer.target_health("g").unwrap()[&a.address.to_string()], true);

    assert!(balancer.set_health("g", &a.address.to_string(), false));
    assert!(balancer.set_health("g", &b.address.to_string(), true));
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 b", 10)]));
}

#[tokio::test]
async fn an_unhealthy_target_leaves_the_rotation_and_comes_back() {
    let (a, b) = (Origin::start("a").await, Origin::start("b").await);
    let balancer = balancer(Options::default()).await;
    let check = HealthCheck {
        path: "/healthz".to_owned(),
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(10),
        ..HealthCheck::default()
    };
    let group = Group { health: HealthSource::Active(check), ..given(&[a.address, b.address]) };
    balancer.apply(table(&[("g", 1, group)])).unwrap();
    assert_eq!(balancer.health("g"), Some(GroupHealth { healthy: 0, total: 2 }));
    until("both are healthy", || balancer.health("g").unwrap().healthy == 2).await;
    let mut client = Client::connect(balancer.local_addr()).await;
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 a", 5), ("200 b", 5)]));

    b.state.healthy.store(false, SeqCst);
    until("b is out", || balancer.health("g").unwrap().healthy == 1).await;
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 a", 10)]));
    assert!(!balancer.set_health("g", &b.address.to_string(), true), "a checked group is not told");

    b.state.healthy.store(true, SeqCst);
    until("b is back", || balancer.health("g").unwrap().healthy == 2).await;
    assert_eq!(counts(&mut client, 10).await, expect(&[("200 a", 5), ("200 b", 5)]));
}

#[tokio::test]
async fn rules_are_tried_by_priority() {
    let (blue, green) = (Origin::start("blue").await, Origin::start("green").await);
    let balancer = balancer(Options::default()).await;
    let mut client = Client::connect(balancer.local_addr()).await;
    assert_eq!(client.get("/").await.status, StatusCode::NOT_FOUND, "no table yet");
    let hosts = |host: &str| Conditions { hosts: vec![host.to_owned()], ..Conditions::default() };
    let paths = |path: &str| Conditions { path_patterns: vec![path.to_owned()], ..Conditions::default() };
    balancer
        .apply(RoutingTable {
            rules: vec![
                rule("default", DEFAULT_PRIORITY, Conditions::default(), forward(&[("blue", 1)])),
                rule("later", 20, hosts("*.example.com"), forward(&[("green", 1)])),
                rule("first", 10, paths("/gone/*"), Action::Fixed { status: 410, body: "gone".to_owned() }),
            ],
            groups: BTreeMap::from([
                ("blue".to_owned(), given(&[blue.address])),
                ("green".to_owned(), given(&[green.address])),
            ]),
        })
        .unwrap();
    let mut ask = async |host: &str, path: &str| {
        let answer = client.send(Request::builder().uri(path).header("host", host)).await;
        (answer.status.as_u16(), answer.body)
    };
    assert_eq!(ask("example.com", "/").await, (200, "blue".to_owned()));
    assert_eq!(ask("Shop.Example.com:8080", "/").await, (200, "green".to_owned()));
    assert_eq!(ask("shop.example.com", "/gone/x").await, (410, "gone".to_owned()));
    let stats = balancer.stats();
    assert_eq!((stats.fixed_responses, stats.unmatched, stats.total.requests), (1, 1, 2));
}

#[tokio::test]
async fn stickiness_keeps_a_client_while_its_group_has_weight() {
    let (v1, v2) = (Origin::start("v1").await, Origin::start("v2").await);
    let balancer = balancer(Options::default()).await;
    let sticky = |v1_weight: u32, v2_weight: u32| {
        let mut table = table(&[("v1", v1_weight, given(&[v1.address])), ("v2", v2_weight, given(&[v2.address]))]);
        if let Action::Forward { stickiness, .. } = &mut table.rules[0].action {
            *stickiness = Some(Duration::from_secs(90));
        }
        table
    };
    balancer.apply(sticky(50, 50)).unwrap();
    let mut client = Client::connect(balancer.local_addr()).await;
    let first = client.get("/").await;
    let cookie = first.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("OKRATG=") && cookie.contains("Max-Age=90") && cookie.contains("HttpOnly"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let mut ask = async || client.send(Request::builder().uri("/").header("cookie", format!("a=b; {pair}"))).await;
    for _ in 0..10 {
        assert_eq!(ask().await.body, first.body);
    }
    balancer.apply(if first.body == "v1" { sticky(1, 999) } else { sticky(999, 1) }).unwrap();
    assert_eq!(ask().await.body, first.body, "a small weight is enough to stay");
    balancer.apply(if first.body == "v1" { sticky(0, 100) } else { sticky(100, 0) }).unwrap();
    let moved = ask().await;
    assert_ne!(moved.body, first.body, "weight 0 ends it");
    assert!(!moved.headers["set-cookie"].to_str().unwrap().contains(&pair));
}

#[tokio::test]
async fn metrics_are_text_for_prometheus_and_json() {
    let v1 = Origin::start("v1").await;
    let balancer = balancer(Options::default()).await;
    balancer.apply(table(&[("v1", 1, given(&[v1.address]))])).unwrap();
    balancer.set_health("v1", &v1.address.to_string(), true);
    let mut client = Client::connect(balancer.local_addr()).await;
    client.get("/").await;
    assert_eq!(client.get("/503").await.status, 503);
    until("both are done", || balancer.stats().total.active_requests == 0).await;
    let text = balancer.render_prometheus();
    let listener = balancer.local_addr();
    for (name, value) in [
        ("target_group_requests_total", 2),
        ("target_group_backend_errors_total", 1),
        ("target_group_balancer_errors_total", 0),
        ("target_group_response_latency_seconds_count", 2),
        ("target_group_active_requests", 0),
        ("target_group_healthy_targets", 1),
    ] {
        let line = format!("okra_balancer_{name}{{listener=\"{listener}\",target_group=\"v1\"}} {value}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let json = serde_json::to_value(balancer.stats()).unwrap();
    assert_eq!(json["groups"]["v1"]["requests"], 2);
    assert_eq!(json["groups"]["v1"]["backendErrors"], 1);
    assert!(json["total"]["latencySecondsSum"].as_f64().unwrap() > 0.0);
}

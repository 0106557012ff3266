//! Real requests through the weights that AWS holds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;
use std::time::Duration;

use okra_testkit::cluster::TestCluster;
use okra_testkit::data_path::{DataPath, requests_by_group};
use okra_testkit::front::{AwsPlan, AwsWorld, Front, Health};
use okra_testkit::load::{Load, LoadOptions, Summary};
use pretty_assertions::assert_eq;

const WITHIN: Duration = Duration::from_secs(30);

struct Rig {
    front: Arc<Front>,
    world: AwsWorld,
    path: DataPath,
    v1: TestCluster,
    v2: TestCluster,
    old: String,
    new: String,
    rule: String,
}

/// Two clusters of two versions behind a rule on `/`, all weight on the first.
async fn rig() -> Rig {
    let front = Arc::new(Front::shared().await.unwrap());
    front.set_initial_delay(Duration::ZERO);
    let world = AwsWorld::new(&front).await.unwrap();
    let v1 = TestCluster::start("web-1", "v1").await.unwrap();
    let v2 = TestCluster::start("web-2", "v2").await.unwrap();
    let old = world.target_group("old", &[v1.address()]).await.unwrap();
    let new = world.target_group("new", &[v2.address()]).await.unwrap();
    let rule = front.foreign_create_rule(&world.listener, 10, "/*", &[(&old, 100), (&new, 0)], &[]).unwrap();
    let path = DataPath::start(&front, &world.listener).await.unwrap();
    Rig { front, world, path, v1, v2, old, new, rule }
}

impl Rig {
    fn load(&self) -> Load {
        Load::start(&self.path.url(), LoadOptions { per_second: 200, ..LoadOptions::default() }).unwrap()
    }

    async fn shift(&self, share: i64) {
        self.front.foreign_modify_rule(&self.rule, &[(&self.old, 100 - share), (&self.new, share)]).unwrap();
        self.path.settled(WITHIN).await.unwrap();
    }
}

/// What the load did in its next `count` requests, those under way not counted: they may have gone the old way.
async fn next(load: &Load, count: u64) -> Summary {
    let before = load.mark(WITHIN).await.unwrap();
    load.wait_for(WITHIN, |now| now.sent >= before.sent + count).await.unwrap().since(&before)
}

#[tokio::test]
async fn follows_the_weights_without_a_failed_request() {
    let rig = rig().await;
    let load = rig.load();
    assert_eq!(next(&load, 50).await.answers("v2"), 0);
    for share in [20_i64, 40, 100] {
        rig.shift(share).await;
        let measured = next(&load, 300).await.share("v2");
        assert!((measured - share as f64).abs() <= 5.0, "{measured} % instead of {share} %");
    }
    let summary = load.stop().await;
    assert_eq!((summary.failed, summary.first_failure.as_deref()), (0, None));
    assert_eq!(summary.sent, summary.by_version.values().sum::<u64>());
    assert_eq!(summary.sent, rig.v1.requests() + rig.v2.requests());
    let by_group = requests_by_group(&rig.path.stats());
    assert_eq!((by_group[&rig.old], by_group[&rig.new]), (rig.v1.requests(), rig.v2.requests()));
    assert_eq!(rig.front.share_history(&rig.rule, std::slice::from_ref(&rig.new)), [0.0, 20.0, 40.0, 100.0]);
}

#[tokio::test]
async fn health_at_the_front_is_health_in_the_data_path() {
    let rig = rig().await;
    let third = TestCluster::start("web-3", "v1b").await.unwrap();
    rig.world.register(&rig.old, &[third.address()]).await.unwrap();
    rig.path.settled(WITHIN).await.unwrap();
    let load = rig.load();
    assert!(next(&load, 100).await.share("v1b") > 30.0, "targets of a group take turns");
    rig.front.set_target_health(&rig.old, third.address(), Health::Unhealthy).unwrap();
    rig.path.settled(WITHIN).await.unwrap();
    assert_eq!(next(&load, 50).await.answers("v1b"), 0);
    rig.front.set_health(&rig.old, Health::Unhealthy).unwrap();
    rig.path.settled(WITHIN).await.unwrap();
    assert!(next(&load, 100).await.share("v1b") > 30.0, "without a healthy target the group fails open");
    rig.world.deregister(&rig.old, &[third.address()]).await.unwrap();
    rig.path.settled(WITHIN).await.unwrap();
    assert_eq!(next(&load, 50).await.answers("v1b"), 0, "draining");
    assert_eq!(load.stop().await.failed, 0);
}

#[tokio::test]
async fn every_failure_is_counted() {
    let mut rig = rig().await;
    let load = rig.load();
    rig.v1.set_failing(true);
    let failed = load.wait_for(WITHIN, |now| now.failed >= 3).await.unwrap();
    assert!(failed.first_failure.unwrap().contains("500 Internal Server Error from version v1"));
    rig.v1.set_failing(false);
    assert_eq!(next(&load, 50).await.failed, 0);
    rig.v1.stop();
    let gone = next(&load, 50).await;
    assert!(gone.failed > 0, "a cluster that is gone fails requests");
    rig.shift(100).await;
    assert_eq!(next(&load, 50).await.failed, 0);
    let summary = load.stop().await;
    assert_eq!(summary.sent, summary.failed + summary.by_version.values().sum::<u64>());
}

#[tokio::test]
async fn changes_arrive_as_late_as_planned() {
    let rig = rig().await;
    rig.front.set_plan(AwsPlan::with_data_path_lag(Duration::from_hours(1)));
    rig.front.foreign_modify_rule(&rig.rule, &[(&rig.new, 1)]).unwrap();
    assert_eq!(rig.front.rule_at(&rig.world.listener, "10").unwrap().weights[&rig.new], 1, "it can be read");
    assert!(rig.path.settled(Duration::from_millis(50)).await.is_err());
    let load = rig.load();
    let old_way = next(&load, 50).await;
    assert_eq!(old_way.answers("v1"), old_way.sent);
    assert_eq!(load.stop().await.failed, 0);
}

#[tokio::test]
async fn late_changes_arrive_in_order_and_do_not_add_up() {
    let rig = rig().await;
    let lag = Duration::from_millis(800);
    rig.front.set_plan(AwsPlan::with_data_path_lag(lag));
    let begun = std::time::Instant::now();
    for share in 1..=20 {
        rig.front.foreign_modify_rule(&rig.rule, &[(&rig.old, 20 - share), (&rig.new, share)]).unwrap();
        tokio::task::yield_now().await;
    }
    rig.path.settled(WITHIN).await.unwrap();
    assert!(begun.elapsed() >= lag);
    let load = rig.load();
    let all_new = next(&load, 50).await;
    assert_eq!(all_new.answers("v2"), all_new.sent);
    assert_eq!(load.stop().await.failed, 0);
}

#[tokio::test]
async fn a_cluster_that_goes_before_the_data_path_followed_loses_requests() {
    let mut rig = rig().await;
    let load = rig.load();
    rig.front.set_plan(AwsPlan::with_data_path_lag(Duration::from_millis(800)));
    rig.front.foreign_modify_rule(&rig.rule, &[(&rig.new, 1)]).unwrap();
    rig.v1.stop();
    load.wait_for(WITHIN, |now| now.failed >= 3).await.unwrap();
    rig.path.settled(WITHIN).await.unwrap();
    assert_eq!(next(&load, 50).await.failed, 0);
    load.stop().await;
}

#[tokio::test]
async fn the_default_rule_answers_what_no_rule_takes() {
    let rig = rig().await;
    rig.front.foreign_modify_path(&rig.rule, "/api/*").unwrap();
    rig.path.settled(WITHIN).await.unwrap();
    let load = rig.load();
    let summary = load.wait_for(WITHIN, |now| now.sent >= 5).await.unwrap();
    assert!(summary.first_failure.unwrap().contains("404"));
    load.stop().await;
    let host = Some("web.example.com".to_owned());
    let options = LoadOptions { path: "/api/x".to_owned(), host, per_second: 50, ..LoadOptions::default() };
    let load = Load::start(&rig.path.url(), options).unwrap();
    next(&load, 10).await;
    let summary = load.stop().await;
    assert_eq!((summary.answers("v1"), summary.failed), (summary.sent, 0));
}

use std::{sync::Arc, time::Duration};

use okra_core::route::{Change, Intent, Lane, Place};
use okra_provider::{RouterErrorKind, TrafficRouter};
use parking_lot::Mutex;
use pretty_assertions::assert_eq;

use super::aws::*;
use crate::{AlbRouter, AlbRouterConfig, CallKind, RateLimits, listener::SharedReadings, memory::Memory};

/// Fifty Cells of one listener.
fn cells() -> Vec<Intent> {
    (1..=50)
        .map(|id| {
            let mut cell = known(id);
            cell.owner = format!("shop/cell-{id}");
            if let Place::Alb { priority, .. } = &mut cell.place {
                *priority = i32::try_from(id).unwrap();
            }
            cell
        })
        .collect()
}

async fn listener_of_fifty() -> Aws {
    let aws = Aws::start().await;
    let all: Vec<Rule> = (1..=50).map(|id| Rule::new(id, i32::try_from(id).unwrap())).collect();
    aws.answer("DescribeRules", rules(&all, None)).await;
    for first in [1, 21, 41] {
        let of: Vec<String> = (first..=(first + 19).min(50)).map(|id| format!("shop/cell-{id}")).collect();
        let of: Vec<_> = of.iter().zip(first..).map(|(cell, id)| (rule_arn(id), cell.as_str(), "inst-1")).collect();
        let answer = wiremock::ResponseTemplate::new(200).set_body_string(tags(&of));
        aws.answer_with("DescribeTags", &[("ResourceArns.member.1", &rule_arn(first))], answer).await;
    }
    aws
}

async fn look(router: &AlbRouter, cells: &[Intent]) {
    let drift = call(Lane::Drift);
    let seen = futures::future::join_all(cells.iter().map(|cell| router.observe(cell, &drift))).await;
    for (cell, seen) in cells.iter().zip(seen) {
        let seen = seen.unwrap();
        let ours = seen.ours.unwrap();
        assert_eq!(Some(ours.id), cell.known_rule);
        assert_eq!((ours.cell_tag, seen.in_the_way), (Some(cell.owner.clone()), None));
    }
}

#[tokio::test]
async fn fifty_cells_of_a_listener_look_for_drift_in_one_call() {
    let aws = listener_of_fifty().await;
    let router = aws.router();
    look(&router, &cells()).await;
    assert_eq!(aws.actions().await, ["DescribeRules", "DescribeTags", "DescribeTags", "DescribeTags"]);
    look(&router, &cells()).await;
    assert_eq!(router.observe_listener(&cells()[0], &call(Lane::Drift)).await.unwrap().len(), 50);
    assert_eq!(aws.calls().await.len(), 4, "a second round within ten seconds costs nothing");
}

#[tokio::test]
async fn once_tags_are_known_a_round_costs_one_call() {
    let aws = listener_of_fifty().await;
    let mut router = aws.router();
    look(&router, &cells()).await;
    // As after ten seconds: the reading is old, the tags are not.
    router.readings = SharedReadings::default();
    look(&router, &cells()).await;
    assert_eq!(aws.actions().await[4..], ["DescribeRules"]);
}

#[tokio::test]
async fn a_reading_from_before_our_own_write_is_not_believed() {
    let aws = listener_of_fifty().await;
    aws.answer("SetRulePriorities", answer("SetRulePriorities", "<Rules></Rules>")).await;
    let router = aws.router();
    let cells = cells();
    look(&router, &cells).await;
    router.apply(&cells[6], &Change::Move { rule: rule_arn(7) }, &call(Lane::Promote)).await.unwrap();
    look(&router, &cells[7..]).await;
    assert_eq!(aws.calls().await.len(), 5, "the write does not concern the others");
    look(&router, &cells).await;
    assert_eq!(aws.actions().await[5..], ["DescribeRules"]);
}

#[tokio::test]
async fn a_failed_reading_is_shared_too() {
    let aws = Aws::start().await;
    aws.answer_with("DescribeRules", &[], error(400, "Throttling", "Rate exceeded")).await;
    let (router, cells, drift) = (aws.router(), cells(), call(Lane::Drift));
    let seen = futures::future::join_all(cells.iter().map(|cell| router.observe(cell, &drift))).await;
    assert!(seen.into_iter().all(|seen| seen.unwrap_err().kind == RouterErrorKind::Throttled));
    assert_eq!(aws.calls().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reading_serves_for_ten_seconds() {
    let (readings, memory, count) = (SharedReadings::default(), Memory::default(), Arc::new(Mutex::new(0)));
    let key = ("listener".to_owned(), None);
    for (after, expected) in [(0, 1), (9_999, 1), (1, 2), (5_000, 2), (5_000, 3)] {
        tokio::time::advance(Duration::from_millis(after)).await;
        let read = async {
            *count.lock() += 1;
            Ok(Arc::default())
        };
        readings.get(key.clone(), &intent(), &memory, read).await.unwrap();
        assert_eq!(*count.lock(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_during_a_reading_makes_it_worthless_for_the_writer_alone() {
    let (readings, memory, count) = (SharedReadings::default(), Memory::default(), Mutex::new(0));
    let key = ("listener".to_owned(), None);
    let other = Intent { owner: "shop/other".to_owned(), ..intent() };
    let read = async {
        *count.lock() += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
        memory.wrote(&intent(), Duration::from_secs(10));
        Ok(Arc::default())
    };
    readings.get(key.clone(), &other, &memory, read).await.unwrap();
    let counted = || async {
        *count.lock() += 1;
        Ok(Arc::default())
    };
    readings.get(key.clone(), &other, &memory, counted()).await.unwrap();
    assert_eq!(*count.lock(), 1);
    readings.get(key, &intent(), &memory, counted()).await.unwrap();
    assert_eq!(*count.lock(), 2);
}

#[tokio::test]
async fn old_tags_of_many_cells_are_read_again_in_one_call() {
    let aws = listener_of_fifty().await;
    let router = aws.router();
    let cells = cells();
    look(&router, &cells).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    aws.answer("ModifyRule", answer("ModifyRule", "<Rules></Rules>")).await;
    let before = aws.calls().await.len();
    for cell in &cells[..20] {
        let rule = cell.known_rule.clone().unwrap();
        let weights = Some(weights(&[("blue", 80), ("green", 20)]));
        let change = Change::Modify { rule, weights, conditions: None, stickiness: None };
        let promote = call(Lane::Promote);
        router.observe(cell, &promote).await.unwrap();
        router.apply(cell, &change, &promote).await.unwrap();
    }
    let tags = aws.actions().await.into_iter().skip(before).filter(|action| action == "DescribeTags").count();
    assert_eq!(tags, 1);
}

#[tokio::test]
async fn what_waits_for_the_rate_limit_gives_up_when_the_process_stops() {
    let aws = listener_of_fifty().await;
    let config = AlbRouterConfig { rate_limits: RateLimits::Aws, ..aws.config() };
    let router = Arc::new(Aws::router_with(config));
    let limiter = router.limiters.of("123456789012", "eu-west-1");
    while limiter.acquire(Lane::Rollback, CallKind::Describe, Duration::ZERO).await.is_ok() {}
    let waits = tokio::spawn({
        let router = router.clone();
        async move { router.observe(&cells()[0], &call(Lane::Drift)).await }
    });
    router.stop_waiting();
    let error = waits.await.unwrap().unwrap_err();
    assert!(error.message.contains("okra stops"), "{error}");
    assert!(aws.calls().await.is_empty());
}

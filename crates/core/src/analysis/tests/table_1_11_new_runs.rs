use std::collections::BTreeMap;

use pretty_assertions::assert_eq;
use serde_json::json;

use super::rig::{metric, run_of};
use crate::analysis::{RunType, collision_name, measures_the_same};

#[test]
fn table_1_11_names() {
    for (run_type, wanted) in [
        (RunType::Step(2), "web-abc-7-2"),
        (RunType::Background, "web-abc-7"),
        (RunType::PrePromotion, "web-abc-7-pre"),
        (RunType::PostPromotion, "web-abc-7-post"),
    ] {
        assert_eq!(run_type.run_name("web", "abc", "7"), wanted);
    }
    assert_eq!([0, 1, 2].map(|n| collision_name("web-abc-7", n)), ["web-abc-7", "web-abc-7.1", "web-abc-7.2"]);
}

#[test]
fn table_1_11_labels() {
    let labels = |run_type: RunType, instance: &str, more: &[(&str, &str)]| {
        let more: BTreeMap<String, String> =
            more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        json!(run_type.labels("abc", instance, &more))
    };
    assert_eq!(
        labels(RunType::Step(2), "okra", &[("app", "web"), ("rollout-type", "Mine")]),
        json!({
            "rollouts-pod-template-hash": "abc", "rollout-type": "Mine", "step-index": "2", "app": "web",
            "argo-rollouts.argoproj.io/controller-instance-id": "okra",
        })
    );
    for (run_type, wanted) in [
        (RunType::Background, "Background"),
        (RunType::PrePromotion, "PrePromotion"),
        (RunType::PostPromotion, "PostPromotion"),
    ] {
        assert_eq!(labels(run_type, "", &[]), json!({"rollouts-pod-template-hash": "abc", "rollout-type": wanted}));
    }
    assert_eq!(labels(RunType::Step(0), "", &[])["rollout-type"], "Step");
}

#[test]
fn table_1_11_a_run_is_used_again_if_it_measures_the_same() {
    let base = run_of(vec![metric(json!({}))]);
    let mut ended = base.clone();
    ended.terminate = true;
    ended.ttl_strategy = Some(okra_api::analysis::TtlStrategy::default());
    assert!(measures_the_same(&base, &ended));
    let mut other = base.clone();
    other.metrics[0].interval = "1s".to_owned();
    assert!(!measures_the_same(&base, &other));
    let mut other = base.clone();
    other.args = serde_json::from_value(json!([{"name": "x", "value": "y"}])).unwrap();
    assert!(!measures_the_same(&base, &other));
    let mut other = base.clone();
    other.dry_run = serde_json::from_value(json!([{"metricName": "x"}])).unwrap();
    assert!(!measures_the_same(&base, &other));
    let mut other = base.clone();
    other.measurement_retention = serde_json::from_value(json!([{"metricName": "x", "limit": 1}])).unwrap();
    assert!(!measures_the_same(&base, &other));
}

use std::collections::BTreeMap;

use jiff::Timestamp;
use okra_api::{
    RunPhase::{self, Error, Failed, Inconclusive, Running, Successful},
    analysis::{AnalysisRunStatus, TtlStrategy},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::{Rig, answer, at, metric, run_of};
use crate::analysis::{HistoryLimits, PastRun, expires_at, runs_to_delete};

/// A run of the metrics `foo`, `xfoo1` and `bar`.
fn rig_with(fields: Value) -> Rig {
    let metrics = ["foo", "xfoo1", "bar"].map(|name| metric(json!({"name": name, "interval": "1s"})));
    let mut spec = serde_json::to_value(run_of(metrics.to_vec())).unwrap();
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Rig::new(serde_json::from_value(spec).unwrap())
}

#[test]
fn table_1_10_patterns_are_found_anywhere() {
    for (patterns, wanted) in [
        (vec!["foo"], Ok(vec!["foo", "xfoo1"])),
        (vec!["^foo$"], Ok(vec!["foo"])),
        (vec![".*"], Ok(vec!["foo", "xfoo1", "bar"])),
        (vec![""], Ok(vec!["foo", "xfoo1", "bar"])),
        (vec!["bar", "[0-9]"], Ok(vec!["xfoo1", "bar"])),
        (vec!["(?i)FOO$"], Ok(vec!["foo"])),
        (vec!["nothing"], Err("dryRun[0]: Rule didn't match any metric name(s)")),
        (vec!["foo", "*"], Err("dryRun[1]: Rule didn't match any metric name(s)")),
        (vec!["("], Err("dryRun[0]: Rule didn't match any metric name(s)")),
    ] {
        let rules: Vec<Value> = patterns.iter().map(|pattern| json!({"metricName": pattern})).collect();
        let mut rig = rig_with(json!({"dryRun": rules}));
        rig.pass(|_| answer(Successful));
        let status = rig.status();
        let dry: Vec<&str> =
            status.metric_results.iter().filter(|result| result.dry_run).map(|result| result.name.as_str()).collect();
        let found = if status.phase == Some(Error) { Err(status.message.clone()) } else { Ok(dry) };
        assert_eq!(found, wanted.map_err(|text| format!("Analysis spec invalid: {text}")), "{patterns:?}");
    }
}

#[test]
fn table_1_10_measurements_that_are_kept() {
    for (rules, wanted) in [
        (json!([]), [10, 10, 10]),
        (json!([{"metricName": "foo", "limit": 3}]), [3, 3, 10]),
        (json!([{"metricName": "foo", "limit": 3}, {"metricName": "x", "limit": 12}]), [3, 12, 10]),
        (json!([{"metricName": "x", "limit": 12}, {"metricName": "foo", "limit": 3}]), [3, 3, 10]),
        (json!([{"metricName": "foo", "limit": 0}, {"metricName": "bar", "limit": -1}]), [10, 10, 10]),
        (json!([{"metricName": ".*", "limit": 20}]), [14, 14, 14]),
    ] {
        let mut rig = rig_with(json!({"measurementRetention": rules}));
        for _ in 0..14 {
            let wake = rig.pass(|_| answer(Successful)).unwrap();
            rig.now = wake;
        }
        let kept = ["foo", "xfoo1", "bar"].map(|name| rig.result(name).measurements.len());
        assert_eq!((kept, rig.result("foo").count), (wanted, 14), "{rules}");
        assert_eq!(rig.result("foo").measurements.last().unwrap().finished_at, Some(at(13)), "the newest");
    }
}

#[test]
fn table_1_10_jobs_of_dropped_measurements_are_told() {
    let job = metric(json!({"name": "job", "interval": "1s", "provider": {"job": {"spec": {}}}}));
    let mut rig = Rig::new(run_of(vec![job, metric(json!({"interval": "1s"}))]));
    let mut told = Vec::new();
    for number in 0..12 {
        let plan = rig.look();
        let results = rig.measured(&plan, |take| crate::analysis::Outcome::Verdict {
            phase: Successful,
            value: String::new(),
            message: String::new(),
            metadata: [("job-name".to_owned(), format!("{}-{number}", take.name))].into(),
        });
        let plan = rig.look_with(&results, &[]);
        told.extend(plan.trimmed.into_iter().map(|trimmed| trimmed.measurement.metadata["job-name"].clone()));
        rig.now = plan.wake_at.unwrap();
    }
    assert_eq!(told, ["job-0", "job-1"]);
}

#[test]
fn table_1_10_time_to_live() {
    let ends = |phase: RunPhase, [all, failure, success]: [Option<i32>; 3], completed: bool| {
        let strategy = TtlStrategy {
            seconds_after_completion: all,
            seconds_after_failure: failure,
            seconds_after_success: success,
        };
        let completed_at = completed.then_some(at(0));
        let status = AnalysisRunStatus { phase: Some(phase), completed_at, ..AnalysisRunStatus::default() };
        expires_at(Some(&strategy), &status).map(|end| end.as_second() - at(0).as_second())
    };
    for (phase, ttl, wanted) in [
        (Successful, [Some(10), Some(20), Some(30)], Some(31)),
        (Failed, [Some(10), Some(20), Some(30)], Some(21)),
        (Error, [Some(10), Some(20), Some(30)], Some(11)),
        (Inconclusive, [Some(10), Some(20), Some(30)], Some(11)),
        (Successful, [Some(10), Some(20), None], Some(11)),
        (Failed, [Some(10), None, Some(30)], Some(11)),
        (Error, [None, Some(20), Some(30)], None),
        (Successful, [None, Some(20), None], None),
        (Failed, [None, Some(0), None], Some(1)),
        (Running, [Some(0), Some(0), Some(0)], None),
    ] {
        assert_eq!(ends(phase, ttl, true), wanted, "{phase} {ttl:?}");
        assert_eq!(ends(phase, ttl, false), None, "without a time of its end");
    }
    assert_eq!(expires_at(None, &AnalysisRunStatus::default()), None);

    let mut rig = rig_with(json!({"ttlStrategy": {"secondsAfterCompletion": 60}, "terminate": true}));
    let plan = rig.look();
    assert_eq!((rig.phase(), plan.wake_at, plan.expired), (Some(Successful), Some(at(61)), false));
    rig.later(60);
    assert!(!rig.look().expired);
    rig.later(1);
    let plan = rig.look();
    assert_eq!((plan.expired, plan.wake_at), (true, None));
}

fn past(name: &str, created: i64, phase: Option<RunPhase>, hash: Option<&str>) -> PastRun {
    let created: Option<Timestamp> = Some(at(created));
    PastRun { name: name.to_owned(), created, phase, hash: hash.map(str::to_owned) }
}

#[test]
fn table_1_10_history() {
    let present: BTreeMap<String, bool> = [("here".to_owned(), true), ("going".to_owned(), false)].into();
    let here = Some("here");
    let runs = [
        past("s1", 1, Some(Successful), here),
        past("s2", 2, Some(Successful), here),
        past("s3", 3, Some(Successful), here),
        past("f1", 4, Some(Failed), here),
        past("e1", 5, Some(Error), here),
        past("i1", 6, Some(Inconclusive), here),
        past("r1", 0, Some(Running), here),
        past("n1", 0, None, here),
        past("x1", 9, Some(Successful), None),
        past("x2", 9, Some(Running), Some("gone")),
        past("x3", 9, Some(Failed), Some("going")),
    ];
    let deleted = |successful: usize, unsuccessful: usize| {
        let mut names = runs_to_delete(&runs, &present, HistoryLimits { successful, unsuccessful });
        names.sort();
        names
    };
    assert_eq!(deleted(5, 5), ["x1", "x2", "x3"]);
    assert_eq!(deleted(2, 2), ["f1", "s1", "x1", "x2", "x3"]);
    assert_eq!(deleted(0, 1), ["e1", "f1", "s1", "s2", "s3", "x1", "x2", "x3"]);
    assert_eq!(HistoryLimits::default(), HistoryLimits { successful: 5, unsuccessful: 5 });
}

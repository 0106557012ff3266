use okra_api::{
    RunPhase::{self, Error, Failed, Inconclusive, Pending, Running, Successful},
    analysis::{Measurement, MetricResult},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::{Rig, answer, at, metric, run_of};
use crate::analysis::limits::{breach, metric_phase};

fn finished(phase: RunPhase) -> Measurement {
    Measurement { phase, finished_at: Some(at(0)), ..Measurement::default() }
}

/// What became of a metric: phase and message of the limit it went over.
fn judged(limits: Value, counters: Value) -> (RunPhase, String) {
    let mut result: MetricResult = serde_json::from_value(counters).unwrap();
    result.measurements = vec![finished(Successful)];
    result.phase = Running;
    let mut fields = json!({"interval": "10s"});
    fields.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let metric = metric(fields);
    let message = breach(&metric, &result).map(|breach| breach.message).unwrap_or_default();
    (metric_phase(&metric, &result, false), message)
}

#[test]
fn table_1_7_limits() {
    let text = |text: &str| text.to_owned();
    for (limits, counters, wanted) in [
        (json!({}), json!({"failed": 1}), (Failed, text("failed (1) > failureLimit (0)"))),
        (json!({"failureLimit": 3}), json!({"failed": 3}), (Running, text(""))),
        (json!({"failureLimit": 3}), json!({"failed": 4}), (Failed, text("failed (4) > failureLimit (3)"))),
        (json!({"failureLimit": "3"}), json!({"failed": 4}), (Failed, text("failed (4) > failureLimit (3)"))),
        (json!({"failureLimit": "many"}), json!({"failed": 1}), (Failed, text("failed (1) > failureLimit (0)"))),
        (json!({"failureLimit": -1}), json!({"failed": 100}), (Running, text(""))),
        (json!({}), json!({"inconclusive": 1}), (Inconclusive, text("inconclusive (1) > inconclusiveLimit (0)"))),
        (json!({"inconclusiveLimit": 1}), json!({"inconclusive": 1}), (Running, text(""))),
        (json!({}), json!({"consecutiveError": 4}), (Running, text(""))),
        (json!({}), json!({"consecutiveError": 5}), (Error, text("consecutiveErrors (5) > consecutiveErrorLimit (4)"))),
        (
            json!({"consecutiveErrorLimit": 0}),
            json!({"consecutiveError": 1}),
            (Error, text("consecutiveErrors (1) > consecutiveErrorLimit (0)")),
        ),
        (json!({}), json!({"consecutiveSuccess": 100}), (Running, text(""))),
        (json!({"consecutiveSuccessLimit": 0}), json!({"consecutiveSuccess": 100}), (Running, text(""))),
        (json!({"consecutiveSuccessLimit": 2}), json!({"consecutiveSuccess": 1}), (Running, text(""))),
        (json!({"consecutiveSuccessLimit": 2}), json!({"consecutiveSuccess": 2}), (Successful, text(""))),
        // The later one counts.
        (
            json!({}),
            json!({"failed": 1, "inconclusive": 1}),
            (Inconclusive, text("inconclusive (1) > inconclusiveLimit (0)")),
        ),
        (
            json!({}),
            json!({"failed": 1, "inconclusive": 1, "consecutiveError": 5}),
            (Error, text("consecutiveErrors (5) > consecutiveErrorLimit (4)")),
        ),
        // Limits come before successes in a row.
        (
            json!({"consecutiveSuccessLimit": 2}),
            json!({"failed": 1, "consecutiveSuccess": 2}),
            (Failed, text("failed (1) > failureLimit (0)")),
        ),
    ] {
        assert_eq!(judged(limits.clone(), counters.clone()), wanted, "{limits} {counters}");
    }
}

#[test]
fn table_1_7_counters() {
    let mut rig = Rig::new(run_of(vec![metric(json!({
        "interval": "10s", "failureLimit": 100, "inconclusiveLimit": 100, "consecutiveErrorLimit": 100,
    }))]));
    // Phase, then successful, failed, inconclusive, error, count, consecutiveError, consecutiveSuccess.
    for (phase, wanted) in [
        (Successful, [1, 0, 0, 0, 1, 0, 1]),
        (Successful, [2, 0, 0, 0, 2, 0, 2]),
        (Error, [2, 0, 0, 1, 2, 1, 0]),
        (Error, [2, 0, 0, 2, 2, 2, 0]),
        (Failed, [2, 1, 0, 2, 3, 0, 0]),
        (Successful, [3, 1, 0, 2, 4, 0, 1]),
        (Inconclusive, [3, 1, 1, 2, 5, 0, 0]),
        (Error, [3, 1, 1, 3, 5, 1, 0]),
        (Successful, [4, 1, 1, 3, 6, 0, 1]),
        (Failed, [4, 2, 1, 3, 7, 0, 0]),
    ] {
        let wake = rig.pass(|_| answer(phase)).unwrap();
        let result = rig.result("m");
        let counters = [
            result.successful,
            result.failed,
            result.inconclusive,
            result.error,
            result.count,
            result.consecutive_error,
            result.consecutive_success,
        ];
        assert_eq!(counters, wanted, "{phase}");
        rig.now = wake;
    }
}

#[test]
fn table_1_7_the_first_rule_that_applies() {
    let phase =
        |limits: Value, result: MetricResult, terminating: bool| metric_phase(&metric(limits), &result, terminating);
    let with = |phase: RunPhase, count: i32, measurements: Vec<Measurement>| MetricResult {
        phase,
        count,
        measurements,
        ..MetricResult::default()
    };
    // 1. Sticky.
    for done in [Successful, Failed, Error, Inconclusive] {
        let mut result = with(done, 0, vec![finished(Successful)]);
        result.failed = 100;
        assert_eq!(phase(json!({}), result, true), done);
    }
    // 2. Nothing measured.
    assert_eq!(phase(json!({}), with(Running, 0, vec![]), true), Successful);
    assert_eq!(phase(json!({}), with(Running, 0, vec![]), false), Pending);
    // 3. In flight, whatever else there is.
    let mut in_flight =
        with(Running, 5, vec![finished(Failed), Measurement { phase: Running, ..Measurement::default() }]);
    in_flight.failed = 5;
    assert_eq!(phase(json!({}), in_flight.clone(), false), Running);
    assert_eq!(phase(json!({}), in_flight, true), Running);
    // 6. The count is reached.
    let reached = || with(Running, 3, vec![finished(Successful)]);
    for (limits, wanted) in [
        (json!({"count": 3, "interval": "1s"}), Successful),
        (json!({"count": 3, "interval": "1s", "failureLimit": 2}), Successful),
        (json!({"count": 3, "interval": "1s", "consecutiveSuccessLimit": 2}), Inconclusive),
        (json!({"count": 3, "interval": "1s", "consecutiveSuccessLimit": 2, "failureLimit": 1}), Inconclusive),
        (json!({"count": 3, "interval": "1s", "consecutiveSuccessLimit": 2, "failureLimit": -1}), Failed),
        (json!({"count": 3, "interval": "1s", "failureLimit": -1}), Successful),
        (json!({"count": 4, "interval": "1s"}), Running),
        (json!({"interval": "1s"}), Running),
        (json!({}), Successful),
    ] {
        assert_eq!(phase(limits.clone(), reached(), false), wanted, "{limits}");
    }
    let mut failed = reached();
    failed.failed = 2;
    assert_eq!(phase(json!({"count": 3, "interval": "1s", "failureLimit": 2}), failed, false), Successful);
    // 7. and 8.
    assert_eq!(phase(json!({"interval": "1s"}), reached(), true), Successful);
    assert_eq!(phase(json!({"interval": "1s"}), reached(), false), Running);
}

#[test]
fn table_1_7_whole_series() {
    let s = Successful;
    for (fields, answers, wanted) in [
        (json!({}), vec![s], (Successful, 1, "")),
        (json!({}), vec![Failed], (Failed, 1, "failed (1) > failureLimit (0)")),
        (json!({}), vec![Inconclusive], (Inconclusive, 1, "inconclusive (1) > inconclusiveLimit (0)")),
        (json!({}), vec![Error], (Error, 5, "consecutiveErrors (5) > consecutiveErrorLimit (4)")),
        (json!({}), vec![Error, Error, Error, Error, s], (Successful, 5, "")),
        (
            json!({"interval": "1s", "count": 5, "failureLimit": 3}),
            vec![Failed],
            (Failed, 4, "failed (4) > failureLimit (3)"),
        ),
        (json!({"interval": "1s", "count": 4, "failureLimit": 1}), vec![Failed, s], (Successful, 4, "")),
        // Failures count over the whole run, not in a row.
        (
            json!({"interval": "1s", "count": 5, "failureLimit": 1}),
            vec![Failed, s, s, Failed, s],
            (Failed, 4, "failed (2) > failureLimit (1)"),
        ),
        (
            json!({"interval": "1s", "consecutiveSuccessLimit": 3, "failureLimit": -1}),
            vec![s, Failed, s, s, s],
            (Successful, 5, ""),
        ),
        (
            json!({"interval": "1s", "count": 4, "consecutiveSuccessLimit": 3, "failureLimit": -1}),
            vec![s, s, Failed, s],
            (Failed, 4, ""),
        ),
        (
            json!({"interval": "1s", "count": 4, "consecutiveSuccessLimit": 3, "failureLimit": 1}),
            vec![s, s, Failed, s],
            (Inconclusive, 4, ""),
        ),
    ] {
        let mut rig = Rig::new(run_of(vec![metric(fields.clone())]));
        let status = rig.drive_with(&answers);
        let result = rig.result("m");
        let message = if wanted.2.is_empty() {
            String::new()
        } else {
            let about = if wanted.0 == Error { ": \"Error Message: connection refused\"" } else { "" };
            format!("Metric \"m\" assessed {} due to {}{about}", wanted.0, wanted.2)
        };
        assert_eq!(
            (status.phase, result.count + result.error, status.message),
            (Some(wanted.0), wanted.1, message),
            "{fields}"
        );
    }
}

#[test]
fn table_1_7_message_and_event_of_a_metric() {
    let mut rig = Rig::new(run_of(vec![metric(json!({"interval": "1s", "consecutiveErrorLimit": 1}))]));
    rig.pass(|_| crate::analysis::Outcome::error("one"));
    assert_eq!(rig.result("m").message, "", "it stays with its phase");
    rig.later(11);
    rig.pass(|_| crate::analysis::Outcome::error("two"));
    assert_eq!((rig.result("m").phase, rig.result("m").message.as_str()), (Error, "two"));
    assert_eq!(rig.reasons(), ["MetricError", "AnalysisRunError"]);
    assert_eq!(rig.events[0].message, "Metric 'm' Completed. Result: Error");
    assert!(rig.events.iter().all(|event| event.warning));
}

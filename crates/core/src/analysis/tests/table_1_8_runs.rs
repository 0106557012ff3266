use okra_api::RunPhase::{self, Error, Failed, Inconclusive, Pending, Running, Successful};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::{Rig, answer, metric, run_of};
use crate::analysis::{Outcome, is_worse};

fn rig_of(metrics: &[(&str, Value)]) -> Rig {
    let metrics = metrics.iter().map(|(name, fields)| {
        let mut fields = fields.clone();
        fields["name"] = json!(name);
        metric(fields)
    });
    Rig::new(run_of(metrics.collect()))
}

/// Answers by the name of the metric.
fn by_name(answers: &[(&str, RunPhase)], name: &str) -> Outcome {
    answer(answers.iter().find(|(own, _)| *own == name).unwrap().1)
}

#[test]
fn table_1_8_from_best_to_worst() {
    let order = [Successful, Running, Pending, Inconclusive, Error, Failed];
    for (i, left) in order.iter().enumerate() {
        for (j, right) in order.iter().enumerate() {
            assert_eq!(is_worse(*left, *right), j > i, "{left} {right}");
        }
    }
}

#[test]
fn table_1_8_the_worst_metric_decides() {
    for (a, b, wanted) in [
        (Successful, Successful, Successful),
        (Successful, Inconclusive, Inconclusive),
        (Inconclusive, Successful, Inconclusive),
        (Failed, Inconclusive, Failed),
        (Inconclusive, Failed, Failed),
        (Error, Inconclusive, Error),
        (Failed, Error, Failed),
        (Error, Failed, Failed),
    ] {
        let once = json!({"consecutiveErrorLimit": 0});
        let mut rig = rig_of(&[("a", once.clone()), ("b", once)]);
        rig.drive(|take| by_name(&[("a", a), ("b", b)], &take.name));
        assert_eq!(rig.phase(), Some(wanted), "{a} {b}");
    }
}

#[test]
fn table_1_8_a_bad_metric_ends_the_run_and_its_siblings_succeed() {
    for bad in [Failed, Error, Inconclusive] {
        let often = json!({"interval": "10s"});
        let mut rig = rig_of(&[
            ("bad", json!({"interval": "10s", "consecutiveErrorLimit": 0})),
            ("often", often),
            ("late", json!({"initialDelay": "1h"})),
        ]);
        rig.pass(|_| answer(Successful));
        assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Running), ""));
        rig.later(11);
        rig.pass(|take| by_name(&[("bad", bad), ("often", Successful)], &take.name));
        assert_eq!(rig.phase(), Some(bad), "in the same look");
        assert_eq!((rig.result("bad").phase, rig.result("often").phase), (bad, Successful));
        assert_eq!(rig.status().metric_results.len(), 2, "what never began has no result");
        assert_eq!(rig.status().completed_at, Some(super::rig::at(11)));
        let bad_name = format!("Metric{bad}");
        let run_name = format!("AnalysisRun{bad}");
        assert_eq!(rig.reasons(), [bad_name.as_str(), "MetricSuccessful", run_name.as_str()]);
    }
}

#[test]
fn table_1_8_messages() {
    let mut rig = rig_of(&[("a", json!({})), ("b", json!({}))]);
    rig.drive(|take| by_name(&[("a", Failed), ("b", Failed)], &take.name));
    assert_eq!(
        rig.status().message,
        "Metric \"a\" assessed Failed due to failed (1) > failureLimit (0)",
        "the first one"
    );

    let mut rig = rig_of(&[("a", json!({"successCondition": "result > 0"}))]);
    rig.drive(|_| Outcome::value("text", "\"text\""));
    assert_eq!(
        rig.status().message,
        "Metric \"a\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: could \
         not evaluate successCondition \"result > 0\": invalid operation: > (mismatched types string and int)\""
    );

    // Through rule 6 there is no limit to tell of.
    let mut rig =
        rig_of(&[("a", json!({"interval": "1s", "count": 2, "consecutiveSuccessLimit": 2, "failureLimit": -1}))]);
    rig.drive_with(&[Successful, Failed]);
    assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Failed), ""));
    assert_eq!(
        (rig.status().run_summary.failed, rig.status().run_summary.successful),
        (0, 1),
        "it counts as successful"
    );
}

#[test]
fn table_1_8_ended_by_a_person() {
    // Nothing has been measured yet.
    let mut rig = rig_of(&[("a", json!({}))]);
    rig.spec.terminate = true;
    rig.look();
    assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Successful), "Run Terminated"));
    assert!(rig.status().metric_results.is_empty());

    // Metrics that go on succeed.
    let mut rig = rig_of(&[("a", json!({"interval": "1h", "failureLimit": 5}))]);
    rig.pass(|_| answer(Failed));
    rig.spec.terminate = true;
    rig.look();
    assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Successful), "Run Terminated"));

    // Something worse replaces the message.
    let mut rig = rig_of(&[("a", json!({})), ("job", json!({"provider": {"job": {"spec": {}}}}))]);
    let plan = rig.look();
    let results = rig.measured(&plan, |take| by_name(&[("a", Failed), ("job", Running)], &take.name));
    let plan = rig.look_with(&results, &[]);
    assert_eq!((rig.phase(), plan.take.len()), (Some(Running), 1), "the Job is to be ended first");
    rig.spec.terminate = true;
    let results = rig.measured(&plan, |_| answer(Inconclusive));
    rig.look_with(&results, &[]);
    assert_eq!(rig.phase(), Some(Failed));
    assert_eq!(rig.status().message, "Metric \"a\" assessed Failed due to failed (1) > failureLimit (0)");
    let job = rig.result("job");
    assert_eq!((job.phase, job.measurements[0].message.as_str()), (Inconclusive, "Metric Terminated"));

    // A Job in flight makes the run inconclusive, unless that is within its limit.
    for (limit, wanted) in [(0, Inconclusive), (1, Successful)] {
        let mut rig =
            rig_of(&[("job", json!({"provider": {"job": {"spec": {}}}, "inconclusiveLimit": limit, "count": 1}))]);
        let plan = rig.look();
        let results = rig.measured(&plan, |_| answer(Running));
        rig.look_with(&results, &[]);
        rig.spec.terminate = true;
        let plan = rig.look();
        let results = rig.measured(&plan, |_| answer(Inconclusive));
        rig.look_with(&results, &[]);
        assert_eq!(rig.phase(), Some(wanted));
    }
}

#[test]
fn table_1_8_metrics_that_do_not_decide() {
    let dry = |metrics: &[(&str, Value)], pattern: &str| {
        let mut rig = rig_of(metrics);
        rig.spec.dry_run = serde_json::from_value(json!([{"metricName": pattern}])).unwrap();
        rig
    };
    let once = || json!({});
    // Only those: successful, whatever they say.
    for bad in [Failed, Inconclusive, Error] {
        let mut rig = dry(&[("a", once()), ("b", once())], ".*");
        rig.drive_with(&[bad]);
        assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Successful), ""));
        let summary = rig.status().dry_run_summary.unwrap();
        assert_eq!((summary.count, summary.failed + summary.inconclusive + summary.error), (2, 2));
        assert_eq!(rig.status().run_summary.count, 0);
        assert!(rig.result("a").dry_run);
    }
    // A failure of theirs ends nothing; the run waits for them.
    let mut rig = dry(
        &[("dry", json!({"interval": "10s", "count": 3})), ("real", json!({"interval": "10s", "count": 2}))],
        "^dry$",
    );
    rig.pass(|take| by_name(&[("dry", Failed), ("real", Successful)], &take.name));
    assert_eq!((rig.phase(), rig.result("dry").phase), (Some(Running), Failed));
    assert_eq!(rig.result("dry").message, "Metric assessed Failed due to failed (1) > failureLimit (0)");
    rig.later(11);
    rig.pass(|take| by_name(&[("real", Successful)], &take.name));
    assert_eq!(rig.phase(), Some(Successful));
    let mut rig = dry(&[("dry", json!({"initialDelay": "1h"})), ("real", once())], "dry");
    rig.pass(|take| by_name(&[("real", Successful)], &take.name));
    assert_eq!((rig.phase(), rig.result("real").phase), (Some(Running), Successful));
    // What decides still does.
    let mut rig = dry(&[("dry", once()), ("real", once())], "dry");
    rig.drive_with(&[Failed]);
    assert_eq!((rig.phase(), rig.status().run_summary.failed), (Some(Failed), 1));
}

#[test]
fn table_1_8_summaries_count_metrics() {
    let once = json!({"consecutiveErrorLimit": 0});
    let names = ["s", "f", "i", "e"];
    let mut rig = rig_of(&names.map(|name| (name, once.clone())));
    rig.drive(|take| by_name(&[("s", Successful), ("f", Failed), ("i", Inconclusive), ("e", Error)], &take.name));
    let summary = rig.status().run_summary;
    let counts = [summary.count, summary.successful, summary.failed, summary.inconclusive, summary.error];
    assert_eq!((rig.phase(), counts), (Some(Failed), [4, 1, 1, 1, 1]));
    assert_eq!(rig.status().dry_run_summary, Some(okra_api::analysis::RunSummary::default()));
}

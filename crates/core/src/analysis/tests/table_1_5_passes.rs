use okra_api::RunPhase::{self, Error, Failed, Running, Successful};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::{Rig, answer, at, metric, run_of};
use crate::analysis::{Action, Outcome, status_patch};

/// What refuses a run, in the order in which it is looked at.
#[test]
fn table_1_5_a_run_that_cannot_go_on_is_an_error_without_an_end() {
    for (edit, wanted) in [
        (json!({"args": [{"name": "x"}]}), "Unable to resolve metric arguments: argument \"x\" was not supplied"),
        (json!({"metrics": []}), "Analysis spec invalid: no metrics specified"),
        (
            json!({"metrics": [{"name": "m", "provider": {}}], "dryRun": [{"metricName": "no"}]}),
            "Analysis spec invalid: metrics[0]: no provider specified",
        ),
        (
            json!({"dryRun": [{"metricName": "no"}], "measurementRetention": [{"metricName": "no", "limit": 1}]}),
            "Analysis spec invalid: dryRun[0]: Rule didn't match any metric name(s)",
        ),
        (
            json!({"measurementRetention": [{"metricName": "no", "limit": 1}]}),
            "Analysis spec invalid: measurementRetention[0]: Rule didn't match any metric name(s)",
        ),
    ] {
        let mut spec = json!({"metrics": [metric(json!({}))]});
        spec.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        let mut rig = Rig::new(serde_json::from_value(spec).unwrap());
        let plan = rig.look();
        assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Error), wanted));
        assert_eq!((rig.status().completed_at, rig.status().started_at), (None, None));
        assert_eq!(rig.reasons(), ["AnalysisRunError"]);
        assert!(rig.events[0].warning && plan.take.is_empty() && plan.wake_at.is_none());
        rig.look();
        assert_eq!(rig.reasons(), ["AnalysisRunError"], "it is told once");
    }
}

#[test]
fn table_1_5_the_order_of_a_pass() {
    let spec = run_of(vec![metric(json!({"name": "a"})), metric(json!({"name": "b"}))]);
    let mut rig = Rig::new(spec);
    let plan = rig.look();
    assert_eq!(plan.take.iter().map(|take| take.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(rig.status, None, "nothing is written before something is measured");
    rig.later(3);
    let results = rig.measured(&plan, |_| answer(Successful));
    rig.look_with(&results, &[]);
    let status = rig.status();
    assert_eq!((status.phase, status.message.as_str()), (Some(Successful), ""));
    assert_eq!((status.started_at, status.completed_at), (Some(at(3)), Some(at(3))));
    assert_eq!(rig.reasons(), ["MetricSuccessful", "MetricSuccessful", "AnalysisRunSuccessful"]);
    assert_eq!(rig.events[2].message, "Analysis Completed. Result: Successful");

    // A second result for the same measurement, and any for a run that is over, come too late.
    rig.look_with(&results, &[]);
    assert_eq!(rig.status(), status);
}

#[test]
fn table_1_5_a_result_counts_once() {
    let mut rig = Rig::new(run_of(vec![metric(json!({"interval": "10s", "failureLimit": 100}))]));
    let plan = rig.look();
    let results = rig.measured(&plan, |_| answer(Failed));
    rig.look_with(&results, &[]);
    rig.look_with(&results, &[]);
    assert_eq!((rig.result("m").failed, rig.result("m").measurements.len()), (1, 1));
    // Asked for before the restart, answered after another one has measured.
    rig.later(11);
    let late = rig.look();
    let again = rig.look();
    let results = rig.measured(&again, |_| answer(Successful));
    rig.look_with(&results, &[]);
    let results = rig.measured(&late, |_| answer(Failed));
    rig.look_with(&results, &[]);
    assert_eq!((rig.result("m").failed, rig.result("m").successful), (1, 1));
}

#[test]
fn a_metric_that_does_not_answer_holds_up_nobody_but_a_verdict_that_depends_on_it() {
    let fields = json!({"interval": "10s", "count": 3, "inconclusiveLimit": 0});
    let named = |name: &str| {
        let mut fields = fields.clone();
        fields["name"] = json!(name);
        metric(fields)
    };
    let begin = || {
        let mut rig = Rig::new(run_of(vec![named("quick"), named("slow")]));
        let plan = rig.look();
        (rig, plan)
    };
    // The other one goes on.
    let (mut rig, plan) = begin();
    let results = vec![rig.taken(&plan.take[0], answer(Successful))];
    let plan = rig.look_with(&results, &["slow"]);
    assert_eq!((plan.hold_results, plan.wake_at), (false, Some(at(10) + jiff::SignedDuration::from_nanos(1))));
    rig.later(11);
    let plan = rig.look_with(&[], &["slow"]);
    assert_eq!(plan.take.len(), 1);
    assert_eq!(plan.take[0].name, "quick");

    // A failure decides, whatever else comes: nothing is worse.
    let (mut rig, plan) = begin();
    let results = vec![rig.taken(&plan.take[0], answer(Failed))];
    let plan = rig.look_with(&results, &["slow"]);
    assert_eq!((rig.phase(), plan.abandon.into_iter().collect::<Vec<_>>()), (Some(Failed), vec!["slow".to_owned()]));

    // Something else may still become a failure.
    let (mut rig, plan) = begin();
    let mut results = vec![rig.taken(&plan.take[0], answer(RunPhase::Inconclusive))];
    let held = rig.look_with(&results, &["slow"]);
    assert_eq!((held.hold_results, held.take.len(), rig.phase()), (true, 0, None));
    results.push(rig.taken(&plan.take[1], answer(Failed)));
    rig.look_with(&results, &[]);
    assert_eq!(rig.phase(), Some(Failed));
    assert_eq!(rig.status().message, "Metric \"slow\" assessed Failed due to failed (1) > failureLimit (0)");

    // A person ends the run: what is being measured still counts.
    let (mut rig, plan) = begin();
    rig.spec.terminate = true;
    let held = rig.look_with(&[], &["quick", "slow"]);
    assert_eq!((held.take.len(), rig.phase()), (0, None));
    let results = rig.measured(&plan, |_| answer(Failed));
    rig.look_with(&results, &[]);
    assert_eq!(rig.phase(), Some(Failed));

    // A Job that is being made is waited for.
    let job = metric(json!({"name": "job", "provider": {"job": {"spec": {}}}}));
    let mut rig = Rig::new(run_of(vec![named("quick"), job]));
    let plan = rig.look();
    let results = vec![rig.taken(&plan.take[0], answer(Failed))];
    assert!(rig.look_with(&results, &["job"]).hold_results);
}

#[test]
fn measurements_in_flight_are_resumed_and_ended() {
    let job = || metric(json!({"provider": {"job": {"spec": {}}}}));
    let running = |seconds: Option<i64>| Outcome::InFlight {
        metadata: [("job-name".to_owned(), "j1".to_owned())].into(),
        resume_at: seconds.map(at),
    };
    let mut rig = Rig::new(run_of(vec![job()]));
    let plan = rig.look();
    let results = rig.measured(&plan, |_| running(Some(0)));
    let plan = rig.look_with(&results, &[]);
    assert!(matches!(&plan.take[0].action, Action::Resume(last) if last.metadata["job-name"] == "j1"));
    assert_eq!((rig.phase(), rig.result("m").phase), (Some(Running), Running));
    let results = rig.measured(&plan, |_| running(Some(5)));
    let plan = rig.look_with(&results, &[]);
    assert_eq!((plan.take.len(), plan.wake_at), (0, Some(at(5))));
    rig.later(5);
    let plan = rig.look();
    let results = rig.measured(&plan, |_| answer(Successful));
    rig.look_with(&results, &[]);
    let result = rig.result("m");
    assert_eq!((rig.phase(), result.measurements.len(), result.count), (Some(Successful), 1, 1));
    assert_eq!((result.measurements[0].started_at, result.measurements[0].finished_at), (Some(at(0)), Some(at(5))));
    assert_eq!(result.measurements[0].metadata["job-name"], "j1");

    // A provider that names no time is asked again after a while, not at once.
    let mut rig = Rig::new(run_of(vec![job()]));
    let plan = rig.look();
    let results = rig.measured(&plan, |_| running(None));
    assert_eq!(rig.look_with(&results, &[]).wake_at, Some(at(10)));

    // The end of the run comes before the time to look again.
    rig.spec.terminate = true;
    let plan = rig.look();
    assert!(matches!(plan.take[0].action, Action::Terminate(_)));
    let results = rig.measured(&plan, |_| answer(RunPhase::Inconclusive));
    rig.look_with(&results, &[]);
    assert_eq!(rig.result("m").measurements[0].message, "Metric Terminated");
    assert_eq!(rig.phase(), Some(RunPhase::Inconclusive));
}

#[test]
fn a_status_is_written_as_argo_writes_it() {
    let mut rig = Rig::new(run_of(vec![metric(json!({"interval": "10s", "count": 2}))]));
    rig.now = "2026-09-22T10:00:00.75Z".parse().unwrap();
    rig.pass(|_| answer(Successful));
    let patch = status_patch(None, &rig.status()).unwrap().unwrap();
    let time = "2026-09-22T10:00:00Z";
    assert_eq!(
        patch,
        json!({"status": {
            "phase": "Running", "startedAt": time, "runSummary": {"count": 1}, "dryRunSummary": {},
            "metricResults": [{
                "name": "m", "phase": "Running", "count": 1, "successful": 1, "consecutiveSuccess": 1,
                "measurements": [{"phase": "Successful", "startedAt": time, "finishedAt": time}],
            }],
        }})
    );
    let back: Value = serde_json::to_value(rig.status()).unwrap();
    assert_eq!(
        serde_json::to_value(serde_json::from_value::<okra_api::analysis::AnalysisRunStatus>(back.clone()).unwrap())
            .unwrap(),
        back
    );
}

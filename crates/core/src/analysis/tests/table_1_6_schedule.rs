use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use okra_api::RunPhase::{Error, Failed, Inconclusive, Running, Successful};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::rig::{Rig, answer, at, metric, run_of};
use crate::analysis::{Action, Outcome, Take};

fn just_after(seconds: i64) -> Timestamp {
    at(seconds) + SignedDuration::from_nanos(1)
}

/// When a run of one metric is measured, in seconds, with the answers in turn.
fn measured_at(fields: Value, answers: &[okra_api::RunPhase]) -> Vec<i64> {
    let mut rig = Rig::new(run_of(vec![metric(fields)]));
    let mut times = Vec::new();
    while times.len() < answers.len() {
        let mut asked = 0;
        let wake = rig.pass(|_| {
            asked += 1;
            answer(answers[times.len()])
        });
        if asked > 0 {
            times.push(rig.now.as_second() - at(0).as_second());
        }
        match wake {
            Some(wake) => rig.now = wake,
            None => break,
        }
    }
    times
}

#[test]
fn table_1_6_times_of_measurements() {
    let many = json!({"failureLimit": 100, "inconclusiveLimit": 100, "consecutiveErrorLimit": 100});
    let with = |more: Value| {
        let mut fields = many.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let s = Successful;
    for (fields, answers, wanted) in [
        // Once, without an interval; an error is tried again after ten seconds.
        (json!({}), vec![s, s], vec![0]),
        (json!({"count": 1, "failureLimit": 0}), vec![Error, Error, s, s], vec![0, 10, 20]),
        (json!({"count": 0}), vec![Error, s, s], vec![0, 10]),
        // From the end of the measurement before; after an error, always ten seconds.
        (
            with(json!({"interval": "30s", "count": 3, "failureLimit": 1, "inconclusiveLimit": 1})),
            vec![s, Failed, Inconclusive, s],
            vec![0, 30, 60],
        ),
        (with(json!({"interval": "1h"})), vec![s, Error, Error, s, s], vec![0, 3600, 3610, 3620, 7220]),
        (with(json!({"interval": "1s"})), vec![Error, s, s], vec![0, 10, 11]),
        // An error does not count.
        (json!({"interval": "5s", "count": 2}), vec![Error, s, Error, s, s], vec![0, 10, 15, 25]),
        // The delay begins when the first pass is over.
        (json!({"initialDelay": "1m"}), vec![s], vec![60]),
        (json!({"initialDelay": "0s", "interval": "5s"}), vec![s, s], vec![0, 5]),
        (json!({"initialDelay": "90s", "interval": "30s", "count": 2}), vec![s, s, s], vec![90, 120]),
        (json!({"initialDelay": "1m"}), vec![Error, s], vec![60, 70]),
    ] {
        assert_eq!(measured_at(fields.clone(), &answers), wanted, "{fields}");
    }
}

#[test]
fn table_1_6_due_strictly_after_the_interval() {
    let mut rig = Rig::new(run_of(vec![metric(json!({"interval": "10s"}))]));
    assert_eq!(rig.pass(|_| answer(Successful)), Some(just_after(10)));
    rig.now = at(10);
    assert_eq!((rig.look().take.len(), rig.look().wake_at), (0, Some(just_after(10))));
    rig.now = just_after(10);
    assert_eq!(rig.look().take.len(), 1);
}

#[test]
fn table_1_6_all_that_have_no_delay_are_measured_in_the_first_pass() {
    let mut rig = Rig::new(run_of(vec![
        metric(json!({"name": "late", "initialDelay": "20s"})),
        metric(json!({"name": "now"})),
        metric(json!({"name": "often", "interval": "15s", "count": 5})),
    ]));
    let plan = rig.look();
    assert_eq!(plan.take.iter().map(|take| take.name.as_str()).collect::<Vec<_>>(), ["now", "often"]);
    let results = rig.measured(&plan, |_| answer(Successful));
    let plan = rig.look_with(&results, &[]);
    assert_eq!((rig.phase(), plan.wake_at), (Some(Running), Some(just_after(15))), "the earliest of all");
    rig.later(20);
    let plan = rig.look();
    assert_eq!(plan.take.iter().map(|take| take.name.as_str()).collect::<Vec<_>>(), ["late", "often"]);
    assert_eq!((plan.take[0].number, plan.take[1].number), (0, 1));
}

#[test]
fn table_1_6_only_delayed_metrics_begin_with_a_pass_that_measures_nothing() {
    let mut rig = Rig::new(run_of(vec![metric(json!({"initialDelay": "20s"}))]));
    let plan = rig.look();
    assert_eq!((plan.take.len(), plan.wake_at), (0, Some(at(20))));
    assert_eq!((rig.phase(), rig.status().started_at), (Some(Running), Some(at(0))));
    assert!(rig.status().metric_results.is_empty());
}

#[test]
fn table_1_6_nothing_begins_when_the_run_ends() {
    let mut rig = Rig::new(run_of(vec![
        metric(json!({"name": "late", "initialDelay": "20s"})),
        metric(json!({"name": "often", "interval": "15s"})),
    ]));
    rig.pass(|_| answer(Successful));
    rig.spec.terminate = true;
    rig.later(30);
    let plan = rig.look();
    assert!(plan.take.is_empty());
    assert_eq!((rig.phase(), rig.status().message.as_str()), (Some(Successful), "Run Terminated"));
}

#[test]
fn a_measurement_that_is_known_to_be_over_is_looked_at_before_its_time() {
    let mut rig = Rig::new(run_of(vec![metric(json!({}))]));
    rig.ready.insert("rate".to_owned());
    let plan = rig.look();
    assert_eq!(plan.take.len(), 1, "nothing is in flight yet");
    let resume_at = Some(at(3600));
    let in_flight = |_: &Take| Outcome::InFlight { metadata: BTreeMap::new(), resume_at };
    let results = rig.measured(&plan, in_flight);
    rig.ready.clear();
    let plan = rig.look_with(&results, &[]);
    assert_eq!((plan.take.len(), plan.wake_at), (0, resume_at));
    let name = rig.status().metric_results[0].name.clone();
    rig.ready.insert(name);
    let plan = rig.look();
    assert!(matches!(plan.take[0].action, Action::Resume(_)), "{:?}", plan.take);
    let results = rig.measured(&plan, |_| answer(Successful));
    rig.look_with(&results, &[]);
    assert_eq!(rig.phase(), Some(Successful));
}

use okra_api::{
    RunPhase::{self, Error, Failed, Inconclusive, Successful},
    analysis::Measurement,
};
use okra_expr::Value;
use pretty_assertions::assert_eq;
use serde_json::json;

use super::rig::{Rig, metric, run_of};
use crate::analysis::{NoData, Outcome};

/// The measurement of one result, judged by two conditions.
fn measured(success: &str, failure: &str, result: &Value, text: &str, no_data: NoData) -> Measurement {
    let fields = json!({"successCondition": success, "failureCondition": failure});
    let mut rig = Rig::new(run_of(vec![metric(fields)]));
    rig.no_data = no_data;
    let plan = rig.look();
    let results = rig.measured(&plan, |_| Outcome::value(result.clone(), text));
    rig.look_with(&results, &[]);
    rig.result("m").measurements.remove(0)
}

fn phase(success: &str, failure: &str, result: f64) -> RunPhase {
    measured(success, failure, &result.into(), &result.to_string(), NoData::IsError).phase
}

#[test]
fn table_1_12_two_conditions() {
    for (success, failure, low, middle, high) in [
        ("", "", Successful, Successful, Successful),
        ("result < 2", "", Successful, Failed, Failed),
        ("", "result > 2", Successful, Successful, Failed),
        ("result < 2", "result > 2", Successful, Inconclusive, Failed),
        ("result < 9", "result > 2", Successful, Successful, Failed),
        ("false", "false", Inconclusive, Inconclusive, Inconclusive),
    ] {
        let found = [1.0, 2.0, 3.0].map(|result| phase(success, failure, result));
        assert_eq!(found, [low, middle, high], "{success} / {failure}");
    }
}

#[test]
fn table_1_12_errors_and_their_messages() {
    let numbers = |numbers: &[f64]| Value::from(numbers.to_vec());
    for (success, failure, result, text, wanted) in [
        (
            "result > 1",
            "",
            numbers(&[2.0]),
            "[2]",
            "could not evaluate successCondition \"result > 1\": invalid operation: > (mismatched types []float64 and int)",
        ),
        (
            "true",
            "result",
            1.0.into(),
            "1",
            "could not evaluate failureCondition \"result\": expected bool, but got float64",
        ),
        (
            "result[0] < 1",
            "",
            numbers(&[]),
            "[]",
            "could not evaluate successCondition \"result[0] < 1\": metric result is nil or empty: no data returned from the metric provider",
        ),
        (
            "result.a > 1",
            "",
            Value::Nil,
            "",
            "could not evaluate successCondition \"result.a > 1\": metric result is nil or empty: no data returned from the metric provider",
        ),
    ] {
        let found = measured(success, failure, &result, text, NoData::AsArgo);
        assert_eq!(
            (found.phase, found.message.as_str(), found.value.as_str()),
            (Error, wanted, ""),
            "{success} {failure}"
        );
    }
    // Failure is looked at even if success holds, and its error counts.
    assert_eq!(measured("true", "result.x > 1", &1.0.into(), "1", NoData::AsArgo).phase, Error);
}

#[test]
fn table_1_12_what_is_not_a_number() {
    let nan = |success: &str, failure: &str, no_data: NoData| {
        measured(success, failure, &f64::NAN.into(), "NaN", no_data).phase
    };
    for (success, failure, as_argo, safe) in [
        ("result < 1", "", Failed, Failed),
        ("result < 1", "result >= 1", Inconclusive, Inconclusive),
        // Argo lets these pass; S15 does not.
        ("", "result >= 1", Successful, Error),
        ("", "", Successful, Error),
        // The author says what it means.
        ("isNaN(result) || result < 1", "", Successful, Successful),
        ("", "!isNaN(result) && result >= 1", Successful, Successful),
    ] {
        assert_eq!(nan(success, failure, NoData::AsArgo), as_argo, "{success} / {failure}");
        assert_eq!(nan(success, failure, NoData::IsError), safe, "{success} / {failure}");
    }
}

#[test]
fn table_1_12_empty_results() {
    let empty = || Value::from(Vec::<f64>::new());
    for (success, result, text, as_argo, safe) in [
        ("", empty(), "[]", Successful, Error),
        ("all(result, # < 1)", empty(), "[]", Successful, Error),
        ("any(result, # < 1)", empty(), "[]", Failed, Failed),
        ("len(result) == 0", empty(), "[]", Successful, Successful),
        ("isNil(result)", Value::Nil, "null", Successful, Successful),
        ("default(result, 0) == 0", Value::Nil, "null", Successful, Successful),
        ("true", Value::Nil, "null", Successful, Error),
        ("true", Value::json(&json!({})), "{}", Successful, Error),
        ("true", Value::json(&json!([[], []])), "[[] []]", Successful, Error),
        ("true", Value::json(&json!([[], [1]])), "[[] [1]]", Successful, Successful),
        ("true", "".into(), "", Successful, Error),
        ("result == \"\"", "".into(), "\"\"", Successful, Successful),
        ("true", 0.0.into(), "0", Successful, Successful),
        ("true", false.into(), "false", Successful, Successful),
    ] {
        let found = |no_data| measured(success, "", &result, text, no_data).phase;
        assert_eq!((found(NoData::AsArgo), found(NoData::IsError)), (as_argo, safe), "{success} {text}");
    }
    let message = measured("", "", &empty(), "[]", NoData::IsError).message;
    assert_eq!(message, "metric result is nil or empty: no data returned from the metric provider");
}

#[test]
fn table_1_12_values_that_are_kept() {
    let good = measured("result < 1", "", &0.5.into(), "0.5", NoData::IsError);
    assert_eq!((good.phase, good.value.as_str(), good.message.as_str()), (Successful, "0.5", ""));
    let long = "x".repeat(100_000);
    let found = measured("true", "", &long.as_str().into(), &long, NoData::IsError);
    assert_eq!((found.value.len(), found.value.ends_with("...")), (4_099, true), "an object has to fit into etcd");
    // Argo's CloudWatch and Graphite providers keep the value of an error.
    for (provider, kept) in [("cloudWatch", "[[1]]"), ("graphite", "[[1]]"), ("prometheus", "")] {
        let fields = json!({"successCondition": "nonsense", "provider": {provider: {}}});
        let mut rig = Rig::new(run_of(vec![metric(fields)]));
        let plan = rig.look();
        let results = rig.measured(&plan, |_| Outcome::value(1.0, "[[1]]"));
        rig.look_with(&results, &[]);
        assert_eq!(rig.result("m").measurements[0].value, kept, "{provider}");
    }
}

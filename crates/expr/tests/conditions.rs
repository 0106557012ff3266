//! The condition tables of Argo Rollouts: what a measurement says, and in which words it fails.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests are not seen as tests"
)]

use jiff::Timestamp;
use okra_expr::{Budget, Verdict, holds, judge, time};
use okra_expr::{Program, Shape, Value};
use pretty_assertions::assert_eq;
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn judged(result: &Value, success: &str, failure: &str) -> Result<Verdict, String> {
    judge(result, success, failure, now(), Budget::default()).map_err(|error| error.to_string())
}

fn held(result: &Value, condition: &str) -> Result<bool, String> {
    holds(condition, result, now(), Budget::default()).map_err(|error| error.to_string())
}

#[test]
fn the_verdict_follows_from_both_conditions() {
    let result = Value::from(5.0);
    let table = [
        ("", "", Verdict::Successful),
        ("result > 1", "", Verdict::Successful),
        ("result > 9", "", Verdict::Failed),
        ("", "result > 1", Verdict::Failed),
        ("", "result > 9", Verdict::Successful),
        ("result > 1", "result > 1", Verdict::Failed),
        ("result > 9", "result > 1", Verdict::Failed),
        ("result > 1", "result > 9", Verdict::Successful),
        ("result > 9", "result > 9", Verdict::Inconclusive),
    ];
    for (success, failure, expected) in table {
        assert_eq!(judged(&result, success, failure), Ok(expected), "{success:?} {failure:?}");
    }
}

#[test]
fn nan_compares_false_to_everything() {
    for result in [Value::from(f64::NAN), Value::json(&json!("x"))] {
        let (success, failure) = match result {
            Value::Float(_) => ("result >= 0.95", "result < 0.95"),
            _ => ("asFloat('NaN') >= 0.95", "asFloat('NaN') < 0.95"),
        };
        assert_eq!(judged(&result, success, failure), Ok(Verdict::Inconclusive));
        assert_eq!(judged(&result, success, ""), Ok(Verdict::Failed));
        assert_eq!(judged(&result, "", failure), Ok(Verdict::Successful));
    }
}

#[test]
fn an_error_in_either_condition_is_the_measurements() {
    let vector = Value::from(vec![0.9]);
    let table = [
        ("result > 1", "true", "successCondition", "invalid operation: > (mismatched types []float64 and int)"),
        ("true", "result > 1", "failureCondition", "invalid operation: > (mismatched types []float64 and int)"),
        ("result[0]", "", "successCondition", "expected bool, but got float64"),
        ("result[3] > 1", "", "successCondition", "index out of range: 3 (array length is 1)"),
        ("nope", "", "successCondition", "unknown name nope"),
        ("result[0] == '5'", "", "successCondition", "invalid operation: == (mismatched types float64 and string)"),
    ];
    for (success, failure, condition, cause) in table {
        let source = if condition == "successCondition" { success } else { failure };
        let expected = format!("could not evaluate {condition} \"{source}\": {cause}");
        assert_eq!(judged(&vector, success, failure), Err(expected));
    }
}

#[test]
fn no_data_is_named_as_the_cause() {
    let cause = "metric result is nil or empty: no data returned from the metric provider";
    for result in [Value::Nil, Value::from(Vec::<f64>::new()), Value::json(&json!([]))] {
        let expected = format!("could not evaluate successCondition \"result[0] > 1\": {cause}");
        assert_eq!(judged(&result, "result[0] > 1", ""), Err(expected));
    }
    assert_eq!(judged(&Value::from(Vec::<f64>::new()), "len(result) == 0", ""), Ok(Verdict::Successful));
    assert_eq!(judged(&Value::from(Vec::<f64>::new()), "isNil(result)", ""), Ok(Verdict::Failed));
    assert_eq!(judged(&Value::Nil, "default(result, 0) < 5", ""), Ok(Verdict::Successful));
}

#[test]
fn default_and_is_nil_look_at_the_whole_result() {
    let result = Value::json(&json!({"a": 1}));
    assert_eq!(held(&result, "default(result.n, 3) == result"), Ok(true));
    assert_eq!(held(&result, "isNil(result.n)"), Ok(false));
    assert_eq!(held(&Value::Nil, "isNil(1)"), Ok(true));
    assert_eq!(held(&Value::Nil, "default(1, 2) == 2"), Ok(true));
}

#[test]
fn names_of_new_relics_types_are_its_librarys() {
    let one = Value::new_relic(&[json!({"count": 5})]);
    assert_eq!(held(&one, "result.count == 5"), Ok(true));
    let message = "invalid operation: > (mismatched types nrdb.NRDBResult and int)";
    assert_eq!(held(&one, "result > 1"), Err(message.to_owned()));
    let two = Value::new_relic(&[json!({"count": 5}), json!({"count": 6})]);
    assert_eq!(held(&two, "all(result, .count > 4)"), Ok(true));
    let message = "invalid operation: > (mismatched types []nrdb.NRDBResult and int)";
    assert_eq!(held(&two, "result > 1"), Err(message.to_owned()));
}

#[test]
fn a_range_query_takes_times() {
    let at = |expression: &str| time(expression, now(), Budget::default()).map_err(|error| error.to_string());
    assert_eq!(at("now()"), Ok(now()));
    assert_eq!(at("now() - duration(\"1h\")"), Ok("2026-01-01T11:00:00Z".parse().unwrap()));
    assert_eq!(at("date(\"2026-01-01\")"), Ok("2026-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(at("1"), Err("expected time.Time, but got int".to_owned()));
    assert_eq!(at("result"), Err("unknown name result".to_owned()));
    assert_eq!(at("asInt('1')"), Err("unknown name asInt".to_owned()));
    assert_eq!(at("isNaN(1)"), Err("expected time.Time, but got bool".to_owned()));
}

#[test]
fn a_linter_refuses_only_what_no_result_makes_right() {
    let compile = |source: &str, shape: &Shape| Program::compile(source, shape).map(|_| ()).map_err(|e| e.to_string());
    assert_eq!(compile("result.a > 1", &Shape::unknown()), Ok(()));
    assert_eq!(compile("result > 1 && result[0] > 1", &Shape::unknown()), Ok(()));
    assert_eq!(compile("nope > 1", &Shape::unknown()), Err("unknown name nope".to_owned()));
    let error = compile("result[0] > 1", &Shape::number());
    assert_eq!(error, Err("type float64[int] is undefined".to_owned()));
    let error = Program::compile("result > 1", &Shape::numbers()).unwrap_err();
    assert_eq!(error.position(), 7);
    assert_eq!(compile("result[0].Values[0] > 1", &Shape::cloud_watch()), Ok(()));
    assert_eq!(compile("result.x", &Shape::nil()), Err("type nil has no field x".to_owned()));
}

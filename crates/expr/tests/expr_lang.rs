//! Case by case against expr-lang 1.17.8 itself: `data/expr_lang.jsonl` holds what the Go library gave for each
//! expression, with the environment of Argo Rollouts.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests are not seen as tests"
)]

use jiff::Timestamp;
use okra_expr::{Budget, Clock, MetricDataResult, Program, Shape, Value};
use pretty_assertions::assert_eq;
use serde_json::Value as Json;

fn result_of(row: &Json) -> Value {
    let text = |value: &Json| value.as_str().unwrap().parse::<f64>().unwrap();
    match row["shape"].as_str().unwrap() {
        "float" => Value::from(text(&row["result"])),
        "floats" => Value::from(row["result"].as_array().unwrap().iter().map(text).collect::<Vec<f64>>()),
        "cloudwatch" => Value::cloud_watch(vec![MetricDataResult {
            id: Some("m1".to_owned()),
            label: Some("errors".to_owned()),
            status_code: "Complete".to_owned(),
            timestamps: vec![Timestamp::from_second(1_700_000_000).unwrap()],
            values: vec![3.0, 2.0, 1.0],
            messages: Vec::new(),
        }]),
        _ => Value::json(&row["result"]),
    }
}

/// The type and the value as Go prints them, or the message.
fn outcome(expression: &str, result: &Value) -> Result<String, String> {
    let clock = Clock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let program = Program::compile(expression, &Shape::of(result)).map_err(|error| error.to_string())?;
    let value = program.eval(result, clock, Budget::default()).map_err(|error| error.to_string())?;
    Ok(format!("{} {value}", value.type_name()))
}

#[test]
fn outcomes_are_those_of_expr_lang() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("data/expr_lang.jsonl").lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        let expression = row["expr"].as_str().unwrap();
        let expected = match row["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(row["value"].as_str().unwrap_or_default().to_owned()),
        };
        let found = outcome(expression, &result_of(&row));
        count += 1;
        if found != expected {
            wrong.push(format!("{expression} over {}\n  expected {expected:?}\n  found    {found:?}", row["result"]));
        }
    }
    assert!(count > 2000, "the table holds {count} rows");
    assert_eq!(wrong.join("\n"), "", "{} of {count}", wrong.len());
}

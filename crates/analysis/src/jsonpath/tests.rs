//! Case by case against client-go itself: `data/client_go.jsonl` holds what the Go package gave for each path and
//! document.

use pretty_assertions::assert_eq;
use proptest::prelude::*;
use serde::Deserialize;

use super::JsonPath;

#[derive(Deserialize)]
struct Case {
    path: String,
    doc: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    error: String,
}

/// Values with their types, or the error.
type Outcome = Result<Vec<(String, String)>, String>;

fn ours(case: &Case) -> Outcome {
    let path = JsonPath::parse(&case.path).map_err(|error| format!("parse: {error}"))?;
    let document = serde_json::from_str(&case.doc).unwrap();
    let found = path.find(&document)?;
    Ok(found.iter().map(|item| (item.json(), item.value().type_name())).collect())
}

#[test]
fn outcomes_are_those_of_client_go() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in include_str!("data/client_go.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        // Where Go panics, there is an outcome here.
        if case.error.starts_with("panic") {
            continue;
        }
        let mut theirs: Outcome = match case.error.as_str() {
            "" => Ok(case.values.iter().cloned().zip(case.types.iter().cloned()).collect()),
            error => Err(error.to_owned()),
        };
        let mut ours = ours(&case);
        // Go goes over maps in any order.
        if case.path.contains('*') || case.path.contains("..") {
            ours.iter_mut().chain(theirs.iter_mut()).for_each(|values| values.sort());
        }
        count += 1;
        if ours != theirs {
            wrong.push(format!("{} on {}:\n  ours   {ours:?}\n  theirs {theirs:?}", case.path, case.doc));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 450, "{count}");
}

#[test]
fn a_body_of_null_is_nil() {
    let found = JsonPath::parse("{$}").unwrap();
    let null = serde_json::Value::Null;
    let found = found.find(&null).unwrap();
    assert_eq!((found.len(), found[0].json().as_str()), (1, "null"));
    assert_eq!(found[0].value().type_name(), "<nil>");
}

#[test]
fn work_is_bounded() {
    let document: serde_json::Value = serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap();
    let wide: serde_json::Value = serde_json::json!({"a": vec!["x".repeat(1000); 500]});
    for path in
        ["{..[*]..[*]..[*]..[*]..[*]..[*]}", "{..}", "{['a','a']['a','a']}", "{range ..}{range ..}{range ..}{..}"]
    {
        let path = JsonPath::parse(path).unwrap();
        for document in [&document, &wide] {
            // Whatever comes out, it comes out.
            drop(path.find(document));
        }
    }
    let deep = "[?(".repeat(500) + "@" + &")]".repeat(500);
    assert!(JsonPath::parse(&format!("{{{deep}}}")).is_err());
    assert!(JsonPath::parse(&format!("{{{}}}", ".a".repeat(3000))).is_err());
    let squared = JsonPath::parse(&format!("{{{}}}", "['a','a']".repeat(40))).unwrap();
    let mut nested = serde_json::json!(1);
    for _ in 0..40 {
        nested = serde_json::json!({"a": nested});
    }
    assert_eq!(squared.find(&nested).map(|_| ()), Err("the JSONPath takes too much work".to_owned()));
}

proptest! {
    #[test]
    fn no_path_panics(path in "[{}\\[\\]().,:*?@$'\"\\\\ab0-9<>=! -]{0,40}") {
        let document = serde_json::json!({"a": [1, {"b": "x"}, null], "b": {"a": true}});
        if let Ok(path) = JsonPath::parse(&path) {
            drop(path.find(&document));
        }
    }
}

//! Expressions that mean harm, or nothing: they end with an error within the budget, and never with a panic. More cases
//! than by default: `PROPTEST_CASES=1000000 cargo test -p okra-expr --test hostile`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests are not seen as tests"
)]

use jiff::Timestamp;
use okra_expr::{Budget, EvalError, Program, Shape, Value, holds};
use proptest::prelude::*;
use serde_json::json;

#[path = "../../../fuzz/entries/condition.rs"]
mod fuzzed;
#[path = "../../../fuzz/spoiled.rs"]
mod spoiled;

fn run(source: &str, result: &Value) -> Result<bool, String> {
    holds(source, result, Timestamp::UNIX_EPOCH, Budget::default()).map_err(|error| error.to_string())
}

#[test]
fn hostile_expressions_end_with_an_error() {
    let nested = |open: &str, close: &str, count: usize| format!("{}1{}", open.repeat(count), close.repeat(count));
    let hostile = [
        nested("(", ")", 2000),
        nested("[", "]", 2000),
        nested("{a:", "}", 800),
        nested("-", "", 4000),
        nested("!", "", 4000),
        nested("len(", ")", 800),
        nested("if true {", "} else {1}", 200),
        nested("1 ?: (", ")", 600),
        nested("1 < (", " < 2) < 3", 60),
        "let a = 1; ".repeat(300) + "1",
        format!("1{}", "|len()".repeat(600)),
        format!("result{}", ".a".repeat(2000)),
        format!("1{}", "?1:1".repeat(1000)),
        format!("1{}", "**1".repeat(1300)),
        "len(1..1000000000) > 0".to_owned(),
        "all(1..10000000, true)".to_owned(),
        "all(1..100000, all(1..100000, true))".to_owned(),
        "len(map(1..1000, map(1..1000, map(1..1000, #)))) > 0".to_owned(),
        "len(reduce(1..100000, [#acc], [])) == 1".to_owned(),
        "len(reduce(1..1000, #acc + #acc, 'a')) > 0".to_owned(),
        "len(repeat(repeat('a', 100000), 100000)) > 0".to_owned(),
        "repeat('a', 1000000) matches '(a*)*(a*)*b'".to_owned(),
        "repeat('a', 20000) matches '(((((a{30}){30}){30}){30}){30})'".to_owned(),
        "'a' matches '(((((((()){1000}){1000}){1000}){1000}){1000}){1000})x'".to_owned(),
        "replace(repeat('a', 10000), 'a', repeat('b', 10000)) == ''".to_owned(),
        "len(split(repeat('a', 1000000), '')) > 0".to_owned(),
        "len(flatten(map(1..1000, 1..1000))) > 0".to_owned(),
        "len(uniq(1..100000)) > 0".to_owned(),
        "len(fromJSON(repeat('[', 100000))) > 0".to_owned(),
        "len(toJSON(map(1..1000, 1..1000))) > 0".to_owned(),
        "len(string(map(1..1000, 1..1000))) > 0".to_owned(),
        "len(sort(map(1..90000, -#))) > 0".to_owned(),
        "trim(repeat('ab', 50000), repeat('ab', 50000)) == ''".to_owned(),
    ];
    for source in hostile {
        assert!(run(&source, &Value::Nil).is_err(), "{} ends with an error", &source[..source.len().min(60)]);
    }
}

#[test]
fn long_chains_are_no_harm() {
    let chain = format!("{}true", "result > 1 && ".repeat(290));
    assert_eq!(run(&chain, &Value::from(2.0)), Ok(true));
    let sum = format!("1{} == 2001", "+1".repeat(2000));
    assert_eq!(run(&sum, &Value::Nil), Ok(true));
}

#[test]
fn a_large_result_has_its_own_budget() {
    let result = Value::from(vec![0.5; 100_000]);
    let all = |budget| holds("all(result, # < 1)", &result, Timestamp::UNIX_EPOCH, budget);
    assert_eq!(all(Budget::default()).unwrap_err().to_string(), EvalError::Steps.to_string());
    assert_eq!(all(Budget::for_result(&result)), Ok(true));
}

fn results() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Nil),
        any::<f64>().prop_map(Value::from),
        prop::collection::vec(any::<f64>(), 0..5).prop_map(Value::from),
        Just(Value::json(&json!({"a": {"b": [1, "x", null, true]}, "n": 5}))),
        Just(Value::json(&json!([{"v": 1}, {"v": "2"}]))),
        Just(Value::json(&json!("text"))),
        Just(Value::cloud_watch(vec![okra_expr::MetricDataResult::default()])),
    ]
}

/// Expressions that parse, most of them without sense.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0",
        "2.5",
        "'a'",
        "''",
        "true",
        "false",
        "nil",
        "result",
        "result[0]",
        "result.a",
        "result.a.b",
        "[]",
        "[1, 2]",
        "{a: 1}",
        "1..5",
        "now()",
        "duration('1h')",
        "date('2026-01-01')",
        "#",
        "#index",
        "#acc",
        "b'x'",
        "$env",
        "len",
        "timezone('UTC')",
        "asFloat('NaN')",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "**",
            "==",
            "!=",
            "<",
            ">",
            "<=",
            ">=",
            "and",
            "or",
            "in",
            "not in",
            "contains",
            "matches",
            "startsWith",
            "endsWith",
            "..",
            "??",
        ]);
        let function = prop::sample::select(vec![
            "len",
            "type",
            "abs",
            "ceil",
            "round",
            "int",
            "float",
            "string",
            "trim",
            "upper",
            "max",
            "min",
            "mean",
            "median",
            "toJSON",
            "fromJSON",
            "toBase64",
            "fromBase64",
            "first",
            "last",
            "keys",
            "values",
            "toPairs",
            "fromPairs",
            "reverse",
            "uniq",
            "concat",
            "flatten",
            "sort",
            "bitnot",
            "asInt",
            "asFloat",
            "isNaN",
            "isNil",
            "duration",
            "date",
        ]);
        let predicate = prop::sample::select(vec![
            "all",
            "any",
            "none",
            "one",
            "filter",
            "map",
            "find",
            "findIndex",
            "findLast",
            "findLastIndex",
            "count",
            "sum",
            "groupBy",
            "sortBy",
            "reduce",
        ]);
        let two = prop::sample::select(vec![
            "split",
            "join",
            "get",
            "take",
            "indexOf",
            "repeat",
            "default",
            "bitand",
            "bitshl",
            "replace",
            "trimPrefix",
        ]);
        prop_oneof![
            (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (predicate, inner.clone(), inner.clone()).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            (two, inner.clone(), inner.clone()).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}:]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("let x = {a}; (x) == ({b})")),
            inner.clone().prop_map(|a| format!("({a})?.a?.[0]")),
            inner.clone().prop_map(|a| format!("not ({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn random_text_never_panics(source in "\\PC{0,60}", result in results()) {
        let once = run(&source, &result);
        prop_assert_eq!(once, run(&source, &result));
    }

    #[test]
    fn random_tokens_never_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "(", ")", "[", "]", "{", "}", "#", ".", "?.", "..", "|", "?", ":", ",", ";", "let", "if", "else", "not", "in",
            "matches", "==", "<", "1", "2.5", "'a'", "x", "=", "result", "all", "len", "nil", "::", "`", "\\", "b'", "//", "/*",
        ]), 0..30),
        result in results(),
    ) {
        let source = tokens.join(" ");
        prop_assert_eq!(run(&source, &result), run(&source, &result));
    }

    #[test]
    fn random_expressions_never_panic(source in expressions(), result in results()) {
        prop_assert_eq!(run(&source, &result), run(&source, &result));
        // Without a result to check against, less is refused.
        let known = Program::compile(&source, &Shape::of(&result)).is_ok();
        if known && !matches!(result, Value::Nil) {
            prop_assert!(Program::compile(&source, &Shape::unknown()).is_ok(), "{}", source);
        }
    }

    #[test]
    fn random_patterns_never_panic(pattern in "[-a-z\\\\()\\[\\]{}*+?|.^$0-9:,]{0,30}", text in "[a-z0-9]{0,30}") {
        let source = format!("`{text}` matches `{pattern}`");
        prop_assert_eq!(run(&source, &Value::Nil), run(&source, &Value::Nil));
    }
}

#[test]
fn seeds_of_the_fuzz_target_say_something() {
    let seeds = spoiled::seeds("condition");
    assert!(seeds.len() >= 5, "{}", seeds.len());
    for seed in &seeds {
        let text = String::from_utf8(seed.clone()).unwrap();
        let (expression, _) = text.split_once('\n').unwrap();
        Program::compile(expression, &Shape::unknown()).unwrap_or_else(|error| panic!("{expression}: {error}"));
    }
}

proptest! {
    /// What the fuzz target does.
    #[test]
    fn spoiled_seeds_never_panic(data in spoiled::spoiled("condition")) {
        fuzzed::condition(&data);
    }

    #[test]
    fn random_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzed::condition(&data);
    }
}

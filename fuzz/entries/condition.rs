//! What is done with fuzzed bytes: an expression up to the first line end, and after it the result as JSON. The fuzz target
//! and a test on the stable toolchain share it.

use okra_expr::{Budget, Value, holds};

/// More than any message holds, whatever it quotes.
const LONGEST_MESSAGE: usize = 16 << 10;

/// Judges a result by an expression. Panics when that is not the same twice, or says more than it may.
pub fn condition(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (expression, result) = text.split_once('\n').unwrap_or((&text, ""));
    let given = serde_json::from_str::<serde_json::Value>(result).map(|json| Value::json(&json));
    let numbers = Value::from(vec![0.5, f64::NAN, -0.0, f64::INFINITY]);
    for result in [given.unwrap_or(Value::Nil), Value::from(0.95), numbers] {
        let judge = || {
            let outcome = holds(expression, &result, jiff::Timestamp::UNIX_EPOCH, Budget::default());
            outcome.map_err(|error| error.to_string())
        };
        let outcome = judge();
        assert_eq!(outcome, judge(), "the same expression has two verdicts");
        let message = outcome.err().unwrap_or_default();
        assert!(message.len() <= LONGEST_MESSAGE, "a message of {} bytes", message.len());
    }
}

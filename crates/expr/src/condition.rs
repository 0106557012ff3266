//! What Argo Rollouts makes of expressions: `utils/evaluate` of its source.

use jiff::Timestamp;

use crate::budget::Budget;
use crate::error::{CompileError, EvalError};
use crate::program::{Clock, Environment, Program};
use crate::types::Shape;
use crate::value::Value;

/// What a measurement says, where both conditions could be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `Successful`.
    Successful,
    /// `Failed`.
    Failed,
    /// `Inconclusive`: neither condition holds.
    Inconclusive,
}

/// Why a condition gave no answer. Each prints as Argo Rollouts has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// The expression does not fit the result.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The evaluation failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// It gave something else than a boolean; the type is named as Go does.
    #[error("expected bool, but got {0}")]
    NotBool(String),
    /// It gave something else than a time.
    #[error("expected time.Time, but got {0}")]
    NotTime(String),
}

/// Why a measurement is an error: the message of the measurement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not evaluate {condition} \"{source_text}\": {cause}")]
pub struct VerdictError {
    condition: &'static str,
    source_text: String,
    cause: String,
}

/// Evaluates one condition: Argo's `EvalCondition`.
///
/// # Errors
/// If it does not compile against this result, fails, or gives no boolean.
pub fn holds(condition: &str, result: &Value, now: Timestamp, budget: Budget) -> Result<bool, ConditionError> {
    let program = Program::compile(condition, &Shape::of(result))?;
    match program.eval(result, Clock::at(now), budget)? {
        Value::Bool(holds) => Ok(holds),
        other => Err(ConditionError::NotBool(other.type_name())),
    }
}

/// Judges one measurement: Argo's `EvaluateResult`. An empty condition is none. Both conditions are evaluated, the one
/// for success first; failure wins over success.
///
/// # Errors
/// If a condition could not be evaluated. Where there is no data, that is the cause given.
pub fn judge(
    result: &Value,
    success_condition: &str,
    failure_condition: &str,
    now: Timestamp,
    budget: Budget,
) -> Result<Verdict, VerdictError> {
    let evaluate = |name: &'static str, condition: &str| {
        if condition.is_empty() {
            return Ok(None);
        }
        holds(condition, result, now, budget).map(Some).map_err(|error| VerdictError {
            condition: name,
            source_text: condition.to_owned(),
            cause: if result.is_nil_or_empty() {
                "metric result is nil or empty: no data returned from the metric provider".to_owned()
            } else {
                error.to_string()
            },
        })
    };
    let success = evaluate("successCondition", success_condition)?;
    let failure = evaluate("failureCondition", failure_condition)?;
    Ok(match (success, failure) {
        (None | Some(true), None | Some(false)) => Verdict::Successful,
        (Some(false), None) | (_, Some(true)) => Verdict::Failed,
        (Some(false), Some(false)) => Verdict::Inconclusive,
    })
}

/// Evaluates the start or end of a Prometheus range query, such as `now() - duration("1h")`: Argo's `EvalTime`.
///
/// # Errors
/// If it does not compile, fails, or gives no time.
pub fn time(expression: &str, now: Timestamp, budget: Budget) -> Result<Timestamp, ConditionError> {
    let program = Program::compile_in(expression, &Shape::nil(), Environment::Time)?;
    match program.eval(&Value::Nil, Clock::at(now), budget)? {
        Value::Time(time) => Ok(time.timestamp()),
        other => Err(ConditionError::NotTime(other.type_name())),
    }
}

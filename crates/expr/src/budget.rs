//! What an evaluation may cost.

use crate::error::EvalError;
use crate::value::Value;

/// How deep a value that an expression builds may nest lists and maps. Go allows 10,000 and has a stack that grows.
pub const MAX_DEPTH: u32 = 200;

/// What one evaluation may cost. The defaults keep a hostile expression within 10 ms and 4 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Units of work: one per node that is evaluated, and one per few bytes or elements that a function goes over.
    pub steps: u64,
    /// Bytes of all values that are made, whether or not they are still held.
    pub memory: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 150_000, memory: 3 << 20 }
    }
}

impl Budget {
    /// The default, and in addition what a sensible condition needs to go over this result: a range query may have
    /// given a hundred thousand samples, which is no fault of the expression.
    pub fn for_result(result: &Value) -> Self {
        let elements = match result {
            Value::List(list) => list.len() as u64,
            Value::Text(text) => text.len() as u64 / 16,
            _ => 0,
        };
        let base = Self::default();
        Self { steps: base.steps + elements * 12, memory: base.memory + elements * 32 }
    }
}

/// What is left of a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    steps: u64,
    memory: u64,
}

impl Meter {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { steps: budget.steps, memory: budget.memory }
    }

    pub(crate) fn steps(&mut self, count: usize) -> Result<(), EvalError> {
        self.steps = self.steps.checked_sub(count as u64).ok_or(EvalError::Steps)?;
        Ok(())
    }

    /// Bytes that are about to be taken, and the work to fill them.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<(), EvalError> {
        self.memory = self.memory.checked_sub(count as u64).ok_or(EvalError::Memory)?;
        self.steps(count / 64)
    }

    /// Room for that many values.
    pub(crate) fn values(&mut self, count: usize) -> Result<(), EvalError> {
        self.bytes(count.saturating_mul(size_of::<Value>()))?;
        self.steps(count / 4)
    }

    /// A new value, if it is not nested too deep.
    pub(crate) fn built(value: Value) -> Result<Value, EvalError> {
        if value.depth() > MAX_DEPTH { Err(EvalError::Depth) } else { Ok(value) }
    }
}

//! A checked expression, ready to be evaluated.

use jiff::Timestamp;

use crate::ast::Tree;
use crate::budget::{Budget, Meter};
use crate::error::{CompileError, EvalError};
use crate::eval::{Machine, Stop};
use crate::types::{Nature, Shape};
use crate::value::Value;

/// What names an expression may use beside the built-in functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A condition: `result`, `asInt`, `asFloat`, `isNaN`, `isInf`, `isNil`, `default`.
    Condition,
    /// The start or end of a Prometheus range query: `isNaN`, `isInf`.
    Time,
}

/// What time `now()` tells: the same at every call of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(Timestamp);

impl Clock {
    /// A clock that stands at this time.
    pub fn at(now: Timestamp) -> Self {
        Self(now)
    }

    pub(crate) fn now(self) -> Timestamp {
        self.0
    }
}

/// An expression that was parsed, checked against the shape of the result, and optimised.
#[derive(Debug, Clone)]
pub struct Program {
    tree: Tree,
    natures: Vec<Nature>,
    environment: Environment,
    gives: Nature,
}

impl Program {
    /// Compiles a condition against the Go type that `result` will have.
    ///
    /// # Errors
    /// What expr-lang's compiler would say. An expression that is too long, too deep or too large is refused as well.
    pub fn compile(source: &str, shape: &Shape) -> Result<Self, CompileError> {
        Self::compile_in(source, shape, Environment::Condition)
    }

    /// Compiles an expression of either kind. The shape is of no account where there is no `result`.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_in(source: &str, shape: &Shape, environment: Environment) -> Result<Self, CompileError> {
        let mut tree = crate::parser::parse(source)?;
        let natures = crate::check::check(&mut tree, shape, environment)?;
        let gives = natures.get(tree.root as usize).cloned().unwrap_or_default();
        crate::fold::optimise(&mut tree, &natures)?;
        Ok(Self { tree, natures, environment, gives })
    }

    /// The Go type of what it gives, as far as it is known before there is a result; none where anything may come.
    pub fn gives(&self) -> Option<String> {
        match &self.gives {
            nature if nature.nil => Some("<nil>".to_owned()),
            nature if nature.is_unknown() => None,
            nature => Some(nature.to_string()),
        }
    }

    /// Evaluates it over a result of the shape that it was compiled against.
    ///
    /// # Errors
    /// What expr-lang's machine would say, or that the budget is used up.
    pub fn eval(&self, result: &Value, clock: Clock, budget: Budget) -> Result<Value, EvalError> {
        let mut machine = Machine {
            tree: &self.tree,
            natures: &self.natures,
            result,
            environment: self.environment,
            clock,
            meter: Meter::new(budget),
            variables: Vec::new(),
            frames: Vec::new(),
        };
        match machine.eval(self.tree.root) {
            Ok(value) => Ok(value),
            Err(Stop::Error(error)) => Err(error),
            // A chain is around every optional link.
            Err(Stop::Nil) => Ok(Value::Nil),
        }
    }
}

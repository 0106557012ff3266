//! The condition language of Argo Rollouts' AnalysisTemplates: expr-lang 1.17.8 with Go's types, within a budget.
//!
//! [`judge`] is what a measurement needs; [`Program`] is the language by itself, for a linter or for a time of a range
//! query ([`time`]).
//!
//! An expression goes through the stages of expr-lang, because each can be seen from outside: the parser's precedences,
//! the check against the Go type of `result` ([`Shape`]), the optimiser (`x or true` never looks at `x`), and the
//! evaluation with Go's rules for numbers, NaN and nil. Messages are those of expr-lang and Go.
//!
//! # Grammar
//!
//! ```text
//! program    = sequence
//! sequence   = expression { ";" expression } [ ";" ]
//! expression = "let" name "=" expression ";" sequence
//!            | "if" expression block "else" ( block | if-expression )
//!            | operation [ "?" [ expression ] ":" expression ]
//! block      = "{" sequence "}"
//! operation  = primary { binary operation | "not" negatable operation | "|" call }
//! binary     = "or" "||" (10)  "and" "&&" (15)
//!            | "==" "!=" "<" ">" "<=" ">=" "in" "matches" "contains" "startsWith" "endsWith" (20)
//!            | ".." (25)  "+" "-" (30)  "*" "/" "%" (60)  "**" "^" (100, from the right)  "??" (500)
//! negatable  = "in" | "matches" | "contains" | "startsWith" | "endsWith"
//! primary    = ( "not" | "!" ) operation (50) | ( "-" | "+" ) operation (90)
//!            | ( "(" sequence ")" | pointer | literal | name | [ "::" ] call | array | map ) { postfix }
//! postfix    = ( "." | "?." ) name [ "(" arguments ")" ] | [ "?." ] "[" expression "]"
//!            | "[" [ expression ] ":" [ expression ] "]"
//! call       = name "(" arguments ")"; a predicate is an expression or a block
//! pointer    = "#" | "#index" | "#acc" | nothing before ".": in predicates only
//! array      = "[" [ expression { "," expression } [ "," ] ] "]"
//! map        = "{" [ pair { "," pair } [ "," ] ] "}"
//! pair       = ( name | number | string | "(" expression ")" ) ":" expression
//! literal    = "true" | "false" | "nil" | number | string | "b" string
//! number     = decimal, "0x", "0o" or "0b", "_" between digits, fraction and exponent
//! string     = '..' | ".." with escapes | `..` without
//! comment    = "//" to the end of the line | "/*" .. "*/"
//! ```
//!
//! Comparisons chain: `1 < x < 3` means that both hold.
//!
//! # Where it differs from Go
//!
//! - Length, nesting, work and memory are bounded ([`Budget`], [`MAX_DEPTH`]), more tightly than in expr-lang.
//! - A list of `*string` out of CloudWatch's result is a list of `string`.
//! - Maps are gone over in the order of their keys, where Go's order is random.
//! - More than twelve elements are sorted so that equal ones keep their order, which Go does not promise.
//! - Of the methods of times and durations there are those that a condition can want; the others are unknown.
//! - Powers with a fraction (`2 ** 2.9`) may differ in the last digit, as Go's own do between processors.
//! - Where expr-lang's compiler itself crashes, the expression works here.
//! - Patterns of `matches` know no classes by Unicode property.
//! - A JSON text that `fromJSON` cannot read is reported in other words.
//! - The local time zone is UTC. Named time zones come from the time zone database of the machine.
//! - `string` of a time of `now()` has no reading of the monotonic clock.

#![allow(
    clippy::match_same_arms,
    clippy::single_match_else,
    reason = "tables of the language read best with one line per case"
)]

mod ast;
mod base64;
mod budget;
mod builtins;
mod check;
mod cloudwatch;
mod condition;
mod error;
mod eval;
mod fold;
mod json;
mod layout;
mod lexer;
mod math;
mod methods;
mod number;
mod parser;
mod program;
mod regex;
mod text;
mod time;
mod types;
mod value;

pub use budget::{Budget, MAX_DEPTH};
pub use builtins::Builtin;
pub use cloudwatch::MetricDataResult;
pub use condition::{ConditionError, Verdict, VerdictError, holds, judge, time};
pub use error::{CompileError, EvalError};
pub use methods::Method;
pub use program::{Clock, Environment, Program};
pub use types::{ArgoFunction, Function, MapType, Shape, StructType, Type};
pub use value::{Key, List, Map, Struct, Value};

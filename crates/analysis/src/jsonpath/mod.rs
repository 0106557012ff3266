//! The JSONPath of `k8s.io/client-go/util/jsonpath`, which Argo Rollouts' web provider speaks.
//!
//! It is neither RFC 9535 nor what other crates know: a template of text and `{...}`, a missing key is an error, an
//! integer in a filter does not compare with a number of the document (all of which are `float64`), `..` goes on into
//! the characters of strings, `range` and `end` repeat. Its parser and its evaluation are followed step by step, up to
//! the words of errors. What differs from Go: its panics are errors here, maps are gone over in the order of their
//! keys (Go's is random), and there are bounds of size, nesting and work.
//!
//! ```text
//! template  = { text | "{" { step } "}" }
//! step      = "@" | "$" | " " | "." name | ".*" | ".." [ name ] | index | filter | quoted | number | word
//! index     = "[" ( "*" | [ int ] [ ":" [ int ] ] [ ":" [ int ] ] | "'" name "'" ) "]"
//!           | "[" index-text { "," index-text } "]"
//! filter    = "[?(" steps [ ( "<" | ">" | "==" | "!=" | "<=" | ">=" ) steps ] ")]"
//! quoted    = '"' .. '"' | "'" .. "'"
//! word      = "true" | "false" | "range" | "end"
//! ```

mod compare;
mod eval;
mod parser;
#[cfg(test)]
mod tests;

use serde_json::Value as Json;

pub(crate) use eval::Item;

use crate::go;

/// A path, at most: bytes.
const MAX_PATH: usize = 4096;

/// A parsed path.
#[derive(Debug)]
pub(crate) struct JsonPath {
    root: Vec<Node>,
}

/// A node of a path.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    List(Vec<Node>),
    Text(String),
    Field(String),
    Array([Part; 3]),
    Filter(Box<Filter>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Wildcard,
    Recursive,
    Union(Vec<Vec<Node>>),
    Identifier(String),
}

/// Start, end or step of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Part {
    value: i64,
    known: bool,
    /// An end that was not written: one after the start.
    derived: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Vec<Node>,
    right: Vec<Node>,
    operator: String,
}

impl JsonPath {
    pub(crate) fn parse(path: &str) -> Result<Self, String> {
        if path.len() > MAX_PATH {
            return Err(format!("the JSONPath is longer than {MAX_PATH} bytes"));
        }
        Ok(Self { root: parser::parse(path, 0)? })
    }

    /// Every value found, in order.
    pub(crate) fn find<'a>(&'a self, data: &'a Json) -> Result<Vec<Item<'a>>, String> {
        eval::find(&self.root, data)
    }
}

impl Item<'_> {
    /// What a condition is given.
    pub(crate) fn value(&self) -> okra_expr::Value {
        use okra_expr::Value;
        match self {
            Self::Json(value) => Value::json(value),
            Self::Text(text) => Value::from(*text),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Bool(value) => Value::Bool(*value),
            Self::Byte(value) => Value::Uint8(*value),
        }
    }

    /// `json.Marshal` of it.
    pub(crate) fn json(&self) -> String {
        match self {
            Self::Json(value) => go::json(value),
            Self::Text(text) => go::json(&Json::from(*text)),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => go::json_float(*value),
            Self::Bool(value) => value.to_string(),
            Self::Byte(value) => value.to_string(),
        }
    }
}

//! Evaluation: over the tree, with Go's rules, within a budget.

mod functions;
mod lists;
mod loops;
pub(crate) mod operators;
mod strings;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Id, Node, Op, Pointer, Prefix, Tree};
use crate::budget::{MAX_DEPTH, Meter};
use crate::error::EvalError;
use crate::methods::Method;
use crate::program::{Clock, Environment};
use crate::types::{ArgoFunction, Function, Kind, MapType, Nature, Type};
use crate::value::{Key, List, Map, Text, Value};

/// Why the evaluation of a node gave no value.
#[derive(Debug)]
pub(crate) enum Stop {
    Error(EvalError),
    /// An optional link met nil: the chain around it is nil.
    Nil,
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Self {
        Self::Error(error)
    }
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Error(EvalError::Failed(message))
    }
}

pub(crate) type Evaluated = Result<Value, Stop>;

/// An evaluation that goes on.
pub(crate) struct Machine<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) natures: &'a [Nature],
    pub(crate) result: &'a Value,
    pub(crate) environment: Environment,
    pub(crate) clock: Clock,
    pub(crate) meter: Meter,
    pub(crate) variables: Vec<(Arc<str>, Value)>,
    pub(crate) frames: Vec<Frame>,
}

/// What `#` and its companions are just now.
pub(crate) struct Frame {
    pub(crate) item: Value,
    pub(crate) index: usize,
    pub(crate) accumulator: Value,
}

/// The panic of a Go type assertion.
pub(crate) fn conversion(value: &Value, wanted: &str) -> EvalError {
    let found = if matches!(value, Value::Nil) { "nil".to_owned() } else { value.type_name() };
    EvalError::Failed(format!("interface conversion: interface {{}} is {found}, not {wanted}"))
}

pub(crate) fn boolean(value: &Value) -> Result<bool, EvalError> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(conversion(other, "bool")),
    }
}

pub(crate) fn string(value: &Value) -> Result<&Text, EvalError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(conversion(other, "string")),
    }
}

/// The key that a value is, or Go's panic.
pub(crate) fn hashed(value: &Value, nan: usize) -> Result<Key, EvalError> {
    Key::of(value, nan).map_err(|ty| EvalError::Failed(format!("hash of unhashable type: {ty}")))
}

impl Machine<'_> {
    pub(crate) fn eval(&mut self, id: Id) -> Evaluated {
        self.meter.steps(1)?;
        match self.tree.node(id) {
            Node::Nil => Ok(Value::Nil),
            Node::Integer(value) => Ok(Value::Int(*value)),
            Node::Float(value) => Ok(Value::Float(*value)),
            Node::Bool(value) => Ok(Value::Bool(*value)),
            Node::Text(text) => Ok(Value::Text(text.clone())),
            Node::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
            Node::Constant(value) => Ok(value.clone()),
            Node::Identifier(name) => Ok(self.identifier(name)),
            Node::Prefix { op, node, .. } => self.prefix(*op, *node),
            Node::Binary { .. } => self.binary_chain(id),
            Node::InSet { left, set } => self.in_set(*left, set),
            Node::Chain(node) => match self.eval(*node) {
                Err(Stop::Nil) => Ok(Value::Nil),
                Ok(value) if value.is_nil() => Ok(Value::Nil),
                other => other,
            },
            Node::Member { node, property, optional, .. } => self.member(*node, *property, *optional),
            Node::Slice { node, from, to } => self.slice(*node, *from, *to),
            Node::Call { callee, arguments } => self.call(*callee, arguments),
            Node::Builtin(application) => self.builtin(application),
            Node::Predicate(node) => self.eval(*node),
            Node::Pointer(pointer) => Ok(self.pointer(pointer)),
            Node::Let { name, value, body } => {
                let value = self.eval(*value)?;
                self.variables.push((name.clone(), value));
                let evaluated = self.eval(*body);
                self.variables.pop();
                evaluated
            }
            Node::Sequence(nodes) => {
                let mut last = Value::Nil;
                for node in nodes {
                    last = self.eval(*node)?;
                }
                Ok(last)
            }
            Node::Conditional { condition, yes, no } => {
                let condition = self.eval(*condition)?;
                self.eval(if boolean(&condition)? { *yes } else { *no })
            }
            Node::Array(nodes) => self.array(nodes),
            Node::SumOf(nodes) => self.sum_of(nodes),
            Node::Map(pairs) => self.map(pairs),
        }
    }

    fn identifier(&self, name: &str) -> Value {
        if let Some((_, value)) = self.variables.iter().rev().find(|(known, _)| **known == *name) {
            return value.clone();
        }
        if name == "$env" { self.whole_environment() } else { self.in_environment(name) }
    }

    fn in_environment(&self, name: &str) -> Value {
        let function = match (name, self.environment) {
            ("result", Environment::Condition) => return self.result.clone(),
            ("isNaN", _) => ArgoFunction::IsNaN,
            ("isInf", _) => ArgoFunction::IsInf,
            ("asInt", Environment::Condition) => ArgoFunction::AsInt,
            ("asFloat", Environment::Condition) => ArgoFunction::AsFloat,
            ("isNil", Environment::Condition) => ArgoFunction::IsNil,
            ("default", Environment::Condition) => ArgoFunction::Default,
            // A built-in that is not called is no entry of the environment.
            _ => return Value::Nil,
        };
        Value::Function(Function::Argo(function))
    }

    fn whole_environment(&self) -> Value {
        let names: &[&str] = match self.environment {
            Environment::Condition => &["result", "asInt", "asFloat", "isNaN", "isInf", "isNil", "default"],
            Environment::Time => &["isNaN", "isInf"],
        };
        let entry = |name: &&str| (Key::Text(Arc::from(name.as_bytes())), self.in_environment(name));
        Map::value(MapType::StringAny, names.iter().map(entry).collect())
    }

    fn prefix(&mut self, op: Prefix, node: Id) -> Evaluated {
        let value = self.eval(node)?;
        match op {
            Prefix::Not => Ok(Value::Bool(!boolean(&value)?)),
            Prefix::Plus => Ok(value),
            Prefix::Minus => Ok(operators::negate(&value)?),
        }
    }

    /// Along the left side of a chain of operators in a loop: it may be as long as the text.
    fn binary_chain(&mut self, id: Id) -> Evaluated {
        if let Node::Binary { op, left, right, .. } = self.tree.node(id)
            && !matches!(self.tree.node(*left), Node::Binary { .. })
        {
            let value = self.eval(*left)?;
            return self.binary(*op, *left, *right, value);
        }
        let mut chain = Vec::new();
        let mut leftmost = id;
        while let Node::Binary { op, left, right, .. } = self.tree.node(leftmost) {
            chain.push((*op, *left, *right));
            leftmost = *left;
        }
        let mut value = self.eval(leftmost)?;
        while let Some((op, left, right)) = chain.pop() {
            self.meter.steps(1)?;
            value = self.binary(op, left, right, value)?;
        }
        Ok(value)
    }

    /// The operator, its left side being evaluated: the right one may not have to be.
    fn binary(&mut self, op: Op, left: Id, right: Id, value: Value) -> Evaluated {
        let settled = match op {
            Op::And => !boolean(&value)?,
            Op::Or => boolean(&value)?,
            Op::Coalesce => !value.is_nil(),
            _ => false,
        };
        if settled {
            return Ok(value);
        }
        let right_value = self.eval(right)?;
        match op {
            Op::And | Op::Or | Op::Coalesce => Ok(right_value),
            Op::Equal | Op::NotEqual => {
                Ok(Value::Bool(self.equal(left, right, &value, &right_value)? == (op == Op::Equal)))
            }
            _ => Ok(operators::apply(op, &value, &right_value, &mut self.meter)?),
        }
    }

    /// Where both sides are known to be of one simple type, expr-lang asserts it instead of comparing what is there.
    fn equal(&mut self, left: Id, right: Id, one: &Value, two: &Value) -> Result<bool, EvalError> {
        let known = |id: Id| self.natures.get(id as usize).and_then(|nature| nature.ty.as_ref());
        match (known(left), known(right)) {
            (Some(Type::Int), Some(Type::Int)) => match (one, two) {
                (Value::Int(one), Value::Int(two)) => Ok(one == two),
                (Value::Int(_), other) | (other, _) => Err(conversion(other, "int")),
            },
            (Some(Type::String), Some(Type::String)) => Ok(string(one)? == string(two)?),
            _ => operators::equal(one, two, &mut self.meter),
        }
    }

    fn in_set(&mut self, left: Id, set: &[Value]) -> Evaluated {
        let needle = self.eval(left)?;
        self.meter.steps(set.len() / 8)?;
        let texts = matches!(set.first(), Some(Value::Text(_)));
        let found = match &needle {
            // Go looks nil up as the zero of the key type.
            Value::Nil => set.iter().any(|entry| match entry {
                Value::Text(text) => text.is_empty(),
                other => matches!(other, Value::Int(0)),
            }),
            Value::Text(needle) if texts => {
                set.iter().any(|entry| matches!(entry, Value::Text(text) if text == needle))
            }
            Value::Int(needle) if !texts => {
                set.iter().any(|entry| matches!(entry, Value::Int(value) if value == needle))
            }
            other => {
                let key = if texts { "string" } else { "int" };
                return Err(operators::not_assignable(other, key).into());
            }
        };
        Ok(Value::Bool(found))
    }

    fn member(&mut self, node: Id, property: Id, optional: bool) -> Evaluated {
        let base = self.eval(node)?;
        if optional && base.is_nil() {
            return Err(Stop::Nil);
        }
        // A method is known by the type alone; whatever the value is, it is found.
        if let (Some(Type::Function(Function::Method(_))), Node::Text(name)) =
            (self.method_type(node, property), self.tree.node(property))
        {
            return Err(format!("cannot use method {} as a value", String::from_utf8_lossy(name)).into());
        }
        let key = self.eval(property)?;
        Ok(operators::fetch(&base, &key)?)
    }

    fn method_type(&self, node: Id, property: Id) -> Option<Type> {
        let base = self.natures.get(node as usize)?.ty.as_ref()?;
        let Node::Text(name) = self.tree.node(property) else { return None };
        let method = Method::of(base, std::str::from_utf8(name).ok()?)?;
        Some(Type::Function(Function::Method(method)))
    }

    fn slice(&mut self, node: Id, from: Option<Id>, to: Option<Id>) -> Evaluated {
        let value = self.eval(node)?;
        let to = match to {
            Some(to) => self.eval(to)?,
            None => Value::Int(operators::length(&value)? as i64),
        };
        let from = match from {
            Some(from) => self.eval(from)?,
            None => Value::Int(0),
        };
        Ok(operators::slice(&value, &from, &to, &mut self.meter)?)
    }

    fn call(&mut self, callee: Id, arguments: &[Id]) -> Evaluated {
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.eval(*argument)?);
        }
        if let Node::Member { node, property, optional, .. } = self.tree.node(callee)
            && let Some(Type::Function(Function::Method(method))) = self.method_type(*node, *property)
        {
            let receiver = self.eval(*node)?;
            if *optional && receiver.is_nil() {
                return Err(Stop::Nil);
            }
            return Ok(method.call(&receiver, &values, &mut self.meter)?);
        }
        match self.eval(callee)? {
            Value::Function(Function::Argo(function)) => {
                let wanted = function.signature().params.len();
                if values.len() != wanted {
                    let given = values.len();
                    return Err(format!("invalid number of arguments: expected {wanted}, got {given}").into());
                }
                Ok(functions::argo(function, &values, self.result)?)
            }
            Value::Nil => Err("invalid operation: cannot call nil".to_owned().into()),
            other => Err(format!("invalid operation: cannot call non-function of type {}", other.type_name()).into()),
        }
    }

    fn pointer(&self, pointer: &Pointer) -> Value {
        let Some(frame) = self.frames.last() else { return Value::Nil };
        match pointer {
            Pointer::Item => frame.item.clone(),
            Pointer::Index => Value::Int(frame.index as i64),
            Pointer::Accumulator => frame.accumulator.clone(),
            Pointer::Unknown(_) => Value::Nil,
        }
    }

    fn array(&mut self, nodes: &[Id]) -> Evaluated {
        self.meter.values(nodes.len())?;
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            values.push(self.eval(*node)?);
        }
        Ok(Meter::built(List::anys(values))?)
    }

    fn sum_of(&mut self, nodes: &[Id]) -> Evaluated {
        self.meter.values(nodes.len())?;
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            values.push(self.eval(*node)?);
        }
        let mut sum = values.pop().unwrap_or(Value::Nil);
        while let Some(value) = values.pop() {
            sum = operators::apply(Op::Add, &value, &sum, &mut self.meter)?;
        }
        Ok(sum)
    }

    fn map(&mut self, pairs: &[(Id, Id)]) -> Evaluated {
        self.meter.values(pairs.len().saturating_mul(3))?;
        let mut evaluated = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            evaluated.push((self.eval(*key)?, self.eval(*value)?));
        }
        let mut entries = BTreeMap::new();
        // Go fills the map from the last pair to the first, so that the first of two equal keys stays.
        for (key, value) in evaluated.into_iter().rev() {
            entries.insert(Key::Text(string(&key)?.clone()), value);
        }
        Ok(Meter::built(Map::value(MapType::StringAny, entries))?)
    }

    /// The list that a value is, for what goes over one.
    pub(crate) fn list(value: &Value) -> Option<Arc<List>> {
        match value {
            Value::List(list) => Some(list.clone()),
            // Go's reflection goes over the bytes of a string as well.
            Value::Bytes(bytes) | Value::Text(bytes) => {
                let bytes = bytes.iter().map(|byte| Value::Uint8(*byte)).collect();
                match List::of(Type::Uint8, bytes) {
                    Value::List(list) => Some(list),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether a kind is one that a condition can go over.
pub(crate) fn is_list(value: &Value) -> bool {
    matches!(value.kind(), Some(Kind::Slice | Kind::Array))
}

// Values come from outside and from the machine; nothing that walks over them goes deeper than this.
const _: () = assert!(MAX_DEPTH <= 256);

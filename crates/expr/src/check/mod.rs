//! The check against Go's types that expr-lang makes before it runs anything.

mod calls;
mod predicates;

use std::sync::Arc;

use crate::ast::{Id, Node, Op, Pointer, Prefix, Tree};
use crate::error::CompileError;
use crate::methods::Method;
use crate::program::Environment;
use crate::regex::Regex;
use crate::types::{ArgoFunction, Function, Kind, MapType, Nature, Shape, Type};

/// How many nodes are looked at. A node with two parents is looked at twice, so that a short text can hold a great many.
const MAX_VISITS: usize = 50_000;

type Checked = Result<Nature, CompileError>;

/// Checks the tree and notes the nature of each node, by its place.
pub(crate) fn check(tree: &mut Tree, shape: &Shape, environment: Environment) -> Result<Vec<Nature>, CompileError> {
    let natures = vec![Nature::UNKNOWN; tree.len()];
    let root = tree.root;
    let result = shape.0.clone();
    let mut checker =
        Checker { tree, result, environment, natures, variables: Vec::new(), predicates: Vec::new(), visits: 0 };
    checker.visit(root)?;
    Ok(checker.natures)
}

/// What `#` and its companions are inside a predicate.
struct Scope {
    collection: Nature,
    index: bool,
    accumulator: bool,
}

struct Checker<'a> {
    tree: &'a mut Tree,
    result: Nature,
    environment: Environment,
    natures: Vec<Nature>,
    variables: Vec<(Arc<str>, Nature)>,
    predicates: Vec<Scope>,
    visits: usize,
}

impl Checker<'_> {
    fn error<T>(&self, id: Id, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::new(message, self.tree.at(id)))
    }

    fn visit(&mut self, id: Id) -> Checked {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return self.error(id, "expression is too complex");
        }
        let nature = self.nature(id)?;
        if let Some(slot) = self.natures.get_mut(id as usize) {
            slot.clone_from(&nature);
        }
        Ok(nature)
    }

    fn nature(&mut self, id: Id) -> Checked {
        // The clone holds places of nodes only, no subtree.
        match self.tree.node(id).clone() {
            Node::Nil => Ok(Nature::NIL),
            Node::Integer(_) => Ok(Nature::of(Type::Int)),
            Node::Float(_) => Ok(Nature::of(Type::Float)),
            Node::Bool(_) => Ok(Nature::of(Type::Bool)),
            Node::Text(_) => Ok(Nature::of(Type::String)),
            Node::Bytes(_) => Ok(Nature::of(Type::slice(Type::Uint8))),
            Node::Constant(value) => Ok(value.type_of().map_or(Nature::NIL, Nature::of)),
            Node::Identifier(name) => self.identifier(id, &name),
            Node::Prefix { op, spelled, node } => self.prefix(id, op, spelled, node),
            Node::Binary { .. } => self.binary_chain(id),
            Node::InSet { left, .. } => self.visit(left).map(|_| Nature::of(Type::Bool)),
            Node::Chain(node) => self.visit(node),
            Node::Member { node, property, method, optional } => self.member(id, node, property, method, optional),
            Node::Slice { node, from, to } => self.slice(id, node, from, to),
            Node::Call { callee, arguments } => self.call(id, callee, &arguments),
            Node::Builtin(application) => self.builtin(id, &application),
            Node::Predicate(node) => self.visit(node),
            Node::Pointer(pointer) => self.pointer(id, &pointer),
            Node::Let { name, value, body } => self.declaration(id, name, value, body),
            Node::Sequence(nodes) => {
                let mut last = Nature::UNKNOWN;
                for node in nodes {
                    last = self.visit(node)?;
                }
                Ok(last)
            }
            Node::Conditional { condition, yes, no } => self.conditional(condition, yes, no),
            Node::Array(nodes) | Node::SumOf(nodes) => self.array(&nodes),
            Node::Map(pairs) => {
                for (key, value) in pairs {
                    self.visit(key)?;
                    self.visit(value)?;
                }
                Ok(Nature::of(Type::Map(MapType::StringAny)))
            }
        }
    }

    fn in_environment(&self, name: &str) -> Option<Nature> {
        let function = match (name, self.environment) {
            ("result", Environment::Condition) => return Some(self.result.clone()),
            ("isNaN", _) => ArgoFunction::IsNaN,
            ("isInf", _) => ArgoFunction::IsInf,
            ("asInt", Environment::Condition) => ArgoFunction::AsInt,
            ("asFloat", Environment::Condition) => ArgoFunction::AsFloat,
            ("isNil", Environment::Condition) => ArgoFunction::IsNil,
            ("default", Environment::Condition) => ArgoFunction::Default,
            _ => return None,
        };
        Some(Nature::of(Type::Function(Function::Argo(function))))
    }

    fn identifier(&self, id: Id, name: &str) -> Checked {
        if let Some((_, nature)) = self.variables.iter().rev().find(|(known, _)| **known == *name) {
            return Ok(nature.clone());
        }
        if name == "$env" {
            return Ok(Nature::UNKNOWN);
        }
        if let Some(nature) = self.in_environment(name) {
            return Ok(nature);
        }
        match crate::builtins::Builtin::named(name) {
            Some(builtin) => Ok(Nature::of(Type::Function(Function::Builtin(builtin)))),
            None => self.error(id, format!("unknown name {name}")),
        }
    }

    fn prefix(&mut self, id: Id, op: Prefix, spelled: &str, node: Id) -> Checked {
        let nature = self.visit(node)?.deref();
        match op {
            Prefix::Not if nature.is_bool() || nature.is_unknown() => Ok(Nature::of(Type::Bool)),
            Prefix::Minus | Prefix::Plus if nature.is_number() => Ok(nature),
            Prefix::Minus | Prefix::Plus if nature.is_unknown() => Ok(Nature::UNKNOWN),
            _ => self.error(id, format!("invalid operation: {spelled} (mismatched type {nature})")),
        }
    }

    /// Walks along the left side of a chain of operators in a loop: it may be as long as the text.
    fn binary_chain(&mut self, id: Id) -> Checked {
        let mut chain = Vec::new();
        let mut leftmost = id;
        while let Node::Binary { op, spelled, left, right } = self.tree.node(leftmost) {
            chain.push((leftmost, *op, *spelled, *right));
            leftmost = *left;
        }
        let mut left = self.visit(leftmost)?;
        while let Some((id, op, spelled, right)) = chain.pop() {
            let right_nature = self.visit(right)?;
            left = self.binary(id, op, spelled, left.deref(), right_nature.deref(), right)?;
            if let Some(slot) = self.natures.get_mut(id as usize) {
                slot.clone_from(&left);
            }
        }
        Ok(left)
    }

    fn binary(&self, id: Id, op: Op, spelled: &str, l: Nature, r: Nature, right: Id) -> Checked {
        let boolean = || Nature::of(Type::Bool);
        let ordered = |n: &Nature| n.is_number() || n.is_string() || n.is_time() || n.is_duration();
        let numbers = l.is_number() && r.is_number();
        let found = match op {
            Op::Equal | Op::NotEqual => l.comparable_to(&r).then(boolean),
            Op::Or | Op::And => (l.is_bool() && r.is_bool() || l.maybe(&r, Nature::is_bool)).then(boolean),
            Op::Less | Op::More | Op::LessOrEqual | Op::MoreOrEqual => {
                let same = numbers
                    || l.is_string() && r.is_string()
                    || l.is_time() && r.is_time()
                    || l.is_duration() && r.is_duration();
                (same || l.maybe(&r, ordered)).then(boolean)
            }
            Op::Add | Op::Subtract | Op::Multiply => arithmetic(op, &l, &r),
            Op::Divide | Op::Power => (numbers || l.maybe(&r, Nature::is_number)).then(|| Nature::of(Type::Float)),
            Op::Modulo => {
                let integers = l.is_integer() && r.is_integer();
                (integers || l.maybe(&r, Nature::is_integer)).then(|| Nature::of(Type::Int))
            }
            Op::Range => {
                let integers = l.is_integer() && r.is_integer();
                (integers || l.maybe(&r, Nature::is_integer)).then(|| Nature::list_of(Nature::of(Type::Int)))
            }
            Op::In => self.membership(id, &l, &r)?,
            Op::Matches => {
                if let Node::Text(pattern) = self.tree.node(right)
                    && let Err(fault) = Regex::new(pattern)
                {
                    return self.error(id, fault);
                }
                let bytes = r.is_string() && matches!(&l.ty, Some(Type::Slice(e)) if **e == Type::Uint8);
                let strings = l.is_string() && r.is_string();
                (bytes || strings || l.maybe(&r, Nature::is_string)).then(boolean)
            }
            Op::Contains | Op::StartsWith | Op::EndsWith => {
                (l.is_string() && r.is_string() || l.maybe(&r, Nature::is_string)).then(boolean)
            }
            Op::Coalesce => Some(match (l.nil, r.nil) {
                (true, false) => r.clone(),
                (false, true) => l.clone(),
                (true, true) => Nature::NIL,
                (false, false) if r.assignable_to(&l) => l.clone(),
                (false, false) => Nature::UNKNOWN,
            }),
        };
        match found {
            Some(nature) => Ok(nature),
            None => self.error(id, format!("invalid operation: {spelled} (mismatched types {l} and {r})")),
        }
    }

    fn membership(&self, id: Id, l: &Nature, r: &Nature) -> Result<Option<Nature>, CompileError> {
        let boolean = Nature::of(Type::Bool);
        if (l.is_string() || l.is_unknown()) && r.is_kind(Kind::Struct) {
            return Ok(Some(boolean));
        }
        if let Some(Type::Map(map)) = &r.ty {
            let key = Nature::of(map.key());
            if !l.is_unknown() && !l.assignable_to(&key) {
                return self.error(id, format!("cannot use {l} as type {key} in map key"));
            }
            return Ok(Some(boolean));
        }
        if r.is_array() {
            let element = r.element();
            if !l.comparable_to(&element) {
                return self.error(id, format!("cannot use {l} as type {element} in array"));
            }
            return Ok(Some(boolean));
        }
        let fits = l.is_unknown() && r.is_string() || r.is_unknown();
        Ok(fits.then_some(boolean))
    }

    fn member(&mut self, id: Id, node: Id, property: Id, method: bool, optional: bool) -> Checked {
        let name = match self.tree.node(property) {
            Node::Text(name) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        };
        if matches!(self.tree.node(node), Node::Identifier(identifier) if **identifier == *"$env") {
            let Some(name) = name else { return Ok(Nature::UNKNOWN) };
            return match self.in_environment(&name) {
                Some(nature) => Ok(nature),
                None if optional => Ok(Nature::UNKNOWN),
                None => self.error(id, format!("unknown name {name}")),
            };
        }
        let base = self.visit(node)?;
        let property_nature = self.visit(property)?;
        if base.is_unknown() {
            return Ok(Nature::UNKNOWN);
        }
        if let Some(name) = &name {
            if base.nil {
                return self.error(id, format!("type nil has no field {name}"));
            }
            if let Some(method) = base.ty.as_ref().and_then(|ty| Method::of(ty, name)) {
                return Ok(Nature::of(Type::Function(Function::Method(method))));
            }
        }
        let base = base.deref();
        match &base.ty {
            Some(Type::Map(map)) => {
                let fits = property_nature.clone().deref().assignable_to(&Nature::of(map.key()));
                if !fits && !property_nature.is_unknown() {
                    let message = format!("cannot use {property_nature} to get an element from {base}");
                    return self.error(property, message);
                }
                return Ok(base.element());
            }
            Some(Type::Slice(_) | Type::Pair) => {
                let index = property_nature.deref();
                if !index.is_integer() && !index.is_unknown() {
                    let message = format!("array elements can only be selected using an integer (got {index})");
                    return self.error(property, message);
                }
                return Ok(base.element());
            }
            Some(Type::Struct(definition)) => {
                let position = definition.fields.iter().position(|field| Some(*field) == name.as_deref());
                if let Some(position) = position {
                    return Ok(Nature::of((definition.types)(position)));
                }
            }
            _ => {}
        }
        match name {
            Some(name) if method => self.error(id, format!("type {base} has no method {name}")),
            Some(name) => self.error(id, format!("type {base} has no field {name}")),
            None => self.error(id, format!("type {base}[{property_nature}] is undefined")),
        }
    }

    fn slice(&mut self, id: Id, node: Id, from: Option<Id>, to: Option<Id>) -> Checked {
        let nature = self.visit(node)?;
        if nature.is_unknown() {
            return Ok(Nature::UNKNOWN);
        }
        if !nature.is_string() && !nature.is_array() {
            return self.error(id, format!("cannot slice {nature}"));
        }
        for end in [from, to].into_iter().flatten() {
            let index = self.visit(end)?.deref();
            if !index.is_integer() && !index.is_unknown() {
                return self.error(end, format!("non-integer slice index {index}"));
            }
        }
        Ok(nature)
    }

    fn pointer(&self, id: Id, pointer: &Pointer) -> Checked {
        let Some(scope) = self.predicates.last() else {
            return self.error(id, "cannot use pointer accessor outside predicate");
        };
        let name = match pointer {
            Pointer::Item => return Ok(scope.collection.element()),
            Pointer::Index if scope.index => return Ok(Nature::of(Type::Int)),
            Pointer::Accumulator if scope.accumulator => return Ok(Nature::UNKNOWN),
            Pointer::Index => "index",
            Pointer::Accumulator => "acc",
            Pointer::Unknown(name) => name,
        };
        self.error(id, format!("unknown pointer #{name}"))
    }

    fn declaration(&mut self, id: Id, name: Arc<str>, value: Id, body: Id) -> Checked {
        if self.in_environment(&name).is_some() {
            return self.error(id, format!("cannot redeclare {name}"));
        }
        if crate::builtins::Builtin::named(&name).is_some() {
            return self.error(id, format!("cannot redeclare builtin {name}"));
        }
        if self.variables.iter().any(|(known, _)| *known == name) {
            return self.error(id, format!("cannot redeclare variable {name}"));
        }
        let nature = self.visit(value)?;
        self.variables.push((name, nature));
        let body = self.visit(body);
        self.variables.pop();
        body
    }

    fn conditional(&mut self, condition: Id, yes: Id, no: Id) -> Checked {
        let nature = self.visit(condition)?.deref();
        if !nature.is_bool() && !nature.is_unknown() {
            return self.error(condition, format!("non-bool expression (type {nature}) used as condition"));
        }
        let (yes, no) = (self.visit(yes)?, self.visit(no)?);
        Ok(match (yes.nil, no.nil) {
            (true, false) => no,
            (false, true) => yes,
            (true, true) => Nature::NIL,
            (false, false) if yes.assignable_to(&no) => {
                let (one, two) = (yes.element(), no.element());
                let differ = !one.assignable_to(&two) || !two.assignable_to(&one);
                if yes.is_array() && no.is_array() && differ { Nature::of(Type::anys()) } else { yes }
            }
            (false, false) => Nature::UNKNOWN,
        })
    }

    fn array(&mut self, nodes: &[Id]) -> Checked {
        let mut previous: Option<Nature> = None;
        let mut same = true;
        for node in nodes {
            let nature = self.visit(*node)?;
            same &= previous.as_ref().is_none_or(|previous| previous.kind() == nature.kind());
            previous = Some(nature);
        }
        if same { Ok(Nature::list_of(previous.unwrap_or_default())) } else { Ok(Nature::of(Type::anys())) }
    }
}

fn arithmetic(op: Op, l: &Nature, r: &Nature) -> Option<Nature> {
    let time = || Nature::of(Type::Time);
    let duration = || Nature::of(Type::Duration);
    if l.is_number() && r.is_number() {
        let float = l.is_float() || r.is_float();
        return Some(Nature::of(if float { Type::Float } else { Type::Int }));
    }
    let (times, durations) = ((l.is_time(), r.is_time()), (l.is_duration(), r.is_duration()));
    let known = match op {
        Op::Add if l.is_string() && r.is_string() => Some(Nature::of(Type::String)),
        Op::Add if times.0 && durations.1 || durations.0 && times.1 => Some(time()),
        Op::Subtract if times == (true, true) => Some(duration()),
        Op::Subtract if times.0 && durations.1 => Some(time()),
        Op::Multiply if l.is_number() && durations.1 || durations.0 && r.is_number() => Some(duration()),
        _ if durations == (true, true) => Some(duration()),
        _ => None,
    };
    known.or_else(|| {
        let fits = |n: &Nature| {
            let number = n.is_number() || n.is_duration();
            number || op != Op::Multiply && n.is_time() || op == Op::Add && n.is_string()
        };
        l.maybe(r, fits).then_some(Nature::UNKNOWN)
    })
}

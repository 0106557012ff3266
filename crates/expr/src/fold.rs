//! expr-lang's optimiser, as far as it can be seen: `x or true` never looks at `x`, `count(..) > 0` stops at the first,
//! and a folded constant has no overflow.

use std::cell::Cell;
use std::sync::Arc;

use crate::ast::{Application, Id, Node, Op, Pointer, Prefix, Tree};
use crate::builtins::Builtin;
use crate::error::CompileError;
use crate::math::pow;
use crate::types::{Nature, Type};
use crate::value::{List, Value};

/// Rewrites the tree in place. Every pass goes over the nodes in their order, which is that of a walk from below.
pub(crate) fn optimise(tree: &mut Tree, natures: &[Nature]) -> Result<(), CompileError> {
    let mut folder = Folder { tree, natures, fault: Cell::new(None) };
    folder.pass(Folder::in_array)?;
    // A chain folds from its beginning in one pass; each further pass is for what a rewrite has uncovered.
    for _ in 0..8 {
        if !folder.pass(Folder::fold)? {
            break;
        }
    }
    let passes = [
        Folder::in_range,
        Folder::map_of_filter,
        Folder::length_of_filter,
        Folder::last_of_filter,
        Folder::first_of_filter,
        Folder::combine,
        Folder::sum_of_range,
        Folder::sum_of_array,
        Folder::sum_of_map,
        Folder::count_as_any,
        Folder::count_threshold,
    ];
    for pass in passes {
        folder.pass(pass)?;
    }
    Ok(())
}

struct Folder<'a> {
    tree: &'a mut Tree,
    natures: &'a [Nature],
    /// The one thing that folding can find wrong.
    fault: Cell<Option<CompileError>>,
}

/// What a node becomes, if anything.
type Rewritten = Option<Node>;

impl Folder<'_> {
    fn pass(&mut self, rewrite: fn(&mut Self, Id) -> Rewritten) -> Result<bool, CompileError> {
        let mut changed = false;
        for id in 0..self.tree.len() as Id {
            if let Some(node) = rewrite(self, id) {
                self.tree.set(id, node);
                changed = true;
            }
        }
        self.fault.take().map_or(Ok(changed), Err)
    }

    fn node(&self, id: Id) -> &Node {
        self.tree.node(id)
    }

    fn is_int(&self, id: Id) -> bool {
        self.natures.get(id as usize).is_some_and(|nature| nature.ty == Some(Type::Int))
    }

    /// A call of the built-in with so many arguments.
    fn call(&self, id: Id, builtin: Builtin, count: usize) -> Option<&Application> {
        match self.node(id) {
            Node::Builtin(call) if call.builtin == builtin && call.arguments.len() == count => Some(call),
            _ => None,
        }
    }

    fn in_array(&mut self, id: Id) -> Rewritten {
        let Node::Binary { op: Op::In, left, right, .. } = self.node(id) else { return None };
        let Node::Array(nodes) = self.node(*right) else { return None };
        let integer = |id: &Id| match self.node(*id) {
            Node::Integer(value) => Some(Value::Int(*value)),
            _ => None,
        };
        let text = |id: &Id| match self.node(*id) {
            Node::Text(text) => Some(Value::Text(text.clone())),
            _ => None,
        };
        let mut set: Option<Vec<Value>> = None;
        if self.is_int(*left) {
            set = nodes.iter().map(integer).collect();
        }
        let set = set.or_else(|| nodes.iter().map(text).collect()).filter(|set| !set.is_empty());
        set.map(|set| Node::InSet { left: *left, set: Arc::from(set) })
    }

    fn fold(&mut self, id: Id) -> Rewritten {
        match self.node(id) {
            Node::Prefix { op, node, .. } => match (op, self.node(*node)) {
                (Prefix::Minus, Node::Integer(value)) => Some(Node::Integer(value.wrapping_neg())),
                (Prefix::Minus, Node::Float(value)) => Some(Node::Float(-value)),
                (Prefix::Plus, Node::Integer(value)) => Some(Node::Integer(*value)),
                (Prefix::Plus, Node::Float(value)) => Some(Node::Float(*value)),
                (Prefix::Not, Node::Bool(value)) => Some(Node::Bool(!value)),
                _ => None,
            },
            Node::Binary { op, left, right, .. } => self.fold_binary(id, *op, *left, *right),
            Node::Array(nodes) if !nodes.is_empty() => {
                let literal = |id: &Id| match self.node(*id) {
                    Node::Integer(value) => Some(Value::Int(*value)),
                    Node::Float(value) => Some(Value::Float(*value)),
                    Node::Text(text) => Some(Value::Text(text.clone())),
                    Node::Bool(value) => Some(Value::Bool(*value)),
                    _ => None,
                };
                let values: Option<Vec<Value>> = nodes.iter().map(literal).collect();
                values.map(|values| Node::Constant(List::anys(values)))
            }
            Node::Builtin(_) => self.filter_of_filter(id),
            _ => None,
        }
    }

    fn fold_binary(&self, id: Id, op: Op, left: Id, right: Id) -> Rewritten {
        let number = |id| match self.node(id) {
            Node::Integer(value) => Some((*value as f64, Some(*value))),
            Node::Float(value) => Some((*value, None)),
            _ => None,
        };
        if let (Some((x, x_int)), Some((y, y_int))) = (number(left), number(right)) {
            let integers = x_int.zip(y_int);
            let either = |int: fn(i64, i64) -> i64, float: f64| match integers {
                Some((x, y)) => Node::Integer(int(x, y)),
                None => Node::Float(float),
            };
            return match (op, integers) {
                (Op::Add, _) => Some(either(i64::wrapping_add, x + y)),
                (Op::Subtract, _) => Some(either(i64::wrapping_sub, x - y)),
                (Op::Multiply, _) => Some(either(i64::wrapping_mul, x * y)),
                (Op::Divide, _) => Some(Node::Float(x / y)),
                (Op::Power, _) => Some(Node::Float(pow(x, y))),
                (Op::Modulo, Some((_, 0))) => {
                    self.fault.set(Some(CompileError::new("integer divide by zero", self.tree.at(id))));
                    None
                }
                (Op::Modulo, Some((x, y))) => Some(Node::Integer(x.wrapping_rem(y))),
                (Op::Equal, Some((x, y))) => Some(Node::Bool(x == y)),
                _ => None,
            };
        }
        let truth = |id| match self.node(id) {
            Node::Bool(value) => Some(*value),
            _ => None,
        };
        match (op, truth(left), truth(right)) {
            (Op::And, Some(true), _) | (Op::Or, Some(false), _) => Some(self.node(right).clone()),
            (Op::And, _, Some(true)) | (Op::Or, _, Some(false)) => Some(self.node(left).clone()),
            (Op::And, Some(false), _) | (Op::And, _, Some(false)) => Some(Node::Bool(false)),
            (Op::Or, Some(true), _) | (Op::Or, _, Some(true)) => Some(Node::Bool(true)),
            (Op::Equal, Some(x), Some(y)) => Some(Node::Bool(x == y)),
            _ => match (op, self.node(left), self.node(right)) {
                // A sum of literals may not outgrow the source.
                (Op::Add, Node::Text(x), Node::Text(y)) if x.len() + y.len() <= crate::parser::MAX_SOURCE => {
                    Some(Node::Text(Arc::from([&**x, &**y].concat())))
                }
                (Op::Equal, Node::Text(x), Node::Text(y)) => Some(Node::Bool(x == y)),
                _ => None,
            },
        }
    }

    fn predicate(&self, id: Id) -> Id {
        match self.node(id) {
            Node::Predicate(node) => *node,
            _ => id,
        }
    }

    /// Two predicates joined by an operator, as one.
    fn joined(&mut self, op: Op, one: Id, two: Id) -> Id {
        let (left, right) = (self.predicate(one), self.predicate(two));
        let at = self.tree.at(one);
        let spelled = if op == Op::And { "&&" } else { "||" };
        let node = self.tree.add(Node::Binary { op, spelled, left, right }, at);
        self.tree.add(Node::Predicate(node), at)
    }

    fn filter_of_filter(&mut self, id: Id) -> Option<Node> {
        let outer = self.call(id, Builtin::Filter, 2)?.arguments.clone();
        let inner = self.call(*outer.first()?, Builtin::Filter, 2)?.arguments.clone();
        let predicate = self.joined(Op::And, *inner.get(1)?, *outer.get(1)?);
        let arguments = vec![*inner.first()?, predicate];
        Some(Node::Builtin(Box::new(Application::new(Builtin::Filter, arguments))))
    }

    fn in_range(&mut self, id: Id) -> Rewritten {
        let Node::Binary { op: Op::In, left, right, .. } = *self.node(id) else { return None };
        let Node::Binary { op: Op::Range, left: from, right: to, .. } = *self.node(right) else { return None };
        let literal = |id| matches!(self.node(id), Node::Integer(_));
        if !self.is_int(left) || !literal(from) || !literal(to) {
            return None;
        }
        let at = self.tree.at(id);
        let low = self.tree.add(Node::Binary { op: Op::MoreOrEqual, spelled: ">=", left, right: from }, at);
        let high = self.tree.add(Node::Binary { op: Op::LessOrEqual, spelled: "<=", left, right: to }, at);
        Some(Node::Binary { op: Op::And, spelled: "and", left: low, right: high })
    }

    /// The filter that is the only argument of the call.
    fn filter_in(&self, id: Id, builtin: Builtin) -> Option<Application> {
        let argument = self.call(id, builtin, 1)?.arguments.first()?;
        self.call(*argument, Builtin::Filter, 2).cloned()
    }

    fn map_of_filter(&mut self, id: Id) -> Rewritten {
        let rewrite = || {
            let [collection, predicate] = *self.call(id, Builtin::Map, 2)?.arguments.as_slice() else { return None };
            let filter = self.call(collection, Builtin::Filter, 2)?.clone();
            let Node::Predicate(map) = *self.node(predicate) else { return None };
            let merged = Application { map: Some(map), ..Application::new(Builtin::Filter, filter.arguments) };
            (filter.map.is_none() && !self.tree.mentions_index(map)).then(|| Node::Builtin(Box::new(merged)))
        };
        rewrite()
    }

    fn length_of_filter(&mut self, id: Id) -> Rewritten {
        let filter = self.filter_in(id, Builtin::Len);
        filter.map(|filter| Node::Builtin(Box::new(Application::new(Builtin::Count, filter.arguments))))
    }

    /// `filter(..)[0]`, or with the other end.
    fn indexed_filter(&self, id: Id, wanted: i64) -> Option<Application> {
        let Node::Member { node, property, optional: false, .. } = *self.node(id) else { return None };
        let index = matches!(self.node(property), Node::Integer(index) if *index == wanted);
        if index { self.call(node, Builtin::Filter, 2).cloned() } else { None }
    }

    fn end_of_filter(&self, id: Id, index: i64, named: Builtin, find: Builtin) -> Option<Node> {
        let (filter, throws) = match self.indexed_filter(id, index) {
            Some(filter) => (filter, true),
            None => (self.filter_in(id, named)?, false),
        };
        let found = Application { map: filter.map, throws, ..Application::new(find, filter.arguments) };
        Some(Node::Builtin(Box::new(found)))
    }

    fn last_of_filter(&mut self, id: Id) -> Rewritten {
        self.end_of_filter(id, -1, Builtin::Last, Builtin::FindLast)
    }

    fn first_of_filter(&mut self, id: Id) -> Rewritten {
        self.end_of_filter(id, 0, Builtin::First, Builtin::Find)
    }

    fn combine(&mut self, id: Id) -> Rewritten {
        let Node::Binary { op: op @ (Op::And | Op::Or), left, right, .. } = *self.node(id) else { return None };
        let (Node::Builtin(one), Node::Builtin(two)) = (self.node(left), self.node(right)) else { return None };
        let joined = match (one.builtin, op) {
            (Builtin::All, Op::And) => Op::And,
            (Builtin::Any, Op::Or) | (Builtin::None, Op::And) => Op::Or,
            _ => return None,
        };
        let builtin = one.builtin;
        let (Some(&xs), Some(&p), Some(&ys), Some(&q)) =
            (one.arguments.first(), one.arguments.get(1), two.arguments.first(), two.arguments.get(1))
        else {
            return None;
        };
        if two.builtin != builtin || !self.tree.alike(xs, ys) {
            return None;
        }
        let predicate = self.joined(joined, p, q);
        Some(Node::Builtin(Box::new(Application::new(builtin, vec![xs, predicate]))))
    }

    /// The bounds of a range of literals that is not empty.
    fn literal_range(&self, id: Id) -> Option<(i64, i64)> {
        let Node::Binary { op: Op::Range, left, right, .. } = *self.node(id) else { return None };
        match (self.node(left), self.node(right)) {
            (Node::Integer(from), Node::Integer(to)) if to >= from => Some((*from, *to)),
            _ => None,
        }
    }

    fn sum_of_range(&mut self, id: Id) -> Rewritten {
        let Node::Builtin(call) = self.node(id) else { return None };
        let (from, to) = call.arguments.first().and_then(|range| self.literal_range(*range))?;
        let count = to.wrapping_sub(from).wrapping_add(1);
        // Go divides towards zero, also what has overflowed.
        let sum = count.wrapping_mul(from.wrapping_add(to)) / 2;
        let folded = match (call.builtin, call.arguments.as_slice()) {
            (Builtin::Sum, [_]) => Some(sum),
            (Builtin::Sum, [_, predicate]) => self.summed(sum, count, self.predicate(*predicate)),
            (Builtin::Reduce, [_, predicate]) if self.adds_up(*predicate) => Some(sum),
            (Builtin::Reduce, [_, predicate, initial]) if self.adds_up(*predicate) => match self.node(*initial) {
                Node::Integer(initial) => Some(initial.wrapping_add(sum)),
                _ => None,
            },
            _ => None,
        };
        folded.map(Node::Integer)
    }

    fn is_item(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Pointer(Pointer::Item))
    }

    fn adds_up(&self, predicate: Id) -> bool {
        let Node::Binary { op: Op::Add, left, right, .. } = *self.node(self.predicate(predicate)) else { return false };
        let accumulator = |id| matches!(self.node(id), Node::Pointer(Pointer::Accumulator));
        self.is_item(left) && accumulator(right) || accumulator(left) && self.is_item(right)
    }

    /// The sum of `#`, or of `#` and a literal, over a range.
    fn summed(&self, sum: i64, count: i64, body: Id) -> Option<i64> {
        if self.is_item(body) {
            return Some(sum);
        }
        let Node::Binary { op, left, right, .. } = *self.node(body) else { return None };
        let (constant, item_first) = match (self.node(left), self.node(right)) {
            (_, Node::Integer(constant)) if self.is_item(left) => (*constant, true),
            (Node::Integer(constant), _) if self.is_item(right) => (*constant, false),
            _ => return None,
        };
        let all = count.wrapping_mul(constant);
        match (op, item_first) {
            (Op::Multiply, _) => Some(constant.wrapping_mul(sum)),
            (Op::Add, _) => Some(sum.wrapping_add(all)),
            (Op::Subtract, true) => Some(sum.wrapping_sub(all)),
            (Op::Subtract, false) => Some(all.wrapping_sub(sum)),
            _ => None,
        }
    }

    fn sum_of_array(&mut self, id: Id) -> Rewritten {
        let argument = self.call(id, Builtin::Sum, 1).and_then(|call| call.arguments.first());
        match argument.map(|argument| self.node(*argument)) {
            Some(Node::Array(nodes)) if nodes.len() >= 2 => Some(Node::SumOf(nodes.clone())),
            _ => None,
        }
    }

    fn sum_of_map(&mut self, id: Id) -> Rewritten {
        let argument = self.call(id, Builtin::Sum, 1).and_then(|call| call.arguments.first());
        let map = argument.and_then(|argument| self.call(*argument, Builtin::Map, 2));
        map.map(|map| Node::Builtin(Box::new(Application::new(Builtin::Sum, map.arguments.clone()))))
    }

    /// `count(..)` left of a comparison with a literal.
    fn compared_count(&self, id: Id) -> Option<(Id, Op, i64)> {
        let Node::Binary { op, left, right, .. } = *self.node(id) else { return None };
        let Node::Integer(limit) = *self.node(right) else { return None };
        self.call(left, Builtin::Count, 2).map(|_| (left, op, limit))
    }

    fn count_as_any(&mut self, id: Id) -> Rewritten {
        let Some((count, Op::More, 0) | (count, Op::MoreOrEqual, 1)) = self.compared_count(id) else { return None };
        let call = self.call(count, Builtin::Count, 2);
        call.map(|call| Node::Builtin(Box::new(Application::new(Builtin::Any, call.arguments.clone()))))
    }

    fn count_threshold(&mut self, id: Id) -> Rewritten {
        let (count, op, limit) = self.compared_count(id).filter(|(.., limit)| *limit >= 0)?;
        let threshold = match op {
            Op::More | Op::LessOrEqual => limit.saturating_add(1),
            Op::MoreOrEqual | Op::Less => limit,
            _ => return None,
        };
        if threshold > 1
            && let Node::Builtin(mut call) = self.node(count).clone()
        {
            call.threshold = Some(threshold);
            self.tree.set(count, Node::Builtin(call));
        }
        None
    }
}

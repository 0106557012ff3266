//! The tree of an expression: an arena, in which what a node holds stands before it. A node may have two parents, as in
//! `1 < x < 3`.

use std::sync::Arc;

use crate::builtins::Builtin;
use crate::value::{Text, Value};

/// The place of a node in its tree.
pub(crate) type Id = u32;

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    More,
    LessOrEqual,
    MoreOrEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Coalesce,
}

/// An operator before an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    Not,
    Minus,
    Plus,
}

/// What `#` stands for in a predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pointer {
    Item,
    Index,
    Accumulator,
    Unknown(Arc<str>),
}

/// One node.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Nil,
    Identifier(Arc<str>),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(Text),
    Bytes(Text),
    /// What the optimiser has made of an array of literals.
    Constant(Value),
    Prefix {
        op: Prefix,
        spelled: &'static str,
        node: Id,
    },
    Binary {
        op: Op,
        spelled: &'static str,
        left: Id,
        right: Id,
    },
    /// `left in set`, all of one type: what the optimiser makes of `in` and an array of literals.
    InSet {
        left: Id,
        set: Arc<[Value]>,
    },
    Chain(Id),
    Member {
        node: Id,
        property: Id,
        optional: bool,
        method: bool,
    },
    Slice {
        node: Id,
        from: Option<Id>,
        to: Option<Id>,
    },
    Call {
        callee: Id,
        arguments: Vec<Id>,
    },
    Builtin(Box<Application>),
    Predicate(Id),
    Pointer(Pointer),
    Let {
        name: Arc<str>,
        value: Id,
        body: Id,
    },
    Sequence(Vec<Id>),
    Conditional {
        condition: Id,
        yes: Id,
        no: Id,
    },
    Array(Vec<Id>),
    /// What the optimiser makes of the sum of an array literal: added from the right.
    SumOf(Vec<Id>),
    Map(Vec<(Id, Id)>),
}

/// A call of a built-in function, with what the optimiser notes at it.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    pub(crate) builtin: Builtin,
    pub(crate) arguments: Vec<Id>,
    /// Applied to each element that a filter lets through.
    pub(crate) map: Option<Id>,
    /// Counting may end here.
    pub(crate) threshold: Option<i64>,
    /// Finding nothing is an error.
    pub(crate) throws: bool,
}

impl Application {
    pub(crate) fn new(builtin: Builtin, arguments: Vec<Id>) -> Self {
        Self { builtin, arguments, map: None, threshold: None, throws: false }
    }
}

/// A parsed expression.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    nodes: Vec<Placed>,
    pub(crate) root: Id,
    /// The greatest height of a node.
    pub(crate) tallest: u32,
}

#[derive(Debug, Clone)]
struct Placed {
    node: Node,
    at: usize,
    height: u32,
}

/// Stands for a node that is not there, which no tree of the parser holds.
static NOTHING: Node = Node::Nil;

impl Tree {
    pub(crate) fn add(&mut self, node: Node, at: usize) -> Id {
        let height = self.height(&node);
        self.tallest = self.tallest.max(height);
        self.nodes.push(Placed { node, at, height });
        (self.nodes.len() - 1) as Id
    }

    /// How deep walking over the node goes. A chain of binary operators is walked in a loop along its left side, so
    /// that it counts once.
    fn height(&self, node: &Node) -> u32 {
        let height = |id: &Id| self.nodes.get(*id as usize).map_or(0, |placed| placed.height);
        let tallest = |ids: &[Id]| ids.iter().map(height).max().unwrap_or(0);
        match node {
            Node::Binary { left, right, .. } => {
                let along = u32::from(!matches!(self.node(*left), Node::Binary { .. }));
                (height(left) + along).max(height(right) + 1)
            }
            Node::Prefix { node, .. } | Node::Chain(node) | Node::Predicate(node) => height(node) + 1,
            Node::InSet { left, .. } => height(left) + 1,
            Node::Member { node, property, .. } => height(node).max(height(property)) + 1,
            Node::Slice { node, from, to } => {
                let ends = [from, to].into_iter().flatten().map(height).max().unwrap_or(0);
                height(node).max(ends) + 1
            }
            Node::Call { callee, arguments } => height(callee).max(tallest(arguments)) + 1,
            Node::Builtin(application) => tallest(&application.arguments) + 1,
            Node::Let { value, body, .. } => height(value).max(height(body)) + 1,
            Node::Sequence(nodes) | Node::Array(nodes) | Node::SumOf(nodes) => tallest(nodes) + 1,
            Node::Conditional { condition, yes, no } => tallest(&[*condition, *yes, *no]) + 1,
            Node::Map(pairs) => pairs.iter().map(|(key, value)| height(key).max(height(value))).max().unwrap_or(0) + 1,
            _ => 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).map_or(&NOTHING, |placed| &placed.node)
    }

    /// Characters before the node.
    pub(crate) fn at(&self, id: Id) -> usize {
        self.nodes.get(id as usize).map_or(0, |placed| placed.at)
    }

    pub(crate) fn set(&mut self, id: Id, node: Node) {
        if let Some(placed) = self.nodes.get_mut(id as usize) {
            placed.node = node;
        }
    }

    /// Whether `#index` stands anywhere in it.
    pub(crate) fn mentions_index(&self, id: Id) -> bool {
        let (mut open, mut seen) = (vec![id], 0);
        while let Some(id) = open.pop() {
            seen += 1;
            // A node with two parents is come to twice; past this many it is taken for granted.
            if seen > self.nodes.len() || matches!(self.node(id), Node::Pointer(Pointer::Index)) {
                return true;
            }
            self.children(id, &mut open);
        }
        false
    }

    /// Whether two expressions say the same.
    pub(crate) fn alike(&self, one: Id, two: Id) -> bool {
        let (mut open, mut others, mut seen) = (vec![one], vec![two], 0);
        while let (Some(one), Some(two)) = (open.pop(), others.pop()) {
            seen += 1;
            if seen > self.nodes.len() || !self.same_word(one, two) {
                return false;
            }
            self.children(one, &mut open);
            self.children(two, &mut others);
            if open.len() != others.len() {
                return false;
            }
        }
        true
    }

    /// Whether two nodes are the same but for what they hold.
    fn same_word(&self, one: Id, two: Id) -> bool {
        match (self.node(one), self.node(two)) {
            (Node::Identifier(a), Node::Identifier(b)) => a == b,
            (Node::Integer(a), Node::Integer(b)) => a == b,
            (Node::Float(a), Node::Float(b)) => a.to_bits() == b.to_bits(),
            (Node::Bool(a), Node::Bool(b)) => a == b,
            (Node::Text(a), Node::Text(b)) | (Node::Bytes(a), Node::Bytes(b)) => a == b,
            (Node::Constant(Value::List(a)), Node::Constant(Value::List(b))) => {
                format!("{:?}", a.items) == format!("{:?}", b.items)
            }
            (Node::Prefix { spelled: a, .. }, Node::Prefix { spelled: b, .. }) => a == b,
            (Node::Binary { spelled: a, .. }, Node::Binary { spelled: b, .. }) => a == b,
            (Node::Builtin(a), Node::Builtin(b)) => {
                a.builtin == b.builtin && a.arguments.len() == b.arguments.len() && a.map.is_some() == b.map.is_some()
            }
            (Node::Pointer(a), Node::Pointer(b)) => a == b,
            (Node::Slice { from: a, to: c, .. }, Node::Slice { from: b, to: d, .. }) => {
                a.is_some() == b.is_some() && c.is_some() == d.is_some()
            }
            (Node::Let { name: a, .. }, Node::Let { name: b, .. }) => a == b,
            (Node::InSet { .. } | Node::Constant(_), _) => false,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }

    /// What the node holds, put onto the list.
    fn children(&self, id: Id, onto: &mut Vec<Id>) {
        match self.node(id) {
            Node::Prefix { node, .. } | Node::Chain(node) | Node::Predicate(node) => onto.push(*node),
            Node::InSet { left, .. } => onto.push(*left),
            Node::Binary { left, right, .. } => onto.extend([*left, *right]),
            Node::Member { node, property, .. } => onto.extend([*node, *property]),
            Node::Slice { node, from, to } => onto.extend([Some(*node), *from, *to].into_iter().flatten()),
            Node::Call { callee, arguments } => {
                onto.push(*callee);
                onto.extend(arguments);
            }
            Node::Builtin(call) => {
                onto.extend(&call.arguments);
                onto.extend(call.map);
            }
            Node::Let { value, body, .. } => onto.extend([*value, *body]),
            Node::Sequence(nodes) | Node::Array(nodes) | Node::SumOf(nodes) => onto.extend(nodes),
            Node::Conditional { condition, yes, no } => onto.extend([*condition, *yes, *no]),
            Node::Map(pairs) => onto.extend(pairs.iter().flat_map(|(key, value)| [*key, *value])),
            _ => {}
        }
    }
}

//! From tokens to a tree, with expr-lang's precedences and messages.

use std::sync::Arc;

use crate::ast::{Application, Id, Node, Op, Pointer, Prefix, Tree};
use crate::builtins::{Argument, Builtin};
use crate::error::CompileError;
use crate::lexer::{Kind, Lexer, Token, is_alphabetic};
use crate::number::{message, parse_float, parse_int};

/// How deep an expression may be nested. Every level costs stack here, in the checker and in the evaluator.
pub(crate) const MAX_NESTING: usize = 64;

/// How tall the tree may be: a chain of postfix operators or pipes nests the tree but not the text.
const MAX_HEIGHT: u32 = 128;

/// expr-lang's own limit.
const MAX_NODES: usize = 10_000;

/// How long an expression may be, in bytes.
pub(crate) const MAX_SOURCE: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Binary {
    Pipe,
    Op(Op),
}

/// Operator, precedence, and whether it groups from the right.
fn binary(word: &str) -> Option<(Binary, u32, bool)> {
    let (op, precedence) = match word {
        "|" => return Some((Binary::Pipe, 0, false)),
        "**" | "^" => return Some((Binary::Op(Op::Power), 100, true)),
        "or" | "||" => (Op::Or, 10),
        "and" | "&&" => (Op::And, 15),
        "==" => (Op::Equal, 20),
        "!=" => (Op::NotEqual, 20),
        "<" => (Op::Less, 20),
        ">" => (Op::More, 20),
        ">=" => (Op::MoreOrEqual, 20),
        "<=" => (Op::LessOrEqual, 20),
        "in" => (Op::In, 20),
        "matches" => (Op::Matches, 20),
        "contains" => (Op::Contains, 20),
        "startsWith" => (Op::StartsWith, 20),
        "endsWith" => (Op::EndsWith, 20),
        ".." => (Op::Range, 25),
        "+" => (Op::Add, 30),
        "-" => (Op::Subtract, 30),
        "*" => (Op::Multiply, 60),
        "/" => (Op::Divide, 60),
        "%" => (Op::Modulo, 60),
        "??" => (Op::Coalesce, 500),
        _ => return None,
    };
    Some((Binary::Op(op), precedence, false))
}

/// The operator as messages spell it.
fn spelled(word: &str) -> &'static str {
    const WORDS: &[&str] = &[
        "or",
        "||",
        "and",
        "&&",
        "==",
        "!=",
        "<",
        ">",
        ">=",
        "<=",
        "in",
        "matches",
        "contains",
        "startsWith",
        "endsWith",
        "..",
        "+",
        "-",
        "*",
        "/",
        "%",
        "**",
        "^",
        "??",
        "!",
        "not",
    ];
    WORDS.iter().find(|known| **known == word).copied().unwrap_or_default()
}

fn is_comparison(op: Op) -> bool {
    matches!(op, Op::Less | Op::More | Op::LessOrEqual | Op::MoreOrEqual)
}

type Parsed = Result<Id, CompileError>;

/// Parses a whole expression.
pub(crate) fn parse(source: &str) -> Result<Tree, CompileError> {
    if source.len() > MAX_SOURCE {
        return Err(CompileError::new(format!("expression is longer than {MAX_SOURCE} bytes"), 0));
    }
    let mut parser = Parser {
        lexer: Lexer::new(source),
        current: Token { kind: Kind::End, value: Vec::new(), at: 0 },
        stashed: None,
        tree: Tree::default(),
        predicates: 0,
        nesting: 0,
    };
    parser.next()?;
    let root = parser.sequence()?;
    if parser.current.kind != Kind::End {
        return parser.unexpected();
    }
    if parser.tree.len() > MAX_NODES {
        return parser.error("compilation failed: expression exceeds maximum allowed nodes");
    }
    if parser.tree.tallest > MAX_HEIGHT {
        return parser.error(format!("expression is nested deeper than {MAX_HEIGHT} levels"));
    }
    parser.tree.root = root;
    Ok(parser.tree)
}

struct Parser {
    lexer: Lexer,
    current: Token,
    stashed: Option<Token>,
    tree: Tree,
    /// Predicates around what is being parsed: there `#` and a leading point have a meaning.
    predicates: usize,
    nesting: usize,
}

impl Parser {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::new(message, self.current.at))
    }

    fn unexpected<T>(&self) -> Result<T, CompileError> {
        self.error(format!("unexpected token {}", self.current.describe()))
    }

    fn next(&mut self) -> Result<(), CompileError> {
        if let Some(token) = self.stashed.take() {
            self.current = token;
            return Ok(());
        }
        match self.lexer.next_token() {
            Ok(Some(token)) => {
                self.current = token;
                Ok(())
            }
            Ok(None) => self.error("unexpected end of expression"),
            Err(error) => Err(CompileError::new(error.message, error.at)),
        }
    }

    fn take(&mut self) -> Result<Token, CompileError> {
        let token = self.current.clone();
        self.next()?;
        Ok(token)
    }

    fn expect(&mut self, kind: Kind, value: &str) -> Result<(), CompileError> {
        if self.current.is(kind, value) { self.next() } else { self.unexpected() }
    }

    fn expect_bracket(&mut self, value: &str) -> Result<(), CompileError> {
        self.expect(Kind::Bracket, value)
    }

    fn expect_operator(&mut self, value: &str) -> Result<(), CompileError> {
        self.expect(Kind::Operator, value)
    }

    fn expect_identifier(&mut self) -> Result<Token, CompileError> {
        if self.current.kind == Kind::Identifier { self.take() } else { self.unexpected() }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, CompileError>) -> Result<T, CompileError> {
        if self.nesting >= MAX_NESTING {
            return self.error(format!("expression is nested deeper than {MAX_NESTING} levels"));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn sequence(&mut self) -> Parsed {
        let first = self.expression(0)?;
        let mut nodes = vec![first];
        while self.current.is_operator(";") {
            self.next()?;
            if self.current.kind == Kind::End {
                break;
            }
            nodes.push(self.expression(0)?);
        }
        if nodes.len() == 1 {
            return Ok(first);
        }
        let at = self.tree.at(first);
        Ok(self.tree.add(Node::Sequence(nodes), at))
    }

    fn expression(&mut self, precedence: u32) -> Parsed {
        self.nested(|parser| {
            if precedence == 0 && parser.current.is_operator("let") {
                return parser.declaration();
            }
            if precedence == 0 && parser.current.is_operator("if") {
                return parser.conditional_if();
            }
            let first = parser.primary()?;
            let node = parser.operators(first, precedence)?;
            if precedence == 0 { parser.ternary(node) } else { Ok(node) }
        })
    }

    /// Operators that bind at least as tightly as `precedence`, after their first operand.
    fn operators(&mut self, mut left: Id, precedence: u32) -> Parsed {
        let mut previous = None;
        while self.current.kind == Kind::Operator {
            let mut operator = self.current.clone();
            let negate = operator.is_operator("not");
            if negate {
                self.next()?;
                let negatable =
                    matches!(self.current.word(), "in" | "matches" | "contains" | "startsWith" | "endsWith");
                if !negatable {
                    return self.unexpected();
                }
                if precedence > 20 {
                    self.stashed = Some(std::mem::replace(&mut self.current, operator));
                    break;
                }
                operator = self.current.clone();
            }
            let Some((op, tightness, from_right)) = binary(operator.word()) else { break };
            if tightness < precedence {
                break;
            }
            self.next()?;
            let Binary::Op(op) = op else {
                let name = self.expect_identifier()?;
                left = self.call(&name, vec![left])?;
                previous = None;
                continue;
            };
            if previous == Some(Op::Coalesce) && op != Op::Coalesce {
                let message = format!(
                    "Operator ({}) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses.",
                    operator.word()
                );
                return Err(CompileError::new(message, operator.at));
            }
            previous = Some(op);
            if is_comparison(op) {
                left = self.comparison(left, op, operator, tightness)?;
                continue;
            }
            let right = self.expression(if from_right { tightness } else { tightness + 1 })?;
            let spelling = spelled(operator.word());
            left = self.tree.add(Node::Binary { op, spelled: spelling, left, right }, operator.at);
            if negate {
                left = self.tree.add(Node::Prefix { op: Prefix::Not, spelled: "not", node: left }, operator.at);
            }
        }
        Ok(left)
    }

    /// `a < b < c` means that both hold.
    fn comparison(&mut self, mut left: Id, mut op: Op, mut operator: Token, precedence: u32) -> Parsed {
        let mut whole = None;
        loop {
            let right = self.expression(precedence + 1)?;
            let spelling = spelled(operator.word());
            let pair = self.tree.add(Node::Binary { op, spelled: spelling, left, right }, operator.at);
            let joined = whole.map_or(pair, |before| {
                self.tree.add(Node::Binary { op: Op::And, spelled: "&&", left: before, right: pair }, operator.at)
            });
            whole = Some(joined);
            left = right;
            match binary(self.current.word()) {
                Some((Binary::Op(next), ..)) if self.current.kind == Kind::Operator && is_comparison(next) => {
                    op = next;
                    operator = self.take()?;
                }
                _ => return Ok(joined),
            }
        }
    }

    fn declaration(&mut self) -> Parsed {
        self.next()?;
        let name = self.expect_identifier()?;
        self.expect_operator("=")?;
        let value = self.expression(0)?;
        self.expect_operator(";")?;
        let body = self.nested(Self::sequence)?;
        Ok(self.tree.add(Node::Let { name: Arc::from(name.word()), value, body }, name.at))
    }

    fn block(&mut self) -> Parsed {
        self.expect_bracket("{")?;
        let block = self.sequence()?;
        self.expect_bracket("}")?;
        Ok(block)
    }

    fn conditional_if(&mut self) -> Parsed {
        let at = self.current.at;
        self.next()?;
        let condition = self.expression(0)?;
        let yes = self.block()?;
        self.expect_operator("else")?;
        let no = if self.current.is_operator("if") { self.nested(Self::conditional_if)? } else { self.block()? };
        Ok(self.tree.add(Node::Conditional { condition, yes, no }, at))
    }

    fn ternary(&mut self, mut node: Id) -> Parsed {
        while self.current.is_operator("?") {
            self.next()?;
            let yes = if self.current.is_operator(":") { node } else { self.expression(0)? };
            self.expect_operator(":")?;
            let no = self.expression(0)?;
            let at = self.current.at;
            node = self.tree.add(Node::Conditional { condition: node, yes, no }, at);
        }
        Ok(node)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.current.clone();
        if token.kind == Kind::Operator {
            let prefix = match token.word() {
                "not" | "!" => Some((Prefix::Not, 50)),
                "-" => Some((Prefix::Minus, 90)),
                "+" => Some((Prefix::Plus, 90)),
                _ => None,
            };
            if let Some((op, precedence)) = prefix {
                self.next()?;
                let node = self.expression(precedence)?;
                let node = self.tree.add(Node::Prefix { op, spelled: spelled(token.word()), node }, token.at);
                return self.postfix(node);
            }
        }
        if token.is_bracket("(") {
            self.next()?;
            let node = self.sequence()?;
            self.expect_bracket(")")?;
            return self.postfix(node);
        }
        if self.predicates > 0 && (token.is_operator("#") || token.is_operator(".")) {
            let node = self.pointer(&token)?;
            return self.postfix(node);
        }
        if token.is_operator("::") {
            self.next()?;
            let name = self.expect_identifier()?;
            let node = self.call(&name, Vec::new())?;
            return self.postfix(node);
        }
        self.secondary(token)
    }

    fn pointer(&mut self, token: &Token) -> Parsed {
        let mut pointer = Pointer::Item;
        if token.is_operator("#") {
            self.next()?;
            if self.current.kind == Kind::Identifier {
                pointer = match self.take()?.word() {
                    "index" => Pointer::Index,
                    "acc" => Pointer::Accumulator,
                    other => Pointer::Unknown(Arc::from(other)),
                };
            }
        }
        Ok(self.tree.add(Node::Pointer(pointer), token.at))
    }

    fn secondary(&mut self, token: Token) -> Parsed {
        let node = match token.kind {
            Kind::Identifier => {
                self.next()?;
                let constant = match token.word() {
                    "true" => Some(Node::Bool(true)),
                    "false" => Some(Node::Bool(false)),
                    "nil" => Some(Node::Nil),
                    _ => None,
                };
                if let Some(constant) = constant {
                    return Ok(self.tree.add(constant, token.at));
                }
                if self.current.is_bracket("(") {
                    self.call(&token, Vec::new())?
                } else {
                    self.tree.add(Node::Identifier(Arc::from(token.word())), token.at)
                }
            }
            Kind::Number => {
                self.next()?;
                return self.number(&token);
            }
            Kind::Text => {
                self.next()?;
                self.tree.add(Node::Text(Arc::from(token.value.as_slice())), token.at)
            }
            Kind::Bytes => {
                self.next()?;
                self.tree.add(Node::Bytes(Arc::from(token.value.as_slice())), token.at)
            }
            _ if token.is_bracket("[") => self.array(token.at)?,
            _ if token.is_bracket("{") => self.map(token.at)?,
            _ => return self.unexpected(),
        };
        self.postfix(node)
    }

    fn number(&mut self, token: &Token) -> Parsed {
        let plain = token.word().replace('_', "");
        let lower = plain.to_lowercase();
        let based = [("0x", 16, "hex"), ("0b", 2, "binary"), ("0o", 8, "octal")];
        let based = based.into_iter().find(|(prefix, ..)| lower.starts_with(prefix));
        let (digits, base, name) = match based {
            Some((prefix, base, name)) if base == 16 || !lower.contains(['.', 'e']) => {
                (lower.strip_prefix(prefix).unwrap_or_default(), base, name)
            }
            _ if lower.contains(['.', 'e']) => {
                let value = parse_float(plain.as_bytes()).or_else(|fault| {
                    self.error(format!("invalid float literal: {}", message("ParseFloat", plain.as_bytes(), fault)))
                })?;
                return Ok(self.tree.add(Node::Float(value), token.at));
            }
            _ => (lower.as_str(), 10, "integer"),
        };
        let value = parse_int(digits.as_bytes(), base).or_else(|fault| {
            self.error(format!("invalid {name} literal: {}", message("ParseInt", plain.as_bytes(), fault)))
        })?;
        Ok(self.tree.add(Node::Integer(value), token.at))
    }

    /// A call by name. What stands left of a pipe comes in as the first argument.
    fn call(&mut self, name: &Token, arguments: Vec<Id>) -> Parsed {
        let Some(builtin) = Builtin::named(name.word()) else {
            let callee = self.tree.add(Node::Identifier(Arc::from(name.word())), name.at);
            let arguments = self.arguments(arguments)?;
            return Ok(self.tree.add(Node::Call { callee, arguments }, name.at));
        };
        let arguments = match builtin.predicate() {
            Some(form) => self.predicate_arguments(form, arguments)?,
            None => self.arguments(arguments)?,
        };
        Ok(self.tree.add(Node::Builtin(Box::new(Application::new(builtin, arguments))), name.at))
    }

    fn arguments(&mut self, mut arguments: Vec<Id>) -> Result<Vec<Id>, CompileError> {
        let piped = arguments.len();
        self.expect_bracket("(")?;
        while !self.current.is_bracket(")") {
            if arguments.len() > piped {
                self.expect_operator(",")?;
            }
            if self.current.is_bracket(")") {
                break;
            }
            arguments.push(self.expression(0)?);
        }
        self.expect_bracket(")")?;
        Ok(arguments)
    }

    fn predicate_arguments(&mut self, form: &[Argument], mut arguments: Vec<Id>) -> Result<Vec<Id>, CompileError> {
        self.expect_bracket("(")?;
        let form = form.get(arguments.len()..).unwrap_or_default();
        for (index, argument) in form.iter().enumerate() {
            if self.current.is_bracket(")") {
                if argument.optional {
                    break;
                }
                return self.error(format!("expected at least {} arguments", form.len()));
            }
            if index > 0 {
                self.expect_operator(",")?;
            }
            if argument.optional && self.current.is_bracket(")") {
                // A comma at the end, where expr-lang expects the argument.
                return self.unexpected();
            }
            arguments.push(if argument.predicate { self.predicate()? } else { self.expression(0)? });
        }
        if self.current.is_operator(",") {
            self.next()?;
        }
        self.expect_bracket(")")?;
        Ok(arguments)
    }

    fn predicate(&mut self) -> Parsed {
        let at = self.current.at;
        self.predicates += 1;
        let node = if self.current.is_bracket("{") {
            self.next()?;
            let node = self.sequence()?;
            self.predicates -= 1;
            self.expect_bracket("}")?;
            node
        } else {
            let node = self.expression(0)?;
            if self.current.is_operator(";") {
                return self.error("wrap predicate with brackets { and }");
            }
            self.predicates -= 1;
            node
        };
        Ok(self.tree.add(Node::Predicate(node), at))
    }

    fn array(&mut self, at: usize) -> Parsed {
        let mut nodes = Vec::new();
        self.expect_bracket("[")?;
        while !self.current.is_bracket("]") {
            if !nodes.is_empty() {
                self.expect_operator(",")?;
                if self.current.is_bracket("]") {
                    break;
                }
            }
            nodes.push(self.expression(0)?);
        }
        self.expect_bracket("]")?;
        Ok(self.tree.add(Node::Array(nodes), at))
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut pairs = Vec::new();
        self.expect_bracket("{")?;
        while !self.current.is_bracket("}") {
            if !pairs.is_empty() {
                self.expect_operator(",")?;
                if self.current.is_bracket("}") {
                    break;
                }
                if self.current.is_operator(",") {
                    return self.unexpected();
                }
            }
            let key = if matches!(self.current.kind, Kind::Number | Kind::Text | Kind::Identifier) {
                let token = self.take()?;
                self.tree.add(Node::Text(Arc::from(token.value.as_slice())), token.at)
            } else if self.current.is_bracket("(") {
                self.expression(0)?
            } else {
                return self.error(format!(
                    "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses \
                     (unexpected token {})",
                    self.current.describe()
                ));
            };
            self.expect_operator(":")?;
            pairs.push((key, self.expression(0)?));
        }
        self.expect_bracket("}")?;
        Ok(self.tree.add(Node::Map(pairs), at))
    }

    fn postfix(&mut self, mut node: Id) -> Parsed {
        loop {
            let optional = self.current.is_operator("?.");
            if optional || self.current.is_operator(".") {
                self.next()?;
                node = if optional && self.current.is_bracket("[") {
                    self.index(node, true)?
                } else {
                    self.member(node, optional)?
                };
            } else if self.current.is_bracket("[") {
                node = self.index(node, false)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn member(&mut self, node: Id, optional: bool) -> Parsed {
        let name = self.take()?;
        let is_word = |token: &Token| token.word().starts_with(is_alphabetic);
        if name.kind != Kind::Identifier && !(name.kind == Kind::Operator && is_word(&name)) {
            return self.error("expected name");
        }
        let property = self.tree.add(Node::Text(Arc::from(name.value.as_slice())), name.at);
        let (base, chained) = match self.tree.node(node) {
            Node::Chain(inner) => (*inner, true),
            _ => (node, false),
        };
        let method = self.current.is_bracket("(");
        let mut member = self.tree.add(Node::Member { node: base, property, optional, method }, name.at);
        if method {
            let arguments = self.arguments(Vec::new())?;
            member = self.tree.add(Node::Call { callee: member, arguments }, name.at);
        }
        if chained || optional {
            member = self.tree.add(Node::Chain(member), name.at);
        }
        Ok(member)
    }

    fn index(&mut self, node: Id, optional: bool) -> Parsed {
        let at = self.current.at;
        self.expect_bracket("[")?;
        let from = if self.current.is_operator(":") { None } else { Some(self.expression(0)?) };
        let indexed = if self.current.is_operator(":") {
            self.next()?;
            let to = if self.current.is_bracket("]") { None } else { Some(self.expression(0)?) };
            self.tree.add(Node::Slice { node, from, to }, at)
        } else {
            let property = from.unwrap_or(node);
            let member = self.tree.add(Node::Member { node, property, optional, method: false }, at);
            if optional { self.tree.add(Node::Chain(member), at) } else { member }
        };
        self.expect_bracket("]")?;
        Ok(indexed)
    }
}

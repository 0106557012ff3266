//! From text to nodes, as `parser.go` does it; its recursion is a loop here.

use super::{Filter, Node, Part};

/// How deep filters and unions nest.
const MAX_DEPTH: u32 = 16;

/// Parses a template.
pub(super) fn parse(text: &str, depth: u32) -> Result<Vec<Node>, String> {
    if depth > MAX_DEPTH {
        return Err("the JSONPath nests too deep".to_owned());
    }
    let mut parser = Parser { input: text, position: 0, start: 0, depth };
    let mut root = Vec::new();
    while let Some(length) = parser.rest().find('{') {
        parser.position += length;
        if length > 0 {
            root.push(Node::Text(parser.consume().to_owned()));
        }
        parser.position += 1;
        parser.consume();
        root.push(Node::List(parser.action()?));
    }
    if !parser.rest().is_empty() {
        root.push(Node::Text(parser.rest().to_owned()));
    }
    Ok(root)
}

/// Parses what stands between braces.
fn parse_action(text: &str, depth: u32) -> Result<Vec<Node>, String> {
    let root = parse(&format!("{{{text}}}"), depth + 1)?;
    match root.into_iter().next() {
        Some(Node::List(nodes)) => Ok(nodes),
        _ => Err("unclosed action".to_owned()),
    }
}

struct Parser<'a> {
    input: &'a str,
    position: usize,
    start: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.input.get(self.position..).unwrap_or_default()
    }

    /// The text since the last call.
    fn consume(&mut self) -> &'a str {
        let text = self.input.get(self.start..self.position).unwrap_or_default();
        self.start = self.position;
        text
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    /// The byte before the one that was read last.
    fn byte_before_last(&self) -> Option<u8> {
        self.input.as_bytes().get(self.position.checked_sub(2)?).copied()
    }

    /// From behind the opening brace to behind the closing one.
    fn action(&mut self) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with('}') {
                self.position += 1;
                self.consume();
                return Ok(nodes);
            }
            if rest.starts_with("[?(") {
                nodes.push(self.filter()?);
                continue;
            }
            if rest.starts_with("..") {
                self.recursive(&mut nodes)?;
                continue;
            }
            match self.next() {
                None | Some('\r' | '\n') => return Err("unclosed action".to_owned()),
                Some(' ' | '@' | '$') => {
                    self.consume();
                }
                Some('[') => self.array(&mut nodes)?,
                Some(quote @ ('"' | '\'')) => nodes.push(self.quote(quote)?),
                Some('.') => nodes.push(self.field()),
                Some(c) if c == '+' || c == '-' || is_digit(c) => {
                    self.position -= c.len_utf8();
                    nodes.push(self.number()?);
                }
                Some(c) if is_alphanumeric(c) => nodes.push(self.identifier()),
                Some(c) => return Err(format!("unrecognized character in action: {}", described(c))),
            }
        }
    }

    fn identifier(&mut self) -> Node {
        while self.peek().is_some_and(|c| !is_terminator(c)) {
            self.next();
        }
        match self.consume() {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            word => Node::Identifier(word.to_owned()),
        }
    }

    fn recursive(&mut self, nodes: &mut Vec<Node>) -> Result<(), String> {
        if matches!(nodes.last(), Some(Node::Recursive)) {
            return Err("invalid multiple recursive descent".to_owned());
        }
        self.position += 2;
        self.consume();
        nodes.push(Node::Recursive);
        if self.peek().is_some_and(is_alphanumeric) {
            nodes.push(self.field());
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Node, String> {
        if matches!(self.peek(), Some('+' | '-')) {
            self.next();
        }
        while self.peek().is_some_and(|c| c == '.' || is_digit(c)) {
            self.next();
        }
        let text = self.consume();
        if let Ok(value) = text.parse() {
            return Ok(Node::Int(value));
        }
        let value = text.parse().ok().filter(|value: &f64| value.is_finite());
        value.map(Node::Float).ok_or_else(|| format!("cannot parse number {text}"))
    }

    /// A name, up to what ends it; `\` keeps the next character.
    fn field(&mut self) -> Node {
        self.consume();
        while let Some(c) = self.peek() {
            if c == '\\' {
                self.next();
                self.next();
            } else if is_terminator(c) {
                break;
            } else {
                self.next();
            }
        }
        match self.consume() {
            "*" => Node::Wildcard,
            name => Node::Field(name.replace('\\', "")),
        }
    }

    fn quote(&mut self, quote: char) -> Result<Node, String> {
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated quoted string".to_owned()),
                Some(c) if c == quote && self.byte_before_last() != Some(b'\\') => break,
                Some(_) => {}
            }
        }
        let text = self.consume();
        let unquoted = unquote(text).ok_or_else(|| format!("unquote string {text} error invalid syntax"))?;
        Ok(Node::Text(unquoted))
    }

    fn array(&mut self, nodes: &mut Vec<Node>) -> Result<(), String> {
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated array".to_owned()),
                Some(']') => break,
                Some(_) => {}
            }
        }
        let text = self.consume();
        let text = text.get(1..text.len() - 1).unwrap_or_default();
        let text = if text == "*" { ":" } else { text };
        if text.contains(',') {
            let parts = text.split(',').map(|part| parse_action(&format!("[{}]", part.trim_matches(' ')), self.depth));
            nodes.push(Node::Union(parts.collect::<Result<_, _>>()?));
            return Ok(());
        }
        if let Some(key) = dictionary_key(text) {
            nodes.extend(parse_action(&format!(".{key}"), self.depth)?);
            return Ok(());
        }
        nodes.push(Node::Array(parts(text)?));
        Ok(())
    }

    fn filter(&mut self) -> Result<Node, String> {
        self.position += 3;
        self.consume();
        let (mut begun, mut ended, mut pair) = (false, false, '"');
        loop {
            match self.next() {
                None | Some('\n') => return Err("unterminated filter".to_owned()),
                Some(quote @ ('"' | '\'')) => {
                    if !begun {
                        (begun, pair) = (true, quote);
                    } else if self.byte_before_last() != Some(b'\\') && quote == pair {
                        ended = true;
                    }
                }
                Some(')') if begun == ended => break,
                Some(_) => {}
            }
        }
        if self.next() != Some(']') {
            return Err("unclosed array expect ]".to_owned());
        }
        let text = self.consume();
        let text = text.get(..text.len() - 2).unwrap_or_default();
        let filter = match comparison(text) {
            None => Filter { left: parse_action(text, self.depth)?, right: Vec::new(), operator: "exists".to_owned() },
            Some((left, operator, right)) => Filter {
                left: parse_action(left, self.depth)?,
                right: parse_action(right, self.depth)?,
                operator: operator.to_owned(),
            },
        };
        Ok(Node::Filter(Box::new(filter)))
    }
}

/// Go's `^([^!<>=]+)([!<>=]+)(.+?)$`.
fn comparison(text: &str) -> Option<(&str, &str, &str)> {
    let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let (left, rest) = text.split_at(text.find(is_operator)?);
    let length = rest.find(|c| !is_operator(c)).unwrap_or(rest.len());
    // Something has to be left to compare with: an operator character, if there is nothing else.
    let length = if length == rest.len() { length.checked_sub(1)? } else { length };
    let (operator, right) = rest.split_at(length);
    (!left.is_empty() && !operator.is_empty()).then_some((left, operator, right))
}

/// Go's `^'([^']*)'$`.
fn dictionary_key(text: &str) -> Option<&str> {
    let key = text.strip_prefix('\'')?.strip_suffix('\'')?;
    (!key.contains('\'')).then_some(key)
}

/// Go's `^(-?[\d]*)(:-?[\d]*)?(:-?[\d]*)?$`, and what it makes of it.
fn parts(text: &str) -> Result<[Part; 3], String> {
    let invalid = || format!("invalid array index {text}");
    let written: Vec<&str> = text.split(':').collect();
    let is_index = |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|byte| byte.is_ascii_digit());
    if written.len() > 3 || !written.iter().all(is_index) {
        return Err(invalid());
    }
    let number = |part: &str| part.parse::<i64>().map_err(|_| format!("array index {part} is not a number"));
    let mut parts = [Part::default(); 3];
    let [start, end, step] = &mut parts;
    if let Some(text) = written.first().filter(|text| !text.is_empty()) {
        *start = Part { value: number(text)?, known: true, derived: false };
    }
    match written.get(1) {
        Some(&"") => {}
        Some(text) => *end = Part { value: number(text)?, known: true, derived: false },
        None => *end = Part { value: start.value.saturating_add(1), known: true, derived: true },
    }
    if let Some(text) = written.get(2).filter(|text| !text.is_empty()) {
        *step = Part { value: number(text)?, known: true, derived: false };
    }
    Ok(parts)
}

fn is_terminator(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && c.is_numeric() && c.to_digit(36).is_none() && c.is_alphanumeric()
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Go's `%#U`.
fn described(c: char) -> String {
    if c.is_control() { format!("U+{:04X}", u32::from(c)) } else { format!("U+{:04X} '{c}'", u32::from(c)) }
}

/// Go's `strconv.Unquote`, for either quote.
fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next()?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    if !inner.contains('\\') && !inner.contains(quote) {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == quote {
            return None;
        }
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next()? {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            '\\' => bytes.push(b'\\'),
            c @ ('"' | '\'') if c == quote => bytes.push(c as u8),
            'x' => bytes.push(u8::try_from(digits(&mut chars, 2, 16)?).ok()?),
            'u' => push_char(&mut bytes, digits(&mut chars, 4, 16)?)?,
            'U' => push_char(&mut bytes, digits(&mut chars, 8, 16)?)?,
            c @ '0'..='7' => {
                let value = c.to_digit(8)? * 64 + digits(&mut chars, 2, 8)?;
                bytes.push(u8::try_from(value).ok()?);
            }
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn digits(chars: &mut std::str::Chars<'_>, count: u32, radix: u32) -> Option<u32> {
    (0..count).try_fold(0_u32, |value, _| value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
}

fn push_char(bytes: &mut Vec<u8>, code: u32) -> Option<()> {
    bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

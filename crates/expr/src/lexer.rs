//! Tokens, cut as expr-lang cuts them.

use std::collections::VecDeque;

use crate::number::quote;

/// What kind of token; the names stand in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Identifier,
    Number,
    Text,
    Bytes,
    Operator,
    Bracket,
    End,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) value: Vec<u8>,
    /// Characters before it.
    pub(crate) at: usize,
}

impl Token {
    pub(crate) fn is(&self, kind: Kind, value: &str) -> bool {
        self.kind == kind && self.value == value.as_bytes()
    }

    pub(crate) fn is_operator(&self, value: &str) -> bool {
        self.is(Kind::Operator, value)
    }

    pub(crate) fn is_bracket(&self, value: &str) -> bool {
        self.is(Kind::Bracket, value)
    }

    pub(crate) fn word(&self) -> &str {
        std::str::from_utf8(&self.value).unwrap_or_default()
    }

    /// As messages name it.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.kind {
            Kind::Identifier => "Identifier",
            Kind::Number => "Number",
            Kind::Text => "String",
            Kind::Bytes => "Bytes",
            Kind::Operator => "Operator",
            Kind::Bracket => "Bracket",
            Kind::End => "EOF",
        };
        if self.value.is_empty() { kind.to_owned() } else { format!("{kind}({})", quote(&self.value)) }
    }
}

/// What the lexer stumbled over, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LexError {
    pub(crate) message: String,
    pub(crate) at: usize,
}

pub(crate) fn is_alphabetic(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alphabetic(c) || c.is_ascii_digit() || !c.is_ascii() && c.is_numeric()
}

/// Cuts one token after the other.
pub(crate) struct Lexer {
    source: Vec<char>,
    start: usize,
    end: usize,
    tokens: VecDeque<Token>,
    done: bool,
}

impl Lexer {
    pub(crate) fn new(source: &str) -> Self {
        Self { source: source.chars().collect(), start: 0, end: 0, tokens: VecDeque::new(), done: false }
    }

    /// The next token; none after the token that marks the end.
    pub(crate) fn next_token(&mut self) -> Result<Option<Token>, LexError> {
        while self.tokens.is_empty() && !self.done {
            self.root()?;
        }
        Ok(self.tokens.pop_front())
    }

    fn peek(&self) -> Option<char> {
        self.source.get(self.end).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        if next.is_some() {
            self.end += 1;
        }
        next
    }

    fn accept(&mut self, valid: &str) -> bool {
        let accepted = self.peek().is_some_and(|c| valid.contains(c));
        if accepted {
            self.end += 1;
        }
        accepted
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn skip(&mut self) {
        self.start = self.end;
    }

    fn word(&self) -> String {
        self.source.get(self.start..self.end).unwrap_or_default().iter().collect()
    }

    fn emit(&mut self, kind: Kind) {
        let value = self.word().into_bytes();
        self.emit_value(kind, value);
    }

    fn emit_value(&mut self, kind: Kind, value: Vec<u8>) {
        self.tokens.push_back(Token { kind, value, at: self.start });
        self.skip();
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, LexError> {
        Err(LexError { message: message.into(), at: self.end.saturating_sub(1) })
    }

    fn root(&mut self) -> Result<(), LexError> {
        let Some(c) = self.next() else {
            self.start = self.end.saturating_sub(1);
            self.emit_value(Kind::End, Vec::new());
            self.done = true;
            return Ok(());
        };
        match c {
            c if c.is_whitespace() => self.skip(),
            '\'' | '"' => {
                self.scan_string(c)?;
                let value = self.unescape(&self.word(), false)?;
                self.emit_value(Kind::Text, value);
            }
            '`' => self.raw_string()?,
            'b' | 'B' if matches!(self.peek(), Some('\'' | '"')) => {
                let quote = self.next().unwrap_or('"');
                self.scan_string(quote)?;
                let word = self.word();
                let value = self.unescape(word.get(1..).unwrap_or_default(), true)?;
                self.emit_value(Kind::Bytes, value);
            }
            '0'..='9' => self.number()?,
            '?' => {
                self.accept(".?");
                self.emit(Kind::Operator);
            }
            '/' => self.slash()?,
            '#' => self.pointer(),
            '|' => {
                self.accept("|");
                self.emit(Kind::Operator);
            }
            ':' => {
                self.accept(":");
                self.emit(Kind::Operator);
            }
            '(' | '[' | '{' | ')' | ']' | '}' => self.emit(Kind::Bracket),
            ',' | ';' | '%' | '+' | '-' | '^' => self.emit(Kind::Operator),
            '&' | '!' | '=' | '*' | '<' | '>' => {
                self.accept("&=*");
                self.emit(Kind::Operator);
            }
            '.' => {
                if self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.number()?;
                } else {
                    self.accept(".");
                    self.emit(Kind::Operator);
                }
            }
            c if is_alphanumeric(c) => self.identifier(),
            c => return self.error(format!("unrecognized character: U+{:04X}{}", u32::from(c), printable(c))),
        }
        Ok(())
    }

    /// The first character of the number, a digit or a point, has been taken.
    fn number(&mut self) -> Result<(), LexError> {
        self.end = self.start;
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        let end = self.end;
        if self.accept(".") {
            // Two points are the operator of ranges.
            if self.peek() == Some('.') {
                self.end = end;
                self.emit(Kind::Number);
                return Ok(());
            }
            self.accept_run(digits);
        }
        if self.accept("eE") {
            self.accept("+-");
            self.accept_run(digits);
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.end += 1;
            return self.error(format!("bad number syntax: {}", quote(self.word().as_bytes())));
        }
        self.emit(Kind::Number);
        Ok(())
    }

    fn absorb_word(&mut self) {
        while self.peek().is_some_and(is_alphanumeric) {
            self.end += 1;
        }
    }

    fn identifier(&mut self) {
        self.absorb_word();
        match self.word().as_str() {
            "not" => self.not(),
            "in" | "or" | "and" | "matches" | "contains" | "startsWith" | "endsWith" | "let" | "if" | "else" => {
                self.emit(Kind::Operator);
            }
            _ => self.emit(Kind::Identifier),
        }
    }

    fn not(&mut self) {
        self.emit(Kind::Operator);
        self.accept_run(" ");
        self.skip();
        let end = self.end;
        self.absorb_word();
        match self.word().as_str() {
            "in" | "matches" | "contains" | "startsWith" | "endsWith" => self.emit(Kind::Operator),
            _ => self.end = end,
        }
    }

    fn slash(&mut self) -> Result<(), LexError> {
        if self.accept("/") {
            while self.next().is_some_and(|c| c != '\n') {}
            self.skip();
        } else if self.accept("*") {
            loop {
                match self.next() {
                    None => return self.error("unclosed comment"),
                    Some('*') if self.accept("/") => break,
                    Some(_) => {}
                }
            }
            self.skip();
        } else {
            self.emit(Kind::Operator);
        }
        Ok(())
    }

    fn pointer(&mut self) {
        self.accept("#");
        self.emit(Kind::Operator);
        self.absorb_word();
        if self.start < self.end {
            self.emit(Kind::Identifier);
        }
    }

    fn scan_string(&mut self, quote: char) -> Result<(), LexError> {
        let mut c = self.next();
        while c != Some(quote) {
            c = match c {
                None | Some('\n') => return self.error("literal not terminated"),
                Some('\\') => self.scan_escape(quote)?,
                Some(_) => self.next(),
            };
        }
        Ok(())
    }

    fn scan_escape(&mut self, quote: char) -> Result<Option<char>, LexError> {
        match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => Ok(self.next()),
            Some(c) if c == quote => Ok(self.next()),
            Some(c @ '0'..='7') => self.scan_digits(Some(c), 8, 3),
            Some('u') if self.peek() == Some('{') => {
                self.end += 1;
                let digits = self.source.iter().skip(self.end).take_while(|c| c.is_ascii_hexdigit()).count();
                self.end += digits;
                if !(1..=6).contains(&digits) || self.next() != Some('}') {
                    return self.error("invalid char escape");
                }
                Ok(self.next())
            }
            Some('x') => {
                let c = self.next();
                self.scan_digits(c, 16, 2)
            }
            Some('u') => {
                let c = self.next();
                self.scan_digits(c, 16, 4)
            }
            Some('U') => {
                let c = self.next();
                self.scan_digits(c, 16, 8)
            }
            _ => self.error("invalid char escape"),
        }
    }

    fn scan_digits(&mut self, first: Option<char>, base: u32, count: usize) -> Result<Option<char>, LexError> {
        let mut c = first;
        for _ in 0..count {
            if !c.is_some_and(|c| c.is_digit(base)) {
                return self.error("invalid char escape");
            }
            c = self.next();
        }
        Ok(c)
    }

    /// Between backticks; two of them in a row are one.
    fn raw_string(&mut self) -> Result<(), LexError> {
        let mut value = String::new();
        loop {
            match self.next() {
                None => return self.error("literal not terminated"),
                Some('`') if self.peek() == Some('`') => {
                    self.end += 1;
                    value.push('`');
                }
                Some('`') => break,
                Some(c) => value.push(c),
            }
        }
        self.emit_value(Kind::Text, value.into_bytes());
        Ok(())
    }

    fn unescape(&self, quoted: &str, bytes: bool) -> Result<Vec<u8>, LexError> {
        let text = quoted.replace("\r\n", "\n").replace('\r', "\n");
        let mut rest = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().chars();
        let mut out = Vec::new();
        while let Some(c) = rest.next() {
            if c != '\\' {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            let Some(code) = escape(&mut rest, bytes) else { return self.error("unable to unescape string") };
            match code {
                Code::Octal => return self.error("unable to unescape octal sequence in string"),
                Code::Byte(byte) => out.push(byte),
                Code::Char(code) => {
                    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        Ok(out)
    }
}

enum Code {
    Char(u32),
    Byte(u8),
    Octal,
}

/// What stands after a backslash; none if it is no escape sequence.
fn escape(rest: &mut std::str::Chars<'_>, bytes: bool) -> Option<Code> {
    let hex = |rest: &mut std::str::Chars<'_>, count: usize| {
        let mut value = 0_u32;
        for _ in 0..count {
            value = value.checked_mul(16)?.checked_add(rest.next()?.to_digit(16)?)?;
        }
        (value <= 0x10_FFFF).then_some(value)
    };
    let simple = match rest.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        c @ ('\\' | '\'' | '"' | '`' | '?') => u32::from(c),
        'x' | 'X' => {
            let value = hex(rest, 2)?;
            return Some(if bytes { Code::Byte(value as u8) } else { Code::Char(value) });
        }
        'u' | 'U' if bytes => return None,
        'u' if rest.as_str().starts_with('{') => {
            let (digits, tail) = rest.as_str().get(1..)?.split_once('}')?;
            let value = u32::from_str_radix(digits, 16).ok()?;
            *rest = tail.chars();
            return (value <= 0x10_FFFF).then_some(Code::Char(value));
        }
        'u' => hex(rest, 4)?,
        'U' => hex(rest, 8)?,
        c @ '0'..='3' => {
            let digit = |c: Option<char>| c.and_then(|c| c.to_digit(8));
            let (Some(second), Some(third)) = (digit(rest.next()), digit(rest.next())) else {
                return Some(Code::Octal);
            };
            let value = c.to_digit(8)? * 64 + second * 8 + third;
            return Some(if bytes { Code::Byte(value as u8) } else { Code::Char(value) });
        }
        _ => return None,
    };
    Some(Code::Char(simple))
}

fn printable(c: char) -> String {
    if c.is_control() { String::new() } else { format!(" '{c}'") }
}

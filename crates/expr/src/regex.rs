//! Regular expressions of the operator `matches`: Go's RE2 syntax, matched in time linear in the text by following all
//! states at once. Left out are classes by Unicode property (`\p{..}`), which are refused.

use std::sync::Arc;

use crate::budget::Meter;
use crate::error::EvalError;
use crate::text::runes;

/// States of a pattern. Go allows more; nobody writes them by hand.
const MAX_STATES: usize = 2000;
const MAX_REPEAT: u32 = 1000;
const MAX_NESTING: usize = 50;

/// A set of characters, as ranges.
type Ranges = Vec<(u32, u32)>;

#[derive(Debug, Clone)]
enum Tree {
    Empty,
    Set { ranges: Arc<[(u32, u32)]>, negated: bool },
    Assert(Assertion),
    Sequence(Vec<Tree>),
    Either(Vec<Tree>),
    Repeat { tree: Box<Tree>, least: u32, most: Option<u32> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assertion {
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    Word,
    NoWord,
}

#[derive(Debug)]
enum State {
    Set { ranges: Arc<[(u32, u32)]>, negated: bool },
    Assert(Assertion),
    Split(usize, usize),
    Jump(usize),
    Match,
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Regex {
    states: Vec<State>,
    /// Parts compiled so far: repeating nothing makes no states.
    work: usize,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
}

struct Parser {
    pattern: Vec<char>,
    at: usize,
    flags: Flags,
    nesting: usize,
}

type Fault = String;

fn fault<T>(reason: &str, part: &str) -> Result<T, Fault> {
    Err(format!("error parsing regexp: {reason}: `{part}`"))
}

impl Regex {
    /// Compiles a pattern, or says in Go's words why it is none.
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, Fault> {
        let Ok(text) = std::str::from_utf8(pattern) else {
            return fault("invalid UTF-8", &String::from_utf8_lossy(pattern));
        };
        let mut parser = Parser { pattern: text.chars().collect(), at: 0, flags: Flags::default(), nesting: 0 };
        let tree = parser.either()?;
        if parser.peek().is_some() {
            return fault("unexpected )", text);
        }
        let mut regex = Self { states: Vec::new(), work: 0 };
        regex.compile(&tree)?;
        regex.push(State::Match)?;
        Ok(regex)
    }

    fn push(&mut self, state: State) -> Result<usize, Fault> {
        if self.states.len() >= MAX_STATES {
            return Err("error parsing regexp: expression too large".to_owned());
        }
        self.states.push(state);
        Ok(self.states.len() - 1)
    }

    fn set(&mut self, at: usize, state: State) {
        if let Some(slot) = self.states.get_mut(at) {
            *slot = state;
        }
    }

    fn compile(&mut self, tree: &Tree) -> Result<(), Fault> {
        self.work += 1;
        if self.work > 10 * MAX_STATES {
            return Err("error parsing regexp: expression too large".to_owned());
        }
        match tree {
            Tree::Empty => {}
            Tree::Set { ranges, negated } => {
                self.push(State::Set { ranges: ranges.clone(), negated: *negated })?;
            }
            Tree::Assert(assertion) => {
                self.push(State::Assert(*assertion))?;
            }
            Tree::Sequence(parts) => {
                for part in parts {
                    self.compile(part)?;
                }
            }
            Tree::Either(parts) => {
                let mut ends = Vec::new();
                for (index, part) in parts.iter().enumerate() {
                    if index + 1 == parts.len() {
                        self.compile(part)?;
                        break;
                    }
                    let split = self.push(State::Match)?;
                    self.compile(part)?;
                    ends.push(self.push(State::Match)?);
                    self.set(split, State::Split(split + 1, self.states.len()));
                }
                for end in ends {
                    self.set(end, State::Jump(self.states.len()));
                }
            }
            Tree::Repeat { tree, least, most } => self.repeat(tree, *least, *most)?,
        }
        Ok(())
    }

    fn repeat(&mut self, tree: &Tree, least: u32, most: Option<u32>) -> Result<(), Fault> {
        for _ in 0..least {
            self.compile(tree)?;
        }
        match most {
            None => {
                let split = self.push(State::Match)?;
                self.compile(tree)?;
                self.push(State::Jump(split))?;
                self.set(split, State::Split(split + 1, self.states.len()));
            }
            Some(most) => {
                let mut splits = Vec::new();
                for _ in least..most {
                    splits.push(self.push(State::Match)?);
                    self.compile(tree)?;
                }
                for split in splits {
                    self.set(split, State::Split(split + 1, self.states.len()));
                }
            }
        }
        Ok(())
    }

    /// Whether the pattern matches anywhere in the text.
    pub(crate) fn is_match(&self, text: &[u8], meter: &mut Meter) -> Result<bool, EvalError> {
        let mut threads = Threads { marks: vec![0; self.states.len()], mark: 0, now: Vec::new() };
        let mut open: Vec<usize> = Vec::new();
        let mut before: Option<u32> = None;
        let mut characters = runes(text).map(|rune| rune.map_or(0xFFFD, u32::from)).peekable();
        loop {
            let next = characters.peek().copied();
            // A match may begin at every place.
            open.push(0);
            let matched = self.follow(&mut open, &mut threads, before, next);
            meter.steps(1 + threads.now.len())?;
            if matched {
                return Ok(true);
            }
            let Some(c) = next else { return Ok(false) };
            characters.next();
            for state in threads.now.drain(..) {
                let Some(State::Set { ranges, negated }) = self.states.get(state) else { continue };
                meter.steps(ranges.len() / 8)?;
                if ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated {
                    open.push(state + 1);
                }
            }
            before = Some(c);
        }
    }

    /// Goes on from the open states without taking a character; whether that reaches the end of the pattern.
    fn follow(&self, open: &mut Vec<usize>, threads: &mut Threads, before: Option<u32>, next: Option<u32>) -> bool {
        threads.mark += 1;
        while let Some(state) = open.pop() {
            match threads.marks.get_mut(state) {
                Some(mark) if *mark != threads.mark => *mark = threads.mark,
                _ => continue,
            }
            match self.states.get(state) {
                Some(State::Set { .. }) => threads.now.push(state),
                Some(State::Assert(assertion)) if holds(*assertion, before, next) => open.push(state + 1),
                Some(State::Split(one, two)) => open.extend([*one, *two]),
                Some(State::Jump(to)) => open.push(*to),
                Some(State::Match) => {
                    open.clear();
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

struct Threads {
    marks: Vec<u32>,
    mark: u32,
    now: Vec<usize>,
}

fn holds(assertion: Assertion, before: Option<u32>, next: Option<u32>) -> bool {
    let newline = Some(u32::from('\n'));
    let is_word = |c: Option<u32>| c.and_then(char::from_u32).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    match assertion {
        Assertion::TextStart => before.is_none(),
        Assertion::TextEnd => next.is_none(),
        Assertion::LineStart => before.is_none() || before == newline,
        Assertion::LineEnd => next.is_none() || next == newline,
        Assertion::Word => is_word(before) != is_word(next),
        Assertion::NoWord => is_word(before) == is_word(next),
    }
}

/// The Perl and POSIX classes.
fn class(name: &str) -> Option<Ranges> {
    let ranges: &[(char, char)] = match name {
        "d" | "digit" => &[('0', '9')],
        "s" => &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
        "w" | "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\u{7f}')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\u{1f}'), ('\u{7f}', '\u{7f}')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(ranges.iter().map(|(low, high)| (u32::from(*low), u32::from(*high))).collect())
}

fn complement(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let (mut out, mut next) = (Vec::new(), 0);
    for (low, high) in ranges {
        if low > next {
            out.push((next, low - 1));
        }
        next = next.max(high + 1);
    }
    out.push((next, 0x10_FFFF));
    out
}

fn fold_case(ranges: &mut Ranges) {
    for index in 0..ranges.len() {
        let Some((low, high)) = ranges.get(index).copied() else { break };
        for (from, to) in [('A', 'a'), ('a', 'A')] {
            let (from, to) = (u32::from(from), u32::from(to));
            let (start, end) = (low.max(from), high.min(from + 25));
            if start <= end {
                ranges.push((start - from + to, end - from + to));
            }
        }
        // Beyond ASCII only single characters are folded.
        if low == high
            && let Some(c) = char::from_u32(low).filter(|c| !c.is_ascii())
        {
            ranges.extend(c.to_lowercase().chain(c.to_uppercase()).map(|c| (u32::from(c), u32::from(c))));
        }
    }
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.pattern.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn accept(&mut self, c: char) -> bool {
        let accepted = self.peek() == Some(c);
        self.at += usize::from(accepted);
        accepted
    }

    fn from(&self, start: usize) -> String {
        self.pattern.get(start..self.at).unwrap_or_default().iter().collect()
    }

    fn rest(&self, start: usize) -> String {
        self.pattern.get(start..).unwrap_or_default().iter().collect()
    }

    fn either(&mut self) -> Result<Tree, Fault> {
        if self.nesting >= MAX_NESTING {
            return Err("error parsing regexp: expression nests too deeply".to_owned());
        }
        self.nesting += 1;
        let mut parts = vec![self.sequence()?];
        while self.accept('|') {
            parts.push(self.sequence()?);
        }
        self.nesting -= 1;
        Ok(if parts.len() == 1 { parts.pop().unwrap_or(Tree::Empty) } else { Tree::Either(parts) })
    }

    fn sequence(&mut self) -> Result<Tree, Fault> {
        let mut parts = Vec::new();
        while let Some(c) = self.peek() {
            if c == '|' || c == ')' {
                break;
            }
            if let Some(atom) = self.atom()? {
                parts.push(self.repeated(atom)?);
            }
        }
        Ok(Tree::Sequence(parts))
    }

    fn repeated(&mut self, mut tree: Tree) -> Result<Tree, Fault> {
        let mut previous: Option<usize> = None;
        loop {
            let start = self.at;
            let bounds = match self.peek() {
                Some('*') => Some((0, None)),
                Some('+') => Some((1, None)),
                Some('?') => Some((0, Some(1))),
                Some('{') => self.bounds()?,
                _ => None,
            };
            let Some((least, most)) = bounds else { return Ok(tree) };
            if self.pattern.get(start) != Some(&'{') {
                self.at += 1;
            }
            self.accept('?');
            if let Some(previous) = previous {
                return fault("invalid nested repetition operator", &self.from(previous));
            }
            previous = Some(start);
            tree = Tree::Repeat { tree: Box::new(tree), least, most };
        }
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else is the character itself.
    fn bounds(&mut self) -> Result<Option<(u32, Option<u32>)>, Fault> {
        let start = self.at;
        let rest = self.rest(start + 1);
        let Some((inside, _)) = rest.split_once('}') else { return Ok(None) };
        let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
        let number = |text: &str| {
            (!text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let Some(least) = number(least) else { return Ok(None) };
        let most = match most {
            "" => None,
            most => match number(most) {
                Some(most) => Some(most),
                None => return Ok(None),
            },
        };
        self.at += 2 + inside.chars().count();
        if least > MAX_REPEAT || most.is_some_and(|most| most > MAX_REPEAT || most < least) {
            return fault("invalid repeat count", &self.from(start));
        }
        Ok(Some((least, most)))
    }

    fn atom(&mut self) -> Result<Option<Tree>, Fault> {
        let start = self.at;
        let Some(c) = self.next() else { return Ok(None) };
        let assertion = |assertion| Ok(Some(Tree::Assert(assertion)));
        match c {
            '(' => self.group(start),
            '[' => self.bracket(start).map(Some),
            '.' => {
                let newline = u32::from('\n');
                let ranges = if self.flags.dot_all { Vec::new() } else { vec![(newline, newline)] };
                Ok(Some(Tree::Set { ranges: ranges.into(), negated: true }))
            }
            '^' if self.flags.multi_line => assertion(Assertion::LineStart),
            '^' => assertion(Assertion::TextStart),
            '$' if self.flags.multi_line => assertion(Assertion::LineEnd),
            '$' => assertion(Assertion::TextEnd),
            '*' | '+' | '?' => fault("missing argument to repetition operator", &c.to_string()),
            '\\' => self.escape(start).map(Some),
            c => Ok(Some(self.literal(c))),
        }
    }

    fn literal(&self, c: char) -> Tree {
        self.one_of(vec![(u32::from(c), u32::from(c))], false)
    }

    fn one_of(&self, mut ranges: Ranges, negated: bool) -> Tree {
        if self.flags.ignore_case {
            fold_case(&mut ranges);
        }
        Tree::Set { ranges: ranges.into(), negated }
    }

    fn group(&mut self, start: usize) -> Result<Option<Tree>, Fault> {
        let flags = self.flags;
        if self.accept('?') && self.group_flags(start)? {
            return Ok(None);
        }
        let tree = self.either()?;
        if !self.accept(')') {
            return fault("missing closing )", &self.rest(0));
        }
        self.flags = flags;
        Ok(Some(tree))
    }

    /// What follows `(?`. Whether the group ended with it.
    fn group_flags(&mut self, start: usize) -> Result<bool, Fault> {
        if self.peek() == Some('P') || self.peek() == Some('<') {
            let named = self.accept('P');
            let open = self.accept('<');
            let length =
                self.pattern.iter().skip(self.at).take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
            self.at += length;
            if !open || length == 0 || !self.accept('>') {
                let reason =
                    if named || length > 0 { "invalid named capture" } else { "invalid or unsupported Perl syntax" };
                return fault(reason, &self.rest(start));
            }
            return Ok(false);
        }
        let mut on = true;
        loop {
            match self.next() {
                Some('i') => self.flags.ignore_case = on,
                Some('m') => self.flags.multi_line = on,
                Some('s') => self.flags.dot_all = on,
                // Greed decides what is captured, never whether there is a match.
                Some('U') => {}
                Some('-') if on => on = false,
                Some(':') => return Ok(false),
                Some(')') => return Ok(true),
                None => return fault("missing closing )", &self.rest(0)),
                Some(_) => return fault("invalid or unsupported Perl syntax", &self.from(start)),
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<Tree, Fault> {
        let Some(c) = self.next() else {
            return Err("error parsing regexp: trailing backslash at end of expression: ``".to_owned());
        };
        match c {
            'A' => return Ok(Tree::Assert(Assertion::TextStart)),
            'z' => return Ok(Tree::Assert(Assertion::TextEnd)),
            'b' => return Ok(Tree::Assert(Assertion::Word)),
            'B' => return Ok(Tree::Assert(Assertion::NoWord)),
            'd' | 's' | 'w' | 'D' | 'S' | 'W' => {
                let ranges = class(&c.to_ascii_lowercase().to_string()).unwrap_or_default();
                return Ok(Tree::Set { ranges: ranges.into(), negated: c.is_ascii_uppercase() });
            }
            'Q' => {
                let mut parts = Vec::new();
                while let Some(c) = self.next() {
                    if c == '\\' && self.peek() == Some('E') {
                        self.at += 1;
                        break;
                    }
                    parts.push(self.literal(c));
                }
                return Ok(Tree::Sequence(parts));
            }
            _ => {}
        }
        let c = self.escaped(c, start)?;
        Ok(self.literal(c))
    }

    /// A character that is written with a backslash.
    fn escaped(&mut self, c: char, start: usize) -> Result<char, Fault> {
        Ok(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\u{b}',
            'x' => return self.hex(start),
            '0'..='7' if c == '0' || self.peek().is_some_and(|next| next.is_digit(8)) => {
                let mut value = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.at += 1;
                }
                char::from_u32(value).unwrap_or('\0')
            }
            c if c.is_ascii_punctuation() => c,
            _ => return fault("invalid escape sequence", &self.from(start)),
        })
    }

    fn hex(&mut self, start: usize) -> Result<char, Fault> {
        let braced = self.accept('{');
        let most = if braced { 6 } else { 2 };
        let count = self.pattern.iter().skip(self.at).take(most).take_while(|c| c.is_ascii_hexdigit()).count();
        let digits: String = self.pattern.iter().skip(self.at).take(count).collect();
        self.at += count;
        let complete = if braced { count > 0 && self.accept('}') } else { count == 2 };
        let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).filter(|_| complete);
        c.map_or_else(|| fault("invalid escape sequence", &self.from(start)), Ok)
    }

    fn bracket(&mut self, start: usize) -> Result<Tree, Fault> {
        let negated = self.accept('^');
        let mut ranges: Ranges = Vec::new();
        let mut first = true;
        loop {
            let part = self.at;
            let Some(c) = self.next() else { return fault("missing closing ]", &self.rest(start)) };
            if c == ']' && !first {
                return Ok(self.one_of(ranges, negated));
            }
            first = false;
            if c == '['
                && self.peek() == Some(':')
                && let Some((name, _)) = self.rest(self.at + 1).split_once(":]")
            {
                self.at += 3 + name.chars().count();
                let (inverted, word) = name.strip_prefix('^').map_or((false, name), |word| (true, word));
                let Some(found) = class(word).filter(|_| word.len() > 1) else {
                    return fault("invalid character class range", &self.from(part));
                };
                ranges.extend(if inverted { complement(found) } else { found });
                continue;
            }
            let low = if c == '\\' {
                let Some(c) = self.next() else { return fault("missing closing ]", &self.rest(start)) };
                if matches!(c, 'd' | 's' | 'w' | 'D' | 'S' | 'W') {
                    let found = class(&c.to_ascii_lowercase().to_string()).unwrap_or_default();
                    ranges.extend(if c.is_ascii_uppercase() { complement(found) } else { found });
                    continue;
                }
                self.escaped(c, part)?
            } else {
                c
            };
            let mut high = low;
            let is_range = self.peek() == Some('-') && self.pattern.get(self.at + 1).is_some_and(|c| *c != ']');
            if is_range {
                self.at += 1;
                high = match self.next() {
                    Some('\\') => match self.next() {
                        Some(c) => self.escaped(c, part)?,
                        None => return fault("missing closing ]", &self.rest(start)),
                    },
                    Some(c) => c,
                    None => return fault("missing closing ]", &self.rest(start)),
                };
                if high < low {
                    return fault("invalid character class range", &self.from(part));
                }
            }
            ranges.push((u32::from(low), u32::from(high)));
        }
    }
}

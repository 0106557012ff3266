//! Built-ins over strings: Go's `strings` package.

use super::{EvalError, Machine, operators, string};
use crate::budget::Meter;
use crate::builtins::Builtin;
use crate::text::{find, find_last, runes};
use crate::types::Type;
use crate::value::{List, Text, Value};

type Computed = Result<Value, EvalError>;

impl Machine<'_> {
    pub(super) fn of_strings(&mut self, builtin: Builtin, values: &[Value]) -> Computed {
        let nil = Value::Nil;
        let value = values.first().unwrap_or(&nil);
        if builtin == Builtin::Join {
            return join(values, &mut self.meter);
        }
        let text = string(value)?;
        let meter = &mut self.meter;
        meter.bytes(text.len())?;
        let second = values.get(1).map(string).transpose();
        match builtin {
            Builtin::Upper | Builtin::Lower => change_case(text, builtin == Builtin::Upper, meter),
            Builtin::Trim => Ok(match second? {
                None => Value::text(trim(text, char::is_whitespace)),
                Some(cut) => {
                    meter.steps(text.len().saturating_mul(cut.len()) / 8)?;
                    let cut: Vec<char> = String::from_utf8_lossy(cut).chars().collect();
                    Value::text(trim(text, |c| cut.contains(&c)))
                }
            }),
            Builtin::TrimPrefix => {
                let prefix = second?.map_or(&b" "[..], |text| text);
                Ok(Value::text(text.strip_prefix(prefix).unwrap_or(text)))
            }
            Builtin::TrimSuffix => {
                let suffix = second?.map_or(&b" "[..], |text| text);
                Ok(Value::text(text.strip_suffix(suffix).unwrap_or(text)))
            }
            Builtin::HasPrefix => Ok(Value::Bool(text.starts_with(second?.map_or(&b""[..], |text| text)))),
            Builtin::HasSuffix => Ok(Value::Bool(text.ends_with(second?.map_or(&b""[..], |text| text)))),
            Builtin::IndexOf => {
                let found = find(text, second?.map_or(&b""[..], |text| text), meter)?;
                Ok(Value::Int(found.map_or(-1, |at| at as i64)))
            }
            Builtin::LastIndexOf => {
                let found = find_last(text, second?.map_or(&b""[..], |text| text), meter)?;
                Ok(Value::Int(found.map_or(-1, |at| at as i64)))
            }
            Builtin::Split | Builtin::SplitAfter => {
                let separator = second?.map_or(&b""[..], |text| text);
                let limit = values.get(2).map_or(Ok(-1), operators::to_int)?;
                split(text, separator, limit, builtin == Builtin::SplitAfter, meter)
            }
            Builtin::Replace => {
                let old = second?.map_or(&b""[..], |text| text);
                let new = string(values.get(2).unwrap_or(&nil))?;
                let limit = values.get(3).map_or(Ok(-1), operators::to_int)?;
                replace(text, old, new, limit, meter)
            }
            Builtin::Repeat => repeat(text, operators::to_int(values.get(1).unwrap_or(&nil))?, meter),
            Builtin::ToBase64 => {
                meter.bytes(text.len() * 2)?;
                Ok(Value::from(crate::base64::encode(text)))
            }
            Builtin::FromBase64 => Ok(Value::text(&crate::base64::decode(text)?)),
            _ => Ok(Value::Nil),
        }
    }
}

/// Go changes each character by itself: one that becomes several stays.
fn change_case(text: &[u8], upper: bool, meter: &mut Meter) -> Computed {
    meter.bytes(text.len() * 3)?;
    let mut out = Vec::with_capacity(text.len());
    for rune in runes(text) {
        let c = rune.unwrap_or(char::REPLACEMENT_CHARACTER);
        let single = |mut changed: Box<dyn Iterator<Item = char>>| match (changed.next(), changed.next()) {
            (Some(one), None) => one,
            _ => c,
        };
        let changed = if c.is_ascii() {
            if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
        } else if upper {
            single(Box::new(c.to_uppercase()))
        } else {
            single(Box::new(c.to_lowercase()))
        };
        out.extend_from_slice(changed.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(Value::text(&out))
}

/// Cuts characters off both ends; bytes that are no character stay.
fn trim(text: &[u8], cut: impl Fn(char) -> bool) -> &[u8] {
    let mut rest = text;
    while let Some((c, tail)) = first_char(rest).filter(|(c, _)| cut(*c)) {
        rest = tail;
        debug_assert!(c.len_utf8() > 0);
    }
    while let Some((_, head)) = last_char(rest).filter(|(c, _)| cut(*c)) {
        rest = head;
    }
    rest
}

fn first_char(text: &[u8]) -> Option<(char, &[u8])> {
    let c = runes(text.get(..text.len().min(4)).unwrap_or_default()).next()??;
    Some((c, text.get(c.len_utf8()..)?))
}

fn last_char(text: &[u8]) -> Option<(char, &[u8])> {
    (1..=4.min(text.len())).find_map(|size| {
        let (head, tail) = text.split_at_checked(text.len() - size)?;
        let c = std::str::from_utf8(tail).ok()?.chars().next()?;
        Some((c, head))
    })
}

fn split(text: &Text, separator: &[u8], limit: i64, keep: bool, meter: &mut Meter) -> Computed {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::strings(std::iter::empty()));
    }
    let mut parts = Vec::new();
    let mut rest: &[u8] = text;
    let mut part = |part: &[u8], meter: &mut Meter| -> Result<(), EvalError> {
        meter.values(2)?;
        meter.bytes(part.len())?;
        parts.push(Value::text(part));
        Ok(())
    };
    let mut count = 1;
    if separator.is_empty() {
        // Into characters.
        while count < limit && !rest.is_empty() {
            let size = first_char(rest).map_or(1, |(c, _)| c.len_utf8());
            let (one, tail) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            if tail.is_empty() {
                break;
            }
            part(one, meter)?;
            (rest, count) = (tail, count + 1);
        }
        if !rest.is_empty() {
            part(rest, meter)?;
        }
        return Ok(List::of(Type::String, parts));
    }
    while count < limit {
        let Some(at) = find(rest, separator, meter)? else { break };
        let end = if keep { at + separator.len() } else { at };
        part(rest.get(..end).unwrap_or_default(), meter)?;
        rest = rest.get(at + separator.len()..).unwrap_or_default();
        count += 1;
    }
    part(rest, meter)?;
    Ok(List::of(Type::String, parts))
}

fn replace(text: &Text, old: &[u8], new: &[u8], limit: i64, meter: &mut Meter) -> Computed {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut out = Vec::new();
    let mut rest: &[u8] = text;
    let mut count = 0;
    while count < limit {
        if old.is_empty() {
            // Before each character, and at the end.
            meter.bytes(new.len() + 4)?;
            out.extend_from_slice(new);
            let size = first_char(rest).map_or(1, |(c, _)| c.len_utf8());
            let Some((one, tail)) = rest.split_at_checked(size) else { break };
            out.extend_from_slice(one);
            rest = tail;
        } else {
            let Some(at) = find(rest, old, meter)? else { break };
            meter.bytes(at + new.len())?;
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            out.extend_from_slice(new);
            rest = rest.get(at + old.len()..).unwrap_or_default();
        }
        count += 1;
    }
    meter.bytes(rest.len())?;
    out.extend_from_slice(rest);
    Ok(Value::text(&out))
}

fn repeat(text: &Text, count: i64, meter: &mut Meter) -> Computed {
    let Ok(times) = usize::try_from(count) else {
        return Err(format!("invalid argument for repeat (expected positive integer, got {count})").into());
    };
    if times > 1_000_000 {
        return Err(EvalError::Memory);
    }
    meter.bytes(text.len().saturating_mul(times).saturating_mul(2))?;
    Ok(Value::text(&text.repeat(times)))
}

fn join(values: &[Value], meter: &mut Meter) -> Computed {
    let glue = match values.get(1) {
        Some(glue) => string(glue)?.to_vec(),
        None => Vec::new(),
    };
    let list = match values.first() {
        Some(Value::List(list)) if !list.pair && matches!(list.element, Type::Any | Type::String) => list.clone(),
        other => {
            let found = other.map_or_else(|| "<nil>".to_owned(), Value::type_name);
            return Err(format!("invalid argument for join (type {found})").into());
        }
    };
    let mut out = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let part = string(&item)?;
        meter.bytes(2 * (part.len() + glue.len()))?;
        meter.steps(1)?;
        if index > 0 {
            out.extend_from_slice(&glue);
        }
        out.extend_from_slice(part);
    }
    Ok(Value::text(&out))
}

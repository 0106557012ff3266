//! Operators on values: expr-lang's `runtime` package.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{EvalError, conversion, string};
use crate::ast::Op;
use crate::budget::Meter;
use crate::number::format_float;
use crate::regex::Regex;
use crate::text::format_value;
use crate::types::{MapType, Type};
use crate::value::{Items, Key, List, Map, Value};

type Computed = Result<Value, EvalError>;

/// A number, as arithmetic sees it.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Int(value) | Value::Int64(value) => Some(Number::Int(*value)),
        Value::Uint8(value) => Some(Number::Int(i64::from(*value))),
        Value::Float(value) => Some(Number::Float(*value)),
        _ => None,
    }
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// Go's `int(x)` of a float on amd64, where what does not fit becomes the smallest number.
pub(crate) fn truncate(float: f64) -> i64 {
    // 2^63 is the first float that does not fit.
    let fits = float > -9_223_372_036_854_777_856.0 && float < 9_223_372_036_854_775_808.0;
    if fits { float as i64 } else { i64::MIN }
}

pub(crate) fn to_int(value: &Value) -> Result<i64, EvalError> {
    match number(value) {
        Some(Number::Int(value)) => Ok(value),
        Some(Number::Float(value)) => Ok(truncate(value)),
        None => Err(format!("invalid operation: int({})", value.type_name()).into()),
    }
}

pub(crate) fn to_float(value: &Value) -> Result<f64, EvalError> {
    match number(value) {
        Some(number) => Ok(number.float()),
        None => Err(format!("invalid operation: float({})", value.type_name()).into()),
    }
}

pub(crate) fn negate(value: &Value) -> Computed {
    Ok(match value {
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Int64(value) => Value::Int64(value.wrapping_neg()),
        Value::Uint8(value) => Value::Uint8(value.wrapping_neg()),
        Value::Float(value) => Value::Float(-value),
        other => return Err(format!("invalid operation: - {}", other.type_name()).into()),
    })
}

/// Operators that need both sides.
pub(crate) fn apply(op: Op, a: &Value, b: &Value, meter: &mut Meter) -> Computed {
    match op {
        Op::Add | Op::Subtract | Op::Multiply => arithmetic(op, a, b, meter),
        Op::Divide => match (number(a), number(b)) {
            (Some(a), Some(b)) => Ok(Value::Float(a.float() / b.float())),
            _ => invalid("/", a, b),
        },
        Op::Modulo => match (number(a), number(b)) {
            (Some(Number::Int(_)), Some(Number::Int(0))) => {
                Err("runtime error: integer divide by zero".to_owned().into())
            }
            (Some(Number::Int(a)), Some(Number::Int(b))) => Ok(Value::Int(a.wrapping_rem(b))),
            _ => invalid("%", a, b),
        },
        Op::Power => Ok(Value::Float(crate::math::pow(to_float(a)?, to_float(b)?))),
        Op::Less => Ok(Value::Bool(compare("<", a, b, meter)? == Some(Ordering::Less))),
        Op::More => Ok(Value::Bool(compare(">", a, b, meter)? == Some(Ordering::Greater))),
        Op::LessOrEqual => {
            Ok(Value::Bool(matches!(compare("<=", a, b, meter)?, Some(Ordering::Less | Ordering::Equal))))
        }
        Op::MoreOrEqual => {
            Ok(Value::Bool(matches!(compare(">=", a, b, meter)?, Some(Ordering::Greater | Ordering::Equal))))
        }
        Op::Range => range(a, b, meter),
        Op::In => contains(a, b, meter).map(Value::Bool),
        Op::Matches | Op::Contains | Op::StartsWith | Op::EndsWith => on_strings(op, a, b, meter),
        // These are settled where the right side may stay unevaluated.
        Op::And | Op::Or | Op::Coalesce | Op::Equal | Op::NotEqual => Ok(Value::Nil),
    }
}

fn invalid<T>(operator: &str, a: &Value, b: &Value) -> Result<T, EvalError> {
    Err(format!("invalid operation: {} {operator} {}", a.type_name(), b.type_name()).into())
}

fn arithmetic(op: Op, a: &Value, b: &Value, meter: &mut Meter) -> Computed {
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        if let (Number::Int(x), Number::Int(y)) = (x, y) {
            return Ok(Value::Int(match op {
                Op::Add => x.wrapping_add(y),
                Op::Subtract => x.wrapping_sub(y),
                _ => x.wrapping_mul(y),
            }));
        }
        let (x, y) = (x.float(), y.float());
        return Ok(Value::Float(match op {
            Op::Add => x + y,
            Op::Subtract => x - y,
            _ => x * y,
        }));
    }
    match (op, a, b) {
        (Op::Add, Value::Text(a), Value::Text(b)) => {
            meter.bytes(a.len() + b.len())?;
            Ok(Value::text(&[&**a, &**b].concat()))
        }
        (Op::Add, Value::Time(time), Value::Duration(by)) | (Op::Add, Value::Duration(by), Value::Time(time)) => {
            crate::time::add(time, *by)
        }
        (Op::Subtract, Value::Time(time), Value::Duration(by)) => crate::time::add(time, by.wrapping_neg()),
        (Op::Subtract, Value::Time(a), Value::Time(b)) => Ok(Value::Duration(crate::time::between(a, b))),
        (Op::Add, Value::Duration(a), Value::Duration(b)) => Ok(Value::Duration(a.wrapping_add(*b))),
        (Op::Subtract, Value::Duration(a), Value::Duration(b)) => Ok(Value::Duration(a.wrapping_sub(*b))),
        (Op::Multiply, Value::Duration(a), Value::Duration(b)) => Ok(Value::Duration(a.wrapping_mul(*b))),
        (Op::Multiply, Value::Duration(duration), other) | (Op::Multiply, other, Value::Duration(duration)) => {
            match number(other) {
                Some(Number::Int(by)) => Ok(Value::Duration(duration.wrapping_mul(by))),
                // Go multiplies with a float as floats, and the result is no duration any more.
                Some(Number::Float(by)) => Ok(Value::Float(*duration as f64 * by)),
                None => invalid("*", a, b),
            }
        }
        _ => invalid(
            match op {
                Op::Add => "+",
                Op::Subtract => "-",
                _ => "*",
            },
            a,
            b,
        ),
    }
}

/// The order of two values; none if one is NaN.
pub(crate) fn compare(operator: &str, a: &Value, b: &Value, meter: &mut Meter) -> Result<Option<Ordering>, EvalError> {
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        return Ok(match (x, y) {
            (Number::Int(x), Number::Int(y)) => Some(x.cmp(&y)),
            (x, y) => x.float().partial_cmp(&y.float()),
        });
    }
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            meter.steps(a.len().min(b.len()) / 64)?;
            Ok(Some(a.cmp(b)))
        }
        (Value::Time(a), Value::Time(b)) => Ok(Some(a.timestamp().cmp(&b.timestamp()))),
        (Value::Duration(a), Value::Duration(b)) => Ok(Some(a.cmp(b))),
        _ => invalid(operator, a, b),
    }
}

/// expr-lang's `==` on values that may be anything.
#[expect(clippy::float_cmp, reason = "equality of Go's floats")]
pub(crate) fn equal(a: &Value, b: &Value, meter: &mut Meter) -> Result<bool, EvalError> {
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        return Ok(match (x, y) {
            (Number::Int(x), Number::Int(y)) => x == y,
            (x, y) => x.float() == y.float(),
        });
    }
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => {
            meter.steps(a.len().min(b.len()) / 64)?;
            Ok(a == b)
        }
        (Value::Time(a), Value::Time(b)) => Ok(a.timestamp() == b.timestamp()),
        (Value::List(a), Value::List(b)) if lists_compare(a, b) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (one, two) in a.iter().zip(b.iter()) {
                meter.steps(1)?;
                if !equal(&one, &two, meter)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ if a.is_nil() && b.is_nil() => Ok(true),
        _ => same(a, b, meter),
    }
}

/// Lists that expr-lang compares element by element: of one simple type, or one of them of anything.
fn lists_compare(a: &List, b: &List) -> bool {
    let simple = |list: &List| {
        !list.pair
            && matches!(list.element, Type::Any | Type::String | Type::Int | Type::Int64 | Type::Uint8 | Type::Float)
    };
    simple(a) && simple(b) && (a.element == b.element || a.element == Type::Any || b.element == Type::Any)
}

/// Go's `reflect.DeepEqual`.
fn same(a: &Value, b: &Value, meter: &mut Meter) -> Result<bool, EvalError> {
    meter.steps(1)?;
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Month(a), Value::Month(b)) | (Value::Weekday(a), Value::Weekday(b)) => a == b,
        (Value::Uint8(a), Value::Uint8(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "equality of Go's floats")]
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) | (Value::Bytes(a), Value::Bytes(b)) => {
            meter.steps(a.len().min(b.len()) / 64)?;
            a == b
        }
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Location(a), Value::Location(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if Arc::ptr_eq(a, b) {
                return Ok(true);
            }
            if a.type_of() != b.type_of() || a.nil != b.nil || a.len() != b.len() {
                return Ok(false);
            }
            for (one, two) in a.iter().zip(b.iter()) {
                if !same(&one, &two, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => return same_maps(a, b, meter),
        (Value::Struct(a), Value::Struct(b)) => {
            let mut equal = std::ptr::eq(a.ty, b.ty);
            for (one, two) in a.fields.iter().zip(&b.fields) {
                equal = equal && same(one, two, meter)?;
            }
            equal
        }
        _ => false,
    })
}

fn same_maps(a: &Arc<Map>, b: &Arc<Map>, meter: &mut Meter) -> Result<bool, EvalError> {
    if Arc::ptr_eq(a, b) {
        return Ok(true);
    }
    if a.ty != b.ty || a.entries.len() != b.entries.len() {
        return Ok(false);
    }
    for (key, one) in &a.entries {
        let Some(two) = b.entries.get(key).filter(|_| !matches!(key, Key::Nan(_))) else { return Ok(false) };
        if !same(one, two, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn range(a: &Value, b: &Value, meter: &mut Meter) -> Computed {
    let (from, to) = (to_int(a)?, to_int(b)?);
    let size = i128::from(to) - i128::from(from) + 1;
    let size = usize::try_from(size.max(0)).map_err(|_| EvalError::Memory)?;
    meter.bytes(size.saturating_mul(8))?;
    Ok(List::ints(if size == 0 { Vec::new() } else { (from..=to).collect() }))
}

/// The panic of looking a value up that cannot be a key of the map.
pub(crate) fn not_assignable(value: &Value, key: &str) -> EvalError {
    let message =
        format!("reflect.Value.MapIndex: value of type {} is not assignable to type {key}", value.type_name());
    EvalError::Failed(message)
}

/// The key to look up in a map: nil stands for the zero of the key type.
fn lookup(map: &Map, key: &Value) -> Result<Key, EvalError> {
    match (map.ty, key) {
        (MapType::AnyAny | MapType::AnyList, _) => super::hashed(key, usize::MAX),
        (_, Value::Text(text)) => Ok(Key::Text(text.clone())),
        (_, Value::Nil) => Ok(Key::Text(Arc::from([]))),
        (_, other) => Err(not_assignable(other, "string")),
    }
}

#[expect(clippy::float_cmp, reason = "equality of Go's floats")]
fn contains(needle: &Value, haystack: &Value, meter: &mut Meter) -> Result<bool, EvalError> {
    match haystack {
        Value::Nil => Ok(false),
        Value::List(list) => {
            for item in list.iter() {
                meter.steps(1)?;
                if equal(&item, needle, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Bytes(bytes) => {
            meter.steps(bytes.len() / 64)?;
            Ok(match number(needle) {
                Some(Number::Int(needle)) => bytes.iter().any(|byte| i64::from(*byte) == needle),
                Some(Number::Float(needle)) => bytes.iter().any(|byte| f64::from(*byte) == needle),
                None => false,
            })
        }
        Value::Map(map) => Ok(map.entries.contains_key(&lookup(map, needle)?)),
        Value::Struct(value) => match needle {
            Value::Text(name) => Ok(value.get(name).is_some()),
            other => {
                let (other, ty) = (other.type_name(), value.ty.name);
                Err(format!("cannot use {other} as field name of {ty}").into())
            }
        },
        other => Err(format!("operator \"in\" not defined on {}", other.type_name()).into()),
    }
}

fn on_strings(op: Op, a: &Value, b: &Value, meter: &mut Meter) -> Computed {
    if a.is_nil() || b.is_nil() {
        return Ok(Value::Bool(false));
    }
    if op == Op::Matches {
        let subject = match a {
            Value::Text(text) => {
                string(b)?;
                text
            }
            other => {
                string(b)?;
                let Value::Bytes(bytes) = other else { return Err(conversion(other, "[]uint8")) };
                bytes
            }
        };
        let pattern = string(b)?;
        meter.bytes(pattern.len().saturating_mul(64))?;
        return Ok(Value::Bool(Regex::new(pattern)?.is_match(subject, meter)?));
    }
    let (a, b) = (string(a)?, string(b)?);
    meter.steps((a.len() + b.len()) / 16)?;
    Ok(Value::Bool(match op {
        Op::StartsWith => a.starts_with(b),
        Op::EndsWith => a.ends_with(b),
        _ => crate::text::find(a, b, meter)?.is_some(),
    }))
}

/// `len` in bytes, as slices see it.
pub(crate) fn length(value: &Value) -> Result<usize, EvalError> {
    Ok(match value {
        Value::Text(bytes) | Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.entries.len(),
        other => return Err(format!("invalid argument for len (type {})", other.type_name()).into()),
    })
}

fn position(index: i64, length: usize) -> Result<usize, EvalError> {
    let from_start = if index < 0 { index.saturating_add(length as i64) } else { index };
    match usize::try_from(from_start) {
        Ok(position) if position < length => Ok(position),
        _ => Err(format!("index out of range: {from_start} (array length is {length})").into()),
    }
}

/// `a.b` and `a[b]`.
pub(crate) fn fetch(base: &Value, key: &Value) -> Computed {
    match base {
        Value::List(list) => {
            let position = position(to_int(key)?, list.len())?;
            Ok(list.get(position).unwrap_or(Value::Nil))
        }
        Value::Text(bytes) | Value::Bytes(bytes) => {
            let position = position(to_int(key)?, bytes.len())?;
            Ok(bytes.get(position).map_or(Value::Nil, |byte| Value::Uint8(*byte)))
        }
        Value::Map(map) => Ok(match map.entries.get(&lookup(map, key)?) {
            Some(value) => value.clone(),
            None if map.ty == MapType::AnyList => List::nil_anys(),
            None => Value::Nil,
        }),
        Value::Struct(value) => {
            let name = string(key)?;
            value.get(name).ok_or_else(|| cannot_fetch(base, key))
        }
        _ => Err(cannot_fetch(base, key)),
    }
}

fn cannot_fetch(base: &Value, key: &Value) -> EvalError {
    // The key is a word or a number of the expression; a long one says no more than its beginning.
    let key = match key {
        Value::Float(value) => format_float(*value),
        other => format_value(other),
    };
    EvalError::Failed(format!("cannot fetch {key} from {}", base.type_name()))
}

/// `get(a, b)`: as `a[b]`, but what is not there is nil.
pub(crate) fn get(base: &Value, key: &Value) -> Computed {
    match base {
        Value::Text(_) | Value::Bytes(_) | Value::List(_) => {
            let index = to_int(key)?;
            Ok(if position(index, length(base)?).is_ok() { fetch(base, key)? } else { Value::Nil })
        }
        Value::Map(map) => Ok(map.entries.get(&lookup(map, key)?).cloned().unwrap_or(Value::Nil)),
        Value::Struct(value) => Ok(value.get(string(key)?).unwrap_or(Value::Nil)),
        _ => Ok(Value::Nil),
    }
}

/// `a[from:to]`: never out of range.
pub(crate) fn slice(value: &Value, from: &Value, to: &Value, meter: &mut Meter) -> Computed {
    let length = match value {
        Value::Text(bytes) | Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        _ => return Err(format!("cannot slice {}", format_value(from)).into()),
    };
    let (from, to) = (to_int(from)?, to_int(to)?);
    let clamp = |index: i64| {
        let index = if index < 0 { index.saturating_add(length as i64) } else { index };
        usize::try_from(index.max(0)).unwrap_or(usize::MAX)
    };
    let to = clamp(to).min(length);
    let from = clamp(from).min(to);
    match value {
        Value::List(list) => {
            match &list.items {
                Items::Values(_) => meter.values(to - from)?,
                _ => meter.bytes((to - from) * 8)?,
            }
            Ok(list.cut(from, to))
        }
        Value::Text(bytes) => {
            meter.bytes(to - from)?;
            Ok(Value::text(bytes.get(from..to).unwrap_or_default()))
        }
        Value::Bytes(bytes) => {
            meter.bytes(to - from)?;
            Ok(Value::Bytes(Arc::from(bytes.get(from..to).unwrap_or_default())))
        }
        _ => Ok(Value::Nil),
    }
}

//! Built-ins over lists and maps.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{EvalError, Machine, hashed, is_list, operators};
use crate::budget::Meter;
use crate::builtins::Builtin;
use crate::text::format_value;
use crate::types::{MapType, Type};
use crate::value::{Items, Key, List, Map, Value};

type Computed = Result<Value, EvalError>;

fn list_of(value: &Value, verb: &str) -> Result<Arc<List>, EvalError> {
    Some(value)
        .filter(|value| is_list(value))
        .and_then(Machine::list)
        .ok_or_else(|| EvalError::Failed(format!("cannot {verb} {}", value.kind_name())))
}

/// Up to here Go sorts by insertion, and the message of two values without an order depends on which are compared.
const INSERTION: usize = 12;

/// Sorts pairs of key and item by the key. Equal keys keep their order, which Go promises only for short lists.
pub(super) fn sort(
    mut pairs: Vec<(Value, Value)>,
    descending: bool,
    meter: &mut Meter,
) -> Result<Vec<Value>, EvalError> {
    let mut less = |a: &Value, b: &Value| {
        meter.steps(1)?;
        let (a, b) = if descending { (b, a) } else { (a, b) };
        Ok::<bool, EvalError>(operators::compare("<", a, b, meter)? == Some(Ordering::Less))
    };
    if pairs.len() <= INSERTION {
        insertion_sort(&mut pairs, &mut less)?;
    } else {
        pairs = merge_sort(pairs, &mut less)?;
    }
    Ok(pairs.into_iter().map(|(_, item)| item).collect())
}

type Less<'a> = dyn FnMut(&Value, &Value) -> Result<bool, EvalError> + 'a;

fn insertion_sort(pairs: &mut [(Value, Value)], less: &mut Less<'_>) -> Result<(), EvalError> {
    for sorted in 1..pairs.len() {
        let mut at = sorted;
        while at > 0 {
            let (Some(one), Some(before)) = (pairs.get(at), pairs.get(at - 1)) else { break };
            if !less(&one.0, &before.0)? {
                break;
            }
            pairs.swap(at, at - 1);
            at -= 1;
        }
    }
    Ok(())
}

/// The standard library's sort may panic where NaN makes the order inconsistent, so this one merges by itself.
fn merge_sort(pairs: Vec<(Value, Value)>, less: &mut Less<'_>) -> Result<Vec<(Value, Value)>, EvalError> {
    let mut runs: Vec<Vec<(Value, Value)>> = pairs.into_iter().map(|pair| vec![pair]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pending = runs.into_iter();
        while let Some(first) = pending.next() {
            merged.push(match pending.next() {
                Some(second) => merge(first, second, less)?,
                None => first,
            });
        }
        runs = merged;
    }
    Ok(runs.pop().unwrap_or_default())
}

fn merge(
    first: Vec<(Value, Value)>,
    second: Vec<(Value, Value)>,
    less: &mut Less<'_>,
) -> Result<Vec<(Value, Value)>, EvalError> {
    let mut out = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        let from_second = less(&b.0, &a.0)?;
        out.extend(if from_second { second.next() } else { first.next() });
    }
    out.extend(first);
    out.extend(second);
    Ok(out)
}

impl Machine<'_> {
    pub(super) fn of_lists(&mut self, builtin: Builtin, values: &[Value]) -> Computed {
        let nil = Value::Nil;
        let first = values.first().unwrap_or(&nil);
        let meter = &mut self.meter;
        match builtin {
            Builtin::First | Builtin::Last => {
                let index = if builtin == Builtin::First { 0 } else { -1 };
                // Whatever goes wrong, expr-lang gives nil.
                Ok(operators::fetch(first, &Value::Int(index)).unwrap_or(Value::Nil))
            }
            Builtin::Get => operators::get(first, values.get(1).unwrap_or(&nil)),
            Builtin::Take => take(first, values.get(1).unwrap_or(&nil), meter),
            Builtin::Keys | Builtin::Values | Builtin::ToPairs => entries(builtin, first, meter),
            Builtin::FromPairs => from_pairs(first, meter),
            Builtin::Reverse => {
                let list = list_of(first, "reverse")?;
                meter.values(list.len())?;
                Ok(List::anys(list.iter().rev().collect()))
            }
            Builtin::Uniq => uniq(first, meter),
            Builtin::Concat => concat(values, meter),
            Builtin::Flatten => {
                let list = list_of(first, "flatten")?;
                let mut out = Vec::new();
                flatten(&list, &mut out, meter)?;
                Ok(List::anys(out))
            }
            Builtin::Sort => sorted(values, meter),
            Builtin::Max | Builtin::Min => extreme(builtin, values, meter),
            _ => average(builtin, values, meter),
        }
    }
}

fn take(from: &Value, count: &Value, meter: &mut Meter) -> Computed {
    if !is_list(from) {
        return Err(format!("cannot take from {}", from.kind_name()).into());
    }
    let count = match count {
        Value::Int(count) | Value::Int64(count) | Value::Duration(count) => *count,
        other => return Err(format!("cannot take {} elements", other.kind_name()).into()),
    };
    if count < 0 {
        return Err("reflect.Value.Slice: slice index out of bounds".to_owned().into());
    }
    operators::slice(from, &Value::Int(0), &Value::Int(count), meter)
}

/// Go goes over a map in random order; here it is the order of the keys.
fn entries(builtin: Builtin, value: &Value, meter: &mut Meter) -> Computed {
    let Value::Map(map) = value else {
        let kind = value.kind_name();
        return Err(match builtin {
            Builtin::ToPairs => format!("cannot transform {kind} to pairs"),
            other => format!("cannot get {} from {kind}", other.name()),
        }
        .into());
    };
    meter.values(map.entries.len())?;
    match builtin {
        Builtin::Keys => Ok(List::anys(map.entries.keys().map(Key::value).collect())),
        Builtin::Values => Ok(List::anys(map.entries.values().cloned().collect())),
        _ => {
            meter.values(map.entries.len() * 5)?;
            let pairs = map.entries.iter().map(|(key, value)| List::pair(key.value(), value.clone())).collect();
            Meter::built(List::of(Type::Pair, pairs))
        }
    }
}

fn from_pairs(value: &Value, meter: &mut Meter) -> Computed {
    let Some(list) = Machine::list(value).filter(|_| is_list(value)) else {
        return Err(format!("cannot transform {} from pairs", format_value(value)).into());
    };
    let mut map = BTreeMap::new();
    for (index, pair) in list.iter().enumerate() {
        meter.values(4)?;
        let Some(parts) = Machine::list(&pair).filter(|_| is_list(&pair)) else {
            return Err(format!("invalid pair {}", format_value(&pair)).into());
        };
        let (Some(key), Some(value), 2) = (parts.get(0), parts.get(1), parts.len()) else {
            return Err(format!("invalid pair length {}", format_value(&pair)).into());
        };
        map.insert(hashed(&key, index)?, value);
    }
    Meter::built(Map::value(MapType::AnyAny, map))
}

fn uniq(value: &Value, meter: &mut Meter) -> Computed {
    let list = list_of(value, "uniq")?;
    let mut kept: Vec<Value> = Vec::new();
    'next: for item in list.iter() {
        for known in &kept {
            meter.steps(1)?;
            if operators::equal(&item, known, meter)? {
                continue 'next;
            }
        }
        meter.values(1)?;
        kept.push(item);
    }
    Ok(List::anys(kept))
}

fn concat(values: &[Value], meter: &mut Meter) -> Computed {
    let mut all = Vec::new();
    for value in values {
        let list = list_of(value, "concat")?;
        meter.values(list.len())?;
        all.extend(list.iter());
    }
    // Nothing at all is Go's nil slice.
    Ok(if all.is_empty() { List::nil_anys() } else { List::anys(all) })
}

/// No deeper than values are nested, which is bounded.
fn flatten(list: &List, out: &mut Vec<Value>, meter: &mut Meter) -> Result<(), EvalError> {
    for item in list.iter() {
        meter.steps(1)?;
        match Machine::list(&item).filter(|_| is_list(&item)) {
            Some(inner) => flatten(&inner, out, meter)?,
            None => {
                meter.values(1)?;
                out.push(item);
            }
        }
    }
    Ok(())
}

fn sorted(values: &[Value], meter: &mut Meter) -> Computed {
    let descending = values.get(1).map_or(Ok(false), super::loops::order)?;
    let list = match values.first() {
        Some(Value::List(list)) if !list.pair => list.clone(),
        // Go's type switch knows no other list and sorts nothing.
        _ => return Ok(List::nil_anys()),
    };
    if !matches!(list.element, Type::Any | Type::Int | Type::Float | Type::String) || list.nil {
        return Ok(List::nil_anys());
    }
    meter.values(list.len() * 3)?;
    let pairs = list.iter().map(|item| (item.clone(), item)).collect();
    Ok(List::anys(sort(pairs, descending, meter)?))
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Int64(_) | Value::Uint8(_) | Value::Float(_))
}

/// `max` and `min`, nested lists included. An empty list gives nil.
fn extreme(builtin: Builtin, values: &[Value], meter: &mut Meter) -> Computed {
    let operator = if builtin == Builtin::Max { "<" } else { ">" };
    let wanted = if builtin == Builtin::Max { Ordering::Less } else { Ordering::Greater };
    let mut best = Value::Nil;
    let mut consider = |candidate: Value, meter: &mut Meter| -> Result<(), EvalError> {
        if matches!(best, Value::Nil) || operators::compare(operator, &best, &candidate, meter)? == Some(wanted) {
            best = candidate;
        }
        Ok(())
    };
    let invalid = |value: &Value| {
        let message = format!("invalid argument for {} (type {})", builtin.name(), value.type_name());
        Err(EvalError::Failed(message))
    };
    for value in values {
        meter.steps(1)?;
        let list = match value {
            Value::List(list) => list.clone(),
            value if is_number(value) => {
                consider(value.clone(), meter)?;
                continue;
            }
            value if values.len() == 1 => return Ok(value.clone()),
            value => return invalid(value),
        };
        let loose = list.element == Type::Any && !list.pair;
        for item in list.iter() {
            meter.steps(1)?;
            if is_number(&item) {
                consider(item, meter)?;
                continue;
            }
            if loose && !is_list(&item) {
                return invalid(&item);
            }
            let nested = extreme(builtin, std::slice::from_ref(&item), meter)?;
            match nested {
                Value::Nil if loose => {}
                nested if is_number(&nested) => consider(nested, meter)?,
                nested => return invalid(&nested),
            }
        }
    }
    Ok(best)
}

fn collect(builtin: Builtin, value: &Value, out: &mut Vec<f64>, meter: &mut Meter) -> Result<(), EvalError> {
    meter.steps(1)?;
    match value {
        Value::List(list) => {
            if let Items::Floats(floats) = &list.items {
                meter.bytes(floats.len() * 8)?;
                meter.steps(floats.len())?;
                out.extend(floats);
                return Ok(());
            }
            for item in list.iter() {
                collect(builtin, &item, out, meter)?;
            }
            Ok(())
        }
        Value::Int(value) | Value::Int64(value) | Value::Duration(value) => {
            meter.bytes(8)?;
            out.push(*value as f64);
            Ok(())
        }
        Value::Uint8(value) => {
            out.push(f64::from(*value));
            Ok(())
        }
        Value::Float(value) => {
            meter.bytes(8)?;
            out.push(*value);
            Ok(())
        }
        other => {
            let message = format!("invalid argument for {} (type {})", builtin.name(), other.type_name());
            Err(EvalError::Failed(message))
        }
    }
}

/// A sum as Go makes it: a list within a list is added up first.
fn total(values: &[Value]) -> f64 {
    values.iter().fold(0.0, |sum, value| match value {
        Value::List(list) => match &list.items {
            Items::Floats(floats) => floats.iter().fold(sum, |sum, value| sum + value),
            _ => {
                let inner = list.iter().fold(0.0, |sum, item| sum + part(&item));
                if sum == 0.0 { inner } else { sum + inner }
            }
        },
        other => sum + part(other),
    })
}

fn part(value: &Value) -> f64 {
    match value {
        Value::List(_) => total(std::slice::from_ref(value)),
        other => operators::to_float(other).unwrap_or(0.0),
    }
}

fn average(builtin: Builtin, values: &[Value], meter: &mut Meter) -> Computed {
    let mut numbers = Vec::new();
    for value in values {
        collect(builtin, value, &mut numbers, meter)?;
    }
    if numbers.is_empty() {
        return Ok(Value::Float(0.0));
    }
    let count = numbers.len();
    if builtin == Builtin::Mean {
        meter.steps(count)?;
        return Ok(Value::Float(total(values) / count as f64));
    }
    meter.steps(count.saturating_mul(count.ilog2() as usize + 1) / 4)?;
    // Go sorts NaN before everything else.
    numbers.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let at = |index: usize| numbers.get(index).copied().unwrap_or(0.0);
    let middle = count / 2;
    Ok(Value::Float(if count % 2 == 1 { at(middle) } else { f64::midpoint(at(middle - 1), at(middle)) }))
}

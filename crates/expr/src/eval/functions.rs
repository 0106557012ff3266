//! Built-ins over single values, and the functions that Argo Rollouts adds.

use super::{EvalError, Machine, operators, string};
use crate::builtins::Builtin;
use crate::number::{message, parse_float, parse_int};
use crate::text::format_value;
use crate::types::{ArgoFunction, Kind, Type};
use crate::value::Value;

type Computed = Result<Value, EvalError>;

/// `asInt` and its companions. `isNil` and `default` look at the whole result, whatever they are given: so does Argo.
pub(super) fn argo(function: ArgoFunction, values: &[Value], result: &Value) -> Computed {
    let nil = Value::Nil;
    let value = values.first().unwrap_or(&nil);
    match function {
        ArgoFunction::AsInt => match value {
            Value::Float(value) => Ok(Value::Int64(operators::truncate(*value))),
            Value::Int(value) | Value::Int64(value) => Ok(Value::Int64(*value)),
            Value::Uint8(value) => Ok(Value::Int64(i64::from(*value))),
            Value::Text(text) => match parse_int(text, 10) {
                Ok(value) => Ok(Value::Int64(value)),
                Err(fault) => Err(message("ParseInt", text, fault).into()),
            },
            other => Err(unsupported("asInt", other)),
        },
        ArgoFunction::AsFloat => match value {
            Value::Float(value) => Ok(Value::Float(*value)),
            Value::Int(value) | Value::Int64(value) => Ok(Value::Float(*value as f64)),
            Value::Uint8(value) => Ok(Value::Float(f64::from(*value))),
            Value::Text(text) => match parse_float(text) {
                Ok(value) => Ok(Value::Float(value)),
                Err(fault) => Err(message("ParseFloat", text, fault).into()),
            },
            other => Err(unsupported("asFloat", other)),
        },
        ArgoFunction::IsNaN | ArgoFunction::IsInf => match value {
            Value::Float(value) => {
                Ok(Value::Bool(if function == ArgoFunction::IsNaN { value.is_nan() } else { value.is_infinite() }))
            }
            other => Err(super::conversion(other, "float64")),
        },
        ArgoFunction::IsNil => Ok(Value::Bool(result.is_nil())),
        ArgoFunction::Default if result.is_nil() => Ok(values.get(1).cloned().unwrap_or(Value::Nil)),
        ArgoFunction::Default => Ok(result.clone()),
    }
}

fn unsupported(name: &str, value: &Value) -> EvalError {
    let message = format!("{name}() not supported on {} {}", value.type_name(), format_value(value));
    EvalError::Failed(message)
}

fn invalid(name: &str, value: &Value) -> EvalError {
    EvalError::Failed(format!("invalid argument for {name} (type {})", value.type_name()))
}

impl Machine<'_> {
    pub(super) fn function(&mut self, builtin: Builtin, values: &[Value]) -> Computed {
        let nil = Value::Nil;
        let value = values.first().unwrap_or(&nil);
        match builtin {
            Builtin::Len => length(value, &mut self.meter),
            Builtin::Type => Ok(Value::from(type_word(value))),
            Builtin::Abs => absolute(value),
            Builtin::Ceil | Builtin::Floor | Builtin::Round => round(builtin, value),
            Builtin::Int => to_int(value),
            Builtin::Float => to_float(value),
            Builtin::String => {
                let text = crate::text::format_within(value, &mut self.meter)?;
                Ok(Value::text(&text))
            }
            Builtin::Now => Ok(crate::time::now(self.clock, values)),
            Builtin::Duration => Ok(Value::Duration(crate::time::parse_duration(string(value)?)?)),
            Builtin::Date => crate::time::date(values),
            Builtin::Timezone => crate::time::zone(string(value)?),
            Builtin::ToJson => crate::json::encode(value, &mut self.meter),
            Builtin::FromJson => crate::json::decode(string(value)?, &mut self.meter),
            Builtin::Bitnot => Ok(Value::Int(!bits(builtin, value)?)),
            Builtin::Bitand
            | Builtin::Bitor
            | Builtin::Bitxor
            | Builtin::Bitnand
            | Builtin::Bitshl
            | Builtin::Bitshr
            | Builtin::Bitushr => {
                bitwise(builtin, bits(builtin, value)?, bits(builtin, values.get(1).unwrap_or(&nil))?)
            }
            Builtin::First
            | Builtin::Last
            | Builtin::Get
            | Builtin::Take
            | Builtin::Keys
            | Builtin::Values
            | Builtin::ToPairs
            | Builtin::FromPairs
            | Builtin::Reverse
            | Builtin::Uniq
            | Builtin::Concat
            | Builtin::Flatten
            | Builtin::Sort
            | Builtin::Max
            | Builtin::Min
            | Builtin::Mean
            | Builtin::Median => self.of_lists(builtin, values),
            _ => self.of_strings(builtin, values),
        }
    }
}

/// `len`: characters of a string, not bytes.
fn length(value: &Value, meter: &mut crate::budget::Meter) -> Computed {
    if let Value::Text(text) = value {
        meter.steps(text.len() / 32)?;
        return Ok(Value::Int(crate::text::count_runes(text) as i64));
    }
    operators::length(value).map(|length| Value::Int(length as i64))
}

fn type_word(value: &Value) -> &'static str {
    match value {
        Value::Time(_) => return "time.Time",
        Value::Duration(_) => return "time.Duration",
        Value::Month(_) => return "time.Month",
        Value::Weekday(_) => return "time.Weekday",
        Value::Nil => return "nil",
        Value::Struct(value) => return value.ty.name,
        _ => {}
    }
    match value.type_of().map(|ty: Type| ty.kind()) {
        Some(Kind::Bool) => "bool",
        Some(Kind::Int | Kind::Int64) => "int",
        Some(Kind::Uint8) => "uint",
        Some(Kind::Float) => "float",
        Some(Kind::String) => "string",
        Some(Kind::Slice | Kind::Array) => "array",
        Some(Kind::Map) => "map",
        Some(Kind::Function) => "func",
        _ => "unknown",
    }
}

fn absolute(value: &Value) -> Computed {
    match value {
        // Go compares with zero, so that minus zero stays.
        Value::Float(value) => Ok(Value::Float(if *value < 0.0 { -value } else { *value })),
        Value::Int(value) => Ok(Value::Int(value.wrapping_abs())),
        Value::Int64(value) => Ok(Value::Int64(value.wrapping_abs())),
        Value::Uint8(value) => Ok(Value::Uint8(*value)),
        other => Err(invalid("abs", other)),
    }
}

fn round(builtin: Builtin, value: &Value) -> Computed {
    let float = match value {
        Value::Float(value) => *value,
        Value::Int(value) | Value::Int64(value) => return Ok(Value::Float(*value as f64)),
        Value::Uint8(value) => return Ok(Value::Float(f64::from(*value))),
        other => return Err(invalid(builtin.name(), other)),
    };
    Ok(Value::Float(match builtin {
        Builtin::Ceil => float.ceil(),
        Builtin::Floor => float.floor(),
        // Half away from zero, as in Go.
        _ => float.round(),
    }))
}

fn to_int(value: &Value) -> Computed {
    match value {
        Value::Text(text) => match parse_int(text, 10) {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => Err(format!("invalid operation: int({})", String::from_utf8_lossy(text)).into()),
        },
        Value::Duration(value) | Value::Month(value) | Value::Weekday(value) => Ok(Value::Int(*value)),
        other => operators::to_int(other).map(Value::Int),
    }
}

fn to_float(value: &Value) -> Computed {
    match value {
        Value::Text(text) => match parse_float(text) {
            Ok(value) => Ok(Value::Float(value)),
            Err(_) => Err(format!("invalid operation: float({})", String::from_utf8_lossy(text)).into()),
        },
        other => operators::to_float(other).map(Value::Float),
    }
}

fn bits(builtin: Builtin, value: &Value) -> Result<i64, EvalError> {
    match value {
        Value::Int(value) | Value::Int64(value) => Ok(*value),
        Value::Uint8(value) => Ok(i64::from(*value)),
        other => {
            let found = other.type_name();
            Err(format!("cannot use {found} as argument (type int) to call {}", builtin.name()).into())
        }
    }
}

fn bitwise(builtin: Builtin, x: i64, y: i64) -> Computed {
    if matches!(builtin, Builtin::Bitshl | Builtin::Bitshr | Builtin::Bitushr) && y < 0 {
        return Err(format!("invalid operation: negative shift count {y} (type int)").into());
    }
    let shift = u32::try_from(y).unwrap_or(u32::MAX);
    Ok(Value::Int(match builtin {
        Builtin::Bitand => x & y,
        Builtin::Bitor => x | y,
        Builtin::Bitxor => x ^ y,
        Builtin::Bitnand => x & !y,
        Builtin::Bitshl => x.checked_shl(shift).unwrap_or(0),
        Builtin::Bitshr => x >> shift.min(63),
        _ => (x as u64).checked_shr(shift).unwrap_or(0) as i64,
    }))
}

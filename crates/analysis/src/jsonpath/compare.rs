//! The comparisons of filters: those of Go's `text/template`, which never mix integers and floats.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::Item;

/// A value by its basic kind.
enum Basic<'a> {
    Bool(bool),
    Int(i64),
    Uint(u8),
    Float(f64),
    Text(&'a str),
}

impl<'a> Basic<'a> {
    fn of(item: Item<'a>) -> Result<Self, &'static str> {
        Ok(match item {
            Item::Json(Json::Bool(value)) => Self::Bool(*value),
            Item::Json(Json::Number(number)) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            Item::Json(Json::String(text)) => Self::Text(text),
            Item::Json(_) => return Err("invalid type for comparison"),
            Item::Text(text) => Self::Text(text),
            Item::Int(value) => Self::Int(value),
            Item::Float(value) => Self::Float(value),
            Item::Bool(value) => Self::Bool(value),
            Item::Byte(value) => Self::Uint(value),
        })
    }
}

/// How two values stand to each other; none if only equality is known of them.
fn order(left: &Basic<'_>, right: &Basic<'_>) -> Result<Ordering, &'static str> {
    Ok(match (left, right) {
        (Basic::Bool(left), Basic::Bool(right)) => left.cmp(right),
        (Basic::Int(left), Basic::Int(right)) => left.cmp(right),
        (Basic::Uint(left), Basic::Uint(right)) => left.cmp(right),
        (Basic::Int(left), Basic::Uint(right)) => left.cmp(&i64::from(*right)),
        (Basic::Uint(left), Basic::Int(right)) => i64::from(*left).cmp(right),
        // A document holds no NaN.
        (Basic::Float(left), Basic::Float(right)) => left.partial_cmp(right).unwrap_or(Ordering::Less),
        (Basic::Text(left), Basic::Text(right)) => left.cmp(right),
        _ => return Err("incompatible types for comparison"),
    })
}

/// Whether a comparison holds.
pub(super) fn compare(operator: &str, left: Item<'_>, right: Item<'_>) -> Result<bool, String> {
    if !matches!(operator, "<" | ">" | "==" | "!=" | "<=" | ">=") {
        return Err(format!("unrecognized filter operator {operator}"));
    }
    let (left, right) = (Basic::of(left)?, Basic::of(right)?);
    let order = order(&left, &right)?;
    if matches!(left, Basic::Bool(_)) && !matches!(operator, "==" | "!=") {
        return Err("invalid type for comparison".to_owned());
    }
    Ok(match operator {
        "<" => order.is_lt(),
        ">" => order.is_gt(),
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<=" => order.is_le(),
        _ => order.is_ge(),
    })
}

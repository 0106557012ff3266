//! Bytes that Go takes for text: characters, search, and `%v`.

use crate::budget::Meter;
use crate::error::EvalError;
use crate::number::format_float;
use crate::value::{Key, Value};

/// The characters; none for each byte that belongs to no character.
pub(crate) fn runes(text: &[u8]) -> impl Iterator<Item = Option<char>> {
    text.utf8_chunks().flat_map(|chunk| {
        let invalid = chunk.invalid().iter().map(|_| None);
        chunk.valid().chars().map(Some).chain(invalid)
    })
}

pub(crate) fn count_runes(text: &[u8]) -> usize {
    runes(text).count()
}

/// The first place of the needle.
pub(crate) fn find(text: &[u8], needle: &[u8], meter: &mut Meter) -> Result<Option<usize>, EvalError> {
    search(text, needle, meter, |text, needle| text.find(needle), |mut windows| windows.position(|found| found))
}

/// The last place of the needle.
pub(crate) fn find_last(text: &[u8], needle: &[u8], meter: &mut Meter) -> Result<Option<usize>, EvalError> {
    search(
        text,
        needle,
        meter,
        |text, needle| text.rfind(needle),
        |windows| windows.enumerate().filter(|(_, found)| *found).map(|(at, _)| at).last(),
    )
}

/// The standard library searches text in linear time, but not bytes.
fn search(
    text: &[u8],
    needle: &[u8],
    meter: &mut Meter,
    in_text: impl Fn(&str, &str) -> Option<usize>,
    in_bytes: impl Fn(Box<dyn Iterator<Item = bool> + '_>) -> Option<usize>,
) -> Result<Option<usize>, EvalError> {
    meter.steps(1 + (text.len() + needle.len()) / 32)?;
    if let (Ok(text), Ok(needle)) = (std::str::from_utf8(text), std::str::from_utf8(needle)) {
        return Ok(in_text(text, needle));
    }
    if needle.is_empty() {
        return Ok(in_bytes(Box::new(std::iter::repeat_n(true, text.len() + 1))));
    }
    meter.steps(text.len().saturating_mul(needle.len()) / 8)?;
    Ok(in_bytes(Box::new(text.windows(needle.len()).map(|window| window == needle))))
}

/// Go's `%v`, for messages: cut where it gets long.
pub(crate) fn format_value(value: &Value) -> String {
    const ENOUGH: u64 = 4096;
    let mut out = Vec::new();
    let mut meter = Meter::new(crate::Budget { steps: ENOUGH, memory: ENOUGH });
    let cut = format_into(value, &mut out, &mut meter).is_err();
    let text = String::from_utf8_lossy(&out).into_owned();
    if cut { text + "..." } else { text }
}

/// Go's `%v`, for `string()`.
pub(crate) fn format_within(value: &Value, meter: &mut Meter) -> Result<Vec<u8>, EvalError> {
    let mut out = Vec::new();
    format_into(value, &mut out, meter)?;
    Ok(out)
}

fn put(text: &[u8], out: &mut Vec<u8>, meter: &mut Meter) -> Result<(), EvalError> {
    meter.bytes(2 * text.len())?;
    meter.steps(1)?;
    out.extend_from_slice(text);
    Ok(())
}

/// As deep as the value, which is bounded.
fn format_into(value: &Value, out: &mut Vec<u8>, meter: &mut Meter) -> Result<(), EvalError> {
    let short = match value {
        Value::Nil => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) | Value::Int64(value) => value.to_string(),
        Value::Uint8(value) => value.to_string(),
        Value::Float(value) => format_float(*value),
        Value::Text(text) => return put(text, out, meter),
        Value::Bytes(bytes) => {
            let items = bytes.iter().map(|byte| Value::Uint8(*byte));
            return sequence(items, out, meter);
        }
        Value::List(list) => return sequence(list.iter(), out, meter),
        Value::Map(map) => {
            put(b"map[", out, meter)?;
            for (index, (key, value)) in map.entries.iter().enumerate() {
                if index > 0 {
                    put(b" ", out, meter)?;
                }
                format_into(&Key::value(key), out, meter)?;
                put(b":", out, meter)?;
                format_into(value, out, meter)?;
            }
            return put(b"]", out, meter);
        }
        Value::Struct(value) => {
            put(b"{", out, meter)?;
            for (index, field) in value.fields.iter().enumerate() {
                if index > 0 {
                    put(b" ", out, meter)?;
                }
                format_into(field, out, meter)?;
            }
            return put(b"}", out, meter);
        }
        Value::Time(time) => crate::time::show(time),
        Value::Duration(duration) => crate::time::show_duration(*duration),
        Value::Month(month) => crate::time::month_name(*month),
        Value::Weekday(weekday) => crate::time::weekday_name(*weekday),
        Value::Location(zone) => crate::time::zone_name(zone),
        // Go prints an address.
        Value::Function(_) => "0x0".to_owned(),
    };
    put(short.as_bytes(), out, meter)
}

fn sequence(items: impl Iterator<Item = Value>, out: &mut Vec<u8>, meter: &mut Meter) -> Result<(), EvalError> {
    put(b"[", out, meter)?;
    for (index, item) in items.enumerate() {
        if index > 0 {
            put(b" ", out, meter)?;
        }
        format_into(&item, out, meter)?;
    }
    put(b"]", out, meter)
}

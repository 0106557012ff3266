//! `toJSON` and `fromJSON` as Go's `encoding/json` writes and reads.

use std::fmt::Write as _;

use crate::budget::{MAX_DEPTH, Meter};
use crate::error::EvalError;
use crate::number::json_float;
use crate::types::MapType;
use crate::value::{Key, Value};

/// `json.MarshalIndent(value, "", "  ")`.
pub(crate) fn encode(value: &Value, meter: &mut Meter) -> Result<Value, EvalError> {
    let mut writer = Writer { out: String::new(), meter };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct Writer<'a> {
    out: String,
    meter: &'a mut Meter,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) -> Result<(), EvalError> {
        self.meter.bytes(2 * text.len())?;
        self.meter.steps(1)?;
        self.out.push_str(text);
        Ok(())
    }

    fn line(&mut self, level: usize) -> Result<(), EvalError> {
        self.put("\n")?;
        self.put(&"  ".repeat(level))
    }

    fn value(&mut self, value: &Value, level: usize) -> Result<(), EvalError> {
        match value {
            Value::Nil => self.put("null"),
            Value::Bool(value) => self.put(&value.to_string()),
            Value::Int(value) | Value::Int64(value) | Value::Duration(value) => self.put(&value.to_string()),
            Value::Month(value) | Value::Weekday(value) => self.put(&value.to_string()),
            Value::Uint8(value) => self.put(&value.to_string()),
            Value::Float(value) => match json_float(*value) {
                Some(text) => self.put(&text),
                None => Err(format!("json: unsupported value: {}", crate::number::format_float(*value)).into()),
            },
            Value::Text(text) => self.string(text),
            Value::Bytes(bytes) => {
                let text = format!("\"{}\"", crate::base64::encode(bytes));
                self.put(&text)
            }
            Value::List(list) if list.nil => self.put("null"),
            Value::List(list) => self.sequence(list.iter(), level),
            Value::Map(map) if map.ty != MapType::StringAny && map.ty != MapType::NewRelicRow => {
                Err(format!("json: unsupported type: {}", map.ty).into())
            }
            Value::Map(map) => {
                let entries = map.entries.iter().map(|(key, value)| (Key::value(key), value.clone()));
                self.object(entries, level)
            }
            Value::Struct(value) => {
                let names = value.ty.fields.iter().map(|name| Value::from(*name));
                self.object(names.zip(value.fields.iter().cloned()), level)
            }
            Value::Time(time) => {
                let text = format!("\"{}\"", crate::time::rfc3339(time));
                self.put(&text)
            }
            Value::Location(_) => self.put("{}"),
            Value::Function(function) => Err(format!("json: unsupported type: {function}").into()),
        }
    }

    fn sequence(&mut self, items: impl Iterator<Item = Value>, level: usize) -> Result<(), EvalError> {
        self.put("[")?;
        let mut empty = true;
        for item in items {
            if !std::mem::replace(&mut empty, false) {
                self.put(",")?;
            }
            self.line(level + 1)?;
            self.value(&item, level + 1)?;
        }
        if !empty {
            self.line(level)?;
        }
        self.put("]")
    }

    fn object(&mut self, entries: impl Iterator<Item = (Value, Value)>, level: usize) -> Result<(), EvalError> {
        self.put("{")?;
        let mut empty = true;
        for (key, value) in entries {
            if !std::mem::replace(&mut empty, false) {
                self.put(",")?;
            }
            self.line(level + 1)?;
            self.value(&key, level + 1)?;
            self.put(": ")?;
            self.value(&value, level + 1)?;
        }
        if !empty {
            self.line(level)?;
        }
        self.put("}")
    }

    /// Go escapes what HTML could take amiss.
    fn string(&mut self, text: &[u8]) -> Result<(), EvalError> {
        self.meter.bytes(text.len().saturating_mul(2))?;
        let mut quoted = String::from("\"");
        for rune in crate::text::runes(text) {
            let c = rune.unwrap_or(char::REPLACEMENT_CHARACTER);
            let _infallible = match c {
                '"' | '\\' => write!(quoted, "\\{c}"),
                '\n' => write!(quoted, "\\n"),
                '\r' => write!(quoted, "\\r"),
                '\t' => write!(quoted, "\\t"),
                '\u{8}' => write!(quoted, "\\b"),
                '\u{c}' => write!(quoted, "\\f"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => write!(quoted, "\\u{:04x}", u32::from(c)),
                c if c < ' ' => write!(quoted, "\\u{:04x}", u32::from(c)),
                _ if rune.is_none() => write!(quoted, "\\ufffd"),
                c => write!(quoted, "{c}"),
            };
        }
        quoted.push('"');
        self.put(&quoted)
    }
}

/// `json.Unmarshal` into an `any`.
pub(crate) fn decode(text: &[u8], meter: &mut Meter) -> Result<Value, EvalError> {
    // Each two bytes may be an element of a list, in a tree of the JSON library and in ours.
    meter.bytes(text.len().saturating_mul(48))?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err("unexpected end of JSON input".to_owned().into());
    }
    let parsed: serde_json::Value = serde_json::from_slice(text).map_err(|error| {
        let reason = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        EvalError::Failed(reason)
    })?;
    let value = Value::from(&parsed);
    if value.depth() > MAX_DEPTH { Err(EvalError::Depth) } else { Ok(value) }
}

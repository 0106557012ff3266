//! What providers print and send as Go's standard library does.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;

/// `strconv.FormatFloat(value, 'f', -1, 64)`.
pub(crate) fn plain(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}

/// `strconv.ParseFloat`, as far as metric servers write numbers.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.to_ascii_lowercase().as_str() {
        "nan" => return (unsigned.len() == text.len()).then_some(f64::NAN),
        "inf" | "infinity" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        _ => {}
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// `json.Marshal`: keys sorted, HTML characters escaped, floats in Go's form.
pub(crate) fn json(value: &Json) -> String {
    let mut out = String::new();
    write_json(value, &mut out);
    out
}

/// As deep as the value, which serde_json bounds when it reads.
fn write_json(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => out.push_str(&json_float(number.as_f64().unwrap_or(f64::NAN))),
        Json::String(text) => json_text(text, out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(item, out);
            }
            out.push(']');
        }
        Json::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json_text(key, out);
                out.push(':');
                write_json(item, out);
            }
            out.push('}');
        }
    }
}

/// A `float64` as `json.Marshal` writes it: an exponent below 1e-6 and from 1e21.
pub(crate) fn json_float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) || !value.is_finite() {
        return plain(value);
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `url.QueryEscape`.
pub(crate) fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// `url.Values.Encode`: sorted by key.
pub(crate) fn encode_form(values: &[(&str, &str)]) -> String {
    let mut values = values.to_vec();
    values.sort_by_key(|(key, _)| *key);
    let pairs = values.iter().map(|(key, value)| format!("{}={}", query_escape(key), query_escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// `strconv.Quote`, as far as messages need it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `time.ParseDuration`, in nanoseconds; the message is Go's.
pub(crate) fn duration_nanos(text: &str) -> Result<i64, String> {
    let duration = okra_core::analysis::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// A duration that a timeout or a window can be: negative ones are none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    Ok(Duration::from_nanos(u64::try_from(duration_nanos(text)?).unwrap_or(0)))
}

/// A time as `time.RFC3339`, in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        let table = [
            (1.0, "1", "1"),
            (0.95, "0.95", "0.95"),
            (1e21, "1000000000000000000000", "1e+21"),
            (1.5e-7, "0.00000015", "1.5e-7"),
            (-0.0, "-0", "-0"),
            (1e-6, "0.000001", "0.000001"),
        ];
        for (value, as_plain, as_json) in table {
            assert_eq!((plain(value).as_str(), json_float(value).as_str()), (as_plain, as_json));
        }
        assert_eq!([plain(f64::NAN), plain(f64::INFINITY), plain(f64::NEG_INFINITY)], ["NaN", "+Inf", "-Inf"]);
    }

    #[test]
    fn floats_are_read_as_in_go() {
        for (text, value) in
            [("1.5", 1.5), ("+Inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY), ("1e3", 1e3), (".5", 0.5)]
        {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        assert!(parse_float("NaN").is_some_and(f64::is_nan));
        for text in ["", "-NaN", "1e400", "x", "0x", " 1", "--1", "nanx"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn json_is_marshalled_as_in_go() {
        let value = json!({"b": [1, 2.5, null], "a": "<x> & \"y\"\n\u{1}", "c": 1e30});
        assert_eq!(json(&value), r#"{"a":"\u003cx\u003e \u0026 \"y\"\n\u0001","b":[1,2.5,null],"c":1e+30}"#);
    }

    #[test]
    fn forms_are_sorted_and_escaped() {
        assert_eq!(
            encode_form(&[("time", "1"), ("query", "sum(rate(x{a=\"b c\"}[5m]))~*")]),
            "query=sum%28rate%28x%7Ba%3D%22b+c%22%7D%5B5m%5D%29%29~%2A&time=1"
        );
    }
}

//! Numbers as Go's `strconv` and `fmt` read and print them.

use std::fmt::Write as _;

/// Why a text is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Syntax,
    Range,
}

/// The message of Go's `strconv.NumError`.
pub(crate) fn message(function: &str, text: &[u8], fault: Fault) -> String {
    let reason = match fault {
        Fault::Syntax => "invalid syntax",
        Fault::Range => "value out of range",
    };
    format!("strconv.{function}: parsing {}: {reason}", quote(text))
}

/// Go's `strconv.ParseInt(text, base, 64)`.
pub(crate) fn parse_int(text: &[u8], base: u32) -> Result<i64, Fault> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut value: i128 = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(base).ok_or(Fault::Syntax)?;
        // Past the range only the syntax of the rest still matters.
        value = (value * i128::from(base) + i128::from(digit)).min(1 << 70);
    }
    i64::try_from(if negative { -value } else { value }).map_err(|_| Fault::Range)
}

/// Go's `strconv.ParseFloat(text, 64)`.
pub(crate) fn parse_float(text: &[u8]) -> Result<f64, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Syntax)?;
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "nan" => return Ok(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => return Ok(f64::INFINITY),
        "-inf" | "-infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let (sign, unsigned) = match lower.as_bytes() {
        [b'-', ..] => (-1.0, lower.get(1..).unwrap_or_default()),
        [b'+', ..] => (1.0, lower.get(1..).unwrap_or_default()),
        _ => (1.0, lower.as_str()),
    };
    if unsigned.contains('_') && !underscores_separate_digits(unsigned) {
        return Err(Fault::Syntax);
    }
    let plain = unsigned.replace('_', "");
    if let Some(hex) = plain.strip_prefix("0x") {
        return parse_hex_float(hex).map(|value| sign * value);
    }
    // Rust reads some words and a second sign that Go does not.
    if !plain.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Err(Fault::Syntax);
    }
    let value: f64 = plain.parse().map_err(|_| Fault::Syntax)?;
    if value.is_infinite() { Err(Fault::Range) } else { Ok(sign * value) }
}

/// Go's rule for `_` in numbers: between digits, or after a base prefix.
fn underscores_separate_digits(unsigned: &str) -> bool {
    let hex = unsigned.starts_with("0x");
    let prefixed = hex || unsigned.starts_with("0b") || unsigned.starts_with("0o");
    let mut seen = if prefixed { '0' } else { '^' };
    for c in unsigned.chars().skip(if prefixed { 2 } else { 0 }) {
        if c.is_ascii_digit() || hex && c.is_ascii_hexdigit() {
            seen = '0';
        } else if c == '_' {
            if seen != '0' {
                return false;
            }
            seen = '_';
        } else {
            if seen == '_' {
                return false;
            }
            seen = '!';
        }
    }
    seen != '_'
}

fn parse_hex_float(text: &str) -> Result<f64, Fault> {
    let (mantissa, exponent) = text.split_once('p').ok_or(Fault::Syntax)?;
    let exponent = parse_int(exponent.as_bytes(), 10).map_err(|_| Fault::Syntax)?.clamp(-100_000, 100_000);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut value = 0.0_f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16).ok_or(Fault::Syntax)?);
    }
    let shift = exponent - 4 * fraction.len() as i64;
    let value = value * 2.0_f64.powi(i32::try_from(shift).unwrap_or(0));
    if value.is_infinite() { Err(Fault::Range) } else { Ok(value) }
}

/// The shortest digits that read back as the same number, and the exponent of the first of them.
fn digits(value: f64) -> (String, i32) {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn scientific(value: f64) -> String {
    let (digits, exponent) = digits(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{direction}{:02}", exponent.abs())
}

/// A `float64` as Go's `%v` prints it.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (_, exponent) = digits(value);
    if value != 0.0 && !(-4..6).contains(&exponent) { scientific(value) } else { format!("{value}") }
}

/// A `float64` as Go's `encoding/json` prints it; none if JSON has no such number.
pub(crate) fn json_float(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // encoding/json cleans e-09 up to e-9.
        let text = scientific(value);
        let cleaned = text.split_once("e-0").map(|(mantissa, exponent)| format!("{mantissa}e-{exponent}"));
        return Some(cleaned.unwrap_or(text));
    }
    Some(format!("{value}"))
}

/// Go's `%q` of a string.
pub(crate) fn quote(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, &mut out);
        }
        for byte in chunk.invalid() {
            let _infallible = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn quote_char(c: char, out: &mut String) {
    let _infallible = match c {
        '"' | '\\' => write!(out, "\\{c}"),
        '\u{7}' => write!(out, "\\a"),
        '\u{8}' => write!(out, "\\b"),
        '\u{c}' => write!(out, "\\f"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        '\u{b}' => write!(out, "\\v"),
        c if c < ' ' || c == '\u{7f}' => write!(out, "\\x{:02x}", u32::from(c)),
        c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
        c => write!(out, "{c}"),
    };
}

//! Durations as Go writes them, and plain numbers as seconds.

use std::{borrow::Cow, fmt};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration in a manifest: Go syntax (`10m`, `1h30m`, `1.5s`, `500ms`), or a plain number of seconds.
///
/// It is kept as it was written, so that a manifest reads back as it was applied; [`GoDuration::get`]
/// tells what it means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GoDuration {
    /// A plain number: seconds.
    Seconds(i64),
    /// Go syntax, or a number in quotes.
    Text(String),
}

/// Why a duration could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError(String);

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not a duration: write a number with a unit, like 90s, 10m or 1h30m", self.0)
    }
}

impl std::error::Error for DurationError {}

/// Units of Go's `time.ParseDuration`, in nanoseconds. Two-letter units come first.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Ten years: longer than any wait that makes sense, short enough to add to any time.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 3660);

impl GoDuration {
    /// What the text means. Negative durations, and those over ten years, are refused.
    pub fn get(&self) -> Result<SignedDuration, DurationError> {
        let error = || DurationError(self.to_string());
        let duration = match self {
            Self::Seconds(seconds) => SignedDuration::from_secs(*seconds),
            Self::Text(text) => parse(text.trim()).ok_or_else(error)?,
        };
        if duration.is_negative() || duration > LONGEST { Err(error()) } else { Ok(duration) }
    }
}

impl From<&str> for GoDuration {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Reads Go syntax without a sign, and plain numbers as seconds.
fn parse(text: &str) -> Option<SignedDuration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(SignedDuration::from_secs(i64::from(seconds)));
    }
    let mut rest = text;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let (unit, nanos) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        total = total.checked_add(scaled(number, *nanos)?)?;
        rest = tail.strip_prefix(unit)?;
    }
    if text.is_empty() {
        return None;
    }
    SignedDuration::try_from_nanos_i128(total)
}

/// `number` (digits with at most one dot) times `unit`, in whole nanoseconds.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 18 {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    if !fraction.is_empty() {
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        nanos = nanos.checked_add(fraction.parse::<i128>().ok()?.checked_mul(unit)?.checked_div(scale)?)?;
    }
    Some(nanos)
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A pattern, not a CEL rule: the cost of a rule on an int-or-string is estimated for a text of 3 MB, which in
        // a list of steps is over the budget of a CRD.
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0,
            "maximum": LONGEST.as_secs(),
            "maxLength": 40,
            "pattern": "^([0-9]{1,9}|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, millis) in [
            ("5s", 5_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("500ms", 500),
            ("30", 30_000),
            ("0", 0),
            ("0s", 0),
            ("1000000us", 1_000),
        ] {
            assert_eq!(GoDuration::from(text).get().unwrap(), SignedDuration::from_millis(millis), "{text}");
        }
        assert_eq!(GoDuration::Seconds(7).get().unwrap(), SignedDuration::from_secs(7));
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "10 m", "m", "1x", "1..5s", ".s", "-5s", "1h-1m", "9999999999h", "1e3s"] {
            let error = GoDuration::from(text).get().unwrap_err().to_string();
            assert!(error.contains("is not a duration"), "{text}: {error}");
        }
        assert!(GoDuration::Seconds(-1).get().is_err());
    }
}

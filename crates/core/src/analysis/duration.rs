//! Go's `time.ParseDuration`, which Argo reads intervals and delays with.

use jiff::{SignedDuration, Timestamp};

use super::quote::quote;

/// Why a duration could not be read, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time: {what} {text}")]
pub struct DurationError {
    what: String,
    text: String,
}

/// Units in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The magnitude of the lowest duration that Go can hold.
const LOWEST: u64 = 1 << 63;

/// Reads a duration: an optional sign, then numbers with units, like `300ms`, `-1.5h` or `2h45m`.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let fault = |what: &str| DurationError { what: what.to_owned(), text: quote(text) };
    let invalid = || fault("invalid duration");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| invalid())? };
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).unwrap_or((after, ""));
        if unit.is_empty() {
            return Err(fault("missing unit in duration"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanos) = known.ok_or_else(|| fault(&format!("unknown unit {} in duration", quote(unit))))?;
        let part = whole.checked_mul(*nanos).filter(|part| *part <= LOWEST).ok_or_else(invalid)?;
        let part = part.checked_add(share(fraction, *nanos)).filter(|part| *part <= LOWEST).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|total| *total <= LOWEST).ok_or_else(invalid)?;
        rest = after;
    }
    let nanos = if negative { -i128::from(total) } else { i128::from(total) };
    let nanos = i64::try_from(nanos).map_err(|_| invalid())?;
    Ok(SignedDuration::from_nanos(nanos))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The digits after the point, times the unit. Go stops taking digits where they would not fit.
fn share(digits: &str, unit: u64) -> u64 {
    let (mut fraction, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes().map(|byte| u64::from(byte.saturating_sub(b'0'))) {
        if fraction > (LOWEST - 1) / 10 {
            break;
        }
        let next = fraction.saturating_mul(10).saturating_add(digit);
        if next > LOWEST {
            break;
        }
        fraction = next;
        scale *= 10.0;
    }
    (fraction as f64 * (unit as f64 / scale)) as u64
}

/// A time and a duration later; the first or last time there is, if it would be outside of all time.
pub(super) fn later(time: Timestamp, duration: SignedDuration) -> Timestamp {
    let end = if duration.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(duration).unwrap_or(end)
}

/// The whole second that a time is in, as Kubernetes writes it.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    let second = time.as_nanosecond().div_euclid(1_000_000_000);
    i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(time)
}

/// A time, or the next whole second after it.
pub(super) fn next_whole_second(time: Timestamp) -> Timestamp {
    let second = whole_second(time);
    if second == time { time } else { later(second, SignedDuration::from_secs(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("+0", 0),
            ("5s", 5_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("300ms", 300_000_000),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse_duration(text).unwrap(), SignedDuration::from_nanos(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_in_its_words() {
        for (text, message) in [
            ("", r#"time: invalid duration """#),
            ("abc", r#"time: invalid duration "abc""#),
            ("-", r#"time: invalid duration "-""#),
            (".s", r#"time: invalid duration ".s""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("10 m", r#"time: unknown unit " m" in duration "10 m""#),
            ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
            ("3000000h", r#"time: invalid duration "3000000h""#),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn times_are_written_in_whole_seconds() {
        let time: Timestamp = "2026-01-02T03:04:05.9Z".parse().unwrap();
        assert_eq!(whole_second(time).to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(next_whole_second(time).to_string(), "2026-01-02T03:04:06Z");
        assert_eq!(next_whole_second(whole_second(time)), whole_second(time));
        assert_eq!(whole_second("1969-12-31T23:59:59.5Z".parse().unwrap()).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(later(Timestamp::MAX, SignedDuration::from_secs(1)), Timestamp::MAX);
    }
}

//! Times and durations as Go's package `time` has them.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::error::EvalError;
use crate::eval::{operators, string};
use crate::layout;
use crate::number::quote;
use crate::program::Clock;
use crate::value::Value;

type Computed = Result<Value, EvalError>;

const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1000),
    ("µs", 1000),
    ("μs", 1000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `time.ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &[u8]) -> Result<i64, EvalError> {
    let invalid = || EvalError::Failed(format!("time: invalid duration {}", quote(text)));
    let source = std::str::from_utf8(text).map_err(|_| invalid())?;
    let (negative, mut rest) = match source.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, source.strip_prefix('+').unwrap_or(source)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, tail) = rest.split_at(digits(rest));
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(digits(tail)),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let length = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)).into());
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let unit = quote(unit.as_bytes());
            return Err(format!("time: unknown unit {unit} in duration {}", quote(text)).into());
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        // Eighteen digits say more than a nanosecond of an hour.
        let fraction = fraction.get(..fraction.len().min(18)).unwrap_or_default();
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| invalid())? };
        let size = i128::from(*size);
        let scaled = whole.checked_mul(size).ok_or_else(invalid)?;
        total = total.checked_add(scaled + part * size / 10_i128.pow(fraction.len() as u32)).ok_or_else(invalid)?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// `time.Duration.String`.
pub(crate) fn show_duration(duration: i64) -> String {
    if duration == 0 {
        return "0s".to_owned();
    }
    let sign = if duration < 0 { "-" } else { "" };
    let size = duration.unsigned_abs();
    let decimal = |size: u64, unit: u64| {
        let width = unit.ilog10() as usize;
        let text = format!("{}.{:0width$}", size / unit, size % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match size {
        ..1000 => format!("{size}ns"),
        1000..1_000_000 => format!("{}µs", decimal(size, 1000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(size, 1_000_000)),
        _ => {
            let (minutes, rest) = (size / 60_000_000_000, size % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

pub(crate) fn add(time: &Zoned, by: i64) -> Computed {
    let sum = time.timestamp().checked_add(SignedDuration::from_nanos(by));
    let sum = sum.map_err(|_| EvalError::Failed("time out of range".to_owned()))?;
    Ok(Value::Time(Arc::new(sum.to_zoned(time.time_zone().clone()))))
}

pub(crate) fn add_date(time: &Zoned, years: i64, months: &Value, days: &Value) -> Computed {
    let span = || -> Option<Zoned> {
        let (months, days) = (operators::to_int(months).ok()?, operators::to_int(days).ok()?);
        let date = time.date();
        // Go lets what is too much run over: 31 January and a month is 3 March.
        let month =
            i64::from(date.year()).checked_add(years)?.checked_mul(12)?.checked_add(i64::from(date.month()) - 1)?;
        let month = month.checked_add(months)?;
        let (year, month) = (i16::try_from(month.div_euclid(12)).ok()?, month.rem_euclid(12) as i8 + 1);
        let first = jiff::civil::Date::new(year, month, 1).ok()?;
        let days = i64::from(date.day()) - 1 + days;
        let date = first.checked_add(SignedDuration::from_hours(days.checked_mul(24)?)).ok()?;
        date.to_datetime(time.time()).to_zoned(time.time_zone().clone()).ok()
    };
    let sum = span().ok_or_else(|| EvalError::Failed("time out of range".to_owned()))?;
    Ok(Value::Time(Arc::new(sum)))
}

pub(crate) fn between(a: &Zoned, b: &Zoned) -> i64 {
    let nanoseconds = a.timestamp().as_nanosecond() - b.timestamp().as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

pub(crate) fn truncate(time: &Zoned, by: i64) -> Computed {
    // Go counts from the year 1.
    const YEAR_ONE: i128 = 62_135_596_800 * 1_000_000_000;
    if by <= 0 {
        return Ok(Value::Time(Arc::new(time.clone())));
    }
    let since = time.timestamp().as_nanosecond() + YEAR_ONE;
    add(time, -(since.rem_euclid(i128::from(by)) as i64))
}

pub(crate) fn now(clock: Clock, values: &[Value]) -> Value {
    let zone = match values.first() {
        Some(Value::Location(zone)) => (**zone).clone(),
        _ => TimeZone::UTC,
    };
    Value::Time(Arc::new(clock.now().to_zoned(zone)))
}

/// `time.LoadLocation`.
pub(crate) fn zone(name: &[u8]) -> Computed {
    let unknown = || EvalError::Failed(format!("unknown time zone {}", String::from_utf8_lossy(name)));
    let word = std::str::from_utf8(name).map_err(|_| unknown())?;
    let zone = match word {
        // The clock of the machine is no input of an expression.
        "" | "UTC" | "Local" => TimeZone::UTC,
        word => TimeZone::get(word).map_err(|_| unknown())?,
    };
    Ok(Value::Location(Arc::new(zone)))
}

/// What `date` tries without a layout.
const LAYOUTS: &[&str] = &[
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

/// `date(text)`, with a layout and a time zone.
pub(crate) fn date(values: &[Value]) -> Computed {
    let (mut zone_given, values) = match values {
        [Value::Location(zone), rest @ ..] => (Some((**zone).clone()), rest),
        all => (None, all),
    };
    let text = string(values.first().unwrap_or(&Value::Nil))?;
    if let Some(layout) = values.get(1) {
        let layout = string(layout)?;
        if let Some(name) = values.get(2)
            && let Value::Location(zone) = zone(string(name)?)?
        {
            zone_given = Some((*zone).clone());
        }
        return match layout::parse(text, layout, zone_given.as_ref()) {
            Some(time) => Ok(Value::Time(Arc::new(time))),
            None => {
                let (text, layout) = (quote(text), quote(layout));
                Err(format!("parsing time {text} as {layout}: cannot parse").into())
            }
        };
    }
    let parsed = LAYOUTS.iter().find_map(|layout| layout::parse(text, layout.as_bytes(), zone_given.as_ref()));
    match parsed {
        Some(time) => Ok(Value::Time(Arc::new(time))),
        None => Err(format!("invalid date {}", String::from_utf8_lossy(text)).into()),
    }
}

/// The time that a clock in the zone shows, or at an offset from UTC.
pub(crate) fn civil(date: DateTime, zone: Option<&TimeZone>, offset: Option<i32>) -> Option<Zoned> {
    match offset {
        Some(0) => date.to_zoned(TimeZone::UTC).ok(),
        Some(seconds) => date.to_zoned(TimeZone::fixed(Offset::from_seconds(seconds).ok()?)).ok(),
        None => date.to_zoned(zone.cloned().unwrap_or(TimeZone::UTC)).ok(),
    }
}

/// `time.Time.Format`.
pub(crate) fn format(time: &Zoned, layout: &[u8]) -> String {
    layout::format(time, layout)
}

/// `time.Time.String`.
pub(crate) fn show(time: &Zoned) -> String {
    layout::format(time, b"2006-01-02 15:04:05.999999999 -0700 MST")
}

pub(crate) fn rfc3339(time: &Zoned) -> String {
    layout::format(time, b"2006-01-02T15:04:05.999999999Z07:00")
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(crate) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

pub(crate) fn month_name(month: i64) -> String {
    let index = usize::try_from(month - 1).unwrap_or(usize::MAX);
    MONTHS.get(index).map_or_else(|| format!("%!Month({month})"), |name| (*name).to_owned())
}

pub(crate) fn weekday_name(weekday: i64) -> String {
    let index = usize::try_from(weekday).unwrap_or(usize::MAX);
    WEEKDAYS.get(index).map_or_else(|| format!("%!Weekday({weekday})"), |name| (*name).to_owned())
}

pub(crate) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or_default().to_owned()
}

/// The abbreviation of the zone at that time, or its offset where it has none.
pub(crate) fn abbreviation(time: &Zoned) -> String {
    if time.time_zone().iana_name().is_none() && !time.offset().is_zero() {
        return show_offset(time, false, false);
    }
    let info = time.time_zone().to_offset_info(Timestamp::from(time));
    let name = info.abbreviation().to_owned();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { show_offset(time, false, true) }
}

/// `-0700`, `-07:00` or `-07`.
pub(crate) fn show_offset(time: &Zoned, colon: bool, short: bool) -> String {
    let seconds = time.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    let mut out = format!("{sign}{:02}", minutes / 60);
    if !short || minutes % 60 != 0 {
        let separator = if colon { ":" } else { "" };
        let _infallible = write!(out, "{separator}{:02}", minutes % 60);
    }
    out
}

//! The methods of times and durations. A condition reaches them through `now`, `date` and `duration`.

use std::sync::Arc;

use crate::budget::Meter;
use crate::error::EvalError;
use crate::types::{Param, Signature, Type};
use crate::value::Value;

/// A method, with what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of Go's package time")]
pub enum Method {
    Unix,
    UnixMilli,
    UnixMicro,
    UnixNano,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Nanosecond,
    YearDay,
    Weekday,
    Add,
    AddDate,
    Sub,
    Before,
    After,
    Equal,
    IsZero,
    Format,
    Utc,
    In,
    Truncate,
    TimeString,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Abs,
    DurationTruncate,
    Name,
}

const OF_TIME: &[(&str, Method)] = &[
    ("Unix", Method::Unix),
    ("UnixMilli", Method::UnixMilli),
    ("UnixMicro", Method::UnixMicro),
    ("UnixNano", Method::UnixNano),
    ("Year", Method::Year),
    ("Month", Method::Month),
    ("Day", Method::Day),
    ("Hour", Method::Hour),
    ("Minute", Method::Minute),
    ("Second", Method::Second),
    ("Nanosecond", Method::Nanosecond),
    ("YearDay", Method::YearDay),
    ("Weekday", Method::Weekday),
    ("Add", Method::Add),
    ("AddDate", Method::AddDate),
    ("Sub", Method::Sub),
    ("Before", Method::Before),
    ("After", Method::After),
    ("Equal", Method::Equal),
    ("IsZero", Method::IsZero),
    ("Format", Method::Format),
    ("UTC", Method::Utc),
    ("In", Method::In),
    ("Truncate", Method::Truncate),
    ("String", Method::TimeString),
];

const OF_DURATION: &[(&str, Method)] = &[
    ("Hours", Method::Hours),
    ("Minutes", Method::Minutes),
    ("Seconds", Method::Seconds),
    ("Milliseconds", Method::Milliseconds),
    ("Microseconds", Method::Microseconds),
    ("Nanoseconds", Method::Nanoseconds),
    ("Abs", Method::Abs),
    ("Truncate", Method::DurationTruncate),
    ("String", Method::Name),
];

const OF_NAMED: &[(&str, Method)] = &[("String", Method::Name)];

impl Method {
    /// The method of that name, if values of the type have it.
    pub(crate) fn of(ty: &Type, name: &str) -> Option<Self> {
        let methods = match ty {
            Type::Time => OF_TIME,
            Type::Duration => OF_DURATION,
            Type::Month | Type::Weekday | Type::Location => OF_NAMED,
            _ => return None,
        };
        methods.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }

    pub(crate) fn signature(self) -> Signature {
        use Param::{Bool, Duration, Float, Int, Int64, Location, Month, String, Time, Weekday};
        match self {
            Self::Unix | Self::UnixMilli | Self::UnixMicro | Self::UnixNano => Signature::new(&[], Int64),
            Self::Milliseconds | Self::Microseconds | Self::Nanoseconds => Signature::new(&[], Int64),
            Self::Year | Self::Day | Self::Hour | Self::Minute | Self::Second => Signature::new(&[], Int),
            Self::Nanosecond | Self::YearDay => Signature::new(&[], Int),
            Self::Month => Signature::new(&[], Month),
            Self::Weekday => Signature::new(&[], Weekday),
            Self::Add | Self::Truncate => Signature::new(&[Duration], Time),
            Self::AddDate => Signature::new(&[Int, Int, Int], Time),
            Self::Sub => Signature::new(&[Time], Duration),
            Self::Before | Self::After | Self::Equal => Signature::new(&[Time], Bool),
            Self::IsZero => Signature::new(&[], Bool),
            Self::Format => Signature::new(&[String], String),
            Self::Utc => Signature::new(&[], Time),
            Self::In => Signature::new(&[Location], Time),
            Self::Hours | Self::Minutes | Self::Seconds => Signature::new(&[], Float),
            Self::Abs => Signature::new(&[], Duration),
            Self::DurationTruncate => Signature::new(&[Duration], Duration),
            Self::TimeString | Self::Name => Signature::new(&[], String),
        }
    }

    /// Calls the method. The arguments have been checked, except where one's type was not known.
    pub(crate) fn call(self, receiver: &Value, values: &[Value], meter: &mut Meter) -> Result<Value, EvalError> {
        meter.steps(8)?;
        meter.bytes(64)?;
        let given = |index: usize| values.get(index).cloned().unwrap_or(Value::Nil);
        match (receiver, given(0)) {
            (Value::Time(time), Value::Time(other)) => Ok(match self {
                Self::Sub => Value::Duration(crate::time::between(time, &other)),
                Self::Before => Value::Bool(time.timestamp() < other.timestamp()),
                Self::After => Value::Bool(time.timestamp() > other.timestamp()),
                _ => Value::Bool(time.timestamp() == other.timestamp()),
            }),
            (Value::Time(time), Value::Duration(by)) if self == Self::Add => crate::time::add(time, by),
            (Value::Time(time), Value::Duration(by)) => crate::time::truncate(time, by),
            (Value::Time(time), Value::Text(layout)) => {
                meter.bytes(layout.len().saturating_mul(8))?;
                Ok(Value::text(crate::time::format(time, &layout).as_bytes()))
            }
            (Value::Time(time), Value::Location(zone)) => {
                Ok(Value::Time(Arc::new(time.with_time_zone((*zone).clone()))))
            }
            (Value::Time(time), Value::Int(years)) => crate::time::add_date(time, years, &given(1), &given(2)),
            (Value::Time(time), Value::Nil) => Ok(self.of_time(time)),
            (Value::Duration(duration), by) => Ok(self.of_duration(*duration, &by)),
            (Value::Month(month), _) => Ok(Value::from(crate::time::month_name(*month))),
            (Value::Weekday(weekday), _) => Ok(Value::from(crate::time::weekday_name(*weekday))),
            (Value::Location(zone), _) => Ok(Value::from(crate::time::zone_name(zone))),
            (receiver, argument) => {
                let (receiver, argument) = (receiver.type_name(), argument.type_name());
                Err(format!("reflect: Call using {argument} on {receiver}").into())
            }
        }
    }

    fn of_time(self, time: &jiff::Zoned) -> Value {
        match self {
            Self::Unix => Value::Int64(time.timestamp().as_second()),
            Self::UnixMilli => Value::Int64(time.timestamp().as_millisecond()),
            Self::UnixMicro => Value::Int64(time.timestamp().as_microsecond()),
            Self::UnixNano => Value::Int64(i64::try_from(time.timestamp().as_nanosecond()).unwrap_or(i64::MIN)),
            Self::Year => Value::Int(i64::from(time.year())),
            Self::Month => Value::Month(i64::from(time.month())),
            Self::Day => Value::Int(i64::from(time.day())),
            Self::Hour => Value::Int(i64::from(time.hour())),
            Self::Minute => Value::Int(i64::from(time.minute())),
            Self::Second => Value::Int(i64::from(time.second())),
            Self::Nanosecond => Value::Int(i64::from(time.subsec_nanosecond())),
            Self::YearDay => Value::Int(i64::from(time.day_of_year())),
            Self::Weekday => Value::Weekday(i64::from(time.weekday().to_sunday_zero_offset())),
            Self::IsZero => Value::Bool(time.timestamp().as_second() == -62_135_596_800),
            Self::Utc => Value::Time(Arc::new(time.with_time_zone(jiff::tz::TimeZone::UTC))),
            _ => Value::from(crate::time::show(time)),
        }
    }

    fn of_duration(self, duration: i64, by: &Value) -> Value {
        let parts = |unit: i64| (duration / unit) as f64 + (duration % unit) as f64 / unit as f64;
        match self {
            Self::Hours => Value::Float(parts(3_600_000_000_000)),
            Self::Minutes => Value::Float(parts(60_000_000_000)),
            Self::Seconds => Value::Float(parts(1_000_000_000)),
            Self::Milliseconds => Value::Int64(duration / 1_000_000),
            Self::Microseconds => Value::Int64(duration / 1000),
            Self::Nanoseconds => Value::Int64(duration),
            Self::Abs => Value::Duration(duration.saturating_abs()),
            Self::DurationTruncate => match by {
                Value::Duration(by) if *by > 0 => Value::Duration(duration - duration % by),
                _ => Value::Duration(duration),
            },
            _ => Value::from(crate::time::show_duration(duration)),
        }
    }
}

//! Layouts of times, written as Go writes them: as the reference time, Mon Jan 2 15:04:05 MST 2006.

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::time::{MONTHS, WEEKDAYS, abbreviation, civil, show_offset};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    ShortYear,
    LongMonth,
    ShortMonth,
    Month { padded: bool },
    LongWeekday,
    ShortWeekday,
    Day { padded: bool },
    SpaceDay,
    YearDay,
    Hour,
    Hour12 { padded: bool },
    Minute { padded: bool },
    Second { padded: bool },
    Noon { upper: bool },
    Zone,
    Offset { z: bool, colon: bool, short: bool },
    Fraction { digits: usize, cut: bool },
}

const PARTS: &[(&str, Part)] = &[
    ("January", Part::LongMonth),
    ("Jan", Part::ShortMonth),
    ("Monday", Part::LongWeekday),
    ("Mon", Part::ShortWeekday),
    ("MST", Part::Zone),
    ("2006", Part::Year),
    ("Z07:00", Part::Offset { z: true, colon: true, short: false }),
    ("Z0700", Part::Offset { z: true, colon: false, short: false }),
    ("Z07", Part::Offset { z: true, colon: false, short: true }),
    ("-07:00", Part::Offset { z: false, colon: true, short: false }),
    ("-0700", Part::Offset { z: false, colon: false, short: false }),
    ("-07", Part::Offset { z: false, colon: false, short: true }),
    ("002", Part::YearDay),
    ("01", Part::Month { padded: true }),
    ("02", Part::Day { padded: true }),
    ("03", Part::Hour12 { padded: true }),
    ("04", Part::Minute { padded: true }),
    ("05", Part::Second { padded: true }),
    ("06", Part::ShortYear),
    ("15", Part::Hour),
    ("1", Part::Month { padded: false }),
    ("_2", Part::SpaceDay),
    ("2", Part::Day { padded: false }),
    ("3", Part::Hour12 { padded: false }),
    ("4", Part::Minute { padded: false }),
    ("5", Part::Second { padded: false }),
    ("PM", Part::Noon { upper: true }),
    ("pm", Part::Noon { upper: false }),
];

/// The next part of a layout at its beginning, and its length.
fn part(layout: &[u8]) -> Option<(Part, usize)> {
    if let [b'.' | b',', digit @ (b'0' | b'9'), ..] = layout {
        let digits = layout.iter().skip(1).take_while(|c| *c == digit).count();
        let followed = layout.get(1 + digits).is_some_and(u8::is_ascii_digit);
        return (!followed).then_some((Part::Fraction { digits, cut: *digit == b'9' }, 1 + digits));
    }
    let (word, part) = PARTS.iter().find(|(word, _)| layout.starts_with(word.as_bytes()))?;
    // "Month" and "Janet" are words.
    let lower_follows = layout.get(word.len()).is_some_and(u8::is_ascii_lowercase);
    let is_short_name = matches!(part, Part::ShortMonth | Part::ShortWeekday);
    (!(is_short_name && lower_follows)).then_some((*part, word.len()))
}

/// `time.Time.Format`.
pub(crate) fn format(time: &Zoned, layout: &[u8]) -> String {
    let (mut out, mut rest) = (Vec::new(), layout);
    while let Some(first) = rest.first() {
        match part(rest) {
            Some((part, length)) => {
                out.extend_from_slice(show(time, part).as_bytes());
                rest = rest.get(length..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn show(time: &Zoned, part: Part) -> String {
    let padded = |value: i8, padded: bool| if padded { format!("{value:02}") } else { value.to_string() };
    let name = |names: &[&str], index: usize, length: usize| {
        let name = names.get(index).copied().unwrap_or_default();
        name.get(..length.min(name.len())).unwrap_or_default().to_owned()
    };
    let month = usize::try_from(time.month() - 1).unwrap_or(0);
    let weekday = usize::try_from(time.weekday().to_sunday_zero_offset()).unwrap_or(0);
    match part {
        Part::Year => format!("{:04}", time.year()),
        Part::ShortYear => format!("{:02}", time.year().rem_euclid(100)),
        Part::LongMonth => name(&MONTHS, month, 20),
        Part::ShortMonth => name(&MONTHS, month, 3),
        Part::LongWeekday => name(&WEEKDAYS, weekday, 20),
        Part::ShortWeekday => name(&WEEKDAYS, weekday, 3),
        Part::Month { padded: zero } => padded(time.month(), zero),
        Part::Day { padded: zero } => padded(time.day(), zero),
        Part::SpaceDay => format!("{:2}", time.day()),
        Part::YearDay => format!("{:03}", time.day_of_year()),
        Part::Hour => padded(time.hour(), true),
        Part::Hour12 { padded: zero } => padded((time.hour() + 11) % 12 + 1, zero),
        Part::Minute { padded: zero } => padded(time.minute(), zero),
        Part::Second { padded: zero } => padded(time.second(), zero),
        Part::Noon { upper } => {
            let word = if time.hour() >= 12 { "PM" } else { "AM" };
            if upper { word.to_owned() } else { word.to_lowercase() }
        }
        Part::Zone => abbreviation(time),
        Part::Offset { z: true, .. } if time.offset().is_zero() => "Z".to_owned(),
        Part::Offset { colon, short, .. } => show_offset(time, colon, short),
        Part::Fraction { digits, cut } => {
            let mut text = format!(".{:09}", time.subsec_nanosecond());
            text.truncate(1 + digits.min(9));
            if cut {
                let shorter = text.trim_end_matches('0').trim_end_matches('.').len();
                text.truncate(shorter);
            }
            text
        }
    }
}

#[derive(Default)]
struct Read {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    year_day: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset: Option<i32>,
}

/// `time.ParseInLocation`; none if the text does not follow the layout.
pub(crate) fn parse(text: &[u8], layout: &[u8], zone: Option<&TimeZone>) -> Option<Zoned> {
    let (mut read, mut rest, mut layout) = (Read::default(), std::str::from_utf8(text).ok()?, layout);
    while let Some(first) = layout.first() {
        if let Some((part, length)) = part(layout) {
            rest = take(part, rest, &mut read)?;
            layout = layout.get(length..)?;
            // A fraction may follow the seconds though the layout has none.
            let fraction_follows = rest.starts_with(['.', ','])
                && rest.get(1..2).is_some_and(|c| c.as_bytes().is_ascii() && c.parse::<u8>().is_ok());
            if matches!(part, Part::Second { .. })
                && fraction_follows
                && !matches!(self::part(layout), Some((Part::Fraction { .. }, _)))
            {
                rest = take(Part::Fraction { digits: 0, cut: true }, rest, &mut read)?;
            }
        } else {
            rest = if *first == b' ' { rest.trim_start_matches(' ') } else { rest.strip_prefix(char::from(*first))? };
            layout = layout.get(1..)?;
        }
    }
    if rest.is_empty() { read.finish(zone) } else { None }
}

/// Up to so many digits, and what follows them.
fn digits(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(count)?;
    if count < least { None } else { Some((number.parse().ok()?, rest)) }
}

fn word<'a>(text: &'a str, names: &[&str], short: bool) -> Option<(i8, &'a str)> {
    let names = names.iter().map(|name| if short { name.get(..3).unwrap_or(name) } else { name });
    names.enumerate().find_map(|(index, name)| {
        let (head, rest) = text.split_at_checked(name.len())?;
        head.eq_ignore_ascii_case(name).then_some((index as i8, rest))
    })
}

fn take<'a>(part: Part, text: &'a str, read: &mut Read) -> Option<&'a str> {
    let small = |text: &'a str, padded: bool| {
        let (value, rest) = digits(text, if padded { 2 } else { 1 }, 2)?;
        Some((value as i8, rest))
    };
    let rest;
    match part {
        Part::Year => {
            let (year, tail) = digits(text, 4, 4)?;
            (read.year, rest) = (Some(year as i16), tail);
        }
        Part::ShortYear => {
            let (year, tail) = digits(text, 2, 2)?;
            (read.year, rest) = (Some(year as i16 + if year >= 69 { 1900 } else { 2000 }), tail);
        }
        Part::LongMonth | Part::ShortMonth => {
            let (month, tail) = word(text, &MONTHS, part == Part::ShortMonth)?;
            (read.month, rest) = (Some(month + 1), tail);
        }
        Part::Month { padded } => {
            let (month, tail) = small(text, padded)?;
            (read.month, rest) = (Some(month), tail);
        }
        Part::LongWeekday | Part::ShortWeekday => (_, rest) = word(text, &WEEKDAYS, part == Part::ShortWeekday)?,
        Part::Day { .. } | Part::SpaceDay => {
            let text = if part == Part::SpaceDay { text.strip_prefix(' ').unwrap_or(text) } else { text };
            // Go reads a day of one digit even where the layout pads it.
            let (day, tail) = small(text, false)?;
            (read.day, rest) = (Some(day), tail);
        }
        Part::YearDay => {
            let (day, tail) = digits(text, 3, 3)?;
            (read.year_day, rest) = (Some(day as i16), tail);
        }
        Part::Hour => (read.hour, rest) = small(text, false)?,
        Part::Hour12 { padded } => (read.hour, rest) = small(text, padded)?,
        Part::Minute { padded } => (read.minute, rest) = small(text, padded)?,
        Part::Second { padded } => (read.second, rest) = small(text, padded)?,
        Part::Noon { .. } => {
            let (word, tail) = text.split_at_checked(2)?;
            read.afternoon = Some(match word.to_ascii_uppercase().as_str() {
                "PM" => true,
                "AM" => false,
                _ => return None,
            });
            rest = tail;
        }
        Part::Zone => {
            let length = text.bytes().take(5).take_while(u8::is_ascii_uppercase).count();
            if length < 3 {
                return None;
            }
            // A name that is not known is taken for UTC, as Go does.
            read.offset = read.offset.or(Some(0));
            rest = text.get(length..)?;
        }
        Part::Offset { z: true, .. } if text.starts_with('Z') => {
            read.offset = Some(0);
            rest = text.get(1..)?;
        }
        Part::Offset { colon, short, .. } => {
            let (offset, tail) = offset(text, colon, short)?;
            (read.offset, rest) = (Some(offset), tail);
        }
        Part::Fraction { digits: exactly, cut } => {
            let Some(fraction) = text.strip_prefix(['.', ',']) else {
                return if cut { Some(text) } else { None };
            };
            let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if !cut && count != exactly {
                return None;
            }
            let nanoseconds: String = fraction.chars().take(count).chain("000000000".chars()).take(9).collect();
            read.nanosecond = nanoseconds.parse().ok()?;
            rest = fraction.get(count..)?;
        }
    }
    Some(rest)
}

fn offset(text: &str, colon: bool, short: bool) -> Option<(i32, &str)> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(text.get(1..)?, 2, 2)?;
    if short {
        return Some((sign * hours * 3600, rest));
    }
    let rest = if colon { rest.strip_prefix(':')? } else { rest };
    let (minutes, rest) = digits(rest, 2, 2)?;
    (hours < 25 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), rest))
}

impl Read {
    fn finish(self, zone: Option<&TimeZone>) -> Option<Zoned> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let year = self.year.unwrap_or(0);
        let (month, day) = match self.year_day {
            Some(day) => {
                let date = jiff::civil::Date::new(year, 1, 1).ok()?.with().day_of_year(day).build().ok()?;
                (date.month(), date.day())
            }
            None => (self.month.unwrap_or(1), self.day.unwrap_or(1)),
        };
        let date = DateTime::new(year, month, day, hour, self.minute, self.second, self.nanosecond).ok()?;
        civil(date, zone, self.offset)
    }
}

//! How long ago, and when.

use jiff::{SignedDuration, Timestamp};

/// How long ago, with two units at most: `8s`, `4m10s`, `3h12m`, `2d3h`. What lies ahead is `0s`.
pub fn age(from: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(from))
}

/// A duration with two units at most. A negative one is `0s`.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let two = |high: i64, high_unit: &str, low: i64, low_unit: &str| match low {
        0 => format!("{high}{high_unit}"),
        _ => format!("{high}{high_unit}{low}{low_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// The time of the day in UTC, for lines that follow each other: `12:00:10`.
pub fn clock_time(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// Date and time in UTC: `2026-11-20 12:00:10Z`.
pub fn date_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most() {
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (250, "4m10s"),
            (3_600, "1h"),
            (11_520, "3h12m"),
            (86_400, "1d"),
            (183_600, "2d3h"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), expected);
        }
    }
}

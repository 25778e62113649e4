//! Meanings of plain text: YAML's core types, durations and timestamps. Pure functions.

use crate::config::parse_duration;

/// What a scalar is by YAML 1.2's core schema (JSON's literals are among them).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number beyond 64 bits: no value of a job file may be one.
    HugeInt,
    Float(f64),
    Text,
}

/// The type of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ => number(text),
    }
}

fn number(text: &str) -> Scalar {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all_digits = !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit());
    if all_digits {
        return text.parse().map_or(Scalar::HugeInt, Scalar::Int);
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Scalar::Float(f64::INFINITY * sign);
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Scalar::Float(f64::NAN);
    }
    let decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match decimal.then(|| text.parse::<f64>()) {
        Some(Ok(value)) => Scalar::Float(value),
        _ => Scalar::Text,
    }
}

/// Longest duration that a job file may name: a year. It keeps every sum of them far from overflow.
pub(super) const DURATION_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;

/// `250ms`, `10s`, `5m`, `1h`, `7d` in milliseconds, spelled as in the configuration. `None`: not a
/// duration, or longer than a year.
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let ms = u64::try_from(parse_duration(text).ok()?.as_millis()).ok()?;
    (ms <= DURATION_MS_MAX).then_some(ms)
}

/// An RFC 3339 timestamp, spelled in UTC: `2013-01-01T10:00:00+02:00` gives
/// `2013-01-01T08:00:00Z`. Fractions finer than a microsecond, which no column holds, are refused.
pub(super) fn utc_timestamp(text: &str) -> Option<String> {
    let (date, rest) = text.split_at_checked(10)?;
    let (day_start, time) = (days(date)?, rest.strip_prefix(['T', 't'])?);
    let (clock, zone) = time.split_at_checked(8)?;
    let seconds_of_day = clock_seconds(clock)?;
    let (fraction, zone) = fraction_micros(zone)?;
    let offset = zone_seconds(zone)?;
    let seconds = day_start * 86_400 + seconds_of_day - offset;
    let (year, ..) = civil_from_days(seconds.div_euclid(86_400));
    (0..=9999)
        .contains(&year)
        .then(|| spelled(seconds, fraction))
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, by the proleptic Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let bytes = date.as_bytes();
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let (year, month, day) = (
        digits(&date[..4])?,
        digits(&date[5..7])?,
        digits(&date[8..])?,
    );
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

/// Years start in March here, so that the leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

fn clock_seconds(clock: &str) -> Option<i64> {
    let bytes = clock.as_bytes();
    if bytes.get(2) != Some(&b':') || bytes.get(5) != Some(&b':') || !clock.is_ascii() {
        return None;
    }
    let (hour, minute, second) = (
        digits(&clock[..2])?,
        digits(&clock[3..5])?,
        digits(&clock[6..])?,
    );
    let in_range = hour < 24 && minute < 60 && second < 60;
    in_range.then_some(hour * 3600 + minute * 60 + second)
}

/// Splits `.123456Z` into its microseconds and the zone.
fn fraction_micros(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    if end == 0 || end > 6 {
        return None;
    }
    let scale = 10_i64.pow(6 - u32::try_from(end).ok()?);
    Some((digits(&rest[..end])? * scale, &rest[end..]))
}

fn zone_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn spelled(seconds: i64, micros: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = if micros == 0 {
        String::new()
    } else {
        format!(".{micros:06}")
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

//! Durations and sizes as files spell them: `250ms`, `10s`, `5m`; `64KiB`, `256MiB`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// 10,000 years.
const MILLIS_MAX: u64 = 315_360_000_000_000;

const SIZES: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration; write a whole number and a unit, such as 250ms, 10s, 5m or 1h")]
pub struct ParseDurationError(String);

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a whole number and a unit, such as 64KiB, 256MiB or 2GiB")]
pub struct ParseSizeError(String);

/// Reads `<whole number><ms|s|m|h|d>`.
///
/// # Errors
/// The text isn't spelled so, or the duration is over 10,000 years.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let millis = parse(text, &UNITS).filter(|millis| *millis <= MILLIS_MAX);
    let millis = millis.ok_or_else(|| ParseDurationError(text.chars().take(40).collect()))?;
    Ok(Duration::from_millis(millis))
}

/// Reads `<whole number><B|KiB|MiB|GiB|TiB>`.
///
/// # Errors
/// The text isn't spelled so, or the size doesn't fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    parse(text, &SIZES).ok_or_else(|| ParseSizeError(text.chars().take(40).collect()))
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// Spells a duration in the largest unit that is exact; fractions of a millisecond are dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    exact(millis, &UNITS)
}

/// Spells a size in the largest unit that is exact.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    exact(bytes, &SIZES)
}

fn exact(value: u64, units: &[(&str, u64)]) -> String {
    let mut largest = units.iter().rev();
    let fitting = largest.find(|(_, unit)| value != 0 && value.is_multiple_of(*unit));
    let (name, unit) = fitting.unwrap_or(&units[0]);
    format!("{}{name}", value / unit)
}

/// A size for people: one decimal place of the largest unit that fits.
#[must_use]
pub fn about_size(bytes: u64) -> String {
    let fitting = SIZES.iter().rev().find(|(_, unit)| bytes >= *unit);
    let (name, unit) = fitting.unwrap_or(&SIZES[0]);
    let tenths = u128::from(bytes) * 10 / u128::from(*unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("0B", 0),
            ("1500B", 1500),
            ("64KiB", 65_536),
            ("256MiB", 268_435_456),
            ("2GiB", 2_147_483_648),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(format_size(bytes), text);
        }
        for text in ["", "1", "MiB", "1MB", "1 MiB", "-1KiB", "99999999999TiB"] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains("256MiB"), "{error}");
        }
        assert_eq!(about_size(210_000_000), "200.2 MiB");
        assert_eq!(about_size(2048), "2 KiB");
        assert_eq!(about_size(7), "7 B");
    }
}

//! How numbers are said to people: times of day, spans, sizes, counts.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall clock now, milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// `2026-11-22 10:34:05Z`.
pub(crate) fn moment(ms: u64) -> String {
    let seconds = ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Days since 1970-01-01 as year, month and day (Gregorian; Hinnant's era arithmetic).
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// `12ms`, `3.4s`, `5m 7s`, `2h 3m`, `4d 1h`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms / 100 % 10),
        60_000..3_600_000 => format!("{}m {}s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{}h {}m", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{}d {}h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// `12s ago`.
pub(crate) fn ago(ms: u64, now: u64) -> String {
    format!("{} ago", span(now.saturating_sub(ms)))
}

/// `512 B`, `3.4 KiB`, `1.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `27,004`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `37%`, or `-` when unknown.
pub(crate) fn share(ratio: Option<f64>) -> String {
    ratio.map_or_else(dash, |r| format!("{:.0}%", r * 100.0))
}

/// The value, or `-`.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(dash, |v| v.to_string())
}

/// What stands for nothing in a table.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// `1 job`, `2 jobs`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_calendar_time() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_827_696_000), "2000-02-29 12:34:56Z");
        assert_eq!(moment(1_795_343_645_999), "2026-11-22 10:34:05Z");
    }

    #[test]
    fn numbers_are_said_shortly() {
        assert_eq!(
            [12, 3_450, 307_000, 7_380_000, 349_200_000].map(span),
            ["12ms", "3.4s", "5m 7s", "2h 3m", "4d 1h"]
        );
        assert_eq!(
            [512, 3_500, 1_300_000, u64::MAX].map(size)[..3],
            ["512 B", "3.4 KiB", "1.2 MiB"]
        );
        assert_eq!(
            [7, 999, 27_004, 1_234_567].map(count),
            ["7", "999", "27,004", "1,234,567"]
        );
        assert_eq!([plural(1, "job"), plural(2, "job")], ["1 job", "2 jobs"]);
    }
}

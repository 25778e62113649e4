//! Measured rows as a section of a Markdown document: collecting them again replaces the section of that title and
//! leaves the rest of the document alone.

use std::fmt::Write;

use crate::measure::Row;

/// Where and when the rows were measured.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Cores that may be used.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Load of the last 15 minutes when the rows were collected.
    pub load: String,
    /// Syncing 4 KiB to the disk that clusters lay on.
    pub sync: Row,
    /// `2026-01-31`.
    pub date: String,
    /// What was run.
    pub command: String,
}

/// The section's text.
#[must_use]
pub fn section(title: &str, machine: &Machine, rows: &[Row]) -> String {
    let Machine {
        cores,
        kernel,
        load,
        sync,
        date,
        command,
    } = machine;
    let mut text = format!(
        "## {title}\n\n{date}, `{command}`: three replicas and two workers on one machine over loopback, timing `lan`, release build. \
         {cores} cores, Linux {kernel}, load of the last 15 minutes {load}; syncing 4 KiB takes {:.2} ms (p50), {:.2} ms (p99).\n\n\
         | what was done | what was measured | n | p50 ms | p99 ms | max ms |\n| --- | --- | --- | --- | --- | --- |\n",
        sync.p50_ms, sync.p99_ms
    );
    for row in rows {
        // Writing to a string can't fail.
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {:.1} | {:.1} |",
            row.fault, row.what, row.n, row.p50_ms, row.p99_ms, row.max_ms
        );
    }
    text
}

/// The document with this section, which begins with `## title`, in place of the one of that title, or at its end.
#[must_use]
pub fn replaced(document: &str, title: &str, section: &str) -> String {
    let heading = format!("\n## {title}\n");
    let Some(from) = document.find(&heading).map(|at| at + 1) else {
        return format!("{}\n\n{section}", document.trim_end());
    };
    let rest = &document[from..];
    let next = rest.find("\n## ").map_or("", |at| &rest[at..]);
    format!("{}{section}{next}", &document[..from])
}

/// The day of a Unix time, by the calendar of Greenwich.
#[must_use]
pub fn day(unix_seconds: u64) -> String {
    // Years begin in March here, so that the leap day is a year's last.
    let days = unix_seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_added_once_and_then_replaced() {
        let first = replaced("# Numbers\n\nText.\n", "Takeover", "## Takeover\n\none\n");
        assert_eq!(first, "# Numbers\n\nText.\n\n## Takeover\n\none\n");
        let more = format!("{first}\n## More\n\none\n");
        let second = replaced(&more, "Takeover", "## Takeover\n\ntwo\n");
        assert_eq!(second, more.replacen("one", "two", 1));
    }

    #[test]
    fn days_are_the_calendars() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_785_542_399), "2026-07-31");
        assert_eq!(day(1_798_761_600), "2027-01-01");
    }
}

//! What the checking job wrote, held against what it must have written. Pure, except for reading files.
//!
//! The source counts 0, 1, 2, ...; each number belongs to the key `number mod KEYS`, and the keyed
//! aggregation numbers the records of its key. So the n-th record of key k is k + (n - 1) × KEYS: every
//! number must be there once, with the right n. A gap is a lost record, a repetition a duplicated one,
//! and another n means that keyed state was lost or restored twice.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::job::{KEYS, PARALLELISM};
use crate::failure::Failure;

/// One committed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: u64,
    pub(super) nth: u64,
    pub(super) number: u64,
    /// Wall clock when the source emitted the committed version of it.
    pub(super) at_ms: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Committed records.
    pub(super) records: u64,
    /// Numbers that are missing below the highest one of their subtask.
    pub(super) lost: u64,
    /// Records that are there again.
    pub(super) duplicated: u64,
    /// Records whose count within their key is wrong.
    pub(super) miscounted: u64,
}

impl Finding {
    pub(super) fn is_exact(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.miscounted == 0
    }
}

/// Holds the records against the rule.
pub(super) fn check(records: &[Record]) -> Finding {
    let mut seen: HashSet<u64> = HashSet::with_capacity(records.len());
    let mut highest: BTreeMap<u64, u64> = BTreeMap::new();
    let mut finding = Finding {
        records: records.len() as u64,
        ..Finding::default()
    };
    for record in records {
        if !seen.insert(record.number) {
            finding.duplicated += 1;
        }
        let nth = record.number / KEYS + 1;
        if record.key != record.number % KEYS || record.nth != nth {
            finding.miscounted += 1;
        }
        let top = highest.entry(record.number % PARALLELISM).or_default();
        *top = record.number.max(*top);
    }
    let due: u64 = highest.values().map(|top| top / PARALLELISM + 1).sum();
    finding.lost = due.saturating_sub(seen.len() as u64);
    finding
}

/// The longest time without a new record between these moments, and the longest overall rhythm before.
pub(super) fn longest_gap(sorted_ms: &[u64], from_ms: u64, to_ms: u64) -> Option<u64> {
    let begin = sorted_ms
        .partition_point(|at| *at < from_ms)
        .saturating_sub(1);
    let end = sorted_ms.partition_point(|at| *at <= to_ms);
    let inside = sorted_ms.get(begin..(end + 1).min(sorted_ms.len()))?;
    inside.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// Reads every committed file below a sink's directory.
pub(super) fn read(dir: &Path) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    for file in committed(dir)? {
        let wrong = |e: &dyn std::fmt::Display| Failure::failed(format!("{}: {e}", file.display()));
        let mut reader = csv::Reader::from_path(&file).map_err(|e| wrong(&e))?;
        for row in reader.records() {
            let row = row.map_err(|e| wrong(&e))?;
            let record = record(&row).ok_or_else(|| wrong(&format!("not a record: {row:?}")))?;
            records.push(record);
        }
    }
    Ok(records)
}

fn record(row: &csv::StringRecord) -> Option<Record> {
    Some(Record {
        key: row.get(0)?.parse().ok()?,
        nth: row.get(1)?.parse().ok()?,
        number: row.get(2)?.parse().ok()?,
        at_ms: moment_ms(row.get(3)?)?,
    })
}

/// Files of which no part of the path begins with `.` or `_`.
fn committed(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |e: std::io::Error| Failure::failed(format!("{}: {e}", dir.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) {
            continue;
        }
        match entry.file_type().map_err(wrong)?.is_dir() {
            true => files.extend(committed(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    Ok(files)
}

/// `2026-11-22T10:34:05.123456Z` as milliseconds since 1970.
fn moment_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(seconds * 1_000 + millis).ok()
}

/// Days since 1970-01-01 (Gregorian; Hinnant's era arithmetic).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(up_to: u64) -> Vec<Record> {
        let record = |number| Record {
            key: number % KEYS,
            nth: number / KEYS + 1,
            number,
            at_ms: number,
        };
        (0..up_to).map(record).collect()
    }

    #[test]
    fn every_number_once_is_exact_also_where_subtasks_are_not_equally_far() {
        assert!(check(&exact(1_000)).is_exact());
        let mut uneven = exact(1_000);
        uneven.extend(
            exact(1_400)
                .into_iter()
                .filter(|r| r.number >= 1_000 && r.number % PARALLELISM == 1),
        );
        let finding = check(&uneven);
        assert!(finding.is_exact(), "{finding:?}");
        assert_eq!(finding.records, 1_200);
        assert!(check(&[]).is_exact());
    }

    #[test]
    fn lost_duplicated_and_miscounted_records_are_counted() {
        let mut records = exact(1_000);
        records.retain(|r| r.number != 500 && r.number != 41);
        records.push(records[7]);
        records[100].nth += 1;
        let finding = check(&records);
        assert_eq!(
            (finding.lost, finding.duplicated, finding.miscounted),
            (2, 1, 1)
        );
        assert!(!finding.is_exact());
    }

    #[test]
    fn gaps_are_looked_for_around_a_moment() {
        let at = [0, 10, 20, 300, 310, 900];
        assert_eq!(
            longest_gap(&at, 15, 310),
            Some(590),
            "the last one reaches beyond"
        );
        assert_eq!(longest_gap(&at, 0, 15), Some(10));
        assert_eq!(longest_gap(&[], 0, 15), None);
    }

    #[test]
    fn moments_are_read_and_files_below_staging_are_not() {
        assert_eq!(moment_ms("1970-01-01T00:00:01.5Z"), Some(1_500));
        assert_eq!(
            moment_ms("2026-11-22T10:34:05.999123Z"),
            Some(1_795_343_645_999)
        );
        assert_eq!(moment_ms("2000-02-29T12:34:56Z"), Some(951_827_696_000));
        assert_eq!(moment_ms("yesterday"), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("_staging")).unwrap();
        let row = "key,nth,number,at\n3,1,3,1970-01-01T00:00:00Z\n";
        std::fs::write(dir.path().join("_staging/x.csv"), row).unwrap();
        std::fs::write(dir.path().join("part.csv"), row).unwrap();
        let expected = Record {
            key: 3,
            nth: 1,
            number: 3,
            at_ms: 0,
        };
        assert_eq!(read(dir.path()).unwrap(), [expected]);
    }
}

//! What a files sink committed, read as the contract says: every file below the path of which no
//! component begins with `.` or `_`; and its comparison with what it must be, row by row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::reference::Row;

/// How many rows a message lists.
const LISTED: usize = 10;

/// All committed rows below `path`, each file's header checked.
///
/// # Panics
/// If a file can't be read or has another header.
#[must_use]
pub fn committed(path: &Path, header: &[&str]) -> Vec<Row> {
    files(path)
        .iter()
        .flat_map(|file| rows(file, header))
        .collect()
}

/// The committed files below `path`, sorted.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let all = all_files(path).into_iter();
    all.filter(|file| !is_hidden(path, file)).collect()
}

/// Files below `path` that no reader counts: staged ones, or left behind.
#[must_use]
pub fn hidden_files(path: &Path) -> Vec<PathBuf> {
    let all = all_files(path).into_iter();
    all.filter(|file| is_hidden(path, file)).collect()
}

/// Every file below `path`, sorted; none if it doesn't exist.
#[must_use]
pub fn all_files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(path, &mut found);
    found.sort();
    found
}

fn is_hidden(path: &Path, file: &Path) -> bool {
    let below = file.strip_prefix(path).unwrap_or(file);
    let mut names = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    names.any(|name| name.starts_with(['.', '_']))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn rows(file: &Path, header: &[&str]) -> Vec<Row> {
    let mut reader =
        csv::Reader::from_path(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let found = reader
        .headers()
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert_eq!(
        found.iter().collect::<Vec<_>>(),
        header,
        "header of {}",
        file.display()
    );
    let records = reader.records().map(|record| {
        let record = record.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        record.iter().map(str::to_owned).collect()
    });
    records.collect()
}

/// Rows that are missing, and rows that are too many (duplicates included).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the reference only.
    pub missing: Vec<Row>,
    /// In the output only, or more often than in the reference.
    pub surplus: Vec<Row>,
}

/// Compares as multisets: order doesn't matter, number does.
#[must_use]
pub fn compare(found: &[Row], wanted: &[Row]) -> Difference {
    let mut balance: BTreeMap<&Row, i64> = BTreeMap::new();
    for row in wanted {
        *balance.entry(row).or_default() += 1;
    }
    for row in found {
        *balance.entry(row).or_default() -= 1;
    }
    let mut difference = Difference::default();
    for (row, balance) in balance {
        let side = if balance > 0 {
            &mut difference.missing
        } else {
            &mut difference.surplus
        };
        side.extend((0..balance.abs()).map(|_| row.clone()));
    }
    difference
}

/// Checks that what is committed below `path` is exactly `wanted`.
///
/// # Panics
/// If it isn't: with the rows that are missing and those that are too many.
pub fn assert_exact(path: &Path, header: &[&str], wanted: &[Row]) {
    let found = committed(path, header);
    let difference = compare(&found, wanted);
    let listed = |rows: &[Row]| {
        let some: Vec<String> = rows.iter().take(LISTED).map(|row| row.join(",")).collect();
        format!("{}: {}", rows.len(), some.join(" | "))
    };
    assert!(
        difference == Difference::default(),
        "output of {}\nmissing {}\nsurplus {}\n{} rows in {} files, {} wanted",
        path.display(),
        listed(&difference.missing),
        listed(&difference.surplus),
        found.len(),
        files(path).len(),
        wanted.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn missing_and_surplus_rows_are_named() {
        let wanted = [row("a,1"), row("b,1"), row("b,2")];
        let found = [row("b,1"), row("a,1"), row("a,1"), row("c,1")];
        let difference = compare(&found, &wanted);
        assert_eq!(difference.missing, [row("b,2")]);
        assert_eq!(difference.surplus, [row("a,1"), row("c,1")]);
        assert_eq!(compare(&wanted, &wanted), Difference::default());
    }

    #[test]
    fn hidden_and_staged_files_do_not_count() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in [
            "part-1",
            "sub/part-2",
            "_staging/x/part-3",
            ".part-4",
            "sub/_part-5",
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, format!("name\n{name}\n")).expect("written");
        }
        let rows = committed(dir.path(), &["name"]);
        assert_eq!(rows, [row("part-1"), row("sub/part-2")]);
        assert_eq!(hidden_files(dir.path()).len(), 3);
    }
}

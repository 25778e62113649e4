//! The example job as a plain loop over the files, and the comparison with what the cluster wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::output::words::{count, plural};

/// The example job's threshold.
const LONG_HAUL_MILES: i64 = 500;
/// What the sink's header must be: group-by names, then the computed ones in file order.
const HEADER: [&str; 4] = ["carrier", "flights", "miles", "worst"];

/// One carrier's result.
#[derive(Debug, Clone, Default, PartialEq)]
struct Totals {
    flights: i64,
    miles: i64,
    worst: Option<f64>,
}

type Table = BTreeMap<String, Totals>;

/// What the comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comparison {
    /// No difference at all.
    pub(super) exact: bool,
    /// For people, one line.
    pub(super) finding: String,
}

/// Computes the job over `input` and compares it with the committed files below `output`.
pub(super) fn compare(input: &Path, output: &Path) -> Result<Comparison, Failure> {
    let (expected, rows) = compute(input)?;
    let files = committed_files(output)?;
    let mut found = Table::new();
    let mut duplicates = Vec::new();
    for file in &files {
        read_output(file, &mut found, &mut duplicates)?;
    }
    let mut wrong: Vec<String> = duplicates;
    let carriers = expected.keys().chain(found.keys());
    let mut carriers: Vec<&String> = carriers.collect();
    carriers.sort();
    carriers.dedup();
    for carrier in carriers {
        let (want, have) = (expected.get(carrier), found.get(carrier));
        if want != have {
            wrong.push(format!("{carrier}: expected {want:?}, found {have:?}"));
        }
    }
    let files = plural(files.len() as u64, "file");
    Ok(if wrong.is_empty() {
        Comparison {
            exact: true,
            finding: format!(
                "{} rows in {files}, equal to a plain computation over {} flights",
                found.len(),
                count(rows)
            ),
        }
    } else {
        Comparison {
            exact: false,
            finding: format!(
                "{files} differ from a plain computation: {}",
                wrong.join("; ")
            ),
        }
    })
}

/// The job as a loop. Also the number of rows read.
fn compute(input: &Path) -> Result<(Table, u64), Failure> {
    let mut table = Table::new();
    let mut rows = 0;
    for file in files_in(input)? {
        let mut reader = csv::Reader::from_path(&file).map_err(|e| wrong(&file, &e))?;
        let header = reader.headers().map_err(|e| wrong(&file, &e))?.clone();
        let column = |name: &str| {
            let at = header.iter().position(|h| h == name);
            at.ok_or_else(|| wrong(&file, &format!("no column {name}")))
        };
        let (carrier, distance, delay) = (
            column("carrier")?,
            column("distance")?,
            column("dep_delay")?,
        );
        for record in reader.records() {
            let record = record.map_err(|e| wrong(&file, &e))?;
            rows += 1;
            let field = |at: usize| record.get(at).filter(|f| !f.is_empty() && *f != "NA");
            let miles = field(distance)
                .map(|f| number::<i64>(&file, f))
                .transpose()?;
            let Some(miles) = miles.filter(|m| *m >= LONG_HAUL_MILES) else {
                continue;
            };
            let delay = field(delay).map(|f| number::<f64>(&file, f)).transpose()?;
            let key = field(carrier).unwrap_or_default().to_owned();
            let totals = table.entry(key).or_default();
            totals.flights += 1;
            totals.miles += miles;
            totals.worst = larger(totals.worst, delay);
        }
    }
    Ok((table, rows))
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

fn read_output(
    file: &Path,
    found: &mut Table,
    duplicates: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut reader = csv::Reader::from_path(file).map_err(|e| wrong(file, &e))?;
    let header = reader.headers().map_err(|e| wrong(file, &e))?;
    if header.iter().ne(HEADER) {
        return Err(wrong(file, &format!("unexpected header {header:?}")));
    }
    for record in reader.records() {
        let record = record.map_err(|e| wrong(file, &e))?;
        let field = |at: usize| record.get(at).unwrap_or_default();
        let worst = match field(3) {
            "" => None,
            text => Some(number(file, text)?),
        };
        let totals = Totals {
            flights: number(file, field(1))?,
            miles: number(file, field(2))?,
            worst,
        };
        if found.insert(field(0).to_owned(), totals).is_some() {
            duplicates.push(format!("{} occurs twice", field(0)));
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(file: &Path, text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|_| wrong(file, &format!("`{text}` is not a number")))
}

fn wrong(file: &Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("{}: {problem}", file.display()))
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir).map_err(|e| wrong(dir, &e))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(|e| wrong(dir, &e))?.path());
    }
    files.sort();
    Ok(files)
}

/// Every file below `dir` of which no path component below it begins with `.` or `_`.
fn committed_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for path in files_in(&dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(['.', '_']) {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let file = dir.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn verdict(output: &[(&str, &str)]) -> Comparison {
        let dir = tempfile::tempdir().unwrap();
        let (input, out) = (dir.path().join("in"), dir.path().join("out"));
        let head = "carrier,origin,distance,dep_delay\n";
        write(
            &input,
            "a.csv",
            &format!("{head}UA,EWR,1400,2\nUA,EWR,499,900\nAA,JFK,500,NA\n"),
        );
        write(
            &input,
            "b.csv",
            &format!("{head}UA,EWR,600,-3\nAA,JFK,NA,5\n"),
        );
        std::fs::create_dir_all(&out).unwrap();
        for (name, text) in output {
            write(&out, name, text);
        }
        compare(&input, &out).unwrap()
    }

    const UA: &str = "carrier,flights,miles,worst\nUA,2,2000,2\n";
    const AA: &str = "carrier,flights,miles,worst\nAA,1,500,\n";

    #[test]
    fn the_right_output_is_exact_however_it_is_split() {
        let seen = verdict(&[("part-1.csv", UA), ("x/part-2.csv", AA)]);
        assert!(seen.exact, "{}", seen.finding);
        assert!(seen.finding.contains("2 rows in 2 files"));
        assert!(seen.finding.contains("5 flights"));
        let whole = "carrier,flights,miles,worst\nAA,1,500,\nUA,2,2000,2.0\n";
        assert!(verdict(&[("part-1.csv", whole), ("_staging/z", "x"), (".hidden", "x")]).exact);
    }

    #[test]
    fn a_gap_a_duplicate_and_a_wrong_number_are_found() {
        let gap = verdict(&[("part-1.csv", UA)]);
        assert!(!gap.exact);
        assert!(gap.finding.contains("AA: expected"));
        let twice = verdict(&[("part-1.csv", UA), ("part-2.csv", UA), ("part-3.csv", AA)]);
        assert!(!twice.exact);
        assert!(twice.finding.contains("UA occurs twice"));
        let wrong = verdict(&[("part-1.csv", &UA.replace("2000", "2001")), ("p", AA)]);
        assert!(!wrong.exact);
    }
}

//! Jobs over numbered rows. Each key's rows come from one subtask in order, so that what the job writes for the
//! n-th row of a key is known, whatever was killed meanwhile and whenever the job is ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::output::committed;

/// Keys; a multiple of any parallelism used here.
const KEYS: i64 = 32;
const HEADER: [&str; 3] = ["key", "nth", "total"];

/// A rate-limited source, an aggregation by key, an exactly-once file sink.
#[derive(Debug, Clone)]
pub struct SequenceJob {
    /// Name of the job and of its file and output folder.
    pub name: String,
    /// Rows per second.
    pub rate: u32,
    /// Rows in all; `None`: it never ends by itself.
    pub rows: Option<i64>,
    /// Rows of a second source of the same kind, unlimited, that ends early; 0: there is none.
    pub early_rows: i64,
    /// Subtasks of each vertex.
    pub parallelism: u32,
    home: PathBuf,
}

impl SequenceJob {
    /// An unbounded job of this name in `home`, spread over four slots.
    #[must_use]
    pub fn new(home: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rate: 2_000,
            rows: None,
            early_rows: 0,
            parallelism: 4,
            home: home.to_path_buf(),
        }
    }

    /// Writes the job file.
    ///
    /// # Panics
    /// If it can't be written.
    #[must_use]
    pub fn write(&self) -> PathBuf {
        let path = self.home.join(format!("{}.yaml", self.name));
        fs::write(&path, self.text()).expect("the job file can be written");
        path
    }

    /// Where the rows of this source are committed.
    fn out(&self, source: &str) -> PathBuf {
        self.home.join("out").join(&self.name).join(source)
    }

    fn text(&self) -> String {
        let Self {
            name,
            rate,
            parallelism,
            ..
        } = self;
        let end = |rows: i64| format!("end: {rows}, ");
        let numbers = format!("{}rate: {rate}, ", self.rows.map_or_else(String::new, end));
        let mut chains = self.chain("numbers", "out", &numbers);
        if self.early_rows > 0 {
            chains += &self.chain("early", "early-out", &end(self.early_rows));
        }
        format!(
            r#"name: {name}
parallelism: {parallelism}
checkpointing: {{ interval: 500ms, num-retained: 20 }}
restart-strategy: {{ type: exponential-delay, reset-backoff-threshold: 2s }}
vertices:
{chains}"#
        )
    }

    /// Source, aggregation and sink.
    fn chain(&self, source: &str, sink: &str, with: &str) -> String {
        let out = self.out(source);
        let out = out.display();
        format!(
            r#"  - id: {source}
    source: sequence
    with: {{ {with}keys: {KEYS} }}
  - id: {source}-counted
    operator: aggregate
    inputs: [ {{ from: {source}, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ nth: {{ count: "*" }}, total: {{ sum: value }} }} }}
  - id: {sink}
    sink: files
    inputs: [ {source}-counted ]
    with: {{ path: {out}, format: csv, delivery: exactly-once }}
"#
        )
    }

    /// Checks what is committed: of each key the rows 1 to n, each once, with the total that it must have; and
    /// all of them if the source ends. How many rows there are.
    ///
    /// # Panics
    /// If a row is missing, surplus or wrong.
    #[must_use]
    pub fn assert_exact(&self) -> usize {
        let mut rows = self.assert_source_exact("numbers", self.rows);
        if self.early_rows > 0 {
            rows += self.assert_source_exact("early", Some(self.early_rows));
        }
        rows
    }

    fn assert_source_exact(&self, source: &str, all: Option<i64>) -> usize {
        let rows = committed(&self.out(source), &HEADER);
        let what = format!("{}, {source}", self.name);
        let number = |text: &String| text.parse::<i64>().expect("a number");
        let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in &rows {
            let (key, nth, total) = (number(&row[0]), number(&row[1]), number(&row[2]));
            assert_eq!(total, total_of(key, nth), "{what}: key {key}, row {nth}");
            counts.entry(key).or_default().push(nth);
        }
        for (key, mut found) in counts {
            found.sort_unstable();
            let wanted: Vec<i64> = (1..=found.len() as i64).collect();
            assert_eq!(found, wanted, "{what}: rows of key {key}");
        }
        if let Some(all) = all {
            assert_eq!(rows.len() as i64, all, "{what}: rows");
        }
        rows.len()
    }
}

/// Sum of the first `nth` values of a key: key, key + 32, key + 64, ...
fn total_of(key: i64, nth: i64) -> i64 {
    nth * key + KEYS * (nth * (nth - 1) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(home: &Path, rows: Option<i64>) -> SequenceJob {
        SequenceJob {
            rows,
            ..SequenceJob::new(home, "numbers")
        }
    }

    fn commit(job: &SequenceJob, rows: &[[i64; 3]]) {
        let out = job.out("numbers");
        fs::create_dir_all(&out).expect("a folder");
        let lines: Vec<String> = rows
            .iter()
            .map(|[k, n, t]| format!("{k},{n},{t}\n"))
            .collect();
        let text = format!("key,nth,total\n{}", lines.concat());
        fs::write(out.join("part-1"), text).expect("written");
    }

    #[test]
    fn what_a_plain_loop_counts_is_exact() {
        let home = tempfile::tempdir().expect("a folder");
        let job = job(home.path(), Some(100));
        let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        let mut rows = Vec::new();
        for value in 0..100 {
            let group = groups.entry(value % KEYS).or_default();
            *group = (group.0 + 1, group.1 + value);
            rows.push([value % KEYS, group.0, group.1]);
        }
        commit(&job, &rows);
        assert_eq!(job.assert_exact(), 100);
    }

    #[test]
    fn a_lost_a_doubled_and_a_wrong_row_are_each_found() {
        for rows in [
            vec![[1, 1, 1], [1, 3, 99]],
            vec![[1, 1, 1], [1, 1, 1]],
            vec![[1, 1, 1], [1, 2, 35]],
        ] {
            let home = tempfile::tempdir().expect("a folder");
            let job = job(home.path(), None);
            commit(&job, &rows);
            let checked = std::panic::catch_unwind(|| job.assert_exact());
            assert!(checked.is_err(), "{rows:?}");
        }
    }
}

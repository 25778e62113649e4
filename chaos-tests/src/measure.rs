//! Durations of many rounds, reduced to a row: printed, and appended to the file that `REGENT_MEASURES` names.
//! Nothing is asserted about them here, nor anywhere else in this crate: a busy machine is no failure.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::knobs;

/// Size of a write whose sync is timed, and how many there are.
const PROBE_BYTES: usize = 4096;
const PROBE_WRITES: u32 = 500;

/// Durations of one thing over the rounds of a test.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

/// What the durations come to, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was done to the cluster.
    pub fault: String,
    /// What was measured.
    pub what: String,
    /// How many times.
    pub n: usize,
    /// Half of them were at most this.
    pub p50_ms: f64,
    /// 99 of 100 were at most this; with fewer than 100 rounds this is `max_ms`.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The row; `None` if nothing was measured.
    #[must_use]
    pub fn row(&self, fault: &str, what: &str) -> Option<Row> {
        let mut sorted = self.0.clone();
        sorted.sort();
        Some(Row {
            fault: fault.to_owned(),
            what: what.to_owned(),
            n: sorted.len(),
            p50_ms: millis(rank(&sorted, 50)?),
            p99_ms: millis(rank(&sorted, 99)?),
            max_ms: millis(*sorted.last()?),
        })
    }

    /// Prints the row, and appends it to the file if one is named.
    ///
    /// # Panics
    /// If that file can't be written.
    pub fn report(&self, fault: &str, what: &str) {
        let Some(row) = self.row(fault, what) else {
            println!("measured: {fault}: {what}: nothing");
            return;
        };
        println!("measured: {row}");
        if let Some(path) = knobs::measures() {
            let line = serde_json::to_string(&row).expect("a row is plain data");
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let written = file.and_then(|mut file| writeln!(file, "{line}"));
            written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            fault,
            what,
            n,
            p50_ms,
            p99_ms,
            max_ms,
        } = self;
        write!(
            f,
            "{fault}: {what}: n {n}, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms"
        )
    }
}

/// The smallest sample that this many percent are not above.
fn rank(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let position = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(position).copied()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Wall time since 1970: what processes on one machine have in common.
#[must_use]
pub fn wall() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970")
}

/// How long the disk under `folder` takes to sync a small write, `PROBE_WRITES` times.
///
/// # Panics
/// If nothing can be written there.
#[must_use]
pub fn syncs(folder: &Path) -> Samples {
    let path = folder.join("sync-probe");
    let mut file = File::create(&path).expect("a file can be made");
    let mut samples = Samples::default();
    for _ in 0..PROBE_WRITES {
        let began = Instant::now();
        file.write_all(&[7; PROBE_BYTES])
            .expect("a block can be written");
        file.sync_data().expect("the file can be synced");
        samples.push(began.elapsed());
    }
    std::fs::remove_file(&path).expect("the file can be removed");
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl Iterator<Item = u64>) -> Samples {
        Samples(millis.map(Duration::from_millis).collect())
    }

    #[test]
    fn a_row_names_the_ranks_whatever_the_order() {
        let row = samples((1..=200).rev()).row("kill", "gap").expect("a row");
        assert_eq!(
            (row.n, row.p50_ms, row.p99_ms, row.max_ms),
            (200, 100.0, 198.0, 200.0)
        );
        let one = samples([7].into_iter()).row("kill", "gap").expect("a row");
        assert_eq!((one.p50_ms, one.p99_ms, one.max_ms), (7.0, 7.0, 7.0));
        assert_eq!(Samples::default().row("kill", "gap"), None);
    }

    #[test]
    fn the_probe_syncs() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = syncs(folder.path()).row("", "sync").expect("a row");
        assert_eq!(row.n, PROBE_WRITES as usize);
        assert!(row.max_ms > 0.0);
    }
}

//! The data plane's figures as a page.

use std::time::Duration;

use super::local::Barriers;
use super::{Findings, Pair, Run};
use crate::figures::{grouped, median, table};
use crate::peers::section::{machine_line, today};

/// The heading under which the report stands in its file.
pub(super) const HEADING: &str = "## Data plane, beside Apache Flink";

fn checkpoints(interval_ms: Option<u64>) -> String {
    interval_ms.map_or_else(|| "off".to_owned(), |ms| format!("{ms} ms"))
}

fn mib(run: &Run) -> String {
    (run.memory >> 20).to_string()
}

/// One case in a line, while it runs.
pub(super) fn line(pair: &Pair) -> String {
    let flink = pair.flink.map_or_else(String::new, |run| {
        format!("; Flink {}/s, {} MiB", grouped(run.rate()), mib(&run))
    });
    format!(
        "{} keys, parallelism {}, checkpoints {}: {}/s, {} MiB (final only {}/s){flink}",
        pair.case.keys,
        pair.case.parallelism,
        checkpoints(pair.case.checkpoints_ms),
        grouped(pair.changes.rate()),
        mib(&pair.changes),
        grouped(pair.last.rate()),
    )
}

fn counts(findings: &Findings) -> String {
    let row = |pair: &Pair| {
        let flink = |show: &dyn Fn(&Run) -> String| pair.flink.as_ref().map_or("-".into(), show);
        vec![
            grouped(pair.case.keys as f64),
            pair.case.parallelism.to_string(),
            checkpoints(pair.case.checkpoints_ms),
            grouped(pair.changes.rate()),
            grouped(pair.last.rate()),
            flink(&|run| grouped(run.rate())),
            flink(&|run| format!("{:.1}", pair.changes.rate() / run.rate())),
            mib(&pair.changes),
            flink(&mib),
            pair.changes
                .checkpoints
                .map_or("-".into(), |n| n.to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = findings.pairs.iter().map(row).collect();
    table(
        &[
            "keys",
            "parallelism",
            "checkpoints",
            "Regent, records/s, every change emitted",
            "Regent, counts emitted at the end",
            "Flink, records/s",
            "times Flink",
            "Regent worker MiB",
            "Flink MiB",
            "checkpoints completed",
        ],
        &rows,
    )
}

fn files(findings: &Findings) -> String {
    let row = |(parallelism, interval, run, flink): &(u32, Option<u64>, Run, Option<Run>)| {
        let flink = |show: &dyn Fn(&Run) -> String| flink.as_ref().map_or("-".into(), show);
        vec![
            parallelism.to_string(),
            checkpoints(*interval),
            grouped(run.rate()),
            flink(&|flink| grouped(flink.rate())),
            flink(&|flink| format!("{:.1}", run.rate() / flink.rate())),
            mib(run),
            flink(&mib),
            run.checkpoints.map_or("-".into(), |n| n.to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = findings.files.iter().map(row).collect();
    table(
        &[
            "parallelism",
            "checkpoints",
            "Regent, rows/s",
            "Flink as a batch, rows/s",
            "times Flink",
            "Regent worker MiB",
            "Flink MiB",
            "checkpoints completed",
        ],
        &rows,
    )
}

fn barriers(findings: &Findings) -> String {
    let row = |(rate, interval, seen): &(Option<u64>, Option<u64>, Barriers)| {
        let longest = seen.durations_ms.iter().copied().fold(f64::NAN, f64::max);
        let duration = |ms: f64| match seen.durations_ms.is_empty() {
            true => "-".to_owned(),
            false => format!("{ms:.0}"),
        };
        vec![
            rate.map_or("as fast as it can".to_owned(), |rate| {
                format!("{}/s", grouped(rate as f64))
            }),
            checkpoints(*interval),
            grouped(seen.rate),
            duration(median(&seen.durations_ms)),
            duration(longest),
        ]
    };
    let rows: Vec<Vec<String>> = findings.barriers.iter().map(row).collect();
    table(
        &[
            "source",
            "checkpoints",
            "records/s",
            "a checkpoint takes ms, median",
            "of the last 16, longest",
        ],
        &rows,
    )
}

/// The whole section.
pub(super) fn text(findings: &Findings, short: bool, took: Duration) -> String {
    let mode = if short { "short" } else { "full" };
    let ready: Vec<f64> = findings.starts.iter().map(|(ready, _)| *ready).collect();
    let running: Vec<f64> = findings
        .starts
        .iter()
        .map(|(_, running)| *running)
        .collect();
    let flink = match findings.flink {
        true => {
            "Flink 2.3.0 ran in one JVM (-Xmx2g, object reuse on) on a quarter of the records, in turn."
        }
        false => "Flink was not at hand.",
    };
    format!(
        "{HEADING}\n\n{}, {}. `make bench`, {mode} mode, {} s. One JobManager and one TaskManager as processes of \
         `regent local`. Rates are of whole jobs, from `job submit --wait` to FINISHED, start included; memory is \
         the largest resident size while the job ran. {flink}\n\nSequence, counted by key, thrown away:\n\n{}\n\
         CSV files of 4 columns, filtered (a sixth dropped), aggregated to 16 keys, written exactly once:\n\n{}\n\
         What barriers cost, in the counting job at parallelism 2 with 1,000 keys: a source that is as fast as it can \
         keeps every channel full, so a barrier waits behind the rows that are there, and an input that has its \
         barrier waits for the other. A checkpoint is timed from its entry in the log to that of its completion.\n\n{}\n\
         `regent local` with three JobManagers and one TaskManager, {} starts: `ready` after {:.0} ms (median), \
         the first job RUNNING {:.0} ms after its submission.\n",
        today(),
        machine_line(),
        took.as_secs(),
        counts(findings),
        files(findings),
        barriers(findings),
        findings.starts.len(),
        median(&ready),
        median(&running),
    )
}

//! Windows of event time over a real data plane: out-of-order rows, restores at other parallelisms,
//! rows that are too late, inputs that fall silent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, TimestampMicrosecondArray};
use regent_protocol::v1::TaskPhase;
use regent_worker::own::{ColumnType, Columns, Next, Registry, Result, Setup, Source};
use serde_json::json;

use crate::graph::Job;
use crate::jobs::{files_sink, flights};
use crate::kit::Kit;

const ROWS: [(&str, &str); 2] = [("origin", "utf8"), ("time_hour", "timestamp")];
const WINDOWS: [(&str, &str); 4] = [
    ("origin", "utf8"),
    ("flights", "int64"),
    ("window_start", "timestamp"),
    ("window_end", "timestamp"),
];
const HEADER: &str = "origin,flights,window_start,window_end";

/// Flights per origin and hour.
fn per_hour(input: &Path, out: &Path, parallelism: u32, rate: f64, lateness_ms: u64) -> Job {
    let columns: Vec<_> = ROWS
        .iter()
        .map(|(name, data_type)| json!({ "name": name, "data_type": data_type }))
        .collect();
    let source = json!({
        "path": input, "format": "csv", "on-error": "fail", "rate": rate, "columns": columns,
        "event-time": { "column": "time_hour" },
    });
    let window =
        json!({ "tumbling-ms": 3_600_000, "time": "time_hour", "lateness-ms": lateness_ms });
    let aggregate = json!({
        "group-by": ["origin"], "emit": "final", "window": window,
        "compute": [{ "name": "flights", "function": "count", "column": null }],
    });
    Job::new()
        .vertex("source", ("flights", "files"), 2, source, &ROWS)
        .vertex(
            "operator",
            ("per-hour", "aggregate"),
            parallelism,
            aggregate,
            &WINDOWS,
        )
        .input("flights", "hash", &["origin"])
        .vertex("sink", ("out", "files"), 1, files_sink(out), &WINDOWS)
        .input("per-hour", "rebalance", &[])
}

/// The example's rows in files of a day's disorder each: (origin, hour).
fn disordered(dir: &Path) -> (PathBuf, Vec<(String, String)>) {
    let mut files: Vec<PathBuf> = fs::read_dir(flights())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let target = dir.join("in");
    fs::create_dir_all(&target).unwrap();
    let mut all = Vec::new();
    for file in files {
        let mut reader = csv::Reader::from_path(&file).unwrap();
        let header = reader.headers().unwrap().clone();
        let at = |name| header.iter().position(|h| h == name).unwrap();
        let (origin, hour) = (at("origin"), at("time_hour"));
        let mut rows: Vec<(String, String)> = reader
            .records()
            .map(|record| record.unwrap())
            .map(|record| (record[origin].to_owned(), record[hour].to_owned()))
            .collect();
        // Whole stretches backwards: several hundred rows are most of a day.
        for stretch in rows.chunks_mut(700) {
            stretch.reverse();
        }
        let mut text = String::from("origin,time_hour\n");
        for (origin, hour) in &rows {
            text.push_str(&format!("{origin},{hour}\n"));
        }
        fs::write(target.join(file.file_name().unwrap()), text).unwrap();
        all.extend(rows);
    }
    (target, all)
}

/// What the job has to write.
fn expected(rows: &[(String, String)]) -> Vec<String> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.clone()).or_default() += 1;
    }
    let line =
        |((origin, start), count): ((String, String), u64)| format!("{origin},{count},{start},");
    let mut lines: Vec<String> = counts.into_iter().map(line).collect();
    lines.sort();
    lines
}

/// The output without the windows' ends, which must be an hour after their begins.
fn begins(output: Vec<String>) -> Vec<String> {
    let hour = |text: &str| -> u32 { text[11..13].parse().unwrap() };
    let cut = |line: String| {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!((hour(cells[2]) + 1) % 24, hour(cells[3]), "{line}");
        format!("{},{},{},", cells[0], cells[1], cells[2])
    };
    output.into_iter().map(cut).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_equal_a_plain_computation_over_restores_at_other_parallelisms() {
    let kit = Kit::start(2).await;
    let (input, rows) = disordered(kit.dir.path());
    let out = kit.path("out");
    let days = 3 * 24 * 3_600_000;
    let mut restore = None;
    for (token, parallelism) in [(10, 2), (20, 4), (30, 1)] {
        let job = per_hour(&input, &out, parallelism, 5_000.0, days);
        let attempt = kit.deploy(&job, token, restore);
        kit.until_rows("per-hour", 2_000).await;
        restore = Some(kit.checkpoint(&job, &attempt, token).await.restore);
        tokio::time::sleep(Duration::from_millis(20)).await;
        kit.cancel(&attempt).await;
    }
    let job = per_hour(&input, &out, 3, 1e6, days);
    let attempt = kit.deploy(&job, 50, restore);
    kit.finish(&job, &attempt, 60).await;
    assert_eq!(begins(kit.output("out", HEADER)), expected(&rows));
}

fn late(kit: &Kit) -> u64 {
    let metrics = kit
        .engines()
        .flat_map(regent_worker::engine::Engine::metrics);
    metrics.map(|m| m.records_late).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_too_late_are_dropped_and_counted() {
    let kit = Kit::start(1).await;
    let (input, rows) = disordered(kit.dir.path());
    let job = per_hour(&input, &kit.path("out"), 2, 40_000.0, 0);
    let attempt = kit.deploy(&job, 5, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
    let dropped = late(&kit);
    kit.checkpoint(&job, &attempt, 1).await;
    let count = |line: &String| line.split(',').nth(1).unwrap().parse::<u64>().unwrap();
    let counted: u64 = kit.output("out", HEADER).iter().map(count).sum();
    assert!(dropped > 0 && counted > 0, "{dropped} {counted}");
    assert_eq!(dropped + counted, rows.len() as u64);
}

/// Numbers per second of wall time, beside a source that says almost nothing.
fn beside_a_silent_source(out: &Path) -> Job {
    let columns = [("value", "int64"), ("at", "timestamp")];
    let output = [("value", "int64"), ("n", "int64"), WINDOWS[2], WINDOWS[3]];
    let source = |rate: f64| {
        json!({ "start": 0, "end": null, "rate": rate, "keys": null,
            "event-time": { "column": "at", "idle-timeout-ms": 100 } })
    };
    let aggregate = json!({
        "group-by": ["value"], "emit": "final",
        "window": { "tumbling-ms": 200, "time": "at", "lateness-ms": 0 },
        "compute": [{ "name": "n", "function": "count", "column": null }],
    });
    Job::new()
        .vertex("source", ("busy", "sequence"), 1, source(200.0), &columns)
        // Its first row comes at once, and the second after a quarter of an hour.
        .vertex("source", ("silent", "sequence"), 1, source(0.001), &columns)
        .vertex("operator", ("w", "aggregate"), 1, aggregate, &output)
        .input("busy", "forward", &[])
        .input("silent", "forward", &[])
        .vertex("sink", ("out", "files"), 1, files_sink(out), &output)
        .input("w", "forward", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_holds_windows_back_only_until_it_counts_as_idle() {
    let kit = Kit::start(1).await;
    let job = beside_a_silent_source(&kit.path("out"));
    let attempt = kit.deploy(&job, 5, None);
    // Far more than can lie before the silent source's only row.
    kit.until_rows("out", 400).await;
    kit.cancel(&attempt).await;
}

/// Rows by turns of a late and of an early second, and what time it is after each pair; `TELLS` says whether it
/// is to be listened to.
struct Spoken<const TELLS: bool>(i64);

const PAIRS: i64 = 20;
const SECOND: i64 = 1_000_000;

impl<const TELLS: bool> Source for Spoken<TELLS> {
    const TELLS_TIME: bool = TELLS;

    fn schema(_: &Setup) -> Result<Columns> {
        Ok(Columns::of([
            ("n", ColumnType::Int64),
            ("at", ColumnType::Timestamp),
        ]))
    }

    fn bounded(_: &Setup) -> Result<bool> {
        Ok(true)
    }

    async fn next(&mut self) -> Result<Next> {
        let (pair, turn) = (self.0 / 3, self.0 % 3);
        self.0 += 1;
        if pair == PAIRS {
            return Ok(Next::End);
        }
        let second = match turn {
            0 => pair + 100,
            1 => pair,
            _ => return Ok(Next::Watermark((pair + 1) * SECOND)),
        };
        let at = TimestampMicrosecondArray::from(vec![second * SECOND]);
        Ok(Next::Rows(vec![
            Arc::new(Int64Array::from(vec![1])),
            Arc::new(at),
        ]))
    }
}

/// Counts by the second what such a source says.
fn per_second(source: &str, out: &Path) -> Job {
    let columns = [("n", "int64"), ("at", "timestamp")];
    let output = [("n", "int64"), ("rows", "int64"), WINDOWS[2], WINDOWS[3]];
    let own = json!({ "version": 1, "with": {}, "event-time": { "column": "at" } });
    let aggregate = json!({
        "group-by": ["n"], "emit": "final",
        "window": { "tumbling-ms": 1_000, "time": "at", "lateness-ms": 0 },
        "compute": [{ "name": "rows", "function": "count", "column": null }],
    });
    Job::new()
        .vertex("source", ("says", source), 1, own, &columns)
        .vertex("operator", ("w", "aggregate"), 1, aggregate, &output)
        .input("says", "forward", &[])
        .vertex("sink", ("out", "files"), 1, files_sink(out), &output)
        .input("w", "forward", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_tells_its_time_is_believed_and_its_rows_times_are_not() {
    let mut registry = Registry::default();
    registry.source("tells", |_: &mut Setup| Ok(Spoken::<true>(0)));
    registry.source("blurts", |_: &mut Setup| Ok(Spoken::<false>(0)));
    assert!(registry.problems().is_empty());
    let kit = Kit::with(1, registry).await;
    let job = per_second("tells", &kit.path("out"));
    let attempt = kit.deploy(&job, 5, None);
    kit.until_all(&attempt, TaskPhase::Finished).await;
    assert_eq!(late(&kit), 0);
    kit.checkpoint(&job, &attempt, 1).await;
    let windows = kit.output("out", "n,rows,window_start,window_end");
    assert_eq!(windows.len() as i64, 2 * PAIRS, "{windows:?}");
    assert!(windows.iter().all(|line| line.starts_with("1,1,")));

    let job = per_second("blurts", &kit.path("none"));
    let attempt = kit.deploy(&job, 6, None);
    let failure = kit.failure(&attempt).await;
    assert!(failure.cause.contains("TELLS_TIME"), "{}", failure.cause);
}

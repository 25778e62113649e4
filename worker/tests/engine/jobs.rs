//! The jobs that the tests run, and what their output has to be by a plain computation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::graph::Job;

pub(crate) fn flights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/data/flights")
}

const FLIGHT_COLUMNS: [(&str, &str); 3] = [
    ("carrier", "utf8"),
    ("distance", "int64"),
    ("dep_delay", "float64"),
];

fn flights_source(job: Job, parallelism: u32, rate: Option<f64>) -> Job {
    let columns: Vec<_> = FLIGHT_COLUMNS
        .iter()
        .map(|(name, data_type)| json!({ "name": name, "data_type": data_type }))
        .collect();
    let config = json!({
        "path": flights(), "format": "csv", "on-error": "fail", "rate": rate, "columns": columns,
    });
    job.vertex(
        "source",
        ("flights", "files"),
        parallelism,
        config,
        &FLIGHT_COLUMNS,
    )
}

pub(crate) fn files_sink(out: &Path) -> serde_json::Value {
    json!({ "path": out, "format": "csv", "delivery": "exactly-once", "if-exists": "refuse" })
}

pub(crate) const CARRIER_HEADER: &str = "carrier,flights,miles,worst";

/// Long flights by carrier: files, filter, hash, aggregate, files.
pub(crate) fn by_carrier(out: &Path, parallelism: u32, rate: Option<f64>) -> Job {
    let columns = [
        ("carrier", "utf8"),
        ("flights", "int64"),
        ("miles", "int64"),
        ("worst", "float64"),
    ];
    let compute = json!([
        { "name": "flights", "function": "count", "column": null },
        { "name": "miles", "function": "sum", "column": "distance" },
        { "name": "worst", "function": "max", "column": "dep_delay" },
    ]);
    let predicate = json!({ "compare": { "column": "distance", "op": ">=", "value": 500 } });
    flights_source(Job::new(), parallelism, rate)
        .vertex(
            "operator",
            ("long-haul", "filter"),
            parallelism,
            json!({ "predicate": predicate }),
            &FLIGHT_COLUMNS,
        )
        .input("flights", "forward", &[])
        .vertex(
            "operator",
            ("by-carrier", "aggregate"),
            parallelism,
            json!({ "group-by": ["carrier"], "emit": "final", "compute": compute }),
            &columns,
        )
        .input("long-haul", "hash", &["carrier"])
        .vertex(
            "sink",
            ("out", "files"),
            parallelism,
            files_sink(out),
            &columns,
        )
        .input("by-carrier", "forward", &[])
}

/// Every flight, through a network shuffle into files.
pub(crate) fn copy(out: &Path, parallelism: u32, rate: Option<f64>) -> Job {
    flights_source(Job::new(), parallelism, rate)
        .vertex(
            "sink",
            ("out", "files"),
            parallelism,
            files_sink(out),
            &FLIGHT_COLUMNS,
        )
        .input("flights", "hash", &["carrier", "distance"])
}

pub(crate) const COPY_HEADER: &str = "carrier,distance,dep_delay";

/// (carrier, distance, dep_delay) of every flight.
fn rows() -> Vec<(String, i64, Option<f64>)> {
    let mut files: Vec<_> = std::fs::read_dir(flights())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let mut reader = csv::Reader::from_path(file).unwrap();
        let header = reader.headers().unwrap().clone();
        let at = |name| header.iter().position(|h| h == name).unwrap();
        let (carrier, distance, delay) = (at("carrier"), at("distance"), at("dep_delay"));
        for record in reader.records() {
            let record = record.unwrap();
            rows.push((
                record[carrier].to_owned(),
                record[distance].parse().unwrap(),
                record[delay].parse().ok(),
            ));
        }
    }
    rows
}

fn number(value: Option<f64>) -> String {
    value.map(|v| format!("{v:?}")).unwrap_or_default()
}

/// What `copy` has to write.
pub(crate) fn expected_copy() -> Vec<String> {
    let line = |(carrier, distance, delay): (String, i64, Option<f64>)| {
        format!("{carrier},{distance},{}", number(delay))
    };
    let mut lines: Vec<String> = rows().into_iter().map(line).collect();
    lines.sort();
    lines
}

/// What `by_carrier` has to write.
pub(crate) fn expected_by_carrier() -> Vec<String> {
    let mut totals: BTreeMap<String, (i64, i64, Option<f64>)> = BTreeMap::new();
    for (carrier, distance, delay) in rows() {
        if distance < 500 {
            continue;
        }
        let total = totals.entry(carrier).or_default();
        total.0 += 1;
        total.1 += distance;
        total.2 = match (total.2, delay) {
            (Some(worst), Some(delay)) => Some(worst.max(delay)),
            (worst, delay) => worst.or(delay),
        };
    }
    let line = |(carrier, (count, miles, worst)): (String, (i64, i64, Option<f64>))| {
        format!("{carrier},{count},{miles},{}", number(worst))
    };
    totals.into_iter().map(line).collect()
}

/// Numbers by remainder: sequence, hash, count by key, changes or final, into files or nothing.
pub(crate) fn numbers(sink: (&str, serde_json::Value), end: Option<i64>, parallelism: u32) -> Job {
    let columns = [("key", "int64"), ("rows", "int64"), ("total", "int64")];
    let compute = json!([
        { "name": "rows", "function": "count", "column": null },
        { "name": "total", "function": "sum", "column": "value" },
    ]);
    let emit = if end.is_some() { "final" } else { "changes" };
    Job::new()
        .vertex(
            "source",
            ("seq", "sequence"),
            parallelism,
            json!({ "start": 0, "end": end, "rate": null, "keys": 1000 }),
            &[("value", "int64"), ("at", "timestamp"), ("key", "int64")],
        )
        .vertex(
            "operator",
            ("count", "aggregate"),
            parallelism,
            json!({ "group-by": ["key"], "emit": emit, "compute": compute }),
            &columns,
        )
        .input("seq", "hash", &["key"])
        .vertex("sink", ("out", sink.0), parallelism, sink.1, &columns)
        .input("count", "rebalance", &[])
}

pub(crate) fn expected_numbers(end: i64) -> Vec<String> {
    let line = |key: i64| {
        let of_key = (key..end).step_by(1000);
        let (rows, total) = of_key.fold((0, 0), |(rows, total), v| (rows + 1, total + v));
        format!("{key},{rows},{total}")
    };
    let mut lines: Vec<String> = (0..1000.min(end)).map(line).collect();
    lines.sort();
    lines
}

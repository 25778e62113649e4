//! Windows of event time over a topic's partitions, which a subtask reads at different paces: from the
//! beginning, all of them in order of time. No row is late, also not after a worker's death.

use std::collections::BTreeMap;
use std::path::Path;

use regent_chaos::cleanup::written;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::kafka::{Tansu, create_topic, produce};
use regent_chaos::knobs;
use regent_chaos::output::committed;
use regent_chaos::wait::Phases;

use super::{SOON, hurt};

const PARTITIONS: i32 = 4;
const ROWS_PER_SECOND: u64 = 100;
const HEADER: [&str; 4] = ["key", "rows", "window_start", "window_end"];

/// Seconds of event time in each partition.
fn seconds() -> u64 {
    u64::from(knobs::rounds(50, 150))
}

/// The rows of all partitions, each in order of time; in the topic one partition comes after the other.
fn messages() -> impl Iterator<Item = (i32, String)> {
    (0..PARTITIONS).flat_map(|partition| {
        (0..seconds() * ROWS_PER_SECOND).map(move |n| {
            let millis = n * 1_000 / ROWS_PER_SECOND;
            let at = moment(millis / 1_000, millis % 1_000);
            (partition, format!("{{\"key\":\"k\",\"at\":\"{at}\"}}"))
        })
    })
}

fn moment(seconds: u64, millis: u64) -> String {
    format!(
        "2013-01-01T00:{:02}:{:02}.{millis:03}Z",
        seconds / 60,
        seconds % 60
    )
}

fn job_file(brokers: &str, out: &Path) -> String {
    // Slow enough for a leader's and a worker's death in between.
    let rate = knobs::rounds(1_200, 3_000);
    format!(
        "name: windows\ncheckpointing: {{ interval: 200ms }}\n\
         restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}\nvertices:\n  \
         - {{ id: e, source: kafka, with: {{ brokers: '{brokers}', topic: times, format: json-lines, bounded: true,\n      \
         rate: {rate}, columns: {{ key: utf8, at: timestamp }} }} }}\n  \
         - {{ id: w, operator: aggregate, inputs: [ {{ from: e, partition: hash, by: [key] }} ],\n      \
         with: {{ group-by: [key], window: {{ tumbling: 1s, time: at }}, compute: {{ rows: {{ count: '*' }} }} }} }}\n  \
         - {{ id: out, sink: files, inputs: [ w ], with: {{ path: {}, format: csv }} }}\n",
        out.display()
    )
}

#[test]
fn windows_over_partitions_lose_no_row() {
    let mut phases = Phases::of("kafka_windows");
    let mut chance = knobs::chance("kafka_windows");
    let mut cluster = Cluster::start(Options::default());
    let broker = Tansu::start(&cluster.home().join("tansu.log"));
    create_topic(&broker.address, "times", PARTITIONS);
    produce(&broker.address, "times", messages());
    phases.done("cluster, broker, messages");
    let out = cluster.home().join("out");
    let text = job_file(&broker.address, &out);
    let mut job = Job::submit(&cluster, &written(&cluster, "windows", &text));
    // The leader, then the worker.
    hurt(&cluster, &mut job, 2, &mut chance);
    phases.done("killed");
    job.wait_for("FINISHED", SOON * 4);
    let shown = job.look();
    let window = &shown["vertices"][1];
    assert_eq!(window["id"], "w");
    assert_eq!(window["records_late"], 0, "{window}");
    let found: BTreeMap<String, String> = committed(&out, &HEADER)
        .into_iter()
        .map(|row| (row[2].clone(), row[1].clone()))
        .collect();
    let rows = u64::try_from(PARTITIONS).expect("a few") * ROWS_PER_SECOND;
    let wanted = (0..seconds()).map(|second| {
        let start = moment(second, 0).replace(".000Z", "Z");
        (start, rows.to_string())
    });
    assert_eq!(found, wanted.collect(), "each window whole, and there once");
    assert_eq!(committed(&out, &HEADER).len() as u64, seconds());
    phases.done("exact");
    cluster.stop();
}

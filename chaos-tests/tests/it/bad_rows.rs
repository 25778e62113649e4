//! Rows that don't parse: the job fails naming file and line, or skips and counts them, as it was told; the
//! count outlives a worker, and the job.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::output::assert_exact;
use regent_chaos::wait::wait_until;
use serde_json::json;

#[test]
fn rows_that_do_not_parse_fail_the_job_or_are_counted() {
    let options = Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    };
    let mut cluster = Cluster::start(options);
    let data = cluster.home().join("data.csv");
    fs::write(
        &data,
        "carrier,distance\nUA,100\nAA,far\nUA,NA\nUA,50\nB6\n",
    )
    .expect("written");

    let mut job = Job::submit(&cluster, &job_file(cluster.home(), &data, "fail"));
    job.wait_for("FAILED", Duration::from_secs(30));
    let cause = job.result()["cause"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(cause.contains("data.csv:3: "), "file and line in {cause:?}");

    let mut job = Job::submit(&cluster, &job_file(cluster.home(), &data, "skip"));
    job.wait_for("FINISHED", Duration::from_secs(30));
    let out = cluster.home().join("out-skip");
    let row = ["UA", "3", "150"].map(str::to_owned).to_vec();
    assert_exact(&out, &["carrier", "flights", "miles"], &[row]);
    let shown = job.look();
    let source = &shown["vertices"][0];
    assert_eq!(
        (&source["records_skipped"], &source["records_out"]),
        (&json!(2), &json!(3))
    );
    let log = cluster.logs();
    for place in ["data.csv:3", "data.csv:6"] {
        assert!(log.contains(place), "{place} in the worker's log");
    }

    counted_over_a_death(&cluster);
    cluster.stop();
}

/// Two bad rows, then good ones for longer than the test takes.
fn counted_over_a_death(cluster: &Cluster) {
    let data = cluster.home().join("long.csv");
    let good = "UA,1\n".repeat(200_000);
    fs::write(
        &data,
        format!("carrier,distance\nUA,100\nAA,far\nB6\n{good}"),
    )
    .expect("written");
    let text = format!(
        "name: long\ncheckpointing: {{ interval: 100ms }}\n\
         restart-strategy: {{ type: fixed-delay, attempts: 100, delay: 100ms }}\nvertices:\n  \
         - {{ id: rows, source: files, with: {{ path: {}, format: csv, on-error: skip, rate: 500,\n      \
         columns: {{ carrier: utf8, distance: int64 }} }} }}\n  \
         - {{ id: out, sink: blackhole, inputs: [ rows ] }}\n",
        data.display()
    );
    let file = cluster.home().join("long.yaml");
    fs::write(&file, text).expect("written");
    let mut job = Job::submit(cluster, &file);
    job.wait_for_checkpoint(Duration::from_secs(30));
    let old = cluster.kill("tm-1");
    let _new = cluster.wait_for_new_pid("tm-1", old);
    let shown = wait_until(Duration::from_secs(60), "rows of the next attempt", || {
        let shown = job.look();
        let rows = shown["vertices"][0]["records_out"].as_u64() > Some(0);
        (shown["restarts"].as_u64() > Some(0) && rows).then_some(shown)
    });
    assert_eq!(shown["vertices"][0]["records_skipped"], 2, "{shown}");
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
}

fn job_file(home: &Path, data: &Path, on_error: &str) -> PathBuf {
    let mut text =
        format!("name: rows-{on_error}\nrestart-strategy: {{ type: none }}\nvertices:\n");
    let (data, out) = (data.display(), home.join(format!("out-{on_error}")));
    let lines = [
        "- id: rows".to_owned(),
        "  source: files".to_owned(),
        format!("  with: {{ path: {data}, format: csv, on-error: {on_error},"),
        "          columns: { carrier: utf8, distance: int64 } }".to_owned(),
        "- id: sums".to_owned(),
        "  operator: aggregate".to_owned(),
        "  inputs: [ { from: rows, partition: hash, by: [carrier] } ]".to_owned(),
        "  with: { group-by: [carrier],".to_owned(),
        "          compute: { flights: { count: \"*\" }, miles: { sum: distance } } }".to_owned(),
        "- id: out".to_owned(),
        "  sink: files".to_owned(),
        "  inputs: [ sums ]".to_owned(),
        format!("  with: {{ path: {}, format: csv }}", out.display()),
    ];
    for line in lines {
        writeln!(text, "  {line}").expect("writing to a String");
    }
    let file = home.join(format!("rows-{on_error}.yaml"));
    fs::write(&file, text).expect("the job file can be written");
    file
}

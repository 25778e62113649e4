//! A directory that is followed while leader and worker die: each row of each file once. A file that is
//! written to after it was read fails the job, which goes on when that is mended.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::output::committed;
use regent_chaos::wait::{Phases, wait_until};

const SOON: Duration = Duration::from_secs(60);
const ROWS: u64 = 20;

fn files() -> u64 {
    u64::from(knobs::rounds(12, 400))
}

#[test]
fn a_followed_directory_is_read_once_over_deaths() {
    let mut phases = Phases::of("followed");
    let mut cluster = Cluster::start(Options::default());
    let (input, out) = (cluster.home().join("in"), cluster.home().join("out"));
    fs::create_dir(&input).expect("a folder");
    let file = cluster.home().join("followed.yaml");
    fs::write(&file, job_file(&input, &out)).expect("written");
    let mut job = Job::submit(&cluster, &file);
    job.wait_for("RUNNING", SOON);
    phases.done("runs");
    for number in 0..files() {
        put(&input, number);
        if number == files() / 3 {
            job.wait_for_checkpoint(SOON);
            kill(&cluster, &cluster.wait_for_leader());
        }
        if number == 2 * files() / 3 {
            kill(&cluster, "tm-1");
        }
    }
    read_up_to(&out, files());
    phases.done("killed, all rows");

    // What is appended can't be lost in silence.
    let first = input.join("0.csv");
    let grown = fs::read_to_string(&first).expect("read") + "7\n";
    fs::write(&first, grown).expect("written");
    wait_until(SOON, "the failure that names the file", || {
        let shown = job.look();
        let mut failures = shown["failures"].as_array().into_iter().flatten();
        let told = |cause: &str| cause.contains("0.csv: it had") && cause.contains("rename it");
        failures
            .any(|one| one["cause"].as_str().is_some_and(told))
            .then_some(())
    });
    fs::rename(&first, cluster.home().join("away.csv")).expect("moved away");
    put(&input, files());
    read_up_to(&out, files() + 1);
    let canceled = cluster.json(&["job", "cancel", &job.id]);
    assert_eq!(canceled["state"], "CANCELED");
    phases.done("grown, told, mended");
    cluster.stop();
}

fn kill(cluster: &Cluster, name: &str) {
    let old = cluster.kill(name);
    assert_ne!(cluster.wait_for_new_pid(name, old), old);
}

/// A file that appears whole.
fn put(input: &Path, number: u64) {
    let lines: String = range(number).map(|n| format!("{n}\n")).collect();
    let hidden: PathBuf = input.join(format!(".{number}"));
    fs::write(&hidden, format!("n\n{lines}")).expect("written");
    fs::rename(&hidden, input.join(format!("{number}.csv"))).expect("renamed");
}

fn range(file: u64) -> std::ops::Range<u64> {
    file * ROWS..(file + 1) * ROWS
}

/// Waits for the rows of the first files; each of them must be there once, and nothing else.
fn read_up_to(out: &Path, files: u64) {
    let found = wait_until(SOON, "all rows", || {
        let mut found: BTreeMap<u64, u32> = BTreeMap::new();
        for row in committed(out, &["n"]) {
            *found.entry(row[0].parse().expect("a number")).or_default() += 1;
        }
        (found.len() as u64 >= files * ROWS).then_some(found)
    });
    assert!(found.keys().copied().eq(0..files * ROWS), "{found:?}");
    let doubled: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "more than once: {doubled:?}");
}

fn job_file(input: &Path, out: &Path) -> String {
    let (input, out) = (input.display(), out.display());
    format!(
        r#"name: followed
parallelism: 2
checkpointing: {{ interval: 200ms }}
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}
vertices:
  - id: rows
    source: files
    with: {{ path: {input}, format: csv, discovery-interval: 50ms, columns: {{ n: int64 }} }}
  - id: out
    sink: files
    inputs: [ rows ]
    with: {{ path: {out}, format: csv }}
"#
    )
}

//! Code of one's own that misbehaves: what is said of it, where, and that only its own job suffers.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::measure::wall;
use regent_chaos::wait::wait_until;
use serde_json::Value;

use crate::worker::Worker;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trouble");
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        slots: 2,
        restart: "never",
        program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    })
}

fn write_job(home: &Path, operator: &str, with: &str, strategy: &str) -> PathBuf {
    let file = home.join(format!("{operator}.yaml"));
    let text = format!(
        "name: {operator}
restart-strategy: {{ type: {strategy} }}
vertices:
  - id: numbers
    source: sequence
    with: {{ rate: 20000 }}
  - id: troubled
    operator: {operator}
    inputs: [ {{ from: numbers, partition: hash, by: [value] }} ]
    with: {{ {with} }}
  - id: out
    sink: blackhole
    inputs: [ troubled ]
"
    );
    fs::write(&file, text).unwrap();
    file
}

/// A job that fails, and the cause that `job show` names with its place.
fn failure(cluster: &Cluster, file: &Path) -> Value {
    let mut job = Job::submit(cluster, file);
    job.wait_for("FAILED", PATIENCE);
    let shown = job.look();
    let failure = shown["failures"][0].clone();
    assert_eq!(failure["vertex"], "troubled", "{failure}");
    assert_eq!(
        (&failure["subtask"], &failure["worker"]),
        (&Value::from(0), &Value::from("tm-1"))
    );
    failure
}

/// A job that ends by itself, over so many slots.
pub(crate) fn finite(cluster: &Cluster, name: &str, parallelism: u32) -> PathBuf {
    let file = cluster.home().join(format!("{name}.yaml"));
    let text = format!(
        "name: {name}\nparallelism: {parallelism}\nvertices:\n  - {{ id: n, source: sequence, \
         with: {{ end: 10 }} }}\n  - {{ id: out, sink: blackhole, inputs: [ n ] }}\n"
    );
    fs::write(&file, text).unwrap();
    file
}

/// What an operator answers instead of rows is told as it is: which task, where, when; and that is all that
/// happens to the worker.
#[test]
fn an_error_is_told_with_its_place_and_time_and_the_worker_goes_on() {
    let mut cluster = cluster();
    let pid = cluster.process("tm-1").pid;
    let before = wall().as_millis() as u64;
    let file = write_job(cluster.home(), "refusing", "", "none");
    let failure = failure(&cluster, &file);
    let cause = "row 57 is not wanted: invalid digit found in string";
    assert_eq!(failure["cause"], cause);
    assert_eq!(failure["attempt"], 1);
    let at = failure["at_ms"].as_u64().unwrap();
    let now = wall().as_millis() as u64;
    assert!((before..=now).contains(&at), "{before} {at} {now}");
    let log = fs::read_to_string(cluster.dir().join("logs/tm-1.log")).unwrap();
    assert!(!log.contains("panic"), "an error is none: {log}");
    Job::submit(&cluster, &finite(&cluster, "after", 2)).wait_for("FINISHED", PATIENCE);
    assert_eq!(cluster.process("tm-1").pid, pid);
    assert_eq!(cluster.json(&["worker", "list"])[0]["state"], "registered");
    cluster.stop();
}

#[test]
fn a_panic_is_the_users_in_the_log_and_the_worker_goes_on() {
    let mut cluster = cluster();
    let file = write_job(cluster.home(), "impossible", "", "none");
    let failure = failure(&cluster, &file);
    assert_eq!(failure["cause"], "panic: row 57 is impossible");
    let log = fs::read_to_string(cluster.dir().join("logs/tm-1.log")).unwrap();
    let line = log
        .lines()
        .find(|line| line.starts_with("error: panic"))
        .unwrap();
    assert!(
        line.starts_with("error: panic in troubled/0 (operator impossible) at ")
            && line.contains("trouble.rs:")
            && line.ends_with(": row 57 is impossible; its task fails, the worker goes on"),
        "{line}"
    );
    assert!(
        !log.contains("internal error"),
        "it is no mistake of this program"
    );
    assert_eq!(cluster.json(&["worker", "list"])[0]["state"], "registered");
    cluster.stop();
}

#[test]
fn state_beyond_the_slots_memory_fails_its_job_and_the_worker_goes_on() {
    let mut cluster = cluster();
    let worker = Worker::instead(&cluster, "tm-1", &["slot-memory=24MiB"], &[]);
    cluster.wait_for_workers(1);
    let file = write_job(cluster.home(), "hoard", "", "none");
    let failure = failure(&cluster, &file);
    let cause = failure["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("slot memory exceeded: state ")
            && cause.contains("MiB of troubled")
            && cause.contains("slot-memory allows 24MiB")
            && cause.contains("parallelism"),
        "{cause}"
    );
    assert_eq!(cluster.json(&["worker", "list"])[0]["free"], 2);
    drop(worker);
    cluster.stop();
}

#[test]
fn a_task_that_does_not_end_is_told_and_its_slot_is_not_used_again() {
    let mut cluster = cluster();
    let settings = ["task-cancellation-timeout=1s"];
    let worker = Worker::instead(&cluster, "tm-1", &settings, &[]);
    cluster.wait_for_workers(1);
    let gate = cluster.home().join("let-go");
    let with = format!("exists: {}", gate.display());
    let file = write_job(cluster.home(), "stubborn", &with, "none");
    let mut job = Job::submit(&cluster, &file);
    job.wait_for("RUNNING", PATIENCE);
    wait_until(PATIENCE, "a row in the operator's hands", || {
        let shown = job.look();
        (shown["vertices"][1]["records_in"].as_u64()? > 0).then_some(())
    });
    let _asked = cluster.cli_beside(&["job", "cancel", &job.id]);

    wait_until(PATIENCE, "a stuck task in job show", || {
        let shown = job.look();
        let tasks = shown["tasks"].as_array()?.iter();
        let mut stuck = tasks.filter(|task| task["state"] == "stuck");
        (stuck.next()?["vertex"] == "troubled").then_some(())
    });
    let explained = cluster.json(&["job", "explain", &job.id]);
    let causes = explained["causes"].as_array().unwrap();
    let stuck = causes.iter().find(|c| c["code"] == "task-stuck").unwrap();
    let text = stuck["text"].as_str().unwrap();
    assert!(
        text.starts_with("troubled/0 on tm-1 doesn't end") && text.contains("(1s)"),
        "{text}"
    );
    let listed = cluster.json(&["worker", "list"]);
    assert_eq!(
        (&listed[0]["stuck"], &listed[0]["free"]),
        (&Value::from(1), &Value::from(1))
    );
    let status = cluster.json(&["status"]);
    let alarms = status["attention"].as_array().unwrap();
    assert!(
        alarms.iter().any(|alarm| alarm["code"] == "TaskStuck"),
        "{alarms:?}"
    );
    let log = fs::read_to_string(cluster.dir().join("logs/tm-1-again.log")).unwrap();
    assert!(log.contains("task_stuck"), "{log}");

    // The other slot is free; both aren't.
    Job::submit(&cluster, &finite(&cluster, "narrow", 1)).wait_for("FINISHED", PATIENCE);
    let mut wide = Job::submit(&cluster, &finite(&cluster, "wide", 2));
    wait_until(PATIENCE, "the reason why it waits", || {
        let reason = wide.look()["reason"].as_str()?.to_owned();
        (reason == "not-enough-slots (needs 2, free 1; 1 held by tasks that don't end)")
            .then_some(())
    });

    // When it ends after all, everything goes on by itself.
    fs::write(&gate, "").unwrap();
    job.wait_for("CANCELED", PATIENCE);
    wide.wait_for("FINISHED", PATIENCE);
    assert_eq!(cluster.json(&["worker", "list"])[0]["stuck"], 0);
    drop(worker);
    cluster.stop();
}

/// The program is rolled back after it has written state: what the older one can't read is refused, and
/// where it can be read it goes on.
#[test]
fn a_savepoint_of_a_later_version_is_refused_where_only_an_earlier_one_runs() {
    let mut cluster = cluster();
    let later = Worker::instead(&cluster, "tm-1", &[], &[("HOARD_VERSION", "2")]);
    cluster.wait_for_workers(1);
    let file = write_job(cluster.home(), "hoard", "", "none");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("rate: 20000", "rate: 200")).unwrap();
    let file = file.display().to_string();
    let mut job = Job::submit(&cluster, Path::new(&file));
    wait_until(PATIENCE, "state in the operator's hands", || {
        let shown = job.look();
        (shown["vertices"][1]["records_in"].as_u64()? > 0).then_some(())
    });
    let stopped = cluster.json(&["job", "stop", &job.id, "--savepoint-path", "saved"]);
    let savepoint = stopped["path"].as_str().unwrap().to_owned();
    let submit = ["job", "submit", &file, "--from-savepoint", &savepoint];

    drop(later);
    let earlier = Worker::again(&cluster, "tm-1", &[]);
    for arguments in [&submit[..], &[&submit[..], &["--dry-run"]].concat()] {
        let refused = cluster.cli(arguments);
        let wanted = format!(
            "error: {savepoint} doesn't fit this job: its state of troubled was written by hoard 2, and the \
             job would run hoard 1, which can't read it; start workers that offer hoard 2 or later, or name \
             another savepoint"
        );
        assert_eq!(refused.refused(5), wanted);
    }
    let jobs = cluster.json(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(1), "{jobs}");

    drop(earlier);
    let later = Worker::again(&cluster, "tm-1", &[("HOARD_VERSION", "2")]);
    let submitted = cluster.json(&submit);
    let mut job = Job::of(&cluster, submitted["job_id"].as_str().unwrap());
    job.wait_for("RUNNING", PATIENCE);
    drop(later);
    cluster.stop();
}

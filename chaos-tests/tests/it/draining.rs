//! `worker drain` and `undrain`: a worker's tasks move by a fresh checkpoint, nothing is placed there until it is
//! offered again, and the output is exact all the while.

use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::sequences::SequenceJob;
use regent_chaos::wait::wait_until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// Names of the workers that hold tasks of the job.
fn workers(shown: &Value) -> Vec<&str> {
    let tasks = shown["tasks"].as_array().into_iter().flatten();
    let mut names: Vec<_> = tasks.filter_map(|task| task["worker"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn state_of(cluster: &Cluster, worker: &str) -> Value {
    let workers = cluster.json(&["worker", "list"]);
    let mut all = workers.as_array().into_iter().flatten();
    let found = all.find(|one| one["worker"] == worker);
    found.unwrap_or_else(|| panic!("{worker} is listed: {workers}"))["state"].clone()
}

#[test]
fn a_drained_workers_tasks_move_and_nothing_comes_until_it_is_undrained() {
    let cluster = Cluster::start(Options {
        jobmanagers: 3,
        taskmanagers: 2,
        slots: 4,
        ..Options::default()
    });
    let planned = SequenceJob::new(cluster.home(), "moved");
    let mut job = Job::submit(&cluster, &planned.write());
    job.wait_for("RUNNING", SOON);
    job.wait_for_checkpoint(SOON);
    let shown = job.look();
    let from = workers(&shown)[0].to_owned();
    let to = if from == "tm-1" { "tm-2" } else { "tm-1" };

    let dry = cluster.json(&["worker", "drain", &from, "--dry-run"]);
    assert_eq!(dry["worker"], from.as_str());
    assert_eq!(
        state_of(&cluster, &from),
        "registered",
        "a dry run changes nothing"
    );
    let drained = cluster.json(&["worker", "drain", &from]);
    assert_eq!(drained["drained"], true, "{drained}");
    assert_eq!(
        drained["tasks"], 0,
        "it returns when nothing runs there: {drained}"
    );
    assert_eq!(state_of(&cluster, &from), "drained");
    let shown = wait_until(SOON, "the job runs elsewhere", || {
        let shown = job.look();
        (shown["state"] == "RUNNING" && workers(&shown) == [to]).then_some(shown)
    });
    assert_eq!(shown["restarts"], 1, "it moved once: {shown}");

    // The other worker's four slots are taken: a second job has to wait, though four are free here.
    let waiting = SequenceJob::new(cluster.home(), "waiting");
    let mut second = Job::submit(&cluster, &waiting.write());
    let explained = wait_until(SOON, "the second job waits for slots", || {
        let shown = second.look();
        let reason = shown["reason"].as_str().unwrap_or_default().to_owned();
        (shown["state"] == "CREATED" && reason.starts_with("not-enough-slots")).then_some(reason)
    });
    assert!(explained.contains("free 0"), "{explained}");
    let again = cluster.json(&["worker", "undrain", &from]);
    assert_eq!(again["drained"], false, "{again}");
    second.wait_for("RUNNING", SOON);
    assert_eq!(workers(&second.look()), [from.as_str()]);
    assert_eq!(state_of(&cluster, &from), "registered");

    let unknown = cluster.cli(&["worker", "drain", "tm-9"]);
    let reason = unknown.refused(2);
    assert!(
        reason.contains("tm-9") && reason.contains("tm-1, tm-2"),
        "{reason}"
    );
    for one in [&job, &second] {
        let stopped = cluster.json(&["job", "cancel", &one.id]);
        assert_eq!(stopped["state"], "CANCELED");
    }
    assert!(planned.assert_exact() > 0, "rows were committed");
}

//! What `checkpointing` promises: `min-pause` lies between the end of one checkpoint and the begin of the
//! next, and `tolerable-failed-checkpoints` is how many may fail in a row before the job restarts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::wait::wait_until;
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);

fn small() -> Cluster {
    Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    })
}

/// Numbers by key, so that there is state to write in a file of its own.
fn job_file(home: &Path, name: &str, checkpointing: &str, keys: u32) -> PathBuf {
    let text = format!(
        "name: {name}
checkpointing: {{ {checkpointing} }}
restart-strategy: {{ type: fixed-delay, attempts: 1, delay: 3s }}
vertices:
  - id: numbers
    source: sequence
    with: {{ keys: {keys}, rate: 20000 }}
  - id: counted
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ n: {{ count: \"*\" }} }} }}
  - id: out
    sink: blackhole
    inputs: [ counted ]
"
    );
    let file = home.join(format!("{name}.yaml"));
    fs::write(&file, text).expect("the job file can be written");
    file
}

#[test]
fn checkpoints_keep_their_pause() {
    let mut cluster = small();
    let settings = "interval: 10ms, min-pause: 400ms, num-retained: 20";
    let file = job_file(cluster.home(), "paused", settings, 10);
    let mut job = Job::submit(&cluster, &file);
    let listed = wait_until(WITHIN, "six checkpoints", || {
        job.look();
        let listed = cluster.json(&["checkpoint", "list", &job.id]);
        (listed.as_array()?.len() >= 6).then_some(listed)
    });
    let times: Vec<(u64, u64)> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            let ended = one["completed_at_ms"].as_u64().expect("a time");
            (
                ended - one["duration_ms"].as_u64().expect("a duration"),
                ended,
            )
        })
        .collect();
    for pair in times.windows(2) {
        let ((_, ended), (began, _)) = (pair[0], pair[1]);
        // Both are shown in whole milliseconds.
        assert!(
            began + 2 >= ended + 400,
            "{began} is too soon after {ended} in {times:?}"
        );
    }
    cluster.stop();
}

#[test]
fn tolerated_failures_cost_nothing_and_one_more_restarts_the_job() {
    let mut cluster = small();
    let settings = "interval: 100ms, tolerable-failed-checkpoints: 3";
    let file = job_file(cluster.home(), "tolerant", settings, 5_000);
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(WITHIN);
    let shown = job.look();
    let latest = shown["checkpoints"]["latest"]["path"]
        .as_str()
        .expect("a path");
    let of_run = Path::new(latest)
        .parent()
        .expect("the run's folder")
        .to_owned();
    // Nothing can be written there: the next checkpoints fail.
    let aside = of_run.with_extension("aside");
    fs::rename(&of_run, &aside).expect("moved");
    fs::write(&of_run, "in the way").expect("written");
    let failed = |shown: &Value| shown["checkpoints"]["failed"].as_u64().expect("a number");
    let before = failed(&shown);
    let shown = wait_until(WITHIN, "the restart", || {
        let shown = job.look();
        // The folder is needed again to restore from.
        if shown["state"] != "RUNNING" || shown["restarts"] != 0 {
            fs::remove_file(&of_run).ok();
            fs::rename(&aside, &of_run).ok();
        }
        (shown["restarts"] == 1 && shown["state"] == "RUNNING").then_some(shown)
    });
    assert!(failed(&shown) >= before + 4, "three are tolerated: {shown}");
    let cause = shown["failures"][0]["cause"].as_str().expect("a cause");
    assert!(cause.contains("checkpoint"), "{cause}");
    let completed = shown["checkpoints"]["completed"].as_u64();
    wait_until(WITHIN, "a checkpoint after the restart", || {
        (job.look()["checkpoints"]["completed"].as_u64() > completed).then_some(())
    });
    assert_eq!(job.seen().restarts, 1);
    cluster.stop();
}

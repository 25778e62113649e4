//! What people see of a job that runs: its figures in `job show`, in `--watch` over a dead leader, and in a
//! worker's metrics; its rows in `regent logs`.

use std::time::Duration;

use regent_chaos::cleanup::{page, written};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{regent, run};
use regent_chaos::jobs::Job;
use regent_chaos::wait::wait_until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// The figures of a vertex.
fn vertex(shown: &Value, id: &str) -> Value {
    let mut vertices = shown["vertices"].as_array().into_iter().flatten();
    let found = vertices.find(|vertex| vertex["id"] == id);
    found
        .unwrap_or_else(|| panic!("no vertex {id}: {shown}"))
        .clone()
}

/// A share of time, which is between none and all of it; none before it was told.
fn share(vertex: &Value, name: &str) -> f64 {
    let share = vertex[name].as_f64().unwrap_or(0.0);
    assert!((0.0..=1.0).contains(&share), "{name}: {vertex}");
    share
}

/// A source without a rate before work that is heavier than its own: it has to wait for room.
const FLOOD: &str = "name: flood
checkpointing: { interval: 300ms }
vertices:
  - { id: numbers, source: sequence, with: { keys: 100000 } }
  - id: per-minute
    operator: aggregate
    inputs: [ { from: numbers, partition: hash, by: [key] } ]
    with:
      group-by: [key]
      window: { tumbling: 1m, time: at }
      compute: { n: { count: '*' }, total: { sum: value }, mean: { avg: value } }
  - { id: out, sink: blackhole, inputs: [ per-minute ] }
";

#[test]
fn the_figures_of_a_running_job_say_where_its_time_goes() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let mut job = Job::submit(&cluster, &written(&cluster, "flood", FLOOD));
    let shown = wait_until(SOON, "figures of every kind", || {
        let shown = job.look();
        let (source, operator) = (vertex(&shown, "numbers"), vertex(&shown, "per-minute"));
        let waits = share(&source, "backpressured_ratio") > 0.0;
        let works = share(&operator, "busy_ratio") > 0.0;
        let timed = operator["watermark_ms"].is_i64();
        let stored = shown["checkpoints"]["latest"]["size_bytes"].as_u64() > Some(0);
        (waits && works && timed && stored).then_some(shown)
    });
    let (source, operator) = (vertex(&shown, "numbers"), vertex(&shown, "per-minute"));
    assert!(source["records_out"].as_u64() > Some(0), "{source}");
    assert!(source["bytes_out"].as_u64() > Some(0), "{source}");
    assert!(operator["records_in"].as_u64() > Some(0), "{operator}");
    let latest = &shown["checkpoints"]["latest"];
    assert!(latest["duration_ms"].is_u64(), "{latest}");

    let api = cluster.process("tm-1").api;
    let metrics = page(&api, "/metrics").expect("the worker's page");
    let labels = format!(
        "worker=\"tm-1\",job=\"{}\",vertex=\"numbers\",subtask=\"0\"",
        job.id
    );
    for name in [
        "records_out_total",
        "bytes_out_total",
        "busy_ratio",
        "backpressured_ratio",
    ] {
        let line = format!("regent_worker_task_{name}{{{labels}}} ");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    cluster.stop();
}

#[test]
fn watching_goes_on_over_a_dead_leader_until_the_job_has_ended() {
    let mut cluster = Cluster::start(Options::default());
    let text = "name: observed\ncheckpointing: { interval: 300ms }\nvertices:\n  \
                - { id: numbers, source: sequence, with: { end: 800, rate: 100 } }\n  \
                - { id: out, sink: print, inputs: [ numbers ] }\n";
    let mut job = Job::submit(&cluster, &written(&cluster, "observed", text));
    job.wait_for_checkpoint(SOON);
    let worker = job.look()["tasks"][0]["worker"].clone();
    let watching = cluster.cli_beside(&["job", "show", &job.id, "--watch"]);
    let leader = cluster.wait_for_leader();
    let killed = cluster.kill(&leader);
    assert_ne!(cluster.wait_for_new_pid(&leader, killed), killed);
    job.wait_for("FINISHED", SOON);
    let watched = watching.join().expect("it ends with the job");
    assert_eq!(watched.code, Some(0), "{watched}");
    let pictures: Vec<Value> = watched
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a document a line"))
        .collect();
    let last = pictures.last().expect("pictures");
    assert_eq!(last["state"], "FINISHED", "{last}");
    assert_eq!(last["adoptions"], 1, "{last}");
    assert!(pictures.len() > 2, "{} pictures", pictures.len());
    assert!(pictures.iter().all(|one| one["job_id"] == job.id.as_str()));

    let worker = worker.as_str().expect("a worker's name");
    let mut logs = regent(cluster.home());
    logs.arg("--dir").arg(cluster.dir()).args(["logs", worker]);
    let logs = run(logs, SOON).expect(0);
    let rows = logs.stdout.lines();
    let rows = rows.filter(|line| line.contains("observed/out/0>")).count();
    assert_eq!(
        rows, 800,
        "no task was restarted, so each row is there once"
    );
    cluster.stop();
}

//! SIGKILL on a worker while there are slots to spare: all tasks run again from the last checkpoint, and what the job
//! writes is exact. How long that took is measured and never asserted.

use std::time::Duration;

use nix::sys::signal::Signal;
use regent_chaos::client::Client;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::measure::{Samples, wall};
use regent_chaos::sequences::SequenceJob;
use regent_chaos::unharmed::assert_unharmed;
use regent_chaos::wait::{Phases, pause, wait_until};

const WITHIN: Duration = Duration::from_secs(60);
/// Beyond the job's `reset-backoff-threshold`: each loss is the first after a stable time.
const STABLE: Duration = Duration::from_millis(2_500);
const FAULT: &str = "worker killed, slots to spare";

#[test]
fn tasks_of_a_killed_worker_run_again_elsewhere() {
    let mut phases = Phases::of("worker_loss");
    let mut cluster = Cluster::start(Options::default());
    let client = Client::of(&cluster);
    let spec = SequenceJob::new(cluster.home(), "numbers");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", WITHIN);
    let mut again = Samples::default();
    let losses = u64::from(knobs::rounds(3, 20));
    for round in 1..=losses {
        cluster.wait_for_workers(2);
        let known = job.seen().checkpoints.last().copied();
        wait_until(WITHIN, "another checkpoint", || {
            job.look();
            job.seen()
                .checkpoints
                .last()
                .filter(|id| Some(**id) > known)
                .copied()
        });
        pause(STABLE);
        let took = one_loss(&cluster, &mut job, round);
        again.push(took);
        phases.done(&format!("round {round}: running again after {took:.1?}"));
    }
    assert_eq!(job.seen().restarts, losses, "{:?}", job.seen());
    let folder = cluster.home().join("savepoints").display().to_string();
    let _stopping = cluster.json(&["job", "stop", &job.id, "--savepoint-path", &folder]);
    job.wait_for("FINISHED", WITHIN);
    println!("worker_loss: {} rows, all exact", spec.assert_exact());
    cluster.wait_for_workers(2);
    assert_unharmed(&cluster, &client);
    again.report(FAULT, "all tasks running again");
    cluster.stop();
}

/// From the kill to the moment that the log has the next attempt as running.
fn one_loss(cluster: &Cluster, job: &mut Job<'_>, round: u64) -> Duration {
    let shown = job.look();
    let worker = shown["tasks"][0]["worker"]
        .as_str()
        .expect("a worker")
        .to_owned();
    let killed_at = wall();
    let pid = cluster.signal(&worker, Signal::SIGKILL);
    let running = wait_until(WITHIN, "an attempt that runs", || {
        job.look();
        if job.seen().restarts < round {
            return None;
        }
        let history = cluster.json(&["job", "history", &job.id]);
        let events = history.as_array()?.iter();
        let mut running = events.filter(|event| event["event"] == "running");
        let last = running.next_back()?;
        let at = Duration::from_millis(last["at_ms"].as_u64()?);
        (last["attempt"].as_u64()? == round + 1).then_some(at)
    });
    let shown = job.look();
    assert_eq!(shown["attempt"], round + 1, "{shown}");
    assert_blamed(&shown, &worker, pid);
    assert_ne!(cluster.wait_for_new_pid(&worker, pid), pid);
    running.saturating_sub(killed_at)
}

/// The last failure told is of the worker that was killed, not of the one that noticed.
fn assert_blamed(shown: &serde_json::Value, worker: &str, pid: u32) {
    let failures = shown["failures"].as_array().expect("failures");
    let last = failures.last().expect("a failure");
    assert_eq!(last["worker"], worker, "process {pid} was killed: {last}");
    let cause = last["cause"].as_str().expect("a cause");
    assert!(cause.starts_with(&format!("worker {worker}#")), "{cause}");
}

//! SIGKILL on a worker while there are slots to spare: all tasks run again from the last checkpoint, and what the job
//! writes is exact. How long that took is measured and never asserted. There the supervisor that started the worker
//! tells its death; of a worker that nobody looks after only the connections break, and its tasks run again all the same.

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
        job.wait_for_another_checkpoint(WITHIN);
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

/// Nobody tells its end: its connections break, and that is all.
#[test]
fn tasks_of_a_killed_worker_without_a_supervisor_run_again_elsewhere() {
    let mut phases = Phases::of("worker_loss_by_hand");
    let mut cluster = Cluster::start(Options {
        restart: "never",
        ..Options::default()
    });
    cluster.kill("tm-1");
    wait_until(WITHIN, "the loss of the worker that local started", || {
        (!is_registered(&cluster, "tm-1")).then_some(())
    });
    cluster.start_by_hand("tm-1");
    cluster.wait_for_workers(2);
    let spec = SequenceJob::new(cluster.home(), "numbers");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for_checkpoint(WITHIN);
    let shown = job.look();
    let tasks = shown["tasks"].as_array().expect("tasks");
    let held = tasks.iter().filter(|task| task["worker"] == "tm-1").count();
    assert!(held > 0, "the kill hits a worker with tasks: {shown}");
    phases.done("running, also on the worker without a supervisor");
    cluster.kill_by_hand();
    wait_until(WITHIN, "all tasks running elsewhere", || {
        let shown = job.look();
        let tasks = shown["tasks"].as_array()?;
        let elsewhere = tasks.iter().all(|task| task["worker"] == "tm-2");
        (job.seen().restarts == 1 && shown["state"] == "RUNNING" && elsewhere).then_some(())
    });
    job.assert_checkpoints_rise(WITHIN);
    phases.done("running again");
    let folder = cluster.home().join("savepoints").display().to_string();
    let _stopping = cluster.json(&["job", "stop", &job.id, "--savepoint-path", &folder]);
    job.wait_for("FINISHED", WITHIN);
    assert_eq!(job.seen().restarts, 1, "{:?}", job.seen());
    println!(
        "worker_loss_by_hand: {} rows, all exact",
        spec.assert_exact()
    );
    cluster.stop();
}

fn is_registered(cluster: &Cluster, name: &str) -> bool {
    let workers = cluster.json(&["worker", "list"]);
    let mut listed = workers.as_array().into_iter().flatten();
    listed.any(|one| one["worker"] == name && one["state"] == "registered")
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

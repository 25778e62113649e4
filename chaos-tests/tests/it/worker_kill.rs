//! SIGKILL on a TaskManager that runs tasks, whichever of them: the job starts again from its last checkpoint, its output
//! is exact, and the worker comes back with all of its slots.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::knobs;
use regent_chaos::reference::{Flight, flights};
use regent_chaos::wait::{Phases, pause, wait_until};
use serde_json::Value;

/// Rows per second: 27,004 flights last about 8 s.
const RATE: u32 = 3_400;

#[test]
fn a_worker_is_killed_at_random_moments() {
    let mut phases = Phases::of("worker_kill");
    let mut chance = knobs::chance("worker_kill");
    let flights = flights(&knobs::january());
    let mut cluster = Cluster::start(Options::default());
    phases.done("ready");
    for round in 1..=knobs::rounds(2, 20) {
        cluster.wait_for_workers(2);
        let moment = Duration::from_millis(chance.random_range(300..5_000));
        one_round(
            &cluster,
            &format!("round-{round}"),
            moment,
            &mut chance,
            &flights,
        );
        phases.done(&format!(
            "round {round}: worker killed {moment:?} after RUNNING"
        ));
    }
    slots_are_free_again(&cluster);
    cluster.stop();
    phases.done("stopped");
}

fn one_round(
    cluster: &Cluster,
    name: &str,
    moment: Duration,
    chance: &mut impl Rng,
    flights: &[Flight],
) {
    let mut spec = FlightsJob::new(cluster.home(), name, RATE);
    spec.retained = 1_000;
    let mut job = Job::submit(cluster, &spec.write());
    job.wait_for("RUNNING", Duration::from_secs(20));
    pause(moment);
    let shown = job.look();
    assert_eq!(
        shown["state"], "RUNNING",
        "the kill hits a running job: {shown}"
    );
    let worker = a_worker_of(&shown, chance);
    let killed = cluster.kill(&worker);
    wait_until(
        Duration::from_secs(20),
        "the attempt after the worker's death",
        || {
            job.look();
            (job.seen().restarts > 0).then_some(())
        },
    );
    let kept = job.assert_checkpoints_rise(Duration::from_secs(30));
    assert!(kept > 1, "neighbours to compare: {kept}");
    job.wait_for("FINISHED", Duration::from_secs(90));
    let seen = job.seen();
    println!(
        "{name}: {worker} killed; states {:?}, restarts {}, checkpoints {:?}, {kept} of them kept",
        seen.states, seen.restarts, seen.checkpoints
    );
    assert!(seen.checkpoints.len() > 1, "checkpoints went on: {seen:?}");
    assert_eq!(listed(cluster, &job.id), 1);
    assert_eq!(job.result()["output_complete"], true);
    spec.assert_exact(flights);
    assert_ne!(cluster.wait_for_new_pid(&worker, killed), killed);
}

/// Any of the workers that have tasks of the job.
fn a_worker_of(job: &Value, chance: &mut impl Rng) -> String {
    let tasks = job["tasks"].as_array().into_iter().flatten();
    let workers = tasks.filter_map(|task| task["worker"].as_str());
    let workers: BTreeSet<&str> = workers.collect();
    let one = workers.iter().choose(chance);
    one.expect("a running job has tasks on workers").to_string()
}

/// A worker that came back offers all of its slots, and nothing holds one any more.
fn slots_are_free_again(cluster: &Cluster) {
    cluster.wait_for_workers(2);
    wait_until(Duration::from_secs(20), "all slots free", || {
        let workers = cluster.json(&["worker", "list"]);
        let workers = workers.as_array()?;
        workers
            .iter()
            .all(|w| w["slots"] == 4 && w["free"] == 4 && w["tasks"] == 0)
            .then_some(())
    });
}

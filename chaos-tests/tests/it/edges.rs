//! Kills around a job's beginning and end: while it is submitted and deployed, at the end of its
//! input, in its last checkpoint, while its sinks commit and while it is cleaned up. Jobs here are
//! short, so that a random moment falls into one of those.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use regent_chaos::cleanup::stored;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::knobs;
use regent_chaos::output::hidden_files;
use regent_chaos::reference::{Flight, flights};
use regent_chaos::wait::{Phases, pause, wait_until};

/// From the submission; an unhurt job takes about a second.
const MOMENTS_MS: std::ops::Range<u64> = 0..1_500;

#[test]
fn the_leader_is_killed_around_beginning_and_end() {
    rounds("edges_leader", |cluster, chance| {
        pause(Duration::from_millis(chance.random_range(MOMENTS_MS)));
        let leader = cluster.wait_for_leader();
        cluster.kill(&leader);
        leader
    });
}

#[test]
fn a_worker_is_killed_around_beginning_and_end() {
    rounds("edges_worker", |cluster, chance| {
        let worker = format!("tm-{}", chance.random_range(1..=2));
        pause(Duration::from_millis(chance.random_range(MOMENTS_MS)));
        cluster.kill(&worker);
        worker
    });
}

#[test]
fn leader_and_worker_are_killed_together() {
    rounds("edges_both", |cluster, chance| {
        let worker = format!("tm-{}", chance.random_range(1..=2));
        pause(Duration::from_millis(chance.random_range(MOMENTS_MS)));
        let leader = cluster.wait_for_leader();
        cluster.kill(&leader);
        cluster.kill(&worker);
        format!("{leader} and {worker}")
    });
}

fn rounds(test: &'static str, mut hurt: impl FnMut(&Cluster, &mut StdRng) -> String) {
    let mut phases = Phases::of(test);
    let mut chance = knobs::chance(test);
    let flights = flights(&knobs::january());
    let mut cluster = Cluster::start(Options::default());
    phases.done("ready");
    for round in 1..=knobs::rounds(2, 20) {
        cluster.wait_until_caught_up(10);
        cluster.wait_for_workers(2);
        let spec = FlightsJob::new(cluster.home(), &format!("{test}-{round}"), 40_000);
        let mut job = Job::submit(&cluster, &spec.write());
        let hurt = hurt(&cluster, &mut chance);
        ends_exactly(&cluster, &mut job, &spec, &flights);
        let seen = job.seen();
        phases.done(&format!(
            "round {round}: {hurt} killed; states {:?}, adoptions {}, restarts {}",
            seen.states, seen.adoptions, seen.restarts
        ));
    }
    everything_is_cleaned(&cluster);
    cluster.stop();
}

fn ends_exactly(cluster: &Cluster, job: &mut Job<'_>, spec: &FlightsJob, flights: &[Flight]) {
    job.wait_for("FINISHED", Duration::from_secs(60));
    assert_eq!(listed(cluster, &job.id), 1);
    let result = job.result();
    assert_eq!(result["output_complete"], true, "{result}");
    spec.assert_exact(flights);
}

/// Every declared file of every job is gone in the end, whoever led while it was to be removed.
fn everything_is_cleaned(cluster: &Cluster) {
    wait_until(Duration::from_secs(60), "nothing is left to clean", || {
        let left = cluster.json(&["cleanup", "list"]);
        let done = |artefact: &serde_json::Value| artefact["state"] == "done";
        left.as_array()?.iter().all(done).then_some(())
    });
    let jobs = cluster.json(&["job", "list"]);
    for job in jobs.as_array().into_iter().flatten() {
        let id = job["job_id"].as_str().unwrap_or_default();
        assert_eq!(Job::of(cluster, id).result()["clean"], true, "{job}");
    }
    let checkpoints = stored(&cluster.dir().join("checkpoints"));
    assert!(
        checkpoints.is_empty(),
        "checkpoint files left: {checkpoints:?}"
    );
    let staged = hidden_files(&cluster.home().join("out"));
    assert!(staged.is_empty(), "staged files left: {staged:?}");
}

//! SIGKILL on the leader at random moments of a checkpointing job with exactly-once file sinks: the
//! output is exact each time, the job is adopted, and nothing runs backwards.

use std::time::Duration;

use rand::Rng;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::reference::{Flight, flights};
use regent_chaos::wait::{Phases, pause};
use regent_chaos::{knobs, signals};

/// Rows per second: 27,004 flights last about 8 s.
const RATE: u32 = 3_400;

#[test]
fn the_leader_is_killed_at_random_moments() {
    let mut phases = Phases::of("leader_kill");
    let mut chance = knobs::chance("leader_kill");
    let flights = flights(&knobs::january());
    let mut cluster = Cluster::start(Options::default());
    phases.done("ready");
    for round in 1..=knobs::rounds(3, 20) {
        cluster.wait_until_caught_up(10);
        let moment = Duration::from_millis(chance.random_range(0..5_000));
        one_round(&cluster, &format!("round-{round}"), moment, &flights);
        phases.done(&format!(
            "round {round}: leader killed {moment:?} after RUNNING"
        ));
    }
    let jobs = cluster.json(&["job", "list"]);
    assert_eq!(
        jobs.as_array().map(Vec::len),
        Some(knobs::rounds(3, 20) as usize),
        "{jobs}"
    );
    cluster.stop();
    phases.done("stopped");
}

fn one_round(cluster: &Cluster, name: &str, moment: Duration, flights: &[Flight]) {
    let mut spec = FlightsJob::new(cluster.home(), name, RATE);
    spec.retained = 1_000;
    let mut job = Job::submit(cluster, &spec.write());
    job.wait_for("RUNNING", Duration::from_secs(20));
    pause(moment);
    let leader = cluster.wait_for_leader();
    assert_eq!(job.state(), "RUNNING", "the kill hits a running job");
    let killed = cluster.kill(&leader);
    assert!(!signals::is_running(killed, "jobmanager"));
    assert_ne!(
        job.state(),
        "FINISHED",
        "the job outlived the leader that is gone"
    );
    let kept = job.assert_checkpoints_rise(Duration::from_secs(30));
    job.wait_for("FINISHED", Duration::from_secs(60));
    let seen = job.seen();
    println!(
        "{name}: {leader} killed; states {:?}, adoptions {}, restarts {}, checkpoints {:?}, {kept} of them kept",
        seen.states, seen.adoptions, seen.restarts, seen.checkpoints
    );
    assert!(seen.checkpoints.len() > 1, "checkpoints went on: {seen:?}");
    assert_eq!(seen.restarts, 0, "running tasks aren't restarted: {seen:?}");
    assert!(seen.adoptions >= 1, "the job was adopted: {seen:?}");
    assert_eq!(listed(cluster, &job.id), 1);
    assert!(kept > 1, "neighbours to compare: {kept}");
    let result = job.result();
    assert_eq!(result["output_complete"], true, "{result}");
    spec.assert_exact(flights);
    assert_ne!(cluster.wait_for_leader(), "", "somebody leads");
}

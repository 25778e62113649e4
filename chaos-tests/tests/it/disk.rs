//! A disk that hangs: a leader lets another replica lead, a follower changes nothing, and neither costs
//! the job a restart.

use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::failpoints::arm;
use regent_chaos::jobs::{FlightsJob, Job};
use regent_chaos::knobs;
use regent_chaos::reference::flights;
use regent_chaos::wait::{Phases, pause, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the next sync of this process's log hang.
fn hang(cluster: &Cluster, process: &str, millis: u64) {
    let order = format!("sleep {millis} in {process}.yaml");
    arm(cluster, "disk", "sync", &order).wait();
}

fn term(cluster: &Cluster) -> Value {
    cluster.json(&["leader", "show"])["leader"]["term"].clone()
}

#[test]
fn a_leader_whose_disk_hangs_gives_way_and_a_follower_does_not() {
    let mut phases = Phases::of("disk");
    let mut cluster = Cluster::start(Options {
        failpoints: true,
        ..Options::default()
    });
    let spec = FlightsJob::new(cluster.home(), "flights", 1_500);
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for_checkpoint(PATIENCE);
    let leader = cluster.wait_for_leader();
    let reign = term(&cluster);
    let others = cluster.manifest().names("jobmanager");
    let follower = others.iter().find(|name| **name != leader).expect("three");
    hang(&cluster, follower, 3_000);
    pause(Duration::from_secs(4));
    assert_eq!(term(&cluster), reign, "a follower's disk unseats nobody");
    phases.done("a follower's disk hung");

    cluster.wait_until_caught_up(10);
    let pid = cluster.process(&leader).pid;
    hang(&cluster, &leader, 8_000);
    let next = wait_until(Duration::from_secs(7), "another one leads", || {
        cluster.leader().filter(|name| *name != leader)
    });
    phases.done(&format!("{leader}'s disk hangs, {next} leads"));
    let history = cluster.json(&["leader", "history"]);
    let last = history.as_array().and_then(|reigns| reigns.last()).cloned();
    assert_eq!(last.expect("a reign")["cause"], "transfer", "{history}");
    job.wait_for("FINISHED", PATIENCE);
    let seen = job.seen();
    assert_eq!(seen.restarts, 0, "{seen:?}");
    assert!(seen.adoptions >= 1, "{seen:?}");
    spec.assert_exact(&flights(&knobs::january()));
    cluster.wait_until_caught_up(10);
    assert_eq!(
        cluster.process(&leader).pid,
        pid,
        "it went on as a follower"
    );
    cluster.stop();
    phases.done("finished, exact");
}

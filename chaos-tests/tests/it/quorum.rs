//! Fewer replicas than there should be: with one down everything works; with two down reads and writes
//! say so within their time; one started by hand and everything works again; and a cluster that was
//! stopped carries on with the same jobs.

use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::knobs;
use regent_chaos::reference::flights;
use regent_chaos::wait::{Phases, wait_until};

/// The commands' own time-out, and the second more that they are allowed.
const TIMEOUT: &str = "3s";
const WITHIN: Duration = Duration::from_secs(4);

#[test]
fn replicas_go_and_come() {
    let mut phases = Phases::of("quorum");
    let mut cluster = Cluster::start(Options {
        restart: "never",
        ..Options::default()
    });
    phases.done("ready");

    let names = cluster.manifest().names("jobmanager");
    let leader = cluster.wait_for_leader();
    let follower = names
        .iter()
        .find(|name| **name != leader)
        .expect("three replicas")
        .clone();
    cluster.kill(&follower);
    let spec = FlightsJob::new(cluster.home(), "one-down", 6_000);
    let mut first = Job::submit(&cluster, &spec.write());
    first.wait_for("FINISHED", Duration::from_secs(60));
    spec.assert_exact(&flights(&knobs::january()));
    let first = first.id;
    phases.done("a job with one replica down");

    cluster.kill(&leader);
    no_majority(&cluster);
    phases.done("two down");

    cluster.start_by_hand(&leader);
    wait_until(Duration::from_secs(20), "a leader", || cluster.leader());
    assert_eq!(listed(&cluster, &first), 1);
    let second = FlightsJob::new(cluster.home(), "after-two", 0);
    let mut job = Job::submit(&cluster, &second.write());
    job.wait_for("FINISHED", Duration::from_secs(60));
    let second = job.id;
    assert_eq!(cluster.process(&leader).state, "exited", "it isn't local's");
    phases.done("one started by hand");

    cluster.stop_by_hand();
    cluster.stop();
    cluster.start_again();
    cluster.wait_until_caught_up(10);
    assert_eq!(listed(&cluster, &first), 1);
    assert_eq!(listed(&cluster, &second), 1);
    assert_eq!(Job::of(&cluster, &first).state(), "FINISHED");
    cluster.stop();
    phases.done("started again on the same directory");
}

/// Reads and writes end with exit 4 in time; what asks each replica by itself still works.
fn no_majority(cluster: &Cluster) {
    let file = FlightsJob::new(cluster.home(), "nowhere", 0)
        .write()
        .display()
        .to_string();
    let commands: [&[&str]; 4] = [
        &["job", "list"],
        &["worker", "list"],
        &["cleanup", "list"],
        &["job", "submit", &file],
    ];
    for arguments in commands {
        let outcome = cluster.cli_within(arguments, TIMEOUT, WITHIN);
        outcome.refused(4);
    }
    let shown = cluster
        .cli_within(&["leader", "show"], TIMEOUT, WITHIN)
        .json();
    assert!(shown["leader"].is_null(), "{shown}");
    let replicas = shown["replicas"].as_array().map(Vec::len);
    assert_eq!(replicas, Some(3), "{shown}");
    let _status = cluster.cli_within(&["status"], TIMEOUT, WITHIN).json();
    let stale = cluster
        .cli_within(&["job", "list", "--stale"], TIMEOUT, WITHIN)
        .json();
    assert_eq!(stale.as_array().map(Vec::len), Some(1), "{stale}");
}

//! Fewer replicas than there should be: with one down everything works; with two down reads and writes
//! say so within their time, whether a leader or a follower is left; one started by hand and everything works again; and a cluster that was
//! stopped carries on with the same jobs.

use std::path::Path;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::Outcome;
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::knobs;
use regent_chaos::reference::flights;
use regent_chaos::wait::{Phases, wait_until};

/// The commands' own time-out, and the second more that they are allowed.
const TIMEOUT: &str = "3s";
const WITHIN: Duration = Duration::from_secs(4);
/// The same for many commands at once, whose programs have to be started beside each other.
const TOGETHER_WITHIN: Duration = Duration::from_secs(10);
/// How many at once.
const TOGETHER: usize = 12;

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
    let followers: Vec<&String> = names.iter().filter(|name| **name != leader).collect();
    cluster.kill(followers[0]);
    let spec = FlightsJob::new(cluster.home(), "one-down", 6_000);
    let mut first = Job::submit(&cluster, &spec.write());
    first.wait_for("FINISHED", Duration::from_secs(60));
    spec.assert_exact(&flights(&knobs::january()));
    let first = first.id;
    phases.done("a job with one replica down");

    cluster.kill(followers[1]);
    leader_alone(&cluster, &first, &spec.write());
    phases.done("the leader alone");

    cluster.kill(&leader);
    cluster.start_by_hand(followers[1]);
    no_majority(&cluster);
    phases.done("a follower alone");

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

/// Whatever reads or writes ends with exit 4, though the one that is left leads still, for all it knows. `done` is a job
/// that has ended, and `file` its job file, whose output is there already.
fn leader_alone(cluster: &Cluster, done: &str, file: &Path) {
    // By then no lease is left from when the others lived.
    let first = cluster.cli_within(&["job", "list"], TIMEOUT, WITHIN);
    first.refused(4);
    let file = file.display().to_string();
    let into = cluster.home().join("saved").display().to_string();
    let commands: Vec<Vec<&str>> = vec![
        vec!["job", "submit", &file],
        vec!["job", "submit", "--dry-run", &file],
        vec!["job", "show", done],
        vec!["job", "show", "no-such-job"],
        vec!["job", "result", done],
        vec!["job", "history", done],
        vec!["job", "cancel", done],
        vec!["job", "cancel", "no-such-job"],
        vec!["job", "stop", done, "--savepoint-path", &into],
        vec!["job", "savepoint", done],
        vec!["checkpoint", "list", done],
        vec!["checkpoint", "show", done, "1"],
        vec!["savepoint", "dispose", &into, "--yes"],
        vec!["worker", "list"],
        vec!["worker", "drain", "tm-1"],
        vec!["worker", "undrain", "tm-1"],
        vec!["cleanup", "list"],
        vec!["cleanup", "show", done],
        vec!["cleanup", "verify"],
        vec!["cleanup", "retry", done],
        vec!["cleanup", "forget", "1", "--yes"],
        vec!["leader", "transfer"],
        vec!["leader", "transfer", "--to", "1"],
        vec!["leader", "transfer", "--to", "2"],
        vec!["leader", "transfer", "--to", "3"],
        vec!["members", "plan"],
        vec!["members", "demote", "2", "--yes"],
        vec!["members", "remove", "2", "--yes"],
        vec!["log", "tail"],
        vec!["log", "show", "1"],
        vec!["state", "--at", "1"],
        vec!["snapshot", "save", &into],
    ];
    for some in commands.chunks(TOGETHER) {
        let run =
            |command: &Vec<&str>| cluster.cli_beside_within(command, TIMEOUT, TOGETHER_WITHIN);
        let running: Vec<_> = some.iter().map(run).collect();
        let ended = running.into_iter().map(|command| command.join());
        let outcomes: Vec<Outcome> = ended.map(|outcome| outcome.expect("it ended")).collect();
        for outcome in outcomes {
            outcome.refused(4);
        }
    }
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

//! Processes that are silent without being dead (SIGSTOP), and come back as if nothing had happened:
//! a leader that no longer leads, a worker whose lease is over. Neither may add or spoil a row, a file or the state.

use std::time::Duration;

use nix::sys::signal::Signal;
use regent_chaos::client::{Client, Figures};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job};
use regent_chaos::knobs;
use regent_chaos::reference::flights;
use regent_chaos::unharmed::assert_unharmed;
use regent_chaos::wait::{Phases, pause, wait_until};

/// A request that waited for the frozen leader alone would get no answer within this time.
const REQUEST_TIMEOUT: &str = "8s";
/// Longer than a worker's lease (10 s).
const BEYOND_THE_LEASE: Duration = Duration::from_secs(13);

#[test]
fn a_frozen_leader_comes_back_as_a_follower() {
    let mut phases = Phases::of("frozen_leader");
    let flights = flights(&knobs::january());
    let mut cluster = Cluster::start(Options::default());
    let client = Client::of(&cluster);
    for round in 1..=knobs::rounds(1, 10) {
        cluster.wait_until_caught_up(10);
        let spec = FlightsJob::new(cluster.home(), &format!("leader-{round}"), 3_400);
        let mut job = Job::submit(&cluster, &spec.write());
        job.wait_for("RUNNING", Duration::from_secs(20));
        let frozen = cluster.wait_for_leader();
        cluster.signal(&frozen, Signal::SIGSTOP);
        let next = wait_until(Duration::from_secs(20), "another leader", || {
            cluster.leader().filter(|leader| *leader != frozen)
        });
        phases.done(&format!("round {round}: {frozen} frozen, {next} leads"));
        pause(Duration::from_secs(1));
        cluster.signal(&frozen, Signal::SIGCONT);
        job.wait_for("FINISHED", Duration::from_secs(60));
        spec.assert_exact(&flights);
        let seen = job.seen();
        assert_eq!(seen.restarts, 0, "running tasks aren't restarted: {seen:?}");
        assert!(seen.adoptions >= 1, "the job was adopted: {seen:?}");
        assert!(seen.checkpoints.len() > 1, "checkpoints went on: {seen:?}");
        cluster.wait_until_caught_up(10);
        phases.done(&format!("round {round}: exact, {:?}", job.seen()));
    }
    assert_unharmed(&cluster, &client);
    cluster.stop();
}

#[test]
fn a_frozen_worker_wakes_up_without_a_lease() {
    let mut phases = Phases::of("frozen_worker");
    let flights = flights(&knobs::january());
    let mut cluster = Cluster::start(Options::default());
    let client = Client::of(&cluster);
    for round in 1..=knobs::rounds(1, 5) {
        cluster.wait_for_workers(2);
        let spec = FlightsJob::new(cluster.home(), &format!("worker-{round}"), 2_000);
        let mut job = Job::submit(&cluster, &spec.write());
        job.wait_for_checkpoint(Duration::from_secs(20));
        let shown = job.look();
        let worker = shown["tasks"][0]["worker"]
            .as_str()
            .expect("a worker")
            .to_owned();
        cluster.signal(&worker, Signal::SIGSTOP);
        pause(BEYOND_THE_LEASE);
        job.look();
        cluster.signal(&worker, Signal::SIGCONT);
        phases.done(&format!(
            "round {round}: {worker} frozen and thawed, {:?}",
            job.seen()
        ));
        job.wait_for("FINISHED", Duration::from_secs(90));
        assert!(
            job.seen().restarts >= 1,
            "its tasks were placed anew: {:?}",
            job.seen()
        );
        spec.assert_exact(&flights);
        let page = Figures::of(&cluster.process(&worker).api).expect("a page of figures");
        let lost = page.one("regent_worker_leases_lost_total", &[]);
        assert!(
            lost >= Some(1.0),
            "it stopped its tasks by itself: {lost:?}"
        );
        phases.done(&format!("round {round}: exact, {:?}", job.seen()));
    }
    cluster.wait_for_workers(2);
    assert_unharmed(&cluster, &client);
    cluster.stop();
}

/// Whoever is asked hands the request on to the leader, which was frozen a moment ago. Neither a read nor a
/// write may hang on it once another one leads.
#[test]
fn no_request_hangs_on_a_frozen_leader() {
    let mut phases = Phases::of("frozen_requests");
    let mut cluster = Cluster::start(Options::default());
    for round in 1..=knobs::rounds(2, 20) {
        cluster.wait_until_caught_up(10);
        let spec = FlightsJob::new(cluster.home(), &format!("request-{round}"), 60_000);
        let file = spec.write().display().to_string();
        let frozen = cluster.wait_for_leader();
        let mut others = cluster.manifest().names("jobmanager").into_iter();
        let follower = others.rfind(|name| *name != frozen);
        let endpoint = cluster.process(&follower.expect("three replicas")).api;
        cluster.signal(&frozen, Signal::SIGSTOP);
        let ask = |words: &[&str]| {
            let all = [&["--endpoints", &endpoint], words].concat();
            let limit = Duration::from_secs(10);
            cluster.cli_within(&all, REQUEST_TIMEOUT, limit).json()
        };
        let submitted = ask(&["job", "submit", &file]);
        phases.done(&format!("round {round}: submitted over {frozen}, frozen"));
        let id = submitted["job_id"].as_str().unwrap_or_default();
        assert_eq!(ask(&["job", "show", id])["job_id"], id);
        cluster.signal(&frozen, Signal::SIGCONT);
        Job::of(&cluster, id).wait_for("FINISHED", Duration::from_secs(60));
    }
    cluster.stop();
}

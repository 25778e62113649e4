//! A leader that is asked to go, by `leader transfer` or by SIGTERM, hands over first. Writes go on through every
//! replica all the while, also through the one that goes: each is accepted, and none is refused for long. The
//! longest wait of those through the others is measured and never asserted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regent_chaos::client::Client;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::finished_job;
use regent_chaos::knobs;
use regent_chaos::measure::Samples;
use regent_chaos::unharmed::assert_unharmed;
use regent_chaos::wait::{Phases, wait_until};

const WITHIN: Duration = Duration::from_secs(60);
/// A request's own limit: far beyond any handover, so that a lost one fails.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Writes that must have been accepted before and after each handover.
const WRITES_AROUND: usize = 20;

#[test]
fn writes_go_on_while_leadership_is_handed_over() {
    let mut phases = Phases::of("handover");
    let cluster = Cluster::start(Options::default());
    let (client, job) = (Client::of(&cluster), finished_job(&cluster));
    let (mut transferred, mut terminated) = (Waits::default(), Waits::default());
    for round in 1..=knobs::rounds(2, 20) {
        let by_transfer = |_: &str| {
            let moved = cluster.json(&["leader", "transfer"]);
            assert_ne!(moved["from"], moved["to"], "{moved}");
        };
        hand_over(&cluster, &client, &job, by_transfer, &mut transferred);
        let by_signal = |leader: &str| {
            let _pid = cluster.signal(leader, Signal::SIGTERM);
        };
        hand_over(&cluster, &client, &job, by_signal, &mut terminated);
        phases.done(&format!("round {round}"));
    }
    cluster.wait_until_caught_up(0);
    let causes = causes(&cluster);
    // A handover that a busy machine doesn't grant in time ends in an election, which is allowed.
    assert!(causes.iter().any(|cause| cause == "transfer"), "{causes:?}");
    transferred.report("leader handed over (leader transfer)");
    terminated.report("leader handed over (SIGTERM)");
    assert_unharmed(&cluster, &client);
}

/// The frozen one is what the leader would have picked: of equal logs, the one with the highest number. Naming it is
/// refused with the true cause, and leaves nothing behind: the next handover is made, past the frozen one.
#[test]
fn a_frozen_follower_is_not_handed_to() {
    let mut phases = Phases::of("handover_frozen");
    let cluster = Cluster::start(Options::default());
    let (client, job) = (Client::of(&cluster), finished_job(&cluster));
    cluster.wait_until_caught_up(0);
    let leader = cluster.wait_for_leader();
    let names = cluster.manifest().names("jobmanager");
    let frozen = names.iter().rfind(|name| **name != leader);
    let frozen = frozen.expect("three replicas");
    let number = client.status(frozen).expect("it answers").node_id;
    cluster.freeze(frozen);
    let outcome = cluster.cli(&["leader", "transfer", "--to", frozen]);
    let why = outcome.refused(5);
    assert!(why.contains("can't be reached"), "{outcome}");
    assert!(why.contains("regent leader transfer"), "{outcome}");
    phases.done("refused");

    let leader = cluster.wait_for_leader();
    let base = client.status(&leader).expect("it answers");
    let write = client.write(&leader, &job, &base, WRITE_WITHIN);
    let _accepted = write.accepted();
    let moved = cluster.json(&["leader", "transfer"]);
    assert_ne!(moved["to"], number, "{moved}");
    assert_ne!(moved["to"], moved["from"], "{moved}");
    phases.done("handed over past it");
    cluster.signal(frozen, Signal::SIGCONT);
    cluster.wait_until_caught_up(0);
    assert_unharmed(&cluster, &client);
}

/// Of each handover: the longest that one write took, and the usual.
#[derive(Default)]
struct Waits {
    longest: Samples,
    usual: Samples,
}

impl Waits {
    fn push(&mut self, mut waits: Vec<Duration>) {
        waits.sort();
        self.usual.push(waits[waits.len() / 2]);
        self.longest.push(*waits.last().expect("many writes"));
    }

    fn report(&self, fault: &str) {
        self.usual.report(fault, "a write beside it");
        self.longest.report(fault, "longest wait of a write");
    }
}

fn causes(cluster: &Cluster) -> Vec<String> {
    let history = cluster.json(&["leader", "history"]);
    let reigns = history.as_array().into_iter().flatten();
    reigns
        .filter_map(|reign| reign["cause"].as_str().map(str::to_owned))
        .collect()
}

/// Writes through all replicas while the leader is asked to go and another one leads. Measured are those through
/// the followers: a process that was told to end answers again only once it was started again.
fn hand_over(
    cluster: &Cluster,
    client: &Client,
    job: &str,
    ask: impl FnOnce(&str),
    measured: &mut Waits,
) {
    cluster.wait_until_caught_up(10);
    let leader = cluster.wait_for_leader();
    let names = cluster.manifest().names("jobmanager");
    let followers: Vec<&String> = names.iter().filter(|name| **name != leader).collect();
    let over = AtomicBool::new(false);
    let waits: Vec<Duration> = std::thread::scope(|scope| {
        let through_it = scope.spawn(|| write_until(client, &leader, job, &over));
        let writers: Vec<_> = followers
            .iter()
            .map(|name| scope.spawn(|| write_until(client, name, job, &over)))
            .collect();
        ask(&leader);
        wait_until(WITHIN, "another leader", || {
            followers.iter().find(|name| {
                let status = client.status(name);
                status.is_some_and(|status| status.role == "leader")
            })
        });
        over.store(true, Ordering::SeqCst);
        let accepted = through_it.join().expect("every write was accepted");
        assert!(accepted.len() >= WRITES_AROUND, "{}", accepted.len());
        let ended = writers.into_iter().map(|writer| writer.join());
        ended
            .flat_map(|waits| waits.expect("every write was accepted"))
            .collect()
    });
    measured.push(waits);
}

/// One write after the other, and some more once it is over; how long each took.
fn write_until(client: &Client, name: &str, job: &str, over: &AtomicBool) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut left = WRITES_AROUND;
    while left > 0 {
        if over.load(Ordering::SeqCst) {
            left -= 1;
        }
        let base = wait_until(WITHIN, "the replica answers", || client.status(name));
        let began = Instant::now();
        let accepted = client.write(name, job, &base, WRITE_WITHIN).accepted();
        waits.push(accepted.saturating_duration_since(began));
    }
    waits
}

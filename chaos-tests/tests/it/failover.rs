//! The leader dies, freezes, or is cut off from its peers: how long until the next write is accepted, and by which
//! steps. Every request that is sent through a survivor is answered with its result, though the survivor first hands
//! it to the leader that doesn't answer any more. Times are measured and never asserted.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use regent_chaos::client::{Client, Figures};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{Job, finished_job};
use regent_chaos::knobs;
use regent_chaos::measure::{Samples, wall};
use regent_chaos::proxy::Proxy;
use regent_chaos::sequences::SequenceJob;
use regent_chaos::unharmed::assert_unharmed;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);
/// A request's own limit: far beyond any election, so that one that hangs on the dead fails.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// A request that is answered so long after the next leader serves was waiting for the old one: a connection that
/// is dead without a word is noticed by its own pings after 5 to 10 s.
const HANGING: Duration = Duration::from_secs(3);
/// What a leader without a majority is given to accept a write.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Measured {
    detected: Samples,
    elected: Samples,
    announced: Samples,
    first: Samples,
    both: Samples,
}

impl Measured {
    fn report(&self, fault: &str) {
        self.detected.report(fault, "detected by the next leader");
        self.elected.report(fault, "elected");
        self.announced.report(fault, "announced");
        self.first.report(fault, "next write accepted");
        self.both
            .report(fault, "writes through both survivors accepted");
    }
}

#[test]
fn writes_go_on_after_a_leader_was_killed() {
    let mut phases = Phases::of("failover_killed");
    let mut cluster = Cluster::start(Options::default());
    let (client, job) = (Client::of(&cluster), finished_job(&cluster));
    let mut measured = Measured::default();
    for round in 1..=knobs::rounds(3, 20) {
        cluster.wait_until_caught_up(0);
        let kill = |leader: &str| {
            let _pid = cluster.signal(leader, Signal::SIGKILL);
        };
        strike(&cluster, &client, &job, kill, &mut measured);
        phases.done(&format!("round {round}"));
    }
    let reigns = cluster.json(&["leader", "history"]);
    let reigns = reigns.as_array().cloned().unwrap_or_default();
    assert!(reigns.len() > knobs::rounds(3, 20) as usize, "{reigns:?}");
    assert!(reigns.iter().all(tells_of_its_own_election), "{reigns:?}");
    cluster.wait_until_caught_up(0);
    // Whoever leads next had lost elections, or left them to others: that belongs to those, and not here.
    let moved = cluster.json(&["leader", "transfer"]);
    let reign = wait_until(WITHIN, "the reign after the transfer", || {
        let reigns = cluster.json(&["leader", "history"]);
        let mut reigns = reigns.as_array().cloned().into_iter().flatten();
        reigns.find(|reign| reign["term"] == moved["term"])
    });
    assert_eq!(reign["cause"], "transfer", "{reign}");
    assert!(tells_of_its_own_election(&reign), "{reign}");
    cluster.wait_until_caught_up(0);
    assert_unharmed(&cluster, &client);
    measured.report("leader killed");
    cluster.stop();
}

/// Somebody stood for the reign that fast failover made; where nobody had died there was nothing to do.
fn tells_of_its_own_election(reign: &Value) -> bool {
    let told = &reign["fast_failover"];
    let count = |what: &str| told[what].as_u64().expect("a number");
    let all = count("fired") + count("lost") + count("not_needed");
    match reign["cause"].as_str() {
        Some("failover") => count("fired") > 0,
        Some("bootstrap" | "transfer") => all == 0,
        // By the timer, after fast failover had come to nothing or hadn't been possible.
        _ => true,
    }
}

#[test]
fn no_request_hangs_on_a_frozen_leader() {
    let mut phases = Phases::of("failover_frozen");
    let mut cluster = Cluster::start(Options::default());
    let (client, job) = (Client::of(&cluster), finished_job(&cluster));
    let mut measured = Measured::default();
    for round in 1..=knobs::rounds(3, 10) {
        cluster.wait_until_caught_up(0);
        let freeze = |leader: &str| cluster.freeze(leader);
        let frozen = strike(&cluster, &client, &job, freeze, &mut measured);
        cluster.signal(&frozen, Signal::SIGCONT);
        phases.done(&format!("round {round}"));
    }
    cluster.wait_until_caught_up(0);
    assert_unharmed(&cluster, &client);
    measured.report("leader frozen");
    cluster.stop();
}

/// The leader still reaches workers and storage, and they it.
#[test]
fn a_leader_cut_off_from_its_peers_does_no_harm() {
    let mut phases = Phases::of("failover_cut_off");
    let proxy = Proxy::default();
    let cluster = Cluster::assemble(Options::default(), &proxy);
    let names = cluster.manifest().names("jobmanager");
    let (client, finished) = (Client::of(&cluster), finished_job(&cluster));
    let spec = SequenceJob::new(cluster.home(), "through-cuts");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", WITHIN);
    job.wait_for_checkpoint(WITHIN);
    let mut measured = Measured::default();
    for round in 1..=u64::from(knobs::rounds(3, 10)) {
        cluster.wait_until_caught_up(10);
        let cut = |leader: &str| proxy.isolate(leader, &names);
        let alone = strike(&cluster, &client, &finished, cut, &mut measured);
        let base = client.status(&alone).expect("clients reach it");
        let refused = client.write(&alone, &finished, &base, REFUSED_WITHIN);
        assert!(refused.outcome().is_err(), "{alone} has no majority");
        wait_until(WITHIN, "the job's adoption", || {
            job.look();
            (job.seen().adoptions >= round).then_some(())
        });
        let before = *job.seen().checkpoints.last().expect("there was one");
        wait_until(WITHIN, "a checkpoint under the new leader", || {
            job.look();
            job.seen()
                .checkpoints
                .last()
                .filter(|id| **id > before)
                .copied()
        });
        proxy.mend();
        phases.done(&format!("round {round}: {alone} was cut off"));
    }
    cluster.wait_until_caught_up(10);
    let seen = job.seen();
    assert_eq!((seen.restarts, seen.attempt), (0, 1), "{seen:?}");
    let folder = cluster.home().join("savepoints").display().to_string();
    let _stopping = cluster.json(&["job", "stop", &job.id, "--savepoint-path", &folder]);
    job.wait_for("FINISHED", WITHIN);
    println!("failover_cut_off: {} rows, all exact", spec.assert_exact());
    assert_unharmed(&cluster, &client);
    measured.report("leader cut off from its peers");
}

/// Hurts the leader, writes through both survivors at once, and takes the next leader's moments. The one that was hurt.
fn strike(
    cluster: &Cluster,
    client: &Client,
    job: &str,
    hurt: impl FnOnce(&str),
    measured: &mut Measured,
) -> String {
    let leader = cluster.wait_for_leader();
    let names = cluster.manifest().names("jobmanager");
    let survivors: Vec<String> = names.into_iter().filter(|name| *name != leader).collect();
    // Every survivor follows the one to be hurt, and is connected.
    let known = wait_until(WITHIN, "survivors that follow the leader", || {
        let statuses: Option<Vec<_>> = survivors.iter().map(|name| client.status(name)).collect();
        statuses.filter(|statuses| statuses.iter().all(|status| status.leader.is_some()))
    });
    let (began, wall_began) = (Instant::now(), wall());
    hurt(&leader);
    let writes: Vec<_> = survivors
        .iter()
        .map(|name| client.write(name, job, &known[0], WRITE_WITHIN))
        .collect();
    let mut accepted: Vec<Duration> = writes
        .into_iter()
        .map(|write| write.accepted().saturating_duration_since(began))
        .collect();
    accepted.sort();
    println!("{leader} hurt: writes accepted after {accepted:.1?}");
    let next = wait_until(WITHIN, "the next leader", || {
        survivors.iter().find(|name| {
            let status = client.status(name);
            status.is_some_and(|status| status.role == "leader")
        })
    });
    let after = client.status(next).expect("it answers");
    assert!(after.applied_index > known[0].applied_index, "{after:?}");
    let page = Figures::of(&cluster.process(next).api).expect("a page of figures");
    let step = |step: &str| {
        let label = format!("step=\"{step}\"");
        let at = page.one("regent_takeover_timestamp_seconds", &[&label]);
        let at = at.unwrap_or_else(|| panic!("{next}: when it was {step}"));
        Duration::from_secs_f64(at).saturating_sub(wall_began)
    };
    let (detected, elected, announced) = (step("detected"), step("elected"), step("announced"));
    println!(
        "{leader} → {next}: detected {detected:.1?}, elected {elected:.1?}, announced {announced:.1?}"
    );
    let slower = *accepted.last().expect("two survivors");
    assert!(
        slower < announced + HANGING,
        "a write was answered {slower:.1?} after the leader was hurt, and another one served after {announced:.1?}"
    );
    measured.detected.push(detected);
    measured.elected.push(elected);
    measured.announced.push(announced);
    measured.first.push(accepted[0]);
    measured.both.push(slower);
    leader
}

//! The same job id submitted ten times at once through different replicas while the leader is killed:
//! exactly one job.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{Outcome, regent, run};
use regent_chaos::jobs::{FlightsJob, Job, listed};
use regent_chaos::knobs;
use regent_chaos::reference::flights;
use regent_chaos::wait::{Phases, pause};

const SUBMISSIONS: usize = 10;

#[test]
fn one_id_submitted_ten_times_is_one_job() {
    let mut phases = Phases::of("same_id");
    let mut chance = knobs::chance("same_id");
    let mut cluster = Cluster::start(Options::default());
    let flights = flights(&knobs::january());
    phases.done("ready");
    for round in 1..=knobs::rounds(1, 10) {
        cluster.wait_until_caught_up(10);
        let spec = FlightsJob::new(cluster.home(), &format!("same-{round}"), 0);
        let id = format!("{:032x}", chance.random::<u128>());
        let moment = Duration::from_millis(chance.random_range(0..60));
        let fresh = submit_at_once(&cluster, &spec.write(), &id, moment);
        assert!(
            fresh <= 1,
            "{fresh} submissions say that they were the first"
        );
        assert_eq!(listed(&cluster, &id), 1);
        let jobs = cluster.json(&["job", "list"]);
        assert_eq!(
            jobs.as_array().map(Vec::len),
            Some(round as usize),
            "{jobs}"
        );
        Job::of(&cluster, &id).wait_for("FINISHED", Duration::from_secs(60));
        spec.assert_exact(&flights);
        phases.done(&format!(
            "round {round}: leader killed {moment:?} after the start"
        ));
    }
    cluster.stop();
}

/// How many submissions were answered as the first one.
fn submit_at_once(cluster: &Cluster, file: &Path, id: &str, moment: Duration) -> usize {
    let endpoints = cluster.manifest().endpoints;
    let leader = cluster.wait_for_leader();
    let home = cluster.home();
    std::thread::scope(|scope| {
        let submissions: Vec<_> = (0..SUBMISSIONS)
            .map(|turn| {
                let mut order = endpoints.clone();
                order.rotate_left(turn % endpoints.len());
                let order = order.join(",");
                scope.spawn(move || submit_until_known(home, &order, file, id))
            })
            .collect();
        pause(moment);
        cluster.kill(&leader);
        let answers = submissions
            .into_iter()
            .map(|s| s.join().expect("a submission ends"));
        answers.filter(|first| *first).count()
    })
}

/// Submits until it is answered; whether the answer is that of the first submission.
fn submit_until_known(folder: &Path, endpoints: &str, file: &Path, id: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut command = regent(folder);
        command.args(["--endpoints", endpoints, "-o", "json", "--timeout", "10s"]);
        command.args(["job", "submit", "--job-id", id]).arg(file);
        let outcome = run(command, Duration::from_secs(12));
        if outcome.code == Some(0) {
            let answer = outcome.json();
            assert_eq!(answer["job_id"], id, "{answer}");
            return answer["already"] == false;
        }
        retryable(&outcome, id);
        assert!(Instant::now() < deadline, "never answered: {outcome}");
    }
}

/// No leader, no majority, or an unknown outcome with the command to repeat.
fn retryable(outcome: &Outcome, id: &str) {
    match outcome.code {
        Some(code @ (3 | 4)) => {
            outcome.refused(code);
        }
        Some(6) => {
            let again = outcome.refused(6);
            assert!(
                again.contains(id) && again.contains("job submit"),
                "{outcome}"
            );
        }
        _ => panic!("{outcome}"),
    }
}

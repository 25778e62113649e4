//! SIGKILL on the leader while a job runs over two workers: the same attempt goes on under the next leader, kill after
//! kill, and what it writes is exact. Also while one of two sources has ended, while a savepoint is being taken, and
//! while the job is being cancelled. How long anything took is measured and never asserted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use regent_chaos::client::{Client, Figures};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{Outcome, regent, run};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::measure::{Samples, wall};
use regent_chaos::sequences::SequenceJob;
use regent_chaos::unharmed::assert_unharmed;
use regent_chaos::wait::{Phases, poll, wait_until};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);
/// A frozen worker is silent for the leader after 4 s, and then its tasks may be placed anew.
const PAUSE_UNNOTICED: Duration = Duration::from_secs(2);
const FAULT: &str = "leader killed under a job";

/// Two workers whose slots are just enough for a job of four.
fn two_full_workers() -> Options {
    Options {
        slots: 2,
        ..Options::default()
    }
}

#[derive(Default)]
struct Measured {
    undisturbed: Samples,
    gap: Samples,
    adopted: Samples,
    checkpoint: Samples,
}

#[test]
fn one_attempt_outlives_every_leader() {
    let mut phases = Phases::of("takeover");
    let mut cluster = Cluster::start(two_full_workers());
    let client = Client::of(&cluster);
    let spec = SequenceJob::new(cluster.home(), "numbers");
    let mut job = running(&cluster, &spec);
    let mut measured = Measured::default();
    let reigns_before = reigns(&cluster).len();
    let kills = knobs::rounds(3, 20);
    for round in 1..=kills {
        cluster.wait_until_caught_up(10);
        one_kill(&cluster, &mut job, &mut measured);
        phases.done(&format!("round {round}"));
    }
    let last = job.look();
    assert_eq!(last["attempt"], 1, "{last}");
    assert_eq!(last["restarts"], 0, "{last}");
    assert_told(&cluster, &last, reigns_before, kills as usize);
    stop(&cluster, &mut job);
    println!("takeover: {} rows, all exact", spec.assert_exact());
    assert_unharmed(&cluster, &client);
    measured.undisturbed.report(
        "none",
        "largest wait between two batches at a sink task, in about 2 s",
    );
    measured
        .gap
        .report(FAULT, "largest wait between two batches at a sink task");
    measured.adopted.report(FAULT, "job adopted");
    measured
        .checkpoint
        .report(FAULT, "next checkpoint completed (interval 500 ms)");
    cluster.stop();
}

/// The job's document, its history and the leaders' all tell of every takeover. A machine that is too busy for
/// heartbeats may see more of them than leaders were killed; each must have kept the attempt.
fn assert_told(cluster: &Cluster, shown: &Value, reigns_before: usize, kills: usize) {
    let reigns = reigns(cluster);
    let takeovers = reigns.len() - reigns_before;
    let adoptions = usize::try_from(shown["adoptions"].as_u64().expect("a number")).expect("few");
    assert!(adoptions >= kills, "{shown}");
    if takeovers == kills {
        assert_eq!(adoptions, kills, "{shown}");
    }
    let adopted = |reign: &Value| reign["jobs_adopted"].as_u64().unwrap_or(0);
    let told: u64 = reigns.iter().map(adopted).sum();
    assert_eq!(told as usize, adoptions, "{reigns:?}");
    let id = shown["job_id"].as_str().expect("an id");
    assert_eq!(events(cluster, id, "adopted").len(), adoptions);
}

fn reigns(cluster: &Cluster) -> Vec<Value> {
    let told = cluster.json(&["leader", "history"]);
    told.as_array().cloned().expect("an array")
}

fn one_kill(cluster: &Cluster, job: &mut Job<'_>, measured: &mut Measured) {
    let leader = cluster.wait_for_leader();
    let calm = Watch::begin(cluster);
    measured.undisturbed.push(calm.largest_wait(false));
    job.look();
    let before = job.seen().adoptions;
    let watch = Watch::begin(cluster);
    let killed_at = wall();
    cluster.signal(&leader, Signal::SIGKILL);
    let gap = watch.largest_wait(true);
    wait_until(WITHIN, "the job's adoption", || {
        job.look();
        (job.seen().adoptions > before).then_some(())
    });
    let next = wait_until(WITHIN, "a checkpoint under the new leader", || {
        first_after(&cluster.json(&["checkpoint", "list", &job.id]), killed_at)
    });
    let adopted = *events(cluster, &job.id, "adopted").last().expect("it was");
    let adopted = adopted.saturating_sub(killed_at);
    println!("{leader} killed: wait {gap:.1?}, adopted {adopted:.1?}, next checkpoint {next:.1?}");
    measured.gap.push(gap);
    measured.adopted.push(adopted);
    measured.checkpoint.push(next);
    assert_eq!(job.state(), "RUNNING");
}

#[test]
fn a_source_that_has_ended_stays_ended() {
    let mut phases = Phases::of("takeover_ended_source");
    let mut cluster = Cluster::start(two_full_workers());
    let client = Client::of(&cluster);
    for round in 1..=knobs::rounds(1, 3) {
        cluster.wait_until_caught_up(10);
        let mut spec = SequenceJob::new(cluster.home(), &format!("two-sources-{round}"));
        (spec.rows, spec.early_rows) = (Some(30_000), 5_000);
        let mut job = running(&cluster, &spec);
        wait_until(WITHIN, "the end of the early source", || {
            let shown = job.look();
            let tasks = shown["tasks"].as_array()?.clone();
            let mut early = tasks.iter().filter(|task| task["vertex"] == "early");
            (!tasks.is_empty() && early.all(|task| task["state"] == "finished")).then_some(())
        });
        kill_leader(&cluster);
        job.wait_for("FINISHED", Duration::from_secs(120));
        assert_adopted(&job);
        assert_eq!(job.result()["output_complete"], true);
        phases.done(&format!("round {round}: {} rows", spec.assert_exact()));
    }
    assert_unharmed(&cluster, &client);
    cluster.stop();
}

#[test]
fn a_savepoint_that_was_being_taken_is_taken() {
    let mut phases = Phases::of("takeover_savepoint");
    let mut cluster = Cluster::start(two_full_workers());
    let client = Client::of(&cluster);
    for round in 1..=knobs::rounds(1, 3) {
        cluster.wait_until_caught_up(10);
        let spec = SequenceJob::new(cluster.home(), &format!("savepoint-{round}"));
        let mut job = running(&cluster, &spec);
        // With one of its workers frozen the savepoint can't be completed before the leader dies.
        let frozen_at = wall();
        cluster.freeze("tm-2");
        let folder = cluster.home().join("savepoints").display().to_string();
        let asked = beside(&cluster, &["job", "savepoint", &job.id, &folder]);
        wait_until(WITHIN, "a savepoint under way", || {
            let artefacts = cluster.json(&["cleanup", "show", &job.id]);
            let mut artefacts = artefacts.as_array()?.iter();
            let begun = artefacts.any(|artefact| {
                let path = artefact["path"].as_str().unwrap_or_default();
                path.contains("/savepoint-") && artefact["state"] == "live"
            });
            begun.then_some(())
        });
        kill_leader(&cluster);
        cluster.signal("tm-2", Signal::SIGCONT);
        let frozen = wall() - frozen_at;
        let taken = asked.join().expect("the command ends").json();
        let path = PathBuf::from(taken["path"].as_str().unwrap_or_default());
        assert!(path.join("_metadata").is_file(), "{taken}");
        job.look();
        if frozen < PAUSE_UNNOTICED {
            assert_adopted(&job);
        }
        stop(&cluster, &mut job);
        let rows = spec.assert_exact();
        phases.done(&format!("round {round}: frozen {frozen:.1?}, {rows} rows"));
    }
    assert_unharmed(&cluster, &client);
    cluster.stop();
}

#[test]
fn a_cancel_that_was_under_way_is_carried_on() {
    let mut phases = Phases::of("takeover_cancel");
    let mut cluster = Cluster::start(two_full_workers());
    let client = Client::of(&cluster);
    for round in 1..=knobs::rounds(1, 3) {
        cluster.wait_until_caught_up(10);
        let spec = SequenceJob::new(cluster.home(), &format!("cancel-{round}"));
        let mut job = running(&cluster, &spec);
        // With one of its workers frozen the cancel can't be done before the leader dies.
        cluster.freeze("tm-2");
        let asked = beside(&cluster, &["job", "cancel", &job.id]);
        wait_until(WITHIN, "a cancel under way", || {
            (job.state() == "CANCELLING").then_some(())
        });
        kill_leader(&cluster);
        cluster.signal("tm-2", Signal::SIGCONT);
        let canceled = asked.join().expect("the command ends").json();
        assert_eq!(canceled["state"], "CANCELED", "{canceled}");
        job.wait_for("CANCELED", WITHIN);
        assert!(
            events(&cluster, &job.id, "adopted").is_empty(),
            "nothing to adopt"
        );
        wait_until(WITHIN, "all output of the canceled job", || {
            (job.result()["output_complete"] == true).then_some(())
        });
        let rows = spec.assert_exact();
        assert!(rows > 0, "checkpoints had been completed");
        phases.done(&format!("round {round}: {rows} rows"));
    }
    assert_unharmed(&cluster, &client);
    cluster.stop();
}

/// The job, running on both workers, with a completed checkpoint.
fn running<'a>(cluster: &'a Cluster, spec: &SequenceJob) -> Job<'a> {
    cluster.wait_for_workers(2);
    let mut job = Job::submit(cluster, &spec.write());
    job.wait_for("RUNNING", WITHIN);
    job.wait_for_checkpoint(WITHIN);
    let shown = job.look();
    for worker in ["tm-1", "tm-2"] {
        let mut tasks = shown["tasks"].as_array().into_iter().flatten();
        assert!(tasks.any(|task| task["worker"] == worker), "{shown}");
    }
    job
}

fn assert_adopted(job: &Job<'_>) {
    let seen = job.seen();
    assert!(seen.adoptions >= 1, "{seen:?}");
    assert_eq!(seen.restarts, 0, "{seen:?}");
}

fn kill_leader(cluster: &Cluster) {
    let leader = cluster.wait_for_leader();
    cluster.signal(&leader, Signal::SIGKILL);
}

/// Ends an unbounded job with everything committed.
fn stop(cluster: &Cluster, job: &mut Job<'_>) {
    let folder = cluster.home().join("savepoints").display().to_string();
    let _stopping = cluster.json(&["job", "stop", &job.id, "--savepoint-path", &folder]);
    job.wait_for("FINISHED", WITHIN);
    assert_eq!(job.result()["output_complete"], true);
}

/// A command that is answered only after something else has happened.
fn beside(cluster: &Cluster, arguments: &[&str]) -> JoinHandle<Outcome> {
    let mut command = regent(cluster.home());
    command.arg("--dir").arg(cluster.dir());
    command
        .args(["-o", "json", "--timeout", "60s"])
        .args(arguments);
    std::thread::spawn(move || run(command, Duration::from_secs(62)))
}

/// Wall times of a job's events of this kind.
fn events(cluster: &Cluster, job: &str, kind: &str) -> Vec<Duration> {
    let history = cluster.json(&["job", "history", job]);
    let events = history.as_array().into_iter().flatten();
    let of_kind = events.filter(|event| event["event"] == kind);
    of_kind
        .map(|event| Duration::from_millis(event["at_ms"].as_u64().expect("a time")))
        .collect()
}

/// How long after that moment the first checkpoint since was completed.
fn first_after(checkpoints: &Value, moment: Duration) -> Option<Duration> {
    let times = checkpoints.as_array()?.iter();
    let times = times.filter_map(|one| one["completed_at_ms"].as_u64().map(Duration::from_millis));
    times.filter_map(|at| at.checked_sub(moment)).min()
}

/// Looks at what workers measured at the tasks of the sink: each tells with a heartbeat the longest wait between two
/// batches since the heartbeat before, to the microsecond. What was told before the watch began doesn't count; what is
/// told next may reach back a heartbeat.
struct Watch {
    workers: Vec<Watched>,
}

struct Watched {
    address: String,
    registrations: f64,
    /// What it had told when the watch began.
    old: BTreeMap<String, f64>,
    /// Heartbeats answered when it was seen in its new session.
    beats: Option<f64>,
}

impl Watch {
    fn begin(cluster: &Cluster) -> Self {
        let processes = cluster.manifest().processes.into_iter();
        let workers = processes.filter(|process| process.role == "taskmanager");
        let watched = |address: String| {
            let page = Figures::of(&address).expect("a page of figures");
            let registrations = page.one("regent_worker_registrations_total", &[]);
            Watched {
                address,
                registrations: registrations.expect("how often it registered"),
                old: told(&page)
                    .map(|(task, wait)| (task.to_owned(), wait))
                    .collect(),
                beats: None,
            }
        };
        Self {
            workers: workers.map(|process| watched(process.api)).collect(),
        }
    }

    /// Until every worker has told of two more heartbeats; with `anew`, in a session begun since.
    fn largest_wait(mut self, anew: bool) -> Duration {
        let mut largest: f64 = 0.0;
        let all_told = poll(WITHIN, || {
            let mut all = true;
            for worker in &mut self.workers {
                let Some(page) = Figures::of(&worker.address) else {
                    all = false;
                    continue;
                };
                let old = &worker.old;
                let news = told(&page).filter(|(task, wait)| old.get(*task) != Some(wait));
                largest = news.map(|(_, wait)| wait).fold(largest, f64::max);
                let registrations = page.one("regent_worker_registrations_total", &[])?;
                let beats = page.one("regent_worker_heartbeats_answered_total", &[])?;
                if !anew || registrations > worker.registrations {
                    worker.beats.get_or_insert(beats);
                }
                all &= worker.beats.is_some_and(|first| beats >= first + 2.0);
            }
            all.then_some(())
        });
        assert!(all_told.is_some(), "no heartbeats are answered");
        Duration::from_secs_f64(largest)
    }
}

/// The longest wait of each task of the sink, as the worker told it last.
fn told(page: &Figures) -> impl Iterator<Item = (&str, f64)> {
    page.series("regent_worker_task_input_gap_seconds", &["vertex=\"out\""])
}

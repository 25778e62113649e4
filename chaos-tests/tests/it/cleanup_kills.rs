//! The leader is killed at every named step of the cleanup of a job with twenty artefacts, then up to twenty
//! times in a row; and the same at every step of a subsumption, and when sweeps are recorded. It always ends
//! clean, nothing that was listed remains, the result doesn't change, and the job never runs again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use regent_chaos::cleanup::{
    assert_verified, counting, listed, stored, undone, wait_for_clean, wait_for_rest, written,
};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::failpoints::{arm, moments};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);
const ARTEFACTS: usize = 20;
/// Outcomes that one entry may record: after a kill there the ledger is done with as many, and the next steps of
/// a row need more.
const RECORDED_MAX: usize = 64;

/// A running job that has this many checkpoints, all of which go when it is cancelled.
fn laden<'a>(cluster: &'a Cluster, name: &str, artefacts: usize) -> Job<'a> {
    let checkpointing = format!("interval: 50ms, num-retained: {artefacts}");
    let restart = "type: fixed-delay, attempts: 1000, delay: 100ms";
    let text = counting(name, 100, &checkpointing, restart, "");
    let job = Job::submit(cluster, &written(cluster, name, &text));
    wait_until(SOON, "its checkpoints", || {
        (job.checkpoint_ids().len() >= artefacts).then_some(())
    });
    job
}

/// A course and one of its moments.
type Step = (&'static str, &'static str);

fn artefacts(cluster: &Cluster, job: &str) -> Vec<PathBuf> {
    let shown = cluster.json(&["cleanup", "show", job]);
    let shown = shown.as_array().cloned().unwrap_or_default();
    shown
        .iter()
        .filter_map(|one| one["path"].as_str().map(PathBuf::from))
        .collect()
}

/// What must not change once a job has ended.
fn fixed(result: &Value) -> [Value; 4] {
    ["state", "cause", "started_at_ms", "ended_at_ms"].map(|field| result[field].clone())
}

/// Has whoever leads killed at these steps, one after the other, of what is begun once the first are given.
fn killed_in_a_row<T>(cluster: &Cluster, steps: &[Step], begin: impl FnOnce() -> T) -> T {
    // The one after next is given before the next is carried out: a leader may be done within milliseconds.
    let give = |(course, moment): &Step| arm(cluster, course, moment, "kill");
    let mut armed: VecDeque<_> = steps.iter().take(2).map(give).collect();
    let begun = begin();
    let mut further = steps.iter().skip(2);
    while let Some(next) = armed.pop_front() {
        next.wait();
        armed.extend(further.next().map(give));
    }
    begun
}

/// Cancels it, has the leader killed at these moments of the cleanup, one after the other, and checks what
/// is left.
fn killed_while_cleaned(cluster: &Cluster, name: &str, moments: &[&'static str]) {
    let recorded = moments.iter().filter(|moment| **moment == "recorded");
    let wanted = ARTEFACTS + RECORDED_MAX * recorded.count();
    let job = laden(cluster, name, wanted);
    cluster.wait_until_caught_up(50);
    let before = artefacts(cluster, &job.id);
    assert!(before.len() >= wanted, "{before:?}");
    let attempt = cluster.json(&["job", "show", &job.id])["attempt"].clone();
    let steps: Vec<_> = moments.iter().map(|moment| ("cleanup", *moment)).collect();
    let cancelled = killed_in_a_row(cluster, &steps, || {
        cluster.cli_beside(&["job", "cancel", &job.id])
    });
    let cancelled = cancelled.join().expect("the command ended").json();
    assert_eq!(cancelled["state"], "CANCELED", "{cancelled}");
    let ended = fixed(&job.result());
    wait_for_clean(cluster, &job.id, SOON);
    let left: Vec<_> = before.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "listed, and still there: {left:?}");
    assert_eq!(undone(cluster), [] as [Value; 0]);
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    assert_eq!(fixed(&job.result()), ended, "the result is what it was");
    let shown = cluster.json(&["job", "show", &job.id]);
    assert_eq!(
        (&shown["state"], &shown["attempt"]),
        (&"CANCELED".into(), &attempt),
        "{shown}"
    );
    assert_verified(cluster);
}

/// How many kills there are in a row.
fn rows(short: usize) -> Vec<usize> {
    match knobs::soak() {
        true => (2..=20).collect(),
        false => vec![short],
    }
}

#[test]
fn the_leader_is_killed_at_every_step_of_a_cleanup() {
    let mut phases = Phases::of("cleanup_kills");
    let mut cluster = Cluster::start(Options {
        failpoints: true,
        ..Options::default()
    });
    for round in 1..=knobs::rounds(1, 3) {
        for moment in moments("cleanup") {
            killed_while_cleaned(&cluster, &format!("{moment}-{round}"), &[moment]);
            phases.done(&format!("round {round}: killed when {moment}"));
        }
    }
    // The last ones meet a ledger of which a part is recorded.
    for kills in rows(moments("cleanup").len() + 1) {
        let all = moments("cleanup").iter().cycle();
        let in_a_row: Vec<&'static str> = all.take(kills).copied().collect();
        killed_while_cleaned(&cluster, &format!("row-{kills}"), &in_a_row);
        phases.done(&format!("{kills} kills in a row"));
    }
    cluster.stop();
}

#[test]
fn the_leader_is_killed_at_every_step_of_a_subsumption() {
    let mut phases = Phases::of("subsumption_kills");
    let mut cluster = Cluster::start(Options {
        failpoints: true,
        ..Options::default()
    });
    let restart = "type: fixed-delay, attempts: 1000, delay: 100ms";
    let text = counting("evicting", 100, "interval: 200ms", restart, "");
    let mut job = Job::submit(&cluster, &written(&cluster, "evicting", &text));
    let id = job.id.clone();
    let steps = ["acknowledged", "written", "completed"].map(|moment| ("checkpoint", moment));
    let steps: Vec<Step> = steps
        .into_iter()
        .chain(moments("cleanup").iter().map(|moment| ("cleanup", *moment)))
        .collect();
    for round in 1..=knobs::rounds(1, 20) {
        for (course, moment) in &steps {
            killed_while_subsumed(&cluster, &mut job, &[(*course, *moment)]);
            phases.done(&format!("round {round}: killed at {course}.{moment}"));
        }
    }
    for kills in rows(steps.len() - 2) {
        // From the completion on, so that a short row meets what is half recorded too.
        let in_a_row: Vec<Step> = steps.iter().cycle().skip(2).take(kills).copied().collect();
        killed_while_subsumed(&cluster, &mut job, &in_a_row);
        phases.done(&format!("{kills} kills in a row"));
    }
    assert_eq!(job.seen().restarts, 0, "{:?}", job.seen());
    // The kills aborted checkpoints: half a minute later their directories are swept, once the attempt is over for
    // the last time.
    let moments = if knobs::soak() { moments("sweep") } else { &[] };
    let sweeps: Vec<Step> = moments.iter().map(|one| ("sweep", *one)).collect();
    let cancelled = killed_in_a_row(&cluster, &sweeps, || {
        cluster.cli_beside(&["job", "cancel", &id])
    });
    let cancelled = cancelled.join().expect("the command ended").json();
    assert_eq!(cancelled["state"], "CANCELED", "{cancelled}");
    wait_for_clean(&cluster, &id, SOON);
    if knobs::soak() {
        wait_for_rest(&cluster, SOON);
        phases.done("killed while sweeps were recorded");
    }
    assert_verified(&cluster);
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    cluster.stop();
}

/// Has leaders killed at these steps while checkpoints replace each other, and sees what was replaced go.
fn killed_while_subsumed(cluster: &Cluster, job: &mut Job<'_>, steps: &[Step]) {
    job.wait_for_checkpoint(SOON);
    cluster.wait_until_caught_up(50);
    let shown = job.look();
    let evicted = shown["checkpoints"]["latest"]["path"]
        .as_str()
        .map(PathBuf::from);
    let evicted = evicted.expect("a path");
    killed_in_a_row(cluster, steps, || ());
    let seen = job.seen().checkpoints.len();
    wait_until(
        SOON,
        "the evicted one is gone, and checkpoints go on",
        || {
            job.look();
            let on = job.seen().checkpoints.len() > seen + 1;
            (on && !evicted.exists() && listed(cluster, &evicted).is_none()).then_some(())
        },
    );
    assert_verified(cluster);
}

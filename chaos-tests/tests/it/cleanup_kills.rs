//! The leader is killed at every named step of the cleanup of a job with twenty artefacts, then up to twenty
//! times in a row; and at every step of a subsumption. It always ends clean, nothing that was listed
//! remains, the result doesn't change, and the job never runs again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use regent_chaos::cleanup::{
    assert_verified, counting, listed, stored, undone, wait_for_clean, written,
};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::failpoints::{arm, moments};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);
const ARTEFACTS: usize = 20;

/// A running job that has this many checkpoints, all of which go when it is cancelled.
fn laden<'a>(cluster: &'a Cluster, name: &str) -> Job<'a> {
    let checkpointing = format!("interval: 50ms, num-retained: {ARTEFACTS}");
    let restart = "type: fixed-delay, attempts: 1000, delay: 100ms";
    let text = counting(name, 100, &checkpointing, restart, "");
    let job = Job::submit(cluster, &written(cluster, name, &text));
    wait_until(SOON, "twenty checkpoints", || {
        (job.checkpoint_ids().len() >= ARTEFACTS).then_some(())
    });
    job
}

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

/// Cancels it, has the leader killed at these moments of the cleanup, one after the other, and checks what
/// is left.
fn killed_while_cleaned(cluster: &Cluster, name: &str, moments: &[&str]) {
    let job = laden(cluster, name);
    cluster.wait_until_caught_up(50);
    let before = artefacts(cluster, &job.id);
    assert!(before.len() >= ARTEFACTS, "{before:?}");
    let attempt = cluster.json(&["job", "show", &job.id])["attempt"].clone();
    // The one after next is given before the next is carried out: a leader may be done within milliseconds.
    let give = |moment: &&str| arm(cluster, "cleanup", moment, "kill");
    let mut armed: VecDeque<_> = moments.iter().take(2).map(give).collect();
    let cancelled = cluster.cli_beside(&["job", "cancel", &job.id]);
    let mut further = moments.iter().skip(2);
    while let Some(next) = armed.pop_front() {
        next.wait();
        armed.extend(further.next().map(give));
    }
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
    // Until an outcome is recorded the next leader begins anew: as many kills as one likes.
    let counts: Vec<usize> = if knobs::soak() {
        (2..=20).collect()
    } else {
        vec![4]
    };
    for kills in counts {
        let in_a_row: Vec<&str> = (0..kills)
            .map(|n| if n % 2 == 0 { "picked" } else { "deleted" })
            .collect();
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
    let steps: Vec<_> = steps
        .into_iter()
        .chain(moments("cleanup").iter().map(|moment| ("cleanup", *moment)))
        .collect();
    for round in 1..=knobs::rounds(1, 20) {
        for (course, moment) in &steps {
            job.wait_for_checkpoint(SOON);
            cluster.wait_until_caught_up(50);
            let shown = job.look();
            let evicted = shown["checkpoints"]["latest"]["path"]
                .as_str()
                .map(PathBuf::from);
            let evicted = evicted.expect("a path");
            arm(&cluster, course, moment, "kill").wait();
            let seen = job.seen().checkpoints.len();
            wait_until(
                SOON,
                "the evicted one is gone, and checkpoints go on",
                || {
                    job.look();
                    let on = job.seen().checkpoints.len() > seen + 1;
                    (on && !evicted.exists() && listed(&cluster, &evicted).is_none()).then_some(())
                },
            );
            assert_verified(&cluster);
            phases.done(&format!("round {round}: killed at {course}.{moment}"));
        }
    }
    assert_eq!(job.seen().restarts, 0, "{:?}", job.seen());
    assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");
    wait_for_clean(&cluster, &id, SOON);
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    cluster.stop();
}

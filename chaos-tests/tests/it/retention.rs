//! Flink's retention matrix on real jobs: which checkpoints stay when a job ends, and that what stays is
//! listed, can be started from, and can be disposed of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cleanup::{assert_verified, counting, stored, wait_for_clean, written};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::wait::{Phases, wait_until};

const SOON: Duration = Duration::from_secs(60);
const MODES: [&str; 3] = [
    "no-externalized-checkpoints",
    "delete-on-cancellation",
    "retain-on-cancellation",
];

fn submit<'a>(cluster: &'a Cluster, name: &str, mode: &str, end: &str) -> Job<'a> {
    let checkpointing = format!("interval: 200ms, externalized-checkpoint-retention: {mode}");
    let text = counting(name, 500, &checkpointing, "type: none", end);
    Job::submit(cluster, &written(cluster, name, &text))
}

/// Retained checkpoints as they are listed.
fn retained(cluster: &Cluster, job: &str) -> Vec<PathBuf> {
    let listed = cluster.json(&["checkpoint", "list", job]);
    let listed = listed.as_array().cloned().unwrap_or_default();
    let kept = listed
        .iter()
        .filter(|checkpoint| checkpoint["retained"] == true);
    kept.filter_map(|checkpoint| checkpoint["path"].as_str().map(PathBuf::from))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn checkpoints_stay_as_the_matrix_says() {
    let mut phases = Phases::of("retention");
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        slots: 10,
        ..Options::default()
    });
    let name = |state: &str, mode: &str| format!("{}-{mode}", state.to_lowercase());
    let all = |state: &'static str, end: &'static str| {
        let cluster = &cluster;
        MODES.map(|mode| (state, mode, submit(cluster, &name(state, mode), mode, end)))
    };
    let ends: Vec<(&str, &str, Job<'_>)> = all("FINISHED", ", end: 2000")
        .into_iter()
        .chain(all("CANCELED", ""))
        .chain(all("FAILED", ""))
        .map(|(state, mode, mut job)| {
            job.wait_for_checkpoint(SOON);
            (state, mode, job)
        })
        .collect();
    for (state, _, job) in &ends {
        if *state == "CANCELED" {
            assert_eq!(
                cluster.json(&["job", "cancel", &job.id])["state"],
                "CANCELED"
            );
        }
    }
    let jobs: Vec<(&str, &str, String)> = ends
        .into_iter()
        .map(|(state, mode, job)| (state, mode, job.id))
        .collect();
    let finished = jobs.iter().filter(|(state, ..)| *state == "FINISHED");
    finished.for_each(|(.., id)| Job::of(&cluster, id).wait_for("FINISHED", SOON));
    phases.done("finished and cancelled");
    // Without a restart strategy a lost worker is the end.
    let old = cluster.kill("tm-1");
    let failed = jobs.iter().filter(|(state, ..)| *state == "FAILED");
    failed.for_each(|(.., id)| Job::of(&cluster, id).wait_for("FAILED", SOON));
    let _new = cluster.wait_for_new_pid("tm-1", old);
    cluster.wait_for_workers(1);
    let mut kept: Vec<(String, PathBuf)> = Vec::new();
    for (state, mode, id) in &jobs {
        wait_for_clean(&cluster, id, SOON);
        let paths = retained(&cluster, id);
        let stays = matches!(
            (*state, *mode),
            ("CANCELED", "retain-on-cancellation")
                | (
                    "FAILED",
                    "delete-on-cancellation" | "retain-on-cancellation"
                )
        );
        assert_eq!(
            paths.len(),
            usize::from(stays),
            "{state} with {mode}: {paths:?}"
        );
        let folder = cluster.dir().join("checkpoints").join(id);
        assert_eq!(folder.exists(), stays, "{state} with {mode}");
        kept.extend(paths.into_iter().map(|path| (id.clone(), path)));
    }
    assert_eq!(kept.len(), 3);
    assert_verified(&cluster);
    phases.done("the matrix holds");
    for (id, path) in &kept {
        carried_on_and_disposed(&cluster, id, path);
    }
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    assert_verified(&cluster);
    phases.done("started from, and disposed of");
    cluster.stop();
}

fn carried_on_and_disposed(cluster: &Cluster, id: &str, path: &Path) {
    let shown = path.display().to_string();
    let artefacts = cluster.json(&["cleanup", "show", id]);
    let entry = artefacts
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["path"] == shown.as_str());
    assert_eq!(
        entry.map(|one| &one["state"]),
        Some(&"retained".into()),
        "{artefacts}"
    );
    let text = counting("carried-on", 500, "interval: 200ms", "type: none", "");
    let file = written(cluster, "carried-on", &text).display().to_string();
    let submitted = cluster.json(&["job", "submit", &file, "--from-savepoint", &shown]);
    let next = submitted["job_id"].as_str().expect("its id").to_owned();
    let mut job = Job::of(cluster, &next);
    job.wait_for_checkpoint(SOON);
    assert!(
        path.join("_metadata").is_file(),
        "no job takes ownership of it"
    );
    assert_eq!(cluster.json(&["job", "cancel", &next])["state"], "CANCELED");
    wait_for_clean(cluster, &next, SOON);
    assert_eq!(
        cluster.json(&["savepoint", "dispose", &shown, "--yes"])["path"],
        shown.as_str()
    );
    let folder = cluster.dir().join("checkpoints").join(id);
    wait_until(SOON, "it is gone, and its job's folder", || {
        (!folder.exists()).then_some(())
    });
    assert_eq!(retained(cluster, id), [] as [PathBuf; 0]);
}

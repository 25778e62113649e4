//! A sink of one's own that commits in two phases, on a real cluster: every row once over a killed
//! leader, a killed worker, a savepoint and a cancellation.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cleanup::wait_for_clean;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::wait::wait_until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_two-phase");
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> Cluster {
    Cluster::start(Options {
        program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    })
}

fn write_job(home: &Path, end: &str) -> PathBuf {
    let (file, folder) = (home.join("lines.yaml"), home.join("lines"));
    let text = format!(
        "name: lines
parallelism: 2
checkpointing: {{ interval: 250ms }}
restart-strategy: {{ type: fixed-delay, attempts: 100, delay: 100ms }}
vertices:
  - id: numbers
    source: sequence
    with: {{ {end}rate: 2000 }}
  - id: out
    sink: lines
    inputs: [ numbers ]
    with: {{ folder: {} }}
",
        folder.display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// The numbers below a folder of the sink, sorted.
fn numbers(home: &Path, part: &str) -> Vec<u64> {
    let files = fs::read_dir(home.join("lines").join(part)).unwrap();
    let mut numbers = Vec::new();
    for file in files {
        // One that is committed meanwhile is found the next time.
        let text = fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        numbers.extend(
            text.lines()
                .map(|line| line.split(',').next().unwrap().parse::<u64>().unwrap()),
        );
    }
    numbers.sort_unstable();
    numbers
}

/// Each of the two subtasks emits every second number: what is visible of either is a beginning of its
/// numbers, each once.
fn assert_no_gap(numbers: &[u64]) {
    for subtask in 0..2 {
        let mine = numbers.iter().copied().filter(|n| n % 2 == subtask);
        let wanted = (subtask..).step_by(2);
        for (found, wanted) in mine.zip(wanted) {
            assert_eq!(found, wanted, "missing, or there twice");
        }
    }
}

#[test]
fn every_row_appears_once_over_kills_of_leaders_and_workers() {
    let rounds = u64::from(knobs::rounds(1, 5));
    let end = 12_000 * rounds;
    let mut cluster = cluster();
    let file = write_job(cluster.home(), &format!("end: {end}, "));
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(PATIENCE);
    for _ in 0..rounds {
        let leader = cluster.wait_for_leader();
        let pid = cluster.kill(&leader);
        job.wait_for_another_checkpoint(PATIENCE);
        assert_ne!(cluster.wait_for_new_pid(&leader, pid), pid);
        let worker = job.look()["tasks"][0]["worker"]
            .as_str()
            .unwrap()
            .to_owned();
        let pid = cluster.kill(&worker);
        assert_ne!(cluster.wait_for_new_pid(&worker, pid), pid);
        job.wait_for_another_checkpoint(PATIENCE);
    }
    job.wait_for("FINISHED", PATIENCE * 2);
    let seen = job.seen();
    assert!(seen.adoptions >= 1 && seen.restarts >= rounds, "{seen:?}");
    let found = numbers(cluster.home(), "done");
    assert!(
        found.iter().copied().eq(0..end),
        "{} rows of {end}",
        found.len()
    );
    let left = numbers(cluster.home(), "pending");
    assert!(
        left.is_empty(),
        "what was abandoned is taken away: {left:?}"
    );
    cluster.stop();
}

#[test]
fn a_cancelled_job_commits_what_its_checkpoint_lists_and_a_savepoint_goes_on_from_there() {
    let mut cluster = cluster();
    let file = write_job(cluster.home(), "");
    let home = cluster.home().to_owned();
    let folder = home.join("savepoints").display().to_string();
    let mut job = Job::submit(&cluster, &file);
    job.wait_for_checkpoint(PATIENCE);
    let stopped = cluster.json(&["job", "stop", &job.id, "--savepoint-path", &folder]);
    let savepoint = stopped["path"].as_str().unwrap().to_owned();
    job.wait_for("FINISHED", PATIENCE);
    let first = numbers(&home, "done");
    assert_no_gap(&first);
    assert!(numbers(&home, "pending").is_empty());

    let file = file.display().to_string();
    let submitted = cluster.json(&["job", "submit", &file, "--from-savepoint", &savepoint]);
    let mut job = Job::of(&cluster, submitted["job_id"].as_str().unwrap());
    job.wait_for_checkpoint(PATIENCE);
    job.wait_for_another_checkpoint(PATIENCE);
    let _cancelled = cluster.json(&["job", "cancel", &job.id]);
    job.wait_for("CANCELED", PATIENCE);
    wait_until(PATIENCE, "all that will be visible", || {
        (job.result()["output_complete"] == true).then_some(())
    });
    let all = numbers(&home, "done");
    assert!(all.len() > first.len());
    assert_no_gap(&all);
    cluster.stop();
}

/// The sink's target is broken, and then nobody offers the sink any more: what was listed waits until it is
/// given up, and then the job is clean and never says that its output is complete.
#[test]
fn output_that_nobody_can_commit_any_more_is_given_up_by_forgetting_its_checkpoint() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        restart: "never",
        program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    });
    let file = write_job(cluster.home(), "");
    let done = cluster.home().join("lines/done");
    let mut job = Job::submit(&cluster, &file);
    wait_until(PATIENCE, "committed rows", || {
        job.look();
        (!numbers(cluster.home(), "done").is_empty()).then_some(())
    });
    fs::rename(&done, cluster.home().join("lines/before")).unwrap();
    fs::write(&done, "a file where the folder was").unwrap();
    wait_until(PATIENCE, "a commit that failed", || {
        job.look();
        (job.seen().restarts > 0).then_some(())
    });
    cluster.kill("tm-1");
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    let result = job.result();
    assert_eq!(
        (&result["clean"], &result["output_complete"]),
        (&false.into(), &false.into()),
        "{result}"
    );
    let cause = result["cause"].as_str().unwrap();
    assert_eq!(
        cause,
        "not clean: its output waits for a worker that offers the sinks"
    );

    let latest = job.look()["checkpoints"]["latest"]["path"].clone();
    let shown = cluster.json(&["cleanup", "show", &job.id]);
    let mut artefacts = shown.as_array().unwrap().iter();
    let listing = artefacts.find(|one| one["path"] == latest).unwrap();
    let artefact = listing["artefact"].as_str().unwrap();
    let explained = cluster.json(&["job", "explain", &job.id]);
    let mut causes = explained["causes"].as_array().unwrap().iter();
    let uncommitted = causes
        .find(|cause| cause["code"] == "output-uncommitted")
        .unwrap();
    let remedy = uncommitted["remedy"].as_str().unwrap();
    assert!(
        remedy.ends_with(&format!("regent cleanup forget {artefact}")),
        "{remedy}"
    );

    let _forgotten = cluster.json(&["cleanup", "forget", artefact, "--yes"]);
    wait_for_clean(&cluster, &job.id, PATIENCE);
    let result = job.result();
    assert_eq!(
        (&result["state"], &result["output_complete"]),
        (&"CANCELED".into(), &false.into()),
        "{result}"
    );
    cluster.stop();
}

#[test]
fn without_checkpoints_its_output_would_never_appear() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    });
    let file = write_job(cluster.home(), "");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("checkpointing: { interval: 250ms }\n", ""),
    )
    .unwrap();
    let outcome = cluster.cli(&["job", "submit", file.to_str().unwrap()]);
    let reason = outcome.refused(2);
    assert!(
        reason.contains("lines.yaml:8:") && reason.contains("sink `out` is exactly-once"),
        "{reason}"
    );
    cluster.stop();
}

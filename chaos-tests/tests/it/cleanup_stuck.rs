//! Directories that can't be removed for a while: retried across failovers until they are gone, by themselves,
//! clean only then; given up after a bounded strategy's last try, listed with the cause, and retried by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cleanup::{
    Obstacle, assert_verified, counting, listed, metric, reconfigure, retry, stored, undone,
    wait_for_clean, written,
};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{regent, run};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::wait::{Phases, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// A running job, and an obstacle in one of its checkpoints.
fn obstructed<'a>(cluster: &'a Cluster, name: &str) -> (Job<'a>, PathBuf, Obstacle) {
    let text = counting(
        name,
        100,
        "interval: 500ms",
        "type: fixed-delay, attempts: 1000",
        "",
    );
    let mut job = Job::submit(cluster, &written(cluster, name, &text));
    job.wait_for_checkpoint(SOON);
    let (path, obstacle) = wait_until(SOON, "an obstacle in a checkpoint", || {
        let shown = job.look();
        let path = PathBuf::from(shown["checkpoints"]["latest"]["path"].as_str()?);
        Some((path.clone(), Obstacle::put(&path)?))
    });
    (job, path, obstacle)
}

fn wait_for_failure(cluster: &Cluster, path: &Path, attempts: u64) -> u64 {
    wait_until(SOON, "a deletion failed", || {
        let artefact = listed(cluster, path)?;
        let tried = artefact["attempts"].as_u64()?;
        assert!(
            tried < attempts || artefact["last_error"].is_string(),
            "{artefact}"
        );
        (tried >= attempts).then_some(tried)
    })
}

#[test]
fn an_undeletable_directory_is_retried_across_failovers() {
    let mut phases = Phases::of("cleanup_stuck");
    let mut cluster = Cluster::start(Options::default());
    // Retried for ever, as by default, but not an hour apart.
    let strategy = "cleanup-strategy: { type: exponential-delay, initial-backoff: 200ms, \
                    max-backoff: 1s }\n";
    reconfigure(&cluster, strategy);
    cluster.wait_for_workers(2);
    phases.done("ready");
    let (job, path, obstacle) = obstructed(&cluster, "stuck");
    let mut tried = wait_for_failure(&cluster, &path, 1);
    phases.done("subsumed, and not removable");
    for round in 1..=knobs::rounds(2, 10) {
        let leader = cluster.wait_for_leader();
        let old = cluster.kill(&leader);
        let _new = cluster.wait_for_new_pid(&leader, old);
        cluster.wait_until_caught_up(10);
        let now = wait_for_failure(&cluster, &path, tried);
        assert!(
            now >= tried,
            "attempts are counted on, not anew: {now} after {tried}"
        );
        tried = now;
        phases.done(&format!("round {round}: {leader} killed; {tried} attempts"));
    }
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    let others = || undone(&cluster).len() == 1;
    wait_until(SOON, "everything else is removed", || {
        others().then_some(())
    });
    assert_eq!(job.result()["clean"], false, "{}", job.result());
    assert!(metric(&cluster, "regent_cleanup_pending") >= 1.0);
    assert!(metric(&cluster, "regent_cleanup_oldest_age_seconds") >= 1.0);

    // The same id again: the cleanup starts again and the job isn't run.
    let file = cluster.home().join("stuck.yaml").display().to_string();
    let again = cluster.json(&["job", "submit", &file, "--job-id", &job.id]);
    assert_eq!(
        (&again["already"], &again["state"]),
        (&true.into(), &"CANCELED".into())
    );

    obstacle.take_away(&cluster.home().join("moved"));
    // Nobody asks for it.
    wait_for_clean(&cluster, &job.id, SOON);
    assert!(!path.exists(), "{} is gone", path.display());
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    assert_eq!(job.result()["state"], "CANCELED");
    assert_verified(&cluster);
    phases.done("made removable, and clean");
    cluster.stop();
}

#[test]
fn a_foreign_file_in_a_checkpoint_goes_with_it() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let text = counting("guests", 100, "interval: 500ms", "type: none", "");
    let mut job = Job::submit(&cluster, &written(&cluster, "guests", &text));
    job.wait_for_checkpoint(SOON);
    let path = wait_until(SOON, "foreign files in a checkpoint", || {
        let shown = job.look();
        let path = PathBuf::from(shown["checkpoints"]["latest"]["path"].as_str()?);
        fs::create_dir(path.join("deep")).ok()?;
        fs::write(path.join("deep/guest"), "x").ok()?;
        fs::write(path.join("guest"), "x").ok()?;
        Some(path)
    });
    // Subsumed, and gone with all that was in it.
    wait_until(SOON, "the checkpoint is gone", || {
        (!path.exists() && listed(&cluster, &path).is_none()).then_some(())
    });
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    wait_for_clean(&cluster, &job.id, SOON);
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    assert_verified(&cluster);
    cluster.stop();
}

/// `job explain` and `status`, as documents and as text, with the remedy.
fn the_operator_is_told(cluster: &Cluster, job: &str, path: &Path) {
    let screen = |arguments: &[&str]| {
        let mut command = regent(cluster.home());
        command.arg("--dir").arg(cluster.dir()).args(arguments);
        run(command, SOON).expect(0).stdout
    };
    let told = cluster.json(&["job", "explain", job]);
    let causes = told["causes"].as_array().into_iter().flatten();
    let mut dirty = causes.filter(|cause| cause["code"] == "dirty-cleanup");
    let cause = dirty
        .next()
        .unwrap_or_else(|| panic!("the cause in {told}"));
    let remedy = cause["remedy"].as_str().expect("a remedy");
    assert!(
        remedy.ends_with(&format!("regent cleanup retry {job}")),
        "{told}"
    );
    assert!(cause["text"].to_string().contains(&*path.to_string_lossy()));
    let text = screen(&["job", "explain", job]);
    assert!(text.contains(remedy), "{text}");
    let status = cluster.json(&["status"]);
    let raised = status["attention"].as_array().into_iter().flatten();
    assert!(
        raised
            .into_iter()
            .any(|alarm| alarm["code"] == "CleanupDirty"),
        "{status}"
    );
    let text = screen(&["status"]);
    assert!(
        text.contains(
            "CleanupDirty: 1 artefact can't be removed\n      do: regent cleanup list --dirty"
        ),
        "{text}"
    );
}

#[test]
fn a_bounded_strategy_ends_dirty_and_is_retried_by_hand() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let strategy = "cleanup-strategy: { type: fixed-delay, attempts: 2, delay: 200ms }\n";
    reconfigure(&cluster, strategy);
    cluster.wait_for_workers(1);
    let (job, path, obstacle) = obstructed(&cluster, "bounded");
    assert_eq!(
        cluster.json(&["job", "cancel", &job.id])["state"],
        "CANCELED"
    );
    let dirty = || listed(&cluster, &path).filter(|artefact| artefact["state"] == "dirty");
    let artefact = wait_until(SOON, "the retries are used up", dirty);
    assert_eq!(
        artefact["attempts"], 3,
        "the first try and two more: {artefact}"
    );
    assert!(artefact["last_error"].is_string(), "{artefact}");
    let only_dirty = cluster.json(&["cleanup", "list", "--dirty"]);
    assert_eq!(only_dirty[0]["path"], artefact["path"], "{only_dirty}");
    assert_eq!(job.result()["clean"], false);
    for (name, least) in [
        ("regent_cleanup_dirty", 1.0),
        ("regent_jobs_dirty", 1.0),
        ("regent_cleanup_attempts_total", 3.0),
        ("regent_cleanup_failures_total{kind=\"store\"}", 3.0),
    ] {
        assert!(metric(&cluster, name) >= least, "{name}");
    }
    let log = fs::read_to_string(cluster.dir().join("logs/jm-1.log")).expect("its log");
    let warned = |line: &&str| line.contains("WARN") && line.contains("stays dirty");
    let warning = log
        .lines()
        .find(warned)
        .expect("a warning when it went dirty");
    for word in [path.to_str().expect("UTF-8"), &job.id, "cleanup retry"] {
        assert!(warning.contains(word), "{word}: {warning}");
    }

    the_operator_is_told(&cluster, &job.id, &path);

    // Retried by hand while the obstacle is there: dirty again.
    retry(&cluster, &job.id);
    wait_until(SOON, "tried again in vain", dirty);
    obstacle.take_away(&cluster.home().join("moved"));
    retry(&cluster, &job.id);
    wait_for_clean(&cluster, &job.id, SOON);
    assert!(!path.exists());
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    cluster.stop();
}

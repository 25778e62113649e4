use std::time::Duration;

use regent_state::Command;
use regent_state::command::*;
use regent_state::model::{Artefact, ArtefactKind, ArtefactState};
use regent_storage::objects::Objects;

use super::act;
use super::plan::{self, Busy, Class, Removal, Work};
use crate::config::CleanupStrategy;
use crate::testing::*;

/// A job that was cancelled after two checkpoints; its attempt is over.
fn ended() -> Env {
    let mut env = Env::with_job(graph(1, SinkKind::ExactlyOnce));
    let attempt = env.run(&[tm(1, 1)]);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    let (job, run) = (JOB, attempt.run);
    let token = Some(attempt.token);
    let outcome = Outcome::Canceled;
    env.leader(Command::JobTerminated(JobTerminated {
        job,
        run,
        token,
        outcome,
    }));
    let tokens = vec![attempt.token];
    env.leader(Command::AttemptsOver(AttemptsOver { job, run, tokens }));
    env
}

fn pick(env: &Env) -> Vec<Work> {
    plan::pick(&env.machine, env.clock_ms, &Busy::default())
}

fn picked(env: &Env) -> Vec<String> {
    let works = pick(env);
    works
        .iter()
        .map(|work| work.artefact.kind.to_string())
        .collect()
}

#[test]
fn checkpoints_go_before_staging_and_what_is_under_way_is_left_alone() {
    let env = ended();
    assert_eq!(picked(&env), ["checkpoint", "checkpoint", "staging"]);
    let mut busy = Busy::default();
    for work in &pick(&env)[..2] {
        busy.begin(work);
    }
    let rest = plan::pick(&env.machine, env.clock_ms, &busy);
    assert_eq!(rest.len(), 1);
    assert!(plan::owner_ended(&env.machine, &rest[0].artefact));
    let first = pick(&env).remove(0).artefact.id;
    busy.ended(first);
    assert_eq!(plan::pick(&env.machine, env.clock_ms, &busy).len(), 1);
    busy.written(first);
    assert_eq!(plan::pick(&env.machine, env.clock_ms, &busy).len(), 2);
}

/// A machine whose ledger holds this many directories that nobody has tried to delete, and this many
/// that failed before.
fn crowded(first: usize, again: usize) -> Env {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    env.run(&[tm(1, 1)]);
    for n in 0..first + again + 1 {
        env.checkpoint(CheckpointKind::Checkpoint, false);
        if n == again {
            let failed = |id| CleanupReport {
                artefact: id,
                outcome: CleanupOutcome::Failed {
                    error: "EIO".into(),
                    next_retry_ms: Some(0),
                },
            };
            let outcomes = pick_all(&env).into_iter().map(failed).collect();
            env.leader(Command::CleanupAttempted(CleanupAttempted { outcomes }));
        }
    }
    env
}

fn pick_all(env: &Env) -> Vec<regent_state::ids::ArtefactId> {
    let due = env.machine.due_cleanups(env.clock_ms);
    due.map(|artefact| artefact.id).collect()
}

#[test]
fn hopeless_retries_do_not_hold_up_what_is_new_nor_the_other_way_round() {
    let count = |works: &[Work], class| works.iter().filter(|work| work.class == class).count();
    for (first, again, expected) in [
        (30, 30, (8, 4)),
        (0, 30, (0, 4)),
        (30, 0, (8, 0)),
        (3, 2, (3, 2)),
    ] {
        let env = crowded(first, again);
        let works = pick(&env);
        let got = (count(&works, Class::First), count(&works, Class::Again));
        assert_eq!(got, expected, "{first} new, {again} failed before");
        let mut busy = Busy::default();
        works.iter().for_each(|work| busy.begin(work));
        assert!(plan::pick(&env.machine, env.clock_ms, &busy).is_empty());
    }
}

#[test]
fn a_failure_is_due_again_by_the_strategy_and_dirty_after_the_last_try() {
    let mut env = ended();
    let strategy = CleanupStrategy::FixedDelay {
        attempts: 1,
        delay: Duration::from_secs(5),
    };
    let artefact = pick(&env).remove(0).artefact;
    let report = plan::report(&artefact, Some("EIO".into()), &strategy, env.clock_ms);
    let due = CleanupOutcome::Failed {
        error: "EIO".into(),
        next_retry_ms: Some(env.clock_ms + 5_000),
    };
    assert_eq!(report.outcome, due);
    env.leader(Command::CleanupAttempted(CleanupAttempted {
        outcomes: vec![report],
    }));
    assert_eq!(picked(&env).len(), 2);
    assert_eq!(
        plan::next_ms(&env.machine),
        Some(env.clock_ms),
        "the others are due now"
    );
    env.clock_ms += 5_000;
    assert_eq!(picked(&env).len(), 3);
    let again = env.machine.artefact(artefact.id).unwrap().clone();
    let report = plan::report(&again, Some("EIO".into()), &strategy, env.clock_ms);
    assert_eq!(
        report.outcome,
        CleanupOutcome::Failed {
            error: "EIO".into(),
            next_retry_ms: None
        }
    );
    env.leader(Command::CleanupAttempted(CleanupAttempted {
        outcomes: vec![report],
    }));
    assert_eq!(
        env.machine.artefact(artefact.id).unwrap().state,
        ArtefactState::Dirty
    );
}

#[test]
fn the_result_becomes_clean_with_the_last_artefact() {
    let mut env = ended();
    let works = pick(&env);
    let strategy = CleanupStrategy::default();
    let gone = |work: &Work| plan::report(&work.artefact, None, &strategy, 0);
    let (last, first) = works.split_last().unwrap();
    let outcomes = first.iter().map(gone).collect();
    env.leader(Command::CleanupAttempted(CleanupAttempted { outcomes }));
    assert!(env.machine.job(JOB).unwrap().is_dirty());
    let outcomes = vec![gone(last)];
    env.leader(Command::CleanupAttempted(CleanupAttempted { outcomes }));
    assert!(!env.machine.job(JOB).unwrap().is_dirty());
}

/// A running job whose first checkpoint was aborted.
fn aborted() -> Env {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    env.run(&[tm(1, 1)]);
    let token = env.machine.job(JOB).unwrap().token.unwrap();
    let (job, kind, root) = (JOB, CheckpointKind::Checkpoint, "/chk".to_owned());
    env.leader(Command::BeginCheckpoint(BeginCheckpoint {
        job,
        token,
        kind,
        root,
    }));
    let id = env.machine.job(JOB).unwrap().pending.clone().unwrap().id;
    let abort = AbortCheckpoint {
        job,
        token,
        id,
        cause: "x".into(),
        counts: false,
    };
    env.leader(Command::AbortCheckpoint(abort));
    env
}

#[test]
fn while_its_writers_are_stopped_an_aborted_directory_waits_for_their_end() {
    let mut env = aborted();
    assert_eq!(picked(&env), ["checkpoint"], "the attempt goes on");
    let (run, token) = {
        let job = env.machine.job(JOB).unwrap();
        (job.run, job.token.unwrap())
    };
    env.client(Command::CancelJob(CancelJob { job: JOB }));
    assert!(picked(&env).is_empty());
    let mut late = aborted();
    late.client(Command::CancelJob(CancelJob { job: JOB }));
    late.clock_ms += 30_000;
    assert_eq!(
        picked(&late),
        ["checkpoint"],
        "for as long as they may write"
    );
    let (job, outcome) = (JOB, Outcome::Canceled);
    env.leader(Command::JobTerminated(JobTerminated {
        job,
        run,
        token: Some(token),
        outcome,
    }));
    assert!(picked(&env).is_empty(), "its tasks may live");
    let tokens = vec![token];
    env.leader(Command::AttemptsOver(AttemptsOver { job, run, tokens }));
    assert_eq!(picked(&env), ["checkpoint"]);
}

#[test]
fn aborted_directories_are_swept_after_the_write_deadline() {
    let mut env = aborted();
    let work = pick(&env).remove(0);
    assert_eq!(work.sweep, None);
    assert!(!plan::owner_ended(&env.machine, &work.artefact));
    let outcomes = vec![plan::report(
        &work.artefact,
        None,
        &CleanupStrategy::default(),
        0,
    )];
    env.leader(Command::CleanupAttempted(CleanupAttempted { outcomes }));
    assert!(picked(&env).is_empty());
    assert_eq!(plan::next_ms(&env.machine), Some(env.clock_ms + 30_000));
    env.clock_ms += 30_000;
    let sweep = pick(&env).remove(0);
    assert_eq!(
        sweep.sweep,
        Some(false),
        "the attempt is not over, so this isn't the last look"
    );
}

fn artefact(kind: ArtefactKind, path: &str) -> Artefact {
    let env = ended();
    let some = pick(&env).remove(0).artefact;
    Artefact {
        kind,
        path: path.into(),
        ..Artefact::clone(&some)
    }
}

#[test]
fn only_parents_made_for_the_job_are_tidied_up() {
    let some = artefact(ArtefactKind::Blob, "/x");
    let (job, run) = some.owner.unwrap();
    let id = regent_state::ids::CheckpointId(1);
    let checkpoint = ArtefactKind::Checkpoint { id };
    let staging = ArtefactKind::Staging {
        vertex: "out".into(),
    };
    let table = [
        (checkpoint.clone(), format!("/root/{job}/{run}/chk-1"), 2),
        (checkpoint, format!("/root/{job}/other/chk-1"), 0),
        (staging.clone(), format!("/out/_staging/{run}-1.9"), 1),
        (staging, "/out/mine/1.9".to_owned(), 0),
        (
            ArtefactKind::Savepoint {
                id: Some(id),
                completed: true,
            },
            format!("/{job}/{run}/s"),
            0,
        ),
    ];
    for (kind, path, parents) in table {
        assert_eq!(plan::own_parents(&artefact(kind, &path)), parents, "{path}");
    }
}

#[test]
fn a_completed_savepoint_is_never_removed_as_a_prefix() {
    let savepoint = |completed| ArtefactKind::Savepoint {
        id: None,
        completed,
    };
    assert_eq!(plan::removal(&savepoint(true)), Removal::Savepoint);
    assert_eq!(plan::removal(&savepoint(false)), Removal::Directory);
}

// ---------------------------------------------------------------- on disk

fn work(kind: ArtefactKind, path: &std::path::Path) -> Work {
    let artefact = artefact(kind, path.to_str().unwrap());
    Work {
        artefact: std::sync::Arc::new(artefact),
        class: Class::First,
        sweep: None,
    }
}

fn touch(path: &std::path::Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"x").unwrap();
}

#[tokio::test]
async fn a_directory_goes_with_its_empty_parents_and_nothing_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let run = artefact(ArtefactKind::Blob, "/x").owner.unwrap().1;
    let of_job = root.path().join(JOB.to_string()).join(run.to_string());
    touch(&of_job.join("chk-1/_metadata"));
    touch(&of_job.join("chk-10/_metadata"));
    let checkpoint = |n| {
        let kind = ArtefactKind::Checkpoint {
            id: regent_state::ids::CheckpointId(n),
        };
        work(kind, &of_job.join(format!("chk-{n}")))
    };
    let objects = Objects::new();
    for _ in 0..2 {
        act::remove(&objects, &checkpoint(1), || true)
            .await
            .unwrap();
        assert!(!of_job.join("chk-1").exists());
        assert!(of_job.join("chk-10/_metadata").exists());
    }
    act::remove(&objects, &checkpoint(10), || true)
        .await
        .unwrap();
    assert!(!of_job.parent().unwrap().exists());
    assert!(root.path().exists());
}

#[tokio::test]
async fn replaced_files_go_by_name() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.csv", "b/c.csv", "kept.csv"] {
        touch(&root.path().join(name));
    }
    let files = vec![
        "a.csv".to_owned(),
        "b/c.csv".to_owned(),
        "gone.csv".to_owned(),
    ];
    let replaced = work(
        ArtefactKind::Replaced {
            vertex: "out".into(),
            files,
        },
        root.path(),
    );
    act::remove(&Objects::new(), &replaced, || true)
        .await
        .unwrap();
    assert!(!root.path().join("a.csv").exists());
    assert!(!root.path().join("b/c.csv").exists());
    assert!(root.path().join("kept.csv").exists());
}

#[tokio::test]
async fn a_savepoint_keeps_files_that_are_not_its_own() {
    use regent_protocol::metadata::encode_metadata;
    use regent_protocol::v1::subtask_handle::State;
    use regent_protocol::v1::{CheckpointMetadata, StateFile, SubtaskHandle, VertexState};
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("savepoint-1.2-3");
    touch(&dir.join("state-0"));
    touch(&dir.join("notes.txt"));
    let file = StateFile {
        name: "state-0".into(),
        ..Default::default()
    };
    let subtasks = vec![SubtaskHandle {
        state: Some(State::File(file)),
        ..Default::default()
    }];
    let vertices = vec![VertexState {
        subtasks,
        ..Default::default()
    }];
    let metadata = CheckpointMetadata {
        vertices,
        ..Default::default()
    };
    std::fs::write(dir.join("_metadata"), encode_metadata(&metadata).unwrap()).unwrap();
    let disposed = work(
        ArtefactKind::Savepoint {
            id: None,
            completed: true,
        },
        &dir,
    );
    let objects = Objects::new();
    act::remove(&objects, &disposed, || true).await.unwrap();
    assert!(dir.join("notes.txt").exists());
    assert!(!dir.join("_metadata").exists() && !dir.join("state-0").exists());
    std::fs::remove_file(dir.join("notes.txt")).unwrap();
    act::remove(&objects, &disposed, || true).await.unwrap();
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_foreign_directory_without_metadata_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("mistyped");
    std::fs::create_dir(&dir).unwrap();
    let mut typo = work(
        ArtefactKind::Savepoint {
            id: None,
            completed: true,
        },
        &dir,
    );
    typo.artefact = std::sync::Arc::new(Artefact {
        owner: None,
        ..Artefact::clone(&typo.artefact)
    });
    act::remove(&Objects::new(), &typo, || true).await.unwrap();
    assert!(dir.exists());
}

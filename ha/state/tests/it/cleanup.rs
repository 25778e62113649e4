//! The ledger: retries, sweeps, retention, disposal, expiry.

use regent_state::Command;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;

use crate::support::*;

fn rejection(response: Response) -> Rejection {
    response.into_result().expect_err("refused")
}

fn swept(world: &mut World, artefact: ArtefactId, last: bool) {
    let sweeps = vec![SweepReport {
        artefact,
        last,
        outcome: SweepOutcome::Gone,
    }];
    world.propose(Command::CleanupSwept(CleanupSwept { sweeps }));
}

#[test]
fn the_retention_matrix_holds_in_the_ledger() {
    use Outcome::{Canceled, Failed, Finished};
    use Retention::{
        DeleteOnCancellation as Delete, NoExternalizedCheckpoints as No,
        RetainOnCancellation as Retain,
    };
    for outcome in [Finished, Canceled, Failed] {
        for retention in [No, Delete, Retain] {
            let mut world = World::new();
            let checkpointing = Some(checkpointing(2, retention));
            world.start(
                1,
                &JobGraph {
                    checkpointing,
                    ..files_job("a")
                },
            );
            world.checkpoint(1, false);
            world.checkpoint(1, false);
            end_with(&mut world, 1, outcome);
            world.clean();
            assert!(world.is_clean(1));
            let kept = [(Canceled, Retain), (Failed, Delete), (Failed, Retain)];
            let expected = if kept.contains(&(outcome, retention)) {
                2
            } else {
                0
            };
            assert_eq!(
                world.machine.artefacts().count(),
                expected,
                "{outcome} {retention:?}"
            );
            let listed = world.machine.checkpoints(job_id(1));
            assert_eq!(listed.count(), expected, "{outcome} {retention:?}");
        }
    }
}

#[test]
fn a_retained_checkpoint_can_be_restored_from_and_disposed_of() {
    let mut world = World::new();
    let checkpointing = Some(checkpointing(1, Retention::RetainOnCancellation));
    world.start(
        1,
        &JobGraph {
            checkpointing,
            ..files_job("a")
        },
    );
    let latest = world.checkpoint(1, true);
    let path = world
        .job(1)
        .latest
        .as_ref()
        .map(|latest| latest.path.clone())
        .unwrap();
    end_with(&mut world, 1, Outcome::Canceled);
    assert_eq!(
        world.artefact_at(&path).state,
        ArtefactState::Live,
        "still to be committed"
    );
    world.committed(1, latest);
    assert_eq!(world.artefact_at(&path).state, ArtefactState::Retained);
    world.clean();
    assert!(world.is_clean(1));

    let restore = RestoreFrom {
        path: path.clone(),
        allow_unclaimed_state: false,
    };
    let graph = graph("b", Some(sink("/out/a", IfExists::Append)));
    let submit = SubmitJob {
        job_id: job_id(2),
        graph,
        restore: Some(restore),
    };
    assert_eq!(world.ask(Command::SubmitJob(submit)).rejection(), None);
    world.cancel(2);
    world.end(2, Outcome::Canceled);
    let dispose = Command::DisposeSavepoint(DisposeSavepoint { path });
    assert!(matches!(world.ask(dispose), Response::Disposing { .. }));
    assert!(world.is_clean(1), "no concern of the job's any more");
    world.clean();
    assert_eq!(world.machine.artefacts().count(), 0);
}

#[test]
fn a_failed_deletion_is_retried_when_due_and_across_leaders() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, false);
    world.checkpoint(1, false);
    let evicted = world
        .machine
        .due_cleanups(0)
        .next()
        .map(|artefact| artefact.id)
        .unwrap();
    world.cleanup_fails(evicted, Some(4_000));
    let artefact = world.machine.artefact(evicted).unwrap();
    assert_eq!(
        (artefact.state, artefact.attempts),
        (ArtefactState::Retrying, 1)
    );
    assert_eq!(artefact.last_error.as_deref(), Some("directory not empty"));
    world.pass(3_999);
    world.lead(2);
    assert_eq!(world.machine.due_cleanups(world.clock_ms).count(), 0);
    assert_eq!(world.machine.next_cleanup_ms(), Some(4_000));
    world.pass(1);
    world.clean();
    assert!(world.machine.artefact(evicted).is_none());
}

#[test]
fn used_up_retries_leave_the_job_dirty_until_an_operator_acts() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    end_with(&mut world, 1, Outcome::Canceled);
    let staging = world
        .machine
        .due_cleanups(0)
        .next()
        .map(|artefact| artefact.id)
        .unwrap();
    world.cleanup_fails(staging, None);
    assert!(world.effects.contains(&Effect::CleanupStuck(staging)));
    assert_eq!(
        world.ledger(1),
        [("staging".to_owned(), ArtefactState::Dirty)]
    );
    world.clean();
    assert!(!world.is_clean(1));

    let retry = RetryCleanup { job: job_id(1) };
    world.ask(Command::RetryCleanup(retry));
    let artefact = world.machine.artefact(staging).unwrap();
    assert_eq!(
        (artefact.state, artefact.attempts),
        (ArtefactState::Pending, 0)
    );
    world.cleanup_fails(staging, None);
    let Response::Ledger { cleaned } = world.ask(Command::ForgetArtefact(ForgetArtefact {
        artefact: staging,
    })) else {
        panic!("forgotten")
    };
    assert_eq!(cleaned, [job_id(1)]);
    assert!(world.is_clean(1));
    let history = world.machine.history(job_id(1)).unwrap();
    let kinds: Vec<_> = history
        .events
        .iter()
        .rev()
        .take(2)
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, [JobEventKind::Clean, JobEventKind::Forgotten]);
}

#[test]
fn outcomes_of_what_is_not_undone_are_ignored() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, true);
    let live: Vec<_> = world
        .machine
        .artefacts()
        .map(|artefact| artefact.id)
        .collect();
    let gone = |artefact| CleanupReport {
        artefact,
        outcome: CleanupOutcome::Gone,
    };
    let mut outcomes: Vec<_> = live.iter().copied().map(gone).collect();
    outcomes.push(gone(ArtefactId(999)));
    world.propose(Command::CleanupAttempted(CleanupAttempted { outcomes }));
    assert_eq!(world.machine.artefacts().count(), live.len());
    assert!(
        world
            .machine
            .artefacts()
            .all(|each| each.state == ArtefactState::Live)
    );
}

#[test]
fn an_aborted_directory_is_swept_after_the_deadline_and_when_its_attempt_ends() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let (_, path) = world.begin(1, CheckpointKind::Checkpoint);
    world.abort(1, false);
    let id = world.artefact_at(&path).id;
    world.clean();
    assert_eq!(
        world.artefact_at(&path).state,
        ArtefactState::Done,
        "it owes sweeps"
    );
    assert_eq!(world.machine.next_sweep_ms(), Some(30_000));
    swept(&mut world, id, true);
    world.pass(30_000);
    assert_eq!(
        world
            .machine
            .due_sweeps(30_000)
            .map(|due| due.last)
            .collect::<Vec<_>>(),
        [false]
    );
    swept(&mut world, id, true);
    assert_eq!(
        world
            .artefact_at(&path)
            .sweep
            .map(|sweep| sweep.after_deadline),
        Some(true)
    );
    assert_eq!(
        world.machine.next_sweep_ms(),
        None,
        "until the attempt is over"
    );

    world.fail(1, FailureKind::TaskFailure);
    world.over(1);
    assert_eq!(
        world
            .machine
            .due_sweeps(30_000)
            .map(|due| due.last)
            .collect::<Vec<_>>(),
        [true]
    );
    swept(&mut world, id, false);
    assert!(
        world.machine.artefact(id).is_some(),
        "begun before the attempt was over"
    );
    swept(&mut world, id, true);
    assert!(world.machine.artefact(id).is_none());
}

#[test]
fn directories_that_wait_for_a_long_attempt_are_bounded() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let mut paths = Vec::new();
    for _ in 0..1_003 {
        let (_, path) = world.begin(1, CheckpointKind::Checkpoint);
        world.abort(1, false);
        paths.push(path);
    }
    world.clean();
    world.pass(30_000);
    for path in &paths {
        let id = world.artefact_at(path).id;
        swept(&mut world, id, false);
    }
    assert_eq!(world.machine.artefacts().count(), 1_000);
    assert!(
        paths[..3]
            .iter()
            .all(|path| world.machine.artefact_at(path).is_none()),
        "the oldest wait no more"
    );
    world.fail(1, FailureKind::TaskFailure);
    world.over(1);
    assert_eq!(world.machine.due_sweeps(30_000).count(), 1_000);
}

#[test]
fn a_failed_sweep_is_taken_again() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let (_, path) = world.begin(1, CheckpointKind::Checkpoint);
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.over(1);
    world.clean();
    assert!(world.is_clean(1), "a sweep is not undone work");
    world.pass(30_000);
    let artefact = world.artefact_at(&path).id;
    let outcome = SweepOutcome::Failed {
        error: "denied".to_owned(),
        next_retry_ms: 40_000,
    };
    let sweeps = vec![SweepReport {
        artefact,
        last: true,
        outcome,
    }];
    world.propose(Command::CleanupSwept(CleanupSwept { sweeps }));
    assert_eq!(world.machine.next_sweep_ms(), Some(40_000));
    world.pass(10_000);
    world.clean();
    assert_eq!(world.machine.artefacts().count(), 0);
}

#[test]
fn clean_waits_for_proof_that_every_attempt_is_over() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    world.fail(1, FailureKind::WorkerLost);
    world.deploy(1);
    world.runs(1);
    world.end(1, Outcome::Finished);
    let job = world.job(1);
    let tokens = vec![world.token(1)];
    world.propose(Command::AttemptsOver(AttemptsOver {
        job: job.id,
        run: job.run,
        tokens,
    }));
    assert!(!world.is_clean(1), "the first attempt may still live");
    let Response::Ledger { cleaned } = world.over(1) else {
        panic!("taken")
    };
    assert_eq!(cleaned, [job_id(1)]);
}

#[test]
fn a_foreign_savepoint_can_be_disposed_of_once_at_a_time() {
    let mut world = World::new();
    let dispose = |path: &str| {
        Command::DisposeSavepoint(DisposeSavepoint {
            path: path.to_owned(),
        })
    };
    let Response::Disposing { artefact } = world.ask(dispose("/old/savepoint-1.7-3")) else {
        panic!("disposing")
    };
    world.cleanup_fails(artefact, None);
    let again = world.ask(dispose("/old//savepoint-1.7-3/"));
    assert_eq!(again, Response::Disposing { artefact });
    assert_eq!(
        world.machine.due_cleanups(0).count(),
        1,
        "asked again: tried again"
    );
    world.clean();
    assert_eq!(world.machine.artefacts().count(), 0);
    assert!(world.ask(dispose("/")).rejection().is_some());
    assert!(world.ask(dispose("")).rejection().is_some());
}

#[test]
fn cleanup_can_be_retried_only_where_there_is_something() {
    let mut world = World::new();
    let retry = |number| {
        Command::RetryCleanup(RetryCleanup {
            job: job_id(number),
        })
    };
    assert_eq!(
        rejection(world.ask(retry(1))),
        Rejection::UnknownJob(job_id(1))
    );
    world.start(1, &blackhole_job("a"));
    assert!(
        matches!(world.ask(retry(1)), Response::Job(_)),
        "also of a running job"
    );
    let unknown = ForgetArtefact {
        artefact: ArtefactId(77),
    };
    let refused = rejection(world.ask(Command::ForgetArtefact(unknown)));
    assert_eq!(refused, Rejection::UnknownArtefact(ArtefactId(77)));
}

//! Checkpoints, failures of checkpoints, and what a new leader does to them.

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

#[test]
fn a_takeover_keeps_the_attempt_and_aborts_what_was_pending() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, true);
    let (pending, path) = world.begin(1, CheckpointKind::Checkpoint);
    let token = world.token(1);

    let announced = world.lead(2);
    assert_eq!((announced.aborted, announced.reconciling), (1, 1));
    assert_eq!(world.state(1), JobState::Reconciling);
    assert_eq!(world.artefact_at(&path).state, ArtefactState::Pending);
    assert!(world.artefact_at(&path).sweep.is_some());
    let late = world.complete(1, (pending, path), true);
    assert_eq!(
        rejection(late),
        Rejection::CheckpointNotPending {
            job: job_id(1),
            id: pending
        }
    );

    assert_eq!(world.adopt(1), Response::Done);
    let job = world.job(1);
    assert_eq!((job.state, job.token), (JobState::Running, Some(token)));
    assert_eq!((job.attempt, job.adoptions, job.restarts), (1, 1, 0));
    assert_eq!(
        job.checkpoints.failed, 0,
        "a takeover is no failed checkpoint"
    );
    assert!(
        world.checkpoint(1, true) > pending,
        "ids are never used again"
    );
}

#[test]
fn what_cannot_be_adopted_restarts_from_the_latest_checkpoint() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let latest = world.checkpoint(1, true);
    world.lead(2);
    let verdict = world.fail(1, FailureKind::IncompleteAfterTakeover);
    assert_eq!(verdict, Verdict::Restart { due_ms: 0 });
    assert_eq!(world.job(1).restart.attempts_used, 0);
    let deployed = world.deploy(1);
    assert!(matches!(deployed.restore, RestorePoint::Checkpoint { id, .. } if id == latest));
    assert_eq!(deployed.number, 2);
    world.runs(1);
    assert_eq!(world.job(1).adoptions, 0);
    assert_eq!(world.job(1).restarts, 1);
}

#[test]
fn an_attempt_in_deployment_can_be_adopted_or_found_running() {
    let mut world = World::new();
    world.submit(1, &blackhole_job("a"));
    world.deploy(1);
    world.lead(2);
    assert_eq!(world.state(1), JobState::Created);
    assert_eq!(world.adopt(1), Response::Done);
    assert_eq!(world.state(1), JobState::Running);

    world.submit(2, &blackhole_job("b"));
    world.deploy(2);
    world.lead(3);
    world.runs(2);
    assert_eq!(
        (world.state(2), world.job(2).adoptions),
        (JobState::Running, 0)
    );
}

#[test]
fn a_cancel_goes_on_cancelling_under_the_next_leader() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.cancel(1);
    world.lead(2);
    assert_eq!(world.state(1), JobState::Cancelling);
    let refused = rejection(world.adopt(1));
    assert!(
        matches!(refused, Rejection::AttemptEnded { .. }),
        "{refused}"
    );
    assert_eq!(world.end(1, Outcome::Canceled).rejection(), None);
}

#[test]
fn terminal_jobs_are_left_alone_by_a_takeover() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    let before = world.job(1);
    world.lead(2);
    assert_eq!(world.job(1), before);
    assert_eq!(world.machine.dirty_jobs().count(), 1);
}

#[test]
fn one_checkpoint_at_a_time_and_ids_only_rise() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let (first, _) = world.begin(1, CheckpointKind::Checkpoint);
    let refused = rejection(world.try_begin(1, CheckpointKind::Checkpoint));
    assert_eq!(
        refused,
        Rejection::CheckpointPending {
            job: job_id(1),
            pending: first
        }
    );
    world.abort(1, false);
    let (second, path) = world.begin(1, CheckpointKind::Checkpoint);
    assert!(second > first);
    let late = world.complete(1, (first, path.clone()), false);
    assert!(matches!(
        rejection(late),
        Rejection::CheckpointNotPending { .. }
    ));
    let wrong = world.complete(1, (second, "/elsewhere".to_owned()), false);
    assert!(matches!(rejection(wrong), Rejection::WrongPath { .. }));
    world.complete(1, (second, path.clone()), false);
    let again = world.complete(1, (second, path), false);
    assert!(matches!(
        rejection(again),
        Rejection::CheckpointNotPending { .. }
    ));
    assert_eq!(world.job(1).checkpoints.completed, 1);
}

#[test]
fn only_a_running_attempt_takes_checkpoints() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    world.deploy(1);
    let refused = rejection(world.try_begin(1, CheckpointKind::Checkpoint));
    assert!(matches!(refused, Rejection::WrongState { .. }));
    world.runs(1);
    let old = world.token(1);
    let begun = world.begin(1, CheckpointKind::Checkpoint);
    world.fail(1, FailureKind::TaskFailure);
    world.pass(1_000);
    world.deploy(1);
    world.runs(1);
    let late = Command::CompleteCheckpoint(CompleteCheckpoint {
        job: job_id(1),
        token: old,
        id: begun.0,
        pointer: pointer(begun.1, false),
        sinks_committed_through: None,
    });
    assert!(matches!(
        rejection(world.propose(late)),
        Rejection::WrongToken { .. }
    ));
}

#[test]
fn completion_evicts_what_is_beyond_the_retained_number() {
    let mut world = World::new();
    let retention = Retention::NoExternalizedCheckpoints;
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
    let third = world.begin(1, CheckpointKind::Checkpoint);
    let Response::CheckpointCompleted { evicted, last } = world.complete(1, third, false) else {
        panic!("completed")
    };
    assert!(!last);
    let evicted = world.machine.artefact(evicted[0]).unwrap();
    assert_eq!(
        evicted.kind,
        ArtefactKind::Checkpoint {
            id: CheckpointId(1)
        }
    );
    assert_eq!(evicted.state, ArtefactState::Pending);
    let listed: Vec<_> = world
        .machine
        .checkpoints(job_id(1))
        .map(|each| each.id.0)
        .collect();
    assert_eq!(listed, [2, 3]);
    world.clean();
    assert_eq!(
        world.machine.artefacts().count(),
        3,
        "staging and two checkpoints"
    );
}

#[test]
fn too_many_failed_checkpoints_in_a_row_are_told() {
    let mut world = World::new();
    let mut graph = blackhole_job("a");
    graph.checkpointing.as_mut().unwrap().tolerable_failed = 1;
    world.start(1, &graph);
    world.begin(1, CheckpointKind::Checkpoint);
    assert!(!world.abort(1, true));
    world.checkpoint(1, false);
    assert_eq!(world.job(1).checkpoints.failed_in_a_row, 0);
    for too_many in [false, true] {
        world.begin(1, CheckpointKind::Checkpoint);
        assert_eq!(world.abort(1, true), too_many);
    }
    assert_eq!(world.job(1).checkpoints.failed, 3);
    world.fail(1, FailureKind::CheckpointsFailing);
    world.pass(1_000);
    world.deploy(1);
    assert_eq!(
        world.job(1).checkpoints.failed_in_a_row,
        0,
        "a new attempt starts afresh"
    );
}

#[test]
fn the_last_checkpoint_never_counts_as_failed_in_a_row() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    for _ in 0..3 {
        world.begin(1, CheckpointKind::Final);
        assert!(!world.abort(1, true));
    }
    world.complete_kind(1, CheckpointKind::Final, false);
    assert_eq!(world.end(1, Outcome::Finished).rejection(), None);
}

#[test]
fn savepoints_belong_to_their_user() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let ask = RequestSavepoint {
        job: job_id(1),
        target: "/sp".to_owned(),
    };
    let asked = world.ask(Command::RequestSavepoint(ask));
    let Response::SavepointRequested { request, .. } = asked else {
        panic!("requested")
    };
    let kind = CheckpointKind::Savepoint { request };
    let savepoint = world.complete_kind(1, kind, true);
    let path = world
        .job(1)
        .latest
        .as_ref()
        .map(|latest| latest.path.clone())
        .unwrap();
    let completed = SavepointState::Completed { path: path.clone() };
    assert_eq!(world.job(1).savepoints[0].state, completed);
    assert_eq!(world.artefact_at(&path).state, ArtefactState::Retained);

    // It is the restore point until the next checkpoint, and is never evicted.
    let dispose = || Command::DisposeSavepoint(DisposeSavepoint { path: path.clone() });
    let refused = rejection(world.ask(dispose()));
    assert!(matches!(refused, Rejection::RestorePointInUse { .. }));
    // Also once everything that it lists is committed.
    world.committed(1, savepoint);
    let refused = rejection(world.ask(dispose()));
    assert!(matches!(refused, Rejection::RestorePointInUse { .. }));
    world.fail(1, FailureKind::WorkerLost);
    let deployed = world.deploy(1);
    assert!(matches!(deployed.restore, RestorePoint::Checkpoint { id, .. } if id == savepoint));
    world.runs(1);
    world.checkpoint(1, true);
    world.checkpoint(1, true);
    assert_eq!(world.artefact_at(&path).state, ArtefactState::Retained);
    assert!(matches!(world.ask(dispose()), Response::Disposing { .. }));
    world.clean();
    assert!(world.machine.artefact_at(&path).is_none());
    assert_eq!(world.state(1), JobState::Running);
}

#[test]
fn a_savepoint_request_survives_a_takeover_and_is_answered_when_it_fails() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let ask = RequestSavepoint {
        job: job_id(1),
        target: "/sp".to_owned(),
    };
    let asked = world.ask(Command::RequestSavepoint(ask));
    let Response::SavepointRequested { request, .. } = asked else {
        panic!("requested")
    };
    let kind = CheckpointKind::Savepoint { request };
    world.begin(1, kind);
    world.lead(2);
    world.adopt(1);
    assert_eq!(
        world
            .job(1)
            .waiting_savepoint()
            .map(|waiting| waiting.request),
        Some(request)
    );
    world.begin(1, kind);
    assert!(!world.abort(1, true), "a savepoint is not counted in a row");
    assert!(matches!(
        world.job(1).savepoints[0].state,
        SavepointState::Failed { .. }
    ));
    let refused = rejection(world.try_begin(1, kind));
    assert_eq!(
        refused,
        Rejection::UnknownSavepointRequest {
            job: job_id(1),
            request
        }
    );
}

#[test]
fn waiting_savepoints_are_bounded_and_answered_at_the_end() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let ask = RequestSavepoint {
        job: job_id(1),
        target: "/sp".to_owned(),
    };
    for _ in 0..8 {
        assert_eq!(
            world
                .ask(Command::RequestSavepoint(ask.clone()))
                .rejection(),
            None
        );
    }
    let refused = rejection(world.ask(Command::RequestSavepoint(ask)));
    assert!(matches!(refused, Rejection::TooManySavepoints { .. }));
    world.end(1, Outcome::Finished);
    let failed =
        |request: &SavepointRequest| matches!(request.state, SavepointState::Failed { .. });
    assert!(world.job(1).savepoints.iter().all(failed));
}

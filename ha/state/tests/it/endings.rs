//! How jobs end: finished, stopped, cancelled, failed.

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
fn the_last_checkpoint_is_committed_by_a_new_attempt_even_under_none() {
    let mut world = World::new();
    let graph = JobGraph {
        restart_strategy: RestartStrategy::None,
        ..files_job("a")
    };
    world.start(1, &graph);
    let last = world.complete_kind(1, CheckpointKind::Final, true);
    assert_eq!(
        world.fail(1, FailureKind::WorkerLost),
        Verdict::Restart { due_ms: 0 }
    );
    let deployed = world.deploy(1);
    assert!(deployed.commit_only);
    assert!(matches!(deployed.restore, RestorePoint::Checkpoint { id, .. } if id == last));
    world.runs(1);
    let refused = rejection(world.try_begin(1, CheckpointKind::Checkpoint));
    assert!(
        matches!(refused, Rejection::WrongState { .. }),
        "only commits"
    );
    world.committed(1, last);
    assert_eq!(world.end(1, Outcome::Finished).rejection(), None);
}

#[test]
fn a_committed_last_checkpoint_finishes_the_job_without_its_tasks() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let last = world.complete_kind(1, CheckpointKind::Final, true);
    world.committed(1, last);
    world.lead(2);
    assert_eq!(world.state(1), JobState::Reconciling);
    assert_eq!(world.end(1, Outcome::Finished).rejection(), None);
}

#[test]
fn a_finish_is_of_the_run_and_the_attempt() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let job = world.job(1);
    let outcome = Outcome::Finished;
    let end = |run, token| {
        Command::JobTerminated(JobTerminated {
            job: job.id,
            run,
            token,
            outcome,
        })
    };
    let wrong = Run {
        generation: 1,
        index: LogIndex(99),
    };
    let refused = rejection(world.propose(end(wrong, job.token)));
    assert_eq!(
        refused,
        Rejection::WrongRun {
            job: job.id,
            current: job.run
        }
    );
    let refused = rejection(world.propose(end(job.run, None)));
    assert!(matches!(refused, Rejection::WrongToken { .. }));
    assert_eq!(world.propose(end(job.run, job.token)).rejection(), None);
    let refused = rejection(world.propose(end(job.run, job.token)));
    assert!(matches!(refused, Rejection::AlreadyTerminal { .. }));
}

#[test]
fn a_finished_job_cannot_be_cancelled_or_stopped() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    world.end(1, Outcome::Finished);
    let state = JobState::Finished;
    let expected = Rejection::AlreadyTerminal {
        job: job_id(1),
        state,
    };
    assert_eq!(rejection(world.cancel(1)), expected);
    let stop = StopJob {
        job: job_id(1),
        target: "/sp".to_owned(),
        drain: false,
    };
    assert_eq!(rejection(world.ask(Command::StopJob(stop))), expected);
}

#[test]
fn a_cancel_is_answered_twice_and_done_once() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.begin(1, CheckpointKind::Checkpoint);
    for already in [false, true] {
        let Response::Job(answer) = world.cancel(1) else {
            panic!("an answer")
        };
        assert_eq!(
            (answer.state, answer.already),
            (JobState::Cancelling, already)
        );
    }
    assert_eq!(world.job(1).pending, None);
    world.end(1, Outcome::Canceled);
    let Response::Job(answer) = world.cancel(1) else {
        panic!("an answer")
    };
    assert_eq!((answer.state, answer.already), (JobState::Canceled, true));
    assert_eq!(
        world.job(1).checkpoints.failed,
        0,
        "a cancel is no failed checkpoint"
    );
}

#[test]
fn a_job_that_never_ran_is_cancelled_clean_at_once() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    world.cancel(1);
    let ended = world.end(1, Outcome::Canceled);
    assert_eq!(
        ended,
        Response::Terminated {
            clean: true,
            given_up: 0,
            retained: 0
        }
    );
    assert_eq!(world.machine.claims().count(), 0);
}

#[test]
fn a_stop_ends_with_a_savepoint() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, true);
    let stop = StopJob {
        job: job_id(1),
        target: "/sp/".to_owned(),
        drain: true,
    };
    world.ask(Command::StopJob(stop));
    assert!(matches!(
        rejection(world.end(1, Outcome::Finished)),
        Rejection::OutputNotCommitted { .. }
    ));
    let refused = rejection(world.try_begin(1, CheckpointKind::Final));
    assert!(
        matches!(refused, Rejection::WrongState { .. }),
        "a savepoint is wanted"
    );
    let (id, path) = world.begin(1, CheckpointKind::StopSavepoint);
    assert_eq!(path, format!("/sp/savepoint-{}-2", world.job(1).run));
    world.complete(1, (id, path.clone()), true);
    world.committed(1, id);
    world.end(1, Outcome::Finished);
    world.over(1);
    world.clean();
    assert!(world.is_clean(1));
    assert_eq!(world.artefact_at(&path).state, ArtefactState::Retained);
    assert_eq!(
        world.machine.artefacts().count(),
        1,
        "only the savepoint stays"
    );
}

#[test]
fn an_interrupted_stop_takes_a_fresh_savepoint() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let stop = StopJob {
        job: job_id(1),
        target: "/sp".to_owned(),
        drain: false,
    };
    world.ask(Command::StopJob(stop));
    let (first, _) = world.begin(1, CheckpointKind::StopSavepoint);
    world.lead(2);
    assert_eq!(world.adopt(1), Response::Done);
    let (second, path) = world.begin(1, CheckpointKind::StopSavepoint);
    assert!(second > first);
    world.complete(1, (second, path), false);
    assert_eq!(world.end(1, Outcome::Finished).rejection(), None);
}

#[test]
fn the_leader_may_fail_a_job_outright() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let job = world.job(1);
    let cause = "/data/flights is not there".to_owned();
    let fail = FailJob {
        job: job.id,
        run: job.run,
        cause: cause.clone(),
    };
    assert_eq!(world.propose(Command::FailJob(fail)), Response::Done);
    world.end(1, Outcome::Failed);
    let result = world.job(1).result.clone().unwrap();
    assert_eq!(result.cause, Some(cause));
    assert_eq!(
        world
            .machine
            .history(job.id)
            .map(|history| history.failures.len()),
        Some(1)
    );
}

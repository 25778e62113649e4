//! A job's life: submit, deploy, run, fail, restart, cancel, stop, finish.

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
fn from_submission_to_a_clean_finish() {
    let mut world = World::new();
    let submitted = world.submit(1, &files_job("a"));
    let run = Run {
        generation: 1,
        index: LogIndex(world.index),
    };
    let answer = JobAnswer {
        job: job_id(1),
        run,
        state: JobState::Created,
        already: false,
    };
    assert_eq!(submitted, Response::Job(answer));
    assert_eq!(world.machine.deployable(0).count(), 1);

    let deployed = world.deploy(1);
    assert_eq!(deployed.token.index, LogIndex(world.index));
    assert_eq!(deployed.number, 1);
    assert_eq!(deployed.restore, RestorePoint::Start);
    let staging = format!("/out/a/_staging/{run}-{}", deployed.token);
    assert_eq!(deployed.staging, [("out".to_owned(), staging)]);
    assert_eq!(world.state(1), JobState::Created);
    assert_eq!(world.machine.deployable(u64::MAX).count(), 0);

    world.runs(1);
    assert_eq!(world.state(1), JobState::Running);
    let (id, path) = world.begin(1, CheckpointKind::Checkpoint);
    assert_eq!(path, format!("{ROOT}/{}/{run}/chk-1", job_id(1)));
    world.complete(1, (id, path), true);
    assert_eq!(
        world.job(1).latest.as_ref().map(|latest| latest.id),
        Some(CheckpointId(1))
    );

    let last = world.complete_kind(1, CheckpointKind::Final, true);
    assert_eq!(last, CheckpointId(2));
    let early = rejection(world.end(1, Outcome::Finished));
    assert_eq!(early, Rejection::OutputNotCommitted { job: job_id(1) });
    world.committed(1, last);
    let ended = world.end(1, Outcome::Finished);
    assert_eq!(
        ended,
        Response::Terminated {
            clean: false,
            given_up: 2,
            retained: 0
        }
    );
    assert_eq!(world.state(1), JobState::Finished);

    world.over(1);
    assert!(!world.is_clean(1));
    world.clean();
    assert!(world.is_clean(1));
    assert_eq!(world.machine.artefacts().count(), 0);
    assert_eq!(world.machine.claims().count(), 0);
    assert_eq!(world.machine.attempts(job_id(1)).count(), 0);
    let result = world.job(1).result.clone().unwrap();
    assert!(result.output_complete);
    assert_eq!(result.outcome, Outcome::Finished);
    assert!(
        world.job(1).latest.is_some(),
        "the latest checkpoint is told for ever"
    );
}

#[test]
fn a_job_without_transactions_needs_no_last_checkpoint() {
    let mut world = World::new();
    world.start(
        1,
        &JobGraph {
            checkpointing: None,
            ..blackhole_job("a")
        },
    );
    world.end(1, Outcome::Finished);
    assert!(!world.is_clean(1), "its tasks are not proved ended");
    world.over(1);
    assert!(world.is_clean(1));
}

#[test]
fn a_bounded_exactly_once_job_takes_a_last_checkpoint_without_an_interval() {
    let mut world = World::new();
    world.start(
        1,
        &JobGraph {
            checkpointing: None,
            ..files_job("a")
        },
    );
    let early = rejection(world.end(1, Outcome::Finished));
    assert_eq!(early, Rejection::OutputNotCommitted { job: job_id(1) });
    world.complete_kind(1, CheckpointKind::Final, false);
    let ended = world.end(1, Outcome::Finished);
    assert_eq!(
        ended.rejection(),
        None,
        "nothing was listed, so nothing is to be committed"
    );
}

#[test]
fn a_deployment_is_compared_and_set() {
    let mut world = World::new();
    world.submit(1, &blackhole_job("a"));
    let stale = world.deploy_command(1);
    world.deploy(1);
    let first = world.token(1);
    let refused = rejection(world.propose(stale.clone()));
    assert_eq!(refused.advice(), Advice::Replan);
    assert!(matches!(refused, Rejection::WrongToken { .. }));

    let again = world.deploy_command(1);
    assert!(matches!(
        rejection(world.propose(again)),
        Rejection::WrongState { .. }
    ));
    world.fail(1, FailureKind::TaskFailure);
    world.pass(1_000);
    assert!(matches!(
        rejection(world.propose(stale)),
        Rejection::WrongToken { .. }
    ));
    assert_eq!(world.deploy(1).number, 2);
    assert!(world.token(1) > first);
}

#[test]
fn a_placement_fills_each_slot_once() {
    let mut world = World::new();
    world.submit(1, &blackhole_job("a"));
    let mut twice = placement(2);
    twice[1].slot = 0;
    for wrong in [placement(1), placement(3), twice, Vec::new()] {
        let command = DeployAttempt {
            job: job_id(1),
            prior: None,
            placement: wrong,
        };
        let refused = rejection(world.propose(Command::DeployAttempt(command)));
        assert_eq!(
            refused,
            Rejection::WrongPlacement {
                job: job_id(1),
                needed: 2
            }
        );
    }
}

#[test]
fn a_failure_counts_once_per_attempt() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let token = world.token(1);
    assert_eq!(
        world.fail(1, FailureKind::TaskFailure),
        Verdict::Restart { due_ms: 1_000 }
    );
    let second = world.propose(failed(job_id(1), token, FailureKind::TaskFailure));
    assert_eq!(
        rejection(second),
        Rejection::AttemptEnded {
            job: job_id(1),
            token
        }
    );
    assert_eq!(world.job(1).restart.attempts_used, 1);
    assert_eq!(world.state(1), JobState::Restarting);
    let late = Command::AttemptRunning(AttemptRunning {
        job: job_id(1),
        token,
    });
    assert_eq!(
        rejection(world.propose(late)),
        Rejection::AttemptEnded {
            job: job_id(1),
            token
        }
    );
}

#[test]
fn a_restart_waits_until_it_is_due() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    world.fail(1, FailureKind::TaskFailure);
    world.pass(999);
    let early = world.deploy_command(1);
    let refused = rejection(world.propose(early));
    assert_eq!(
        refused,
        Rejection::NotDue {
            job: job_id(1),
            due_ms: 1_000
        }
    );
    assert_eq!(world.machine.deployable(999).count(), 0);
    assert_eq!(world.machine.next_deployable_ms(), Some(1_000));
    world.pass(1);
    assert_eq!(world.machine.deployable(1_000).count(), 1);
    assert_eq!(world.deploy(1).number, 2);
    assert_eq!(world.job(1).restarts, 1);
}

#[test]
fn a_used_up_strategy_fails_the_job() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    for _ in 0..3 {
        assert!(matches!(
            world.fail(1, FailureKind::TaskFailure),
            Verdict::Restart { .. }
        ));
        world.pass(1_000);
        world.deploy(1);
        world.runs(1);
    }
    assert_eq!(world.fail(1, FailureKind::TaskFailure), Verdict::Fail);
    assert_eq!(world.state(1), JobState::Failing);
    assert!(matches!(
        rejection(world.end(1, Outcome::Canceled)),
        Rejection::WrongState { .. }
    ));
    world.end(1, Outcome::Failed);
    let result = world.job(1).result.clone().unwrap();
    assert_eq!(result.cause.as_deref(), Some("division by zero"));
    assert!(result.output_complete, "no checkpoint listed anything");
    world.over(1);
    world.clean();
    assert!(world.is_clean(1));
}

#[test]
fn under_none_a_lost_worker_fails_the_job() {
    for kind in [
        FailureKind::WorkerLost,
        FailureKind::IncompleteAfterTakeover,
    ] {
        let mut world = World::new();
        let graph = JobGraph {
            restart_strategy: RestartStrategy::None,
            ..blackhole_job("a")
        };
        world.start(1, &graph);
        assert_eq!(world.fail(1, kind), Verdict::Fail);
    }
}

#[test]
fn a_waiting_job_tells_why() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let job = world.job(1);
    let reason = Some("not-enough-slots (needs 2, free 1)".to_owned());
    let wait = JobWaiting {
        job: job.id,
        run: job.run,
        reason: reason.clone(),
    };
    world.propose(Command::JobWaiting(wait.clone()));
    assert_eq!(world.job(1).reason, reason);
    world.deploy(1);
    assert_eq!(world.job(1).reason, None);
    let refused = rejection(world.propose(Command::JobWaiting(wait)));
    assert!(matches!(refused, Rejection::WrongState { .. }));
}

#[test]
fn graphs_that_would_break_the_state_are_refused() {
    let good = files_job("a");
    let mut unbounded = good.clone();
    unbounded.vertices[0].bounded = false;
    unbounded.checkpointing = None;
    let mut wide = good.clone();
    wide.vertices[1].parallelism = 129;
    let mut twice = good.clone();
    twice.vertices[1].id = "source".to_owned();
    let mut dangling = good.clone();
    dangling.vertices[2].inputs[0].from = "nobody".to_owned();
    let empty = JobGraph {
        vertices: Vec::new(),
        ..good.clone()
    };
    let nameless = JobGraph {
        name: String::new(),
        ..good.clone()
    };
    let mut endless = good.clone();
    endless.vertices[0].id = "x".repeat(65);
    let mut pathless = good.clone();
    pathless.vertices[2].sink = Some(sink("", IfExists::Append));
    let mut overlap = good;
    overlap.vertices[1].sink = Some(sink("/out/a/b", IfExists::Append));
    let mut world = World::new();
    let wrong = [
        unbounded, wide, twice, dangling, empty, nameless, endless, pathless, overlap,
    ];
    for graph in wrong {
        let refused = rejection(world.submit(1, &graph));
        assert!(matches!(refused, Rejection::InvalidGraph(_)), "{refused}");
        assert_eq!(refused.advice(), Advice::GiveUp);
    }
    assert_eq!(world.machine.job_count(), 0);
}

#[test]
fn the_history_tells_the_whole_story_and_is_bounded() {
    let mut world = World::new();
    let graph = JobGraph {
        restart_strategy: RestartStrategy::FixedDelay {
            attempts: 1_000,
            delay_ms: 0,
        },
        ..blackhole_job("a")
    };
    world.start(1, &graph);
    for _ in 0..40 {
        world.fail(1, FailureKind::TaskFailure);
        world.deploy(1);
        world.runs(1);
    }
    let history = world.machine.history(job_id(1)).unwrap();
    assert_eq!(history.events.len(), JobHistory::EVENTS_MAX);
    assert_eq!(history.events[0].kind, JobEventKind::Submitted);
    assert_eq!(
        history.events.last().map(|event| event.kind),
        Some(JobEventKind::Running)
    );
    assert_eq!(history.failures.len(), JobHistory::FAILURES_MAX);
    assert_eq!(
        history.failures.last().map(|failure| failure.attempt),
        Some(40)
    );
    assert_eq!(world.job(1).restarts, 40);
}

#[test]
fn long_texts_from_outside_are_cut() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let job = world.job(1);
    let cause = "ü".repeat(5_000);
    world.propose(Command::FailJob(FailJob {
        job: job.id,
        run: job.run,
        cause,
    }));
    assert_eq!(world.job(1).reason.as_ref().map(String::len), Some(1_024));
}

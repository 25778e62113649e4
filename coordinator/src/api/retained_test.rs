//! What is kept is listed as long as it is kept, whatever became of its job.

use regent_state::Command;
use regent_state::command::{
    AttemptsOver, CancelJob, CheckpointKind, DisposeSavepoint, ExpireResults, JobTerminated,
    Outcome, RequestSavepoint,
};
use regent_state::response::Response;

use super::*;
use crate::testing::{Env, JOB, SinkKind, graph, tm};

#[test]
fn a_savepoint_is_listed_until_it_is_disposed_of_also_without_its_job() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    let attempt = env.run(&[tm(1, 1)]);
    assert_eq!(retained_list(&env.machine), []);
    let asked = env.client(Command::RequestSavepoint(RequestSavepoint {
        job: JOB,
        target: "/sp".to_owned(),
    }));
    let Response::SavepointRequested { request, .. } = asked else {
        panic!("not asked for: {asked:?}");
    };
    let id = env.checkpoint(CheckpointKind::Savepoint { request }, false);
    // In use, and not kept.
    env.checkpoint(CheckpointKind::Checkpoint, false);
    let listed = retained_list(&env.machine);
    let [kept] = listed.as_slice() else {
        panic!("one is kept: {listed:?}");
    };
    let path = format!("/sp/savepoint-{}-{id}", attempt.run);
    assert_eq!((&kept.path, kept.id), (&path, id.0));
    assert_eq!((&*kept.kind, kept.size_bytes), ("savepoint", Some(3)));
    assert_eq!(kept.job_id, JOB.to_string());
    assert_eq!(kept.completed_at_ms, Some(1_000_000 + env.clock_ms));
    assert!(kept.name.is_some());

    env.client(Command::CancelJob(CancelJob { job: JOB }));
    env.leader(Command::JobTerminated(JobTerminated {
        job: JOB,
        run: attempt.run,
        token: Some(attempt.token),
        outcome: Outcome::Canceled,
    }));
    env.leader(Command::AttemptsOver(AttemptsOver {
        job: JOB,
        run: attempt.run,
        tokens: vec![attempt.token],
    }));
    clean(&mut env);
    env.clock_ms += ExpireResults::AGE_MS_MIN;
    env.leader(Command::ExpireResults(ExpireResults {
        older_than_ms: 0,
        keep_at_most: 0,
    }));
    assert!(env.machine.job(JOB).is_none(), "its result has expired");
    let expected = view::RetainedView {
        name: None,
        ..kept.clone()
    };
    assert_eq!(retained_list(&env.machine), [expected]);

    env.client(Command::DisposeSavepoint(DisposeSavepoint { path }));
    assert_eq!(retained_list(&env.machine), []);
}

/// Whatever is due is gone.
fn clean(env: &mut Env) {
    use regent_state::command::{CleanupAttempted, CleanupOutcome, CleanupReport};
    let due = env.machine.due_cleanups(env.clock_ms);
    let gone = due.map(|artefact| CleanupReport {
        artefact: artefact.id,
        outcome: CleanupOutcome::Gone,
    });
    let outcomes = gone.collect();
    env.leader(Command::CleanupAttempted(CleanupAttempted { outcomes }));
}

//! Retries: the same request is run once and answered alike, until it is too old to tell.

use regent_state::Command;
use regent_state::command::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;

use crate::support::*;

fn submit(number: u8, name: &str) -> Command {
    let graph = files_job(name);
    Command::SubmitJob(SubmitJob {
        job_id: job_id(number),
        graph,
        restore: None,
    })
}

fn answer(response: Response) -> (JobState, bool) {
    match response {
        Response::Job(answer) => (answer.state, answer.already),
        other => panic!("no answer about a job: {other:?}"),
    }
}

#[test]
fn the_same_request_runs_once_and_tells_the_present_state() {
    let mut world = World::new();
    let tag = Some(request(1, 1));
    assert_eq!(
        answer(world.write(None, tag, submit(1, "a"))),
        (JobState::Created, false)
    );
    assert_eq!(
        answer(world.write(None, tag, submit(1, "a"))),
        (JobState::Created, true)
    );
    world.deploy(1);
    world.runs(1);
    world.lead(2);
    assert_eq!(
        answer(world.write(None, tag, submit(1, "a"))),
        (JobState::Reconciling, true)
    );
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    assert_eq!(
        answer(world.write(None, tag, submit(1, "a"))),
        (JobState::Canceled, true)
    );
    assert_eq!(world.machine.job_count(), 1);
}

#[test]
fn the_same_job_and_graph_is_the_same_job_in_every_state() {
    let mut world = World::new();
    world.write(None, Some(request(1, 1)), submit(1, "a"));
    let again = world.write(None, Some(request(2, 1)), submit(1, "a"));
    assert_eq!(answer(again), (JobState::Created, true));
    let other = world.write(None, Some(request(3, 1)), submit(1, "b"));
    assert_eq!(other, Rejection::JobIdConflict { job: job_id(1) }.into());
}

#[test]
fn a_refusal_stays_a_refusal() {
    let mut world = World::new();
    world.write(None, Some(request(1, 1)), submit(1, "a"));
    let tag = Some(request(2, 1));
    let graph = files_job("a");
    let rival = Command::SubmitJob(SubmitJob {
        job_id: job_id(2),
        graph,
        restore: None,
    });
    let refused = world.write(None, tag, rival.clone());
    assert!(matches!(
        refused.rejection(),
        Some(Rejection::SinkClaimed { .. })
    ));

    // The way is free now, but a copy of the refused request may still be under way.
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    assert!(world.is_clean(1));
    assert_eq!(world.write(None, tag, rival.clone()), refused);
    assert_eq!(
        answer(world.write(None, Some(request(3, 1)), rival)).0,
        JobState::Created
    );
}

#[test]
fn a_request_that_left_the_window_is_not_run() {
    let mut world = World::new();
    let base = world.index;
    world.write(None, Some(request(1, base)), submit(1, "a"));
    world.index = base + 100_000;
    let last = world.write(None, Some(request(2, base + 1)), submit(2, "b"));
    assert_eq!(answer(last).0, JobState::Created);
    let late = world.write(None, Some(request(3, base)), submit(3, "c"));
    assert_eq!(
        late,
        Rejection::Expired {
            request: RequestId([3; 16])
        }
        .into()
    );
    assert_eq!(world.machine.job_count(), 2);

    world.index += 10;
    world.pass(1);
    world.cancel(2);
    assert!(!world.machine.knows_request(RequestId([1; 16])));
    assert!(world.machine.knows_request(RequestId([2; 16])));
}

#[test]
fn a_request_of_another_generation_is_not_run() {
    let mut world = World::new();
    let tag = regent_state::RequestTag {
        base_generation: 2,
        ..request(1, 1)
    };
    let refused = world.write(None, Some(tag), submit(1, "a"));
    assert_eq!(refused, Rejection::Expired { request: tag.id }.into());
}

#[test]
fn a_request_from_the_future_is_not_run() {
    let mut world = World::new();
    let refused = world.write(None, Some(request(1, 99)), submit(1, "a"));
    assert!(matches!(
        refused.rejection(),
        Some(Rejection::BaseAhead { .. })
    ));
}

#[test]
fn a_dirty_job_is_cleaned_once_more_per_request() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.over(1);
    let staging = world
        .machine
        .artefacts()
        .next()
        .map(|artefact| artefact.id)
        .unwrap();
    world.cleanup_fails(staging, None);
    let state = |world: &World| {
        world
            .machine
            .artefact(staging)
            .map(|artefact| artefact.state)
    };
    assert_eq!(state(&world), Some(ArtefactState::Dirty));

    let base = world.index;
    let tag = Some(request(1, base));
    let again = world.write(None, tag, submit(1, "a"));
    assert_eq!(answer(again), (JobState::Canceled, true));
    assert_eq!(state(&world), Some(ArtefactState::Pending));
    world.cleanup_fails(staging, None);
    world.write(None, tag, submit(1, "a"));
    assert_eq!(
        state(&world),
        Some(ArtefactState::Dirty),
        "the same request: once"
    );

    let other = world.write(None, Some(request(2, base)), submit(1, "other"));
    assert_eq!(other, Rejection::JobIdConflict { job: job_id(1) }.into());
    assert_eq!(
        state(&world),
        Some(ArtefactState::Pending),
        "cleaned, not run"
    );
}

#[test]
fn a_repeated_request_outlives_its_job() {
    let mut world = World::new();
    let tag = Some(request(1, 1));
    world.write(None, tag, submit(1, "a"));
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.pass(ExpireResults::AGE_MS_MIN);
    let expire = ExpireResults {
        older_than_ms: 0,
        keep_at_most: 100,
    };
    let expired = world.propose(Command::ExpireResults(expire));
    assert_eq!(
        expired,
        Response::ResultsExpired {
            expired: 1,
            more: false
        }
    );
    let again = world.write(None, tag, submit(1, "a"));
    assert_eq!(again, Rejection::ResultExpired(job_id(1)).into());
    assert_eq!(world.machine.job_count(), 0);

    // A new request may use the id again, and gets a run of its own.
    let base = world.index;
    world.write(None, Some(request(2, base)), submit(1, "a"));
    assert_eq!(world.job(1).run.index, LogIndex(base + 1));
}

//! Sinks: claims of paths, staging, and what must be committed before anything is deleted.

use std::sync::Arc;

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

fn writes(path: &str, mode: IfExists) -> JobGraph {
    graph("writer", Some(sink(path, mode)))
}

fn staging_state(world: &World, deployed: &Deployed) -> Option<ArtefactState> {
    world
        .machine
        .artefact_at(&deployed.staging[0].1)
        .map(|artefact| artefact.state)
}

#[test]
fn a_claimed_path_is_refused_with_everything_above_and_below() {
    let mut world = World::new();
    world.submit(1, &writes("/out/a", IfExists::Refuse));
    for path in [
        "/out/a",
        "/out/a/",
        "file:///out//a",
        "/out/a/b",
        "/out",
        "/",
    ] {
        for mode in [IfExists::Refuse, IfExists::Append, IfExists::Replace] {
            let refused = rejection(world.submit(2, &writes(path, mode)));
            let claimed = Rejection::SinkClaimed {
                path: path.to_owned(),
                job: job_id(1),
            };
            assert_eq!(refused, claimed);
        }
    }
    assert_eq!(
        world
            .submit(2, &writes("/out/ab", IfExists::Refuse))
            .rejection(),
        None
    );
    assert_eq!(
        world
            .submit(3, &writes("s3://out/a", IfExists::Refuse))
            .rejection(),
        None
    );
}

#[test]
fn claims_compare_by_segment_not_by_text() {
    let mut world = World::new();
    for (number, path) in (1..).zip(["/out/a-b", "/out/a.b", "/out/a0", "/out/a"]) {
        assert_eq!(
            world
                .submit(number, &writes(path, IfExists::Refuse))
                .rejection(),
            None
        );
    }
    let refused = rejection(world.submit(9, &writes("/out/a/b", IfExists::Refuse)));
    assert!(matches!(refused, Rejection::SinkClaimed { job, .. } if job == job_id(4)));
}

#[test]
fn appending_beside_appending_is_allowed() {
    let mut world = World::new();
    world.submit(1, &writes("/out", IfExists::Append));
    assert_eq!(
        world
            .submit(2, &writes("/out", IfExists::Append))
            .rejection(),
        None
    );
    assert_eq!(
        world
            .submit(3, &writes("/out/x", IfExists::Append))
            .rejection(),
        None
    );
    assert!(
        world
            .submit(4, &writes("/out", IfExists::Refuse))
            .rejection()
            .is_some()
    );
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    assert!(
        world
            .submit(4, &writes("/out", IfExists::Refuse))
            .rejection()
            .is_some()
    );
}

#[test]
fn a_claim_is_held_until_the_last_transaction_is_committed() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let latest = world.checkpoint(1, true);
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.over(1);
    assert!(world.submit(2, &files_job("a")).rejection().is_some());
    world.committed(1, latest);
    assert_eq!(world.submit(2, &files_job("a")).rejection(), None);
}

#[test]
fn a_cancelled_job_commits_first_what_its_latest_checkpoint_lists() {
    let mut world = World::new();
    let deployed = {
        world.submit(1, &files_job("a"));
        let deployed = world.deploy(1);
        world.runs(1);
        deployed
    };
    let latest = world.checkpoint(1, true);
    let path = world
        .job(1)
        .latest
        .as_ref()
        .map(|latest| latest.path.clone())
        .unwrap();
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.over(1);
    assert!(!world.job(1).result.as_ref().unwrap().output_complete);
    assert_eq!(staging_state(&world, &deployed), Some(ArtefactState::Live));
    assert_eq!(
        world.artefact_at(&path).state,
        ArtefactState::Live,
        "it lists what to commit"
    );
    world.clean();
    assert!(!world.is_clean(1));

    let unknown = rejection(world.committed(1, CheckpointId(9)));
    assert!(matches!(unknown, Rejection::UnknownCheckpoint { .. }));
    world.committed(1, latest);
    assert!(world.job(1).result.as_ref().unwrap().output_complete);
    assert_eq!(
        staging_state(&world, &deployed),
        Some(ArtefactState::Pending)
    );
    assert_eq!(world.artefact_at(&path).state, ArtefactState::Pending);
    world.clean();
    assert!(world.is_clean(1));
}

#[test]
fn staging_waits_for_the_end_of_its_attempt_and_for_its_commit() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let first = world.deploy(1);
    world.runs(1);
    let latest = world.checkpoint(1, true);
    world.fail(1, FailureKind::WorkerLost);
    let second = world.deploy(1);
    world.runs(1);
    assert_eq!(staging_state(&world, &first), Some(ArtefactState::Live));

    // Over, but the restore point names its transactions.
    let job = world.job(1);
    let tokens = vec![first.token];
    world.propose(Command::AttemptsOver(AttemptsOver {
        job: job.id,
        run: job.run,
        tokens,
    }));
    assert_eq!(staging_state(&world, &first), Some(ArtefactState::Live));
    world.committed(1, latest);
    assert_eq!(staging_state(&world, &first), Some(ArtefactState::Pending));
    assert_eq!(staging_state(&world, &second), Some(ArtefactState::Live));
    world.clean();
    assert_eq!(
        staging_state(&world, &first),
        None,
        "dropped while the job goes on"
    );
    assert_eq!(world.machine.attempts(job.id).count(), 1);
}

#[test]
fn staging_that_is_committed_waits_for_proof_of_the_end() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let first = world.deploy(1);
    world.runs(1);
    world.fail(1, FailureKind::WorkerLost);
    world.deploy(1);
    world.runs(1);
    world.checkpoint(1, false);
    assert_eq!(
        staging_state(&world, &first),
        Some(ArtefactState::Live),
        "it may still write"
    );
    world.over(1);
    assert_eq!(staging_state(&world, &first), Some(ArtefactState::Pending));
}

#[test]
fn a_checkpoint_tells_what_was_committed_before_it() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let first = world.deploy(1);
    world.runs(1);
    let restored = world.checkpoint(1, true);
    world.fail(1, FailureKind::WorkerLost);
    world.deploy(1);
    world.runs(1);
    let job = world.job(1);
    let tokens = vec![first.token];
    world.propose(Command::AttemptsOver(AttemptsOver {
        job: job.id,
        run: job.run,
        tokens,
    }));
    let (id, path) = world.begin(1, CheckpointKind::Checkpoint);
    let token = world.token(1);
    world.propose(Command::CompleteCheckpoint(CompleteCheckpoint {
        job: job.id,
        token,
        id,
        pointer: pointer(path, true),
        sinks_committed_through: Some(restored),
    }));
    assert_eq!(world.job(1).committed_through, Some(restored));
    assert_eq!(staging_state(&world, &first), Some(ArtefactState::Pending));
}

#[test]
fn output_that_no_worker_can_commit_is_given_up_by_an_operator() {
    let mut world = World::new();
    world.submit(1, &files_job("a"));
    let deployed = world.deploy(1);
    world.runs(1);
    let staging = world.artefact_at(&deployed.staging[0].1).id;
    let forget = || Command::ForgetArtefact(ForgetArtefact { artefact: staging });
    assert_eq!(
        rejection(world.ask(forget())),
        Rejection::ArtefactInUse { artefact: staging }
    );
    world.checkpoint(1, true);
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.over(1);
    assert_eq!(world.ask(forget()).rejection(), None);
    world.clean();
    assert!(world.is_clean(1));
    assert!(!world.job(1).result.as_ref().unwrap().output_complete);
}

#[test]
fn output_can_also_be_given_up_by_the_checkpoint_that_lists_it() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, true);
    let path = world
        .job(1)
        .latest
        .as_ref()
        .map(|latest| latest.path.clone())
        .unwrap();
    let artefact = world.artefact_at(&path).id;
    let forget = || Command::ForgetArtefact(ForgetArtefact { artefact });
    assert_eq!(
        rejection(world.ask(forget())),
        Rejection::ArtefactInUse { artefact }
    );
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    assert_eq!(world.ask(forget()).rejection(), None);
    world.over(1);
    world.clean();
    assert!(world.is_clean(1));
    assert_eq!(world.machine.artefacts().count(), 0);
}

#[test]
fn replaced_files_are_listed_before_the_first_attempt_and_deleted_by_name() {
    let mut world = World::new();
    world.submit(1, &writes("/out/a", IfExists::Replace));
    let early = world.deploy_command(1);
    let refused = rejection(world.propose(early));
    assert!(matches!(refused, Rejection::SinkNotPrepared { .. }));

    let job = world.job(1);
    let prepare = |vertex: &str, files: &[&str]| {
        Command::SinkPrepared(SinkPrepared {
            job: job.id,
            run: job.run,
            vertex: vertex.to_owned(),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        })
    };
    let own = format!("part-{}-1.9-0-0", job.run);
    for file in [own.as_str(), "../other", "/etc/passwd", "a//b", "."] {
        let refused = rejection(world.propose(prepare("out", &[file])));
        assert!(matches!(refused, Rejection::Invalid(_)), "{file}");
    }
    let long = "x".repeat(SinkPrepared::BYTES_MAX + 1);
    let refused = rejection(world.propose(prepare("out", &[&long])));
    assert!(matches!(refused, Rejection::Invalid(_)));
    let refused = rejection(world.propose(prepare("filter", &[])));
    assert!(matches!(refused, Rejection::UnknownSink { .. }));
    world.propose(prepare("out", &["part-1.1-1.2-0-0", "sub/old.csv"]));
    let replaced = Arc::clone(world.machine.due_cleanups(0).next().unwrap());
    assert_eq!(replaced.path, "/out/a");
    let ArtefactKind::Replaced { files, .. } = &replaced.kind else {
        panic!("{replaced:?}")
    };
    assert_eq!(files.len(), 2);
    world.deploy(1);
    world.clean();
    assert!(world.machine.artefact(replaced.id).is_none());
}

/// Job 1 was stopped, is clean, and has left a savepoint at this path.
fn stopped_with_savepoint() -> (World, String) {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let stop = StopJob {
        job: job_id(1),
        target: "/sp".to_owned(),
        drain: false,
    };
    world.ask(Command::StopJob(stop));
    let id = world.complete_kind(1, CheckpointKind::StopSavepoint, true);
    world.committed(1, id);
    world.end(1, Outcome::Finished);
    world.over(1);
    world.clean();
    let path = world
        .job(1)
        .latest
        .as_ref()
        .map(|latest| latest.path.clone())
        .unwrap();
    (world, path)
}

#[test]
fn a_savepoint_is_pinned_until_the_new_jobs_first_checkpoint() {
    let (mut world, path) = stopped_with_savepoint();
    let restore = |mode| {
        let graph = writes("/out/a", mode);
        let restore = RestoreFrom {
            path: path.clone(),
            allow_unclaimed_state: true,
        };
        SubmitJob {
            job_id: job_id(2),
            graph,
            restore: Some(restore),
        }
    };
    let refused = rejection(world.ask(Command::SubmitJob(restore(IfExists::Refuse))));
    assert_eq!(
        refused,
        Rejection::RestoreMustAppend {
            vertex: "out".to_owned()
        }
    );
    world.ask(Command::SubmitJob(restore(IfExists::Append)));
    assert_eq!(world.machine.pinned_by(&path), Some(job_id(2)));
    let dispose = || Command::DisposeSavepoint(DisposeSavepoint { path: path.clone() });
    assert!(matches!(
        rejection(world.ask(dispose())),
        Rejection::Pinned { .. }
    ));

    let deployed = world.deploy(2);
    let from = RestorePoint::Savepoint {
        path: path.clone(),
        allow_unclaimed_state: true,
    };
    assert_eq!(deployed.restore, from);
    world.runs(2);
    world.fail(2, FailureKind::WorkerLost);
    assert_eq!(
        world.deploy(2).restore,
        from,
        "until it has a checkpoint of its own"
    );
    world.runs(2);
    world.checkpoint(2, true);
    assert_eq!(world.machine.pinned_by(&path), None);
    assert!(matches!(world.ask(dispose()), Response::Disposing { .. }));
    let late = rejection(world.ask(Command::SubmitJob(SubmitJob {
        job_id: job_id(3),
        graph: graph("b", Some(sink("/out/b", IfExists::Append))),
        restore: Some(RestoreFrom {
            path: path.clone(),
            allow_unclaimed_state: false,
        }),
    })));
    assert_eq!(late, Rejection::SavepointGone { path });
}

#[test]
fn a_live_checkpoint_is_no_savepoint() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, true);
    let path = world
        .job(1)
        .latest
        .as_ref()
        .map(|latest| latest.path.clone())
        .unwrap();
    let restore = RestoreFrom {
        path: path.clone(),
        allow_unclaimed_state: false,
    };
    let graph = writes("/out/b", IfExists::Append);
    let submit = SubmitJob {
        job_id: job_id(2),
        graph,
        restore: Some(restore),
    };
    let refused = rejection(world.ask(Command::SubmitJob(submit)));
    assert!(matches!(refused, Rejection::SavepointPending { .. }));
    let dispose = Command::DisposeSavepoint(DisposeSavepoint { path });
    assert!(matches!(
        rejection(world.ask(dispose)),
        Rejection::NotDisposable { .. }
    ));
}

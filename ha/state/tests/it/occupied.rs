//! Where users may put savepoints and sinks: never where something is deleted around them, nor over what is
//! kept.

use regent_state::Command;
use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::model::*;
use regent_state::response::*;

use crate::support::*;

fn writes(path: &str, mode: IfExists) -> JobGraph {
    graph("writer", Some(sink(path, mode)))
}

fn savepoint(world: &mut World, number: u8, target: &str) -> Response {
    world.ask(Command::RequestSavepoint(RequestSavepoint {
        job: job_id(number),
        target: target.to_owned(),
    }))
}

fn stop(world: &mut World, number: u8, target: &str) -> Response {
    world.ask(Command::StopJob(StopJob {
        job: job_id(number),
        target: target.to_owned(),
        drain: false,
    }))
}

/// Takes the savepoint that was asked for; its directory.
fn taken(world: &mut World, number: u8, asked: &Response) -> String {
    let Response::SavepointRequested { request, .. } = asked else {
        panic!("not asked for: {asked:?}");
    };
    let kind = CheckpointKind::Savepoint { request: *request };
    world.complete_kind(number, kind, false);
    world.job(number).latest.clone().expect("it is there").path
}

/// Whose what is in the way of a savepoint.
fn around(response: &Response) -> (&str, &str, Option<JobId>) {
    match response.rejection() {
        Some(Rejection::SavepointWithin { by, .. }) => (&by.what, &by.path, by.job),
        other => panic!("not refused for its place: {other:?}"),
    }
}

/// Whose what is in the way of a sink.
fn met(response: &Response) -> (&str, &str, Option<JobId>) {
    match response.rejection() {
        Some(Rejection::SinkOccupied { by, .. }) => (&by.what, &by.path, by.job),
        other => panic!("not refused for its place: {other:?}"),
    }
}

#[test]
fn no_savepoint_lies_within_a_checkpoint_staging_another_savepoint_or_a_sink() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let (id, checkpoint) = world.begin(1, CheckpointKind::Checkpoint);
    world.complete(1, (id, checkpoint.clone()), false);
    world.start(2, &blackhole_job("b"));
    let asked = savepoint(&mut world, 2, "/sp");
    let kept = taken(&mut world, 2, &asked);
    let staged = world
        .machine
        .artefacts()
        .find(|one| one.kind.to_string() == "staging");
    let staged = staged.expect("the sink stages").path.clone();
    let (one, two) = (Some(job_id(1)), Some(job_id(2)));
    for (folder, what, at, job) in [
        (checkpoint.clone(), "checkpoint", &*checkpoint, one),
        (
            format!("{checkpoint}/deep/er/"),
            "checkpoint",
            &checkpoint,
            one,
        ),
        (
            format!("file://{checkpoint}"),
            "checkpoint",
            &checkpoint,
            one,
        ),
        (format!("{staged}/x"), "staging", &staged, one),
        ("/out/a".to_owned(), "sink path", "/out/a", one),
        ("/out/a/sp".to_owned(), "sink path", "/out/a", one),
        (format!("{kept}/more"), "savepoint", &kept, two),
    ] {
        for number in [1, 2] {
            let refused = savepoint(&mut world, number, &folder);
            assert_eq!(around(&refused), (what, at, job), "{folder}");
            let refused = stop(&mut world, number, &folder);
            assert_eq!(around(&refused), (what, at, job), "{folder}");
        }
    }
    assert_eq!(world.job(1).wanted, Wanted::Run);
}

#[test]
fn what_is_given_up_and_swept_later_is_no_place_either() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let (_, path) = world.begin(1, CheckpointKind::Checkpoint);
    world.abort(1, false);
    world.clean();
    let artefact = world.artefact_at(&path);
    assert_eq!(artefact.state, ArtefactState::Done, "it owes a sweep");
    let refused = savepoint(&mut world, 1, &path);
    assert_eq!(around(&refused).0, "checkpoint");
}

#[test]
fn the_usual_places_stay_open() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.start(2, &files_job("b"));
    // The storage's own folder, and one that jobs share.
    for folder in [
        format!("{ROOT}/savepoints"),
        "/sp".to_owned(),
        "/out".to_owned(),
    ] {
        for number in [1, 2] {
            let asked = savepoint(&mut world, number, &folder);
            taken(&mut world, number, &asked);
        }
    }
    world.checkpoint(1, false);
    assert_eq!(stop(&mut world, 1, "/sp/").rejection(), None);
    world.complete_kind(1, CheckpointKind::StopSavepoint, false);
    let through = world.job(1).latest.as_ref().expect("the savepoint").id;
    world.committed(1, through);
    assert_eq!(world.end(1, Outcome::Finished).rejection(), None);
    world.over(1);
    world.clean();
    // Its own output again, and in the folder that holds savepoints too.
    for (number, path, mode) in [
        (3, "/out/a", IfExists::Append),
        (4, "/out/a/../c", IfExists::Replace),
        (5, "/sp/out", IfExists::Refuse),
    ] {
        let accepted = world.submit(number, &writes(path, mode));
        assert_eq!(accepted.rejection(), None, "{path}");
    }
}

#[test]
fn no_sink_meets_what_another_job_or_a_user_keeps() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let id = world.checkpoint(1, false);
    let checkpoint = world.job(1).latest.clone().expect("it is there").path;
    let job = job_id(1);
    let folder = format!("{ROOT}/{job}");
    for mode in [IfExists::Refuse, IfExists::Append, IfExists::Replace] {
        for path in [
            ROOT,
            &*folder,
            &checkpoint,
            &format!("{checkpoint}/x"),
            "/var",
        ] {
            let refused = world.submit(2, &writes(path, mode));
            assert_eq!(
                met(&refused),
                ("checkpoint", &*checkpoint, Some(job)),
                "{path} {id}"
            );
        }
    }
    let asked = savepoint(&mut world, 1, "/data/sp");
    let kept = taken(&mut world, 1, &asked);
    for path in ["/data", "/data/sp", &*kept] {
        let refused = world.submit(2, &writes(path, IfExists::Replace));
        assert_eq!(met(&refused), ("savepoint", &*kept, Some(job)), "{path}");
    }
    // Given up and gone: the place is free.
    world.checkpoint(1, false);
    let dispose = DisposeSavepoint { path: kept };
    assert_eq!(
        world.ask(Command::DisposeSavepoint(dispose)).rejection(),
        None
    );
    let accepted = world.submit(2, &writes("/data/sp", IfExists::Replace));
    assert_eq!(accepted.rejection(), None);
}

#[test]
fn a_savepoint_that_waits_keeps_sinks_from_its_folder() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let asked = savepoint(&mut world, 1, "/data/sp");
    world.start(2, &blackhole_job("b"));
    stop(&mut world, 2, "/last");
    for (path, folder, job) in [
        ("/data", "/data/sp", 1),
        ("/data/sp", "/data/sp", 1),
        ("/last", "/last", 2),
    ] {
        let refused = world.submit(3, &writes(path, IfExists::Append));
        assert_eq!(
            met(&refused),
            ("savepoint folder", folder, Some(job_id(job))),
            "{path}"
        );
    }
    let beside = world.submit(3, &writes("/data/sp/out", IfExists::Append));
    assert_eq!(beside.rejection(), None);
    assert!(taken(&mut world, 1, &asked).starts_with("/data/sp/savepoint-"));
    // Nobody asks any more.
    world.cancel(2);
    world.end(2, Outcome::Canceled);
    let free = world.submit(4, &writes("/last", IfExists::Append));
    assert_eq!(free.rejection(), None);
}

#[test]
fn a_checkpoint_takes_no_directory_that_holds_something() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let (job, run) = (job_id(1), world.job(1).run);
    let next = |id: u64| format!("{ROOT}/{job}/{run}/chk-{id}");
    // One savepoint waits in the next directory, one lies in a later one, and in the one after is a sink.
    let first = savepoint(&mut world, 1, &next(3));
    let kept = taken(&mut world, 1, &first);
    let second = savepoint(&mut world, 1, &next(2));
    let third = world.submit(2, &writes(&format!("{}/out", next(4)), IfExists::Append));
    assert_eq!(third.rejection(), None);
    let (id, path) = world.begin(1, CheckpointKind::Checkpoint);
    assert_eq!((id, path), (CheckpointId(5), next(5)));
    world.complete(1, (id, next(5)), false);
    let waiting = taken(&mut world, 1, &second);
    world.checkpoint(1, false);
    world.pass(100_000);
    world.clean();
    for kept in [kept, waiting] {
        assert_eq!(world.artefact_at(&kept).state, ArtefactState::Retained);
    }
}

#[test]
fn replace_leaves_what_the_ledger_holds() {
    let mut world = World::new();
    let staged = {
        world.submit(1, &writes("/out", IfExists::Append));
        world.deploy(1).staging[0].1.clone()
    };
    world.cancel(1);
    world.end(1, Outcome::Canceled);
    world.over(1);
    assert!(
        world.machine.artefact_at(&staged).is_some(),
        "not removed yet"
    );
    let submitted = world.submit(2, &writes("/out", IfExists::Replace));
    assert_eq!(submitted.rejection(), None);
    let below = staged.strip_prefix("/out/").expect("below the sink");
    let prepared = world.propose(Command::SinkPrepared(SinkPrepared {
        job: job_id(2),
        run: world.job(2).run,
        vertex: "out".to_owned(),
        files: vec!["old.csv".to_owned(), format!("{below}/part")],
    }));
    assert_eq!(prepared, Response::Done);
    let names = world.machine.artefacts().find_map(|one| match &one.kind {
        ArtefactKind::Replaced { files, .. } => Some(files.clone()),
        _ => None,
    });
    assert_eq!(names, Some(vec!["old.csv".to_owned()]));
}

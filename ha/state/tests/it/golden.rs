//! Frozen bytes: every command, every answer that is stored, and the whole state after a story.
//!
//! A difference means that an old log or store would be read or replayed differently. Only for a
//! deliberate, new version: `REGENT_RECORD_GOLDEN=1 cargo test -p regent-state golden`, and review
//! the difference. Lines may be added; lines that were released never change.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::response::*;
use regent_state::{Command, Envelope, Key};

use crate::answers::*;
use crate::samples::*;
use crate::support::*;

const COMMANDS: &str = include_str!("../golden/commands.txt");
const RESPONSES: &str = include_str!("../golden/responses.txt");
const STATE: &str = include_str!("../golden/state.txt");
const WISHES: &str = include_str!("../golden/wishes.txt");

/// Compares with the file, or records it.
#[allow(
    clippy::disallowed_methods,
    reason = "a test that records a file on demand"
)]
fn check(file: &str, golden: &str, lines: &[(String, Vec<u8>)]) {
    let mut text = String::new();
    for (name, bytes) in lines {
        writeln!(text, "{name} = {}", hex(bytes)).unwrap();
    }
    if std::env::var("REGENT_RECORD_GOLDEN").is_ok() {
        let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, text).unwrap();
        return;
    }
    for (old, new) in golden.lines().zip(text.lines()) {
        assert_eq!(old, new, "in {file}");
    }
    assert_eq!(
        golden.lines().count(),
        text.lines().count(),
        "lines in {file}"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The compiler asks for a name whenever a command is added; the test then asks for a sample.
fn name(command: &Command) -> &'static str {
    match command {
        Command::AnnounceLeader(_) => "announce-leader",
        Command::SubmitJob(_) => "submit-job",
        Command::DeployAttempt(_) => "deploy-attempt",
        Command::AttemptRunning(_) => "attempt-running",
        Command::AttemptAdopted(_) => "attempt-adopted",
        Command::AttemptFailed(_) => "attempt-failed",
        Command::AttemptsOver(_) => "attempts-over",
        Command::CancelJob(_) => "cancel-job",
        Command::StopJob(_) => "stop-job",
        Command::RequestSavepoint(_) => "request-savepoint",
        Command::FailJob(_) => "fail-job",
        Command::JobWaiting(_) => "job-waiting",
        Command::SinkPrepared(_) => "sink-prepared",
        Command::SinksCommitted(_) => "sinks-committed",
        Command::JobTerminated(_) => "job-terminated",
        Command::BeginCheckpoint(_) => "begin-checkpoint",
        Command::CompleteCheckpoint(_) => "complete-checkpoint",
        Command::AbortCheckpoint(_) => "abort-checkpoint",
        Command::CleanupAttempted(_) => "cleanup-attempted",
        Command::CleanupSwept(_) => "cleanup-swept",
        Command::RetryCleanup(_) => "retry-cleanup",
        Command::ForgetArtefact(_) => "forget-artefact",
        Command::DisposeSavepoint(_) => "dispose-savepoint",
        Command::ExpireResults(_) => "expire-results",
        Command::SetFeatureLevel(_) => "set-feature-level",
        Command::ChangeMember(_) => "change-member",
        Command::DrainWorker(_) => "drain-worker",
        Command::ResumeJobs(_) => "resume-jobs",
    }
}

#[test]
fn commands_keep_their_bytes() {
    let samples: Vec<Envelope> = all_commands().into_iter().map(envelope).collect();
    let names: BTreeSet<_> = samples.iter().map(|sample| name(&sample.command)).collect();
    assert_eq!(names.len(), 28, "every command has a sample");
    let lines: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(number, sample)| {
            (
                format!("{number:02} {}", name(&sample.command)),
                sample.encode(),
            )
        })
        .collect();
    check("commands.txt", COMMANDS, &lines);
    for (sample, line) in samples.iter().zip(COMMANDS.lines()) {
        let bytes = unhex(line.split(" = ").nth(1).unwrap());
        assert_eq!(&Envelope::decode(&bytes).unwrap(), sample);
    }
}

#[test]
fn commands_read_as_sentences() {
    let lines: Vec<String> = all_commands().iter().map(Command::to_string).collect();
    assert!(
        lines
            .iter()
            .all(|line| !line.contains('\n') && line.len() < 200)
    );
    let job = job_id(0x5a);
    let expected = format!("submit job {job} `flights per carrier` from /sp/savepoint-1.5-9");
    assert_eq!(lines[0], expected);
    let envelope = envelope(Command::CancelJob(CancelJob { job }));
    let request = RequestId([0xaa; 16]);
    assert_eq!(
        envelope.to_string(),
        format!("cancel job {job} (by anna, request {request})")
    );
}

#[test]
fn responses_keep_their_bytes() {
    let refusals = rejections().into_iter().map(Response::Rejected);
    let samples: Vec<Response> = responses().into_iter().chain(refusals).collect();
    let lines: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(number, sample)| (format!("{number:02}"), sample.encode()))
        .collect();
    check("responses.txt", RESPONSES, &lines);
    for (sample, line) in samples.iter().zip(RESPONSES.lines()) {
        let bytes = unhex(line.split(" = ").nth(1).unwrap());
        assert_eq!(&Response::decode(&bytes).unwrap(), sample);
    }
}

/// A story that leaves entities of every kind, in many of their states.
fn story() -> World {
    let mut world = World::new();
    let retention = Retention::RetainOnCancellation;
    let retaining = JobGraph {
        checkpointing: Some(checkpointing(2, retention)),
        ..files_job("a")
    };
    world.start(1, &retaining);
    world.checkpoint(1, true);
    let ask = RequestSavepoint {
        job: job_id(1),
        target: "/sp".to_owned(),
    };
    let tag = request(1, 2);
    let asked = world.write(None, Some(tag), Command::RequestSavepoint(ask.clone()));
    let Response::SavepointRequested {
        request: number, ..
    } = asked
    else {
        panic!("requested")
    };
    world.complete_kind(1, CheckpointKind::Savepoint { request: number }, false);
    world.begin(1, CheckpointKind::Checkpoint);
    world.pass(700);
    world.lead(2);
    world.adopt(1);
    world.pass(2_000);
    world.fail(1, FailureKind::TaskFailure);
    world.pass(1_000);
    world.deploy(1);

    world.start(2, &rich_blackhole());
    world.begin(2, CheckpointKind::Checkpoint);
    let cancel = Command::CancelJob(CancelJob { job: job_id(9) });
    world.write(None, Some(request(2, 2)), cancel);
    world.start(3, &files_job("c"));
    world.checkpoint(3, true);
    let cancel = Command::CancelJob(CancelJob { job: job_id(3) });
    world.write(None, Some(request(3, 2)), cancel);
    world.end(3, Outcome::Canceled);
    world.over(3);
    world.ask(Command::RequestSavepoint(ask));
    let due = world
        .machine
        .due_cleanups(world.clock_ms)
        .next()
        .map(|artefact| artefact.id);
    world.cleanup_fails(due.unwrap(), Some(99_000));
    world
}

fn rich_blackhole() -> JobGraph {
    let [.., exponential, _] = strategies();
    JobGraph {
        restart_strategy: exponential,
        ..blackhole_job("b")
    }
}

#[test]
fn a_story_replays_to_the_same_state_in_every_release() {
    let world = story();
    let mut lines: Vec<(String, Vec<u8>)> = world
        .machine
        .entities()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    let families: BTreeSet<_> = lines
        .iter()
        .map(|(key, _)| key.split('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(families.len(), 10, "every kind of entity: {families:?}");
    lines.push((
        "hash".to_owned(),
        world.machine.hash().to_be_bytes().to_vec(),
    ));
    check("state.txt", STATE, &lines);
}

#[test]
fn wishes_of_operators_keep_their_bytes() {
    let mut world = World::new();
    for command in operator_commands() {
        assert_eq!(world.ask(command).rejection(), None);
    }
    let lines: Vec<(String, Vec<u8>)> = world
        .machine
        .entities()
        .map(|(key, value)| (key.to_string(), value))
        .filter(|(key, _)| key.starts_with("member/") || key.starts_with("drain/"))
        .collect();
    assert_eq!(lines.len(), 4);
    check("wishes.txt", WISHES, &lines);
}

#[test]
fn the_golden_state_can_be_read() {
    let entity = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap();
        (key.to_owned(), unhex(value))
    };
    let mut entities: Vec<_> = STATE.lines().map(entity).collect();
    let (_, hash) = entities.pop().unwrap();
    let machine = regent_state::Machine::from_entities(entities).unwrap();
    assert_eq!(machine.hash().to_be_bytes().to_vec(), hash);
}

#[test]
fn keys_have_one_spelling_and_sort_like_what_they_name() {
    let world = story();
    for (key, _) in world.machine.entities() {
        assert_eq!(Key::from_bytes(&key.to_bytes()), Ok(key));
    }
    assert!(Key::Artefact(ArtefactId(9)).to_string() < Key::Artefact(ArtefactId(10)).to_string());
    for wrong in [
        "job/5",
        "artefact/7",
        "artefact/+0000000000000000007",
        "x",
        "",
        "meta/",
    ] {
        assert!(wrong.parse::<Key>().is_err(), "{wrong}");
    }
}

//! What an entry costs, in bytes and entities: no clock is needed to see that it stays small.

use regent_state::command::*;
use regent_state::graph::*;
use regent_state::ids::*;
use regent_state::{Change, Command, EntryId, Envelope};

use crate::support::*;

/// Applies without the world's checks and returns what is different.
fn changes(world: &mut World, command: Command) -> Vec<Change> {
    world.index += 1;
    let (term, node) = (world.term, NodeId(world.node));
    let entry = EntryId {
        index: LogIndex(world.index),
        term,
        node,
    };
    let envelope = Envelope {
        epoch: Some(world.epoch()),
        request: None,
        proposed_at_ms: world.clock_ms,
        wall_ms: 0,
        actor: "checkpoints".to_owned(),
        command,
    };
    let applied = world.machine.apply(entry, &envelope);
    assert_eq!(applied.response.rejection(), None);
    applied.changes
}

fn bytes(changes: &[Change]) -> usize {
    let size = |change: &Change| match change {
        Change::Put(key, value) => key.to_bytes().len() + value.len(),
        Change::Delete(key) => key.to_bytes().len(),
    };
    changes.iter().map(size).sum()
}

/// A job with a large graph, a long history and many siblings.
fn busy_world() -> World {
    let mut world = World::new();
    let mut graph = files_job("a");
    graph.vertices[0].config_json = "x".repeat(100_000);
    graph.restart_strategy = RestartStrategy::FixedDelay {
        attempts: 100,
        delay_ms: 0,
    };
    world.start(1, &graph);
    for _ in 0..30 {
        world.fail(1, FailureKind::TaskFailure);
        world.deploy(1);
        world.runs(1);
    }
    for number in 2..40 {
        world.start(number, &files_job(&format!("job-{number}")));
    }
    world.checkpoint(1, true);
    world
}

#[test]
fn a_checkpoint_rewrites_little_whatever_the_size_of_the_job() {
    let mut world = busy_world();
    let (job, token) = (job_id(1), world.token(1));
    let (kind, root) = (CheckpointKind::Checkpoint, ROOT.to_owned());
    let begin = BeginCheckpoint {
        job,
        token,
        kind,
        root,
    };
    let begun = changes(&mut world, Command::BeginCheckpoint(begin));
    assert_eq!(begun.len(), 4, "head, job, checkpoint, artefact: {begun:?}");
    assert!(bytes(&begun) < 1_500, "{} bytes", bytes(&begun));

    let pending = world.job(1).pending.clone().unwrap();
    let complete = CompleteCheckpoint {
        job,
        token,
        id: pending.id,
        pointer: pointer(pending.path, true),
        sinks_committed_through: Some(CheckpointId(1)),
    };
    let completed = changes(&mut world, Command::CompleteCheckpoint(complete));
    assert_eq!(
        completed.len(),
        5,
        "the same, and the evicted one: {completed:?}"
    );
    assert!(bytes(&completed) < 2_000, "{} bytes", bytes(&completed));
    world.machine.check().unwrap();
}

#[test]
fn a_clone_is_a_snapshot_of_its_moment() {
    let mut world = busy_world();
    let before = world.machine.clone();
    let (hash, entities) = (before.hash(), before.entities().count());
    world.lead(2);
    world.cancel(1);
    assert_ne!(world.machine.hash(), hash);
    assert_eq!((before.hash(), before.entities().count()), (hash, entities));
    before.check().unwrap();
}

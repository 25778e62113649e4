//! Members and drains as operators want them.

use regent_state::command::*;
use regent_state::ids::*;
use regent_state::model::MemberRole;
use regent_state::response::*;
use regent_state::{Command, Machine};

use crate::samples::change_member;
use crate::support::*;

fn wanted(world: &World, node: u64) -> Option<MemberRole> {
    let mut wishes = world.machine.member_wishes();
    let found = wishes.find(|(id, _)| *id == NodeId(node));
    found.map(|(_, wish)| wish.wanted)
}

#[test]
fn a_removed_number_never_comes_back() {
    let mut world = World::new();
    for role in [
        MemberRole::Voter,
        MemberRole::Learner,
        MemberRole::Removed,
        MemberRole::Removed,
    ] {
        assert_eq!(world.ask(change_member(4, role)), Response::Done);
        assert_eq!(world.effects, [Effect::Members]);
        assert_eq!(wanted(&world, 4), Some(role));
    }
    for role in [MemberRole::Voter, MemberRole::Learner] {
        let answer = world.ask(change_member(4, role));
        assert_eq!(
            answer,
            Response::Rejected(Rejection::MemberRemoved { node: 4 })
        );
    }
    assert_eq!(wanted(&world, 4), Some(MemberRole::Removed));
    let entities: Vec<_> = world
        .machine
        .entities()
        .map(|(k, v)| (k.to_bytes(), v))
        .collect();
    let restored = Machine::from_entities(entities).unwrap();
    assert_eq!(restored.hash(), world.machine.hash());
    assert_eq!(restored.member_wishes().count(), 1);
}

#[test]
fn a_number_keeps_its_address_and_an_address_its_number() {
    let mut world = World::new();
    world.ask(change_member(4, MemberRole::Voter));
    let Command::ChangeMember(mut moved) = change_member(4, MemberRole::Voter) else {
        unreachable!()
    };
    moved.peer = "elsewhere:7201".to_owned();
    let elsewhere = |answer: Response| {
        matches!(
            answer,
            Response::Rejected(Rejection::MemberElsewhere { node: 4, .. })
        )
    };
    assert!(elsewhere(world.ask(Command::ChangeMember(moved.clone()))));
    moved.peer = "jm-4:7201".to_owned();
    moved.node = NodeId(5);
    assert!(elsewhere(world.ask(Command::ChangeMember(moved.clone()))));
    // Once the old one is gone, a new number may live there.
    world.ask(change_member(4, MemberRole::Removed));
    assert_eq!(world.ask(Command::ChangeMember(moved)), Response::Done);
}

#[test]
fn a_member_without_an_address_is_refused() {
    let mut world = World::new();
    let Command::ChangeMember(mut nowhere) = change_member(4, MemberRole::Voter) else {
        unreachable!()
    };
    nowhere.api = String::new();
    let answer = world.ask(Command::ChangeMember(nowhere));
    assert!(matches!(answer, Response::Rejected(Rejection::Invalid(_))));
}

#[test]
fn a_drain_stands_until_it_is_taken_back() {
    let mut world = World::new();
    let drain = |drained| {
        let worker = "tm-1".to_owned();
        Command::DrainWorker(DrainWorker { worker, drained })
    };
    assert_eq!(world.ask(drain(true)), Response::Done);
    assert_eq!(world.effects, [Effect::Workers]);
    let first = world.machine.drain("tm-1").unwrap().clone();
    world.pass(500);
    assert_eq!(world.ask(drain(true)), Response::Done);
    assert_eq!(
        world.machine.drain("tm-1"),
        Some(&first),
        "the first one stands"
    );
    assert!(world.machine.drain("tm-2").is_none());
    world.lead(2);
    assert_eq!(world.machine.drains().count(), 1, "across leaders");
    assert_eq!(world.ask(drain(false)), Response::Done);
    assert!(world.machine.drain("tm-1").is_none());
}

#[test]
fn a_drain_restarts_a_job_at_once_and_uses_nothing_up() {
    for strategy in crate::samples::strategies() {
        let mut world = World::new();
        let mut graph = files_job("a");
        graph.restart_strategy = strategy.clone();
        world.start(1, &graph);
        let before = world.job(1).restart.clone();
        for _ in 0..5 {
            world.pass(10);
            let verdict = world.fail(1, FailureKind::Drained);
            let due_ms = world.clock_ms;
            assert_eq!(verdict, Verdict::Restart { due_ms }, "{strategy:?}");
            world.deploy(1);
            world.runs(1);
        }
        let after = world.job(1).restart.clone();
        assert_eq!(after.attempts_used, before.attempts_used);
        assert_eq!((after.backoff_ms, after.last_failure_ms), (None, None));
    }
}

#[test]
fn an_attempt_knows_since_when_it_is_on_a_drained_worker() {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    let drained_at = |world: &World| {
        let attempt = world.machine.attempt(job_id(1), world.token(1)).unwrap();
        world.machine.drained_at_ms(attempt)
    };
    assert_eq!(drained_at(&world), None);
    world.checkpoint(1, true);
    world.pass(700);
    let token = world.token(1);
    let worker = world.machine.attempt(job_id(1), token).unwrap().placement[0]
        .worker
        .worker
        .clone();
    let drained = true;
    world.ask(Command::DrainWorker(DrainWorker { worker, drained }));
    let at_ms = drained_at(&world).unwrap();
    assert!(!world.job(1).has_checkpoint_since(at_ms));
    world.pass(1_000);
    world.checkpoint(1, true);
    assert!(world.job(1).has_checkpoint_since(at_ms));
}

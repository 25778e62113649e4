//! A state that is restored or recovered: fenced, suspended, and resumed.

use regent_state::command::*;
use regent_state::graph::{JobGraph, Retention};
use regent_state::ids::*;
use regent_state::model::{ArtefactState, FailoverTally, JobState};
use regent_state::response::*;
use regent_state::{Command, Machine, Rebirth};

use crate::support::*;

/// Where the old life ended, and the new one begins.
fn rebirth(world: &World, generation: u64) -> Rebirth {
    Rebirth {
        cluster_id: ClusterId([0xbb; 16]),
        generation,
        entry: EntryId {
            index: LogIndex(world.machine.last_index().0 + 1),
            term: 90,
            node: NodeId(7),
        },
        wall_ms: 1_800_000_000_000,
        cause: "restored from a snapshot".to_owned(),
    }
}

/// One job that ran, one that never did, one that ended and is dirty.
fn lived() -> World {
    let mut world = World::new();
    world.start(1, &files_job("a"));
    world.checkpoint(1, true);
    world.begin(1, CheckpointKind::Checkpoint);
    world.submit(2, &blackhole_job("b"));
    world.start(3, &files_job("c"));
    world.checkpoint(3, true);
    world.ask(Command::CancelJob(CancelJob { job: job_id(3) }));
    world.end(3, Outcome::Canceled);
    world.over(3);
    world
}

/// Goes on with a machine as its first leader in the new life.
fn go_on(world: &mut World, machine: Machine, generation: u64) {
    machine.check().unwrap();
    let entities: Vec<_> = machine.entities().map(|(k, v)| (k.to_bytes(), v)).collect();
    let loaded = Machine::from_entities(entities).unwrap();
    assert_eq!(loaded.hash(), machine.hash());
    world.machine = machine;
    world.index += 1;
    world.term = 100;
    let epoch = Epoch {
        generation,
        term: 101,
        node: NodeId(7),
    };
    world.term += 1;
    world.node = 7;
    let announce = AnnounceLeader {
        epoch,
        cluster_id: ClusterId([0xbb; 16]),
        node_name: "jm-7".to_owned(),
        api: "jm-7:7101".to_owned(),
        cause: "first".to_owned(),
        leaderless_ms: 0,
        failover: FailoverTally::default(),
    };
    let answer = world.write(None, None, Command::AnnounceLeader(announce));
    assert!(matches!(answer, Response::Announced(_)), "{answer:?}");
}

#[test]
fn a_new_life_suspends_what_could_act_and_withholds_what_was_created() {
    let mut world = lived();
    // What it staged is to be removed.
    world.start(4, &files_job("d"));
    world.ask(Command::CancelJob(CancelJob { job: job_id(4) }));
    world.end(4, Outcome::Canceled);
    world.over(4);
    world.pass(200_000);
    world.ask(crate::samples::change_member(
        4,
        regent_state::model::MemberRole::Voter,
    ));
    assert!(world.machine.due_cleanups(world.clock_ms).next().is_some());
    let machine = world.machine.reborn(&rebirth(&world, 2)).unwrap();
    go_on(&mut world, machine, 2);
    assert!(world.machine.is_suspended());
    assert_eq!(world.machine.member_wishes().count(), 0);
    for number in [1, 2] {
        assert_eq!(world.state(number), JobState::Suspended);
        assert!(world.machine.is_job_withheld(&world.job(number)));
    }
    assert_eq!(world.state(3), JobState::Canceled);
    assert!(world.job(1).pending.is_none());
    assert!(world.job(1).latest.is_some(), "the restore point is kept");
    assert_eq!(world.machine.due_cleanups(world.clock_ms).count(), 0);
    assert_eq!(world.machine.due_sweeps(world.clock_ms).count(), 0);
    // Leaders may change meanwhile: nothing wakes a suspended job.
    assert_eq!(world.state(1), JobState::Suspended);

    let resumed = world.ask(Command::ResumeJobs(ResumeJobs {}));
    assert_eq!(resumed, Response::Done);
    assert!(!world.machine.is_suspended());
    assert_eq!(world.state(1), JobState::Restarting);
    assert_eq!(world.state(2), JobState::Created);
    assert!(world.machine.due_cleanups(world.clock_ms).next().is_some());
    assert!(world.job(1).awaits_deployment() && world.job(2).awaits_deployment());
}

/// Flink's row SUSPENDED: whatever the setting, nothing of a job goes that is to go on.
#[test]
fn a_suspended_job_keeps_its_checkpoints_under_every_setting() {
    for retention in [
        Retention::NoExternalizedCheckpoints,
        Retention::DeleteOnCancellation,
        Retention::RetainOnCancellation,
    ] {
        let mut world = World::new();
        let checkpointing = Some(checkpointing(2, retention));
        let graph = JobGraph {
            checkpointing,
            ..files_job("a")
        };
        world.start(1, &graph);
        world.checkpoint(1, false);
        world.checkpoint(1, false);
        let kept = |world: &World| {
            let completed = world.machine.checkpoints(job_id(1));
            let artefacts = completed.filter_map(|c| world.machine.artefact(c.artefact));
            let live = artefacts.filter(|artefact| artefact.state == ArtefactState::Live);
            live.count()
        };
        let machine = world.machine.reborn(&rebirth(&world, 2)).unwrap();
        go_on(&mut world, machine, 2);
        assert_eq!(world.state(1), JobState::Suspended);
        assert_eq!(kept(&world), 2, "{retention:?}");
        world.ask(Command::ResumeJobs(ResumeJobs {}));
        assert_eq!(world.state(1), JobState::Restarting);
        assert_eq!(kept(&world), 2, "{retention:?}");
        assert!(world.job(1).latest.is_some());
    }
}

#[test]
fn old_epochs_and_old_requests_are_refused_in_a_new_life() {
    let mut world = lived();
    let old = world.epoch();
    let machine = world.machine.reborn(&rebirth(&world, 2)).unwrap();
    go_on(&mut world, machine, 2);
    let command = Command::SetFeatureLevel(SetFeatureLevel { level: 3 });
    let answer = world.write(Some(old), None, command);
    assert!(
        matches!(answer, Response::Rejected(Rejection::StaleEpoch { .. })),
        "{answer:?}"
    );
    let cancel = Command::CancelJob(CancelJob { job: job_id(1) });
    let tag = regent_state::RequestTag {
        id: RequestId([9; 16]),
        base_generation: 1,
        base_index: 1,
    };
    let answer = world.write(None, Some(tag), cancel);
    assert!(
        matches!(answer, Response::Rejected(Rejection::Expired { .. })),
        "{answer:?}"
    );
}

#[test]
fn a_generation_must_rise_and_an_empty_state_has_no_second_life() {
    let world = lived();
    assert!(world.machine.reborn(&rebirth(&world, 1)).is_err());
    assert!(Machine::new().reborn(&rebirth(&world, 2)).is_err());
}

#[test]
fn resuming_needs_something_suspended() {
    let mut world = lived();
    let answer = world.ask(Command::ResumeJobs(ResumeJobs {}));
    assert!(matches!(answer, Response::Rejected(Rejection::Invalid(_))));
}

#[test]
fn the_second_life_keeps_its_bytes() {
    let world = lived();
    let machine = world.machine.reborn(&rebirth(&world, 2)).unwrap();
    let key = regent_state::Key::Reborn(2);
    let bytes = machine.entity(&key).unwrap();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        text,
        "01070707070707070707070707070707070118726573746f7265642066726f6d206120736e617073686f74\
         fd00505c18a30100000500"
    );
}

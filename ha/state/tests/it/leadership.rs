//! Reigns: epochs fence, the timeline tells.

use regent_state::command::*;
use regent_state::ids::*;
use regent_state::model::FailoverTally;
use regent_state::response::*;
use regent_state::{Command, Machine};

use crate::support::*;

fn announce(world: &World, epoch: Epoch) -> Command {
    Command::AnnounceLeader(AnnounceLeader {
        epoch,
        cluster_id: cluster_id(),
        node_name: format!("jm-{}", world.node),
        api: "127.0.0.1:7101".to_owned(),
        cause: "test".to_owned(),
        leaderless_ms: 0,
        failover: FailoverTally::default(),
    })
}

fn rejection(response: Response) -> Rejection {
    response.into_result().expect_err("refused")
}

#[test]
fn nothing_runs_before_the_first_announcement() {
    let mut world = World {
        term: 1,
        node: 1,
        ..World::default()
    };
    let refused = rejection(world.submit(1, &files_job("a")));
    assert_eq!(refused, Rejection::LeaderNotAnnounced);
    assert_eq!(refused.advice(), Advice::SendAgain);
    assert_eq!(world.machine.job_count(), 0);
}

#[test]
fn an_announcement_must_be_of_its_own_entry() {
    let mut world = World::new();
    let foreign = Epoch {
        node: NodeId(9),
        ..world.epoch()
    };
    let command = announce(&world, foreign);
    assert!(matches!(
        rejection(world.ask(command)),
        Rejection::WrongAuthority(_)
    ));
}

#[test]
fn an_announcement_repeated_changes_nothing() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    let command = announce(&world, world.epoch());
    let Response::Announced(announced) = world.ask(command) else {
        panic!("announced")
    };
    assert!(announced.already);
    assert_eq!(world.machine.reigns().count(), 1);
    assert_eq!(world.state(1).as_str(), "RUNNING");
}

#[test]
fn a_lower_epoch_is_refused_for_ever() {
    let mut world = World::new();
    let old = world.epoch();
    world.lead(2);
    world.submit(1, &blackhole_job("a"));
    let deploy = world.deploy_command(1);
    let refused = rejection(world.write(Some(old), None, deploy));
    assert_eq!(
        refused,
        Rejection::StaleEpoch {
            given: old,
            current: world.epoch()
        }
    );
    assert_eq!(refused.advice(), Advice::StepDown);

    world.term = old.term;
    world.node = old.node.0;
    let again = announce(&world, old);
    assert!(matches!(
        rejection(world.ask(again)),
        Rejection::StaleEpoch { .. }
    ));
}

#[test]
fn a_reconciler_of_a_leader_that_has_not_announced_is_refused() {
    let mut world = World::new();
    world.submit(1, &blackhole_job("a"));
    let epoch = world.epoch();
    world.term += 1;
    world.node = 2;
    let deploy = world.deploy_command(1);
    assert_eq!(
        rejection(world.write(Some(epoch), None, deploy)),
        Rejection::LeaderNotAnnounced
    );
}

#[test]
fn clients_carry_no_epoch_and_reconcilers_do() {
    let mut world = World::new();
    world.submit(1, &blackhole_job("a"));
    let cancel = Command::CancelJob(CancelJob { job: job_id(1) });
    assert!(matches!(
        rejection(world.propose(cancel)),
        Rejection::WrongAuthority(_)
    ));
    let deploy = world.deploy_command(1);
    assert!(matches!(
        rejection(world.ask(deploy)),
        Rejection::WrongAuthority(_)
    ));
}

#[test]
fn another_cluster_or_generation_is_refused() {
    let mut world = World::new();
    world.term += 1;
    let next = Epoch {
        generation: 2,
        ..world.epoch()
    };
    let command = announce(&world, next);
    assert!(matches!(
        rejection(world.ask(command)),
        Rejection::ForeignCluster { .. }
    ));
}

#[test]
fn the_clock_never_goes_back() {
    let mut world = World::new();
    world.pass(10_000);
    world.submit(1, &blackhole_job("a"));
    world.clock_ms = 3_000;
    world.lead(2);
    assert_eq!(world.machine.clock_ms(), 10_000);
}

#[test]
fn the_timeline_tells_who_led_when_and_why() {
    let mut world = World::new();
    world.start(1, &blackhole_job("a"));
    world.start(2, &files_job("b"));
    world.pass(5_000);
    let announced = world.lead(2);
    assert_eq!(announced.reconciling, 2);
    assert_eq!(announced.clock_ms, 5_000);
    world.adopt(1);
    world.fail(2, FailureKind::IncompleteAfterTakeover);

    let reigns: Vec<_> = world.machine.reigns().collect();
    assert_eq!(reigns[0].node_name, "jm-1");
    assert_eq!(reigns[0].to_ms, Some(1_700_000_000_000 + 5_000 - 50));
    assert_eq!(reigns[1].from_ms, 1_700_000_000_000 + 5_000);
    assert_eq!(reigns[1].to_ms, None);
    assert_eq!((reigns[1].jobs_adopted, reigns[1].jobs_restarted), (1, 1));
    assert_eq!(reigns[1].leaderless_ms, 50);
    assert_eq!(reigns[1].failover.fired, 1);
    assert_eq!(
        world.machine.reign().map(|reign| reign.epoch),
        Some(world.epoch())
    );
}

#[test]
fn the_timeline_is_bounded() {
    let mut world = World::new();
    for node in 0..300 {
        world.lead(node % 3);
    }
    assert_eq!(world.machine.reigns().count(), 256);
}

#[test]
fn the_feature_level_only_rises() {
    let mut world = World::new();
    let set = |level| Command::SetFeatureLevel(SetFeatureLevel { level });
    assert_eq!(world.propose(set(3)), Response::Done);
    assert_eq!(world.propose(set(3)), Response::Done);
    let refused = rejection(world.propose(set(2)));
    assert_eq!(refused, Rejection::FeatureLevelFalls { current: 3 });
    assert_eq!(world.machine.meta().map(|meta| meta.feature_level), Some(3));
}

#[test]
fn an_empty_machine_is_consistent() {
    let machine = Machine::new();
    machine.check().unwrap();
    assert_eq!(machine.hash(), 0);
    assert_eq!(machine.entities().count(), 0);
}

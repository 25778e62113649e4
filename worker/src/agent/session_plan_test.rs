//! Conversations with leaders, as tables of what goes in and the whole list of what comes out.

use regent_protocol::v1::{
    AttemptKey, CancelAttempt, CheckpointAck, Deploy, ForgetEnded, HeartbeatAnswer, InspectPaths,
    LogToken, Refused, TaskKey, TaskPhase, TriggerCheckpoint,
};

use super::*;

fn epoch(generation: u64, term: u64) -> Epoch {
    Epoch {
        generation,
        term,
        node: 1,
    }
}

fn facts(ms: u64) -> Facts {
    Facts {
        now: Duration::from_millis(ms),
        lease_holds: true,
        lease_lapsed: false,
        chance: 1.0,
    }
}

fn without_lease(ms: u64) -> Facts {
    Facts {
        lease_holds: false,
        ..facts(ms)
    }
}

fn view(cluster: &str, epoch: Epoch) -> Input {
    Input::View(LeaderView {
        cluster_id: cluster.to_owned(),
        epoch: Some(epoch),
        api: format!("jm-{}:1", epoch.term),
        name: String::new(),
        jobmanagers: Vec::new(),
    })
}

fn target(cluster: &str, epoch: Epoch) -> Action {
    let api = format!("jm-{}:1", epoch.term);
    Action::Connect(Target {
        cluster_id: cluster.to_owned(),
        epoch,
        api,
    })
}

fn from(epoch: Epoch, message: Order) -> Input {
    Input::Message(LeaderMessage {
        epoch: Some(epoch),
        message: Some(message),
    })
}

fn registered(cluster: &str, epoch: Epoch) -> Input {
    let answer = Registered {
        cluster_id: cluster.to_owned(),
        lease_ms: 9000,
        heartbeat_ms: 1000,
    };
    from(epoch, Order::Registered(answer))
}

fn attempt() -> AttemptKey {
    let token = Some(LogToken {
        generation: 1,
        index: 3,
    });
    AttemptKey {
        job_id: "j".to_owned(),
        run: token,
        token,
    }
}

fn deploy() -> Order {
    Order::Deploy(Deploy {
        attempt: Some(attempt()),
        ..Deploy::default()
    })
}

fn fence(cluster: &str, epoch: Epoch) -> Fence {
    let mut fence = Fence::default();
    fence.raise(cluster, &epoch);
    fence
}

/// A worker registered with cluster `a`, generation 1, term 5, at 1000 ms.
fn led() -> SessionPlan {
    let mut plan = SessionPlan::new(Fence::default());
    assert_eq!(
        plan.handle(view("a", epoch(1, 5)), facts(1000)),
        [target("a", epoch(1, 5))]
    );
    plan.register(&Register::default(), Vec::new());
    let actions = plan.handle(registered("a", epoch(1, 5)), without_lease(1000));
    let wanted = [
        Action::Remember(fence("a", epoch(1, 5))),
        Action::ObserveEpoch(epoch(1, 5)),
        Action::Heartbeat(1),
    ];
    assert_eq!(actions, wanted);
    let answer = Order::Heartbeat(HeartbeatAnswer { sequence: 1 });
    let length = Duration::from_secs(9);
    let sent_at = Duration::from_millis(1000);
    let actions = plan.handle(from(epoch(1, 5), answer), without_lease(1010));
    assert_eq!(actions, [Action::Grant { sent_at, length }]);
    plan
}

#[test]
fn a_restarted_worker_tells_its_new_engine_of_the_reign_it_remembers() {
    let mut plan = SessionPlan::new(fence("a", epoch(1, 5)));
    plan.handle(view("a", epoch(1, 5)), facts(1000));
    plan.register(&Register::default(), Vec::new());
    let actions = plan.handle(registered("a", epoch(1, 5)), without_lease(1000));
    let wanted = [Action::ObserveEpoch(epoch(1, 5)), Action::Heartbeat(1)];
    assert_eq!(actions, wanted);
}

#[test]
fn orders_wait_until_the_lease_holds() {
    let mut plan = led();
    assert_eq!(
        plan.handle(from(epoch(1, 5), deploy()), without_lease(1011)),
        []
    );
    let cancel = Order::Cancel(CancelAttempt {
        attempt: Some(attempt()),
    });
    assert_eq!(
        plan.handle(from(epoch(1, 5), cancel.clone()), without_lease(1012)),
        []
    );
    let actions = plan.handle(Input::Tick, facts(1013));
    assert_eq!(actions, [Action::Order(deploy()), Action::Order(cancel)]);
}

#[test]
fn what_touches_nothing_needs_no_lease() {
    let mut plan = led();
    let inspect = Order::Inspect(InspectPaths {
        request: 4,
        vertices: Vec::new(),
        describe: Vec::new(),
    });
    let forget = Order::Forget(ForgetEnded {
        attempts: vec![attempt()],
    });
    for order in [inspect, forget] {
        let actions = plan.handle(from(epoch(1, 5), order.clone()), without_lease(1011));
        assert_eq!(actions, [Action::Order(order)]);
    }
}

#[test]
fn a_deposed_leaders_orders_are_dropped_and_counted() {
    let mut plan = led();
    assert_eq!(plan.handle(from(epoch(1, 4), deploy()), facts(1020)), []);
    assert_eq!(plan.counters().fenced, 1);
    let nobody = Input::Message(LeaderMessage {
        epoch: None,
        message: Some(deploy()),
    });
    assert_eq!(plan.handle(nobody, facts(1021)), []);
    assert_eq!(plan.counters().fenced, 2);
}

#[test]
fn a_higher_epoch_is_followed_at_once_and_a_lower_view_never() {
    let mut plan = led();
    let wanted = [
        Action::Disconnect,
        Action::AbortAlignments,
        target("a", epoch(1, 6)),
    ];
    assert_eq!(plan.handle(view("a", epoch(1, 6)), facts(1020)), wanted);
    assert_eq!(plan.handle(view("a", epoch(1, 5)), facts(1021)), []);
    assert_eq!(
        plan.handle(view("a", epoch(1, 6)), facts(1022)),
        [],
        "known already"
    );
}

#[test]
fn a_restarted_worker_refuses_an_older_leader() {
    let mut plan = SessionPlan::new(fence("a", epoch(1, 9)));
    assert_eq!(plan.handle(view("a", epoch(1, 8)), facts(10)), []);
    assert_eq!(
        plan.handle(view("a", epoch(1, 9)), facts(11)),
        [target("a", epoch(1, 9))]
    );
    let register = plan.register(&Register::default(), Vec::new());
    assert_eq!(register.cluster_id, "a");
    assert_eq!(register.highest_epoch, Some(epoch(1, 9)));
    let actions = plan.handle(registered("a", epoch(1, 8)), facts(12));
    assert_eq!(actions, [Action::Disconnect], "it leads no more");
    assert_eq!(plan.counters().fenced, 1);
}

#[test]
fn a_restarted_worker_observes_the_reign_it_knew_before() {
    let mut plan = SessionPlan::new(fence("a", epoch(1, 5)));
    plan.handle(view("a", epoch(1, 5)), facts(0));
    plan.register(&Register::default(), Vec::new());
    let actions = plan.handle(registered("a", epoch(1, 5)), facts(1));
    let wanted = [Action::ObserveEpoch(epoch(1, 5)), Action::Heartbeat(1)];
    assert_eq!(
        actions, wanted,
        "nothing new to remember, but the engine is new"
    );
}

#[test]
fn a_broken_session_is_dialled_again_with_growing_pauses() {
    let mut plan = led();
    let wanted = [Action::Disconnect, Action::AbortAlignments];
    assert_eq!(
        plan.handle(Input::Ended("gone".to_owned()), facts(2000)),
        wanted
    );
    assert_eq!(plan.handle(Input::Tick, facts(2049)), []);
    assert_eq!(
        plan.handle(Input::Tick, facts(2050)),
        [target("a", epoch(1, 5))]
    );
    assert_eq!(
        plan.handle(Input::Ended("refused".to_owned()), facts(2051)),
        [Action::Disconnect]
    );
    assert_eq!(plan.handle(Input::Tick, facts(2150)), []);
    assert_eq!(
        plan.handle(Input::Tick, facts(2151)),
        [target("a", epoch(1, 5))]
    );
}

#[test]
fn a_silent_leader_is_given_up() {
    let mut plan = led();
    assert_eq!(
        plan.handle(Input::Tick, facts(2000)),
        [Action::Heartbeat(2)]
    );
    let actions = plan.handle(Input::Tick, facts(4100));
    assert_eq!(actions, [Action::Disconnect, Action::AbortAlignments]);
}

#[test]
fn a_registration_that_is_not_answered_is_given_up() {
    let mut plan = SessionPlan::new(Fence::default());
    plan.handle(view("a", epoch(1, 5)), facts(0));
    assert_eq!(plan.handle(Input::Tick, facts(4999)), []);
    assert_eq!(plan.handle(Input::Tick, facts(5000)), [Action::Disconnect]);
}

#[test]
fn a_higher_generation_stops_everything_before_it_is_joined() {
    let mut plan = led();
    let actions = plan.handle(view("b", epoch(2, 1)), facts(1020));
    let [
        Action::StopAll(_),
        Action::Disconnect,
        Action::AbortAlignments,
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!(
        plan.handle(Input::Tick, facts(1100)),
        [],
        "not before all has ended"
    );
    let mut left = Fence::default();
    left.leave(2);
    let wanted = [
        Action::ClearLease,
        Action::Remember(left),
        Action::ForgetAll,
        target("b", epoch(2, 1)),
    ];
    assert_eq!(plan.handle(Input::Stopped, facts(1200)), wanted);
    let register = plan.register(&Register::default(), Vec::new());
    assert_eq!((register.cluster_id.as_str(), register.generation), ("", 2));
    assert_eq!(
        plan.handle(view("a", epoch(1, 99)), facts(1201)),
        [],
        "superseded"
    );
}

#[test]
fn a_leader_found_to_be_of_another_generation_on_registering_is_left_first() {
    let mut plan = SessionPlan::new(fence("a", epoch(1, 5)));
    plan.handle(view("a", epoch(1, 6)), facts(0));
    let actions = plan.handle(registered("b", epoch(2, 6)), facts(1));
    assert!(
        matches!(actions[..], [Action::StopAll(_), Action::Disconnect]),
        "{actions:?}"
    );
    let actions = plan.handle(Input::Stopped, facts(2));
    assert_eq!(actions.last(), Some(&target("a", epoch(1, 6))));
    let actions = plan.handle(registered("b", epoch(2, 6)), facts(3));
    assert_eq!(actions[0], Action::Remember(fence("b", epoch(2, 6))));
}

#[test]
fn another_cluster_of_this_generation_is_joined_only_when_the_own_one_is_silent() {
    let mut plan = led();
    assert_eq!(plan.handle(view("b", epoch(1, 2)), facts(1100)), []);
    assert_eq!(
        plan.handle(Input::Ended(String::new()), facts(1200)).len(),
        2
    );
    assert_eq!(
        plan.handle(Input::Tick, facts(1300)),
        [target("a", epoch(1, 5))]
    );
    let actions = plan.handle(Input::Tick, without_lease(6100));
    assert!(
        matches!(actions[..], [Action::StopAll(_), Action::Disconnect]),
        "{actions:?}"
    );
    let actions = plan.handle(Input::Stopped, without_lease(6200));
    assert_eq!(actions.last(), Some(&target("b", epoch(1, 2))));
}

#[test]
fn refused_with_stop_means_stop_and_register_anew() {
    let mut plan = led();
    let refused = Refused {
        reason: "another cluster".to_owned(),
        stop_tasks: true,
    };
    let actions = plan.handle(from(epoch(1, 5), Order::Refused(refused)), facts(1100));
    let wanted = 3;
    assert_eq!(actions.len(), wanted, "{actions:?}");
    assert!(matches!(actions[0], Action::StopAll(_)));
    plan.handle(Input::Stopped, facts(1149));
    assert_eq!(
        plan.register(&Register::default(), Vec::new()).cluster_id,
        ""
    );
    assert_eq!(
        plan.handle(Input::Tick, facts(1200)),
        [target("a", epoch(1, 5))]
    );
}

#[test]
fn a_lease_that_ran_out_stops_everything_and_is_cleared_once_all_has_ended() {
    let mut plan = led();
    let lapsed = Facts {
        lease_lapsed: true,
        ..without_lease(1500)
    };
    let actions = plan.handle(Input::Tick, lapsed);
    assert!(matches!(actions[..], [Action::StopAll(_)]), "{actions:?}");
    assert_eq!(plan.handle(from(epoch(1, 5), deploy()), lapsed), []);
    assert_eq!(plan.handle(Input::Stopped, lapsed), [Action::ClearLease]);
    assert_eq!(plan.counters().leases_lost, 1);
    assert_eq!(
        plan.handle(Input::Tick, facts(1600)),
        [Action::Order(deploy())]
    );
}

#[test]
fn acknowledgements_go_only_to_the_leader_that_ordered_the_checkpoint() {
    let mut plan = led();
    let attempt = Some(attempt());
    let order = TriggerCheckpoint {
        attempt: attempt.clone(),
        checkpoint_id: 8,
        ..TriggerCheckpoint::default()
    };
    plan.handle(from(epoch(1, 5), Order::Trigger(order)), facts(1100));
    let ack = CheckpointAck {
        attempt,
        checkpoint_id: 8,
        ..CheckpointAck::default()
    };
    let event = || Input::Engine(EngineEvent::Ack(ack.clone()));
    let sent = [Action::Send(Report::CheckpointAck(ack.clone()))];
    assert_eq!(plan.handle(event(), facts(1101)), sent);
    plan.handle(view("a", epoch(1, 6)), facts(1102));
    plan.register(&Register::default(), Vec::new());
    plan.handle(registered("a", epoch(1, 6)), facts(1103));
    assert_eq!(plan.handle(event(), facts(1104)), []);
}

#[test]
fn while_closing_nothing_is_obeyed_or_reported() {
    let mut plan = led();
    plan.close();
    assert_eq!(plan.handle(from(epoch(1, 5), deploy()), facts(1100)), []);
    let report = TaskReport {
        attempt: Some(attempt()),
        task: Some(TaskKey {
            vertex: "v".to_owned(),
            subtask: 0,
        }),
        phase: TaskPhase::Canceled.into(),
        ..TaskReport::default()
    };
    assert_eq!(
        plan.handle(Input::Engine(EngineEvent::Task(report)), facts(1101)),
        []
    );
    assert_eq!(
        plan.handle(Input::Ended(String::new()), facts(1102)).len(),
        2
    );
    assert_eq!(
        plan.handle(Input::Tick, facts(9000)),
        [],
        "nobody is dialled"
    );
}

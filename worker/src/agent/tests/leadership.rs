//! Whom the worker follows, what it carries over and when it must stop.

use std::time::Duration;

use regent_protocol::v1::{CancelAttempt, CheckpointAborted, Refused};

use super::*;

#[tokio::test]
async fn a_worker_registers_and_obeys_the_present_leader_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    let (mut session, register) = jm.lead(CLUSTER, epoch(1, 5)).await;
    assert_eq!(
        (register.cluster_id.as_str(), register.incarnation),
        ("", 1)
    );
    assert_eq!((register.worker_id.as_str(), register.slots), ("tm-1", 2));
    assert!(register.tasks.is_empty());
    session
        .order_as(Some(epoch(1, 4)), endless(8, &register))
        .await;
    run_endless(&mut session, &register).await;
    let said = session.serve_for(Duration::from_millis(200)).await;
    let stale = Some(attempt(8));
    let of_stale = |r: &Report| matches!(r, Report::Task(task) if task.attempt == stale);
    assert!(!said.iter().any(of_stale), "{said:?}");
    session
        .order(Order::Cancel(CancelAttempt {
            attempt: Some(attempt(9)),
        }))
        .await;
    for _ in 0..2 {
        session
            .until(|report| phase_of(report, TaskPhase::Canceled))
            .await;
    }
}

#[tokio::test]
async fn orders_wait_for_the_first_answered_heartbeat() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    let (mut session, register) = jm.lead(CLUSTER, epoch(1, 5)).await;
    session.order(endless(9, &register)).await;
    for _ in 0..4 {
        let heartbeat = session.heartbeat().await;
        assert!(heartbeat.metrics.is_empty(), "nothing runs without a lease");
    }
    session
        .until(|report| phase_of(report, TaskPhase::Running))
        .await;
}

#[tokio::test]
async fn a_broken_session_keeps_its_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    let (mut session, register) = jm.lead(CLUSTER, epoch(1, 5)).await;
    run_endless(&mut session, &register).await;
    drop(session);
    let (mut session, register) = jm.registered(CLUSTER, epoch(1, 5), 10_000).await;
    assert_eq!(register.cluster_id, CLUSTER);
    let running = |task: &TaskReport| task.phase() == TaskPhase::Running;
    assert_eq!(
        register.tasks.iter().filter(|task| running(task)).count(),
        2
    );
    assert!(
        session
            .serve_for(Duration::from_millis(200))
            .await
            .is_empty(),
        "nothing changed"
    );
}

#[tokio::test]
async fn a_new_leader_is_told_of_every_task_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = FakeJobManager::start().await;
    let mut new = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&old, &new]));
    let (mut session, register) = old.lead(CLUSTER, epoch(1, 5)).await;
    run_endless(&mut session, &register).await;
    new.announce(CLUSTER, epoch(1, 6), &new);
    let (mut session, register) = new.registered(CLUSTER, epoch(1, 6), 10_000).await;
    assert_eq!(register.highest_epoch, Some(epoch(1, 5)));
    assert_eq!(register.tasks.len(), 2);
    assert!(!old.is_dialled_within(Duration::from_millis(300)).await);
    let aborted = CheckpointAborted {
        attempt: Some(attempt(9)),
        checkpoint_id: 1,
    };
    session.order(Order::Aborted(aborted)).await;
    assert!(
        session
            .serve_for(Duration::from_millis(200))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn tasks_outlive_their_leader_only_until_the_lease_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    jm.announce(CLUSTER, epoch(1, 5), &jm);
    let (mut session, register) = jm.registered(CLUSTER, epoch(1, 5), 1_500).await;
    run_endless(&mut session, &register).await;
    drop(session);
    let held = loop {
        let (_session, register) = jm.registered(CLUSTER, epoch(1, 5), 1_500).await;
        if register
            .tasks
            .iter()
            .all(|task| task.phase() == TaskPhase::Failed)
        {
            break register.tasks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(held.len(), 2);
    assert!(
        held.iter().all(|task| task.failure_kind == "lease"),
        "{held:?}"
    );
    let (mut session, register) = jm.registered(CLUSTER, epoch(1, 5), 1_500).await;
    session.order(endless(10, &register)).await;
    session
        .until(|report| phase_of(report, TaskPhase::Running))
        .await;
}

#[tokio::test]
async fn nothing_is_carried_into_a_higher_generation() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = FakeJobManager::start().await;
    let mut new = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&old, &new]));
    let (mut session, register) = old.lead(CLUSTER, epoch(1, 5)).await;
    run_endless(&mut session, &register).await;
    let (mut session, register) = new.lead("c2", epoch(2, 1)).await;
    assert_eq!((register.cluster_id.as_str(), register.generation), ("", 2));
    assert!(register.tasks.is_empty(), "{:?}", register.tasks);
    assert!(
        session
            .serve_for(Duration::from_millis(200))
            .await
            .is_empty()
    );
    old.announce(CLUSTER, epoch(1, 99), &old);
    assert!(
        !old.is_dialled_within(Duration::from_millis(300)).await,
        "it is superseded"
    );
}

#[tokio::test]
async fn refused_with_stop_the_worker_stops_and_registers_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut jm = FakeJobManager::start().await;
    let _worker = Worker::start(config(dir.path(), &[&jm]));
    let (mut session, register) = jm.lead(CLUSTER, epoch(1, 5)).await;
    run_endless(&mut session, &register).await;
    let reason = "another cluster".to_owned();
    session
        .order(Order::Refused(Refused {
            reason,
            stop_tasks: true,
        }))
        .await;
    let (_session, register) = jm.registered(CLUSTER, epoch(1, 5), 10_000).await;
    assert!(register.tasks.is_empty());
    assert_eq!(register.cluster_id, "");
}

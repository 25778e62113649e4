//! Takeover: what a new leader adopts, and what it starts again.

use std::time::Duration;

use regent_protocol::v1::Nothing;
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view;

use crate::cluster::{Cluster, of, until};
use crate::control::ENDLESS;
use crate::puppet_jobs::{exactly_once, registered, workers};

#[tokio::test(flavor = "multi_thread")]
async fn running_tasks_are_adopted_and_checkpoints_go_on() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let puppets = workers(&cluster, 2);
    registered(&cluster, first, 2).await;
    let out = cluster.dir.path().join("out");
    let job = cluster
        .client(first)
        .submit(&exactly_once(&out))
        .await
        .unwrap()
        .job_id;
    let before = until("a checkpoint is complete", async || {
        cluster.client(first).show(&job).await.checkpoints.latest
    })
    .await;
    cluster.stop(first).await;
    let second = cluster.leader().await;
    let client = cluster.client(second);
    let adopted = client.reaches(&job, "RUNNING").await;
    assert_eq!(
        (adopted.attempt, adopted.adoptions, adopted.restarts),
        (1, 1, 0)
    );
    assert!(
        puppets
            .iter()
            .all(|p| p.orders().iter().filter(|o| *o == "deploy").count() == 1)
    );
    let latest = adopted.checkpoints.latest.expect("never null again");
    assert!(latest.id >= before.id);
    until("the next checkpoint is complete", async || {
        let latest = client.show(&job).await.checkpoints.latest?;
        (latest.id > before.id).then_some(())
    })
    .await;
    for puppet in &puppets {
        puppet.finish();
    }
    client.reaches(&job, "FINISHED").await;
    assert!(client.is_clean(&job).await.output_complete);
    let history: Vec<view::Reign> = client.read(Query::LeaderHistory(Nothing {})).await.unwrap();
    assert_eq!(history.last().unwrap().jobs_adopted, 1);
    assert_eq!(history.last().unwrap().cause, "transfer", "it handed over");
    assert!(!cluster.checkpoints().join(&job).exists());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_attempt_is_started_again() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let puppets = workers(&cluster, 2);
    registered(&cluster, first, 2).await;
    let job = cluster.client(first).submit(ENDLESS).await.unwrap().job_id;
    cluster.client(first).reaches(&job, "RUNNING").await;
    puppets[1].lose("out");
    cluster.stop(first).await;
    let second = cluster.leader().await;
    let client = cluster.client(second);
    let again = until("the second attempt runs", async || {
        let shown = client.show(&job).await;
        (shown.state == "RUNNING" && shown.attempt == 2).then_some(shown)
    })
    .await;
    assert_eq!((again.adoptions, again.restarts), (0, 1));
    assert!(puppets[0].orders().contains(&"cancel".to_owned()) || puppets[0].tasks() > 0);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_survives_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let puppets = workers(&cluster, 1);
    registered(&cluster, first, 1).await;
    let job = cluster.client(first).submit(ENDLESS).await.unwrap().job_id;
    cluster.client(first).reaches(&job, "RUNNING").await;
    puppets[0].kill();
    let mut request = cluster
        .client(first)
        .request(Change::CancelJob(of(&job)))
        .await;
    request.timeout_ms = 300;
    let changed: view::JobChanged = cluster.client(first).send(request).await.unwrap();
    assert_eq!(
        changed.state, "CANCELLING",
        "its worker is silent, the grace isn't over"
    );
    cluster.stop(first).await;
    let second = cluster.leader().await;
    cluster.client(second).reaches(&job, "CANCELED").await;
    // Clean once the dead worker's lease is over.
    cluster.client(second).is_clean(&job).await;
    cluster.shutdown().await;
}

/// The session stays open and every heartbeat arrives: only a majority's word may prolong a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_prolongs_no_lease() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let puppets = workers(&cluster, 1);
    registered(&cluster, leader, 1).await;
    let answered = || puppets[0].heartbeats_answered();
    until("heartbeats are answered", async || {
        (answered() > 3).then_some(())
    })
    .await;
    cluster.stop((leader + 1) % 3).await;
    cluster.stop((leader + 2) % 3).await;
    // Rounds that were under way have ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = answered();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        answered(),
        before,
        "ten heartbeats came and none is answered"
    );
    cluster.restart((leader + 1) % 3).await;
    until("heartbeats are answered again", async || {
        (answered() > before).then_some(())
    })
    .await;
    cluster.shutdown().await;
}

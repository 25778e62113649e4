//! Bootstrap: repeated, interrupted, incomplete, foreign.

use std::time::Duration;

use regent_ha::bootstrap::steps;
use regent_ha::{BootstrapError, Outcome, Phase, bootstrap, probe};
use regent_state::ids::ClusterId;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_replicas_wait_and_say_so() {
    let mut cluster = Cluster::planned(3).await;
    cluster.start_all().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    for replica in cluster.replicas() {
        assert_eq!(*replica.phase().borrow(), Phase::Empty);
        let status = replica.status();
        assert!(!status.bootstrapped);
        assert_eq!(status.term, 0);
        let probed = probe(
            &regent_ha::Dialer::plain(),
            &replica.peer_address().to_string(),
        )
        .await
        .unwrap();
        assert_eq!((probed.cluster_id, probed.initialized), (None, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bootstrap_again_changes_nothing() {
    let mut cluster = Cluster::formed(3).await;
    cluster.write_many(3).await;
    for _ in 0..3 {
        let outcome = cluster.bootstrap().await;
        assert_eq!(outcome, Outcome::AlreadyFormed(cluster.cluster_id()));
    }
    // Also without knowing the id, with one replica down, and after a restart of all.
    let down = cluster.follower().await;
    cluster.stop(down).await;
    let outcome = bootstrap(&regent_ha::Dialer::plain(), &cluster.members, None)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::AlreadyFormed(cluster.cluster_id()));
    cluster.stop_all().await;
    cluster.start_all().await;
    let outcome = cluster.bootstrap().await;
    assert_eq!(outcome, Outcome::AlreadyFormed(cluster.cluster_id()));
    cluster.write(9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_id_is_refused() {
    let cluster = Cluster::formed(1).await;
    let other = bootstrap(
        &regent_ha::Dialer::plain(),
        &cluster.members,
        Some(ClusterId([9; 16])),
    )
    .await;
    assert!(
        matches!(other, Err(BootstrapError::Refused(_))),
        "{other:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_replica_stops_bootstrap_until_it_is_there() {
    let mut cluster = Cluster::planned(3).await;
    cluster.start(1).await;
    cluster.start(2).await;
    let missing = bootstrap(
        &regent_ha::Dialer::plain(),
        &cluster.members,
        Some(cluster.cluster_id()),
    )
    .await;
    assert!(matches!(missing, Err(BootstrapError::Unreachable { .. })));
    for replica in cluster.replicas() {
        assert_eq!(*replica.phase().borrow(), Phase::Empty);
    }
    cluster.start(3).await;
    let outcome = cluster.bootstrap().await;
    assert_eq!(outcome, Outcome::Formed(cluster.cluster_id()));
    cluster.write(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_at_any_step_it_is_finished_by_a_repeat() {
    for prepared in 1..=3usize {
        let mut cluster = Cluster::planned(3).await;
        cluster.start_all().await;
        let id = cluster.cluster_id();
        for member in &cluster.members[..prepared] {
            steps::prepare(member, id, &cluster.members).await.unwrap();
        }
        // All processes die too; what they wrote stays.
        cluster.stop_all().await;
        cluster.start_all().await;
        let outcome = bootstrap(&regent_ha::Dialer::plain(), &cluster.members, None)
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::Formed(id));
        cluster.write(1).await;
        for node_id in cluster.ids() {
            let status = cluster.replica(node_id).status();
            assert_eq!(status.cluster_id, Some(id.to_string()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_right_after_the_first_membership_it_was_formed() {
    let mut cluster = Cluster::planned(3).await;
    cluster.start_all().await;
    let id = cluster.cluster_id();
    for member in &cluster.members {
        steps::prepare(member, id, &cluster.members).await.unwrap();
    }
    // Only the founder lives when it is initialised.
    cluster.stop(2).await;
    cluster.stop(3).await;
    steps::initialize(&cluster.members[0], id).await.unwrap();
    cluster.stop(1).await;
    cluster.start_all().await;
    let outcome = cluster.bootstrap().await;
    assert_eq!(outcome, Outcome::AlreadyFormed(id));
    cluster.write(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bootstraps_with_different_names_never_form_two_clusters() {
    let mut cluster = Cluster::planned(3).await;
    cluster.start_all().await;
    let plain = regent_ha::Dialer::plain();
    let (one, two) = tokio::join!(
        bootstrap(&plain, &cluster.members, Some(ClusterId([1; 16]))),
        bootstrap(&plain, &cluster.members, Some(ClusterId([2; 16])))
    );
    assert!(one.is_err() || two.is_err(), "{one:?} {two:?}");
}

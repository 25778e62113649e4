//! Fast failover: a dead leader is succeeded at once, a living one is left alone.

use std::time::{Duration, Instant};

use regent_ha::Timing;

use crate::cluster::{Cluster, eventually};

/// Timers this slow can't explain a quick successor.
const SLOW: Timing = Timing::Custom {
    heartbeat_ms: 100,
    election_min_ms: 3_000,
    election_max_ms: 4_000,
};

async fn slow(size: u64) -> Cluster {
    let mut cluster = Cluster::planned(size).await;
    cluster.timing = SLOW;
    cluster.form().await;
    cluster.write(0).await;
    // All have a stream to the leader once they have heard of the last write.
    cluster.at_rest().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_succeeded_long_before_the_timer() {
    for size in [3, 5] {
        let mut cluster = slow(size).await;
        let (dead, old) = cluster.leader().await;
        let begun = Instant::now();
        cluster.kill(dead);
        let (_, reign) = cluster.leader().await;
        cluster.write(1).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?} with {size}");
        assert!(reign.epoch > old.epoch);
        assert_eq!(reign.cause, "failover");
        let fired: u64 = cluster.replicas().map(|r| r.status().failovers.fired).sum();
        assert!(fired >= 1);
        eventually("every tried failover to end", || async {
            cluster
                .replicas()
                .all(|replica| {
                    let counts = replica.status().failovers;
                    counts.tried >= counts.lost + counts.not_needed
                })
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_follower_and_a_restarted_one_change_nothing() {
    let mut cluster = slow(3).await;
    let (leader, reign) = cluster.leader().await;
    let follower = cluster.follower().await;
    for round in 1..4 {
        cluster.kill(follower);
        cluster.write(round).await;
        cluster.start(follower).await;
        let last = cluster.write(round).await;
        cluster.applied(follower, last).await;
    }
    let (still, same) = cluster.leader().await;
    assert_eq!((still, same.epoch), (leader, reign.epoch));
    for replica in cluster.replicas() {
        assert_eq!(replica.status().failovers.fired, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_of_signs_nobody_stands() {
    let mut cluster = slow(3).await;
    let (leader, _) = cluster.leader().await;
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    cluster.kill(others[0]);
    cluster.kill(leader);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = cluster.replica(others[1]).status();
    assert_eq!(status.failovers.fired, 0);
    assert_eq!(status.failovers.tried, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_die_one_after_the_other() {
    let mut cluster = slow(5).await;
    let mut epochs = Vec::new();
    for round in 0..2 {
        let (dead, reign) = cluster.leader().await;
        epochs.push(reign.epoch);
        let begun = Instant::now();
        cluster.kill(dead);
        cluster.write(round + 10).await;
        assert!(begun.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (_, reign) = cluster.leader().await;
    epochs.push(reign.epoch);
    assert!(epochs.is_sorted());
    cluster.at_rest().await;
}

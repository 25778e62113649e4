//! Fast failover: a dead leader is succeeded at once, a living one is left alone.

use std::time::{Duration, Instant};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regent_ha::{ProposeError, Replica, Timing};
use regent_state::RequestTag;
use regent_state::ids::RequestId;

use crate::cluster::{Cluster, cancel, eventually};

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
        let (new, reign) = cluster.leader().await;
        cluster.write(1).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?} with {size}");
        assert!(reign.epoch > old.epoch);
        assert_eq!(reign.cause, "failover");
        let view = cluster.replica(new).stale();
        let told = view.machine.reigns().last().map(|line| line.failover);
        assert!(told.is_some_and(|told| told.fired >= 1), "{told:?}");
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

/// Long before any lease would end: the answer must come from the others, and they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_alone_trusts_no_lease_and_says_what_it_does_not_know() {
    let mut cluster = slow(3).await;
    let (leader, _) = cluster.leader().await;
    for node_id in cluster.ids() {
        if node_id != leader {
            cluster.kill(node_id);
        }
    }
    let replica = cluster.replica(leader);
    let (read, written) = tokio::join!(replica.linearizable(), replica.propose_client(cancel(7)),);
    assert!(read.is_err(), "{:?}", read.map(|view| view.applied_index()));
    // It is in this replica's log, and may be committed yet.
    assert!(
        matches!(written, Err(ProposeError::OutcomeUnknown(_))),
        "{written:?}"
    );
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

/// Writes until told to stop; answers the ids of all acknowledged requests.
async fn write_until(
    replicas: Arc<std::sync::Mutex<Vec<Replica>>>,
    writer: u8,
    stop: Arc<AtomicBool>,
) -> Vec<RequestId> {
    let mut acknowledged = Vec::new();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut id = [writer; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let mut proposal = cancel(number);
        let all = replicas.lock().unwrap().clone();
        let base = all.iter().map(|r| r.stale().applied_index()).max();
        proposal.request = Some(RequestTag {
            id: RequestId(id),
            base_generation: 1,
            base_index: base.unwrap_or(0),
        });
        for replica in all {
            if replica.propose_client(proposal.clone()).await.is_ok() {
                acknowledged.push(RequestId(id));
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_while_leaders_are_killed() {
    let mut cluster = Cluster::planned(3).await;
    cluster.snapshot_every = 200;
    cluster.keep_entries = 50;
    cluster.form().await;
    let running = Arc::new(std::sync::Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    *running.lock().unwrap() = cluster.replicas().cloned().collect();
    let writers: Vec<_> = (1..=4)
        .map(|writer| tokio::spawn(write_until(running.clone(), writer, stop.clone())))
        .collect();
    let mut epochs = Vec::new();
    for _ in 0..5 {
        let (leader, reign) = cluster.leader().await;
        epochs.push(reign.epoch);
        tokio::time::sleep(Duration::from_millis(150)).await;
        running
            .lock()
            .unwrap()
            .retain(|replica| replica.node_id() != leader);
        cluster.kill(leader);
        cluster.leader().await;
        cluster.start(leader).await;
        *running.lock().unwrap() = cluster.replicas().cloned().collect();
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    running.lock().unwrap().clear();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    cluster.write(1).await;
    cluster.at_rest().await;
    for replica in cluster.replicas() {
        let view = replica.linearizable().await.unwrap();
        for id in &acknowledged {
            assert!(view.machine.knows_request(*id), "{id} is gone");
        }
        view.machine.check().unwrap();
    }
    assert!(epochs.is_sorted() && epochs.len() == 5);
}

/// From the leader's end to the next accepted write with the `lan` profile: another one must accept it, and the
/// numbers are printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_accepted_after_each_of_many_kills() {
    let rounds = if crate::soak() { 20 } else { 3 };
    let mut cluster = Cluster::planned(3).await;
    cluster.timing = Timing::Lan;
    cluster.form().await;
    let mut took = Vec::new();
    for round in 0..rounds {
        cluster.at_rest().await;
        cluster.write(round).await;
        let (leader, _) = cluster.leader().await;
        let begun = Instant::now();
        cluster.kill(leader);
        cluster.write(round).await;
        took.push(begun.elapsed());
        assert_ne!(cluster.leader().await.0, leader, "a dead replica leads");
        cluster.start(leader).await;
    }
    took.sort_unstable();
    let counts: Vec<_> = cluster.replicas().map(|r| r.status().failovers).collect();
    eprintln!(
        "p50 {:?} max {:?} all {took:?} {counts:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

//! Restarts: nothing acknowledged is lost, terms rise, a damaged state store is rebuilt.

use std::path::Path;

use regent_ha::Role;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_restart_with_what_was_acknowledged() {
    let mut cluster = Cluster::formed(3).await;
    let (_, before) = cluster.leader().await;
    let last = cluster.write_many(30).await;
    cluster.at_rest().await;
    let requests = known(&cluster, 30);
    cluster.stop_all().await;
    cluster.start_all().await;
    let (_, after) = cluster.leader().await;
    assert!(after.epoch > before.epoch);
    assert!(after.announced_at.0 > last);
    cluster.at_rest().await;
    assert_eq!(known(&cluster, 30), requests);
    for replica in cluster.replicas() {
        assert_eq!(replica.status().incarnation, 2);
    }
}

/// The machine's last command index at the time of asking, per replica, as a floor for later.
fn known(cluster: &Cluster, count: u64) -> bool {
    cluster
        .replicas()
        .all(|replica| replica.stale().applied_index() >= count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_replica_never_reigns_twice_in_one_epoch() {
    let mut cluster = Cluster::formed(1).await;
    let mut epochs = Vec::new();
    for round in 0..4 {
        let (_, reign) = cluster.leader().await;
        epochs.push(reign.epoch);
        cluster.write(round).await;
        match round % 2 {
            0 => cluster.stop(1).await,
            _ => cluster.kill(1),
        }
        cluster.start(1).await;
    }
    let mut distinct = epochs.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct, epochs, "terms must rise with every start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_follower_comes_back_and_catches_up_from_the_log() {
    let mut cluster = Cluster::formed(3).await;
    let follower = cluster.follower().await;
    cluster.write_many(5).await;
    cluster.kill(follower);
    let last = cluster.write_many(20).await;
    cluster.start(follower).await;
    cluster.applied(follower, last).await;
    cluster.at_rest().await;
    assert_eq!(cluster.replica(follower).status().role, Role::Follower);
}

fn damage(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
        } else {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().skip(16).for_each(|byte| *byte ^= 0x5a);
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_or_damaged_state_store_is_rebuilt_with_the_same_hash() {
    let mut cluster = Cluster::planned(3).await;
    cluster.snapshot_every = 15;
    cluster.keep_entries = 3;
    cluster.form().await;
    cluster.write_many(50).await;
    let hash = cluster.at_rest().await;
    cluster.stop_all().await;
    std::fs::remove_dir_all(cluster.data_dir(1).join("state")).unwrap();
    damage(&cluster.data_dir(2).join("state"));
    cluster.start_all().await;
    // The announcement of the new reign changes the hash; compare what was there before it.
    cluster.leader().await;
    let rested = cluster.at_rest().await;
    assert_ne!(rested, hash);
    for replica in cluster.replicas() {
        assert_eq!(replica.stale().hash(), rested);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ran_ahead_of_the_log_is_not_believed() {
    let mut cluster = Cluster::formed(1).await;
    cluster.write_many(5).await;
    cluster.stop(1).await;
    let state = cluster.data_dir(1).join("state");
    let ahead = tempfile::tempdir().unwrap();
    // Keep the log of now, and let the store of later stand beside it.
    let kept = ahead.path().join("log");
    copy(&cluster.data_dir(1).join("log"), &kept);
    cluster.start(1).await;
    cluster.write_many(5).await;
    cluster.stop(1).await;
    assert!(state.exists());
    std::fs::remove_dir_all(cluster.data_dir(1).join("log")).unwrap();
    copy(&kept, &cluster.data_dir(1).join("log"));
    cluster.start(1).await;
    cluster.leader().await;
    let view = cluster.replica(1).stale();
    // Membership, blank, announcement, five writes, blank, announcement: nothing of the later five.
    assert!(view.applied_index() < 12, "{}", view.applied_index());
    cluster.write(9).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

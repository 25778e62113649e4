//! Snapshots: taken by policy, installed by a follower that was away, purging, damage.

use crate::cluster::{Cluster, eventually};

async fn small(size: u64) -> Cluster {
    let mut cluster = Cluster::planned(size).await;
    cluster.snapshot_every = 20;
    cluster.keep_entries = 5;
    cluster.form().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_catches_up_by_snapshot() {
    let mut cluster = small(3).await;
    let away = cluster.follower().await;
    cluster.write_many(5).await;
    cluster.stop(away).await;
    let last = cluster.write_many(100).await;
    let (leader, _) = cluster.leader().await;
    let snapshot = eventually("a snapshot of the leader", || async {
        cluster.replica(leader).status().snapshot_index
    })
    .await;
    assert!(snapshot > 20);
    cluster.start(away).await;
    cluster.applied(away, last).await;
    cluster.at_rest().await;
    let installed = eventually("a snapshot of the follower", || async {
        cluster.replica(away).status().snapshot_index
    })
    .await;
    assert!(installed >= 20, "it was fed from the log");
    // What it installed survives a restart, and it can lead with it.
    cluster.stop_all().await;
    cluster.start_all().await;
    cluster.write(7).await;
    cluster.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_purged_only_up_to_a_durable_snapshot() {
    let mut cluster = small(1).await;
    cluster.write_many(100).await;
    eventually("a purge", || async {
        cluster
            .replica(1)
            .purged_index()
            .filter(|purged| *purged > 20)
    })
    .await;
    let status = cluster.replica(1).status();
    let purged = cluster.replica(1).purged_index().unwrap();
    assert!(purged <= status.snapshot_index.unwrap());
    // Without its newest snapshot the state store still serves; without both the log can't help.
    let hash = cluster.at_rest().await;
    assert_ne!(hash, 0);
    cluster.stop(1).await;
    cluster.start(1).await;
    cluster.write(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_passed_over_or_refused_with_remedy() {
    let mut cluster = small(1).await;
    cluster.write_many(60).await;
    eventually("a purge", || async {
        cluster
            .replica(1)
            .purged_index()
            .filter(|purged| *purged > 20)
    })
    .await;
    cluster.stop(1).await;
    let dir = cluster.data_dir(1);
    for entry in std::fs::read_dir(dir.join("snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    // The state store is whole: it is enough.
    cluster.start(1).await;
    cluster.write(1).await;
    cluster.stop(1).await;
    // Without it there is nothing to start from.
    for entry in std::fs::read_dir(dir.join("snapshots")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::remove_dir_all(dir.join("state")).unwrap();
    let error = regent_ha::Replica::start(cluster.config(1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("members remove"), "{error}");
}

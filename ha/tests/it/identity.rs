//! Who is let in: wiped, foreign, rolled-back and doubled data directories, and silent peers.

use std::path::Path;
use std::time::{Duration, Instant};

use regent_ha::{Phase, Replica, StartError, probe};

use crate::cluster::{Cluster, eventually};

async fn refused(replica: &Replica) -> String {
    let mut phase = replica.phase();
    let reached = tokio::time::timeout(
        crate::cluster::PATIENCE,
        phase.wait_for(|phase| matches!(phase, Phase::Refused(_))),
    );
    match reached.await.expect("refused in time").unwrap().clone() {
        Phase::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_directory_is_refused_with_the_remedy() {
    let mut cluster = Cluster::formed(3).await;
    cluster.write_many(5).await;
    let wiped = cluster.follower().await;
    cluster.stop(wiped).await;
    std::fs::remove_dir_all(cluster.data_dir(wiped)).unwrap();
    cluster.start(wiped).await;
    let reason = refused(cluster.replica(wiped)).await;
    assert!(reason.contains("members remove"), "{reason}");
    cluster.write(6).await;
    assert_eq!(cluster.replica(wiped).stale().applied_index(), 0);
    let address = cluster.replica(wiped).peer_address().to_string();
    assert_eq!(
        probe(&regent_ha::Dialer::plain(), &address)
            .await
            .unwrap()
            .refusal,
        Some(reason)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_cluster_is_kept_out() {
    let mut ours = Cluster::formed(3).await;
    let mut theirs = Cluster::planned(3).await;
    theirs.start_all().await;
    regent_ha::bootstrap(
        &regent_ha::Dialer::plain(),
        &theirs.members,
        Some(regent_state::ids::ClusterId([8; 16])),
    )
    .await
    .unwrap();
    theirs.leader().await;
    theirs.stop_all().await;
    let last = ours.write_many(5).await;
    // A replica of theirs is started where one of ours was.
    let swapped = ours.follower().await;
    ours.stop(swapped).await;
    std::fs::remove_dir_all(ours.data_dir(swapped)).unwrap();
    copy(&theirs.data_dir(swapped), &ours.data_dir(swapped));
    ours.start(swapped).await;
    ours.write(6).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stranger = ours.replica(swapped).status();
    assert!(stranger.applied_index < last, "it took our entries");
    assert_ne!(stranger.cluster_id, Some(ours.cluster_id().to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_old_copy_is_refused_by_whoever_remembers_better() {
    let mut cluster = Cluster::formed(3).await;
    cluster.write_many(5).await;
    let node_id = cluster.follower().await;
    cluster.stop(node_id).await;
    let old = tempfile::tempdir().unwrap();
    copy(&cluster.data_dir(node_id), old.path());
    // Started again and again, it goes on; then the old copy comes back.
    for _ in 0..2 {
        cluster.start(node_id).await;
        let last = cluster.write_many(5).await;
        cluster.applied(node_id, last).await;
        cluster.stop(node_id).await;
    }
    std::fs::remove_dir_all(cluster.data_dir(node_id)).unwrap();
    copy(old.path(), &cluster.data_dir(node_id));
    cluster.start(node_id).await;
    let last = cluster.write(20).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = cluster.replica(node_id).status();
    assert!(status.applied_index < last, "an old copy was let in");
    // The leader says why, and as soon as the old copy asks for votes it is told itself.
    let (leader, _) = cluster.leader().await;
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    assert!(others.contains(&node_id));
    let reason = refused(cluster.replica(node_id)).await;
    assert!(reason.contains("members remove"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_belongs_to_one_node_and_one_process() {
    let mut cluster = Cluster::formed(1).await;
    let again = Replica::start(cluster.config(1)).await.unwrap_err();
    assert!(matches!(again, StartError::DataDir(_)), "{again}");
    cluster.stop(1).await;
    let mut other = cluster.config(1);
    other.node_id = 2;
    let error = Replica::start(other).await.unwrap_err();
    assert!(error.to_string().contains("belongs to node 1"), "{error}");
    // The refused starts left it usable.
    cluster.start(1).await;
    cluster.write(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_one_clear_line() {
    let cluster = Cluster::planned(1).await;
    let mut config = cluster.config(1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.listen_peer = taken.local_addr().unwrap().to_string();
    let error = Replica::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
}

/// A peer that accepts connections and never says a word must not hold anything up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_costs_its_deadline_and_no_more() {
    let mut cluster = Cluster::formed(3).await;
    let silent = cluster.follower().await;
    cluster.stop(silent).await;
    let address = &cluster.members[silent as usize - 1].node.peer;
    let listener = eventually("the silent peer's port", || async {
        tokio::net::TcpListener::bind(address).await.ok()
    })
    .await;
    let swallowing = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let begun = Instant::now();
    cluster.write_many(20).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let begun = Instant::now();
    assert!(probe(&regent_ha::Dialer::plain(), address).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
    swallowing.abort();
    assert!(swallowing.await.is_err());
    let last = cluster.write(21).await;
    cluster.start(silent).await;
    cluster.applied(silent, last).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), &target).unwrap()),
        }
    }
}

//! New lives: a restored snapshot, and the survivor of a lost majority.

use std::path::PathBuf;

use regent_ha::rebirth::{self, Birth};
use regent_ha::{Member, NodeId, Phase, Replica, ReplicaConfig};
use regent_storage::identity::DataDir;

use crate::cluster::{Cluster, eventually};

fn birth(cluster: &Cluster, node_id: NodeId, data_dir: PathBuf) -> Birth {
    let member: Vec<&Member> = cluster
        .members
        .iter()
        .filter(|m| m.node_id == node_id)
        .collect();
    Birth {
        member: member[0].clone(),
        data_dir,
        generation: 2,
        wall_ms: 1_800_000_000_000,
        cause: "test".to_owned(),
    }
}

/// Three replicas with some entries, all stopped.
async fn stopped() -> (Cluster, u64) {
    let mut cluster = Cluster::formed(3).await;
    let last = cluster.write_many(10).await;
    for node_id in cluster.ids() {
        cluster.applied(node_id, last).await;
    }
    cluster.stop_all().await;
    (cluster, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_survivor_leads_alone_and_old_peers_are_fenced() {
    let (mut cluster, last) = stopped().await;
    let remains = rebirth::examine(&cluster.data_dir(1), 1).await.unwrap();
    assert!(remains.last_index >= last);
    assert_eq!((remains.generation, remains.voters.len()), (1, 3));
    let birth = birth(&cluster, 1, cluster.data_dir(1));
    let wrong = rebirth::recover(&birth, remains.term + 1)
        .await
        .unwrap_err();
    assert!(wrong.to_string().contains("look again"), "{wrong}");
    rebirth::recover(&birth, remains.term).await.unwrap();
    // Done again, it changes nothing.
    rebirth::recover(&birth, remains.term).await.unwrap();
    cluster.start(1).await;
    let (leader, reign) = cluster.leader().await;
    assert_eq!((leader, reign.epoch.generation), (1, 2));
    let seen = cluster.replica(1).members_seen();
    assert_eq!((seen.voters, seen.removed), ([1].into(), [2, 3].into()));
    assert!(cluster.write(99).await > last);
    assert!(cluster.replica(1).stale().machine.is_suspended());
    cluster.start(2).await;
    let phase = cluster.replica(2).phase();
    eventually("an old peer stands back", || async {
        let refused =
            matches!(&*phase.borrow(), Phase::Refused(text) if text.contains("refused by node 1"));
        refused.then_some(())
    })
    .await;
    // A restart finds the same.
    cluster.stop_all().await;
    cluster.start(1).await;
    assert_eq!(cluster.leader().await.0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_recovery_is_carried_on() {
    let (mut cluster, _) = stopped().await;
    let remains = rebirth::examine(&cluster.data_dir(2), 2).await.unwrap();
    {
        // Its first step only: the identity is of the new generation.
        let dir = DataDir::lock(cluster.data_dir(2)).unwrap();
        dir.raise_generation(2).unwrap();
    }
    let birth = birth(&cluster, 2, cluster.data_dir(2));
    rebirth::recover(&birth, remains.term).await.unwrap();
    cluster.start(2).await;
    assert_eq!(cluster.leader().await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_replica_is_not_touched() {
    let cluster = Cluster::formed(1).await;
    let error = rebirth::examine(&cluster.data_dir(1), 1).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_state_begins_a_new_cluster() {
    let mut cluster = Cluster::formed(3).await;
    let last = cluster.write_many(10).await;
    let follower = cluster.follower().await;
    let dir = tempfile::tempdir().unwrap();
    let path = cluster
        .replica(follower)
        .save_snapshot(dir.path())
        .await
        .unwrap();
    let saved = rebirth::read_snapshot(&path).unwrap();
    assert!(saved.index >= last && saved.members.len() == 3);
    let mut birth = birth(&cluster, 1, dir.path().join("restored"));
    birth.member.node.peer = "127.0.0.1:0".to_owned();
    let cluster_id = rebirth::restore(&path, &birth).await.unwrap();
    assert_ne!(cluster_id, cluster.cluster_id());
    let again = rebirth::restore(&path, &birth).await.unwrap_err();
    assert!(again.to_string().contains("isn't empty"), "{again}");
    cluster.stop_all().await;
    let replica = Replica::start(ReplicaConfig::new(&birth.data_dir, 1, "jm-1"))
        .await
        .unwrap();
    eventually("it leads", || async {
        replica.leadership().borrow().reign().map(drop)
    })
    .await;
    let view = replica.linearizable().await.unwrap();
    assert_eq!(view.machine.cluster_id(), Some(cluster_id));
    assert!(view.applied_index() > saved.index && view.machine.is_suspended());
    replica.shutdown().await;
    // One flipped bit, and nothing is restored.
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(rebirth::read_snapshot(&path).is_err());
    birth.data_dir = dir.path().join("another");
    assert!(rebirth::restore(&path, &birth).await.is_err());
    assert!(!birth.data_dir.join("identity").exists());
}

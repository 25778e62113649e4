//! Growing, shrinking and replacing while writes go on.

use std::collections::BTreeMap;
use std::time::Duration;

use regent_ha::membership::check_candidate;
use regent_ha::membership::plan::{Step, Wish, steps};
use regent_ha::{Member, Node, NodeId, Phase, probe};

use crate::cluster::{Cluster, eventually};

fn newcomer(node_id: NodeId) -> Member {
    Member {
        node_id,
        node: Node {
            name: format!("jm-{node_id}"),
            api: format!("127.0.0.1:{}", regent_ports::free_port()),
            peer: format!("127.0.0.1:{}", regent_ports::free_port()),
        },
    }
}

/// Does what a leader does about wishes until they are fulfilled.
async fn fulfil(cluster: &Cluster, wishes: &[(NodeId, Wish)]) {
    let wishes: BTreeMap<_, _> = wishes.iter().cloned().collect();
    eventually("the members are as wished", || async {
        let (leader, _) = cluster.leader().await;
        let replica = cluster.replica(leader);
        let due = steps(&wishes, &replica.members_seen());
        match due.first() {
            None => return Some(()),
            Some(Step::Wait { .. }) => {}
            Some(step) => drop(replica.change_members(step).await),
        }
        cluster.write(1).await;
        None
    })
    .await;
}

async fn grow(cluster: &mut Cluster, node_ids: &[NodeId]) {
    let mut wishes = Vec::new();
    for node_id in node_ids {
        let member = newcomer(*node_id);
        cluster.members.push(member.clone());
        cluster.start(*node_id).await;
        wishes.push((*node_id, Wish::Voter(member)));
    }
    fulfil(cluster, &wishes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_grows_to_three_and_shrinks_again_without_its_first_member() {
    let mut cluster = Cluster::formed(1).await;
    cluster.write_many(20).await;
    grow(&mut cluster, &[2, 3]).await;
    let (leader, _) = cluster.leader().await;
    let seen = cluster.replica(leader).members_seen();
    assert_eq!(seen.voters, [1, 2, 3].into());
    let last = cluster.write_many(20).await;
    for node_id in [1, 2, 3] {
        cluster.applied(node_id, last).await;
    }
    cluster.at_rest().await;
    // The first member leads and is removed: another one leads before it goes.
    fulfil(&cluster, &[(1, Wish::Gone)]).await;
    let (leader, _) = cluster.leader().await;
    assert_ne!(leader, 1);
    let seen = cluster.replica(leader).members_seen();
    assert_eq!(seen.voters, [2, 3].into());
    assert_eq!(seen.removed, [1].into());
    // It learns of it when it wants to be elected, and takes no part any more.
    let removed = cluster.replica(1).phase();
    eventually("the removed one stands back", || async {
        let text = match &*removed.borrow() {
            Phase::Refused(text) => Some(text.clone()),
            Phase::Empty | Phase::Member => None,
        };
        text.filter(|text| text.contains("never used again"))
    })
    .await;
    cluster.write_many(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_member_is_replaced_and_its_number_stays_away() {
    let mut cluster = Cluster::formed(3).await;
    let dead = cluster.follower().await;
    cluster.kill(dead);
    grow(&mut cluster, &[4]).await;
    fulfil(&cluster, &[(dead, Wish::Gone)]).await;
    let (leader, _) = cluster.leader().await;
    let seen = cluster.replica(leader).members_seen();
    assert_eq!(seen.margin().voters, 3);
    assert!(seen.voters.contains(&4) && seen.removed.contains(&dead));
    // An empty directory under the old number is not taken.
    std::fs::remove_dir_all(cluster.data_dir(dead)).unwrap();
    cluster.start(dead).await;
    let address = cluster.replica(dead).peer_address().to_string();
    let cluster_id = cluster.cluster_id().to_string();
    let refusal = eventually("it is refused", || async {
        let probed = probe(&regent_ha::Dialer::plain(), &address).await.ok()?;
        check_candidate(&probed, &seen, &cluster_id).err()
    })
    .await;
    assert!(refusal.contains("was removed"), "{refusal}");
    // Membership and removed numbers survive a restart of all.
    let last = cluster.write_many(3).await;
    for node_id in seen.voters.clone() {
        cluster.applied(node_id, last).await;
    }
    cluster.members.retain(|member| member.node_id != dead);
    cluster.kill(dead);
    cluster.stop_all().await;
    cluster.start_all().await;
    cluster.write(1).await;
    let (leader, _) = cluster.leader().await;
    let again = cluster.replica(leader).members_seen();
    assert_eq!((again.voters, again.removed), (seen.voters, seen.removed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_replica_waits_to_be_added() {
    let mut cluster = Cluster::formed(1).await;
    cluster.members.push(newcomer(2));
    cluster.start(2).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(*cluster.replica(2).phase().borrow(), Phase::Empty);
    let member = cluster.members[1].clone();
    fulfil(&cluster, &[(2, Wish::Learner(member))]).await;
    assert_eq!(*cluster.replica(2).phase().borrow(), Phase::Member);
    let last = cluster.write_many(3).await;
    cluster.applied(2, last).await;
    let (leader, _) = cluster.leader().await;
    let seen = cluster.replica(leader).members_seen();
    assert_eq!((seen.voters.len(), seen.members.len()), (1, 2));
}

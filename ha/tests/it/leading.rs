//! Elections, proposals, reads, quorum confirmation, handover.

use std::time::{Duration, Instant};

use regent_ha::{Leadership, ProposeError, ReadError, Role, TransferError};
use regent_state::Response;
use regent_state::ids::Epoch;

use crate::cluster::{Cluster, cancel, eventually, level};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_three_and_five_replicas_elect_write_and_agree() {
    for size in [1, 3, 5] {
        let cluster = Cluster::formed(size).await;
        let last = cluster.write_many(20).await;
        for node_id in cluster.ids() {
            cluster.applied(node_id, last).await;
        }
        cluster.at_rest().await;
        let (leader, reign) = cluster.leader().await;
        assert_eq!(reign.epoch.node.0, leader);
        assert_eq!(reign.cause, "bootstrap");
        let status = cluster.replica(leader).status();
        assert_eq!(status.role, Role::Leader);
        assert_eq!(status.voters.len() as u64, size);
        assert_eq!(status.peers.len() as u64, size - 1);
        assert!(status.bootstrapped);
        for peer in &status.peers {
            assert!(peer.last_contact_ms.unwrap() < 1_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_takes_over_and_the_old_epoch_is_refused() {
    let mut cluster = Cluster::formed(3).await;
    let (old, old_reign) = cluster.leader().await;
    let written = cluster.write(1).await;
    cluster.stop(old).await;
    let (new, reign) = cluster.leader().await;
    assert_ne!(new, old);
    assert!(reign.epoch > old_reign.epoch);
    assert!(reign.announced_at.0 > written);
    assert!(reign.clock_ms() >= old_reign.clock_ms() - old_reign.age().as_millis() as u64);
    let stale = cluster
        .replica(new)
        .propose_as_leader(&old_reign, "test", level(1))
        .await;
    assert!(matches!(stale, Err(ProposeError::NotLeader { .. })));
    let fresh = cluster
        .replica(new)
        .propose_as_leader(&reign, "test", level(1))
        .await
        .unwrap();
    assert_eq!(fresh.response, Response::Done);
    cluster.write(2).await;
    // The reigns are in the state, with a cause each.
    let view = cluster.replica(new).linearizable().await.unwrap();
    let reigns: Vec<Epoch> = view.machine.reigns().map(|reign| reign.epoch).collect();
    assert_eq!(reigns, [old_reign.epoch, reign.epoch]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_name_the_leader_and_read_linearizably() {
    let cluster = Cluster::formed(3).await;
    let (leader, reign) = cluster.leader().await;
    let follower = cluster.follower().await;
    // It may have voted and not have heard yet who won.
    let named = eventually("the follower names who leads", || async {
        match cluster.replica(follower).propose_client(cancel(1)).await {
            Err(ProposeError::NotLeader { leader }) => leader,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(named.node_id, leader);
    for round in 1..=20 {
        let proposed = cluster
            .replica(leader)
            .propose_as_leader(&reign, "test", level(round))
            .await
            .unwrap();
        let view = cluster.replica(follower).linearizable().await.unwrap();
        assert!(view.applied_index() >= proposed.index.0);
        assert_eq!(view.machine.meta().unwrap().feature_level, round);
        // One's own write is visible at once to plain readers of the leader.
        let own = cluster.replica(leader).stale();
        assert!(own.applied_index() >= proposed.index.0);
    }
    let unconfirmed = cluster.replica(follower).confirm_quorum().await;
    assert!(matches!(unconfirmed, Err(ReadError::NotLeader { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_confirmed_or_written() {
    let mut cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    cluster.replica(leader).confirm_quorum().await.unwrap();
    let others: Vec<_> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    for node_id in &others {
        cluster.kill(*node_id);
    }
    let replica = cluster.replica(leader);
    let read = replica.confirm_quorum().await;
    assert!(read.is_err(), "{read:?}");
    let begun = Instant::now();
    let written = replica.propose_client(cancel(1)).await;
    assert!(written.is_err(), "{written:?}");
    assert!(begun.elapsed() < Duration::from_secs(6));
    // Its own account still works, and the cluster comes back with one more replica.
    assert_eq!(replica.status().members.len(), 3);
    cluster.start(others[0]).await;
    cluster.leader().await;
    cluster.write(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_proposals_share_syncs_and_all_are_answered() {
    let cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    let replica = cluster.replica(leader).clone();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let replica = replica.clone();
            tokio::spawn(async move {
                for number in 0..20 {
                    let number = writer * 1_000 + number;
                    replica.propose_client(cancel(number)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let entries = replica.stale().applied_index();
    assert!(entries >= 64 * 20);
    let syncs = replica.log_metrics().sync_count;
    assert!(syncs < entries / 4, "{syncs} syncs for {entries} entries");
    cluster.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_no_write_is_lost() {
    let cluster = Cluster::formed(3).await;
    let (leader, old) = cluster.leader().await;
    let to = cluster.follower().await;
    cluster.write(1).await;
    let transferred = cluster.replica(leader).transfer_leader(to).await.unwrap();
    assert_eq!((transferred.from, transferred.to), (leader, to));
    let (now, reign) = eventually("the new reign", || async {
        let (node_id, reign) = cluster.leader().await;
        (node_id == to).then_some((node_id, reign))
    })
    .await;
    assert_eq!(now, to);
    assert!(reign.epoch > old.epoch);
    assert_eq!(reign.cause, "transfer");
    cluster.write(2).await;
    let refused = cluster.replica(leader).transfer_leader(to).await;
    assert!(matches!(refused, Err(TransferError::NotLeader { .. })));
    let refused = cluster.replica(to).transfer_leader(99).await;
    assert!(matches!(refused, Err(TransferError::Refused(_))));
    cluster.write(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_write_is_in_the_view_at_once() {
    let cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    let replica = cluster.replica(leader);
    for number in 0..100 {
        let written = replica.propose_client(cancel(number)).await.unwrap();
        let seen = replica.stale().applied_index();
        assert!(seen >= written.index.0, "{seen} of {:?}", written.index);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_away_is_not_handed_to() {
    let mut cluster = Cluster::formed(3).await;
    let (leader, reign) = cluster.leader().await;
    let away = cluster.follower().await;
    cluster.kill(away);
    eventually("the follower's silence", || async {
        let peers = cluster.replica(leader).status().peers;
        let silent = |ms: Option<u64>| ms.is_none_or(|ms| ms > 1_000);
        let away = peers.iter().find(|peer| peer.node_id == away);
        away.is_some_and(|peer| silent(peer.last_contact_ms))
            .then_some(())
    })
    .await;
    let refused = cluster.replica(leader).transfer_leader(away).await;
    let Err(TransferError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        why.contains(&format!("node {away} can't be reached")),
        "{why}"
    );
    assert!(why.contains("regent leader transfer"), "{why}");
    // It still leads, in the same reign, and takes writes.
    cluster.write(1).await;
    assert_eq!(cluster.leader().await, (leader, reign));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_whose_caller_goes_away_ends_and_leaves_nothing_behind() {
    let cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    let to = cluster.follower().await;
    let replica = cluster.replica(leader);
    let mut asked = Box::pin(replica.transfer_leader(to));
    assert!(futures::poll!(&mut asked).is_pending(), "it takes a moment");
    drop(asked);
    eventually("the handover's end", || async {
        (cluster.leader().await.0 == to).then_some(())
    })
    .await;
    cluster.write(1).await;
    // Back to the one whose caller went away: it takes writes and hands over again.
    cluster.at_rest().await;
    let back = cluster.replica(to).transfer_leader(leader).await.unwrap();
    assert_eq!(back.to, leader);
    eventually("the first one's reign", || async {
        (cluster.leader().await.0 == leader).then_some(())
    })
    .await;
    cluster.write(2).await;
    let again = replica.hand_over().await.unwrap();
    assert_eq!(again.from, leader);
    assert_ne!(again.to, leader);
    cluster.write(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_meanwhile_gets_the_same_answer() {
    let cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    let to = cluster.follower().await;
    let replica = cluster.replica(leader);
    let (first, second, third) = tokio::join!(
        biased;
        replica.transfer_leader(to),
        replica.transfer_leader(to),
        replica.hand_over(),
    );
    let first = first.unwrap();
    assert_eq!(first.to, to);
    assert_eq!((second, third), (Ok(first.clone()), Ok(first)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_who_answers() {
    let mut cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    cluster.at_rest().await;
    // Equal logs: the highest number would be first.
    let dead = cluster.ids().into_iter().rfind(|id| *id != leader);
    let dead = dead.unwrap();
    cluster.kill(dead);
    let moved = cluster.replica(leader).hand_over().await.unwrap();
    assert!(moved.to != dead && moved.to != leader, "{moved:?}");
    cluster.write(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_refuses_to_hand_over() {
    let cluster = Cluster::formed(1).await;
    let refused = cluster.replica(1).transfer_leader(2).await;
    let Err(TransferError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("no other voter"), "{why}");
    cluster.write(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reign_is_revoked_when_somebody_else_leads() {
    let cluster = Cluster::formed(3).await;
    let (leader, _) = cluster.leader().await;
    let to = cluster.follower().await;
    let mut leadership = cluster.replica(leader).leadership();
    cluster.replica(leader).transfer_leader(to).await.unwrap();
    let seen = leadership
        .wait_for(|l| matches!(l, Leadership::Following { .. }))
        .await
        .unwrap()
        .clone();
    match seen {
        Leadership::Following { leader, .. } => assert_eq!(leader.node_id, to),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_clients_places_are_taken_more_are_told_to_come_again_and_the_leader_goes_on() {
    let mut cluster = Cluster::planned(1).await;
    cluster.max_inflight = 1;
    cluster.form().await;
    let (leader, reign) = cluster.leader().await;
    let replica = cluster.replica(leader);
    // All begin before the first can be on disk; the reconciler's own comes after them.
    let (first, second, third, own) = tokio::join!(
        biased;
        replica.propose_client(cancel(1)),
        replica.propose_client(cancel(2)),
        replica.propose_client(cancel(3)),
        replica.propose_as_leader(&reign, "test", level(1)),
    );
    assert!(first.is_ok(), "{first:?}");
    for busy in [second, third] {
        let busy = busy.unwrap_err();
        assert_eq!(busy, ProposeError::Overloaded);
        assert!(busy.to_string().contains("nothing was done, try again"));
    }
    assert_eq!(own.unwrap().response, Response::Done);
    replica.propose_client(cancel(4)).await.unwrap();
}

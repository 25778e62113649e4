//! Situations of the group: the word, the fact and the remedy; and what is said of each replica.

use regent_protocol::view::{ContactView, NodeStatus, PeerView};

use super::leader as explain;
use super::*;
use crate::client::{Asked, Survey};
use crate::output::words::now_ms;

fn api(id: u64) -> String {
    format!("127.0.0.1:710{id}")
}

fn member(id: u64) -> MemberView {
    MemberView {
        node_id: id,
        name: format!("jm-{id}"),
        role: "voter".to_owned(),
        peer: format!("127.0.0.1:711{id}"),
        api: api(id),
    }
}

/// A follower of `leader` that hears everybody.
fn node(id: u64, leader: Option<u64>) -> NodeStatus {
    let hears = |of: u64| ContactView {
        node_id: of,
        heard_ms: Some(300),
    };
    NodeStatus {
        cluster_id: Some("c".repeat(32)),
        generation: 1,
        node_id: id,
        name: format!("jm-{id}"),
        api: api(id),
        role: if leader == Some(id) {
            "leader"
        } else {
            "follower"
        }
        .to_owned(),
        term: 4,
        leader,
        last_log_index: 2_000,
        applied_index: 2_000,
        leading_since_ms: (leader == Some(id)).then(|| now_ms() - 5_000),
        last_contact_ms: (leader != Some(id)).then_some(12),
        members: (1..=3).map(member).collect(),
        contacts: (1..=3).filter(|of| *of != id).map(hears).collect(),
        ..NodeStatus::default()
    }
}

fn deaf_to(mut status: NodeStatus, of: &[u64]) -> NodeStatus {
    for contact in &mut status.contacts {
        if of.contains(&contact.node_id) {
            contact.heard_ms = Some(60_000);
        }
    }
    status
}

fn survey(answers: Vec<Result<NodeStatus, &str>>) -> Survey {
    let asked = answers.into_iter().zip(1..).map(|(answer, id)| Asked {
        answer: answer.map_err(str::to_owned),
        ..Asked::silent(api(id), "")
    });
    Survey {
        asked: asked.collect(),
    }
}

fn explained(answers: Vec<Result<NodeStatus, &str>>) -> LeaderExplained {
    explain(&survey(answers))
}

const GONE: &str = "connection refused";

#[track_caller]
fn is(explained: &LeaderExplained, situation: &str, summary: &str, remedy: Option<&str>) {
    assert_eq!(explained.situation, situation, "{explained:#?}");
    assert!(explained.summary.contains(summary), "{explained:#?}");
    match (remedy, &explained.remedy) {
        (None, None) => {}
        (Some(wanted), Some(found)) => assert!(found.contains(wanted), "{explained:#?}"),
        _ => panic!("{explained:#?}"),
    }
}

fn why(explained: &LeaderExplained, id: u64) -> &str {
    let replica = explained.replicas.iter().find(|r| r.node_id == id);
    &replica.unwrap().why
}

#[test]
fn a_healthy_group_needs_nothing() {
    let told = explained(vec![
        Ok(node(1, Some(2))),
        Ok(node(2, Some(2))),
        Ok(node(3, Some(2))),
    ]);
    is(
        &told,
        "healthy",
        "jm-2 leads, and every voter follows it",
        None,
    );
    assert_eq!(told.leader.as_deref(), Some("jm-2"));
    assert!(why(&told, 2).contains("elected in term 4, and 2 of 2 other voters follow"));
    assert!(why(&told, 1).contains("follows jm-2, heard it 12ms ago, and has every entry"));
    assert!(told.replicas[1].leads && told.differences.is_empty());
    assert_eq!(told.replicas[0].hears, ["jm-2", "jm-3"]);
}

#[test]
fn a_dead_replica_is_to_be_started() {
    let told = explained(vec![
        Ok(deaf_to(node(1, Some(1)), &[3])),
        Ok(deaf_to(node(2, Some(1)), &[3])),
        Err(GONE),
    ]);
    is(
        &told,
        "degraded",
        "jm-3 is away: no other replica may be lost",
        Some("start jm-3"),
    );
    assert!(why(&told, 3).contains("its process isn't running"));
}

#[test]
fn after_the_leaders_death_an_election_is_waited_for() {
    let told = explained(vec![
        Err(GONE),
        Ok(deaf_to(node(2, None), &[1])),
        Ok(deaf_to(node(3, None), &[1])),
    ]);
    is(
        &told,
        "electing",
        "2 of 3 voters hear each other",
        Some("wait"),
    );
    assert!(
        why(&told, 2).contains("can be elected"),
        "{}",
        why(&told, 2)
    );
    assert!(why(&told, 1).contains("isn't running"));
}

#[test]
fn without_quorum_one_of_the_dead_is_enough() {
    let told = explained(vec![
        Ok(deaf_to(node(1, None), &[2, 3])),
        Err(GONE),
        Err(GONE),
    ]);
    is(
        &told,
        "no-quorum",
        "1 of 3 voters take part, and 2 are needed",
        Some(
            "start jm-2 or jm-3 (one is enough); if they are lost for good, with their disks: regent recover plan",
        ),
    );
    assert!(
        why(&told, 1).contains("hears 1 of 3 voters, itself included, and needs the votes of 2")
    );
    assert_eq!((told.answering, told.quorum), (1, 2));
}

#[test]
fn a_minority_that_still_believes_in_itself_leads_nobody() {
    let mut alone = deaf_to(node(1, Some(1)), &[2, 3]);
    alone.term = 4;
    let told = explained(vec![
        Ok(alone),
        Err("doesn't answer"),
        Err("doesn't answer"),
    ]);
    is(
        &told,
        "no-quorum",
        "1 of 3 voters take part",
        Some("look at jm-2: it is frozen"),
    );
    assert!(
        why(&told, 1).contains("can't commit anything, so it leads nobody"),
        "{told:#?}"
    );
}

#[test]
fn a_deposed_leader_beside_the_new_one_is_told_apart() {
    let old = NodeStatus {
        term: 3,
        ..deaf_to(node(1, Some(1)), &[2, 3])
    };
    let told = explained(vec![
        Ok(old),
        Ok(deaf_to(node(2, Some(2)), &[1])),
        Ok(deaf_to(node(3, Some(2)), &[1])),
    ]);
    is(
        &told,
        "degraded",
        "jm-1 is away",
        Some("mend the network between jm-1 (127.0.0.1:7111) and the others"),
    );
    assert!(why(&told, 1).contains("deposed and doesn't know it yet"));
    assert_eq!(
        told.differences,
        ["jm-1 takes jm-1 for the leader; jm-2 and jm-3 take jm-2 for the leader"]
    );
}

#[test]
fn replicas_that_dont_hear_each_other_are_partitioned() {
    let told = explained(vec![
        Ok(deaf_to(node(1, None), &[2, 3])),
        Ok(deaf_to(node(2, None), &[1, 3])),
        Ok(deaf_to(node(3, None), &[1, 2])),
    ]);
    is(
        &told,
        "partitioned",
        "3 voters live, but none hears 2",
        Some("between jm-1 (127.0.0.1:7111) and jm-2"),
    );
}

#[test]
fn a_lagging_follower_is_named_and_wouldnt_be_elected() {
    let mut slow = node(3, Some(1));
    slow.last_log_index = 500;
    let mut leader = node(1, Some(1));
    leader.peers = vec![PeerView {
        node_id: 3,
        matched_index: Some(500),
        last_contact_ms: Some(20),
    }];
    let told = explained(vec![Ok(leader), Ok(node(2, Some(1))), Ok(slow)]);
    is(
        &told,
        "lagging",
        "jm-3 trails by 1500 entries",
        Some("disk and the network of jm-3"),
    );
    assert!(
        why(&told, 3).contains("wouldn't be elected"),
        "{}",
        why(&told, 3)
    );
}

fn with_full_disk(mut status: NodeStatus) -> NodeStatus {
    status.disk.data_dir = format!("/data/{}", status.name);
    status.disk.full = true;
    status
}

#[test]
fn a_leader_with_a_full_disk_hands_over_to_a_fit_one() {
    let told = explained(vec![
        Ok(with_full_disk(node(1, Some(1)))),
        Ok(with_full_disk(node(2, Some(1)))),
        Ok(node(3, Some(1))),
    ]);
    is(
        &told,
        "disk-full",
        "jm-1 leads and can't store anything: the disk of /data/jm-1 is full",
        Some("regent leader transfer --to jm-3; then free space"),
    );
}

#[test]
fn too_many_full_disks_leave_nobody_to_lead() {
    let told = explained(vec![
        Ok(with_full_disk(node(1, None))),
        Ok(with_full_disk(node(2, None))),
        Ok(node(3, None)),
    ]);
    is(
        &told,
        "disk-full",
        "too few voters can store anything",
        Some("free space in /data/jm-1"),
    );
    assert!(why(&told, 1).contains("has to store its announcement"));
}

#[test]
fn one_full_disk_of_a_follower_is_told() {
    let told = explained(vec![
        Ok(node(1, Some(1))),
        Ok(with_full_disk(node(2, Some(1)))),
        Ok(node(3, Some(1))),
    ]);
    is(
        &told,
        "disk-full",
        "jm-1 leads, and jm-2 can't store anything",
        Some("/data/jm-2"),
    );
}

#[test]
fn a_stopped_raft_and_a_refusal_are_repeated_in_its_own_words() {
    let stopped = NodeStatus {
        failure: Some("disk failed".to_owned()),
        ..node(2, None)
    };
    let refusing = NodeStatus {
        refused: Some("it was wiped".to_owned()),
        ..node(3, None)
    };
    let told = explained(vec![Ok(node(1, Some(1))), Ok(stopped), Ok(refusing)]);
    assert!(
        why(&told, 2).contains("Raft has stopped in it: disk failed"),
        "{told:#?}"
    );
    assert!(why(&told, 3).contains("takes no part: it was wiped"));
    is(
        &told,
        "no-quorum",
        "1 of 3 voters take part",
        Some("start jm-2 again"),
    );
}

#[test]
fn before_bootstrap_it_is_to_be_formed() {
    let empty = |id| NodeStatus {
        cluster_id: None,
        role: "uninitialised".to_owned(),
        ..node(id, None)
    };
    let told = explained(vec![Ok(empty(1)), Ok(empty(2)), Err(GONE)]);
    is(
        &told,
        "no-cluster",
        "no cluster yet",
        Some("regent cluster bootstrap"),
    );
}

#[test]
fn only_this_client_cut_off_is_no_fault_of_the_group() {
    let told = explained(vec![
        Ok(node(1, Some(1))),
        Ok(node(2, Some(1))),
        Err("doesn't answer"),
    ]);
    is(&told, "healthy", "jm-1 leads", None);
    assert!(
        why(&told, 3).contains("jm-1 and jm-2 hear it: only the way from here"),
        "{told:#?}"
    );
}

#[test]
fn a_fresh_winner_is_announcing_itself() {
    let fresh = NodeStatus {
        leading_since_ms: None,
        ..node(2, Some(2))
    };
    let told = explained(vec![Ok(node(1, Some(2))), Ok(fresh), Err(GONE)]);
    is(
        &told,
        "announcing",
        "jm-2 has won the election of term 4",
        Some("nothing has to be done"),
    );
}

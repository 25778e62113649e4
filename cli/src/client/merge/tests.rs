use regent_protocol::view::PeerView;

use super::super::survey::Asked;
use super::*;

fn member(id: u64) -> MemberView {
    MemberView {
        node_id: id,
        name: format!("jm-{id}"),
        role: "voter".to_owned(),
        peer: format!("127.0.0.1:721{id}"),
        api: format!("127.0.0.1:710{id}"),
    }
}

fn node(id: u64, role: &str, term: u64, leader: Option<u64>, last: u64) -> NodeStatus {
    NodeStatus {
        cluster_id: Some("c".repeat(32)),
        generation: 1,
        node_id: id,
        name: format!("jm-{id}"),
        api: format!("127.0.0.1:710{id}"),
        role: role.to_owned(),
        term,
        leader,
        last_log_index: last,
        applied_index: last,
        leading_since_ms: (role == "leader").then_some(77),
        last_contact_ms: (role == "follower").then_some(12),
        members: (1..=3).map(member).collect(),
        ..NodeStatus::default()
    }
}

fn picture(answers: Vec<Option<NodeStatus>>) -> Picture {
    merge(&survey(answers))
}

fn survey(answers: Vec<Option<NodeStatus>>) -> Survey {
    let asked = answers.into_iter().zip(1..).map(|(answer, id)| Asked {
        address: format!("127.0.0.1:710{id}"),
        answer: answer.ok_or_else(|| "connection refused".to_owned()),
        denied: false,
        asked_ms: (0, 0),
    });
    Survey {
        asked: asked.collect(),
    }
}

fn roles(picture: &Picture) -> Vec<&str> {
    picture
        .show
        .replicas
        .iter()
        .map(|r| r.role.as_str())
        .collect()
}

fn failure(answers: Vec<Option<NodeStatus>>) -> Failure {
    let endpoints = Endpoints {
        addresses: vec!["127.0.0.1:7101".to_owned()],
        source: "--endpoints".to_owned(),
        access: crate::client::Access::default(),
    };
    no_leader_or_majority(&endpoints, &survey(answers), "")
}

#[test]
fn a_healthy_group() {
    let mut leader = node(2, "leader", 3, Some(2), 9);
    leader.peers = vec![PeerView {
        node_id: 1,
        matched_index: Some(7),
        last_contact_ms: Some(5),
    }];
    let picture = picture(vec![
        Some(node(1, "follower", 3, Some(2), 7)),
        Some(leader),
        Some(node(3, "follower", 3, Some(2), 10)),
    ]);
    let head = picture.show.leader.as_ref().unwrap();
    assert_eq!((head.node_id, head.term, head.since_ms), (2, 3, 77));
    assert_eq!(roles(&picture), ["follower", "leader", "follower"]);
    let trails: Vec<_> = picture.show.replicas.iter().map(|r| r.trails_by).collect();
    assert_eq!(trails, [Some(2), Some(0), Some(0)]);
    let contacts: Vec<_> = picture
        .show
        .replicas
        .iter()
        .map(|r| r.last_contact_ms)
        .collect();
    assert_eq!(contacts, [Some(5), Some(0), Some(12)]);
    assert_eq!(
        (
            picture.show.voters,
            picture.show.quorum,
            picture.show.tolerates
        ),
        (3, 2, 1)
    );
    assert!(picture.majority_answers());
    assert!(picture.alarms.is_empty());
}

#[test]
fn no_leader_is_null_and_the_longest_log_is_the_measure() {
    let picture = picture(vec![
        Some(node(1, "follower", 4, None, 7)),
        Some(node(2, "candidate", 4, None, 9)),
        None,
    ]);
    assert_eq!(picture.show.leader, None);
    assert_eq!(roles(&picture), ["follower", "follower", "unreachable"]);
    let trails: Vec<_> = picture.show.replicas.iter().map(|r| r.trails_by).collect();
    assert_eq!(trails, [Some(2), Some(0), None]);
    assert_eq!(picture.show.tolerates, 0);
    assert!(picture.majority_answers());
}

#[test]
fn a_deposed_leader_is_not_believed() {
    let seen = picture(vec![
        Some(node(1, "leader", 3, Some(1), 9)),
        Some(node(2, "leader", 4, Some(2), 9)),
        Some(node(3, "follower", 4, Some(2), 9)),
    ]);
    assert_eq!(seen.show.leader.as_ref().unwrap().node_id, 2);
    assert_eq!(roles(&seen), ["follower", "leader", "follower"]);
    // The others elect at a higher term: nobody leads.
    let electing = picture(vec![
        Some(node(1, "leader", 3, Some(1), 9)),
        Some(node(2, "candidate", 4, None, 9)),
        Some(node(3, "follower", 4, None, 9)),
    ]);
    assert_eq!(electing.show.leader, None);
}

#[test]
fn a_leader_without_a_majority_leads_nobody() {
    let alone = node(1, "leader", 3, Some(1), 9);
    let seen = picture(vec![Some(alone.clone()), None, None]);
    assert_eq!(seen.show.leader, None);
    assert_eq!(roles(&seen), ["follower", "unreachable", "unreachable"]);
    assert!(!seen.majority_answers());
    // Only this client is cut off from jm-2; the leader heard from it just now.
    let mut in_contact = alone;
    in_contact.peers = vec![PeerView {
        node_id: 2,
        matched_index: Some(9),
        last_contact_ms: Some(40),
    }];
    let seen = picture(vec![Some(in_contact), None, None]);
    assert_eq!(seen.show.leader.unwrap().node_id, 1);
}

#[test]
fn a_leader_that_is_not_announced_yet_does_not_lead() {
    let mut fresh = node(1, "leader", 3, Some(1), 9);
    fresh.leading_since_ms = None;
    let seen = picture(vec![
        Some(fresh),
        Some(node(2, "follower", 3, Some(1), 9)),
        None,
    ]);
    assert_eq!(seen.show.leader, None);
}

#[test]
fn before_bootstrap_nobody_votes() {
    let empty = |id| NodeStatus {
        cluster_id: None,
        generation: 0,
        members: Vec::new(),
        ..node(id, "uninitialised", 0, None, 0)
    };
    let seen = picture(vec![Some(empty(1)), Some(empty(2)), None]);
    assert_eq!((seen.show.voters, seen.show.quorum), (0, 0));
    assert_eq!(seen.show.replicas.len(), 2);
    assert_eq!(seen.cluster_id, None);
    let failure = failure(vec![Some(empty(1)), Some(empty(2)), None]);
    assert_eq!(failure.code, 3);
    assert!(failure.message.contains("regent cluster bootstrap"));
}

#[test]
fn strangers_and_split_states_raise_alarms() {
    let mut stranger = node(3, "follower", 1, None, 2);
    stranger.cluster_id = Some("d".repeat(32));
    let mut left = node(1, "leader", 3, Some(1), 9);
    let mut right = node(2, "follower", 3, Some(1), 9);
    left.state_hash = "aa".to_owned();
    right.state_hash = "bb".to_owned();
    let seen = picture(vec![Some(left), Some(right), Some(stranger)]);
    assert_eq!(roles(&seen), ["leader", "follower", "unreachable"]);
    assert_eq!(seen.alarms.len(), 2, "{:?}", seen.alarms);
}

#[test]
fn the_exit_code_follows_who_answers() {
    let follower = |id| Some(node(id, "follower", 4, None, 9));
    let no_leader = failure(vec![follower(1), follower(2), None]);
    assert_eq!(no_leader.code, 3);
    assert!(
        no_leader
            .message
            .contains("2 of 3 replicas answer, none leads")
    );
    let no_majority = failure(vec![follower(1), None, None]);
    assert_eq!(no_majority.code, 4);
    assert!(no_majority.message.contains("start jm-2 or jm-3"));
    let nobody = failure(vec![None]);
    assert_eq!(nobody.code, 4);
    assert!(nobody.message.contains("connection refused"));
}

#[test]
fn one_node_under_two_addresses_is_counted_once() {
    let seen = picture(vec![
        Some(node(1, "leader", 3, Some(1), 9)),
        Some(node(1, "leader", 3, Some(1), 9)),
        Some(node(2, "follower", 3, Some(1), 9)),
    ]);
    assert_eq!(seen.answering, 2);
    assert_eq!(seen.show.replicas.len(), 3);
}

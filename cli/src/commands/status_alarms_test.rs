//! Situations and the alarms that they raise.

use regent_protocol::view::{DiskView, MemberView, NotRunning, TlsView, WorkerView};

use super::*;
use crate::client::merge;

fn member(id: u64) -> MemberView {
    MemberView {
        node_id: id,
        name: format!("jm-{id}"),
        role: "voter".to_owned(),
        peer: String::new(),
        api: format!("127.0.0.1:710{id}"),
    }
}

fn node(id: u64, leader: Option<u64>, voters: u64) -> NodeStatus {
    NodeStatus {
        cluster_id: Some("c".repeat(32)),
        generation: 1,
        node_id: id,
        name: format!("jm-{id}"),
        api: format!("127.0.0.1:710{id}"),
        role: if leader == Some(id) {
            "leader"
        } else {
            "follower"
        }
        .to_owned(),
        term: 4,
        leader,
        last_log_index: 2_000,
        leading_since_ms: (leader == Some(id)).then_some(5),
        members: (1..=voters).map(member).collect(),
        now_ms: 1_000_000,
        ..NodeStatus::default()
    }
}

fn asked(answer: Option<NodeStatus>) -> Asked {
    let silent = Asked::silent("127.0.0.1:7109".to_owned(), "connection refused");
    match answer {
        Some(status) => Asked {
            answer: Ok(status),
            denied: false,
            asked_ms: (999_990, 1_000_010),
            ..silent
        },
        None => silent,
    }
}

fn alarms(answers: Vec<Option<NodeStatus>>, overview: Option<Overview>) -> Vec<Cause> {
    let survey = Survey {
        asked: answers.into_iter().map(asked).collect(),
    };
    find(&survey, &merge(&survey), overview.as_ref())
}

fn codes(found: &[Cause]) -> Vec<&str> {
    found.iter().map(|cause| cause.code.as_str()).collect()
}

fn healthy() -> Vec<Option<NodeStatus>> {
    (1..=3).map(|id| Some(node(id, Some(1), 3))).collect()
}

#[test]
fn a_healthy_cluster_raises_none() {
    assert!(alarms(healthy(), Some(Overview::default())).is_empty());
}

#[test]
fn a_lost_replica_leaves_no_margin() {
    let mut answers = healthy();
    answers[2] = None;
    let found = alarms(answers, Some(Overview::default()));
    assert_eq!(codes(&found), ["ReplicaAway", "NoQuorumMargin"]);
    assert_eq!(found[1].remedy.as_deref(), Some("bring back jm-3"));
}

#[test]
fn one_voter_has_no_margin_and_should_get_company() {
    let found = alarms(vec![Some(node(1, Some(1), 1))], Some(Overview::default()));
    assert_eq!(codes(&found), ["NoQuorumMargin"]);
    assert!(found[0].remedy.as_ref().unwrap().contains("three voters"));
}

#[test]
fn without_quorum_or_leader_explain_is_named() {
    let found = alarms(vec![Some(node(1, None, 3)), None, None], None);
    assert_eq!(codes(&found), ["NoQuorum", "ReplicaAway", "ReplicaAway"]);
    let leaderless = (1..=3).map(|id| Some(node(id, None, 3))).collect();
    let found = alarms(leaderless, None);
    assert_eq!(codes(&found), ["NoLeader"]);
    assert_eq!(found[0].remedy.as_deref(), Some("regent leader explain"));
    assert_eq!(codes(&alarms(healthy(), None)), ["LeaderSilent"]);
}

#[test]
fn divergence_full_disks_lag_and_refusals_are_told() {
    let mut answers = healthy();
    let first = answers[0].as_mut().unwrap();
    first.divergence = Some("after entry 7 ...".to_owned());
    let second = answers[1].as_mut().unwrap();
    second.disk = DiskView {
        full: true,
        data_dir: "/d".to_owned(),
        ..DiskView::default()
    };
    second.last_log_index = 100;
    answers[2].as_mut().unwrap().refused = Some("it was wiped".to_owned());
    let found = alarms(answers, Some(Overview::default()));
    assert_eq!(
        codes(&found),
        [
            "ReplicaDiverged",
            "DiskFull",
            "TakesNoPart",
            "ReplicaLagging"
        ]
    );
    assert!(line(&found[1]).contains("DiskFull: the disk of jm-2 is full (/d); free space"));
    assert!(found[3].text.contains("1,900 entries"));
}

#[test]
fn certificates_that_end_or_are_refused_are_told() {
    const DAY: u64 = 24 * 3_600 * 1_000;
    const NOW: u64 = 1_000 * DAY;
    let of = |age: u64, left: u64, refused: Option<&str>| {
        let tls = TlsView {
            from_ms: Some(NOW - age),
            until_ms: Some(NOW + left),
            refused: refused.map(str::to_owned),
            renewed: 0,
        };
        let status = NodeStatus {
            now_ms: NOW,
            tls: Some(tls),
            ..node(1, Some(1), 3)
        };
        certificate(&status).map(|cause| line(&cause))
    };
    assert_eq!(of(0, 365 * DAY, None), None);
    // A day is much of a short life and little of a long one.
    assert_eq!(of(DAY, DAY, None), None);
    let ending = of(90 * DAY, DAY, None).unwrap();
    assert!(
        ending.starts_with("CertificateEnds: the certificate of jm-1 ends in "),
        "{ending}"
    );
    let ended = of(90 * DAY, 0, None).unwrap();
    assert!(ended.contains("has ended"), "{ended}");
    let refused = of(0, 365 * DAY, Some("the key doesn't belong")).unwrap();
    assert!(
        refused.starts_with("CertificateRefused: jm-1 doesn't use "),
        "{refused}"
    );
    assert!(
        refused.contains("the key doesn't belong; mend them"),
        "{refused}"
    );
    assert_eq!(certificate(&node(1, Some(1), 3)), None);
}

#[test]
fn only_certain_clock_skew_is_told() {
    let mut answers = healthy();
    answers[1].as_mut().unwrap().now_ms += 520;
    let found = alarms(answers.clone(), Some(Overview::default()));
    assert!(
        found.is_empty(),
        "the answers took up to 20 ms each: {found:?}"
    );
    answers[1].as_mut().unwrap().now_ms += 100;
    let found = alarms(answers, Some(Overview::default()));
    assert_eq!(codes(&found), ["ClockSkew"]);
    assert!(
        found[0]
            .text
            .contains("jm-2 is at least 600ms ahead of jm-1"),
        "{found:?}"
    );
}

#[test]
fn idle_jobs_lost_workers_and_dirty_cleanup_are_told() {
    let idle = |for_ms| NotRunning {
        job_id: "ab".repeat(16),
        name: "flights".to_owned(),
        state: "CREATED".to_owned(),
        reason: Some("not-enough-slots (needs 4, free 2)".to_owned()),
        for_ms,
    };
    let overview = Overview {
        workers: vec![WorkerView {
            worker: "tm-2".to_owned(),
            address: String::new(),
            slots: 4,
            free: 0,
            state: "silent".to_owned(),
            last_heartbeat_ms: None,
            tasks: 0,
            stuck: 2,
        }],
        not_running: vec![idle(60_000), idle(3_000)],
        cleanup_dirty: 2,
        ..Overview::default()
    };
    let found = alarms(healthy(), Some(overview));
    assert_eq!(
        codes(&found),
        [
            "WorkerAway",
            "TaskStuck",
            "JobDeclaredNotRunning",
            "CleanupDirty"
        ]
    );
    assert!(
        found[2]
            .text
            .contains("job flights is CREATED for 1m 0s: not-enough-slots")
    );
    assert!(
        found[2]
            .remedy
            .as_ref()
            .unwrap()
            .starts_with("regent job explain abab")
    );
}

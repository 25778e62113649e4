//! What an operator does to a group of replicas, while a client writes all the while.

use std::time::Duration;

use regent_chaos::group::{Group, Writer, Written, role_of};
use regent_chaos::wait::{Phases, wait_until};

fn one_node() -> Group {
    let mut group = Group::new();
    group.start(1);
    let formed = group.cli(&["cluster", "bootstrap"]).json();
    assert_eq!(formed["already"], false, "{formed}");
    group
}

fn add(group: &mut Group, nodes: &[u16]) {
    for node in nodes {
        group.start(*node);
        let changed = group.cli(&["members", "add", &group.peer(*node)]).json();
        assert_eq!(changed["role"], "voter", "{changed}");
        assert_eq!(changed["done"], true, "{changed}");
    }
}

fn remove(group: &mut Group, node: u16) {
    let name = format!("jm-{node}");
    let changed = group.cli(&["members", "remove", &name, "--yes"]).json();
    assert_eq!(
        (&changed["role"], &changed["done"]),
        (&"removed".into(), &true.into()),
        "{changed}"
    );
    group.stop(node);
}

fn names(nodes: &[u16]) -> Vec<String> {
    nodes.iter().map(|node| format!("jm-{node}")).collect()
}

/// Everything that was acknowledged is there, and nothing was read stale.
fn check(group: &Group, written: &Written) {
    assert!(written.wrong.is_empty(), "{:?}", written.wrong);
    assert!(written.stale.is_empty(), "stale reads: {:?}", written.stale);
    let jobs = group.jobs();
    let lost: Vec<_> = written
        .acknowledged
        .iter()
        .filter(|id| !jobs.contains(id))
        .collect();
    assert!(
        lost.is_empty(),
        "lost of {}: {lost:?}",
        written.acknowledged.len()
    );
    println!(
        "{} writes acknowledged, none lost, none read stale, longest pause {:.2?}",
        written.acknowledged.len(),
        written.longest_pause
    );
}

#[test]
fn a_group_grows_is_mended_and_shrinks_while_a_client_writes() {
    let mut phases = Phases::of("members");
    let mut group = one_node();
    let writer = group.writer();
    writer.wait_for(3);
    add(&mut group, &[2, 3]);
    assert_eq!(group.voters(), names(&[1, 2, 3]));
    votes_are_given_and_taken(&mut group);
    phases.done("a learner, promoted, demoted and removed");
    add(&mut group, &[4, 5]);
    assert_eq!(group.voters(), names(&[1, 2, 3, 4, 5]));
    phases.done("grown from 1 to 5");
    // A dead member is replaced: add the new one, remove the old one.
    let dead = if group.leader() == 2 { 3 } else { 2 };
    group.kill(dead);
    add(&mut group, &[6]);
    remove(&mut group, dead);
    phases.done("a dead member is replaced");
    // Its number never comes back, not even with an empty directory.
    std::fs::remove_dir_all(group.data_dir(dead)).expect("the directory can be removed");
    group.start(dead);
    let outcome = group.cli(&["members", "add", &group.peer(dead)]);
    assert!(outcome.refused(5).contains("was removed"), "{outcome}");
    group.kill(dead);
    // Shrinking tells what it costs before it is done, and the leader goes last.
    let plan = group
        .cli(&["members", "plan", "--remove", "jm-4", "--remove", "jm-5"])
        .json();
    assert_eq!(
        (&plan["before"]["tolerates"], &plan["after"]["tolerates"]),
        (&2.into(), &1.into())
    );
    let dry = group
        .cli(&["members", "remove", "jm-4", "--dry-run"])
        .json();
    assert_eq!(
        (&dry["before"]["tolerates"], &dry["after"]["tolerates"]),
        (&2.into(), &1.into())
    );
    let leader = group.leader();
    let other = if leader == 4 { 5 } else { 4 };
    remove(&mut group, other);
    remove(&mut group, leader);
    assert_eq!(group.voters().len(), 3);
    phases.done("shrunk to 3");
    refuses_what_would_cost_the_majority(&mut group);
    let to = transfer(&group);
    phases.done("handed over");
    writer.wait_for(3);
    restored_elsewhere(&group, &writer);
    phases.done("saved and restored elsewhere");
    // The leader has all that was acknowledged; both others are lost for good.
    let survivor = if group.leader() == to {
        to
    } else {
        group.leader()
    };
    recovered(&mut group, survivor);
    writer.wait_for(3);
    add(&mut group, &[7, 8]);
    assert_eq!(group.voters().len(), 3);
    phases.done("recovered from a lost majority");
    let written = writer.finish();
    check(&group, &written);
}

/// `promote` and `demote`, of a learner and of the leader itself, and what each would cost.
fn votes_are_given_and_taken(group: &mut Group) {
    const LEARNER: u16 = 9;
    group.start(LEARNER);
    let peer = group.peer(LEARNER);
    let added = group.cli(&["members", "add", "--learner", &peer]).json();
    assert_eq!(
        (&added["role"], &added["done"]),
        (&"learner".into(), &true.into()),
        "{added}"
    );
    assert_eq!(group.voters(), names(&[1, 2, 3]), "a learner has no vote");

    let margins = |told: &serde_json::Value| {
        let margin = |of: &serde_json::Value| (of["voters"].as_u64(), of["tolerates"].as_u64());
        (margin(&told["before"]), margin(&told["after"]))
    };
    let (three, four) = ((Some(3), Some(1)), (Some(4), Some(1)));
    let promote = ["members", "promote", "jm-9"];
    let dry = group.cli(&[&promote[..], &["--dry-run"]].concat()).json();
    assert_eq!(margins(&dry), (three, four), "{dry}");
    assert_eq!(group.voters(), names(&[1, 2, 3]), "nothing was changed");
    let promoted = group.cli(&promote).json();
    assert_eq!(
        (&promoted["role"], &promoted["done"]),
        (&"voter".into(), &true.into()),
        "{promoted}"
    );
    assert_eq!(margins(&promoted), (three, four), "{promoted}");
    assert_eq!(group.voters(), names(&[1, 2, 3, LEARNER]));

    // A leader that is to have no vote hands over first.
    let leader = format!("jm-{}", group.leader());
    let demote = ["members", "demote", &leader];
    let dry = group.cli(&[&demote[..], &["--dry-run"]].concat()).json();
    assert_eq!(margins(&dry), (four, three), "{dry}");
    let demoted = group.cli(&demote).json();
    assert_eq!(
        (&demoted["role"], &demoted["done"]),
        (&"learner".into(), &true.into()),
        "{demoted}"
    );
    assert_ne!(format!("jm-{}", group.leader()), leader);
    let again = group.cli(&["members", "promote", &leader]).json();
    assert_eq!(again["role"], "voter", "{again}");
    let demoted = group.cli(&["members", "demote", "jm-9"]).json();
    assert_eq!(demoted["role"], "learner", "{demoted}");
    remove(group, LEARNER);
    assert_eq!(group.voters(), names(&[1, 2, 3]));
}

fn transfer(group: &Group) -> u16 {
    let leader = group.leader();
    let members = group.voters();
    let to = members.iter().find(|name| **name != format!("jm-{leader}"));
    let to = to.expect("there is another voter");
    let moved = group.cli(&["leader", "transfer", "--to", to]).json();
    let node = moved["to"]
        .as_u64()
        .and_then(|node| u16::try_from(node).ok());
    node.expect("it says who leads now")
}

/// What was acknowledged before the snapshot is in a new cluster of another place, suspended.
fn restored_elsewhere(group: &Group, writer: &Writer) {
    let before = writer.acknowledged();
    let file = group.home().join("saved.snapshot").display().to_string();
    let saved = group.cli(&["snapshot", "save", &file]).json();
    assert_eq!(saved["generation"], 1, "{saved}");
    let again = group.cli(&["snapshot", "save", &file]);
    assert!(again.refused(5).contains("exists"), "{again}");
    let mut other = Group::new();
    other.write_config(1);
    let config = other.config(1).display().to_string();
    // Somebody of a later generation has used the storage before.
    let owners = other.home().join("checkpoints/owner");
    std::fs::create_dir_all(&owners).expect("a directory");
    let marker = owners.join(format!("6-{}", "ab".repeat(16)));
    std::fs::write(marker, "").expect("a marker");
    let restored = other
        .alone(&["snapshot", "restore", &file, "--config", &config, "--yes"])
        .json();
    assert_eq!(restored["generation"], 7, "{restored}");
    assert_ne!(restored["cluster_id"], saved["cluster_id"]);
    let again = other.alone(&["snapshot", "restore", &file, "--config", &config, "--yes"]);
    assert!(again.refused(5).contains("isn't empty"), "{again}");
    other.start(1);
    assert_eq!(other.leader(), 1);
    let jobs = other.cli(&["job", "list"]).json();
    let jobs = jobs.as_array().cloned().unwrap_or_default();
    assert!(
        jobs.iter().all(|job| job["state"] == "SUSPENDED"),
        "{jobs:?}"
    );
    let ids: Vec<_> = jobs
        .iter()
        .filter_map(|job| job["job_id"].as_str())
        .collect();
    let missing: Vec<_> = before
        .iter()
        .filter(|id| !ids.contains(&id.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in the snapshot: {missing:?}");
    add(&mut other, &[2]);
    let resumed = other.cli(&["recover", "resume", "--yes"]).json();
    assert_eq!(
        resumed["resumed"].as_u64(),
        Some(jobs.len() as u64),
        "{resumed}"
    );
    let jobs = other.cli(&["job", "list"]).json();
    let waits = |job: &serde_json::Value| job["state"] == "CREATED";
    assert!(
        jobs.as_array().is_some_and(|jobs| jobs.iter().all(waits)),
        "{jobs}"
    );
}

/// The survivor becomes a cluster of its own; a lost one that comes back is fenced.
fn recovered(group: &mut Group, survivor: u16) {
    let lost: Vec<u16> = group
        .voters()
        .iter()
        .filter_map(|name| name.strip_prefix("jm-")?.parse().ok())
        .filter(|node| *node != survivor)
        .collect();
    for node in &lost {
        group.kill(*node);
    }
    let api = group.api(survivor);
    let plan = group.ask(&api, &["recover", "plan"]).json();
    assert_eq!(
        (&plan["majority"], &plan["best"]),
        (&false.into(), &survivor.into()),
        "{plan}"
    );
    let config = group.config(survivor).display().to_string();
    let in_use = group.alone(&["recover", "plan", "--config", &config]);
    assert!(in_use.refused(5).contains("in use"), "{in_use}");
    group.kill(survivor);
    let plan = group
        .alone(&["recover", "plan", "--config", &config])
        .json();
    let term = plan["term"].as_u64().expect("it has seen a term");
    let wrong = (term + 1).to_string();
    let apply = |term: &str| {
        group.alone(&[
            "recover",
            "apply",
            "--config",
            &config,
            "--expect-term",
            term,
            "--yes",
        ])
    };
    assert!(apply(&wrong).refused(5).contains("look again"));
    let done = apply(&term.to_string()).json();
    assert_eq!(done["generation"], 2, "{done}");
    group.start(survivor);
    assert_eq!(group.leader(), survivor);
    assert_eq!(group.voters(), names(&[survivor]));
    group.start(lost[0]);
    wait_until(Duration::from_secs(60), "the lost one is fenced", || {
        group
            .said(lost[0])
            .contains(&format!("refused by node {survivor}"))
            .then_some(())
    });
    group.kill(lost[0]);
    let resumed = group.cli(&["recover", "resume", "--yes"]).json();
    assert!(resumed["resumed"].as_u64().is_some(), "{resumed}");
}

fn refuses_what_would_cost_the_majority(group: &mut Group) {
    let leader = group.leader();
    let members = group.cli(&["members", "list"]).json();
    let followers: Vec<u16> = (1..=6)
        .filter(|node| *node != leader)
        .filter(|node| role_of(&members, &format!("jm-{node}")).is_some())
        .collect();
    group.kill(followers[0]);
    // The leader notices the silence within a few seconds; until then it counts the dead one as there.
    let living = format!("jm-{}", followers[1]);
    let refused = wait_until(Duration::from_secs(30), "the dead one is noticed", || {
        let outcome = group.cli(&["members", "remove", &living, "--dry-run"]);
        (outcome.code == Some(5)).then_some(outcome)
    });
    assert!(
        refused.refused(5).contains(&format!("jm-{}", followers[0])),
        "{refused}"
    );
    group
        .cli(&["members", "remove", &living, "--yes"])
        .refused(5);
    let demote = group.cli(&["members", "demote", &living]);
    assert!(
        demote
            .refused(5)
            .contains("of the 2 voters then left only 1 answer and 2 are needed"),
        "{demote}"
    );
    assert_eq!(group.voters().len(), 3, "nothing was changed");
    group.start(followers[0]);
}

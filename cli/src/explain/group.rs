//! What is the matter with the group, and the smallest action that mends it. Pure.

use regent_protocol::view::{MemberView, NodeStatus};

use super::{Facts, TRAILS_MAX};
use crate::output::words::span;

/// The situation in a word, in a sentence, and what to do.
pub(super) struct Verdict {
    pub(super) situation: &'static str,
    pub(super) summary: String,
    pub(super) remedy: Option<String>,
}

fn verdict(
    situation: &'static str,
    summary: impl Into<String>,
    remedy: impl Into<Option<String>>,
) -> Verdict {
    Verdict {
        situation,
        summary: summary.into(),
        remedy: remedy.into(),
    }
}

pub(super) fn judge(facts: &Facts<'_>) -> Verdict {
    if facts.picture.cluster_id.is_none() || facts.picture.show.voters == 0 {
        let text = "nobody leads: the replicas that answer belong to no cluster yet";
        return verdict("no-cluster", text, "regent cluster bootstrap".to_owned());
    }
    match facts.leader_id() {
        Some(leader) => led(facts, leader),
        None => leaderless(facts),
    }
}

fn led(facts: &Facts<'_>, leader: u64) -> Verdict {
    let name = facts.name(leader);
    if let Some(problem) = facts.answer(leader).and_then(Facts::disk_problem) {
        return sick_leader(facts, &name, &problem);
    }
    let silent: Vec<&MemberView> = facts
        .voters()
        .filter(|m| is_away(facts, leader, m))
        .collect();
    if !silent.is_empty() {
        return degraded(facts, &name, &silent);
    }
    if let Some((status, problem)) = sick(facts).next() {
        let text = format!(
            "{name} leads, and {} can't store anything: {problem}",
            status.name
        );
        return verdict("disk-full", text, free_space(status));
    }
    let trails = |m: &&MemberView| facts.trails(m.node_id).unwrap_or(0);
    let last = facts
        .voters()
        .max_by_key(trails)
        .filter(|m| trails(m) > TRAILS_MAX);
    if let Some(member) = last {
        let text = format!(
            "{name} leads, and {} trails by {} entries",
            member.name,
            trails(&member)
        );
        let remedy = format!(
            "wait while it catches up; if it falls behind further, look at the disk and the network of {}",
            member.name
        );
        return verdict("lagging", text, remedy);
    }
    let text = format!("{name} leads, and every voter follows it");
    verdict("healthy", text, None)
}

/// It takes no part, or the leader doesn't hear it and it doesn't follow.
fn is_away(facts: &Facts<'_>, leader: u64, member: &MemberView) -> bool {
    if member.node_id == leader {
        return false;
    }
    let heard = facts
        .answer(leader)
        .is_some_and(|l| facts.hears(l, member.node_id));
    match facts.answer(member.node_id) {
        None => !heard,
        Some(status) => !takes_part(status) || (!heard && status.leader != Some(leader)),
    }
}

fn takes_part(status: &NodeStatus) -> bool {
    status.failure.is_none() && status.refused.is_none()
}

fn sick_leader(facts: &Facts<'_>, name: &str, problem: &str) -> Verdict {
    let text = format!("{name} leads and can't store anything: {problem}");
    let fit = facts.voters().find(|m| {
        let status = facts.answer(m.node_id);
        Some(m.node_id) != facts.leader_id()
            && facts.trails(m.node_id).is_some_and(|n| n <= TRAILS_MAX)
            && status.is_some_and(|s| Facts::disk_problem(s).is_none())
    });
    let free = "free space there, and start it again".to_owned();
    let remedy = fit.map_or(free.clone(), |m| {
        format!("regent leader transfer --to {}; then {free}", m.name)
    });
    verdict("disk-full", text, remedy)
}

fn degraded(facts: &Facts<'_>, name: &str, silent: &[&MemberView]) -> Verdict {
    let names = names(silent, " and ");
    let verb = if silent.len() == 1 { "is" } else { "are" };
    let tolerates = facts.picture.show.tolerates;
    let margin = match tolerates {
        0 => "no other replica may be lost".to_owned(),
        n => format!("{n} more may be lost"),
    };
    let text = format!("{name} leads, {names} {verb} away: {margin}");
    verdict("degraded", text, restore(facts, silent))
}

/// What brings silent replicas back.
fn restore(facts: &Facts<'_>, silent: &[&MemberView]) -> String {
    let of = |m: &&MemberView| {
        let status = facts.answer(m.node_id);
        match status {
            Some(s) if s.failure.is_some() => {
                format!("start {} again (its log says why Raft stopped)", m.name)
            }
            Some(s) if s.refused.is_some() => {
                format!("do what {} says: regent leader explain shows it", m.name)
            }
            Some(_) => format!(
                "mend the network between {} ({}) and the others",
                m.name, m.peer
            ),
            None if refused(facts, m) => format!("start {}", m.name),
            None => format!("look at {}: it is frozen, overloaded or cut off", m.name),
        }
    };
    silent.iter().map(of).collect::<Vec<_>>().join("; ")
}

fn refused(facts: &Facts<'_>, member: &MemberView) -> bool {
    facts.silence.get(member.api.as_str()) == Some(&"connection refused")
}

fn leaderless(facts: &Facts<'_>) -> Verdict {
    let show = &facts.picture.show;
    let able = |m: &&MemberView| facts.answer(m.node_id).is_some_and(takes_part);
    let (present, absent): (Vec<&MemberView>, Vec<&MemberView>) = facts.voters().partition(able);
    if (present.len() as u64) < show.quorum {
        return no_quorum(facts, present.len() as u64, &absent);
    }
    let statuses: Vec<&NodeStatus> = present
        .iter()
        .filter_map(|m| facts.answer(m.node_id))
        .collect();
    let healthy = statuses
        .iter()
        .filter(|s| Facts::disk_problem(s).is_none())
        .count() as u64;
    if healthy < show.quorum {
        return no_room(facts);
    }
    let circle = statuses.iter().map(|s| facts.circle(s)).max().unwrap_or(0);
    if circle < show.quorum {
        return partitioned(facts, &present);
    }
    electing(facts, &statuses)
}

fn no_quorum(facts: &Facts<'_>, present: u64, absent: &[&MemberView]) -> Verdict {
    let show = &facts.picture.show;
    let missing = show.quorum.saturating_sub(present);
    let text = format!(
        "nobody leads, and nobody can: {present} of {} voters take part, and {} are needed",
        show.voters, show.quorum
    );
    // Those whose process isn't running are the easiest to bring back.
    let mut order: Vec<&MemberView> = absent.to_vec();
    order.sort_by_key(|m| !refused(facts, m));
    let enough = match missing {
        1 if order.len() > 1 => "one is enough".to_owned(),
        n if n < order.len() as u64 => format!("{n} are enough"),
        _ => "all of them are needed".to_owned(),
    };
    let enough = if order.len() == 1 {
        String::new()
    } else {
        format!(" ({enough})")
    };
    let remedy = match order.iter().all(|m| refused(facts, m)) {
        true => format!("start {}{enough}", names(&order, " or ")),
        false => format!("{}{enough}", restore(facts, &order)),
    };
    let lost = "if they are lost for good, with their disks: regent recover plan";
    verdict("no-quorum", text, format!("{remedy}; {lost}"))
}

/// Enough replicas live, but too few can store a vote or an entry.
fn no_room(facts: &Facts<'_>) -> Verdict {
    let sick: Vec<_> = sick(facts).collect();
    let said = sick
        .iter()
        .map(|(s, problem)| format!("{}: {problem}", s.name));
    let text = format!(
        "nobody leads: too few voters can store anything ({})",
        said.collect::<Vec<_>>().join("; ")
    );
    let remedy = sick.first().map(|(status, _)| free_space(status));
    verdict("disk-full", text, remedy)
}

fn sick<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (&'a NodeStatus, String)> {
    let answers = facts.answers.values().copied();
    answers.filter_map(|status| Some((status, Facts::disk_problem(status)?)))
}

fn free_space(status: &NodeStatus) -> String {
    match (status.disk.poisoned, status.disk.full) {
        (true, _) => format!(
            "start {} again; if it happens again, its disk is broken",
            status.name
        ),
        (_, true) => format!(
            "free space in {} on the host of {}, and start it again",
            status.disk.data_dir, status.name
        ),
        _ => format!(
            "look at the disk of {} under {}",
            status.name, status.disk.data_dir
        ),
    }
}

/// A majority answers this client, but no replica hears a majority.
fn partitioned(facts: &Facts<'_>, present: &[&MemberView]) -> Verdict {
    let mut cuts = Vec::new();
    for (at, left) in present.iter().enumerate() {
        for right in &present[at + 1..] {
            let hears = |a: &MemberView, b: &MemberView| {
                facts
                    .answer(a.node_id)
                    .is_some_and(|s| facts.hears(s, b.node_id))
            };
            if !hears(left, right) || !hears(right, left) {
                cuts.push(format!(
                    "{} ({}) and {} ({})",
                    left.name, left.peer, right.name, right.peer
                ));
            }
        }
    }
    let text = format!(
        "nobody leads: {} voters live, but none hears {} of them, itself included",
        present.len(),
        facts.picture.show.quorum
    );
    let remedy = match cuts.first() {
        Some(first) => {
            format!("mend the network between {first}; one such way is enough for a leader")
        }
        None => "mend the network between the replicas' peer addresses".to_owned(),
    };
    verdict("partitioned", text, remedy)
}

fn electing(facts: &Facts<'_>, statuses: &[&NodeStatus]) -> Verdict {
    let announcing = statuses
        .iter()
        .find(|s| s.role == "leader" && s.leading_since_ms.is_none());
    if let Some(status) = announcing {
        let text = format!(
            "{} has won the election of term {} and is announcing itself",
            status.name, status.term
        );
        return verdict(
            "announcing",
            text,
            "wait a moment and look again: nothing has to be done".to_owned(),
        );
    }
    let term = statuses.iter().map(|s| s.term).max().unwrap_or(0);
    let quiet = statuses.iter().filter_map(|s| s.last_contact_ms).min();
    let since = quiet.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
    let text = format!(
        "nobody leads{since}: {} of {} voters hear each other, and an election is under way in term {term}",
        statuses.len(),
        facts.picture.show.voters
    );
    let remedy =
        "wait a second or two and look again; if it stays so, send the logs of all replicas along"
            .to_owned();
    verdict("electing", text, remedy)
}

fn names(members: &[&MemberView], between: &str) -> String {
    let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    names.join(between)
}

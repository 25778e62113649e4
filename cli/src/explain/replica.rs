//! Why one replica is or isn't the leader. Pure.

use regent_protocol::view::{MemberView, NodeStatus, ReplicaExplained};

use super::{Facts, TRAILS_MAX};
use crate::output::words::{now_ms, plural, span};

pub(super) fn explain(facts: &Facts<'_>, member: &MemberView) -> ReplicaExplained {
    let answer = facts.answer(member.node_id);
    let hears = |status: &NodeStatus| {
        let heard = facts
            .voters()
            .filter(|m| m.node_id != status.node_id && facts.hears(status, m.node_id));
        heard.map(|m| m.name.clone()).collect()
    };
    ReplicaExplained {
        node_id: member.node_id,
        name: member.name.clone(),
        api: member.api.clone(),
        leads: facts.leader_id() == Some(member.node_id),
        answers: answer.is_some(),
        why: match answer {
            Some(status) => answering(facts, member, status),
            None => silent(facts, member),
        },
        follows: answer.and_then(|s| s.leader).map(|id| facts.name(id)),
        term: answer.map(|s| s.term),
        trails_by: facts.trails(member.node_id),
        hears: answer.map_or_else(Vec::new, hears),
    }
}

fn silent(facts: &Facts<'_>, member: &MemberView) -> String {
    let reason = facts.silence.get(member.api.as_str()).copied();
    let reason = reason.unwrap_or("its address isn't known");
    let heard_by = facts.heard_by(member.node_id);
    if !heard_by.is_empty() {
        return format!(
            "doesn't answer this client ({reason}), but {} {} it: only the way from here to {} is cut",
            heard_by.join(" and "),
            if heard_by.len() == 1 { "hears" } else { "hear" },
            member.api
        );
    }
    match reason {
        "connection refused" => format!(
            "doesn't answer: nothing listens at {} ({reason}), its process isn't running; if it ended by itself, the \
             last line of its log says why and what to do",
            member.api
        ),
        _ => format!(
            "doesn't answer ({reason}): frozen, overloaded, or cut off from here and from the others"
        ),
    }
}

fn answering(facts: &Facts<'_>, member: &MemberView, status: &NodeStatus) -> String {
    if let Some(failure) = &status.failure {
        return format!("runs, but Raft has stopped in it: {failure}");
    }
    if let Some(refused) = &status.refused {
        return format!("takes no part: {refused}");
    }
    if status.cluster_id.is_none() || status.role == "uninitialised" {
        return "belongs to no cluster yet: it waits for bootstrap, or to be added".to_owned();
    }
    if member.role == "learner" {
        return learner(facts, status);
    }
    match facts.leader_id() {
        Some(leader) if leader == status.node_id => leads(facts, status),
        Some(leader) => follows(facts, status, leader),
        None if status.role == "leader" => pretends(facts, status),
        None => candidate(facts, status),
    }
}

fn learner(facts: &Facts<'_>, status: &NodeStatus) -> String {
    let trails = facts.trails(status.node_id).unwrap_or_default();
    format!(
        "is a learner: it has no vote and is never elected; it trails by {}",
        entries(trails)
    )
}

fn entries(number: u64) -> String {
    if number == 1 {
        "1 entry".to_owned()
    } else {
        format!("{} entries", crate::output::words::count(number))
    }
}

fn leads(facts: &Facts<'_>, status: &NodeStatus) -> String {
    let since = status.leading_since_ms.unwrap_or_default();
    let following = facts
        .voters()
        .filter(|m| m.node_id != status.node_id)
        .filter(|m| facts.hears(status, m.node_id))
        .count() as u64;
    let mut text = format!(
        "leads since {}: it was elected in term {}, and {} of {} follow",
        span(now_ms().saturating_sub(since)),
        status.term,
        following,
        plural(facts.picture.show.voters.saturating_sub(1), "other voter"),
    );
    if let Some(problem) = Facts::disk_problem(status) {
        text.push_str(&format!("; {problem}"));
    }
    text
}

fn follows(facts: &Facts<'_>, status: &NodeStatus, leader: u64) -> String {
    let name = facts.name(leader);
    if status.role == "leader" {
        return format!(
            "was deposed and doesn't know it yet: it believes to lead in term {}, but {name} leads in a later one",
            status.term
        );
    }
    let trails = facts.trails(status.node_id).unwrap_or_default();
    let behind = match trails {
        0 => "has every entry".to_owned(),
        n => format!("trails by {}", entries(n)),
    };
    let lagging = if trails > TRAILS_MAX {
        ", so it is catching up and wouldn't be elected"
    } else {
        ""
    };
    let mut text = if status.leader == Some(leader) {
        let heard = status
            .last_contact_ms
            .map_or_else(String::new, |ms| format!(", heard it {} ago", span(ms)));
        format!("follows {name}{heard}, and {behind}{lagging}")
    } else {
        format!("doesn't know yet that {name} leads; it {behind}{lagging}")
    };
    if let Some(problem) = Facts::disk_problem(status) {
        text.push_str(&format!("; {problem}"));
    }
    text
}

/// It says that it leads, and it isn't the group's leader.
fn pretends(facts: &Facts<'_>, status: &NodeStatus) -> String {
    let circle = facts.circle(status);
    let quorum = facts.picture.show.quorum;
    let higher = facts.answers.values().any(|s| s.term > status.term);
    if higher {
        return format!(
            "was deposed: it believes to lead in term {}, and a later term has begun",
            status.term
        );
    }
    if circle < quorum {
        return format!(
            "won the election of term {} but hears only {circle} of {} voters, itself included: it can't commit \
             anything, so it leads nobody",
            status.term, facts.picture.show.voters
        );
    }
    format!(
        "has won the election of term {} and is announcing itself",
        status.term
    )
}

fn candidate(facts: &Facts<'_>, status: &NodeStatus) -> String {
    let voters = facts.picture.show.voters;
    let (circle, quorum) = (facts.circle(status), facts.picture.show.quorum);
    if circle < quorum {
        return format!(
            "can't be elected: it hears {circle} of {voters} voters, itself included, and needs the votes of {quorum}"
        );
    }
    if let Some(problem) = Facts::disk_problem(status) {
        return format!("can't lead: {problem}, and a leader has to store its announcement");
    }
    let trails = facts.trails(status.node_id).unwrap_or_default();
    if trails > 0 {
        return format!(
            "will hardly be elected: its log is {} shorter than the longest one, whose holder gives it no vote",
            entries(trails)
        );
    }
    format!(
        "can be elected: it hears {circle} of {voters} voters and no log is longer; an election is under way"
    )
}

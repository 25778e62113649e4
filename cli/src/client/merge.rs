//! From what each replica says of itself to one picture of the group. Pure; tolerates silence and
//! disagreement.

use std::collections::BTreeMap;

use regent_protocol::error::ErrorKind;
use regent_protocol::view::{Cause, LeaderHead, LeaderShow, MemberView, NodeStatus, ReplicaView};

use super::discover::Endpoints;
use super::survey::Survey;
use crate::failure::Failure;

/// A contact older than this no longer shows that a replica follows its leader.
const CONTACT_MS_MAX: u64 = 3_000;

/// The group as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// What `leader show` prints.
    pub(crate) show: LeaderShow,
    /// Cluster id; absent before bootstrap and when nobody answers.
    pub(crate) cluster_id: Option<String>,
    /// Generation of that cluster.
    pub(crate) generation: Option<u64>,
    /// Replicas that answer at all.
    pub(crate) answering: usize,
    /// Voters that answer.
    pub(crate) voters_answering: u64,
    /// What is odd about the answers.
    pub(crate) alarms: Vec<Cause>,
}

impl Picture {
    /// Whether a majority of the voters answers.
    pub(crate) fn majority_answers(&self) -> bool {
        self.show.quorum > 0 && self.voters_answering >= self.show.quorum
    }
}

/// Merges the answers. Of several clusters the most advanced one is shown.
pub(crate) fn merge(survey: &Survey) -> Picture {
    let mut alarms = Vec::new();
    let answers = one_cluster(survey, &mut alarms);
    let best = answers.values().max_by_key(|s| seniority(s)).copied();
    let members = members(best, &answers);
    let voters: Vec<u64> = members
        .iter()
        .filter(|m| m.role == "voter")
        .map(|m| m.node_id)
        .collect();
    let quorum = quorum(voters.len());
    let leader = leader(&answers, &voters, quorum);
    let end = end_of_log(&answers, leader);
    let replicas = members
        .iter()
        .map(|m| replica(m, answers.get(&m.node_id).copied(), leader, end))
        .collect();
    let answering = |ids: &[u64]| ids.iter().filter(|id| answers.contains_key(id)).count() as u64;
    let voters_answering = answering(&voters);
    hash_alarms(&answers, &mut alarms);
    Picture {
        show: LeaderShow {
            leader: leader.map(head),
            replicas,
            voters: voters.len() as u64,
            quorum,
            tolerates: voters_answering.saturating_sub(quorum),
        },
        cluster_id: best.and_then(|s| s.cluster_id.clone()),
        generation: best
            .filter(|s| s.cluster_id.is_some())
            .map(|s| s.generation),
        answering: answers.len(),
        voters_answering,
        alarms,
    }
}

type Answers<'a> = BTreeMap<u64, &'a NodeStatus>;

/// One answer for each node of the most advanced cluster.
fn one_cluster<'a>(survey: &'a Survey, alarms: &mut Vec<Cause>) -> Answers<'a> {
    let chosen = survey.answers().max_by_key(|s| seniority(s));
    let cluster = chosen.and_then(|s| s.cluster_id.as_deref());
    let mut answers = Answers::new();
    for status in survey.answers() {
        let foreign = status.cluster_id.is_some() && status.cluster_id.as_deref() != cluster;
        if let Some(failure) = &status.failure {
            let text = format!("Raft has stopped in {}: {failure}", status.name);
            let remedy = format!("mend that and start {} again", status.name);
            alarms.push(Cause::new("RaftStopped", text).remedy(remedy));
        } else if foreign {
            let text = format!(
                "{} ({}) belongs to another cluster",
                status.name, status.api
            );
            let remedy = "name the replicas of one cluster by --endpoints";
            alarms.push(Cause::new("ForeignReplica", text).remedy(remedy));
        } else {
            answers.entry(status.node_id).or_insert(status);
        }
    }
    answers
}

fn seniority(status: &NodeStatus) -> (bool, u64, u64, u64) {
    (
        status.cluster_id.is_some(),
        status.generation,
        status.term,
        status.last_log_index,
    )
}

/// The membership by the most advanced replica; before bootstrap, whoever answers, without a vote.
fn members(best: Option<&NodeStatus>, answers: &Answers<'_>) -> Vec<MemberView> {
    if let Some(status) = best.filter(|s| s.cluster_id.is_some() && !s.members.is_empty()) {
        let mut members = status.members.clone();
        members.sort_by_key(|m| m.node_id);
        return members;
    }
    let bare = |s: &&NodeStatus| MemberView {
        node_id: s.node_id,
        name: s.name.clone(),
        role: "learner".to_owned(),
        peer: String::new(),
        api: s.api.clone(),
    };
    answers.values().map(bare).collect()
}

fn quorum(voters: usize) -> u64 {
    if voters == 0 {
        0
    } else {
        voters as u64 / 2 + 1
    }
}

/// Who leads: the serving leader of the highest term seen, if a majority follows it. One that was
/// deposed, or is cut off, may still believe in itself.
fn leader<'a>(answers: &Answers<'a>, voters: &[u64], quorum: u64) -> Option<&'a NodeStatus> {
    let term = answers.values().map(|s| s.term).max()?;
    let claims =
        |s: &&&NodeStatus| s.role == "leader" && s.leading_since_ms.is_some() && s.term == term;
    let candidate = *answers.values().find(claims)?;
    let follows = |id: &&u64| follows(**id, candidate, answers);
    let followers = voters.iter().filter(follows).count() as u64;
    (followers >= quorum).then_some(candidate)
}

fn follows(id: u64, leader: &NodeStatus, answers: &Answers<'_>) -> bool {
    let recent = |contact: Option<u64>| contact.is_some_and(|ms| ms <= CONTACT_MS_MAX);
    let by_leader = leader
        .peers
        .iter()
        .any(|p| p.node_id == id && recent(p.last_contact_ms));
    let by_itself = answers.get(&id).is_some_and(|s| {
        s.leader == Some(leader.node_id) && s.term == leader.term && s.role != "candidate"
    });
    id == leader.node_id || by_leader || by_itself
}

fn head(status: &NodeStatus) -> LeaderHead {
    LeaderHead {
        node_id: status.node_id,
        name: status.name.clone(),
        api: status.api.clone(),
        term: status.term,
        since_ms: status.leading_since_ms.unwrap_or_default(),
    }
}

/// What the others are measured by: the leader's log, else the longest one.
fn end_of_log(answers: &Answers<'_>, leader: Option<&NodeStatus>) -> u64 {
    let longest = answers.values().map(|s| s.last_log_index).max();
    leader
        .map(|s| s.last_log_index)
        .or(longest)
        .unwrap_or_default()
}

fn replica(
    member: &MemberView,
    answer: Option<&NodeStatus>,
    leader: Option<&NodeStatus>,
    end: u64,
) -> ReplicaView {
    let leads = leader.is_some_and(|l| l.node_id == member.node_id);
    let heard_of = leader
        .and_then(|l| l.peers.iter().find(|p| p.node_id == member.node_id))
        .and_then(|p| p.last_contact_ms);
    let role = match answer {
        None => "unreachable",
        Some(_) if leads => "leader",
        Some(_) if member.role == "learner" => "learner",
        Some(_) => "follower",
    };
    let trails = |s: &NodeStatus| {
        if leads {
            0
        } else {
            end.saturating_sub(s.last_log_index)
        }
    };
    let contact = if leads { Some(0) } else { heard_of };
    ReplicaView {
        node_id: member.node_id,
        name: member.name.clone(),
        role: role.to_owned(),
        term: answer.map(|s| s.term),
        last_log_index: answer.map(|s| s.last_log_index),
        applied_index: answer.map(|s| s.applied_index),
        trails_by: answer.map(trails),
        last_contact_ms: contact.or_else(|| answer.and_then(|s| s.last_contact_ms)),
    }
}

/// The same applied index must mean the same state everywhere.
fn hash_alarms(answers: &Answers<'_>, alarms: &mut Vec<Cause>) {
    let mut seen: BTreeMap<u64, &NodeStatus> = BTreeMap::new();
    for status in answers.values().filter(|s| !s.state_hash.is_empty()) {
        let first = *seen.entry(status.applied_index).or_insert(status);
        if first.state_hash != status.state_hash {
            let (one, other, at) = (&first.name, &status.name, status.applied_index);
            let text = format!("{one} and {other} differ in their state at index {at}");
            let remedy = "stop the one that is wrong (the third one tells), keep its data directory, and report it";
            alarms.push(Cause::new("ReplicaDiverged", text).remedy(remedy));
        }
    }
}

/// Why nothing could be done, as seen when the time was over: exit 3 or 4.
pub(super) fn no_leader_or_majority(endpoints: &Endpoints, survey: &Survey, last: &str) -> Failure {
    let picture = merge(survey);
    if picture.answering == 0 {
        return nobody_answers(endpoints, survey);
    }
    let voters = picture.show.voters;
    if picture.cluster_id.is_none() || voters == 0 {
        return Failure::new(
            ErrorKind::NoLeader,
            "the replicas that answer belong to no cluster yet; form it by `regent cluster bootstrap`",
        );
    }
    let answering = picture.voters_answering;
    if picture.majority_answers() {
        let state = match &picture.show.leader {
            Some(head) => format!("{} leads but no answer came in time", head.name),
            None => "none leads".to_owned(),
        };
        return Failure::new(
            ErrorKind::NoLeader,
            format!(
                "{answering} of {voters} replicas answer, {state}{}; try again, and see `regent leader show`",
                said(last)
            ),
        );
    }
    let silent: Vec<String> = picture
        .show
        .replicas
        .iter()
        .filter(|r| r.role == "unreachable")
        .map(|r| r.name.clone())
        .collect();
    Failure::new(
        ErrorKind::NoQuorum,
        format!(
            "{answering} of {voters} replicas answer and {} are needed; start {}",
            picture.show.quorum,
            silent.join(" or ")
        ),
    )
}

/// No replica answers: those that were reached refuse this caller (exit 5), or none was reached.
pub(crate) fn nobody_answers(endpoints: &Endpoints, survey: &Survey) -> Failure {
    match survey.check_admitted() {
        Err(denied) => denied,
        Ok(()) => unreachable(endpoints, &survey.silence()),
    }
}

/// No replica was reached at all: exit 4, and certainly nothing was sent.
pub(super) fn unreachable(endpoints: &Endpoints, silence: &str) -> Failure {
    let reasons = if silence.is_empty() {
        endpoints.addresses.join(", ")
    } else {
        silence.to_owned()
    };
    Failure::new(
        ErrorKind::NoQuorum,
        format!(
            "no JobManager answers ({reasons}; from {}); start one (`regent local`) or name others by --endpoints",
            endpoints.source
        ),
    )
}

fn said(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else {
        format!(" ({last})")
    }
}

#[cfg(test)]
mod tests;

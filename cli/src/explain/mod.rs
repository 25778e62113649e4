//! Explanations that are put together here, from what each replica says of itself: why each is or isn't
//! the leader, and the smallest action that brings one. Pure; asking is the client's.

mod group;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use regent_protocol::view::{LeaderExplained, MemberView, NodeStatus, ReplicaExplained};

use crate::client::{Picture, Survey, merge};

/// A replica that speaks every second and was not heard for longer isn't heard.
const HEARD_MS_MAX: u64 = 5_000;
/// A follower that trails by more entries is lagging.
const TRAILS_MAX: u64 = 1_000;
/// A write that is outstanding for longer: the disk is stalled.
const OUTSTANDING_MS_MAX: u64 = 1_000;

/// Everything that is known of the group, by node.
struct Facts<'a> {
    picture: Picture,
    members: Vec<MemberView>,
    answers: BTreeMap<u64, &'a NodeStatus>,
    /// Why the others gave no answer, by client address.
    silence: BTreeMap<&'a str, &'a str>,
}

/// Explains who leads, or why nobody does.
pub(crate) fn leader(survey: &Survey) -> LeaderExplained {
    let facts = Facts::of(survey);
    let replicas: Vec<ReplicaExplained> = facts
        .members
        .iter()
        .map(|member| replica::explain(&facts, member))
        .collect();
    let verdict = group::judge(&facts);
    let show = &facts.picture.show;
    LeaderExplained {
        leader: show.leader.as_ref().map(|leader| leader.name.clone()),
        situation: verdict.situation.to_owned(),
        summary: verdict.summary,
        remedy: verdict.remedy,
        voters: show.voters,
        quorum: show.quorum,
        answering: facts.picture.voters_answering,
        replicas,
        differences: differences(&facts),
    }
}

impl<'a> Facts<'a> {
    fn of(survey: &'a Survey) -> Self {
        let picture = merge(survey);
        let mut answers: BTreeMap<u64, &NodeStatus> = BTreeMap::new();
        let ours = |s: &&NodeStatus| s.cluster_id.is_none() || s.cluster_id == picture.cluster_id;
        for status in survey.answers().filter(ours) {
            answers.entry(status.node_id).or_insert(status);
        }
        let silence = survey.asked.iter().filter_map(|asked| {
            let reason = asked.answer.as_ref().err()?;
            Some((asked.address.as_str(), reason.as_str()))
        });
        Self {
            members: members(&picture, &answers),
            silence: silence.collect(),
            answers,
            picture,
        }
    }

    fn answer(&self, node_id: u64) -> Option<&'a NodeStatus> {
        self.answers.get(&node_id).copied()
    }

    fn leader_id(&self) -> Option<u64> {
        self.picture
            .show
            .leader
            .as_ref()
            .map(|leader| leader.node_id)
    }

    fn name(&self, node_id: u64) -> String {
        let known = self.members.iter().find(|m| m.node_id == node_id);
        known.map_or_else(|| format!("node {node_id}"), |m| m.name.clone())
    }

    fn voters(&self) -> impl Iterator<Item = &MemberView> {
        self.members.iter().filter(|member| member.role == "voter")
    }

    /// Whether `from` hears `of`: over its stream, or where it tells of none, as its leader.
    fn hears(&self, from: &NodeStatus, of: u64) -> bool {
        let recent = |ms: Option<u64>| ms.is_some_and(|ms| ms <= HEARD_MS_MAX);
        match from.contacts.iter().find(|c| c.node_id == of) {
            Some(contact) => recent(contact.heard_ms),
            None => from
                .peers
                .iter()
                .any(|p| p.node_id == of && recent(p.last_contact_ms)),
        }
    }

    /// Names of the voters that hear this one.
    fn heard_by(&self, of: u64) -> Vec<String> {
        let hearing = self
            .answers
            .values()
            .filter(|s| s.node_id != of && self.hears(s, of));
        hearing.map(|s| self.name(s.node_id)).collect()
    }

    /// Voters that this replica hears, itself included.
    fn circle(&self, status: &NodeStatus) -> u64 {
        let heard = |m: &&MemberView| m.node_id == status.node_id || self.hears(status, m.node_id);
        self.voters().filter(heard).count() as u64
    }

    fn trails(&self, node_id: u64) -> Option<u64> {
        let replicas = &self.picture.show.replicas;
        replicas.iter().find(|r| r.node_id == node_id)?.trails_by
    }

    /// Whether it can store what an election or an entry needs.
    fn disk_problem(status: &NodeStatus) -> Option<String> {
        let disk = &status.disk;
        if disk.poisoned {
            return Some("a write to its log failed".to_owned());
        }
        if disk.full {
            return Some(format!("the disk of {} is full", disk.data_dir));
        }
        let stalled = disk.outstanding_ms.filter(|ms| *ms > OUTSTANDING_MS_MAX)?;
        Some(format!(
            "its disk is stalled: a write is under way for {stalled}ms"
        ))
    }
}

/// The members as the most advanced replica has them; before bootstrap whoever answers.
fn members(picture: &Picture, answers: &BTreeMap<u64, &NodeStatus>) -> Vec<MemberView> {
    let known = answers
        .values()
        .flat_map(|status| &status.members)
        .map(|member| (member.node_id, member))
        .collect::<BTreeMap<_, _>>();
    let of = |replica: &regent_protocol::view::ReplicaView| {
        let member = known.get(&replica.node_id);
        let bare = || MemberView {
            node_id: replica.node_id,
            name: replica.name.clone(),
            ..MemberView::default()
        };
        member.map_or_else(bare, |m| (*m).clone())
    };
    picture.show.replicas.iter().map(of).collect()
}

/// Who takes whom for the leader, where they don't agree; and whatever else is odd.
fn differences(facts: &Facts<'_>) -> Vec<String> {
    let mut by_view: BTreeMap<Option<u64>, Vec<String>> = BTreeMap::new();
    for status in facts.answers.values().filter(|s| s.cluster_id.is_some()) {
        by_view
            .entry(status.leader)
            .or_default()
            .push(facts.name(status.node_id));
    }
    let mut differences = Vec::new();
    if by_view.len() > 1 {
        let say = |(leader, by): (&Option<u64>, &Vec<String>)| {
            let whom = leader.map_or_else(|| "nobody".to_owned(), |id| facts.name(id));
            let verb = if by.len() == 1 { "takes" } else { "take" };
            format!("{} {verb} {whom} for the leader", by.join(" and "))
        };
        differences.push(by_view.iter().map(say).collect::<Vec<_>>().join("; "));
    }
    differences.extend(facts.picture.alarms.iter().map(|alarm| alarm.text.clone()));
    differences
}

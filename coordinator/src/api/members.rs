//! Changes of members as clients ask for them: checked against what the leader sees, noted in the log,
//! and waited for. Carrying them out is `crate::members`'s.

use regent_ha::membership::check_candidate;
use regent_ha::membership::plan::{Margin, Seen, Step, Wish, rehearse};
use regent_ha::{Member, Node as Address, NodeId, probe};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::{self, MemberVerb};
use regent_protocol::view::{MarginView, MemberStep, MemberView, MembersChanged, MembersPlanned};
use regent_state::Command;
use regent_state::command::ChangeMember;
use regent_state::ids::NodeId as StateNodeId;
use regent_state::model::MemberRole;
use tokio::time::{Instant, sleep};

use super::change::{ANSWER_RESERVE, Asked};
use super::document;
use crate::leader::rule::Rule;
use crate::members::wishes;
use crate::node::Node;

/// Between two looks at the members.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// A change with everything that it names looked up.
struct Wanted {
    member: Member,
    role: MemberRole,
}

/// `members plan`: what the changes would do beside what is under way; without any, just that.
pub(super) async fn plan(
    node: &Node,
    rule: &Rule,
    asked: &v1::MembersPlan,
) -> Result<v1::Document, ApiError> {
    let mut seen = node.replica.members_seen();
    let mut wishes = wishes(&rule.view().machine);
    for change in &asked.changes {
        let wanted = wanted(node, &mut seen, change).await?;
        wishes.insert(wanted.member.node_id, wish(&wanted));
    }
    document(&planned(&wishes, &seen))
}

fn planned(wishes: &std::collections::BTreeMap<NodeId, Wish>, seen: &Seen) -> MembersPlanned {
    let told = rehearse(wishes, seen);
    let after = told.last().map_or(seen.margin(), |(_, seen)| seen.margin());
    let steps = told.iter().map(|(step, seen)| MemberStep {
        step: step.to_string(),
        waits: matches!(step, Step::Wait { .. }),
        after: margin(seen.margin()),
    });
    MembersPlanned {
        before: margin(seen.margin()),
        after: margin(after),
        steps: steps.collect(),
    }
}

/// `members add|promote|demote|remove`.
pub(super) async fn change(
    asked: &Asked<'_>,
    change: &v1::MemberChange,
) -> Result<v1::Document, ApiError> {
    let node = asked.node;
    let mut seen = node.replica.members_seen();
    let known = asked.rule.view().machine.knows_request(asked.tag.id);
    let wanted = wanted(node, &mut seen, change).await?;
    // What was asked before is answered as before, though by now it might be refused.
    if !known {
        object(&wanted, &seen)?;
    }
    let command = Command::ChangeMember(ChangeMember {
        node: StateNodeId(wanted.member.node_id),
        name: wanted.member.node.name.clone(),
        api: wanted.member.node.api.clone(),
        peer: wanted.member.node.peer.clone(),
        wanted: wanted.role,
    });
    let before = seen.margin();
    if asked.carry_out(command).await?.is_none() {
        let alone = [(wanted.member.node_id, wish(&wanted))].into();
        let after = rehearse(&alone, &seen).pop().map_or(seen, |(_, seen)| seen);
        return document(&changed(&wanted, before, &after, true, None));
    }
    let until = asked.deadline.checked_sub(ANSWER_RESERVE);
    await_change(node, &wanted, before, until.unwrap_or(asked.deadline)).await
}

/// Refuses what would cost the majority, before anything is noted. Catching up is no reason.
fn object(wanted: &Wanted, seen: &Seen) -> Result<(), ApiError> {
    let first = regent_ha::membership::plan::step(wanted.member.node_id, &wish(wanted), seen);
    let shrinks = wanted.role != MemberRole::Voter;
    match first {
        Some(Step::Wait { node, cause }) if shrinks || seen.removed.contains(&node) => {
            let name = &wanted.member.node.name;
            let message = format!("{name} (node {node}) can't become {}: {cause}", wanted.role);
            Err(ApiError::new(ErrorKind::Refused, message))
        }
        _ => Ok(()),
    }
}

/// Waits until it is done or the time is over; leadership may move meanwhile.
async fn await_change(
    node: &Node,
    wanted: &Wanted,
    before: Margin,
    until: Instant,
) -> Result<v1::Document, ApiError> {
    loop {
        let seen = node.replica.members_seen();
        let next = regent_ha::membership::plan::step(wanted.member.node_id, &wish(wanted), &seen);
        let done = next.is_none() && !seen.joint;
        if done || Instant::now() >= until {
            let waits_for = next.filter(|_| !done).map(|step| step.to_string());
            return document(&changed(wanted, before, &seen, done, waits_for));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn wish(wanted: &Wanted) -> Wish {
    match wanted.role {
        MemberRole::Voter => Wish::Voter(wanted.member.clone()),
        MemberRole::Learner => Wish::Learner(wanted.member.clone()),
        MemberRole::Removed => Wish::Gone,
    }
}

fn changed(
    wanted: &Wanted,
    before: Margin,
    seen: &Seen,
    done: bool,
    waits_for: Option<String>,
) -> MembersChanged {
    MembersChanged {
        node_id: wanted.member.node_id,
        name: wanted.member.node.name.clone(),
        role: role(seen, wanted.member.node_id).to_owned(),
        done,
        waits_for,
        before: margin(before),
        after: margin(seen.margin()),
        members: seen
            .members
            .values()
            .map(|m| member_view(m, seen))
            .collect(),
    }
}

fn role(seen: &Seen, node: NodeId) -> &'static str {
    match (
        seen.members.contains_key(&node),
        seen.voters.contains(&node),
    ) {
        (true, true) => "voter",
        (true, false) => "learner",
        (false, _) => "removed",
    }
}

fn member_view(member: &Member, seen: &Seen) -> MemberView {
    MemberView {
        node_id: member.node_id,
        name: member.node.name.clone(),
        role: role(seen, member.node_id).to_owned(),
        peer: member.node.peer.clone(),
        api: member.node.api.clone(),
    }
}

fn margin(margin: Margin) -> MarginView {
    MarginView {
        voters: margin.voters,
        quorum: margin.quorum,
        answering: margin.live,
        tolerates: margin.tolerates,
    }
}

/// Looks up what a change names; a new replica is asked who it is, and counts as answering.
async fn wanted(
    node: &Node,
    seen: &mut Seen,
    change: &v1::MemberChange,
) -> Result<Wanted, ApiError> {
    let role = match change.verb() {
        MemberVerb::Add | MemberVerb::Promote => MemberRole::Voter,
        MemberVerb::AddLearner | MemberVerb::Demote => MemberRole::Learner,
        MemberVerb::Remove => MemberRole::Removed,
        MemberVerb::Unspecified => {
            return Err(ApiError::new(
                ErrorKind::Invalid,
                "the change names no verb",
            ));
        }
    };
    let member = match change.verb() {
        MemberVerb::Add | MemberVerb::AddLearner => candidate(node, seen, &change.member).await?,
        _ => known(node, seen, change)?,
    };
    Ok(Wanted { member, role })
}

async fn candidate(node: &Node, seen: &mut Seen, peer: &str) -> Result<Member, ApiError> {
    let refused = |text: String| ApiError::new(ErrorKind::Refused, text);
    let probed = probe(node.clients.dialer(), peer).await.map_err(|cause| {
        let message = format!(
            "no replica answers at {peer} ({cause}); start it with an empty data directory and a new node-id, \
             and name the address of its peer service"
        );
        ApiError::new(ErrorKind::Failed, message)
    })?;
    let status = node.replica.status();
    let cluster_id = status.cluster_id.unwrap_or_default();
    check_candidate(&probed, seen, &cluster_id).map_err(refused)?;
    let present = seen.members.get(&probed.node_id);
    if let Some(present) = present.filter(|present| present.node.peer != peer) {
        let (id, name, at) = (probed.node_id, &present.node.name, &present.node.peer);
        return Err(refused(format!(
            "node {id} is the member {name} at {at}; give the new replica another node-id"
        )));
    }
    let member = match present {
        Some(present) => present.clone(),
        None => Member {
            node_id: probed.node_id,
            node: Address {
                name: probed.name.clone(),
                api: probed.api.clone(),
                peer: peer.to_owned(),
            },
        },
    };
    seen.live.insert(probed.node_id);
    Ok(member)
}

/// A member by number or name; one that was removed can be removed again, which does nothing.
fn known(node: &Node, seen: &Seen, change: &v1::MemberChange) -> Result<Member, ApiError> {
    let text = change.member.as_str();
    let named = |member: &&Member| member.node.name == text || member.node_id.to_string() == text;
    if let Some(member) = seen.members.values().find(named) {
        return Ok(member.clone());
    }
    let view = node.replica.stale();
    let mut gone = view.machine.member_wishes();
    let gone = gone.find(|(id, wish)| id.0.to_string() == text || wish.name == text);
    if let Some((id, wish)) = gone {
        let node = Address {
            name: wish.name.clone(),
            api: wish.api.clone(),
            peer: wish.peer.clone(),
        };
        return Ok(Member {
            node_id: id.0,
            node,
        });
    }
    let names: Vec<&str> = seen
        .members
        .values()
        .map(|m| m.node.name.as_str())
        .collect();
    let message = format!("no member is called {text}; there are {}", names.join(", "));
    Err(ApiError::new(ErrorKind::Invalid, message))
}

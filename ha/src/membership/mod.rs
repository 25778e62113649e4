//! Changing the members while the cluster works: a learner first, a vote later, out for good.
//!
//! What may be done and in which order is `plan.rs`'s. Each change names the membership that it was
//! planned on, so that two never mix.

pub mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::instant::Instant as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, Precondition};
use tokio::time::timeout;

use crate::bootstrap::{Probed, probe};
use crate::link;
use crate::raft::{RaftHandle, now};
use crate::shared::Shared;
use crate::types::{Member, Node, NodeId, TypeConfig};
use crate::view::Views;
use crate::wire::{self, proto};
use plan::{Seen, Step};

/// A replica that was heard within this time answers.
const LIVE_WITHIN: Duration = Duration::from_secs(2);
/// How long one change may take to be committed.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// How long a new replica may take to write the cluster's identity.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

type Change = ChangeMembers<NodeId, Node>;

/// Why a change of members was not made (as far as is known).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MembershipError(pub String);

/// Carries out steps on the leader.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    raft: RaftHandle,
    shared: Arc<Shared>,
    views: Views,
}

fn failed(error: impl std::fmt::Display) -> MembershipError {
    MembershipError(error.to_string())
}

impl Membership {
    pub(crate) fn new(raft: RaftHandle, shared: Arc<Shared>, views: Views) -> Self {
        Self {
            raft,
            shared,
            views,
        }
    }

    /// The members as the leader sees them.
    pub(crate) fn seen(&self) -> Seen {
        let metrics = now(&self.raft.metrics());
        let own = self.shared.node_id();
        let membership = metrics.membership_config.membership();
        let members = membership.nodes().map(|(node_id, node)| {
            let member = Member {
                node_id: *node_id,
                node: node.clone(),
            };
            (*node_id, member)
        });
        let joint = membership.get_joint_config();
        Seen {
            own,
            members: members.collect(),
            voters: joint.last().cloned().unwrap_or_default(),
            live: live(&metrics, own),
            matched: matched(&metrics),
            last_index: metrics.last_log_index.unwrap_or(0),
            joint: joint.len() > 1,
            removed: self.views.borrow().standing.removed.clone(),
        }
    }

    /// Does one step. Repeating one that was done is refused by its precondition, and harmless.
    pub(crate) async fn carry_out(&self, step: &Step) -> Result<(), MembershipError> {
        match step {
            Step::Add(member) => self.add(member).await,
            Step::Promote(node) => self.change(Change::AddVoterIds([*node].into()), true).await,
            Step::Demote(node) => {
                self.change(Change::RemoveVoters([*node].into()), true)
                    .await
            }
            Step::Remove(node) => {
                let metrics = now(&self.raft.metrics());
                let votes = metrics.membership_config.voter_ids().any(|id| id == *node);
                let change = match votes {
                    true => Change::RemoveVoters([*node].into()),
                    false => Change::RemoveNodes([*node].into()),
                };
                self.change(change, false).await
            }
            Step::Finish => {
                let voters = self.seen().voters;
                self.change(Change::ReplaceAllVoters(voters), true).await
            }
            Step::HandOver(_) | Step::Wait { .. } => Ok(()),
        }
    }

    async fn add(&self, member: &Member) -> Result<(), MembershipError> {
        self.invite(member).await?;
        let adding = self
            .raft
            .add_learner(member.node_id, member.node.clone(), false);
        bounded(adding).await
    }

    async fn change(&self, change: Change, retain: bool) -> Result<(), MembershipError> {
        let metrics = now(&self.raft.metrics());
        let planned_on = Precondition::LastMembershipLogId {
            last_membership_log_id: *metrics.membership_config.log_id(),
        };
        let changing = self.raft.change_membership_if(change, retain, [planned_on]);
        bounded(changing).await
    }

    /// Has an empty replica write this cluster's identity. The same again is success.
    async fn invite(&self, member: &Member) -> Result<(), MembershipError> {
        let probed = probe(self.shared.dialer(), &member.node.peer)
            .await
            .map_err(failed)?;
        let belonging = self
            .shared
            .belonging()
            .ok_or_else(|| failed("this replica belongs to no cluster"))?;
        if probed.node_id != member.node_id {
            let (peer, is) = (&member.node.peer, probed.node_id);
            return Err(failed(format!("{peer} is node {is} now")));
        }
        let mut members: Vec<Member> = self.seen().members.into_values().collect();
        members.retain(|known| known.node_id != member.node_id);
        members.push(member.clone());
        let request = proto::JoinRequest {
            cluster_id: belonging.cluster_id.to_string(),
            generation: belonging.generation,
            members: members.iter().map(wire::member_to).collect(),
        };
        let channel = link::channel(self.shared.dialer(), &member.node.peer).map_err(failed)?;
        let asked = timeout(JOIN_LIMIT, async {
            link::client(channel).join(request).await
        });
        let reply = asked
            .await
            .map_err(|_| failed("the new replica doesn't answer"))?
            .map_err(|status| failed(link::classify(&status)))?
            .into_inner();
        match reply.accepted {
            true => Ok(()),
            false => Err(failed(reply.refusal)),
        }
    }
}

/// Whether what answered a probe may become a new member; the text says why not.
pub fn check_candidate(probed: &Probed, seen: &Seen, cluster_id: &str) -> Result<(), String> {
    let node = probed.node_id;
    if let Some(reason) = &probed.refusal {
        return Err(format!("node {node} takes no part: {reason}"));
    }
    if seen.removed.contains(&node) {
        return Err(format!(
            "node {node} was removed from this cluster and its number never comes back; empty its data \
             directory and start it with a new node-id"
        ));
    }
    let theirs = probed.cluster_id.map(|id| id.to_string());
    if theirs.as_deref().is_some_and(|theirs| theirs != cluster_id) {
        return Err(format!(
            "node {node} belongs to cluster {}; start it with an empty data directory",
            theirs.unwrap_or_default()
        ));
    }
    Ok(())
}

fn live(metrics: &RaftMetrics<TypeConfig>, own: NodeId) -> BTreeSet<NodeId> {
    let heard = metrics.heartbeat.iter().flatten();
    let live = heard.filter(|(_, at)| at.is_some_and(|at| at.elapsed() <= LIVE_WITHIN));
    live.map(|(node_id, _)| *node_id).chain([own]).collect()
}

fn matched(metrics: &RaftMetrics<TypeConfig>) -> BTreeMap<NodeId, u64> {
    let replication = metrics.replication.iter().flatten();
    let known =
        replication.filter_map(|(node_id, matched)| Some((*node_id, matched.as_ref()?.index)));
    known.collect()
}

async fn bounded(
    changing: impl Future<
        Output = Result<
            ClientWriteResponse<TypeConfig>,
            RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
        >,
    >,
) -> Result<(), MembershipError> {
    match timeout(CHANGE_LIMIT, changing).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed("not committed in time; it may be later")),
    }
}

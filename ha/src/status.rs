//! What a replica says about itself. Works without a leader; asks nobody.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::instant::Instant as _;
use openraft::metrics::RaftMetrics;

use crate::failover::Contacts;
use crate::leadership::Leadership;
use crate::shared::{Phase, Shared};
use crate::takeover::Takeover;
use crate::tally::FailoverCounts;
use crate::types::{Member, NodeId, TypeConfig};
use crate::view::View;

/// What a replica is, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leads (its announcement may still be under way: see `Leadership`).
    Leader,
    /// A voter that follows.
    Follower,
    /// A voter in an election.
    Candidate,
    /// Has no vote; also every replica before bootstrap.
    Learner,
    /// Raft stopped in this process.
    Down,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Down => "down",
        })
    }
}

/// A peer as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// Which replica.
    pub node_id: NodeId,
    /// Highest index that it is known to hold, if any.
    pub matched_index: Option<u64>,
    /// Milliseconds since it last acknowledged anything.
    pub last_contact_ms: Option<u64>,
}

/// Another voter, as this replica hears it by itself, leader or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Which replica.
    pub node_id: NodeId,
    /// Milliseconds since it said something over its open stream (it speaks every second); `None`: no
    /// stream is open.
    pub heard_ms: Option<u64>,
}

/// A replica's own account.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its number.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it takes part in a cluster.
    pub phase: Phase,
    /// The cluster of its data directory, as 32 hexadecimal digits.
    pub cluster_id: Option<String>,
    /// The cluster's generation; 0 while it belongs to none.
    pub generation: u64,
    /// How often a process was started on the data directory.
    pub incarnation: u64,
    /// True once its log holds a membership.
    pub bootstrapped: bool,
    /// What it is.
    pub role: Role,
    /// Its Raft term.
    pub term: u64,
    /// Whom it takes for the leader.
    pub leader: Option<Member>,
    /// Index of its last entry.
    pub last_log_index: Option<u64>,
    /// Index up to which a majority is known to hold the log.
    pub committed_index: Option<u64>,
    /// Index up to which it has applied the log.
    pub applied_index: u64,
    /// State hash at the applied index.
    pub hash: u128,
    /// Index that its snapshot file covers.
    pub snapshot_index: Option<u64>,
    /// Terms begun since this process started.
    pub elections: u64,
    /// Peers; empty unless it leads.
    pub peers: Vec<PeerProgress>,
    /// Milliseconds since a leader spoke to it, if one did.
    pub leader_heard_ms: Option<u64>,
    /// The other voters, as it hears them.
    pub contacts: Vec<Contact>,
    /// All members, voters and learners.
    pub members: Vec<Member>,
    /// Numbers of those that vote.
    pub voters: BTreeSet<NodeId>,
    /// Numbers of those that don't.
    pub learners: BTreeSet<NodeId>,
    /// Numbers that were members once.
    pub removed: BTreeSet<NodeId>,
    /// Fast failovers: tried, fired, lost, not needed.
    pub failovers: FailoverCounts,
    /// The moments of the latest takeover by this process, if there was one.
    pub takeover: Option<Takeover>,
    /// The first time that another replica held another state after the same entry: an alarm.
    pub divergence: Option<String>,
    /// Why Raft stopped, if it did.
    pub failure: Option<String>,
}

/// Puts the account together.
pub(crate) fn status(
    shared: &Shared,
    metrics: &RaftMetrics<TypeConfig>,
    view: &View,
    leadership: &Leadership,
    (failovers, contacts): (FailoverCounts, &Contacts),
    divergence: Option<String>,
) -> Status {
    let belonging = shared.belonging();
    let membership = metrics.membership_config.membership();
    let member = |node_id: NodeId| {
        let node = membership.get_node(&node_id)?.clone();
        Some(Member { node_id, node })
    };
    Status {
        node_id: shared.node_id(),
        name: shared.node().name.clone(),
        phase: shared.phase().borrow().clone(),
        cluster_id: belonging.as_ref().map(|b| b.cluster_id.to_string()),
        generation: belonging.as_ref().map_or(0, |b| b.generation),
        incarnation: shared.incarnation(),
        bootstrapped: membership.nodes().next().is_some(),
        role: role_of(metrics),
        term: metrics.current_term,
        leader: leader(shared, metrics, leadership),
        last_log_index: metrics.last_log_index,
        committed_index: metrics.cluster_committed.map(|id| id.index),
        applied_index: view.applied_index(),
        hash: view.hash(),
        snapshot_index: metrics.snapshot.map(|id| id.index),
        elections: shared.elections(),
        peers: peers(metrics, shared.node_id()),
        leader_heard_ms: shared.heard().map(|(_, ago)| millis(ago)),
        contacts: heard(membership.voter_ids(), contacts, shared.node_id()),
        members: membership
            .nodes()
            .filter_map(|(id, _)| member(*id))
            .collect(),
        voters: membership.voter_ids().collect(),
        learners: membership.learner_ids().collect(),
        removed: view.standing.removed.clone(),
        failovers,
        takeover: shared.takeover(),
        divergence,
        failure: metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn heard(voters: impl Iterator<Item = NodeId>, contacts: &Contacts, own: NodeId) -> Vec<Contact> {
    let contact = |node_id| Contact {
        node_id,
        heard_ms: contacts.silence(node_id).map(millis),
    };
    voters.filter(|id| *id != own).map(contact).collect()
}

pub(crate) fn role_of(metrics: &RaftMetrics<TypeConfig>) -> Role {
    if metrics.running_state.is_err() {
        return Role::Down;
    }
    match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Down,
    }
}

/// Itself from its election on; another one as long as it is heard from.
pub(crate) fn leader(
    shared: &Shared,
    metrics: &RaftMetrics<TypeConfig>,
    leadership: &Leadership,
) -> Option<Member> {
    if role_of(metrics) == Role::Leader {
        return Some(Member {
            node_id: shared.node_id(),
            node: shared.node().clone(),
        });
    }
    match leadership {
        Leadership::Following { leader, .. } => Some(leader.clone()),
        Leadership::None | Leadership::Leading(_) => None,
    }
}

fn peers(metrics: &RaftMetrics<TypeConfig>, own: NodeId) -> Vec<PeerProgress> {
    let Some(replication) = &metrics.replication else {
        return Vec::new();
    };
    let contact = |node_id: &NodeId| {
        let at = (*metrics.heartbeat.as_ref()?.get(node_id)?)?;
        u64::try_from(at.elapsed().as_millis()).ok()
    };
    replication
        .iter()
        .filter(|(node_id, _)| **node_id != own)
        .map(|(node_id, matched)| PeerProgress {
            node_id: *node_id,
            matched_index: matched.map(|id| id.index),
            last_contact_ms: contact(node_id),
        })
        .collect()
}

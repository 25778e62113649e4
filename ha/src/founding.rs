//! What a replica does when it is asked to found or join a cluster, and what it tells anybody who asks.
//!
//! It writes the cluster's identity into an empty data directory, once; the same again is success,
//! anything else is refused. Whom to ask, and in which order, is `bootstrap.rs`'s.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::errors::{InitializeError, RaftError};
use regent_state::ids::ClusterId;
use regent_storage::identity::{DataDir, Identity, Member as StoredMember};

use tokio::sync::watch;

use crate::bootstrap::same_members;
use crate::leadership::Leadership;
use crate::raft::{RaftHandle, now};
use crate::shared::{Belonging, Phase, Shared};
use crate::status::{leader, role_of};
use crate::types::{Member, Node, NodeId};
use crate::view::Views;
use crate::wire::{self, proto};

/// Generation of a cluster that was never restored.
const FIRST_GENERATION: u64 = 1;

/// Answers probes and carries out the two steps of bootstrap.
#[derive(Clone, Debug)]
pub(crate) struct Founding {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: RaftHandle,
    pub(crate) views: Views,
    pub(crate) leadership: Arc<watch::Sender<Leadership>>,
    pub(crate) dir: Arc<Mutex<DataDir>>,
}

/// The cluster that an identity speaks of, if any.
pub(crate) fn belonging_of(identity: &Identity) -> Option<Belonging> {
    Some(Belonging {
        cluster_id: ClusterId(identity.cluster_id?),
        generation: identity.generation,
        members: identity.members.iter().map(member_of).collect(),
    })
}

fn member_of(stored: &StoredMember) -> Member {
    Member {
        node_id: stored.node_id,
        node: Node {
            name: stored.name.clone(),
            api: stored.api.clone(),
            peer: stored.peer.clone(),
        },
    }
}

fn stored_of(member: &Member) -> StoredMember {
    StoredMember {
        node_id: member.node_id,
        name: member.node.name.clone(),
        api: member.node.api.clone(),
        peer: member.node.peer.clone(),
    }
}

impl Founding {
    /// Who this replica is and whom it sees.
    pub(crate) fn probe_reply(&self) -> proto::ProbeReply {
        let view = self.views.borrow().clone();
        let metrics = now(&self.raft.metrics());
        let belonging = self.shared.belonging();
        let logged: Vec<Member> = metrics
            .membership_config
            .nodes()
            .map(|(node_id, node)| Member {
                node_id: *node_id,
                node: node.clone(),
            })
            .collect();
        let initialized = !logged.is_empty();
        let prepared = || belonging.as_ref().map(|b| b.members.clone());
        let members = match initialized {
            true => logged,
            false => prepared().unwrap_or_default(),
        };
        let leader = leader(&self.shared, &metrics, &self.leadership.borrow());
        let refusal = match self.shared.phase().borrow().clone() {
            Phase::Refused(reason) => reason,
            Phase::Empty | Phase::Member => String::new(),
        };
        proto::ProbeReply {
            node_id: self.shared.node_id(),
            name: self.shared.node().name.clone(),
            cluster_id: belonging
                .as_ref()
                .map_or_else(String::new, |b| b.cluster_id.to_string()),
            generation: belonging.as_ref().map_or(0, |b| b.generation),
            incarnation: self.shared.incarnation(),
            initialized,
            members: members.iter().map(wire::member_to).collect(),
            leader: leader.map_or(0, |leader| leader.node_id),
            term: metrics.current_term,
            role: role_of(&metrics).to_string(),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: view.applied_index(),
            refusal,
            removed: view.standing.removed.iter().copied().collect(),
            api: self.shared.node().api.clone(),
        }
    }

    /// Writes cluster id and members into an empty data directory. The error says why not.
    pub(crate) async fn prepare(&self, request: proto::PrepareRequest) -> Result<(), String> {
        let cluster_id = ClusterId::from_str(&request.cluster_id).map_err(|e| e.to_string())?;
        let members: Vec<Member> = request.members.iter().map(wire::member_from).collect();
        let named = members.iter().find(|m| m.node_id == self.shared.node_id());
        let named = named.ok_or_else(|| {
            format!(
                "node {} is not among the named members",
                self.shared.node_id()
            )
        })?;
        if named.node.peer != self.shared.node().peer {
            return Err(format!(
                "this replica is reached at {}, not at {}",
                self.shared.node().peer,
                named.node.peer
            ));
        }
        if let Phase::Refused(reason) = &*self.shared.phase().borrow() {
            return Err(reason.clone());
        }
        if let Some(present) = self.shared.belonging() {
            return check_same(&present, cluster_id, &members);
        }
        let written = self.belong(cluster_id, FIRST_GENERATION, &members).await?;
        check_same(&written, cluster_id, &members)
    }

    /// Writes the identity of the cluster that invites this empty replica. The same again is success, and
    /// so is a repeated invitation that names other members: the log's membership decides soon.
    pub(crate) async fn join(&self, request: proto::JoinRequest) -> Result<(), String> {
        let cluster_id = ClusterId::from_str(&request.cluster_id).map_err(|e| e.to_string())?;
        let members: Vec<Member> = request.members.iter().map(wire::member_from).collect();
        let own = self.shared.node_id();
        let named = members.iter().find(|member| member.node_id == own);
        if named.is_none_or(|named| named.node.peer != self.shared.node().peer) {
            let peer = &self.shared.node().peer;
            return Err(format!(
                "this replica is node {own} at {peer}, not the invited one"
            ));
        }
        if let Phase::Refused(reason) = &*self.shared.phase().borrow() {
            return Err(reason.clone());
        }
        let present = match self.shared.belonging() {
            Some(present) => present,
            None => {
                self.belong(cluster_id, request.generation, &members)
                    .await?
            }
        };
        if (present.cluster_id, present.generation) == (cluster_id, request.generation) {
            return Ok(());
        }
        Err(format!(
            "this replica belongs to cluster {} (generation {}); empty its data directory first",
            present.cluster_id, present.generation
        ))
    }

    async fn belong(
        &self,
        cluster_id: ClusterId,
        generation: u64,
        members: &[Member],
    ) -> Result<Belonging, String> {
        let dir = self.dir.clone();
        let stored = members.iter().map(stored_of).collect();
        let identity = tokio::task::spawn_blocking(move || {
            // Two at once: the second finds what the first wrote.
            let dir = dir.lock().unwrap_or_else(PoisonError::into_inner);
            dir.join_cluster(cluster_id.0, generation, stored)
        })
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
        let belonging = belonging_of(&identity).ok_or("the identity was not written")?;
        if belonging.cluster_id == cluster_id {
            tracing::info!(%cluster_id, "this replica belongs to a cluster now");
            self.shared.belong(belonging.clone());
        }
        Ok(belonging)
    }

    /// Writes the first membership into the log of this one replica. The same again is success.
    pub(crate) async fn initialize(&self, request: proto::InitializeRequest) -> Result<(), String> {
        let belonging = self
            .shared
            .belonging()
            .filter(|b| b.cluster_id.to_string() == request.cluster_id)
            .ok_or("this replica was not prepared for that cluster")?;
        let nodes: BTreeMap<NodeId, Node> = belonging
            .members
            .into_iter()
            .map(|member| (member.node_id, member.node))
            .collect();
        match self.raft.initialize(nodes).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn check_same(
    present: &Belonging,
    cluster_id: ClusterId,
    members: &[Member],
) -> Result<(), String> {
    if present.cluster_id != cluster_id {
        return Err(format!(
            "this replica belongs to cluster {}, not to {cluster_id}",
            present.cluster_id
        ));
    }
    if !same_members(&present.members, members) {
        return Err("this replica was prepared for other members".to_owned());
    }
    Ok(())
}

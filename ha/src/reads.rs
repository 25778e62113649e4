//! Linearizable reads and quorum confirmations: read index only, never a lease.
//!
//! A round asks a majority whether this leader still leads, after the call came in; many callers share
//! one round. A follower asks the leader for the index and waits until it has applied that far itself.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::time::timeout;

use crate::error::ReadError;
use crate::link::CallError;
use crate::network::Peers;
use crate::raft::{RaftHandle, forwarded_to, member_of, now};
use crate::rounds::Rounds;
use crate::shared::Shared;
use crate::types::{LogId, Member, TypeConfig};
use crate::view::{View, Views};
use crate::wire::{self, proto};

type RoundAnswer = Result<LogId, ReadError>;

/// The doors to read rounds. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    local: Rounds<RoundAnswer>,
    remote: Rounds<RoundAnswer>,
    raft: RaftHandle,
    views: Views,
    deadline: Duration,
}

impl Reads {
    /// Spawns the rounds on the current (Raft's) runtime.
    pub(crate) fn spawn(
        raft: RaftHandle,
        peers: Peers,
        shared: Arc<Shared>,
        views: Views,
        deadline: Duration,
    ) -> Self {
        let local_raft = raft.clone();
        let remote_raft = raft.clone();
        Self {
            local: Rounds::spawn(move || local_round(local_raft.clone())),
            remote: Rounds::spawn(move || {
                remote_round(remote_raft.clone(), peers.clone(), shared.clone())
            }),
            raft,
            views,
            deadline,
        }
    }

    /// Completes after a majority acknowledged a round begun after this call. Leader only.
    pub(crate) async fn confirm(&self) -> RoundAnswer {
        let answer = timeout(self.deadline, self.local.next())
            .await
            .map_err(|_| ReadError::Timeout)?;
        answer.unwrap_or(Err(ReadError::Shutdown))
    }

    /// A view that holds every write completed before this call.
    pub(crate) async fn linearizable(&self) -> Result<Arc<View>, ReadError> {
        timeout(self.deadline, self.read())
            .await
            .unwrap_or(Err(ReadError::Timeout))
    }

    async fn read(&self) -> Result<Arc<View>, ReadError> {
        let rounds = match self.raft.is_leader() {
            true => &self.local,
            false => &self.remote,
        };
        let read_log_id = rounds.next().await.unwrap_or(Err(ReadError::Shutdown))?;
        let mut views = self.views.clone();
        let view = views
            .wait_for(|view| view.standing.applied >= Some(read_log_id))
            .await
            .map_err(|_| ReadError::Shutdown)?;
        Ok(view.clone())
    }
}

async fn local_round(raft: RaftHandle) -> RoundAnswer {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(*linearizer.read_log_id().log_id()),
        Err(RaftError::APIError(error)) => Err(refused(&error)),
        Err(RaftError::Fatal(_)) => Err(ReadError::Shutdown),
    }
}

fn refused(error: &LinearizableReadError<TypeConfig>) -> ReadError {
    match error {
        LinearizableReadError::ForwardToLeader(forward) => ReadError::NotLeader {
            leader: forwarded_to(forward),
        },
        LinearizableReadError::QuorumNotEnough(_) => ReadError::NoQuorum,
    }
}

async fn remote_round(raft: RaftHandle, peers: Peers, shared: Arc<Shared>) -> RoundAnswer {
    let seen = now(&raft.server_metrics());
    let (leader, _) = member_of(&seen).ok_or(ReadError::NoLeader)?;
    if leader.node_id == shared.node_id() {
        return local_round(raft).await;
    }
    let reply = ask_leader(&peers, &leader)
        .await
        .map_err(|error| match error {
            CallError::Timeout(_) => ReadError::Timeout,
            _ => ReadError::NoLeader,
        })?;
    wire::log_id_from(reply.read_log_id.as_ref())
        .ok()
        .flatten()
        .ok_or(ReadError::NoLeader)
}

async fn ask_leader(peers: &Peers, leader: &Member) -> Result<proto::ReadIndexReply, CallError> {
    let link = peers.link(leader.node_id, &leader.node)?;
    link.call(peers.deadlines().read_index, |mut client, caller| {
        let request = proto::ReadIndexRequest {
            caller: Some(caller),
        };
        async move { client.read_index(request).await }
    })
    .await
}

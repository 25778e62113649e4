//! The peer service: decodes, checks who speaks, and hands the message to Raft.
//!
//! A replica that takes no part answers probes and bootstrap only. Decisions about whom to believe are
//! `memory.rs`'s, what bootstrap writes is `founding.rs`'s.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::interval;
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status, Streaming};

use crate::failover::Vigil;
use crate::founding::Founding;
use crate::memory::Refusal;
use crate::proposals::wall_ms;
use crate::raft::{RaftHandle, member_of, now};
use crate::reads::Reads;
use crate::receive_snapshot::{self, Inbox};
use crate::shared::{Phase, Shared};
use crate::types::NodeId;
use crate::view::Views;
use crate::wire::proto::peer_server::Peer;
use crate::wire::{self, WireError, proto};

/// How often a watching peer is told how far this replica is.
const TELL_EVERY: Duration = Duration::from_secs(1);

type Answer<T> = Result<Response<T>, Status>;

/// Serves one replica's peers.
pub(crate) struct PeerService {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: RaftHandle,
    pub(crate) reads: Reads,
    pub(crate) views: Views,
    pub(crate) inbox: Inbox,
    pub(crate) founding: Founding,
    pub(crate) vigil: Vigil,
}

impl PeerService {
    fn admit(&self, caller: Option<&proto::Caller>) -> Result<NodeId, Status> {
        self.taking_part()?;
        self.shared.admit(caller).map_err(|r| refused(&r))
    }

    fn taking_part(&self) -> Result<(), Status> {
        match &*self.shared.phase().borrow() {
            Phase::Member => Ok(()),
            Phase::Empty => Err(Status::failed_precondition(
                "this replica belongs to no cluster yet",
            )),
            Phase::Refused(reason) => Err(Status::failed_precondition(format!(
                "this replica takes no part: {reason}"
            ))),
        }
    }
}

/// Introductions can be repeated; expulsion concerns the speaker for good. So does an older generation: its
/// life of the cluster is over.
fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NotIntroduced => Status::unauthenticated(refusal.to_string()),
        Refusal::Generation { theirs, ours, .. } if theirs < ours => {
            Status::permission_denied(refusal.to_string())
        }
        Refusal::Foreign { .. } | Refusal::Generation { .. } => {
            Status::failed_precondition(refusal.to_string())
        }
        Refusal::Removed { .. } | Refusal::OldIncarnation { .. } | Refusal::LostData { .. } => {
            Status::permission_denied(refusal.to_string())
        }
    }
}

fn malformed(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn raft_failed<E: std::error::Error>(error: E) -> Status {
    Status::unavailable(format!("raft: {error}"))
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn handshake(
        &self,
        request: Request<proto::HandshakeRequest>,
    ) -> Answer<proto::HandshakeReply> {
        self.taking_part()?;
        let request = request.into_inner();
        self.shared
            .take_introduction(request.caller.as_ref(), request.progress.as_ref())
            .map_err(|refusal| {
                tracing::warn!(%refusal, "introduction refused");
                refused(&refusal)
            })?;
        let callee = self
            .shared
            .caller()
            .map_err(|e| Status::failed_precondition(e.to_string()))?;
        Ok(Response::new(proto::HandshakeReply {
            callee: Some(callee),
            progress: Some(self.shared.progress()),
        }))
    }

    async fn append(&self, request: Request<proto::AppendRequest>) -> Answer<proto::AppendReply> {
        let request = request.into_inner();
        let from = self.admit(request.caller.as_ref())?;
        let request = wire::append_from(&request).map_err(malformed)?;
        let leader = request.vote.leader_id;
        if leader.node_id == from {
            self.shared.hear_leader(from);
        }
        let reply = self
            .raft
            .append_entries(request)
            .await
            .map_err(raft_failed)?;
        // A leader has its own vote on disk before it leads.
        if leader.node_id == from {
            self.shared.saw_vote(from, leader);
        }
        Ok(Response::new(wire::append_reply_to(reply)))
    }

    async fn vote(&self, request: Request<proto::VoteRequest>) -> Answer<proto::VoteReply> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref())?;
        let request = wire::vote_request_from(&request).map_err(malformed)?;
        let reply = self.raft.vote(request).await.map_err(raft_failed)?;
        Ok(Response::new(wire::vote_reply_to(&reply)))
    }

    async fn pre_vote(&self, request: Request<proto::VoteRequest>) -> Answer<proto::VoteReply> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref())?;
        let request = wire::vote_request_from(&request).map_err(malformed)?;
        let reply = self.raft.pre_vote(request).await.map_err(raft_failed)?;
        Ok(Response::new(wire::vote_reply_to(&reply)))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Answer<proto::TransferLeaderReply> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref())?;
        let request = wire::transfer_from(&request).map_err(malformed)?;
        if *request.to_node_id() == self.shared.node_id() {
            self.shared.set_cause("transfer");
        }
        let reply = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(raft_failed)?;
        Ok(Response::new(wire::transfer_reply_to(reply)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPiece>>,
    ) -> Answer<proto::SnapshotReply> {
        self.taking_part()?;
        let mut pieces = request.into_inner();
        let header = receive_snapshot::header(&mut pieces).await?;
        self.admit(header.caller.as_ref())?;
        let reply = receive_snapshot::receive(&self.inbox, &self.raft, header, pieces).await?;
        Ok(Response::new(reply))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Answer<proto::ReadIndexReply> {
        self.admit(request.into_inner().caller.as_ref())?;
        let read_log_id = self.reads.confirm().await.ok();
        let seen = now(&self.raft.server_metrics());
        Ok(Response::new(proto::ReadIndexReply {
            read_log_id: read_log_id.as_ref().map(wire::log_id_to),
            leader: member_of(&seen).map_or(0, |(leader, _)| leader.node_id),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchEvent, Status>> + Send>>;

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Answer<Self::WatchStream> {
        self.admit(request.into_inner().caller.as_ref())?;
        let views = self.views.clone();
        let told = IntervalStream::new(interval(TELL_EVERY)).map(move |_| {
            let view = views.borrow().clone();
            Ok(proto::WatchEvent {
                applied_index: view.applied_index(),
                state_hash: view.hash().to_le_bytes().to_vec().into(),
                wall_ms: wall_ms(),
            })
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn leader_gone(
        &self,
        request: Request<proto::LeaderGoneRequest>,
    ) -> Answer<proto::LeaderGoneReply> {
        let request = request.into_inner();
        self.admit(request.caller.as_ref())?;
        let vote = wire::vote_from(request.vote.as_ref()).map_err(malformed)?;
        let reply = self.vigil.asked(vote).await;
        Ok(Response::new(reply))
    }

    async fn probe(&self, _request: Request<proto::ProbeRequest>) -> Answer<proto::ProbeReply> {
        Ok(Response::new(self.founding.probe_reply()))
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> Answer<proto::PrepareReply> {
        let refusal = self.founding.prepare(request.into_inner()).await.err();
        Ok(Response::new(proto::PrepareReply {
            accepted: refusal.is_none(),
            refusal: refusal.unwrap_or_default(),
        }))
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Answer<proto::JoinReply> {
        let refusal = self.founding.join(request.into_inner()).await.err();
        Ok(Response::new(proto::JoinReply {
            accepted: refusal.is_none(),
            refusal: refusal.unwrap_or_default(),
        }))
    }

    async fn initialize(
        &self,
        request: Request<proto::InitializeRequest>,
    ) -> Answer<proto::InitializeReply> {
        let refusal = self.founding.initialize(request.into_inner()).await.err();
        Ok(Response::new(proto::InitializeReply {
            accepted: refusal.is_none(),
            refusal: refusal.unwrap_or_default(),
        }))
    }
}

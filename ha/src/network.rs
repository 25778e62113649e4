//! openraft's network over the peer service: each method one call with a deadline of its own.
//!
//! Whatever isn't a plain timeout is reported as unreachable, so that openraft backs off instead of
//! trying again at once. Connections belong to `link.rs`, encodings to `wire.rs`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::errors::{
    RPCError, ReplicationClosed, StreamingError, Timeout as RaftTimeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::Request;

use crate::link::{CallError, Link};
use crate::shared::Shared;
use crate::snapshot::SnapshotData;
use crate::types::{LogId, Node, NodeId, TypeConfig, Vote};
use crate::{send_snapshot, wire};

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Deadlines per method. openraft's own hint fits heartbeats and votes only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// A request that carries entries: transfer, the peer's sync, the answer.
    pub(crate) append: Duration,
    /// A request without entries.
    pub(crate) heartbeat: Duration,
    /// Vote and pre-vote.
    pub(crate) vote: Duration,
    /// Telling a node to take over.
    pub(crate) transfer: Duration,
    /// Longest silence while a snapshot is being sent.
    pub(crate) snapshot_piece: Duration,
    /// From the last piece to "installed".
    pub(crate) snapshot_install: Duration,
    /// Asking the leader for a read index.
    pub(crate) read_index: Duration,
}

impl Deadlines {
    /// Deadlines that go with a heartbeat interval and the longest election timeout.
    pub(crate) fn new(heartbeat_ms: u64, election_max_ms: u64) -> Self {
        let election = Duration::from_millis(election_max_ms);
        Self {
            append: (election * 4).max(Duration::from_secs(1)),
            heartbeat: Duration::from_millis(heartbeat_ms),
            vote: election,
            transfer: election,
            snapshot_piece: Duration::from_secs(10),
            snapshot_install: Duration::from_secs(60),
            read_index: election * 2,
        }
    }
}

/// All peers this process talks to. One link per (node, address), shared by replication, heartbeats,
/// votes and reads.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
    deadlines: Deadlines,
    links: Arc<Mutex<HashMap<NodeId, Arc<Link>>>>,
}

impl Peers {
    /// No link yet.
    pub(crate) fn new(shared: Arc<Shared>, deadlines: Deadlines) -> Self {
        Self {
            shared,
            deadlines,
            links: Arc::default(),
        }
    }

    /// The deadlines in force.
    pub(crate) fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// The link to a node; a new one if it moved. Must be called on the Raft runtime.
    pub(crate) fn link(&self, target: NodeId, node: &Node) -> Result<Arc<Link>, CallError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&target)
            && link.address() == node.peer
        {
            return Ok(link.clone());
        }
        let link = Arc::new(Link::new(self.shared.clone(), target, &node.peer)?);
        links.insert(target, link.clone());
        Ok(link)
    }
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: NodeId, node: &Node) -> PeerNetwork {
        PeerNetwork {
            own: self.shared.node_id(),
            target,
            link: self.link(target, node),
            deadlines: self.deadlines,
            shared: self.shared.clone(),
        }
    }
}

/// openraft's door to one peer.
#[derive(Debug)]
pub(crate) struct PeerNetwork {
    own: NodeId,
    target: NodeId,
    link: Result<Arc<Link>, CallError>,
    deadlines: Deadlines,
    shared: Arc<Shared>,
}

impl PeerNetwork {
    fn link(&self, action: RPCTypes) -> RpcResult<&Link> {
        match &self.link {
            Ok(link) => Ok(link),
            Err(error) => Err(self.rpc_error(action, error.clone())),
        }
    }

    fn rpc_error(&self, action: RPCTypes, error: CallError) -> RPCError<TypeConfig> {
        match error {
            CallError::Timeout(timeout) => RPCError::Timeout(RaftTimeout {
                action,
                id: self.own,
                target: self.target,
                timeout,
            }),
            other => RPCError::Unreachable(Unreachable::from_string(other)),
        }
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre: bool,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let deadline = self.deadlines.vote;
        self.shared.suspect_leader();
        let link = self.link(RPCTypes::Vote)?;
        let reply = link
            .call(deadline, |mut client, caller| {
                let message = bounded(wire::vote_request_to(caller, &request), deadline);
                async move {
                    match pre {
                        true => client.pre_vote(message).await,
                        false => client.vote(message).await,
                    }
                }
            })
            .await
            .map_err(|e| self.rpc_error(RPCTypes::Vote, e))?;
        let reply = wire::vote_reply_from(&reply)
            .map_err(|e| self.rpc_error(RPCTypes::Vote, CallError::Failed(e.to_string())))?;
        if !pre && reply.vote_granted {
            self.shared.saw_vote(self.target, reply.vote.leader_id);
        }
        Ok(reply)
    }

    // What a peer acknowledged is on its disk; it can't claim less later.
    fn note_ack(
        &self,
        vote: &Vote,
        last: Option<LogId>,
        reply: &AppendEntriesResponse<TypeConfig>,
    ) {
        if let (AppendEntriesResponse::Success, Some(last)) = (reply, last) {
            self.shared.saw_ack(self.target, vote.leader_id, last);
        }
    }
}

/// A request that tells the server how long it is worth working on.
fn bounded<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let action = RPCTypes::AppendEntries;
        let last = request.entries.last().map(|entry| entry.log_id);
        let deadline = match last {
            Some(_) => self.deadlines.append,
            None => self.deadlines.heartbeat,
        };
        let failed = |text: String| self.rpc_error(action, CallError::Failed(text));
        let message = wire::append_to(wire::proto::Caller::default(), &request)
            .map_err(|e| failed(e.to_string()))?;
        let reply = self
            .link(action)?
            .call(deadline, |mut client, caller| {
                let mut message = bounded(message.clone(), deadline);
                message.get_mut().caller = Some(caller);
                async move { client.append(message).await }
            })
            .await
            .map_err(|e| self.rpc_error(action, e))?;
        let reply = wire::append_reply_from(&reply).map_err(|e| failed(e.to_string()))?;
        self.note_ack(&request.vote, last, &reply);
        Ok(reply)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ask_vote(request, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ask_vote(request, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let action = RPCTypes::InstallSnapshot;
        let link = self.link(action)?;
        let sending = send_snapshot::send(link, &self.shared, self.deadlines, vote, snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => Ok(sent
                .map(SnapshotResponse::new)
                .map_err(|e| self.rpc_error(action, e))?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        let action = RPCTypes::TransferLeader;
        let deadline = self.deadlines.transfer;
        let reply = self
            .link(action)?
            .call(deadline, |mut client, caller| {
                let message = bounded(wire::transfer_to(caller, &request), deadline);
                async move { client.transfer_leader(message).await }
            })
            .await
            .map_err(|e| self.rpc_error(action, e))?;
        wire::transfer_reply_from(&reply)
            .map_err(|e| self.rpc_error(action, CallError::Failed(e.to_string())))
    }
}

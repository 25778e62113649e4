//! Names for openraft's handle, and what its metrics and errors say about leaders.

use openraft::ServerState;
use openraft::async_runtime::watch::{Watch, WatchReceiver};
use openraft::errors::ForwardToLeader;
use openraft::metrics::RaftServerMetrics;

use crate::machine::StateMachine;
use crate::types::{LeaderId, Member, NodeId, TypeConfig};

/// openraft's handle with our state machine.
pub(crate) type RaftHandle = openraft::Raft<TypeConfig, StateMachine>;

/// The leader id under which `own` leads, if it does.
pub(crate) fn leader_of(seen: &RaftServerMetrics<TypeConfig>, own: NodeId) -> Option<LeaderId> {
    let leads = seen.state == ServerState::Leader
        && seen.vote.committed
        && seen.vote.leader_id.node_id == own;
    leads.then_some(seen.vote.leader_id)
}

/// The leader that `seen` names, with its address and term.
pub(crate) fn member_of(seen: &RaftServerMetrics<TypeConfig>) -> Option<(Member, u64)> {
    let node_id = seen.current_leader?;
    let node = seen.membership_config.membership().get_node(&node_id)?;
    let member = Member {
        node_id,
        node: node.clone(),
    };
    Some((member, seen.vote.leader_id.term))
}

/// Whom an error says to ask instead.
pub(crate) fn forwarded_to(forward: &ForwardToLeader<TypeConfig>) -> Option<Member> {
    Some(Member {
        node_id: forward.leader_id?,
        node: forward.leader_node.clone()?,
    })
}

/// The present value of one of openraft's watch channels. Never hold its borrow across an await.
pub(crate) fn now<W: Watch, T: Clone + Send + Sync>(receiver: &impl WatchReceiver<W, T>) -> T {
    receiver.borrow_watched().clone()
}

//! Planned handover: only to a reachable voter that holds everything, with writes waiting meanwhile.
//!
//! openraft's leader refuses writes and sends no heartbeats once a transfer has begun, and nothing takes
//! that back. So the target is checked before, and if it doesn't take over, a live follower is told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ServerState;
use openraft::async_runtime::instant::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::error::TransferError;
use crate::leadership::Leadership;
use crate::link::CallError;
use crate::network::Peers;
use crate::raft::{RaftHandle, member_of, now};
use crate::shared::Shared;
use crate::types::{Member, Node, NodeId, TypeConfig, Vote};
use crate::wire;

/// How long the target may need to hold everything once writes wait.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long writes wait at most for a handover to end.
const SETTLE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(2);

/// A finished handover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Who led before.
    pub from: NodeId,
    /// Who leads now.
    pub to: NodeId,
    /// In which term.
    pub term: u64,
    /// From the order to the change.
    pub took: Duration,
}

/// Hands leadership over, one handover at a time.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    raft: RaftHandle,
    shared: Arc<Shared>,
    peers: Peers,
    leadership: Arc<watch::Sender<Leadership>>,
    under_way: Arc<watch::Sender<bool>>,
    election: Duration,
}

impl Transfer {
    /// `election`: the longest election timeout.
    pub(crate) fn new(
        raft: RaftHandle,
        shared: Arc<Shared>,
        peers: Peers,
        leadership: Arc<watch::Sender<Leadership>>,
        election: Duration,
    ) -> Self {
        Self {
            raft,
            shared,
            peers,
            leadership,
            under_way: Arc::new(watch::Sender::new(false)),
            election,
        }
    }

    /// Returns at once, or when the handover under way has ended (or took too long).
    pub(crate) async fn settled(&self) {
        if !*self.under_way.borrow() {
            return;
        }
        let mut under_way = self.under_way.subscribe();
        // Timing out only means that the caller is told what is known by now.
        let _ended = timeout(SETTLE, under_way.wait_for(|under_way| !under_way)).await;
    }

    /// Hands over to `to` and waits until somebody else leads.
    pub(crate) async fn run(&self, to: NodeId) -> Result<Transferred, TransferError> {
        let begun = Instant::now();
        self.check(to)?;
        let first = self.under_way.send_if_modified(|under_way| {
            let first = !*under_way;
            *under_way = true;
            first
        });
        if !first {
            let text = "another handover is under way".to_owned();
            return Err(TransferError::Refused(text));
        }
        let ended = self.hand_over(to).await;
        self.under_way.send_replace(false);
        let (leader, term) = ended?;
        if leader.node_id != to {
            let text = format!("{} leads instead of node {to}", leader.node.name);
            return Err(TransferError::Failed(text));
        }
        Ok(Transferred {
            from: self.shared.node_id(),
            to,
            term,
            took: begun.elapsed(),
        })
    }

    /// Has any live follower take over at once, though this replica can't bring it up to date: for one
    /// whose own writes hang. Whoever holds most is asked first. Nothing to do unless it leads.
    pub(crate) async fn give_away(&self) {
        let metrics = now(&self.raft.metrics());
        let alone = metrics.membership_config.voter_ids().count() < 2;
        if alone || metrics.state != ServerState::Leader || self.under_way.send_replace(true) {
            return;
        }
        let vote = now(&self.raft.server_metrics()).vote;
        let winner = self.rouse_followers(vote, self.shared.node_id()).await;
        self.under_way.send_replace(false);
        match winner {
            Some((leader, term)) => tracing::info!(leader = %leader.node.name, term, "given away"),
            None => tracing::warn!("nobody took over"),
        }
    }

    fn check(&self, to: NodeId) -> Result<(), TransferError> {
        let refused = |text: String| Err(TransferError::Refused(text));
        let metrics = now(&self.raft.metrics());
        if metrics.state != ServerState::Leader {
            let seen = now(&self.raft.server_metrics());
            let leader = member_of(&seen).map(|(leader, _)| leader);
            return Err(TransferError::NotLeader { leader });
        }
        if to == self.shared.node_id() {
            return refused(format!("node {to} leads already"));
        }
        let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
        if voters.len() < 2 {
            return refused("there is no other voter".to_owned());
        }
        if !voters.contains(&to) {
            return refused(format!("node {to} has no vote"));
        }
        Ok(())
    }

    async fn hand_over(&self, to: NodeId) -> Result<(Member, u64), TransferError> {
        self.wait_until_matched(to).await?;
        let vote = now(&self.raft.server_metrics()).vote;
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|e| TransferError::Failed(e.to_string()))?;
        if let Some(winner) = self.deposed(vote, self.election / 2).await {
            return Ok(winner);
        }
        // This replica can't go on: whoever lives among the followers has to.
        if let Some(winner) = self.rouse_followers(vote, to).await {
            return Ok(winner);
        }
        self.deposed(vote, self.election * 10)
            .await
            .ok_or_else(|| TransferError::Failed("nobody took over".to_owned()))
    }

    /// Waits (writes are held meanwhile) until the target is in touch and holds all that is flushed.
    async fn wait_until_matched(&self, to: NodeId) -> Result<(), TransferError> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let cause = match self.behind(to) {
                None => return Ok(()),
                Some(cause) => cause,
            };
            if Instant::now() > deadline {
                return Err(TransferError::Refused(format!("node {to} {cause}")));
            }
            sleep(STEP).await;
        }
    }

    fn behind(&self, to: NodeId) -> Option<String> {
        let metrics = now(&self.raft.metrics());
        let heard = metrics.heartbeat.as_ref().and_then(|h| *h.get(&to)?);
        if heard.is_none_or(|at| at.elapsed() > self.election) {
            return Some("can't be reached".to_owned());
        }
        let matched = metrics.replication.as_ref().and_then(|r| *r.get(&to)?);
        let matched = matched.map(|id| id.index);
        (matched < metrics.last_log_index).then(|| {
            format!(
                "has entries up to {matched:?} of {:?}",
                metrics.last_log_index
            )
        })
    }

    /// Waits until another node leads, and until this replica has published that.
    async fn deposed(&self, vote: Vote, within: Duration) -> Option<(Member, u64)> {
        let own = self.shared.node_id();
        let mut metrics = self.raft.server_metrics();
        let changed = timeout(within, async {
            loop {
                let seen = metrics.borrow_and_update().clone();
                let winner = member_of(&seen);
                if let Some((leader, term)) = winner.filter(|(leader, _)| leader.node_id != own) {
                    return Some((leader, term));
                }
                // Won back by this replica: in a later term, it may lead again.
                if seen.vote != vote && seen.state == ServerState::Leader {
                    return member_of(&seen);
                }
                metrics.changed().await.ok()?;
            }
        });
        let winner = changed.await.ok().flatten()?;
        let mut leadership = self.leadership.subscribe();
        let _published = timeout(within, leadership.wait_for(|l| l.reign().is_none())).await;
        Some(winner)
    }

    /// Tells one follower after the other to stand, the longest log first and the one that failed last.
    async fn rouse_followers(&self, vote: Vote, failed: NodeId) -> Option<(Member, u64)> {
        let metrics = now(&self.raft.metrics());
        let matched = |id: &NodeId| metrics.replication.as_ref().and_then(|r| *r.get(id)?);
        let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
        let mut others: Vec<(&NodeId, &Node)> = metrics
            .membership_config
            .nodes()
            .filter(|(id, _)| **id != self.shared.node_id() && voters.contains(id))
            .collect();
        others.sort_by_key(|(id, _)| (**id == failed, std::cmp::Reverse(matched(id))));
        for (node_id, node) in others {
            match self.tell(*node_id, node, vote).await {
                Ok(()) => {
                    let winner = self.deposed(vote, self.election / 2).await;
                    if winner.is_some() {
                        return winner;
                    }
                }
                Err(error) => tracing::warn!(node_id, %error, "a follower was not roused"),
            }
        }
        None
    }

    async fn tell(&self, node_id: NodeId, node: &Node, vote: Vote) -> Result<(), CallError> {
        let link = self.peers.link(node_id, node)?;
        let request: TransferLeaderRequest<TypeConfig> =
            TransferLeaderRequest::new(vote, node_id, None);
        let deadline = self.peers.deadlines().transfer;
        link.call(deadline, |mut client, caller| {
            let message = wire::transfer_to(caller, &request);
            async move { client.transfer_leader(message).await }
        })
        .await
        .map(drop)
    }
}

//! Planned handover: only to a reachable voter that holds everything, with writes waiting meanwhile.
//!
//! openraft's leader refuses writes and sends no heartbeats once a transfer has begun, and nothing takes
//! that back. So the target is checked before, and if it doesn't take over, a live follower is told to.
//!
//! A handover runs in a task of its own: whoever asked for it may go away, and it ends nevertheless. One at a
//! time, and whoever asks for the same meanwhile gets the same answer (`turn.rs`).

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::ServerState;
use openraft::async_runtime::instant::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::error::TransferError;
use crate::leadership::Leadership;
use crate::link::CallError;
use crate::network::Peers;
use crate::raft::{RaftHandle, member_of, now};
use crate::shared::Shared;
use crate::turn::{Ended, Entry, Gate, Place, end_of};
use crate::types::{Member, Node, NodeId, TypeConfig, Vote};
use crate::wire::{self, proto};

/// How long the target may need to be in touch, and then, while writes wait, to hold everything.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How long the target has to show that it is there, if an election takes less.
const REACH_MIN: Duration = Duration::from_millis(500);
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

/// Who is to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// This one and no other.
    Node(NodeId),
    /// Whoever can, the one that holds most first.
    Anybody,
}

/// Another voter, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Follower {
    node_id: NodeId,
    matched: Option<u64>,
    /// How long ago it answered anything, if it did.
    heard: Option<Duration>,
}

/// Those heard from within that time, the longest log first.
fn successors(followers: &[Follower], within: Duration) -> Vec<NodeId> {
    let lately = |follower: &&Follower| follower.heard.is_some_and(|ago| ago <= within);
    let mut heard: Vec<&Follower> = followers.iter().filter(lately).collect();
    heard.sort_by_key(|follower| Reverse((follower.matched, follower.node_id)));
    heard.into_iter().map(|follower| follower.node_id).collect()
}

/// All of them, the longest log first and the one that failed last.
fn rousable(followers: &[Follower], failed: NodeId) -> Vec<NodeId> {
    let mut all: Vec<&Follower> = followers.iter().collect();
    all.sort_by_key(|follower| (follower.node_id == failed, Reverse(follower.matched)));
    all.into_iter().map(|follower| follower.node_id).collect()
}

/// Hands leadership over, one handover at a time.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    raft: RaftHandle,
    shared: Arc<Shared>,
    peers: Peers,
    leadership: Arc<watch::Sender<Leadership>>,
    place: Place,
    gate: Gate,
    /// Raft's own: a handover goes on when its caller doesn't.
    runtime: Handle,
    election: Duration,
}

impl Transfer {
    /// `election`: the longest election timeout. Must be called on Raft's runtime.
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
            place: Place::default(),
            gate: Gate::default(),
            runtime: Handle::current(),
            election,
        }
    }

    /// Returns at once, or when the handover under way has ended (or took too long).
    pub(crate) async fn settled(&self) {
        self.gate.settled(SETTLE).await;
    }

    /// Hands over and waits until somebody else leads. Dropping the wait changes nothing.
    pub(crate) async fn run(&self, to: To) -> Ended {
        let ended = match self.place.enter(to)? {
            Entry::Joined(ended) => ended,
            Entry::Begun(turn) => {
                let ended = turn.watch();
                let transfer = self.clone();
                self.runtime.spawn(async move {
                    let ended = transfer.carry_out(to).await;
                    turn.end(ended);
                });
                ended
            }
        };
        end_of(ended).await
    }

    /// Has any live follower take over at once, though this replica can't bring it up to date: for one
    /// whose own writes hang. Whoever holds most is asked first. Nothing to do unless it leads.
    pub(crate) async fn give_away(&self) {
        let begun = Instant::now();
        let metrics = now(&self.raft.metrics());
        let alone = metrics.membership_config.voter_ids().count() < 2;
        if alone || metrics.state != ServerState::Leader {
            return;
        }
        let Ok(Entry::Begun(turn)) = self.place.enter(To::Anybody) else {
            return;
        };
        let held = self.gate.hold();
        let vote = now(&self.raft.server_metrics()).vote;
        let winner = self.rouse_followers(vote, self.shared.node_id()).await;
        drop(held);
        match &winner {
            Some((leader, term)) => tracing::info!(leader = %leader.node.name, term, "given away"),
            None => tracing::warn!("nobody took over"),
        }
        let winner = winner.ok_or_else(nobody);
        turn.end(winner.and_then(|winner| self.transferred(To::Anybody, winner, begun)));
    }

    /// The voters that could take over now, the best first. Empty unless this replica leads.
    pub(crate) fn successors(&self) -> Vec<NodeId> {
        successors(&self.followers(), self.election)
    }

    async fn carry_out(&self, to: To) -> Ended {
        let begun = Instant::now();
        self.check(to)?;
        let winner = match to {
            To::Node(node_id) => self.hand_over(node_id).await?,
            To::Anybody => self.hand_over_to_anybody().await?,
        };
        self.transferred(to, winner, begun)
    }

    /// What it came to: also this replica may have been elected again.
    fn transferred(&self, to: To, (leader, term): (Member, u64), begun: Instant) -> Ended {
        let from = self.shared.node_id();
        let wanted = match to {
            To::Node(to) => leader.node_id == to,
            To::Anybody => leader.node_id != from,
        };
        if !wanted {
            let name = &leader.node.name;
            let text = format!("{name} leads instead; see regent leader show");
            return Err(TransferError::Failed(text));
        }
        Ok(Transferred {
            from,
            to: leader.node_id,
            term,
            took: begun.elapsed(),
        })
    }

    fn check(&self, to: To) -> Result<(), TransferError> {
        let refused = |text: String| Err(TransferError::Refused(text));
        let metrics = now(&self.raft.metrics());
        if metrics.state != ServerState::Leader {
            let seen = now(&self.raft.server_metrics());
            let leader = member_of(&seen).map(|(leader, _)| leader);
            return Err(TransferError::NotLeader { leader });
        }
        let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
        if voters.len() < 2 {
            return refused("there is no other voter".to_owned());
        }
        match to {
            To::Node(to) if to == self.shared.node_id() => {
                refused(format!("node {to} leads already"))
            }
            To::Node(to) if !voters.contains(&to) => refused(format!("node {to} has no vote")),
            To::Node(_) | To::Anybody => Ok(()),
        }
    }

    /// Tries each voter that is heard from, once, until one takes over.
    async fn hand_over_to_anybody(&self) -> Result<(Member, u64), TransferError> {
        let deadline = Instant::now() + CATCH_UP;
        let mut refused: Vec<(NodeId, String)> = Vec::new();
        loop {
            let untried = |id: &NodeId| refused.iter().all(|(tried, _)| tried != id);
            match self.successors().into_iter().find(untried) {
                Some(to) => match self.hand_over(to).await {
                    Err(TransferError::Refused(why)) => refused.push((to, why)),
                    ended => return ended,
                },
                None if refused.is_empty() && Instant::now() < deadline => sleep(STEP).await,
                None => break,
            }
        }
        let causes: Vec<String> = refused.into_iter().map(|(_, why)| why).collect();
        Err(TransferError::Refused(match causes.is_empty() {
            true => format!(
                "no other voter was heard from within {:?}; start one (regent leader show)",
                self.election
            ),
            false => causes.join("; "),
        }))
    }

    async fn hand_over(&self, to: NodeId) -> Result<(Member, u64), TransferError> {
        self.reach(to).await?;
        let _held = self.gate.hold();
        self.wait_while(|| self.behind(to)).await?;
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
        let winner = self.deposed(vote, self.election * 10).await;
        winner.ok_or_else(nobody)
    }

    /// Has the target show that it is there and in touch, before any write waits for it.
    async fn reach(&self, to: NodeId) -> Result<(), TransferError> {
        self.knock(to).await.map_err(|cause| {
            TransferError::Refused(format!(
                "node {to} can't be reached ({cause}); start it, look at its host and network, or let another one \
                 lead: regent leader transfer"
            ))
        })?;
        self.wait_while(|| self.silent(to)).await
    }

    /// One question that its process answers from memory.
    async fn knock(&self, to: NodeId) -> Result<(), CallError> {
        let metrics = now(&self.raft.metrics());
        let node = metrics.membership_config.membership().get_node(&to);
        let node = node.ok_or_else(|| CallError::Failed("it is no member".to_owned()))?;
        let limit = self.election.max(REACH_MIN);
        self.peers
            .link(to, node)?
            .call(limit, |mut client, _| async move {
                client.probe(proto::ProbeRequest {}).await
            })
            .await
            .map(drop)
    }

    /// Waits until nothing stands in the way of that node any more.
    async fn wait_while(
        &self,
        in_the_way: impl Fn() -> Option<String>,
    ) -> Result<(), TransferError> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let cause = match in_the_way() {
                None => return Ok(()),
                Some(cause) => cause,
            };
            if Instant::now() > deadline {
                return Err(TransferError::Refused(cause));
            }
            sleep(STEP).await;
        }
    }

    fn followers(&self) -> Vec<Follower> {
        let metrics = now(&self.raft.metrics());
        let heard = |id: &NodeId| metrics.heartbeat.as_ref().and_then(|h| *h.get(id)?);
        let matched = |id: &NodeId| metrics.replication.as_ref().and_then(|r| *r.get(id)?);
        let voters = metrics.membership_config.voter_ids();
        let others = voters.filter(|id| *id != self.shared.node_id());
        others
            .map(|node_id| Follower {
                node_id,
                matched: matched(&node_id).map(|id| id.index),
                heard: heard(&node_id).map(|at| at.elapsed()),
            })
            .collect()
    }

    fn silent(&self, to: NodeId) -> Option<String> {
        let lately = self.successors().contains(&to);
        (!lately).then(|| {
            format!(
                "node {to} has acknowledged nothing for {:?}; look at its log, or let another one lead: regent \
                 leader transfer",
                self.election
            )
        })
    }

    fn behind(&self, to: NodeId) -> Option<String> {
        if let Some(silent) = self.silent(to) {
            return Some(silent);
        }
        let followers = self.followers();
        let matched = followers.iter().find(|one| one.node_id == to)?.matched;
        let last = now(&self.raft.metrics()).last_log_index;
        (matched < last).then(|| {
            let text = |index: Option<u64>| index.map_or("none".to_owned(), |i| i.to_string());
            let (has, of) = (text(matched), text(last));
            format!("node {to} has entries up to {has} of {of}; repeat it once it has caught up (regent leader show)")
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
        let membership = metrics.membership_config.membership();
        for node_id in rousable(&self.followers(), failed) {
            let Some(node) = membership.get_node(&node_id) else {
                continue;
            };
            match self.tell(node_id, node, vote).await {
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

fn nobody() -> TransferError {
    TransferError::Failed("nobody took over; see who leads: regent leader show".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(300);

    fn follower(node_id: NodeId, matched: u64, heard_ms: Option<u64>) -> Follower {
        Follower {
            node_id,
            matched: Some(matched),
            heard: heard_ms.map(Duration::from_millis),
        }
    }

    #[test]
    fn only_who_was_heard_lately_can_take_over_and_the_longest_log_is_first() {
        let followers = [
            follower(2, 9, Some(10)),
            follower(3, 10, Some(5_000)),
            follower(4, 10, Some(300)),
            follower(5, 10, None),
        ];
        assert_eq!(successors(&followers, WITHIN), [4, 2]);
        assert!(successors(&followers[1..2], WITHIN).is_empty());
    }

    #[test]
    fn after_a_failed_transfer_the_others_are_roused_before_the_one_that_failed() {
        let followers = [
            follower(2, 8, None),
            follower(3, 10, Some(1)),
            follower(4, 9, Some(9_000)),
        ];
        assert_eq!(rousable(&followers, 3), [4, 2, 3]);
        assert_eq!(rousable(&followers, 1), [3, 4, 2]);
    }
}

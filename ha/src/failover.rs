//! Fast failover: acting on hard signs of the leader's death instead of waiting for the timer.
//!
//! A hard sign is a broken stream *and* a refused reconnect; a missed heartbeat never is. Whoever has one
//! asks the other voters. If a majority (itself included) has the sign too, exactly one of them stands for
//! election at once: the one with the longest log. Everything here is a shortcut; the timer stays.
//! Noticing is `watching.rs`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use openraft::raft::TransferLeaderRequest;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::agreement::Agreement;
use crate::clocks::Clocks;
use crate::log::RaftLog;
use crate::network::Peers;
use crate::raft::{RaftHandle, now};
use crate::shared::Shared;
use crate::tally::{Counters, Deed, FailoverCounts};
use crate::types::{LogId, Node, NodeId, Vote};
use crate::wire::{self, proto};

/// Times that a replica ranks and maybe stands before it leaves the matter to the timer.
const ROUNDS: u32 = 10;
/// How long another voter may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_millis(40);
/// How long an asked voter waits for its own sign, which may come a moment later.
const SIGN_PATIENCE: Duration = Duration::from_millis(15);
/// How long standing for election may take to be accepted by one's own Raft.
const FIRE_TIMEOUT: Duration = Duration::from_millis(10);
/// How long to wait for a leader after standing, or after leaving it to a longer log.
const LEADER_PATIENCE: Duration = Duration::from_millis(30);
/// Two replicas with the same pauses would stand against each other for ever.
const JITTER_MS_MAX: u64 = 20;

/// What a replica knows of a peer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A stream to it is open.
    Alive,
    /// No stream, and no proof of anything.
    Unknown,
    /// The stream broke and reconnecting was refused.
    Gone,
}

/// What each replica knows of its peers' lives.
pub(crate) type Signs = Arc<watch::Sender<BTreeMap<NodeId, Sign>>>;

/// When each voter last said something over its stream; absent while no stream is open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contacts(Arc<Mutex<BTreeMap<NodeId, Instant>>>);

impl Contacts {
    fn change(&self, change: impl FnOnce(&mut BTreeMap<NodeId, Instant>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It spoke just now.
    pub(crate) fn heard(&self, node_id: NodeId) {
        self.change(|contacts| {
            contacts.insert(node_id, Instant::now());
        });
    }

    /// Its stream ended.
    pub(crate) fn lost(&self, node_id: NodeId) {
        self.change(|contacts| {
            contacts.remove(&node_id);
        });
    }

    /// How long ago it spoke, if its stream is open.
    pub(crate) fn silence(&self, node_id: NodeId) -> Option<Duration> {
        let contacts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.get(&node_id).map(Instant::elapsed)
    }
}

/// A voter that has the hard sign, and how long its log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Witness {
    last: Option<LogId>,
    node_id: NodeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A majority knows, and this replica has the longest log.
    Stand,
    /// A majority knows, and another one has it.
    LeaveTo(NodeId),
    /// Too few know.
    TooFew,
}

/// Who stands, given the voter sets (two while they change) and who has the sign.
fn judge(own: NodeId, voters: &[BTreeSet<NodeId>], witnesses: &[Witness]) -> Verdict {
    let majority_of = |set: &BTreeSet<NodeId>| {
        let knowing = witnesses.iter().filter(|w| set.contains(&w.node_id));
        knowing.count() * 2 > set.len()
    };
    if voters.is_empty() || !voters.iter().all(majority_of) {
        return Verdict::TooFew;
    }
    let first = witnesses
        .iter()
        .max_by_key(|witness| (witness.last, witness.node_id));
    match first {
        Some(witness) if witness.node_id == own => Verdict::Stand,
        Some(witness) => Verdict::LeaveTo(witness.node_id),
        None => Verdict::TooFew,
    }
}

/// How long to wait for a leader this time.
fn patience() -> Duration {
    LEADER_PATIENCE + Duration::from_millis(rand::random_range(0..=JITTER_MS_MAX))
}

/// What came of one death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Won,
    Led(NodeId),
    Nobody,
}

/// Acts on hard signs, and answers others that ask for them.
#[derive(Clone, Debug)]
pub(crate) struct Vigil {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: RaftHandle,
    pub(crate) peers: Peers,
    pub(crate) log: RaftLog,
    pub(crate) signs: Signs,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) contacts: Contacts,
    counters: Arc<Counters>,
    enabled: bool,
}

impl Vigil {
    /// Knows nothing of anybody yet. Unless `enabled` it only answers others.
    pub(crate) fn new(
        shared: Arc<Shared>,
        raft: RaftHandle,
        peers: Peers,
        log: RaftLog,
        agreement: Arc<Agreement>,
        counters: Arc<Counters>,
        enabled: bool,
    ) -> Self {
        Self {
            shared,
            raft,
            peers,
            log,
            signs: Arc::new(watch::Sender::new(BTreeMap::new())),
            agreement,
            clocks: Arc::default(),
            contacts: Contacts::default(),
            counters,
            enabled,
        }
    }

    /// How often it acted.
    pub(crate) fn counts(&self) -> FailoverCounts {
        self.counters.total()
    }

    fn sign(&self, node_id: NodeId) -> Sign {
        let signs = self.signs.borrow();
        signs.get(&node_id).copied().unwrap_or(Sign::Unknown)
    }

    /// Answers another voter's question whether the leader of `vote` is gone.
    pub(crate) async fn asked(&self, vote: Vote) -> proto::LeaderGoneReply {
        let dead = vote.leader_id.node_id;
        if !self.obeys_somebody_else(vote) {
            let mut signs = self.signs.subscribe();
            let gone = signs.wait_for(|signs| signs.get(&dead) == Some(&Sign::Gone));
            // Waiting in vain only means that the sign isn't there.
            let _waited = timeout(SIGN_PATIENCE, gone).await.is_ok();
        }
        let gone = self.sign(dead) == Sign::Gone && !self.obeys_somebody_else(vote);
        let last = self.log.last().ok().flatten();
        proto::LeaderGoneReply {
            gone,
            last_log_id: last.as_ref().map(wire::log_id_to),
            stood: self.counters.stood(vote.leader_id),
        }
    }

    /// True if a leader other than that of `vote` was elected as far as this replica knows.
    fn obeys_somebody_else(&self, vote: Vote) -> bool {
        let seen = now(&self.raft.server_metrics()).vote;
        seen.committed && seen.leader_id != vote.leader_id
    }

    /// Called when a peer showed the hard sign. Does nothing unless it was the leader.
    pub(crate) async fn gone(&self, dead: NodeId) {
        let seen = now(&self.raft.server_metrics());
        let led = seen.vote.committed && seen.vote.leader_id.node_id == dead;
        let own = self.shared.node_id();
        let votes = seen.membership_config.voter_ids().any(|id| id == own);
        if !self.enabled || !led || !votes || !self.shared.takes_part() {
            return;
        }
        let begun = Instant::now();
        self.shared.suspect_leader();
        let dead_leader = seen.vote.leader_id;
        self.counters.note(dead_leader, Deed::Tried);
        let (stood, end) = self.act(seen.vote).await;
        match (stood, end) {
            (true, End::Won) => {}
            (true, _) => self.counters.note(dead_leader, Deed::Lost),
            (false, _) => self.counters.note(dead_leader, Deed::NotNeeded),
        }
        let took = begun.elapsed();
        tracing::info!(node_id = own, dead, stood, ?end, ?took, "fast failover");
    }

    async fn act(&self, dead_vote: Vote) -> (bool, End) {
        let mut stood = false;
        for _ in 0..ROUNDS {
            if let Some(end) = self.successor(dead_vote) {
                return (stood, end);
            }
            match self.rank(dead_vote).await {
                Verdict::Stand => {
                    stood |= self.stand(dead_vote).await;
                }
                Verdict::LeaveTo(_) | Verdict::TooFew => {}
            }
            if let Some(end) = self.wait_for_successor(dead_vote).await {
                return (stood, end);
            }
        }
        (stood, End::Nobody)
    }

    /// Who leads now, if it isn't the dead one.
    fn successor(&self, dead_vote: Vote) -> Option<End> {
        let seen = now(&self.raft.server_metrics()).vote;
        if !seen.committed || seen.leader_id == dead_vote.leader_id {
            return None;
        }
        match seen.leader_id.node_id == self.shared.node_id() {
            true => Some(End::Won),
            false => Some(End::Led(seen.leader_id.node_id)),
        }
    }

    async fn wait_for_successor(&self, dead_vote: Vote) -> Option<End> {
        let deadline = Instant::now() + patience();
        loop {
            let end = self.successor(dead_vote);
            if end.is_some() || Instant::now() >= deadline {
                return end;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn rank(&self, dead_vote: Vote) -> Verdict {
        let own = self.shared.node_id();
        let dead = dead_vote.leader_id.node_id;
        let seen = now(&self.raft.server_metrics());
        let membership = seen.membership_config.membership();
        if self.sign(dead) != Sign::Gone {
            return Verdict::TooFew;
        }
        let others: Vec<(NodeId, Node)> = membership
            .nodes()
            .filter(|(id, _)| **id != own && **id != dead)
            .map(|(id, node)| (*id, node.clone()))
            .collect();
        let asked = others
            .iter()
            .map(|(id, node)| self.ask(*id, node, dead_vote));
        let mut witnesses: Vec<Witness> = join_all(asked).await.into_iter().flatten().collect();
        witnesses.push(Witness {
            last: self.log.last().ok().flatten(),
            node_id: own,
        });
        judge(own, membership.get_joint_config(), &witnesses)
    }

    async fn ask(&self, node_id: NodeId, node: &Node, dead_vote: Vote) -> Option<Witness> {
        let link = self.peers.link(node_id, node).ok()?;
        let reply = link
            .call(ASK_TIMEOUT, |mut client, caller| {
                let request = proto::LeaderGoneRequest {
                    caller: Some(caller),
                    vote: Some(wire::vote_to(&dead_vote)),
                };
                async move { client.leader_gone(request).await }
            })
            .await
            .ok()?;
        let last = wire::log_id_from(reply.last_log_id.as_ref()).ok()?;
        if reply.gone {
            let dead = dead_vote.leader_id;
            self.counters.confirmed(dead, node_id, reply.stood);
        }
        reply.gone.then_some(Witness { last, node_id })
    }

    /// Stands for election past the voters' leases, as a successor named by the dead leader would.
    async fn stand(&self, dead_vote: Vote) -> bool {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref()).await;
        let Ok(vote) = vote else { return false };
        self.shared.set_cause("failover");
        self.counters.note(dead_vote.leader_id, Deed::Fired);
        // No log id: with one, openraft waits for a flush under this very vote.
        let request = TransferLeaderRequest::new(vote, self.shared.node_id(), None);
        let fired = timeout(FIRE_TIMEOUT, self.raft.handle_transfer_leader(request)).await;
        matches!(fired, Ok(Ok(Ok(()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderId;
    use openraft::vote::RaftLeaderId;

    fn witness(node_id: NodeId, index: u64) -> Witness {
        let last = Some(LogId::new(LeaderId::new(1, 1), index));
        Witness { last, node_id }
    }

    fn three() -> Vec<BTreeSet<NodeId>> {
        vec![BTreeSet::from([1, 2, 3])]
    }

    #[test]
    fn only_the_longest_log_stands_and_ties_go_to_the_higher_number() {
        let witnesses = [witness(2, 10), witness(3, 9)];
        assert_eq!(judge(2, &three(), &witnesses), Verdict::Stand);
        assert_eq!(judge(3, &three(), &witnesses), Verdict::LeaveTo(2));
        let tied = [witness(2, 10), witness(3, 10)];
        assert_eq!(judge(2, &three(), &tied), Verdict::LeaveTo(3));
        assert_eq!(judge(3, &three(), &tied), Verdict::Stand);
    }

    #[test]
    fn two_that_stood_at_once_do_not_go_on_in_step() {
        let pauses: BTreeSet<Duration> = (0..200).map(|_| patience()).collect();
        assert!(pauses.len() > 5, "{pauses:?}");
        let longest = LEADER_PATIENCE + Duration::from_millis(JITTER_MS_MAX);
        assert!(
            pauses
                .iter()
                .all(|pause| (LEADER_PATIENCE..=longest).contains(pause))
        );
    }

    #[test]
    fn one_sign_of_three_is_too_few_and_strangers_dont_count() {
        assert_eq!(judge(2, &three(), &[witness(2, 10)]), Verdict::TooFew);
        let with_learner = [witness(2, 10), witness(9, 10)];
        assert_eq!(judge(2, &three(), &with_learner), Verdict::TooFew);
        assert_eq!(judge(2, &[], &with_learner), Verdict::TooFew);
    }

    #[test]
    fn while_voters_change_both_sets_must_know() {
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 4, 5])];
        let old_only = [witness(2, 10), witness(3, 10)];
        assert_eq!(judge(3, &joint, &old_only), Verdict::TooFew);
        let both = [witness(2, 9), witness(3, 9), witness(4, 9), witness(5, 10)];
        assert_eq!(judge(5, &joint, &both), Verdict::Stand);
    }
}

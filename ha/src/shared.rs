//! What all parts of a replica share: who it is, whom it remembers, whether it takes part.
//!
//! Locks here are held for a few instructions only and never across an await.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use regent_security::Dialer;
use regent_state::ids::ClusterId;
use tokio::sync::watch;

use crate::link::CallError;
use crate::memory::{Memory, Reached, Refusal, Speaker};
use crate::takeover::Takeover;
use crate::types::{LeaderId, LogId, Member, Node, NodeId, Vote};
use crate::wire::{self, proto};

/// Whether a replica takes part in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its data directory is empty: it waits for bootstrap or to be added.
    Empty,
    /// It belongs to a cluster.
    Member,
    /// It must not take part; the text names cause and remedy.
    Refused(String),
}

/// The cluster that a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Belonging {
    pub(crate) cluster_id: ClusterId,
    pub(crate) generation: u64,
    /// The members that bootstrap named; the log's membership takes over once there is one.
    pub(crate) members: Vec<Member>,
}

#[derive(Debug, Default)]
struct Inner {
    belonging: Option<Belonging>,
    memory: Option<Memory>,
    removed: Vec<NodeId>,
    cause: Option<(String, Instant)>,
    heard: Option<(NodeId, Instant)>,
    suspected: Option<SystemTime>,
    takeover: Option<Takeover>,
    term: u64,
    elections: u64,
}

type ReachedSource = Box<dyn Fn() -> Reached + Send + Sync>;

/// Shared between the peer service, the network, leadership and the public handle.
pub(crate) struct Shared {
    node_id: NodeId,
    node: Node,
    incarnation: u64,
    nonce: u64,
    reached: ReachedSource,
    dialer: Dialer,
    inner: Mutex<Inner>,
    phase: watch::Sender<Phase>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// `reached` answers what this node has on disk at the moment of the call; `dialer` reaches others.
    pub(crate) fn new(
        node_id: NodeId,
        node: Node,
        incarnation: u64,
        reached: ReachedSource,
        dialer: Dialer,
    ) -> Self {
        Self {
            node_id,
            node,
            incarnation,
            nonce: rand::random(),
            reached,
            dialer,
            inner: Mutex::default(),
            phase: watch::Sender::new(Phase::Empty),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This replica's number.
    pub(crate) fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Connections to other replicas.
    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// How often a process was started on the data directory.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// This replica's name and addresses as configured.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The cluster that the data directory belongs to, if any.
    pub(crate) fn belonging(&self) -> Option<Belonging> {
        self.lock().belonging.clone()
    }

    /// From now on this replica belongs to a cluster.
    pub(crate) fn belong(&self, belonging: Belonging) {
        let mut inner = self.lock();
        inner.memory = Some(Memory::new(
            belonging.cluster_id.to_string(),
            belonging.generation,
        ));
        inner.belonging = Some(belonging);
        drop(inner);
        self.phase.send_if_modified(|phase| {
            let joins = *phase == Phase::Empty;
            if joins {
                *phase = Phase::Member;
            }
            joins
        });
    }

    /// Whether this replica takes part; changes are watched.
    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Stops taking part, for good. The first reason stays.
    pub(crate) fn refuse(&self, reason: &str) {
        self.phase.send_if_modified(|phase| {
            if matches!(phase, Phase::Refused(_)) {
                return false;
            }
            tracing::error!(node_id = self.node_id, "{reason}");
            *phase = Phase::Refused(reason.to_owned());
            true
        });
    }

    /// True while messages of Raft may come in and go out.
    pub(crate) fn takes_part(&self) -> bool {
        *self.phase.borrow() == Phase::Member
    }

    /// Numbers that were removed from the cluster, as of the applied state.
    pub(crate) fn set_removed(&self, removed: Vec<NodeId>) {
        self.lock().removed = removed;
    }

    /// The identity that goes with every message.
    pub(crate) fn caller(&self) -> Result<proto::Caller, CallError> {
        if !self.takes_part() {
            let text = "this replica takes no part in a cluster".to_owned();
            return Err(CallError::Refused(text));
        }
        let belonging = self.belonging();
        let belonging = belonging.ok_or_else(|| {
            CallError::Refused("this replica belongs to no cluster yet".to_owned())
        })?;
        Ok(proto::Caller {
            cluster_id: belonging.cluster_id.to_string(),
            generation: belonging.generation,
            node_id: self.node_id,
            incarnation: self.incarnation,
            nonce: self.nonce,
        })
    }

    /// How far this node's disk is, for an introduction.
    pub(crate) fn progress(&self) -> proto::Progress {
        let reached = (self.reached)();
        proto::Progress {
            vote: reached.vote.map(|leader_id| {
                wire::vote_to(&Vote {
                    leader_id,
                    committed: false,
                })
            }),
            last_flushed: reached.last.as_ref().map(wire::log_id_to),
        }
    }

    /// Takes a peer's introduction; answers its number.
    pub(crate) fn take_introduction(
        &self,
        caller: Option<&proto::Caller>,
        progress: Option<&proto::Progress>,
    ) -> Result<NodeId, Refusal> {
        let speaker = speaker(caller);
        let claim = claim(progress);
        let mut inner = self.lock();
        if inner.removed.contains(&speaker.node_id) {
            return Err(Refusal::Removed {
                node: speaker.node_id,
            });
        }
        let memory = inner.memory.as_mut().ok_or(Refusal::NotIntroduced)?;
        memory.introduce(&speaker, claim)?;
        Ok(speaker.node_id)
    }

    /// Checks who sends a message; answers its number.
    pub(crate) fn admit(&self, caller: Option<&proto::Caller>) -> Result<NodeId, Refusal> {
        let speaker = speaker(caller);
        let inner = self.lock();
        if inner.removed.contains(&speaker.node_id) {
            return Err(Refusal::Removed {
                node: speaker.node_id,
            });
        }
        let memory = inner.memory.as_ref().ok_or(Refusal::NotIntroduced)?;
        memory.check(&speaker)?;
        Ok(speaker.node_id)
    }

    /// Notes that a peer has voted for `vote`, durably.
    pub(crate) fn saw_vote(&self, node: NodeId, vote: LeaderId) {
        if let Some(memory) = &mut self.lock().memory {
            memory.saw_vote(node, vote);
        }
    }

    /// Notes that a peer has `last` on disk, acknowledged to the leader `vote`.
    pub(crate) fn saw_ack(&self, node: NodeId, vote: LeaderId, last: LogId) {
        if let Some(memory) = &mut self.lock().memory {
            memory.saw_ack(node, vote, last);
        }
    }

    /// A peer won't have this replica any more and names the remedy: it must not go on here.
    pub(crate) fn expelled_by(&self, peer: NodeId, text: &str) {
        self.refuse(&format!("refused by node {peer}: {text}"));
    }

    /// Notes that the leader `node` spoke just now.
    pub(crate) fn hear_leader(&self, node: NodeId) {
        let mut inner = self.lock();
        inner.heard = Some((node, Instant::now()));
        inner.suspected = None;
    }

    /// Notes that this replica does something about the leader's silence or death. The first time counts,
    /// until a leader is heard again.
    pub(crate) fn suspect_leader(&self) {
        self.lock().suspected.get_or_insert_with(SystemTime::now);
    }

    /// Since when the leader has been suspected, once.
    pub(crate) fn take_suspicion(&self) -> Option<SystemTime> {
        self.lock().suspected.take()
    }

    /// Remembers the moments of a takeover by this replica.
    pub(crate) fn set_takeover(&self, takeover: Takeover) {
        self.lock().takeover = Some(takeover);
    }

    /// The moments of this replica's latest takeover.
    pub(crate) fn takeover(&self) -> Option<Takeover> {
        self.lock().takeover
    }

    /// The leader that spoke last, and how long ago that was.
    pub(crate) fn heard(&self) -> Option<(NodeId, Duration)> {
        let (node, at) = self.lock().heard?;
        Some((node, at.elapsed()))
    }

    /// Notes the present term; each new one is an election.
    pub(crate) fn saw_term(&self, term: u64) {
        let mut inner = self.lock();
        if term > inner.term {
            inner.elections += u64::from(inner.term > 0);
            inner.term = term;
        }
    }

    /// Terms begun since this process started.
    pub(crate) fn elections(&self) -> u64 {
        self.lock().elections
    }

    /// Remembers why the next election is being won, for the timeline.
    pub(crate) fn set_cause(&self, cause: &str) {
        self.lock().cause = Some((cause.to_owned(), Instant::now()));
    }

    /// The reason given within the last `within`, once.
    pub(crate) fn take_cause(&self, within: Duration) -> Option<String> {
        let (cause, at) = self.lock().cause.take()?;
        (at.elapsed() <= within).then_some(cause)
    }
}

fn speaker(caller: Option<&proto::Caller>) -> Speaker {
    let caller = caller.cloned().unwrap_or_default();
    Speaker {
        cluster_id: caller.cluster_id,
        generation: caller.generation,
        node_id: caller.node_id,
        incarnation: caller.incarnation,
        nonce: caller.nonce,
    }
}

// What can't be understood claims nothing, which is then less than what was seen.
fn claim(progress: Option<&proto::Progress>) -> Reached {
    let Some(progress) = progress else {
        return Reached::default();
    };
    Reached {
        vote: wire::vote_opt_from(progress.vote.as_ref())
            .ok()
            .flatten()
            .map(|vote| vote.leader_id),
        last: wire::log_id_from(progress.last_flushed.as_ref())
            .ok()
            .flatten(),
    }
}

/// Reads a cluster id as spelled on the wire; empty means none.
pub(crate) fn cluster_id_from(text: &str) -> Option<ClusterId> {
    ClusterId::from_str(text).ok()
}

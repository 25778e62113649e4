//! What this process remembers of its peers, and whom it therefore refuses. Pure decisions.
//!
//! A data directory that was wiped or rolled back must not vote or acknowledge again under its old
//! number: entries that it once acknowledged would no longer be on a majority. So each process remembers
//! the highest incarnation of every peer and how far that peer's disk has been, and refuses one that
//! claims less. What no living process remembers can't be noticed.

use std::collections::BTreeMap;

use crate::types::{LeaderId, LogId, NodeId};

/// Who a process is: its data directory's identity, and a number drawn at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Speaker {
    /// The cluster that the data directory belongs to.
    pub cluster_id: String,
    /// The cluster's generation.
    pub generation: u64,
    /// The replica.
    pub node_id: NodeId,
    /// How often a process was started on this data directory.
    pub incarnation: u64,
    /// Tells two processes on copies of one directory apart.
    pub nonce: u64,
}

/// How far a node's disk is: the highest leader it voted for or follows, and its last durable entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Highest `(term, node)` voted for or accepted, durably.
    pub vote: Option<LeaderId>,
    /// Last durable entry.
    pub last: Option<LogId>,
}

/// Why a peer is not listened to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It has to introduce itself first (again, if one of the two processes is new).
    #[error("introduce yourself first")]
    NotIntroduced,
    /// It belongs to another cluster.
    #[error(
        "node {node} belongs to cluster {theirs}, this is cluster {ours}; \
         put its own data directory back; if that is lost, remove it (regent members remove {node}) and add a \
         replica with an empty directory under a new number (regent members add)"
    )]
    Foreign {
        /// The speaker.
        node: NodeId,
        /// Its cluster.
        theirs: String,
        /// This cluster.
        ours: String,
    },
    /// It belongs to another generation of this cluster.
    #[error(
        "node {node} is of generation {theirs}, this is generation {ours}: the cluster was recovered since; \
         stop it, empty its data directory, and add it under a new number: regent members add"
    )]
    Generation {
        /// The speaker.
        node: NodeId,
        /// Its generation.
        theirs: u64,
        /// This generation.
        ours: u64,
    },
    /// Its number was removed from the cluster.
    #[error(
        "node {node} was removed from this cluster and its number is never used again; \
         add the replica under a new number: regent members add"
    )]
    Removed {
        /// The speaker.
        node: NodeId,
    },
    /// It, or a copy of its directory, was seen later than this.
    #[error(
        "node {node} says incarnation {claimed}, but incarnation {seen} was seen already: its data directory \
         is an old copy or is in use twice; stop it, then: regent members remove {node}, empty its data \
         directory, and regent members add it under a new number"
    )]
    OldIncarnation {
        /// The speaker.
        node: NodeId,
        /// What it claims.
        claimed: u64,
        /// What was seen.
        seen: u64,
    },
    /// Its disk was further once.
    #[error(
        "node {node} has lost data: it claims {claimed}, but had {seen} on disk; stop it, then: regent members \
         remove {node}, empty its data directory, and regent members add it under a new number"
    )]
    LostData {
        /// The speaker.
        node: NodeId,
        /// What it claims.
        claimed: String,
        /// What was seen.
        seen: String,
    },
}

#[derive(Clone, Debug)]
struct Peer {
    incarnation: u64,
    nonce: u64,
    vote: Option<LeaderId>,
    // An acknowledged entry counts only while the vote it was acknowledged under is the peer's
    // newest: a later leader may rightly have cut it off.
    acked: Option<(LeaderId, LogId)>,
}

/// The memory of one process.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    cluster_id: String,
    generation: u64,
    peers: BTreeMap<NodeId, Peer>,
}

impl Memory {
    /// Remembers nobody yet.
    pub(crate) fn new(cluster_id: impl Into<String>, generation: u64) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            generation,
            peers: BTreeMap::new(),
        }
    }

    /// Takes (or refuses) an introduction: the speaker's identity and how far it says its disk is.
    pub(crate) fn introduce(&mut self, speaker: &Speaker, claim: Reached) -> Result<(), Refusal> {
        self.check_cluster(speaker)?;
        if let Some(peer) = self.peers.get(&speaker.node_id) {
            check_incarnation(peer, speaker)?;
            // A process can't lose its own data, but its claim may be older than its last answer.
            if !is_same_process(peer, speaker) {
                check_claim(peer, speaker.node_id, claim)?;
            }
        }
        let peer = self.peers.entry(speaker.node_id).or_insert(Peer {
            incarnation: speaker.incarnation,
            nonce: speaker.nonce,
            vote: None,
            acked: None,
        });
        peer.incarnation = speaker.incarnation;
        peer.nonce = speaker.nonce;
        peer.vote = peer.vote.max(claim.vote);
        Ok(())
    }

    /// Checks the speaker of one message against the introductions taken.
    pub(crate) fn check(&self, speaker: &Speaker) -> Result<(), Refusal> {
        self.check_cluster(speaker)?;
        match self.peers.get(&speaker.node_id) {
            Some(peer) if is_same_process(peer, speaker) => Ok(()),
            Some(peer) => check_incarnation(peer, speaker).and(Err(Refusal::NotIntroduced)),
            None => Err(Refusal::NotIntroduced),
        }
    }

    /// Notes that a peer has a vote for `vote` on disk.
    pub(crate) fn saw_vote(&mut self, node: NodeId, vote: LeaderId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.vote = peer.vote.max(Some(vote));
        }
    }

    /// Notes that a peer acknowledged `last` as durable to the leader `vote`.
    pub(crate) fn saw_ack(&mut self, node: NodeId, vote: LeaderId, last: LogId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.vote = peer.vote.max(Some(vote));
            peer.acked = peer.acked.max(Some((vote, last)));
        }
    }

    fn check_cluster(&self, speaker: &Speaker) -> Result<(), Refusal> {
        if speaker.cluster_id != self.cluster_id {
            return Err(Refusal::Foreign {
                node: speaker.node_id,
                theirs: speaker.cluster_id.clone(),
                ours: self.cluster_id.clone(),
            });
        }
        if speaker.generation != self.generation {
            return Err(Refusal::Generation {
                node: speaker.node_id,
                theirs: speaker.generation,
                ours: self.generation,
            });
        }
        Ok(())
    }
}

fn is_same_process(peer: &Peer, speaker: &Speaker) -> bool {
    peer.incarnation == speaker.incarnation && peer.nonce == speaker.nonce
}

fn check_incarnation(peer: &Peer, speaker: &Speaker) -> Result<(), Refusal> {
    let same_number_other_process =
        speaker.incarnation == peer.incarnation && speaker.nonce != peer.nonce;
    if speaker.incarnation < peer.incarnation || same_number_other_process {
        return Err(Refusal::OldIncarnation {
            node: speaker.node_id,
            claimed: speaker.incarnation,
            seen: peer.incarnation,
        });
    }
    Ok(())
}

fn check_claim(peer: &Peer, node: NodeId, claim: Reached) -> Result<(), Refusal> {
    let vote_lost = claim.vote < peer.vote;
    let entry_lost = peer
        .acked
        .is_some_and(|(vote, last)| claim.vote == Some(vote) && claim.last < Some(last));
    if vote_lost || entry_lost {
        return Err(Refusal::LostData {
            node,
            claimed: describe(claim.vote, claim.last),
            seen: describe(peer.vote, peer.acked.map(|(_, last)| last)),
        });
    }
    Ok(())
}

fn describe(vote: Option<LeaderId>, last: Option<LogId>) -> String {
    let vote = vote.map_or_else(|| "no vote".to_owned(), |v| format!("vote {v}"));
    let last = last.map_or_else(|| "no entries".to_owned(), |l| format!("entries up to {l}"));
    format!("{vote} and {last}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::vote::RaftLeaderId;

    fn speaker(incarnation: u64, nonce: u64) -> Speaker {
        Speaker {
            cluster_id: "c".to_owned(),
            generation: 1,
            node_id: 2,
            incarnation,
            nonce,
        }
    }

    fn leader(term: u64) -> LeaderId {
        LeaderId::new(term, 1)
    }

    fn log(term: u64, index: u64) -> LogId {
        LogId::new(leader(term), index)
    }

    fn reached(term: u64, last: Option<LogId>) -> Reached {
        Reached {
            vote: Some(leader(term)),
            last,
        }
    }

    #[test]
    fn a_stranger_must_introduce_itself() {
        let mut memory = Memory::new("c", 1);
        assert_eq!(memory.check(&speaker(1, 7)), Err(Refusal::NotIntroduced));
        memory
            .introduce(&speaker(1, 7), Reached::default())
            .unwrap();
        memory.check(&speaker(1, 7)).unwrap();
        assert_eq!(memory.check(&speaker(2, 8)), Err(Refusal::NotIntroduced));
    }

    #[test]
    fn another_cluster_or_generation_is_refused() {
        let mut memory = Memory::new("c", 1);
        let mut foreign = speaker(1, 7);
        foreign.cluster_id = "d".to_owned();
        let answer = memory.introduce(&foreign, Reached::default());
        assert!(matches!(answer, Err(Refusal::Foreign { .. })));
        let mut older = speaker(1, 7);
        older.generation = 2;
        let answer = memory.introduce(&older, Reached::default());
        assert!(matches!(answer, Err(Refusal::Generation { .. })));
    }

    #[test]
    fn a_lower_incarnation_is_refused_also_without_introduction() {
        let mut memory = Memory::new("c", 1);
        memory
            .introduce(&speaker(5, 7), Reached::default())
            .unwrap();
        for answer in [
            memory.introduce(&speaker(4, 6), Reached::default()),
            memory.check(&speaker(4, 6)),
            memory.introduce(&speaker(5, 6), Reached::default()),
        ] {
            assert!(matches!(answer, Err(Refusal::OldIncarnation { .. })));
        }
        memory
            .introduce(&speaker(6, 9), Reached::default())
            .unwrap();
    }

    #[test]
    fn less_than_what_was_seen_is_lost_data() {
        let mut memory = Memory::new("c", 1);
        memory
            .introduce(&speaker(1, 1), Reached::default())
            .unwrap();
        memory.saw_ack(2, leader(3), log(3, 10));
        for claim in [
            Reached::default(),
            reached(2, Some(log(2, 10))),
            reached(3, Some(log(3, 9))),
        ] {
            let answer = memory.introduce(&speaker(2, 2), claim);
            assert!(matches!(answer, Err(Refusal::LostData { .. })), "{claim:?}");
        }
        memory
            .introduce(&speaker(2, 2), reached(3, Some(log(3, 10))))
            .unwrap();
    }

    #[test]
    fn an_introduction_on_its_way_may_be_older_than_an_answer() {
        let mut memory = Memory::new("c", 1);
        memory
            .introduce(&speaker(1, 1), Reached::default())
            .unwrap();
        memory.saw_ack(2, leader(3), log(3, 10));
        memory.introduce(&speaker(1, 1), reached(2, None)).unwrap();
        // What was seen is still remembered when the next process comes.
        let answer = memory.introduce(&speaker(2, 2), reached(2, None));
        assert!(matches!(answer, Err(Refusal::LostData { .. })));
    }

    #[test]
    fn a_newer_leader_may_have_cut_the_log() {
        let mut memory = Memory::new("c", 1);
        memory
            .introduce(&speaker(1, 1), Reached::default())
            .unwrap();
        memory.saw_ack(2, leader(3), log(3, 10));
        memory
            .introduce(&speaker(2, 2), reached(4, Some(log(2, 8))))
            .unwrap();
    }
}

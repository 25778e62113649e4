//! Bytes of log ids, votes, entries and covers: what the log, the state store, snapshots and peers are
//! given. Frozen per version; framed, versioned and checksummed by `regent_storage::codec`.
//!
//! What a normal entry's bytes mean is `regent_state`'s.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;
use regent_storage::codec::{self, CodecError, Kind};
use serde::{Deserialize, Serialize};

use crate::types::{
    Entry, EntryData, LeaderId, LogId, Membership, Node, NodeId, SnapshotMeta, StoredMembership,
    Vote,
};
use crate::view::{Cover, Standing};

const VERSION: u16 = 1;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct LogIdV1 {
    term: u64,
    node: NodeId,
    index: u64,
}

#[derive(Serialize, Deserialize)]
struct VoteV1 {
    term: u64,
    node: NodeId,
    committed: bool,
}

#[derive(Serialize)]
enum EntryV1<'a> {
    Blank,
    Normal(&'a Bytes),
    Membership(MembershipV1),
}

/// The same as it is read: what is large stays where it is.
#[derive(Deserialize)]
enum ReadEntryV1<'a> {
    Blank,
    #[serde(borrow)]
    Normal(&'a [u8]),
    Membership(MembershipV1),
}

#[derive(Serialize, Deserialize)]
struct NodeV1 {
    name: String,
    api: String,
    peer: String,
}

#[derive(Serialize, Deserialize)]
struct MembershipV1 {
    /// One set of voters, or two while they change.
    voters: Vec<BTreeSet<NodeId>>,
    /// All members, learners included.
    nodes: BTreeMap<NodeId, NodeV1>,
}

#[derive(Serialize, Deserialize)]
struct CoverV1 {
    applied: Option<LogIdV1>,
    membership_set_by: Option<LogIdV1>,
    membership: MembershipV1,
    removed: BTreeSet<NodeId>,
    hash: [u8; 16],
}

impl From<&LogId> for LogIdV1 {
    fn from(id: &LogId) -> Self {
        Self {
            term: id.leader_id.term,
            node: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<LogIdV1> for LogId {
    fn from(id: LogIdV1) -> Self {
        Self::new(LeaderId::new(id.term, id.node), id.index)
    }
}

impl From<&Membership> for MembershipV1 {
    fn from(membership: &Membership) -> Self {
        let node = |node: &Node| NodeV1 {
            name: node.name.clone(),
            api: node.api.clone(),
            peer: node.peer.clone(),
        };
        Self {
            voters: membership.get_joint_config().clone(),
            nodes: membership
                .nodes()
                .map(|(id, value)| (*id, node(value)))
                .collect(),
        }
    }
}

impl TryFrom<MembershipV1> for Membership {
    type Error = CodecError;

    fn try_from(stored: MembershipV1) -> Result<Self, CodecError> {
        // An empty one is what a replica has before it belongs to a cluster.
        if stored.voters.is_empty() && stored.nodes.is_empty() {
            return Ok(Self::default());
        }
        let nodes: BTreeMap<NodeId, Node> = stored
            .nodes
            .into_iter()
            .map(|(id, node)| {
                let NodeV1 { name, api, peer } = node;
                (id, Node { name, api, peer })
            })
            .collect();
        Self::new(stored.voters, nodes).map_err(|error| CodecError::Malformed {
            kind: Kind::MEMBERSHIP,
            reason: error.to_string(),
        })
    }
}

fn sealed<T: Serialize>(kind: Kind, value: &T) -> Result<Bytes, CodecError> {
    codec::encode(kind, VERSION, value).map(Bytes::from)
}

/// Encodes a log id.
pub(crate) fn encode_log_id(id: &LogId) -> Result<Bytes, CodecError> {
    sealed(Kind::LOG_ID, &LogIdV1::from(id))
}

/// Decodes a log id.
pub(crate) fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    let id: LogIdV1 = codec::decode(Kind::LOG_ID, &[VERSION], bytes)?;
    Ok(id.into())
}

/// Encodes a vote.
pub(crate) fn encode_vote(vote: &Vote) -> Result<Bytes, CodecError> {
    let stored = VoteV1 {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    };
    sealed(Kind::VOTE, &stored)
}

/// Decodes a vote.
pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    let stored: VoteV1 = codec::decode(Kind::VOTE, &[VERSION], bytes)?;
    Ok(Vote {
        leader_id: LeaderId::new(stored.term, stored.node),
        committed: stored.committed,
    })
}

/// Puts a command's encoding into an entry's, once for log, wire and every replica.
pub(crate) fn seal_command(envelope: &Bytes) -> Result<EntryData, CodecError> {
    let sealed = sealed(Kind::LOG_ENTRY, &EntryV1::Normal(envelope))?;
    // The envelope is the last thing in it.
    let envelope = sealed.slice(sealed.len() - envelope.len()..);
    Ok(EntryData::new(sealed, envelope))
}

/// Encodes what an entry carries; its log id goes beside it.
pub(crate) fn encode_payload(
    payload: &EntryPayload<EntryData, NodeId, Node>,
) -> Result<Bytes, CodecError> {
    let stored = match payload {
        EntryPayload::Blank => EntryV1::Blank,
        EntryPayload::Normal(data) => return Ok(data.sealed().clone()),
        EntryPayload::Membership(membership) => EntryV1::Membership(membership.into()),
    };
    sealed(Kind::LOG_ENTRY, &stored)
}

/// Puts an entry together from its log id and what it carries, whose memory it shares.
pub(crate) fn decode_payload(log_id: LogId, bytes: &Bytes) -> Result<Entry, CodecError> {
    let payload = match codec::decode_borrowed(Kind::LOG_ENTRY, &[VERSION], bytes)? {
        ReadEntryV1::Blank => EntryPayload::Blank,
        ReadEntryV1::Normal(envelope) => {
            let envelope = bytes.slice_ref(envelope);
            EntryPayload::Normal(EntryData::new(bytes.clone(), envelope))
        }
        ReadEntryV1::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
    };
    Ok(Entry { log_id, payload })
}

/// Encodes what a stored state is.
pub(crate) fn encode_cover(cover: &Cover) -> Result<Bytes, CodecError> {
    let standing = &cover.standing;
    let stored = CoverV1 {
        applied: standing.applied.as_ref().map(LogIdV1::from),
        membership_set_by: standing.membership.log_id().as_ref().map(LogIdV1::from),
        membership: standing.membership.membership().into(),
        removed: standing.removed.clone(),
        hash: cover.hash.to_le_bytes(),
    };
    sealed(Kind::SNAPSHOT_META, &stored)
}

/// Decodes what a stored state is.
pub(crate) fn decode_cover(bytes: &[u8]) -> Result<Cover, CodecError> {
    let stored: CoverV1 = codec::decode(Kind::SNAPSHOT_META, &[VERSION], bytes)?;
    let set_by = stored.membership_set_by.map(LogId::from);
    let standing = Standing {
        applied: stored.applied.map(LogId::from),
        membership: StoredMembership::new(set_by, stored.membership.try_into()?),
        removed: stored.removed,
    };
    Ok(Cover {
        standing,
        hash: u128::from_le_bytes(stored.hash),
    })
}

impl From<&Standing> for SnapshotMeta {
    fn from(standing: &Standing) -> Self {
        Self {
            last_log_id: standing.applied,
            last_membership: standing.membership.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::Vote as RaftVote;

    fn log_id() -> LogId {
        LogId::new(LeaderId::new(3, 2), 77)
    }

    fn membership() -> Membership {
        let node = |n: u64| Node {
            name: format!("jm-{n}"),
            api: format!("127.0.0.1:710{n}"),
            peer: format!("127.0.0.1:720{n}"),
        };
        Membership::new(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])],
            (1..=5).map(|n| (n, node(n))).collect::<BTreeMap<_, _>>(),
        )
        .unwrap()
    }

    fn payloads() -> Vec<EntryPayload<EntryData, NodeId, Node>> {
        vec![
            EntryPayload::Blank,
            EntryPayload::Normal(seal_command(&Bytes::from_static(b"hello")).unwrap()),
            EntryPayload::Membership(membership()),
        ]
    }

    #[test]
    fn entries_survive_the_round_trip() {
        for payload in payloads() {
            let bytes = encode_payload(&payload).unwrap();
            let entry = decode_payload(log_id(), &bytes).unwrap();
            assert_eq!(entry.log_id, log_id());
            assert_eq!(entry.payload, payload);
            for cut in 0..bytes.len() {
                assert!(decode_payload(log_id(), &bytes.slice(..cut)).is_err());
            }
        }
    }

    #[test]
    fn ids_votes_and_covers_survive_the_round_trip() {
        let bytes = encode_log_id(&log_id()).unwrap();
        assert_eq!(decode_log_id(&bytes).unwrap(), log_id());
        for vote in [RaftVote::new(4, 1), RaftVote::new_committed(4, 1)] {
            let bytes = encode_vote(&vote).unwrap();
            assert_eq!(decode_vote(&bytes).unwrap(), vote);
        }
        let standing = Standing {
            applied: Some(log_id()),
            membership: StoredMembership::new(Some(log_id()), membership()),
            removed: BTreeSet::from([9]),
        };
        for standing in [standing, Standing::default()] {
            let cover = Cover {
                standing,
                hash: u128::MAX - 5,
            };
            let bytes = encode_cover(&cover).unwrap();
            assert_eq!(decode_cover(&bytes).unwrap(), cover);
        }
    }

    #[test]
    fn the_bytes_are_frozen() {
        let payload = |bytes: Bytes| bytes[codec::HEADER_LEN..].to_vec();
        assert_eq!(payload(encode_log_id(&log_id()).unwrap()), [3, 2, 77]);
        let vote = encode_vote(&RaftVote::new_committed(1, 2)).unwrap();
        assert_eq!(payload(vote), [1, 2, 1]);
        let encoded: Vec<Vec<u8>> = payloads()
            .iter()
            .map(|value| payload(encode_payload(value).unwrap()))
            .collect();
        assert_eq!(encoded[0], [0]);
        assert_eq!(encoded[1], b"\x01\x05hello");
        assert_eq!(encoded[2][..12], [2, 2, 3, 1, 2, 3, 3, 2, 3, 4, 5, 1]);
        assert_eq!(encoded[2][12..17], *b"\x04jm-1");
    }
}

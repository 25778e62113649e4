//! The types that Raft is configured with: ids, addresses, what an entry carries, what applying answers.
//!
//! An entry carries the *encoded* envelope, made once by the proposer: log, wire and every replica's
//! state machine handle the same bytes, and only applying decodes them. The meaning of those bytes is
//! `regent_state`'s; their frame on disk is `entry.rs`.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use regent_state::Response;

/// A replica's number. Never used again once its node was removed.
pub type NodeId = u64;

/// How others reach a replica. Membership entries carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The name for people, such as `jm-1`.
    pub name: String,
    /// `host:port` of the client API.
    pub api: String,
    /// `host:port` of the peer service.
    pub peer: String,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (peer {}, api {})", self.name, self.peer, self.api)
    }
}

/// A replica together with its number: what bootstrap is given and membership lists answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The replica's number, 1 or higher.
    pub node_id: NodeId,
    /// Its name and addresses.
    pub node: Node,
}

/// One command as its entry carries it: the encoded envelope within the bytes that log and wire carry,
/// which are made once, by the proposer, and shared from then on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryData {
    sealed: Bytes,
    envelope: Bytes,
}

impl EntryData {
    /// `envelope` lies within `sealed`; see `entry.rs`.
    pub(crate) fn new(sealed: Bytes, envelope: Bytes) -> Self {
        Self { sealed, envelope }
    }

    /// The whole entry's encoding.
    pub(crate) fn sealed(&self) -> &Bytes {
        &self.sealed
    }

    /// The command's encoding.
    pub(crate) fn envelope(&self) -> &Bytes {
        &self.envelope
    }
}

impl fmt::Debug for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryData({} bytes)", self.envelope.len())
    }
}

impl fmt::Display for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.envelope.len())
    }
}

/// What applying an entry answered: `None` for blank and membership entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryOutcome(pub Option<Response>);

openraft::declare_raft_types!(
    /// Regent's Raft: numbered nodes with addresses, opaque entries, the default (term, node) leader id.
    pub TypeConfig:
        D = EntryData,
        R = EntryOutcome,
        NodeId = NodeId,
        Node = Node,
);

/// `(term, node)` of a leader.
pub type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
/// Position of an entry: who wrote it, and its index.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A vote given or won.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// A log entry.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// The membership together with the log id that set it.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// Voters and addresses.
pub type Membership = openraft::Membership<NodeId, Node>;
/// What a snapshot says about itself.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

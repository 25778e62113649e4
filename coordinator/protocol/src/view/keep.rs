//! Documents about keeping the state: snapshots and recovery.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MemberView;

/// `snapshot inspect` and `snapshot save`: what a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// The file.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Cluster id, 32 hex digits.
    pub cluster_id: Option<String>,
    /// Generation.
    pub generation: u64,
    /// Index of the last entry in it.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Wall clock of that entry.
    pub at_ms: u64,
    /// Hash of the state, 32 hex digits.
    pub state_hash: String,
    /// Members at that time.
    pub members: Vec<MemberView>,
    /// Jobs by contract state name; only states that occur.
    pub jobs: BTreeMap<String, u64>,
    /// Entries of the artefact ledger.
    pub artefacts: u64,
}

/// `snapshot restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRestored {
    /// The new cluster, 32 hex digits.
    pub cluster_id: String,
    /// Its generation.
    pub generation: u64,
    /// Its one member.
    pub node_id: u64,
    /// Where it lives.
    pub data_dir: String,
    /// Jobs that wait for `recover resume`.
    pub suspended: u64,
}

/// A replica in `recover plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemainsView {
    /// Node id.
    pub node_id: u64,
    /// Name.
    pub name: String,
    /// Whether it could be looked at.
    pub answers: bool,
    /// The highest term it has seen.
    pub term: Option<u64>,
    /// Its last entry, committed or not.
    pub last_index: Option<u64>,
    /// Up to where it knew the log to be on a majority (or has applied it).
    pub committed_index: Option<u64>,
}

/// `recover plan`: what would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverPlan {
    /// Recovering is not needed: a majority is there.
    pub majority: bool,
    /// Voters of the membership.
    pub voters: u64,
    /// How many of them are needed.
    pub quorum: u64,
    /// One for each voter.
    pub replicas: Vec<RemainsView>,
    /// The replica that holds most: recover on this one.
    pub best: Option<u64>,
    /// The term to confirm: `recover apply --expect-term`.
    pub term: Option<u64>,
    /// The last entry that survives.
    pub survives_to_index: Option<u64>,
    /// Wall clock of that entry: writes acknowledged later are lost.
    pub survives_to_ms: Option<u64>,
    /// The estimate as a sentence.
    pub loss: String,
}

/// `recover apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The cluster, 32 hex digits.
    pub cluster_id: String,
    /// Its new generation.
    pub generation: u64,
    /// Its one member.
    pub node_id: u64,
    /// The last entry that survived.
    pub survived_to_index: u64,
    /// Jobs that wait for `recover resume`.
    pub suspended: u64,
}

/// `recover resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// Jobs that go on.
    pub resumed: u64,
}

//! Commands about the cluster itself: reigns and feature levels.

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, Epoch, NodeId};
use crate::model::{FailoverTally, MemberRole};

/// The first entry of each reign. It fences older epochs, aborts all pending checkpoints, sets
/// running jobs to RECONCILING, and opens a line in the leadership timeline.
///
/// Runs if `epoch` is that of its own log entry, higher than the last one announced, and of this
/// cluster and generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceLeader {
    /// The new reign; its term and node must be those of the entry itself.
    pub epoch: Epoch,
    /// The first announcement gives the state its cluster id; later ones must agree.
    pub cluster_id: ClusterId,
    /// Name of the new leader, such as `jm-1`.
    pub node_name: String,
    /// Address of its client API.
    pub api: String,
    /// Why there was an election.
    pub cause: String,
    /// How long, by the new leader's monotonic clock, it knew no leader before it won.
    pub leaderless_ms: u64,
    /// What fast failover came to in the election that made this reign, as far as the new leader knows: nothing of
    /// any other election.
    pub failover: FailoverTally,
}

/// Switches on behaviour that all members understand. Only ever rises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFeatureLevel {
    /// The new level.
    pub level: u32,
}

/// What a replica is wanted to be: voter, learner, or no member. The leader makes it so.
///
/// Refused if the number was removed before, or if it is known under another address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeMember {
    /// The replica's number.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// `host:port` of its client API.
    pub api: String,
    /// `host:port` of its peer service.
    pub peer: String,
    /// What it is to be.
    pub wanted: MemberRole,
}

/// Lets the jobs go on that were suspended when the state was restored or recovered, and hands the old
/// life's artefacts to the cleaner. Refused if the state was never restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeJobs {}

/// Empties a worker and keeps it empty, or offers it again.
///
/// Its tasks move by a fresh checkpoint; while the drain stands, nothing is placed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainWorker {
    /// The worker's id.
    pub worker: String,
    /// True to drain, false to offer it again.
    pub drained: bool,
}

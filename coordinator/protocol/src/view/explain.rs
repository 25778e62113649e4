//! `leader explain` and `job explain`: why something is as it is, and what to do about it. Also what a
//! replica tells of itself for the first of them.

use serde::{Deserialize, Serialize};

/// Another voter, as a replica hears it by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactView {
    /// Which replica.
    pub node_id: u64,
    /// Milliseconds since it said something over its open stream; null: no stream is open.
    pub heard_ms: Option<u64>,
}

/// The disk under a replica's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskView {
    /// The data directory.
    pub data_dir: String,
    /// Entries are refused for want of space.
    pub full: bool,
    /// A write or sync failed: the log takes nothing more until the process starts again.
    pub poisoned: bool,
    /// Milliseconds since the oldest write was issued that isn't durable yet.
    pub outstanding_ms: Option<u64>,
}

/// `leader explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderExplained {
    /// Name of the leader, or null.
    pub leader: Option<String>,
    /// What is the matter, in one word: `healthy`, `degraded`, `lagging`, `disk-full`, `electing`,
    /// `no-quorum`, `partitioned`, `no-cluster`, ...
    pub situation: String,
    /// The same in a sentence.
    pub summary: String,
    /// The smallest action that mends it; null: nothing has to be done.
    pub remedy: Option<String>,
    /// Voters of the membership.
    pub voters: u64,
    /// Votes needed.
    pub quorum: u64,
    /// Voters that answer this client.
    pub answering: u64,
    /// One for each known replica.
    pub replicas: Vec<ReplicaExplained>,
    /// Where the answers differ.
    pub differences: Vec<String>,
}

/// Why a replica is or isn't the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaExplained {
    /// Node id.
    pub node_id: u64,
    /// Name.
    pub name: String,
    /// Client address.
    pub api: String,
    /// It leads.
    pub leads: bool,
    /// It answers this client.
    pub answers: bool,
    /// Why, in a sentence.
    pub why: String,
    /// Whom it takes for the leader.
    pub follows: Option<String>,
    /// Raft term.
    pub term: Option<u64>,
    /// Entries behind the leader or the longest log.
    pub trails_by: Option<u64>,
    /// Names of the other voters that it hears.
    pub hears: Vec<String>,
}

/// `job explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobExplained {
    /// 32 hex digits.
    pub job_id: String,
    /// Name of the job file.
    pub name: String,
    /// Contract state name.
    pub state: String,
    /// All its tasks run or have finished.
    pub running: bool,
    /// Why it is as it is, the most important cause first; never empty.
    pub causes: Vec<Cause>,
    /// Slots that it needs.
    pub slots_needed: u32,
    /// Slots that are free for it; null: only the leader knows.
    pub slots_free: Option<u32>,
    /// From a replica that doesn't lead, because nobody could be asked who does.
    pub stale: bool,
}

/// One reason, and what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// One word for scripts, such as `not-enough-slots`.
    pub code: String,
    /// A sentence for people.
    pub text: String,
    /// What to do; null: nothing, it passes by itself or is as it should be.
    pub remedy: Option<String>,
}

impl Cause {
    /// A cause that needs nobody.
    #[must_use]
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            text: text.into(),
            remedy: None,
        }
    }

    /// The same with something to do.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

//! `log tail|show` and `state --at`: what was written, and what the cluster held then.

use serde::{Deserialize, Serialize};

use super::JobSummary;

/// An entry of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogEntry {
    /// Its place.
    pub index: u64,
    /// Term of the leader that wrote it.
    pub term: u64,
    /// That leader.
    pub node_id: u64,
    /// `blank`, `membership` or `command`.
    pub kind: String,
    /// Wall clock of the proposal; null unless it is a command.
    pub at_ms: Option<u64>,
    /// Who asked; null unless it is a command.
    pub actor: Option<String>,
    /// What was to happen, in a line.
    pub text: String,
    /// Epoch of the reconciler that proposed it.
    pub epoch: Option<String>,
    /// Id of the client's request.
    pub request_id: Option<String>,
}

/// `log show`: an entry with everything in it, and what it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogShown {
    /// The element of the list.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// All fields of the command.
    pub detail: Option<String>,
    /// Why the state refused it; null: it did not, or the state before it can't be built any more.
    pub refused: Option<String>,
    /// Keys of the entities that it changed; null if the state before it can't be built any more.
    pub changed: Option<Vec<String>>,
}

/// `state --at`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateThen {
    /// After this entry.
    pub index: u64,
    /// That entry.
    pub entry: Option<LogEntry>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
    /// The snapshot that the state was built from; null: the beginning of the log.
    pub snapshot_index: Option<u64>,
    /// Hash of the state.
    pub state_hash: String,
    /// Name of the leader then.
    pub leader: Option<String>,
    /// The jobs then.
    pub jobs: Vec<JobSummary>,
    /// The entities that were asked for.
    pub entities: Vec<EntityThen>,
    /// There are more of them than are listed.
    pub truncated: bool,
}

/// Something that the state held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntityThen {
    /// Its key, such as `job/<id>`.
    pub key: String,
    /// The entry that last changed it; null: before the snapshot.
    pub changed_at: Option<u64>,
    /// Who asked for that.
    pub actor: Option<String>,
    /// What that was.
    pub command: Option<String>,
    /// Everything in it, where entities were asked for by key.
    pub value: Option<String>,
}

//! Commands about checkpoints, savepoints and what sinks have committed.

use serde::{Deserialize, Serialize};

use crate::ids::{AttemptToken, CheckpointId, JobId, LogIndex, Run};

/// Reserves the next checkpoint id and declares its directory. No barrier is sent and no file is
/// written before.
///
/// Runs if the attempt is current and RUNNING and no checkpoint is pending. The directory is
/// `<root>/<job>/<run>/chk-<id>`, for savepoints `<target>/savepoint-<run>-<id>`; it comes back in
/// the response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginCheckpoint {
    /// The job.
    pub job: JobId,
    /// Its current attempt.
    pub token: AttemptToken,
    /// What it is for.
    pub kind: CheckpointKind,
    /// The checkpoint directory of the cluster; unused for savepoints, whose target the user named.
    pub root: String,
}

/// What a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CheckpointKind {
    /// A periodic one.
    Checkpoint,
    /// A user's, for the `RequestSavepoint` at this log index.
    Savepoint {
        /// Index of the request.
        request: LogIndex,
    },
    /// The last one of a stopping job; it belongs to the user.
    StopSavepoint,
    /// The last one at the end of input.
    Final,
}

impl CheckpointKind {
    /// Whether its files belong to the user.
    pub fn is_savepoint(self) -> bool {
        matches!(self, Self::Savepoint { .. } | Self::StopSavepoint)
    }

    /// Whether the job ends once its sinks have committed it.
    pub fn ends_job(self) -> bool {
        matches!(self, Self::Final | Self::StopSavepoint)
    }
}

/// All acknowledgements are in and `_metadata` is written. The checkpoint becomes the restore
/// point, and those beyond `num-retained` move to the cleanup ledger in this entry.
///
/// Refused unless this checkpoint is pending, the token is current and the job not terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteCheckpoint {
    /// The job.
    pub job: JobId,
    /// Its current attempt.
    pub token: AttemptToken,
    /// The pending checkpoint.
    pub id: CheckpointId,
    /// What the log keeps of it.
    pub pointer: CheckpointPointer,
    /// Highest checkpoint of which all sinks reported everything committed, if known; saves an
    /// entry of its own.
    pub sinks_committed_through: Option<CheckpointId>,
}

/// What the log keeps of a completed checkpoint; the bytes live in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointPointer {
    /// The declared directory, as `BeginCheckpoint` answered it.
    pub path: String,
    /// Length of `_metadata` in bytes.
    pub metadata_len: u64,
    /// crc32c of `_metadata`.
    pub metadata_crc: u32,
    /// Of all its files, in bytes.
    pub size_bytes: u64,
    /// From trigger to completion.
    pub duration_ms: u64,
    /// Number of files beside `_metadata`.
    pub files: u32,
    /// Whether its sink state names uncommitted transactions.
    pub has_transactions: bool,
}

/// Gives up the pending checkpoint; its directory moves to the cleanup ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortCheckpoint {
    /// The job.
    pub job: JobId,
    /// Its current attempt.
    pub token: AttemptToken,
    /// The pending checkpoint.
    pub id: CheckpointId,
    /// For the user.
    pub cause: String,
    /// Whether it counts against `tolerable-failed-checkpoints` (declined or timed out). Those of
    /// kind final and savepoint never do.
    pub counts: bool,
}

/// Every sink reported as committed, durably, all transactions that checkpoint `through` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinksCommitted {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// A completed checkpoint of the run.
    pub through: CheckpointId,
}

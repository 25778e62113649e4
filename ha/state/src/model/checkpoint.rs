//! A checkpoint or savepoint of a run whose directory still counts for something.

use serde::{Deserialize, Serialize};

use crate::command::{CheckpointKind, CheckpointPointer};
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, JobId, Run};

/// A pending or completed checkpoint. Removed when it is aborted or evicted; its directory is then
/// the ledger's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// Strictly increasing within the run.
    pub id: CheckpointId,
    /// What it is for.
    pub kind: CheckpointKind,
    /// The attempt that took it.
    pub token: AttemptToken,
    /// Its directory in the ledger.
    pub artefact: ArtefactId,
    /// The path of that directory.
    pub path: String,
    /// The machine's clock when it began.
    pub begun_ms: u64,
    /// Pending or completed.
    pub status: CheckpointStatus,
}

/// Pending or completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointStatus {
    /// Between its `BeginCheckpoint` and its end.
    Pending,
    /// Complete.
    Completed {
        /// What the log keeps of it.
        pointer: CheckpointPointer,
        /// Wall time of completion.
        completed_at_ms: u64,
        /// It stays when the job has ended: a savepoint, or by the retention setting.
        retained: bool,
    },
}

impl Checkpoint {
    /// What the log keeps of it, once completed.
    pub fn pointer(&self) -> Option<&CheckpointPointer> {
        match &self.status {
            CheckpointStatus::Pending => None,
            CheckpointStatus::Completed { pointer, .. } => Some(pointer),
        }
    }

    /// Whether it is completed.
    pub fn is_completed(&self) -> bool {
        self.pointer().is_some()
    }

    /// Whether it is kept on purpose, beyond its job's end: an artefact of its own.
    pub fn is_retained(&self) -> bool {
        matches!(
            self.status,
            CheckpointStatus::Completed { retained: true, .. }
        )
    }
}

//! An entry of the artefact ledger: something that exists, or may exist, outside the log.
//!
//! Declared before it is created. Live until the log gives it up; then it never becomes live again,
//! and its path is never used again, so that even a late deletion by a deposed leader removes only
//! what the log had given up.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ArtefactId, AttemptToken, CheckpointId, JobId, Run, WorkerRef};

/// Something outside the log that Regent is answerable for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// Never used again.
    pub id: ArtefactId,
    /// Whose; `None` for a savepoint of another cluster that a user had disposed of.
    pub owner: Option<(JobId, Run)>,
    /// What.
    pub kind: ArtefactKind,
    /// Where: a directory of its own, or the directory of the named files.
    pub path: String,
    /// The attempt whose end ends all writing to it.
    pub token: Option<AttemptToken>,
    /// What is to become of it.
    pub state: ArtefactState,
    /// Failed deletions since it was given up or last retried by hand.
    pub attempts: u32,
    /// When to try next, by the machine's clock; keeps over failovers.
    pub next_retry_ms: u64,
    /// Why the last deletion failed.
    pub last_error: Option<String>,
    /// Second looks that it owes, for files that land late.
    pub sweep: Option<Sweep>,
    /// Wall time when it was given up.
    pub given_up_ms: Option<u64>,
    /// A user had it disposed of: no concern of its job's cleanup any more.
    pub disposed: bool,
}

/// What kind of thing an artefact is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArtefactKind {
    /// The directory of a checkpoint.
    Checkpoint {
        /// Its id.
        id: CheckpointId,
    },
    /// The directory of a savepoint. Disposed by the files that its `_metadata` names; while it was
    /// never completed, as a whole.
    Savepoint {
        /// Its id; `None` for one of another cluster.
        id: Option<CheckpointId>,
        /// Completed: it belongs to a user.
        completed: bool,
    },
    /// Where an exactly-once sink's files wait for their commit.
    Staging {
        /// The sink.
        vertex: String,
    },
    /// Files found under a sink of mode `replace`.
    Replaced {
        /// The sink.
        vertex: String,
        /// Names below the path; nothing else there is touched.
        files: Vec<String>,
    },
    /// Local state of a worker. Not declared so far: workers keep nothing of a job on their disks, of which a test
    /// of the proving ground convinces itself; the number is reserved.
    WorkerScratch {
        /// The worker.
        worker: WorkerRef,
    },
    /// Bytes that came with a submission. Not declared so far: a submission is its job file, which the log holds;
    /// the number is reserved.
    Blob,
}

impl ArtefactKind {
    /// Whether the path is this artefact's alone. Replaced files lie where others write too.
    pub fn owns_path(&self) -> bool {
        !matches!(self, Self::Replaced { .. })
    }

    /// The order of cleanup within a job: lower goes first.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Replaced { .. } => 0,
            Self::Blob => 1,
            Self::Checkpoint { .. } | Self::Savepoint { .. } => 2,
            Self::Staging { .. } => 3,
            Self::WorkerScratch { .. } => 4,
        }
    }
}

impl fmt::Display for ArtefactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint { .. } => "checkpoint",
            Self::Savepoint { .. } => "savepoint",
            Self::Staging { .. } => "staging",
            Self::Replaced { .. } => "replaced",
            Self::WorkerScratch { .. } => "worker-scratch",
            Self::Blob => "blob",
        })
    }
}

/// What is to become of an artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ArtefactState {
    /// In use, or about to be.
    Live,
    /// Kept on purpose when its job ended, or handed to a user.
    Retained,
    /// Given up; no deletion has failed yet.
    Pending,
    /// A deletion failed; another is due.
    Retrying,
    /// Deleted. Kept only as long as its run is not clean or it owes a sweep.
    Done,
    /// The retries are used up; an operator retries or forgets.
    Dirty,
}

impl ArtefactState {
    /// Given up and not proved gone.
    pub fn is_undone(self) -> bool {
        matches!(self, Self::Pending | Self::Retrying | Self::Dirty)
    }

    /// The cleaner has work to do.
    pub fn is_due_work(self) -> bool {
        matches!(self, Self::Pending | Self::Retrying)
    }
}

impl fmt::Display for ArtefactState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Retained => "retained",
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Dirty => "dirty",
        })
    }
}

/// Second looks at a directory that was given up while writers might not know it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Not before this moment of the machine's clock.
    pub due_ms: u64,
    /// The look after the write deadline was taken; what remains is the last one, when the attempt
    /// is over.
    pub after_deadline: bool,
    /// The attempt is over: one more look ends it.
    pub attempt_over: bool,
}

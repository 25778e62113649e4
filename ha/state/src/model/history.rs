//! What a job has been through, bounded; kept apart from the hot record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::command::FailureKind;
use crate::ids::{AttemptToken, WorkerRef};

/// Events and failures of a job, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobHistory {
    /// At most [`JobHistory::EVENTS_MAX`].
    pub events: Vec<JobEvent>,
    /// At most [`JobHistory::FAILURES_MAX`].
    pub failures: Vec<Failure>,
}

impl JobHistory {
    /// Events kept; then the oldest goes, except the submission.
    pub const EVENTS_MAX: usize = 64;
    /// Failures kept; then the oldest goes.
    pub const FAILURES_MAX: usize = 16;
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Wall time.
    pub at_ms: u64,
    /// What.
    pub kind: JobEventKind,
    /// Number of the attempt; 0 before the first.
    pub attempt: u64,
    /// Why, where there is more to say.
    pub cause: Option<String>,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEventKind {
    /// Submitted by its user.
    Submitted,
    /// An attempt was ordered.
    Deployed,
    /// All tasks run.
    Running,
    /// A new leader took the attempt over as it was.
    Adopted,
    /// A new leader looks for the attempt's tasks.
    Reconciling,
    /// The attempt failed, another follows.
    Restarting,
    /// The job failed for good.
    Failing,
    /// Its user ended it.
    Cancelling,
    /// Its user wants it stopped with a savepoint.
    Stopping,
    /// A savepoint was completed.
    Savepoint,
    /// The last checkpoint was completed.
    LastCheckpoint,
    /// It has a terminal state.
    Ended,
    /// Everything that was listed is committed, after the end.
    OutputCommitted,
    /// Nothing is left to clean.
    Clean,
    /// An artefact's retries are used up.
    CleanupStuck,
    /// An operator had the cleanup tried again.
    CleanupRetried,
    /// An operator took an artefact over.
    Forgotten,
    /// It was inherited from an earlier life of the state, and waits to be resumed.
    Suspended,
    /// An operator resumed it.
    Resumed,
}

impl fmt::Display for JobEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Submitted => "submitted",
            Self::Deployed => "deployed",
            Self::Running => "running",
            Self::Adopted => "adopted",
            Self::Reconciling => "reconciling",
            Self::Restarting => "restarting",
            Self::Failing => "failing",
            Self::Cancelling => "cancelling",
            Self::Stopping => "stopping",
            Self::Savepoint => "savepoint",
            Self::LastCheckpoint => "last-checkpoint",
            Self::Ended => "ended",
            Self::OutputCommitted => "output-committed",
            Self::Clean => "clean",
            Self::CleanupStuck => "cleanup-stuck",
            Self::CleanupRetried => "cleanup-retried",
            Self::Forgotten => "forgotten",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
        })
    }
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Wall time.
    pub at_ms: u64,
    /// The attempt.
    pub token: Option<AttemptToken>,
    /// Its number.
    pub attempt: u64,
    /// For the user.
    pub cause: String,
    /// What kind.
    pub kind: FailureKind,
    /// Where.
    pub worker: Option<WorkerRef>,
    /// Which vertex.
    pub vertex: Option<String>,
    /// Which subtask.
    pub subtask: Option<u32>,
}

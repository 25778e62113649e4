//! Commands about attempts: deployment, progress, failure, proof of the end.

use serde::{Deserialize, Serialize};

use crate::ids::{AttemptToken, JobId, Run, WorkerRef};

/// Orders a new attempt. The entry decides the token and the restore point (the latest completed
/// checkpoint at this index), aborts the old attempt's pending checkpoint and declares the staging
/// directories; all of it comes back in the response. Nothing is sent to a worker before.
///
/// Runs if the job waits for deployment, its current token is `prior`, its restart is due, sinks of
/// mode `replace` are prepared, and the placement fills each slot exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployAttempt {
    /// The job.
    pub job: JobId,
    /// The job's current token as the leader knows it: compare and set.
    pub prior: Option<AttemptToken>,
    /// One entry per slot, ordered by slot.
    pub placement: Vec<SlotPlacement>,
}

/// Where a slot's subtasks run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPlacement {
    /// Slot number = subtask number of every vertex in it.
    pub slot: u32,
    /// The worker process.
    pub worker: WorkerRef,
    /// Its data address.
    pub address: String,
}

/// All tasks of the current attempt run or have finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRunning {
    /// The job.
    pub job: JobId,
    /// Its current attempt.
    pub token: AttemptToken,
}

/// After a takeover exactly the committed placement reported every task running or finished: the
/// attempt goes on as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptAdopted {
    /// The job.
    pub job: JobId,
    /// Its current attempt.
    pub token: AttemptToken,
}

/// The current attempt has failed. The restart strategy decides what follows; counted once per
/// attempt. Aborts the pending checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFailed {
    /// The job.
    pub job: JobId,
    /// Its current attempt.
    pub token: AttemptToken,
    /// For the user.
    pub cause: String,
    /// What kind of failure, which decides whether it uses up an attempt.
    pub kind: FailureKind,
    /// Where it happened.
    pub worker: Option<WorkerRef>,
    /// The vertex whose task failed.
    pub vertex: Option<String>,
    /// Its subtask.
    pub subtask: Option<u32>,
    /// The proposer's dice, −1000 to 1000; scaled by the strategy's jitter factor.
    pub jitter_permille: i32,
}

/// What kind of failure ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// A task reported an error.
    TaskFailure,
    /// A worker is dead or silent.
    WorkerLost,
    /// After a takeover the placement was not complete.
    IncompleteAfterTakeover,
    /// A data channel between two tasks broke. Usually the sign of a lost worker, so it is
    /// accounted like one.
    ChannelBroken,
    /// More checkpoints failed in a row than the job tolerates.
    CheckpointsFailing,
    /// A restart can't help (such as output that differs from what was committed): the job fails
    /// whatever its strategy says.
    Unrecoverable,
    /// An operator drains its worker. No failure of anybody's: the next attempt is due at once, under
    /// any strategy, and nothing is used up.
    Drained,
}

impl FailureKind {
    /// Failures of the cluster rather than of the job; they never use up the restart strategy's
    /// attempts.
    pub fn is_infrastructure(self) -> bool {
        match self {
            Self::WorkerLost
            | Self::IncompleteAfterTakeover
            | Self::ChannelBroken
            | Self::Drained => true,
            Self::TaskFailure | Self::CheckpointsFailing | Self::Unrecoverable => false,
        }
    }
}

/// Every task of these attempts is proved ended (reported, proof of death, or lease over): nothing
/// of them can write any more. Frees their staging and their last sweeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptsOver {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// The attempts; unknown ones are ignored.
    pub tokens: Vec<AttemptToken>,
}

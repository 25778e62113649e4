//! An attempt: where a job's tasks were deployed, and how far they are known to be.

use serde::{Deserialize, Serialize};

use crate::command::SlotPlacement;
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, Epoch, JobId, Run};

/// One deployment of a run. Kept while its tasks may live or its staging is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// The fencing token of its tasks.
    pub token: AttemptToken,
    /// Counts from 1, for people.
    pub number: u64,
    /// The reign that ordered it.
    pub epoch: Epoch,
    /// One entry per slot, ordered by slot.
    pub placement: Vec<SlotPlacement>,
    /// The checkpoint that it started from; `None` is the start, or the job's `restore`.
    pub restore_point: Option<CheckpointId>,
    /// It only commits what the last checkpoint names.
    pub commit_only: bool,
    /// Its staging directories in the ledger.
    pub staging: Vec<ArtefactId>,
    /// Every task is proved ended.
    pub over: bool,
    /// Once it is no longer current: its staging is needed until this checkpoint is committed.
    pub commit_through: Option<CheckpointId>,
    /// The machine's clock at its deployment.
    pub deployed_ms: u64,
}

/// How far the current attempt of a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptState {
    /// Ordered; not all tasks are known to run.
    Deploying,
    /// All tasks run or have finished.
    Running,
    /// Failed, cancelled or finished: no longer the one that counts. Its tasks may still live.
    Ended,
}

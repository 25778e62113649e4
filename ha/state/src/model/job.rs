//! The hot record of a job: small, rewritten by every entry that concerns the job.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attempt::AttemptState;
use crate::command::{CheckpointKind, Outcome, RestoreFrom};
use crate::graph::GraphHash;
use crate::ids::{ArtefactId, AttemptToken, CheckpointId, JobId, LogIndex, Run};

/// One run of a job, from its submission until its result expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Chosen by the client.
    pub id: JobId,
    /// This life of that id.
    pub run: Run,
    /// From the graph, for lists.
    pub name: String,
    /// Fingerprint of the graph.
    pub graph_hash: GraphHash,
    /// Where it is in its life.
    pub state: JobState,
    /// What its user wants of it.
    pub wanted: Wanted,
    /// Why it is in this state, for people.
    pub reason: Option<String>,
    /// Number of the current attempt, for people; 0 before the first.
    pub attempt: u64,
    /// The current attempt; stays after its failure, until the next is deployed.
    pub token: Option<AttemptToken>,
    /// How far that attempt is; `None` before the first.
    pub attempt_state: Option<AttemptState>,
    /// Takeovers that kept the attempt.
    pub adoptions: u64,
    /// Attempts after the first.
    pub restarts: u64,
    /// The restart strategy's bookkeeping.
    pub restart: RestartState,
    /// The id of the next checkpoint.
    pub next_checkpoint: CheckpointId,
    /// The checkpoint in progress.
    pub pending: Option<PendingCheckpoint>,
    /// Counted over all attempts.
    pub checkpoints: CheckpointCounters,
    /// The restore point: the latest completed checkpoint or savepoint. Stays when its files go.
    pub latest: Option<LatestCheckpoint>,
    /// The completed checkpoint after whose commit the job ends.
    pub final_checkpoint: Option<CheckpointId>,
    /// All transactions that this checkpoint and earlier ones name are committed.
    pub committed_through: Option<CheckpointId>,
    /// Savepoints that users asked for and that are not taken yet, and the last ones that were.
    pub savepoints: Vec<SavepointRequest>,
    /// Where the first attempt starts from.
    pub restore: Option<RestoreFrom>,
    /// Whether `restore` is pinned still.
    pub pinned: bool,
    /// Sinks of mode `replace` whose old files are not listed yet.
    pub unprepared_sinks: Vec<String>,
    /// Wall time of submission.
    pub submitted_ms: u64,
    /// Wall time when the first attempt ran.
    pub started_ms: Option<u64>,
    /// Who submitted it.
    pub submitted_by: String,
    /// Once terminal.
    pub result: Option<JobResult>,
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Submitted; the first attempt has not run yet.
    Created,
    /// All tasks run or have finished.
    Running,
    /// Failed for good; its tasks are being stopped.
    Failing,
    /// The attempt failed; another is due or being deployed.
    Restarting,
    /// A user ended it; its tasks are being stopped.
    Cancelling,
    /// From a takeover until adopted or given up.
    Reconciling,
    /// From a restored snapshot, until an operator resumes it.
    Suspended,
    /// Terminal: all output is visible.
    Finished,
    /// Terminal: it failed.
    Failed,
    /// Terminal: a user ended it.
    Canceled,
}

impl JobState {
    /// Every state, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::Running,
        Self::Failing,
        Self::Restarting,
        Self::Cancelling,
        Self::Reconciling,
        Self::Suspended,
        Self::Finished,
        Self::Failed,
        Self::Canceled,
    ];

    /// Whether nothing can follow.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Canceled)
    }

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Restarting => "RESTARTING",
            Self::Cancelling => "CANCELLING",
            Self::Reconciling => "RECONCILING",
            Self::Suspended => "SUSPENDED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wanted of a job; reconcilers work towards it, across leaders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// To run to its end.
    Run,
    /// To end without finishing.
    Cancel,
    /// To end with a savepoint.
    Stop {
        /// Directory for the savepoint.
        target: String,
        /// Whether windows are flushed first.
        drain: bool,
    },
    /// To fail; `Job::reason` says why.
    Fail,
}

impl Wanted {
    /// Whether tasks are to run (also to take the last savepoint).
    pub fn keeps_running(&self) -> bool {
        matches!(self, Self::Run | Self::Stop { .. })
    }
}

/// What a restart strategy remembers. Times are the machine's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartState {
    /// When the next attempt may be deployed.
    pub due_ms: u64,
    /// When the last failure of any kind was.
    pub last_failure_ms: Option<u64>,
    /// The last exponential delay, before jitter.
    pub backoff_ms: Option<u64>,
    /// Restarts that `fixed-delay` has used up.
    pub attempts_used: u32,
    /// Failures that `failure-rate` still counts, oldest first.
    pub recent_ms: Vec<u64>,
}

/// A checkpoint between `BeginCheckpoint` and its completion or abort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCheckpoint {
    /// Its id.
    pub id: CheckpointId,
    /// What it is for.
    pub kind: CheckpointKind,
    /// The attempt it belongs to.
    pub token: AttemptToken,
    /// Its declared directory.
    pub artefact: ArtefactId,
    /// The path of that directory.
    pub path: String,
    /// The machine's clock when it began.
    pub begun_ms: u64,
}

/// Checkpoint statistics over all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckpointCounters {
    /// Completed, savepoints included.
    pub completed: u64,
    /// Failed, those aborted by a takeover, a loss or a cancel not included.
    pub failed: u64,
    /// Failed in a row, of those that count; 0 after a completed one and in a new attempt.
    pub failed_in_a_row: u32,
    /// The machine's clock when the last one ended, either way; for `min-pause`.
    pub last_ended_ms: u64,
}

/// The latest completed checkpoint, as `job show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestCheckpoint {
    /// Its id.
    pub id: CheckpointId,
    /// What it was for.
    pub kind: CheckpointKind,
    /// Its directory.
    pub path: String,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// From trigger to completion.
    pub duration_ms: u64,
    /// Wall time of completion.
    pub completed_at_ms: u64,
    /// Whether it names uncommitted transactions.
    pub has_transactions: bool,
}

/// A savepoint that a user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointRequest {
    /// Log index of the request: its number.
    pub request: LogIndex,
    /// Directory for the savepoint.
    pub target: String,
    /// What became of it.
    pub state: SavepointState,
}

/// What became of a requested savepoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavepointState {
    /// Not taken yet.
    Waiting,
    /// Its own directory.
    Completed {
        /// The path.
        path: String,
    },
    /// It will not be taken.
    Failed {
        /// Why.
        cause: String,
    },
}

/// How a job ended. Dirty from the entry that ends it until its cleanup is proved complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// How.
    pub outcome: Outcome,
    /// Why, for FAILED.
    pub cause: Option<String>,
    /// Wall time of the end.
    pub ended_ms: u64,
    /// The machine's clock at the end; results expire by it.
    pub ended_clock_ms: u64,
    /// Nothing of the run is left to do.
    pub clean: bool,
    /// Whether everything that the latest completed checkpoint lists is committed.
    pub output_complete: bool,
    /// An operator gave up the uncommitted transactions.
    pub output_abandoned: bool,
}

impl Job {
    /// Whether the job has a terminal state.
    pub fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }

    /// Terminal, and its cleanup is not complete.
    pub fn is_dirty(&self) -> bool {
        self.result.as_ref().is_some_and(|result| !result.clean)
    }

    /// The checkpoint whose transactions still have to be committed, if there is one.
    pub fn uncommitted(&self) -> Option<&LatestCheckpoint> {
        let abandoned = self
            .result
            .as_ref()
            .is_some_and(|result| result.output_abandoned);
        let latest = self
            .latest
            .as_ref()
            .filter(|latest| latest.has_transactions)?;
        let committed = self.committed_through >= Some(latest.id);
        if abandoned || committed {
            None
        } else {
            Some(latest)
        }
    }

    /// The last checkpoint is completed: what remains is to commit it.
    pub fn only_commits(&self) -> bool {
        self.final_checkpoint.is_some()
    }

    /// Waits for a `DeployAttempt`; the restart strategy says when it is due.
    pub fn awaits_deployment(&self) -> bool {
        let state = matches!(self.state, JobState::Created | JobState::Restarting);
        let idle = !matches!(
            self.attempt_state,
            Some(AttemptState::Deploying | AttemptState::Running)
        );
        state && idle && self.wanted.keeps_running()
    }

    /// Whether this is the current attempt, and it has not failed.
    pub fn is_current(&self, token: AttemptToken) -> bool {
        self.token == Some(token) && self.attempt_state != Some(AttemptState::Ended)
    }

    /// Whether a checkpoint has been completed since that moment (wall time).
    pub fn has_checkpoint_since(&self, at_ms: u64) -> bool {
        let latest = self.latest.as_ref();
        latest.is_some_and(|latest| latest.completed_at_ms >= at_ms)
    }

    /// The oldest savepoint request that waits to be taken.
    pub fn waiting_savepoint(&self) -> Option<&SavepointRequest> {
        self.savepoints
            .iter()
            .find(|request| request.state == SavepointState::Waiting)
    }
}

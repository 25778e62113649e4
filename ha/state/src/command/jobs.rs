//! Commands about jobs as a whole: submit, cancel, stop, fail, end.

use serde::{Deserialize, Serialize};

use crate::graph::JobGraph;
use crate::ids::{AttemptToken, JobId, Run};

/// A user wants this graph to run under this id.
///
/// The same id and graph again is answered with the job's present state; another graph is a
/// conflict. Claims the paths of all sinks; refused if another job's claim meets one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitJob {
    /// Chosen by the client.
    pub job_id: JobId,
    /// The validated, normalised graph.
    pub graph: JobGraph,
    /// Where the first attempt takes its state from.
    pub restore: Option<RestoreFrom>,
}

/// A savepoint or retained checkpoint that a new job starts from. It stays pinned until the job's
/// first own checkpoint or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreFrom {
    /// Its own directory.
    pub path: String,
    /// Whether state that no vertex claims may be dropped.
    pub allow_unclaimed_state: bool,
}

/// A user wants the job to end without finishing. Aborts its pending checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelJob {
    /// The job.
    pub job: JobId,
}

/// A user wants the job to end with a savepoint: its output is committed up to there, then it is
/// FINISHED.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopJob {
    /// The job.
    pub job: JobId,
    /// Directory under which the savepoint gets its own new directory.
    pub target: String,
    /// Whether windows are flushed as at the end of input.
    pub drain: bool,
}

/// A user wants a savepoint of a job that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSavepoint {
    /// The job.
    pub job: JobId,
    /// Directory under which the savepoint gets its own new directory.
    pub target: String,
}

/// The leader found out that the job can't go on, whatever its restart strategy says: an input
/// that is missing at the first deployment, output that differs from what was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailJob {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// For the user.
    pub cause: String,
}

/// Why a job is not deployed, such as `not-enough-slots (needs 4, free 2)`. Proposed when the
/// reason changes, `None` when it went away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWaiting {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// For the user.
    pub reason: Option<String>,
}

/// The files found under a sink of mode `replace`, listed once before the first attempt. They
/// become one artefact, given up at once; without this entry such a job is not deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkPrepared {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// The sink's vertex.
    pub vertex: String,
    /// Names below the sink's path, at most [`SinkPrepared::FILES_MAX`].
    pub files: Vec<String>,
}

impl SinkPrepared {
    /// The most files that one job replaces; with more, the job is to fail and say so.
    pub const FILES_MAX: usize = 100_000;
    /// The most bytes that their names have together.
    pub const BYTES_MAX: usize = 8 * 1024 * 1024;
}

/// The job has ended. `apply` writes the result and derives the whole cleanup plan in this entry.
///
/// FINISHED runs only when all output is visible: a job with an exactly-once sink, and a stopped
/// one, has completed its last checkpoint and committed it. CANCELED and FAILED run in CANCELLING
/// and FAILING, and may come before the last commit; the result stays dirty until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTerminated {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// The job's current attempt as the leader knows it; `None` if there never was one.
    pub token: Option<AttemptToken>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All output is visible.
    Finished,
    /// It failed and may not be restarted.
    Failed,
    /// A user ended it.
    Canceled,
}

//! What clients are told of jobs and their checkpoints.

use serde::{Deserialize, Serialize};

/// `job submit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// 32 hex digits.
    pub job_id: String,
    /// The job's present state.
    pub state: String,
    /// The job was there already.
    pub already: bool,
}

/// One element of `job list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// 32 hex digits.
    pub job_id: String,
    /// Name of the job file.
    pub name: String,
    /// Contract state name.
    pub state: String,
    /// Counts from 1; 0 before the first deployment.
    pub attempt: u64,
    /// Wall clock, milliseconds since the epoch.
    pub submitted_at_ms: u64,
}

/// `job show`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobDetail {
    /// 32 hex digits.
    pub job_id: String,
    /// Name of the job file.
    pub name: String,
    /// Contract state name.
    pub state: String,
    /// Why it is in that state, where that needs saying.
    pub reason: Option<String>,
    /// Counts from 1; 0 before the first deployment.
    pub attempt: u64,
    /// Takeovers that kept the attempt.
    pub adoptions: u64,
    /// Attempts after the first.
    pub restarts: u64,
    /// One for each subtask of the present attempt.
    pub tasks: Vec<TaskView>,
    /// One for each vertex, in file order.
    pub vertices: Vec<VertexView>,
    /// Checkpoint statistics.
    pub checkpoints: CheckpointsView,
    /// The latest failures, oldest first.
    pub failures: Vec<FailureView>,
    /// Wall clock of the submission.
    pub submitted_at_ms: u64,
    /// The sources' input ends by itself.
    pub bounded: bool,
}

/// A subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Vertex id.
    pub vertex: String,
    /// Subtask number.
    pub subtask: u32,
    /// Worker id.
    pub worker: Option<String>,
    /// `deploying running finished failed canceled stuck unknown`.
    pub state: String,
}

/// A vertex with its figures, summed over subtasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VertexView {
    /// Vertex id.
    pub id: String,
    /// Operator, source or sink name.
    pub operator: String,
    /// Subtasks.
    pub parallelism: u32,
    /// Rows read since this attempt began; null when unknown: where no leader was asked, or when the leader
    /// has changed since the job ended.
    pub records_in: Option<u64>,
    /// Rows emitted since this attempt began; null when unknown.
    pub records_out: Option<u64>,
    /// Bytes emitted since this attempt began; null when unknown.
    pub bytes_out: Option<u64>,
    /// Share of time at work (0-1), mean over subtasks; null when unknown.
    pub busy_ratio: Option<f64>,
    /// Share of time waiting for room downstream (0-1), mean over subtasks.
    pub backpressured_ratio: Option<f64>,
    /// Smallest watermark of the subtasks; `None`: none yet, or all of their input has ended.
    pub watermark_ms: Option<i64>,
    /// Rows skipped because they did not parse, since the job began; null when unknown.
    pub records_skipped: Option<u64>,
    /// Rows dropped because their window was closed, or because they had no time, since this attempt began;
    /// null when unknown.
    #[serde(default)]
    pub records_late: Option<u64>,
    /// Bytes of state that the subtasks hold in memory now.
    #[serde(default)]
    pub state_bytes: u64,
    /// Bytes of rows that wait behind it, on its way to others.
    #[serde(default)]
    pub buffer_bytes: u64,
    /// Bytes of state in the latest checkpoint that each subtask acknowledged; null before the first.
    #[serde(default)]
    pub checkpoint_size_bytes: Option<u64>,
    /// What the slowest subtask took for it, from its order to durable state.
    #[serde(default)]
    pub checkpoint_duration_ms: Option<u64>,
}

/// Checkpoint statistics of a job, over all its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointsView {
    /// Completed.
    pub completed: u64,
    /// Aborted, declined or timed out.
    pub failed: u64,
    /// The latest completed one.
    pub latest: Option<LatestCheckpoint>,
}

/// The latest completed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestCheckpoint {
    /// Strictly increases within a run.
    pub id: u64,
    /// The checkpoint's own directory.
    pub path: String,
    /// Bytes of state and metadata.
    pub size_bytes: u64,
    /// From trigger to completion.
    pub duration_ms: u64,
    /// Wall clock.
    pub completed_at_ms: u64,
}

/// A failure of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureView {
    /// Wall clock.
    pub at_ms: u64,
    /// Attempt number that failed.
    pub attempt: u64,
    /// What happened.
    pub cause: String,
    /// Vertex id, if one task failed.
    pub vertex: Option<String>,
    /// Subtask number, if one task failed.
    pub subtask: Option<u32>,
    /// Worker id, if known.
    pub worker: Option<String>,
}

/// `job result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResultView {
    /// 32 hex digits.
    pub job_id: String,
    /// Contract state name; terminal unless the job still runs.
    pub state: String,
    /// Cause of FAILED, or why a result isn't clean yet.
    pub cause: Option<String>,
    /// Wall clock when the first attempt ran; null before that.
    pub started_at_ms: Option<u64>,
    /// Wall clock of the end; null while it runs.
    pub ended_at_ms: Option<u64>,
    /// Nothing of the job is left to be cleaned up.
    pub clean: bool,
    /// All output that will ever be visible is visible.
    pub output_complete: bool,
}

/// `job cancel|stop|savepoint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobChanged {
    /// 32 hex digits.
    pub job_id: String,
    /// State after the change.
    pub state: String,
    /// Savepoint path, where one was asked for.
    pub path: Option<String>,
}

/// One element of `job history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// Wall clock.
    pub at_ms: u64,
    /// What happened.
    pub event: String,
    /// Attempt number then.
    pub attempt: u64,
    /// Why, where that needs saying.
    pub cause: Option<String>,
}

/// One element of `checkpoint list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    /// Strictly increases within a run.
    pub id: u64,
    /// Its own directory.
    pub path: String,
    /// `checkpoint` or `savepoint`.
    pub kind: String,
    /// Bytes of state and metadata.
    pub size_bytes: u64,
    /// From trigger to completion.
    pub duration_ms: u64,
    /// Wall clock.
    pub completed_at_ms: u64,
    /// Kept on purpose after the job's end.
    pub retained: bool,
}

/// One element of `checkpoint list` without a job: what is kept on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedView {
    /// Whose.
    pub job_id: String,
    /// The job's name; `None` once its result has expired.
    pub name: Option<String>,
    /// Its number within the run.
    pub id: u64,
    /// `checkpoint` or `savepoint`.
    pub kind: String,
    /// Its own directory.
    pub path: String,
    /// Bytes of state and metadata; `None` for the oldest of very many savepoints of a job.
    pub size_bytes: Option<u64>,
    /// Wall clock; `None` likewise.
    pub completed_at_ms: Option<u64>,
}

/// `checkpoint show`: one element of the list plus its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDetail {
    /// The element of the list.
    #[serde(flatten)]
    pub checkpoint: CheckpointView,
    /// `_metadata` and the files that it names, by path.
    pub files: Vec<CheckpointFile>,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CheckpointFile {
    /// Full path.
    pub path: String,
    /// Its size by the checkpoint's own word.
    pub size_bytes: u64,
}

//! The JSON documents of the user contract (`docs/contract` shapes): built by JobManagers, printed by
//! the command line. Fields are added, never renamed or removed; absent values are `null`.

mod keep;
mod members;

mod explain;
mod past;

pub use explain::{Cause, ContactView, DiskView, JobExplained, LeaderExplained, ReplicaExplained};
pub use past::{EntityThen, LogEntry, LogShown, StateThen};

use serde::{Deserialize, Serialize};

pub use keep::{RecoverPlan, Recovered, RemainsView, Resumed, SnapshotRestored, SnapshotView};
pub use members::{MarginView, MemberStep, MembersChanged, MembersPlanned, WorkerDrained};

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
    /// `deploying running finished failed canceled unknown`.
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
    /// Rows read since this attempt began.
    pub records_in: u64,
    /// Rows emitted since this attempt began.
    pub records_out: u64,
    /// Bytes emitted since this attempt began.
    pub bytes_out: u64,
    /// Share of time at work (0-1), mean over subtasks; null when unknown.
    pub busy_ratio: Option<f64>,
    /// Share of time waiting for room downstream (0-1), mean over subtasks.
    pub backpressured_ratio: Option<f64>,
    /// Smallest watermark of the subtasks; `None`: none yet, or all of their input has ended.
    pub watermark_ms: Option<i64>,
    /// Rows skipped because they did not parse.
    pub records_skipped: u64,
    /// Rows dropped because their window was closed, or because they had no time.
    #[serde(default)]
    pub records_late: u64,
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

/// One element of `worker list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Worker id.
    pub worker: String,
    /// Data address.
    pub address: String,
    /// Slots.
    pub slots: u32,
    /// Free slots.
    pub free: u32,
    /// `registered silent lost`.
    pub state: String,
    /// Milliseconds since the last heartbeat.
    pub last_heartbeat_ms: Option<u64>,
    /// Tasks held.
    pub tasks: u32,
}

/// One element of `cleanup list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactView {
    /// Owner.
    pub job_id: String,
    /// Artefact id.
    pub artefact: String,
    /// What is to be removed.
    pub path: String,
    /// `checkpoint savepoint staging scratch blob`.
    pub kind: String,
    /// `pending retrying dirty done`; in `cleanup show` also `live retained`.
    pub state: String,
    /// Deletions tried.
    pub attempts: u64,
    /// Wall clock estimate of the next try.
    pub next_retry_at_ms: Option<u64>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// `cleanup verify`: where the store and the log differ. All lists are sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Files that the log knows nothing of.
    pub orphans: Vec<Orphan>,
    /// Files that the log counts on and that aren't there.
    pub dangling: Vec<Dangling>,
    /// Files of another size than the log says.
    pub wrong_size: Vec<WrongSize>,
    /// There are more of some kind than are listed here.
    pub truncated: bool,
}

impl Verified {
    /// Store and log agree.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.orphans.is_empty() && self.dangling.is_empty() && self.wrong_size.is_empty()
    }
}

/// A file that the log knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Orphan {
    /// Where.
    pub path: String,
}

/// A file that the log counts on and that isn't there, or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dangling {
    /// Where it should be.
    pub path: String,
    /// Whose.
    pub job_id: String,
    /// The artefact that it is part of.
    pub artefact: String,
}

/// A file of another size than the log says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WrongSize {
    /// Where.
    pub path: String,
    /// Bytes that should be there.
    pub expected: u64,
    /// Bytes that are there.
    pub found: u64,
}

/// `leader transfer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// Node that led before.
    pub from: u64,
    /// Node that leads now.
    pub to: u64,
    /// In which term; null in a dry run.
    pub term: Option<u64>,
    /// Milliseconds from the order to the change; null in a dry run.
    pub took_ms: Option<u64>,
}

/// `cleanup retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// 32 hex digits.
    pub job_id: String,
}

/// `cleanup forget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Artefact id.
    pub artefact: String,
}

/// `savepoint dispose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposed {
    /// The savepoint's directory.
    pub path: String,
}

/// One reign of `leader history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Raft term.
    pub term: u64,
    /// Node that led.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// Wall clock of the announcement.
    pub from_ms: u64,
    /// Wall clock of the end; null for the present reign.
    pub to_ms: Option<u64>,
    /// Why it began.
    pub cause: String,
    /// How long nobody led before it.
    pub leaderless_ms: u64,
    /// Jobs kept running by this takeover.
    pub jobs_adopted: u64,
    /// Jobs restarted by this takeover.
    pub jobs_restarted: u64,
    /// What its process did by fast failover since it last announced itself, or since it started.
    #[serde(default)]
    pub fast_failover: FastFailover,
}

/// How often a replica acted on hard signs of a leader's death, told when it next leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastFailover {
    /// Times it stood for election because of one.
    pub fired: u64,
    /// Deaths after which it stood and somebody else won.
    pub lost: u64,
    /// Deaths after which it didn't have to stand.
    pub not_needed: u64,
}

/// The replicated part of `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Jobs by contract state name; only states that occur.
    pub jobs: std::collections::BTreeMap<String, u64>,
    /// Registered workers.
    pub workers: Vec<WorkerView>,
    /// Slots of all registered workers.
    pub slots_total: u32,
    /// Free slots.
    pub slots_free: u32,
    /// Artefacts still to be removed.
    pub cleanup_pending: u64,
    /// Artefacts whose retries are used up.
    pub cleanup_dirty: u64,
    /// Jobs that have not ended and don't run, the longest first; at most 20.
    #[serde(default)]
    pub not_running: Vec<NotRunning>,
}

/// A job that has not ended and doesn't run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotRunning {
    /// 32 hex digits.
    pub job_id: String,
    /// Name of the job file.
    pub name: String,
    /// Contract state name.
    pub state: String,
    /// Why, where that is stored.
    pub reason: Option<String>,
    /// Milliseconds since the last thing that happened to it.
    pub for_ms: u64,
}

/// What one replica says of itself; `leader show` and `status` merge one for each replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Cluster id, 32 hex digits; null before bootstrap.
    pub cluster_id: Option<String>,
    /// Generation of the cluster.
    pub generation: u64,
    /// Node id.
    pub node_id: u64,
    /// Name.
    pub name: String,
    /// Client address.
    pub api: String,
    /// `leader follower candidate learner uninitialised`.
    pub role: String,
    /// Raft term.
    pub term: u64,
    /// Node id of the leader it knows.
    pub leader: Option<u64>,
    /// Last log index it has.
    pub last_log_index: u64,
    /// Applied index.
    pub applied_index: u64,
    /// Hash of the state at the applied index, 32 hex digits.
    pub state_hash: String,
    /// Wall clock since which this node leads; only on a serving leader.
    pub leading_since_ms: Option<u64>,
    /// Milliseconds since it last heard from the leader (follower).
    pub last_contact_ms: Option<u64>,
    /// Incarnation of the data directory.
    pub incarnation: u64,
    /// Members as this replica's log has them.
    pub members: Vec<MemberView>,
    /// The leader's view of each peer; empty elsewhere.
    pub peers: Vec<PeerView>,
    /// Version of the program.
    pub version: String,
    /// Wall clock there when it answered.
    #[serde(default)]
    pub now_ms: u64,
    /// Index up to which it knows a majority to hold the log.
    #[serde(default)]
    pub committed_index: Option<u64>,
    /// The other voters, as it hears them.
    #[serde(default)]
    pub contacts: Vec<ContactView>,
    /// Why it takes no part in the cluster, if it refuses to.
    #[serde(default)]
    pub refused: Option<String>,
    /// Why Raft stopped there, if it did.
    #[serde(default)]
    pub failure: Option<String>,
    /// The first disagreement of its state with another replica's.
    #[serde(default)]
    pub divergence: Option<String>,
    /// The disk under its log.
    #[serde(default)]
    pub disk: DiskView,
}

/// A member of the group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Node id.
    pub node_id: u64,
    /// Name.
    pub name: String,
    /// `voter` or `learner`.
    pub role: String,
    /// Peer address.
    pub peer: String,
    /// Client address.
    pub api: String,
}

/// The leader's view of a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Node id.
    pub node_id: u64,
    /// Highest log index known to be stored there.
    pub matched_index: Option<u64>,
    /// Milliseconds since its last answer.
    pub last_contact_ms: Option<u64>,
}

/// `leader show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderShow {
    /// The leader, or null.
    pub leader: Option<LeaderHead>,
    /// One for each known replica.
    pub replicas: Vec<ReplicaView>,
    /// Voters of the membership.
    pub voters: u64,
    /// Votes needed.
    pub quorum: u64,
    /// How many more voters may be lost now.
    pub tolerates: u64,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderHead {
    /// Node id.
    pub node_id: u64,
    /// Name.
    pub name: String,
    /// Client address.
    pub api: String,
    /// Raft term.
    pub term: u64,
    /// Wall clock.
    pub since_ms: u64,
}

/// A replica in `leader show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// Node id.
    pub node_id: u64,
    /// Name.
    pub name: String,
    /// `leader follower learner unreachable`.
    pub role: String,
    /// Raft term.
    pub term: Option<u64>,
    /// Last log index.
    pub last_log_index: Option<u64>,
    /// Applied index.
    pub applied_index: Option<u64>,
    /// Entries behind the leader (or the most advanced replica); null only for unreachable.
    pub trails_by: Option<u64>,
    /// Milliseconds since the leader heard from it, or it from the leader.
    pub last_contact_ms: Option<u64>,
}

/// `status`: the union of the heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `leader show`'s content.
    #[serde(flatten)]
    pub leadership: LeaderShow,
    /// Cluster id; null before bootstrap or when nobody answers.
    pub cluster_id: Option<String>,
    /// Generation.
    pub generation: Option<u64>,
    /// The replicated part; null when it can't be read.
    pub overview: Option<Overview>,
    /// What needs attention, one line each: its name, the fact, what to do.
    pub alarms: Vec<String>,
    /// The same in parts.
    #[serde(default)]
    pub attention: Vec<Cause>,
}

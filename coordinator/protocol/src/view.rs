//! The JSON documents of the user contract (`docs/contract` shapes): built by JobManagers, printed by
//! the command line. Fields are added, never renamed or removed; absent values are `null`.

mod cleanup;
mod explain;
mod jobs;
mod keep;
mod members;
mod past;

pub use cleanup::{
    ArtefactView, Dangling, Disposed, Forgotten, Orphan, Retried, Verified, WrongSize,
};
pub use explain::{Cause, ContactView, DiskView, JobExplained, LeaderExplained, ReplicaExplained};
pub use jobs::{
    CheckpointDetail, CheckpointFile, CheckpointView, CheckpointsView, FailureView, HistoryEvent,
    JobChanged, JobDetail, JobResultView, JobSummary, LatestCheckpoint, RetainedView, Submitted,
    TaskView, VertexView,
};

pub use keep::{RecoverPlan, Recovered, RemainsView, Resumed, SnapshotRestored, SnapshotView};
pub use members::{MarginView, MemberStep, MembersChanged, MembersPlanned, WorkerDrained};
pub use past::{EntityThen, LogEntry, LogShown, StateThen};

use serde::{Deserialize, Serialize};

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
    /// Those of them that were told to end and don't; their slots aren't used again.
    #[serde(default)]
    pub stuck: u32,
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
    /// What fast failover came to in the election that made this reign.
    #[serde(default)]
    pub fast_failover: FastFailover,
}

/// How often replicas acted on hard signs of the last leader's death, as far as the next one knew when it announced
/// itself: its own deeds, and those of the voters that confirmed the death to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastFailover {
    /// Times that one of them stood for election because of it.
    pub fired: u64,
    /// Replicas that stood and had not won.
    pub lost: u64,
    /// Replicas that had the sign and did not stand.
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
    /// Its certificate; null without TLS.
    #[serde(default)]
    pub tls: Option<TlsView>,
}

/// A replica's certificate, and whether what its files hold is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsView {
    /// Wall clock from which the certificate in use is valid.
    pub from_ms: Option<u64>,
    /// Wall clock until which it is valid.
    pub until_ms: Option<u64>,
    /// How often renewed files came into use since the process started.
    pub renewed: u64,
    /// Why what the files hold now isn't used; null if it is.
    pub refused: Option<String>,
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

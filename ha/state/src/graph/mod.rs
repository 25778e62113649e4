//! The job graph as the log keeps it: validated, normalised, with defaults filled in.
//!
//! A vertex's `with` stays an opaque JSON text: what operators mean by it is the worker's business.
//! Here is only what the state machine decides upon: parallelism, sinks, checkpointing, restarts.

mod validate;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec;

/// The most vertices a graph may have.
pub const VERTICES_MAX: usize = 1_000;
/// The highest parallelism, and the number of key groups.
pub const PARALLELISM_MAX: u32 = 128;
/// The largest encoded graph in bytes.
pub const GRAPH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most failures that `failure-rate` may count; it bounds what the state keeps per job.
pub const FAILURE_RATE_MAX: u32 = 100;

/// What a user submitted, ready to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobGraph {
    /// For people; 1-128 characters, not unique.
    pub name: String,
    /// Default parallelism, already filled in on each vertex.
    pub parallelism: u32,
    /// `None`: the job takes no periodic checkpoints.
    pub checkpointing: Option<CheckpointConfig>,
    /// What follows a failed attempt.
    pub restart_strategy: RestartStrategy,
    /// In topological order.
    pub vertices: Vec<Vertex>,
}

/// When checkpoints are taken and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointConfig {
    /// Between the starts of two checkpoints; `None` means only on demand.
    pub interval_ms: Option<u64>,
    /// After which a pending checkpoint is aborted.
    pub timeout_ms: u64,
    /// Between the end of one and the start of the next.
    pub min_pause_ms: u64,
    /// How many completed checkpoints stay; at least 1.
    pub num_retained: u32,
    /// How many failures in a row are tolerated before the attempt fails.
    pub tolerable_failed: u32,
    /// What becomes of checkpoints when the job ends.
    pub retention: Retention,
}

/// Flink's `externalized-checkpoint-retention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Retention {
    /// Deleted however the job ends.
    #[default]
    NoExternalizedCheckpoints,
    /// Deleted on FINISHED and CANCELED, kept on FAILED.
    DeleteOnCancellation,
    /// Deleted on FINISHED, kept on CANCELED and FAILED.
    RetainOnCancellation,
}

/// What follows a failed attempt. Factors are in thousandths, so that no float decides anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartStrategy {
    /// The first failure fails the job.
    None,
    /// A fixed number of restarts, each after the same delay.
    FixedDelay {
        /// Restarts allowed over the job's life.
        attempts: u32,
        /// Delay before each.
        delay_ms: u64,
    },
    /// Any number of restarts, with a growing delay.
    ExponentialDelay {
        /// The first delay.
        initial_backoff_ms: u64,
        /// The highest delay.
        max_backoff_ms: u64,
        /// Growth from one delay to the next, in thousandths (1500 = ×1.5).
        multiplier_permille: u32,
        /// Largest deviation of a delay, in thousandths of it.
        jitter_permille: u32,
        /// After this long without a failure the delay starts again at its first value.
        reset_threshold_ms: u64,
    },
    /// Restarts as long as failures are rare enough.
    FailureRate {
        /// Failures tolerated within one interval.
        max_failures: u32,
        /// Length of the interval.
        interval_ms: u64,
        /// Delay before each restart.
        delay_ms: u64,
    },
}

/// A source, operator or sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// Unique within the graph.
    pub id: String,
    /// Its role.
    pub kind: VertexKind,
    /// The registered name, such as `files`, `sequence`, `filter`, `aggregate`, `blackhole`.
    pub operator: String,
    /// Number of subtasks, 1-128. Subtask `i` runs in slot `i`.
    pub parallelism: u32,
    /// Where its rows come from; empty for sources.
    pub inputs: Vec<Edge>,
    /// The normalised `with`, as JSON.
    pub config_json: String,
    /// The schema of its output.
    pub columns: Vec<Column>,
    /// Whether its input ends by itself.
    pub bounded: bool,
    /// Whether a task that outlives its fencing does no harm (exactly-once files, blackhole).
    pub zombie_safe: bool,
    /// For sinks that own a path.
    pub sink: Option<SinkInfo>,
}

/// The role of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VertexKind {
    /// Brings rows in.
    Source,
    /// Changes rows.
    Operator,
    /// Takes rows out.
    Sink,
}

/// An input of a vertex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Id of the vertex the rows come from.
    pub from: String,
    /// How they are spread over the subtasks.
    pub partition: Partition,
}

/// How rows are spread over the subtasks of the receiving vertex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partition {
    /// Subtask `i` to subtask `i`.
    Forward,
    /// By key group of these columns.
    Hash {
        /// Names of the key columns.
        by: Vec<String>,
    },
    /// Round robin.
    Rebalance,
    /// Every row to every subtask.
    Broadcast,
}

/// A column of a vertex's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}

/// The types of the job file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataType {
    /// 64-bit signed integer.
    Int64,
    /// Double precision float.
    Float64,
    /// Text.
    Utf8,
    /// True or false.
    Boolean,
    /// Microseconds, UTC.
    Timestamp,
}

/// A sink that owns a path: what the machine claims, stages and commits there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkInfo {
    /// Absolute path or URL.
    pub path: String,
    /// What may already be there.
    pub mode: IfExists,
    /// Whether output appears by two-phase commit.
    pub exactly_once: bool,
}

/// What a sink does with a path that already holds output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfExists {
    /// The job is refused.
    Refuse,
    /// New files are added beside.
    Append,
    /// The files found before the first attempt are deleted.
    Replace,
    /// The sink is the user's own and keeps its transactions where only it knows: its path is empty, and
    /// nothing is claimed, declared or deleted for it.
    NoPath,
}

/// Why a graph can't be accepted. The API has checked more, and earlier; these are the rules that
/// the machine relies on.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum GraphError {
    /// No vertex at all, or too many.
    #[error("a job has between 1 and {VERTICES_MAX} vertices, this one has {0}")]
    VertexCount(u64),
    /// Parallelism out of range.
    #[error("parallelism of vertex {vertex} is {parallelism}; it must be 1 to {PARALLELISM_MAX}")]
    Parallelism {
        /// The vertex.
        vertex: String,
        /// What it asked for.
        parallelism: u32,
    },
    /// Two vertices share an id.
    #[error("vertex id {0} is used twice")]
    DuplicateVertex(String),
    /// An edge comes from a vertex that is not listed before it.
    #[error("vertex {vertex} takes input from {from}, which is not listed before it")]
    UnknownInput {
        /// The receiving vertex.
        vertex: String,
        /// The missing one.
        from: String,
    },
    /// An unbounded exactly-once job would never commit.
    #[error("an unbounded job with an exactly-once sink needs checkpointing.interval")]
    ExactlyOnceWithoutInterval,
    /// A value of `checkpointing` or `restart-strategy` is out of range.
    #[error("{0}")]
    Setting(String),
    /// Two sinks of the job would write to the same place.
    #[error("two sinks of the job share the path {0}")]
    SinksOverlap(String),
    /// The encoded graph is too large.
    #[error("the graph takes {0} bytes; at most {GRAPH_BYTES_MAX} are kept")]
    TooLarge(u64),
}

/// A fingerprint of a graph; equal graphs have equal ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GraphHash(pub u128);

impl fmt::Display for GraphHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for GraphHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphHash({self})")
    }
}

impl JobGraph {
    /// The fingerprint of the encoded graph.
    pub fn hash(&self) -> GraphHash {
        GraphHash(codec::digest(b"graph", &codec::encode(self)))
    }

    /// Slots an attempt needs: subtask `i` of every vertex shares slot `i`.
    pub fn slots_needed(&self) -> u32 {
        self.vertices
            .iter()
            .map(|vertex| vertex.parallelism)
            .max()
            .unwrap_or(0)
    }

    /// The number of subtasks of all vertices.
    pub fn tasks(&self) -> u64 {
        self.vertices
            .iter()
            .map(|vertex| u64::from(vertex.parallelism))
            .sum()
    }

    /// Whether tasks may be replaced before the old ones are proved dead.
    pub fn all_zombie_safe(&self) -> bool {
        self.sinks().all(|vertex| vertex.zombie_safe)
    }

    /// Whether the job ends by itself: all its sources do.
    pub fn bounded(&self) -> bool {
        let mut sources = self
            .vertices
            .iter()
            .filter(|vertex| vertex.kind == VertexKind::Source);
        sources.all(|source| source.bounded)
    }

    /// The sinks, in graph order.
    pub fn sinks(&self) -> impl Iterator<Item = &Vertex> {
        self.vertices
            .iter()
            .filter(|vertex| vertex.kind == VertexKind::Sink)
    }

    /// The sinks that own a path, in graph order, each with its vertex.
    pub fn path_sinks(&self) -> impl Iterator<Item = (&Vertex, &SinkInfo)> {
        self.vertices
            .iter()
            .filter_map(|vertex| Some((vertex, vertex.sink.as_ref()?)))
            .filter(|(_, sink)| sink.mode != IfExists::NoPath)
    }

    /// Whether some sink commits in two phases. Such a job always takes a final checkpoint.
    pub fn has_exactly_once_sink(&self) -> bool {
        let mut sinks = self
            .vertices
            .iter()
            .filter_map(|vertex| vertex.sink.as_ref());
        sinks.any(|sink| sink.exactly_once)
    }

    /// The vertex of that id.
    pub fn vertex(&self, id: &str) -> Option<&Vertex> {
        self.vertices.iter().find(|vertex| vertex.id == id)
    }

    /// The period of checkpoints, if there is one.
    pub fn checkpoint_interval_ms(&self) -> Option<u64> {
        self.checkpointing
            .as_ref()
            .and_then(|config| config.interval_ms)
    }

    /// How many completed checkpoints stay.
    pub fn num_retained(&self) -> usize {
        self.checkpointing
            .as_ref()
            .map_or(1, |config| config.num_retained.max(1) as usize)
    }

    /// What becomes of checkpoints when the job ends.
    pub fn retention(&self) -> Retention {
        self.checkpointing
            .as_ref()
            .map_or(Retention::default(), |config| config.retention)
    }

    /// How many failed checkpoints in a row are tolerated.
    pub fn tolerable_failed_checkpoints(&self) -> u32 {
        self.checkpointing
            .as_ref()
            .map_or(0, |config| config.tolerable_failed)
    }
}

//! The TaskManager's data plane: tasks, operators, connectors, exchange, barriers and state.
//!
//! The engine does what it is told for the attempts it is told about, and reports. It leaves to the
//! agent: who may give orders (epoch, generation, session), the lease itself (asked through
//! [`Authority`] right before every external effect), and the address its data plane is served on.
//! It leaves to the leader: placement, when to checkpoint, what a failure means.

mod align;
mod channel;
mod effects;
mod error;
mod exchange;
mod frame;
mod ids;
mod keys;
mod meter;
mod operators;
mod partition;
mod plan;
mod rate;
mod schema;
mod sinks;
mod sources;
mod store;
mod timestamp;

use std::fmt;
use std::sync::Arc;

use regent_protocol::v1::data_plane_server::DataPlaneServer;
use regent_protocol::v1::{
    AttemptKey, CheckpointAborted, CheckpointAck, CheckpointCompleted, CheckpointDeclined,
    CommitOnly, CommitOnlyDone, Deploy, Epoch, InspectPaths, PathsInspected, SinkCommitted,
    TaskMetrics, TaskReport, TriggerCheckpoint,
};
use tokio::sync::mpsc;

pub use exchange::DataPlaneService;
pub use store::{CheckpointFiles, StoreError};

/// The worker's lease. Checked right before every external effect: opening a staging file,
/// an upload, a rename, an acknowledgement.
pub trait Authority: Send + Sync + 'static {
    /// True while the worker may still act for the present leader.
    fn may_act(&self) -> bool;
}

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineConfig {
    /// Name of the worker, as it is in placements.
    pub worker_id: String,
    /// Incarnation of the worker's process, as it is in placements.
    pub incarnation: u64,
    /// Slots of the worker; a deployment that names more of them is refused.
    pub slots: u32,
    /// Where checkpoint files go.
    pub files: Arc<dyn CheckpointFiles>,
    /// The lease.
    pub authority: Arc<dyn Authority>,
    /// Threads of the engine's own runtime (at least 1).
    pub threads: usize,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("worker_id", &self.worker_id)
            .field("incarnation", &self.incarnation)
            .field("slots", &self.slots)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// What the engine reports. All of it may be sent again after a takeover; receivers deduplicate.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineEvent {
    /// A task changed its phase.
    Task(TaskReport),
    /// A subtask's state of a checkpoint is durable.
    Ack(CheckpointAck),
    /// A subtask can't contribute to a checkpoint.
    Declined(CheckpointDeclined),
    /// A sink subtask committed all that a completed checkpoint lists for it.
    SinkCommitted(SinkCommitted),
    /// A `CommitOnly` order is done, or failed with a cause.
    CommitOnlyDone(CommitOnlyDone),
}

/// The data plane of one TaskManager. Clones share it; the last one dropped ends every task without
/// a report, as a crash would ([`Engine::stopped`] is the orderly way).
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    events: mpsc::Sender<EngineEvent>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.config.fmt(f)
    }
}

impl Engine {
    /// Starts an engine without tasks. The receiver must be drained: the queue is bounded and tasks
    /// wait for room in it.
    #[must_use]
    pub fn start(config: EngineConfig) -> (Self, mpsc::Receiver<EngineEvent>) {
        let (events, receiver) = mpsc::channel(4096);
        let inner = Arc::new(Inner { config, events });
        (Self { inner }, receiver)
    }

    /// Remembers the highest epoch that orders came with; lower ones on data channels are refused.
    pub fn observe_epoch(&self, _epoch: &Epoch) {}

    /// Runs this worker's part of an attempt. Idempotent per token. Older attempts of the same job
    /// are cancelled and awaited first; what goes wrong after the plan was accepted is reported by
    /// the tasks.
    ///
    /// # Errors
    /// The order contradicts itself, names more slots than there are, or is older than an attempt
    /// of that job that is known here.
    pub fn deploy(&self, _order: Deploy) -> Result<(), String> {
        Err("not ready".to_owned())
    }

    /// Cancels an attempt; its tasks end in CANCELED and say so. Unknown attempts are ignored.
    pub fn cancel(&self, _attempt: &AttemptKey) {}

    /// Cancels everything: the lease is over, or a higher generation was met.
    pub fn stop_all(&self) {}

    /// Completes when no task runs and the last external effect has ended. New deployments that
    /// arrive meanwhile are waited for as well, so refuse them first.
    pub async fn stopped(&self) {}

    /// Starts a checkpoint: running sources emit its barrier, finished tasks acknowledge.
    pub fn trigger(&self, _order: TriggerCheckpoint) {}

    /// Sinks commit what that checkpoint lists, and say so, also when there is nothing to commit.
    pub fn completed(&self, _order: CheckpointCompleted) {}

    /// Forgets a checkpoint: alignment, writes and acknowledgements of it end.
    pub fn aborted(&self, _order: CheckpointAborted) {}

    /// The session ended: alignments in progress are cancelled and their inputs unblocked.
    pub fn abort_alignments(&self) {}

    /// Commits what a checkpoint lists without running anything; answered by an event.
    pub fn commit_only(&self, _order: CommitOnly) {}

    /// Every task held, ended ones until [`Engine::forget`].
    #[must_use]
    pub fn held_tasks(&self) -> Vec<TaskReport> {
        Vec::new()
    }

    /// Lets go of attempts whose tasks here have all ended; others are kept.
    pub fn forget(&self, _attempts: &[AttemptKey]) {}

    /// Numbers of every running or finished task; ratios cover the time since the last call.
    #[must_use]
    pub fn metrics(&self) -> Vec<TaskMetrics> {
        Vec::new()
    }

    /// Looks at the paths that sources and sinks name.
    pub async fn inspect(&self, order: InspectPaths) -> PathsInspected {
        PathsInspected {
            request: order.request,
            ..Default::default()
        }
    }

    /// The service that other workers' tasks subscribe at; the agent serves it on the data address.
    #[must_use]
    pub fn data_plane(&self) -> DataPlaneServer<DataPlaneService> {
        DataPlaneServer::new(DataPlaneService {})
    }
}

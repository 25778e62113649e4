//! The TaskManager's data plane: tasks, operators, connectors, exchange, barriers and state.
//!
//! The engine does what it is told for the attempts it is told about, and reports. It leaves to the
//! agent: who may give orders (epoch, generation, session), the lease itself (asked through
//! [`Authority`] right before every external effect), and the address its data plane is served on.
//! It leaves to the leader: placement, when to checkpoint, what a failure means.

mod align;
mod attempt;
mod channel;
mod clock;
mod commit_only;
mod effects;
mod error;
mod exchange;
mod frame;
mod ids;
mod inspect;
#[cfg(feature = "kafka")]
mod kafka;
mod keys;
mod memory;
mod meter;
mod operators;
mod orders;
mod own;
mod partition;
mod plan;
#[doc(hidden)]
pub mod probe;
mod rate;
mod registry;
mod remote;
mod restore;
mod schema;
mod sinks;
mod sources;
mod store;
mod task;
mod timestamp;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1::data_plane_server::DataPlaneServer;
use regent_protocol::v1::{
    AttemptKey, CheckpointAborted, CheckpointAck, CheckpointCompleted, CheckpointDeclined,
    CommitOnly, CommitOnlyDone, Deploy, Epoch, InspectPaths, OperatorOffer, PathProblem,
    PathsInspected, SinkCommitted, TaskMetrics, TaskPhase, TaskReport, TriggerCheckpoint,
};
use regent_security::Dialer;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub use exchange::DataPlaneService;
pub use store::{CheckpointFiles, StoreError};

pub(crate) use effects::Effects;
pub(crate) use error::TaskError;
pub(crate) use ids::AttemptId;
pub(crate) use keys::{KeyDecoder, Keys, group_of};
pub(crate) use operators::{Operator, OperatorState};
pub(crate) use own::restored_of;
pub(crate) use partition::Partitioner;
pub(crate) use schema::arrow_type;
pub(crate) use sinks::ledger::Ledger;
pub(crate) use sinks::{Committed, Sink, SinkState};
pub(crate) use sources::{Source, SourceStep, Tells};
pub(crate) use task::panic_text;

use attempt::{Attempt, Parts};
use registry::{Added, Registry};
use remote::Remote;
use task::{Command, Kill};

/// Reports that wait for the agent before tasks wait for room.
const EVENTS_MAX: usize = 4096;

/// What this engine has built in.
const OFFERS: &[(&str, &str)] = &[
    ("source", "sequence"),
    ("source", "files"),
    ("operator", "filter"),
    ("operator", "select"),
    ("operator", "aggregate"),
    ("sink", "files"),
    ("sink", "blackhole"),
    ("sink", "print"),
    #[cfg(feature = "kafka")]
    ("source", "kafka"),
    #[cfg(feature = "kafka")]
    ("sink", "kafka"),
];

/// Whether a name is taken by what is built in.
pub(crate) fn is_built_in(kind: &str, name: &str) -> bool {
    // The name stays taken in binaries without it: a job file means the same to all of them.
    OFFERS.contains(&(kind, name)) || (name == "kafka" && kind != "operator")
}

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
    /// Bytes that a slot's tasks may keep as state and let wait in their channels.
    pub slot_memory: u64,
    /// A task that was told to end and hasn't after this time is reported as stuck.
    pub cancel_within: Duration,
    /// Where checkpoint files go.
    pub files: Arc<dyn CheckpointFiles>,
    /// The lease.
    pub authority: Arc<dyn Authority>,
    /// Threads of the engine's own runtime (at least 1).
    pub threads: usize,
    /// Sources, operators and sinks beside the built-in ones.
    pub own: Arc<crate::own::Registry>,
    /// Connections to other workers.
    pub dialer: Dialer,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("worker_id", &self.worker_id)
            .field("incarnation", &self.incarnation)
            .field("slots", &self.slots)
            .field("slot_memory", &self.slot_memory)
            .field("cancel_within", &self.cancel_within)
            .field("threads", &self.threads)
            .field("own", &self.own)
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
/// a report, as a crash would ([`Engine::stop_all`] and [`Engine::stopped`] are the orderly way).
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// Held by engines only, never by their tasks: a runtime can't be dropped by its own threads.
    runtime: Arc<OwnRuntime>,
}

struct Shared {
    config: EngineConfig,
    events: mpsc::Sender<EngineEvent>,
    registry: Arc<Registry>,
    /// Orders to commit without running that are in progress.
    commits: TaskTracker,
}

/// Threads of the tasks alone, so that neither their work nor their waiting holds up the session.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start(threads: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("regent-engine")
            .enable_all()
            .build()
            .expect("a process that starts can spawn the engine's threads");
        Self(Some(runtime))
    }

    fn handle(&self) -> &Handle {
        let runtime = self.0.as_ref();
        runtime.expect("the runtime is only taken by drop").handle()
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.config.fmt(f)
    }
}

impl Engine {
    /// Starts an engine without tasks. The receiver must be drained: the queue is bounded and tasks
    /// wait for room in it.
    ///
    /// # Panics
    /// When the process can't spawn the engine's threads.
    #[must_use]
    pub fn start(config: EngineConfig) -> (Self, mpsc::Receiver<EngineEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let runtime = Arc::new(OwnRuntime::start(config.threads));
        let shared = Arc::new(Shared {
            config,
            events,
            registry: Arc::default(),
            commits: TaskTracker::new(),
        });
        (Self { shared, runtime }, receiver)
    }

    /// Sources, operators and sinks that this engine has, with the versions of their states.
    #[must_use]
    pub fn offers(&self) -> Vec<OperatorOffer> {
        let offer = |kind: &str, name: &str, version, own| OperatorOffer {
            kind: kind.to_owned(),
            name: name.to_owned(),
            version,
            own,
        };
        let built_in = OFFERS.iter();
        let built_in = built_in.map(|(kind, name)| offer(kind, name, 1, false));
        let own = self.shared.config.own.iter();
        let own = own.map(|(kind, name, entry)| offer(kind, name, entry.version, true));
        built_in.chain(own).collect()
    }

    /// Remembers the highest epoch that orders came with; lower ones on data channels are refused.
    pub fn observe_epoch(&self, epoch: &Epoch) {
        self.shared.registry.epoch().observe(epoch);
    }

    /// Runs this worker's part of an attempt. Idempotent per token. Older attempts of the same job
    /// are cancelled and awaited first; what goes wrong after the plan was accepted is reported by
    /// the tasks.
    ///
    /// # Errors
    /// The order contradicts itself, names more slots than there are, or is older than an attempt
    /// of that job that is known here.
    pub fn deploy(&self, order: Deploy) -> Result<(), String> {
        let config = &self.shared.config;
        let key = order.attempt.as_ref().and_then(AttemptId::of);
        let id = key.ok_or("the order names no attempt")?;
        let plan = plan::plan(
            &order,
            (&config.worker_id, config.incarnation),
            config.slots,
        )?;
        let parts = Parts {
            config,
            events: &self.shared.events,
            epoch: self.shared.registry.epoch(),
        };
        let make = || {
            let attempt = Attempt::new(id.clone(), order, &plan, &parts);
            attempt.map(Arc::new).map_err(|e| e.to_string())
        };
        match self.shared.registry.add(&id, make)? {
            Added::Known => Ok(()),
            Added::Stale(later) => Err(format!("{later} is later and known here")),
            Added::New { attempt, older } => {
                tracing::info!(attempt = %id, tasks = plan.tasks.len(), "deploying");
                self.runtime.handle().spawn(attempt.start(&older));
                Ok(())
            }
        }
    }

    /// Cancels an attempt; its tasks end in CANCELED and say so. Unknown attempts are ignored.
    pub fn cancel(&self, attempt: &AttemptKey) {
        if let Some(attempt) = self.shared.registry.get(attempt) {
            attempt.kill(&Kill::Cancel);
        }
    }

    /// Cancels everything: the lease is over, or a higher generation was met.
    pub fn stop_all(&self) {
        for attempt in self.shared.registry.all() {
            attempt.kill(&Kill::Cancel);
        }
    }

    /// Completes when no task runs and the last external effect has ended. Deployments that arrive
    /// meanwhile are waited for as well, so refuse them first.
    pub async fn stopped(&self) {
        for attempt in self.shared.registry.all() {
            attempt.ended().await;
        }
        self.shared.commits.close();
        self.shared.commits.wait().await;
    }

    /// Starts a checkpoint: running sources emit its barrier, finished tasks acknowledge.
    pub fn trigger(&self, order: TriggerCheckpoint) {
        let Some(attempt) = self.named(order.attempt.as_ref()) else {
            return;
        };
        let id = order.checkpoint_id;
        if attempt.orders().trigger(order) {
            attempt.command(Command::Trigger(id));
        }
    }

    /// Sinks commit what that checkpoint lists, and say so, also when there is nothing to commit.
    pub fn completed(&self, order: CheckpointCompleted) {
        if let Some(attempt) = self.named(order.attempt.as_ref()) {
            attempt.orders().complete(order.checkpoint_id);
            attempt.command(Command::Completed(order.checkpoint_id));
        }
    }

    /// Forgets a checkpoint: alignment, writes and acknowledgements of it end.
    pub fn aborted(&self, order: CheckpointAborted) {
        if let Some(attempt) = self.named(order.attempt.as_ref()) {
            attempt.orders().abort(order.checkpoint_id);
            attempt.command(Command::Aborted(order.checkpoint_id));
        }
    }

    /// The session ended: alignments in progress are cancelled and their inputs unblocked.
    pub fn abort_alignments(&self) {
        for attempt in self.shared.registry.all() {
            attempt.command(Command::AbortAlignments);
        }
    }

    /// Commits what a checkpoint lists without running anything; answered by an event.
    pub fn commit_only(&self, order: CommitOnly) {
        let shared = self.shared.clone();
        let work = async move {
            let done = commit_only::commit_only(&shared.config, order).await;
            // Without a receiver the worker is going down; the leader asks again.
            let _ = shared.events.send(EngineEvent::CommitOnlyDone(done)).await;
        };
        self.shared.commits.spawn_on(work, self.runtime.handle());
    }

    /// Every task held, ended ones until [`Engine::forget`].
    #[must_use]
    pub fn held_tasks(&self) -> Vec<TaskReport> {
        let mut reports = Vec::new();
        for attempt in self.shared.registry.all() {
            let tasks = attempt.tasks().iter();
            let within = self.shared.config.cancel_within;
            reports.extend(tasks.map(|task| task.report(attempt.key(), within)));
        }
        reports
    }

    /// Tasks that have become stuck since the last call: they were told to end, and their code doesn't
    /// come back.
    #[must_use]
    pub fn newly_stuck(&self) -> Vec<TaskReport> {
        let within = self.shared.config.cancel_within;
        let mut reports = Vec::new();
        for attempt in self.shared.registry.all() {
            let tasks = attempt.tasks().iter();
            reports.extend(tasks.filter_map(|task| task.newly_stuck(attempt.key(), within)));
        }
        reports
    }

    /// Tasks that turn out to be slow to start since the last call. That they run, or failed, is told
    /// without being asked for.
    #[must_use]
    pub fn newly_slow(&self) -> Vec<TaskReport> {
        let mut reports = Vec::new();
        for attempt in self.shared.registry.all() {
            let tasks = attempt.tasks().iter();
            reports.extend(tasks.filter_map(|task| task.newly_slow(attempt.key())));
        }
        reports
    }

    /// How many tasks are stuck now.
    #[must_use]
    pub fn stuck(&self) -> usize {
        let within = self.shared.config.cancel_within;
        let attempts = self.shared.registry.all();
        let tasks = attempts.iter().flat_map(|attempt| attempt.tasks());
        tasks.filter(|task| task.is_stuck(within)).count()
    }

    /// Lets go of attempts whose tasks here have all ended; others are kept.
    pub fn forget(&self, attempts: &[AttemptKey]) {
        for attempt in attempts {
            self.shared.registry.forget(attempt);
        }
    }

    /// Numbers of every running or finished task; ratios cover the time since the last call.
    #[must_use]
    pub fn metrics(&self) -> Vec<TaskMetrics> {
        let counted = |phase| matches!(phase, TaskPhase::Running | TaskPhase::Finished);
        let mut metrics = Vec::new();
        for attempt in self.shared.registry.all() {
            let tasks = attempt.tasks().iter();
            let tasks = tasks.filter(|task| counted(task.status.phase()));
            metrics.extend(tasks.map(|task| task.metrics(attempt.key())));
        }
        metrics
    }

    /// Looks at the paths that sources and sinks name, and asks the user's code for its schemas.
    pub async fn inspect(&self, order: InspectPaths) -> PathsInspected {
        let request = order.request;
        let runtime = self.runtime.handle();
        let registry = self.shared.config.own.clone();
        let remote = Remote::new(self.shared.config.files.clone());
        let looked = runtime
            .spawn_blocking(move || {
                let mut answer = inspect::inspect(&order, &remote);
                let asked = order.describe.iter();
                answer.descriptions = asked.map(|v| own::describe(&registry, v)).collect();
                answer
            })
            .await;
        looked.unwrap_or_else(|error| PathsInspected {
            request,
            problems: vec![PathProblem {
                vertex: String::new(),
                message: format!("looking at the paths failed: {error}"),
                ..PathProblem::default()
            }],
            existing_files: Vec::new(),
            descriptions: Vec::new(),
        })
    }

    /// The service that other workers' tasks subscribe at; the agent serves it on the data address.
    /// Streams last as long as their attempt: a limit on time or on streams of a connection below
    /// 100 would break jobs.
    #[must_use]
    pub fn data_plane(&self) -> DataPlaneServer<DataPlaneService> {
        let registry = self.shared.registry.clone();
        let runtime = self.runtime.handle().clone();
        DataPlaneServer::new(DataPlaneService::new(registry, runtime))
    }

    fn named(&self, key: Option<&AttemptKey>) -> Option<Arc<Attempt>> {
        self.shared.registry.get(key?)
    }
}

//! One subtask of one vertex of one attempt: its life from DEPLOYING to its end.
//!
//! | file | does |
//! | --- | --- |
//! | `handle` | what others hold of a task: commands, the kill switch, status |
//! | `prepare` | restores state, opens inputs, builds the source, operator or sink |
//! | `source`, `process` | the two loops: rows out; rows in and through |
//! | `finished` | a task after its last row: acknowledges and commits until it is let go |
//! | `checkpoint` | writes states and acknowledges them |

mod checkpoint;
mod finished;
mod handle;
mod prepare;
mod process;
mod source;
mod watermark;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use regent_protocol::v1::{
    AttemptKey, CheckpointDeclined, Deploy, SinkCommitted, TaskMetrics, TaskPhase, TaskState,
    VertexPlan,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use handle::{Command, Kill, KillSwitch, Status, TaskHandle};

use self::checkpoint::Checkpointer;
use super::EngineEvent;
use super::channel::{Inputs, Outputs};
use super::effects::Effects;
use super::error::TaskError;
use super::exchange::Connections;
use super::ids::{AttemptId, TaskId};
use super::memory::TaskMemory;
use super::meter::{Meter, Seen};
use super::operators::Operator;
use super::orders::Orders;
use super::restore::Checkpoint;
use super::sinks::{Committed, Sink};
use super::sources::{ListingCache, Source};
use super::store::CheckpointFiles;
use crate::own::Registry;

/// What a task is made of; shared with what works for it.
pub(crate) struct Context {
    pub(crate) attempt: AttemptId,
    pub(crate) key: AttemptKey,
    pub(crate) id: TaskId,
    pub(crate) order: Arc<Deploy>,
    /// The vertex's place in the order.
    pub(crate) vertex: usize,
    pub(crate) events: mpsc::Sender<EngineEvent>,
    pub(crate) files: Arc<dyn CheckpointFiles>,
    pub(crate) effects: Effects,
    pub(crate) orders: Arc<Orders>,
    pub(crate) restore: Option<Arc<Checkpoint>>,
    pub(crate) listings: Arc<ListingCache>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) status: Arc<Status>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) memory: Arc<TaskMemory>,
    pub(crate) kill: Arc<KillSwitch>,
    pub(crate) own: Arc<Registry>,
}

impl Context {
    pub(crate) fn plan(&self) -> &VertexPlan {
        &self.order.vertices[self.vertex]
    }

    /// The task's name for what is said of it, if it runs the user's code.
    fn own_name(&self) -> Option<String> {
        let VertexPlan { kind, operator, .. } = self.plan();
        let own = self.own.find(kind, operator).is_some();
        own.then(|| format!("{} ({kind} {operator})", self.id))
    }

    /// Checkpoints up to this one were over before the attempt began.
    fn restored_floor(&self) -> u64 {
        self.restore.as_ref().map_or(0, |restore| restore.floor())
    }

    async fn event(&self, event: EngineEvent) {
        // Without a receiver the worker is going down, and nobody waits for the report.
        let _ = self.events.send(event).await;
    }

    async fn report(&self, phase: TaskPhase, error: Option<&TaskError>) {
        self.status.set(phase, error);
        let mut report = self.status.report(&self.key, &self.id);
        if !matches!(phase, TaskPhase::Deploying | TaskPhase::Running) {
            report.metrics = Some(Box::new(self.last_metrics()));
        }
        tracing::debug!(attempt = %self.attempt, task = %self.id, phase = ?phase, "task");
        self.event(EngineEvent::Task(report)).await;
    }

    /// The figures of all its time: no heartbeat may be sent between the last row and the job's end.
    fn last_metrics(&self) -> TaskMetrics {
        let mut metrics = TaskMetrics {
            attempt: Some(self.key.clone()),
            task: Some(self.id.key()),
            ..TaskMetrics::default()
        };
        self.meter.sample(&mut Seen::default(), &mut metrics);
        metrics
    }

    async fn decline(&self, checkpoint_id: u64, cause: String) {
        let declined = CheckpointDeclined {
            attempt: Some(self.key.clone()),
            task: Some(self.id.key()),
            checkpoint_id,
            cause,
        };
        self.event(EngineEvent::Declined(declined)).await;
    }
}

/// The ends of a task's channels, made with the attempt.
pub(crate) struct Ends {
    pub(crate) commands: mpsc::Receiver<Command>,
    /// One for each planned input: local ones are there, remote ones are opened by the task.
    pub(crate) inputs: Vec<InputEnd>,
    pub(crate) outputs: Outputs,
    /// Completed when another worker's task has taken everything of a channel.
    pub(crate) delivered: Vec<oneshot::Receiver<()>>,
}

/// An input as the task finds it.
pub(crate) enum InputEnd {
    Local(mpsc::Receiver<super::channel::Element>),
    Remote {
        address: String,
        channel: super::ids::ChannelId,
    },
}

/// The part of a task that differs by kind.
enum Node {
    Source(Box<dyn Source>),
    Operator(Box<dyn Operator>),
    Sink(Box<dyn Sink>),
}

impl Node {
    /// Bytes that its client may take for what it has fetched or not sent yet.
    fn client_bytes(&self) -> u64 {
        match self {
            Self::Source(source) => source.client_bytes(),
            Self::Operator(_) => 0,
            Self::Sink(sink) => sink.client_bytes(),
        }
    }

    /// Bytes of state in memory, as far as they can be told cheaply.
    fn state_bytes(&self) -> u64 {
        match self {
            Self::Source(source) => source.state_bytes(),
            Self::Operator(operator) => operator.state_bytes(),
            Self::Sink(sink) => sink.state_bytes(),
        }
    }

    /// The state for a checkpoint.
    fn snapshot(&mut self, checkpoint: u64, finished: bool) -> Result<TaskState, TaskError> {
        let mut state = TaskState {
            finished,
            ..TaskState::default()
        };
        match self {
            Self::Source(source) => state.operator_items = source.snapshot()?,
            Self::Operator(operator) => {
                let kept = operator.snapshot()?;
                state.key_groups = kept.key_groups;
                state.operator_items = kept.items;
            }
            Self::Sink(sink) => {
                let kept = sink.snapshot(checkpoint)?;
                state.operator_items = kept.items;
                state.transactions = kept.transactions;
                state.next_sequence = kept.next_sequence;
            }
        }
        Ok(state)
    }
}

/// A task that lives.
struct Live {
    context: Arc<Context>,
    commands: mpsc::Receiver<Command>,
    input_ends: Vec<InputEnd>,
    inputs: Inputs,
    /// Tasks that bring elements from other workers; they end with this.
    pumps: JoinSet<()>,
    outputs: Outputs,
    delivered: Vec<oneshot::Receiver<()>>,
    checkpointer: Checkpointer,
}

/// Runs a task to its end and reports it; then `ended` is cancelled.
pub(crate) async fn run(context: Arc<Context>, ends: Ends, ended: CancellationToken) {
    let mut live = Box::new(Live {
        checkpointer: Checkpointer::new(context.clone()),
        context: context.clone(),
        commands: ends.commands,
        input_ends: ends.inputs,
        inputs: Inputs::new(Vec::new()),
        pumps: JoinSet::new(),
        outputs: ends.outputs,
        delivered: ends.delivered,
    });
    let life = AssertUnwindSafe(live.live()).catch_unwind();
    let life = Box::pin(crate::own::within(context.own_name(), life));
    let outcome = tokio::select! {
        biased;
        kill = context.kill.fired() => Outcome::Killed(kill),
        result = life => Outcome::Over(result),
    };
    live.checkpointer.stop().await;
    if !context.effects.drain().await {
        tracing::warn!(task = %context.id, "file work goes on after the end of its task");
    }
    // Reported before the channels break, so that the cause comes before what follows from it.
    report_end(&context, outcome).await;
    drop(live);
    ended.cancel();
}

enum Outcome {
    Killed(Kill),
    Over(Result<Result<(), TaskError>, Box<dyn Any + Send>>),
}

async fn report_end(context: &Context, outcome: Outcome) {
    let error = match outcome {
        Outcome::Killed(Kill::Cancel) => {
            context.report(TaskPhase::Canceled, None).await;
            return;
        }
        // Let go of after its end: nobody is interested any more.
        Outcome::Over(Ok(Ok(()))) => return,
        Outcome::Killed(Kill::Fail(error)) | Outcome::Over(Ok(Err(error))) => error,
        Outcome::Over(Err(panic)) => TaskError::task(format!("panic: {}", panic_text(&*panic))),
    };
    tracing::info!(attempt = %context.attempt, task = %context.id, %error, "task failed");
    context.report(TaskPhase::Failed, Some(&error)).await;
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

impl Live {
    /// From restore to being let go. Errors fail the task.
    async fn live(&mut self) -> Result<(), TaskError> {
        let mut node = self.prepare().await?;
        self.context.memory.reserve(node.client_bytes())?;
        self.context.memory.hold(node.state_bytes())?;
        self.context.report(TaskPhase::Running, None).await;
        let floor = if self.context.order.commit_only {
            self.context.restored_floor()
        } else {
            match &mut node {
                Node::Source(source) => self.run_source(source).await?,
                node => self.run_process(node).await?,
            }
        };
        self.run_finished(node, floor).await
    }

    /// Commits what a completed checkpoint lists, and says so.
    async fn commit(&mut self, node: &mut Node, checkpoint: u64) -> Result<(), TaskError> {
        let Node::Sink(sink) = node else {
            return Ok(());
        };
        let committed = sink.commit(checkpoint).await?;
        self.context.status.set_pending(sink.pending());
        if committed == Committed::Unknown {
            tracing::warn!(
                attempt = %self.context.attempt, task = %self.context.id, checkpoint,
                "a checkpoint was announced that this subtask has no part in"
            );
            return Ok(());
        }
        self.context.effects.allowed()?;
        let event = SinkCommitted {
            attempt: Some(self.context.key.clone()),
            task: Some(self.context.id.key()),
            checkpoint_id: checkpoint,
        };
        self.context.event(EngineEvent::SinkCommitted(event)).await;
        Ok(())
    }
}

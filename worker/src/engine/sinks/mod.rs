//! Sinks: where rows end up. Two-phase sinks hand out transactions with their state and commit them
//! when the checkpoint that lists them is complete; when that is, the task knows.

mod blackhole;
pub(crate) mod committing;
pub(crate) mod files;
#[cfg(feature = "kafka")]
mod kafka;
pub(crate) mod ledger;
mod print;
pub(crate) mod text;

use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_protocol::v1::{Transaction, VertexPlan};

use super::effects::Effects;
use super::error::TaskError;
use super::ids::AttemptId;
use super::operators::config;

/// What a sink keeps for a checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SinkState {
    pub(crate) items: Vec<Bytes>,
    /// Everything written up to the barrier that isn't committed yet.
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) next_sequence: u64,
}

/// What became of an announced checkpoint in a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Everything that the checkpoint lists is committed.
    All,
    /// This subtask never contributed to that checkpoint: the announcement isn't for it.
    Unknown,
}

/// One subtask of a sink.
pub(crate) trait Sink: Send {
    /// Before the first batch: whatever the restored checkpoint lists is committed.
    fn prepare(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Takes one batch.
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>>;

    /// When [`Sink::roll`] wants to be called, if there is nothing else to do.
    fn deadline(&self) -> Option<Instant>;

    /// Makes everything taken so far durable: at a barrier, and when the deadline is over.
    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>>;

    /// All inputs have ended.
    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>>;

    /// The state at the barrier of a checkpoint, after [`Sink::roll`] or [`Sink::end`]. An error
    /// fails the task.
    fn snapshot(&mut self, checkpoint: u64) -> Result<SinkState, TaskError>;

    /// The checkpoint is complete: commit what it lists.
    fn commit(&mut self, checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>>;

    /// The checkpoint will never be complete.
    fn abort(&mut self, checkpoint: u64);

    /// Bytes of state in memory. Asked after every batch, so it is kept, not counted.
    fn state_bytes(&self) -> u64 {
        0
    }

    /// The most that it may take of memory for what it was given and has not got rid of, in bytes. Asked once.
    fn client_bytes(&self) -> u64 {
        0
    }

    /// Transactions that aren't committed.
    fn pending(&self) -> u32;
}

/// What a subtask of a sink starts from.
pub(crate) struct SinkStart {
    pub(crate) attempt: AttemptId,
    /// Name of the job, for people.
    pub(crate) job_name: String,
    pub(crate) subtask: u32,
    /// The checkpoint restored from (0: none): whatever it lists is committed before rows flow.
    pub(crate) restored: u64,
    /// Items of all subtasks of the restored state.
    pub(crate) items: Vec<Bytes>,
    pub(crate) effects: Effects,
}

/// The sink that a vertex names.
pub(crate) async fn build(plan: &VertexPlan, start: SinkStart) -> Result<Box<dyn Sink>, TaskError> {
    match plan.operator.as_str() {
        "blackhole" => Ok(Box::new(blackhole::Blackhole)),
        "print" => Ok(Box::new(print::Print::new(plan, &start)?)),
        "files" => {
            let sink = files::FilesSink::new(&config(plan)?, &plan.columns, start)?;
            Ok(Box::new(sink))
        }
        #[cfg(feature = "kafka")]
        "kafka" => kafka::build(&config(plan)?, plan, start).await,
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(TaskError::task(regent_protocol::WITHOUT_KAFKA)),
        other => Err(TaskError::task(format!("unknown sink {other}"))),
    }
}

//! Sources: where rows come from, at which position, and how fast. Emitting barriers, sending and
//! storing positions belong to the task.

mod files;
#[cfg(feature = "kafka")]
mod kafka;
mod sequence;
mod skips;
#[cfg(any(test, feature = "kafka"))]
mod split_clock;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use regent_protocol::v1::VertexPlan;

#[cfg(feature = "kafka")]
use super::clock::EventTime;
use super::error::TaskError;
use super::operators::config;
use super::remote::Remote;
#[cfg(feature = "kafka")]
use super::schema::schema_of;

pub(crate) use files::{ListingCache, check_header, list as list_files, resolve as resolve_files};

/// Rows of one batch when nothing limits the rate.
pub(crate) const BATCH_ROWS: usize = 8192;

/// What a source has to offer now.
#[derive(Debug)]
pub(crate) enum SourceStep {
    /// Rows, at least one. The source's position is behind them.
    Batch(RecordBatch),
    /// No row with an earlier time follows; microseconds. The outputs' watermark never goes back.
    Watermark(i64),
    /// Nothing comes for a while: windows needn't wait for it. Only of a source that tells its silence.
    #[cfg_attr(
        not(feature = "kafka"),
        allow(
            dead_code,
            reason = "only the source `kafka` reads splits side by side"
        )
    )]
    Idle,
    /// Nothing before that instant.
    Wait(Instant),
    /// Nothing ever again.
    End,
}

/// What a source says of event time itself, where a window asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// Nothing: the highest time of its rows is its watermark.
    Nothing,
    /// How far it has come.
    Watermarks,
    /// That, and when it is idle.
    #[cfg_attr(
        not(feature = "kafka"),
        allow(
            dead_code,
            reason = "only the source `kafka` reads splits side by side"
        )
    )]
    Silence,
}

/// One subtask of a source.
pub(crate) trait Source: Send {
    /// The next step. Never waits for the rate: that is [`SourceStep::Wait`].
    fn next(&mut self) -> BoxFuture<'_, Result<SourceStep, TaskError>>;

    /// The position behind all batches that were handed out, cut so that any parallelism can take
    /// the pieces over. An error fails the task.
    fn snapshot(&mut self) -> Result<Vec<Bytes>, TaskError>;

    /// Rows that did not parse and were skipped, since the job began: also before what was restored.
    fn skipped(&self) -> u64;

    /// What it says of event time itself.
    fn tells(&self) -> Tells {
        Tells::Nothing
    }

    /// Bytes of state in memory. Asked after every batch, so it is kept, not counted.
    fn state_bytes(&self) -> u64 {
        0
    }

    /// The most that it may take of memory for what it has fetched and not handed out, in bytes. Asked once.
    fn client_bytes(&self) -> u64 {
        0
    }

    /// The position that was just handed out is of this checkpoint.
    fn marked(&mut self, _checkpoint: u64) {}

    /// The checkpoint is complete. For what others may see of the position; the state is what counts.
    fn completed(&mut self, _checkpoint: u64) {}
}

/// What a subtask of a source starts from.
pub(crate) struct SourceStart {
    pub(crate) subtask: u32,
    pub(crate) parallelism: u32,
    /// The pieces of all subtasks of the restored state; `None` starts from the beginning.
    pub(crate) restored: Option<Vec<Bytes>>,
    /// Shared by the subtasks of the attempt on this worker.
    pub(crate) listings: Arc<ListingCache>,
    /// Buckets, where paths may lie.
    pub(crate) remote: Option<Remote>,
}

/// The source that a vertex names.
pub(crate) async fn build(
    plan: &VertexPlan,
    start: SourceStart,
) -> Result<Box<dyn Source>, TaskError> {
    match plan.operator.as_str() {
        "sequence" => Ok(Box::new(sequence::Sequence::new(&config(plan)?, &start)?)),
        "files" => {
            let source = files::FilesSource::start(config(plan)?, &plan.id, start).await?;
            Ok(Box::new(source))
        }
        #[cfg(feature = "kafka")]
        "kafka" => {
            let schema = schema_of(&plan.columns)?;
            let time = EventTime::of(plan, &schema)?;
            let source = kafka::KafkaSource::start(config(plan)?, &plan.id, time, start).await?;
            Ok(Box::new(source))
        }
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(TaskError::task(regent_protocol::WITHOUT_KAFKA)),
        other => Err(TaskError::task(format!("unknown source {other}"))),
    }
}

//! Sinks of one's own, and how the engine runs one: rows at least once. Those whose output appears
//! exactly once are `two_phase`'s.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::list::Listed;
use super::operator::told;
use super::{Result, Setup};
use crate::engine::{Committed, Effects, SinkState, TaskError};

/// Where rows end up. One value runs each subtask. After a restart rows since the last checkpoint
/// come again: writing a row twice should do no harm, as with a key-value store's put.
pub trait Sink: Send + 'static {
    /// See [`super::Operator::VERSION`].
    const VERSION: u32 = 1;

    /// True if a task that goes on unseen, because its machine was cut off or frozen, can do no harm
    /// beside the task that replaced it. Then tasks are replaced at once when their worker is lost,
    /// else after its lease is over.
    const ZOMBIE_SAFE: bool = false;

    /// Looks at configuration and input when a job is submitted, where an error refuses it.
    ///
    /// # Errors
    /// What is wrong with configuration or input.
    fn check(_setup: &Setup) -> Result<()> {
        Ok(())
    }

    /// Takes rows. Runs on a tokio runtime; work that blocks belongs into
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// Fails the task.
    fn write(&mut self, rows: RecordBatch) -> impl Future<Output = Result<()>> + Send;

    /// Makes everything that was written durable: called before each checkpoint and after the last
    /// row. What it leaves undone is lost with the worker.
    ///
    /// # Errors
    /// Fails the task.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// A sink without its type.
pub(crate) trait AnySink: Send {
    fn write(&mut self, rows: RecordBatch) -> BoxFuture<'_, Result<()>>;
    fn flush(&mut self) -> BoxFuture<'_, Result<()>>;
}

impl<S: Sink> AnySink for S {
    fn write(&mut self, rows: RecordBatch) -> BoxFuture<'_, Result<()>> {
        Sink::write(self, rows).boxed()
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<()>> {
        Sink::flush(self).boxed()
    }
}

/// One subtask of a sink of one's own, as the engine runs it.
pub(crate) struct RunningSink {
    sink: Box<dyn AnySink>,
    lists: Vec<Arc<dyn Listed>>,
    effects: Effects,
}

impl RunningSink {
    pub(crate) fn start(
        mut setup: Setup,
        effects: Effects,
        build: impl FnOnce(&mut Setup) -> Result<Box<dyn AnySink>>,
    ) -> Result<Self> {
        let sink = build(&mut setup)?;
        let (_, lists) = setup.into_state()?;
        Ok(Self {
            sink,
            lists,
            effects,
        })
    }

    async fn flush(&mut self) -> Result<(), TaskError> {
        self.effects.allowed()?;
        told(self.sink.flush().await)
    }

    async fn take(&mut self, rows: RecordBatch) -> Result<(), TaskError> {
        self.effects.allowed()?;
        told(self.sink.write(rows).await)
    }

    fn state(&self) -> Result<SinkState> {
        let mut state = SinkState::default();
        for list in &self.lists {
            list.encode(&mut state.items)?;
        }
        Ok(state)
    }
}

impl crate::engine::Sink for RunningSink {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        self.take(batch).boxed()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.flush().boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.flush().boxed()
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<SinkState, TaskError> {
        told(self.state())
    }

    fn commit(&mut self, _checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>> {
        std::future::ready(Ok(Committed::All)).boxed()
    }

    fn abort(&mut self, _checkpoint: u64) {}

    fn state_bytes(&self) -> u64 {
        self.lists.iter().map(|list| list.bytes()).sum()
    }

    fn pending(&self) -> u32 {
        0
    }
}

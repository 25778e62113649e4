//! Sources of one's own, and how the engine runs one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::ArrayRef;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::list::Listed;
use super::operator::told;
use super::{Columns, Result, Schemas, Setup};
use crate::engine::{SourceStep, TaskError, Tells};

/// What a source has to offer now.
#[derive(Debug)]
pub enum Next {
    /// Rows: all columns of the schema, in its order. The source's state is behind them.
    Rows(Vec<ArrayRef>),
    /// No row with an earlier time follows from this subtask; microseconds.
    Watermark(i64),
    /// Nothing for that long.
    Wait(Duration),
    /// Nothing ever again.
    End,
}

/// Where rows come from. One value runs each subtask. Its position is state
/// ([`Setup::list`]): whatever was handed out must be behind it, so that a restart goes on with
/// the row that follows, and never with one before or after.
pub trait Source: Send + 'static {
    /// See [`super::Operator::VERSION`].
    const VERSION: u32 = 1;

    /// True if it says itself, with [`Next::Watermark`], how far its time has come, and built-in windows
    /// are to go by that. Without it they go by the highest time among its rows, so that rows out of order
    /// are late, and a watermark beside that fails the task.
    const TELLS_TIME: bool = false;

    /// The columns of the rows. Also asked when a job is submitted, where an error refuses it.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    fn schema(setup: &Setup) -> Result<Columns>;

    /// True if it ends by itself.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    fn bounded(_setup: &Setup) -> Result<bool> {
        Ok(false)
    }

    /// What comes next. Must answer soon, with [`Next::Wait`] if there is nothing: checkpoints are
    /// taken between two calls. Runs on a tokio runtime; work that blocks belongs into
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// Fails the task.
    fn next(&mut self) -> impl Future<Output = Result<Next>> + Send;
}

/// A source without its type.
pub(crate) trait AnySource: Send {
    fn next(&mut self) -> BoxFuture<'_, Result<Next>>;

    fn tells_time(&self) -> bool;
}

impl<S: Source> AnySource for S {
    fn tells_time(&self) -> bool {
        S::TELLS_TIME
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Next>> {
        Source::next(self).boxed()
    }
}

/// One subtask of a source of one's own, as the engine runs it.
pub(crate) struct RunningSource {
    source: Box<dyn AnySource>,
    lists: Vec<Arc<dyn Listed>>,
    schemas: Schemas,
}

impl RunningSource {
    pub(crate) fn start(
        mut setup: Setup,
        schemas: Schemas,
        build: impl FnOnce(&mut Setup) -> Result<Box<dyn AnySource>>,
    ) -> Result<Self> {
        let source = build(&mut setup)?;
        let (_, lists) = setup.into_state()?;
        Ok(Self {
            source,
            lists,
            schemas,
        })
    }

    async fn step(&mut self) -> Result<SourceStep> {
        loop {
            match self.source.next().await? {
                Next::Rows(columns) => {
                    let batch = self.schemas.batch(columns)?;
                    if batch.num_rows() > 0 {
                        return Ok(SourceStep::Batch(batch));
                    }
                    // No rows are no step, but others must have their turn.
                    tokio::task::yield_now().await;
                }
                Next::Watermark(micros) => return Ok(SourceStep::Watermark(micros)),
                Next::Wait(time) => {
                    let until = Instant::now().checked_add(time);
                    // Longer than clocks can count is as good as an hour, and then again.
                    let hour = Duration::from_secs(3600);
                    return Ok(SourceStep::Wait(
                        until.unwrap_or_else(|| Instant::now() + hour),
                    ));
                }
                Next::End => return Ok(SourceStep::End),
            }
        }
    }

    fn state(&self) -> Result<Vec<Bytes>> {
        let mut items = Vec::new();
        for list in &self.lists {
            list.encode(&mut items)?;
        }
        Ok(items)
    }
}

impl crate::engine::Source for RunningSource {
    fn next(&mut self) -> BoxFuture<'_, Result<SourceStep, TaskError>> {
        async { told(self.step().await) }.boxed()
    }

    fn snapshot(&mut self) -> Result<Vec<Bytes>, TaskError> {
        told(self.state())
    }

    fn skipped(&self) -> u64 {
        0
    }

    fn tells(&self) -> Tells {
        match self.source.tells_time() {
            true => Tells::Watermarks,
            false => Tells::Nothing,
        }
    }

    fn state_bytes(&self) -> u64 {
        self.lists.iter().map(|list| list.bytes()).sum()
    }
}

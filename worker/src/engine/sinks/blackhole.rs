//! `sink: blackhole`: drops rows; the task's own counters count them.

use std::time::Instant;

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Committed, Sink, SinkState};
use crate::engine::error::TaskError;

/// Keeps nothing, so everything is always committed.
#[derive(Debug)]
pub(crate) struct Blackhole;

impl Sink for Blackhole {
    fn write(&mut self, _batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        done()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        done()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        done()
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<SinkState, TaskError> {
        Ok(SinkState::default())
    }

    fn commit(&mut self, _checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>> {
        std::future::ready(Ok(Committed::All)).boxed()
    }

    fn abort(&mut self, _checkpoint: u64) {}

    fn pending(&self) -> u32 {
        0
    }
}

fn done() -> BoxFuture<'static, Result<(), TaskError>> {
    std::future::ready(Ok(())).boxed()
}

//! `source: files`: the files that are there at the job's first start, whole files as splits. The
//! list is fixed then and lives in the state; split k belongs to subtask k mod parallelism. A file
//! is read up to the end that it has when it is reached. With a discovery interval the list grows
//! for ever (`follow`).

mod chunks;
pub(super) mod columns;
pub(super) mod csv;
mod follow;
mod input;
pub(super) mod json;
mod listing;
mod position;
mod reader;

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message;
use regent_protocol::spec::FilesSourceSpec;

pub(crate) use listing::{ListingCache, list, resolve};

use self::follow::Follow;
use self::position::{SplitPosition, from_items, from_listing};
use self::reader::{ReadPlan, SplitReader};
use super::{BATCH_ROWS, Source, SourceStart, SourceStep};
use crate::engine::error::TaskError;
use crate::engine::rate::{Allowance, RateLimiter};
use crate::engine::remote::Remote;

/// One subtask of a files source.
pub(crate) struct FilesSource {
    plan: Arc<ReadPlan>,
    limiter: Option<RateLimiter>,
    /// This subtask's splits, in order; the first that isn't done is being read.
    splits: Vec<SplitPosition>,
    /// Splits before this one are done.
    current: usize,
    follow: Option<Follow>,
    reader: Option<SplitReader>,
    /// Of this subtask's splits, since the job began.
    skipped: u64,
}

impl FilesSource {
    /// Starts from the list of files, or from restored positions.
    pub(crate) async fn start(
        spec: FilesSourceSpec,
        vertex: &str,
        start: SourceStart,
    ) -> Result<Self, TaskError> {
        let mine = |p: &SplitPosition| p.split % start.parallelism == start.subtask;
        let remote = start.remote.clone();
        let follow = Follow::of(&spec, (start.subtask, start.parallelism), remote.clone());
        let splits = match (&follow, &start.restored) {
            (Some(follow), Some(items)) => follow.restored(items)?,
            (Some(_), None) => Vec::new(),
            (None, Some(items)) => from_items(items)?.into_iter().filter(mine).collect(),
            (None, None) => {
                let files = start
                    .listings
                    .files(vertex, &spec.path, start.remote.clone())
                    .await?;
                from_listing(&files).into_iter().filter(mine).collect()
            }
        };
        let rate =
            |rate: f64| RateLimiter::new(rate / f64::from(start.parallelism), Instant::now());
        Ok(Self {
            limiter: spec.rate.map(rate),
            plan: Arc::new(ReadPlan::new(spec, vertex, remote)),
            skipped: splits.iter().map(|split| split.skipped).sum(),
            splits,
            current: 0,
            follow,
            reader: None,
        })
    }

    async fn step(&mut self) -> Result<SourceStep, TaskError> {
        loop {
            while self
                .splits
                .get(self.current)
                .is_some_and(|split| split.done)
            {
                self.current += 1;
            }
            let current = self.current;
            if current == self.splits.len() {
                let Some(follow) = &mut self.follow else {
                    return Ok(SourceStep::End);
                };
                if let Some(until) = follow.waits(Instant::now()) {
                    return Ok(SourceStep::Wait(until));
                }
                follow.look(&mut self.splits).await?;
                continue;
            }
            let mut rows = BATCH_ROWS;
            if let Some(limiter) = &mut self.limiter {
                match limiter.allow(Instant::now()) {
                    Allowance::Rows(allowed) => rows = rows.min(allowed),
                    Allowance::Wait(until) => return Ok(SourceStep::Wait(until)),
                }
            }
            if let Some(batch) = self.read(current, rows).await? {
                if let Some(limiter) = &mut self.limiter {
                    limiter.emitted(batch.num_rows());
                }
                return Ok(SourceStep::Batch(batch));
            }
            // A stretch without rows, of blank lines or of rows that were skipped, may be long: barriers and
            // figures come in between.
            return Ok(SourceStep::Wait(Instant::now()));
        }
    }

    /// Reads on in a split and takes its position over.
    async fn read(
        &mut self,
        current: usize,
        rows: usize,
    ) -> Result<Option<RecordBatch>, TaskError> {
        let open = self.reader.take();
        let (plan, position) = (self.plan.clone(), self.splits[current].clone());
        let work = move || {
            let mut reader = match open {
                Some(reader) => reader,
                None => SplitReader::open(plan, position)?,
            };
            let batch = reader.read(rows)?;
            Ok::<_, TaskError>((reader, batch))
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (reader, batch) = done.map_err(|e| TaskError::task(format!("reading: {e}")))??;
        let before = self.splits[current].skipped;
        self.splits[current] = reader.position().clone();
        self.skipped += self.splits[current].skipped - before;
        if !self.splits[current].done {
            self.reader = Some(reader);
        }
        Ok(batch)
    }
}

impl Source for FilesSource {
    fn next(&mut self) -> BoxFuture<'_, Result<SourceStep, TaskError>> {
        self.step().boxed()
    }

    fn snapshot(&mut self) -> Result<Vec<Bytes>, TaskError> {
        let item = |split: &SplitPosition| Bytes::from(split.encode_to_vec());
        Ok(self.splits.iter().map(item).collect())
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }

    fn state_bytes(&self) -> u64 {
        // Of the paths the first is taken for all: it is only an estimate.
        let path = self.splits.first().map_or(0, |split| split.path.len());
        (self.splits.len() * (size_of::<SplitPosition>() + path)) as u64
    }
}

/// Looks at a file as a start would: readable, and in CSV a header with all columns.
pub(crate) fn check_header(
    spec: &FilesSourceSpec,
    path: &str,
    remote: &Remote,
) -> Result<(), TaskError> {
    let position = SplitPosition {
        path: path.to_owned(),
        ..SplitPosition::default()
    };
    let plan = ReadPlan::new(spec.clone(), "", Some(remote.clone()));
    SplitReader::open(Arc::new(plan), position).map(|_| ())
}

#[cfg(test)]
mod tests;

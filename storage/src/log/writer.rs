//! The writer's thread: takes all that is queued, writes it as one batch, syncs once, answers all.
//! The only place that writes to segments after opening.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::error::LogError;
use super::files::{BatchError, LogFiles};
use super::format::{BatchBuilder, RecordKind};
use super::queue::{Op, Queued};
use super::shared::{Inner, Shared};
use super::store::position_of;
use super::view::{Position, Slot};

/// Base index of a segment that may begin with any entry.
pub(crate) const ANY_INDEX: u64 = u64::MAX;

/// What the disk holds beside entries; a new segment begins with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// The index that the next entry written must have.
    pub(crate) next: Option<u64>,
    pub(crate) purged: Option<Position>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
}

/// An entry's place: operation, index, offset within the batch, length.
type Placed = (u64, u64, u32, u32);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    files: LogFiles,
    written: Written,
    batch: BatchBuilder,
    placed: Vec<Placed>,
    /// The last appends found no space.
    refusing: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, files: LogFiles, written: Written) -> Writer {
        Writer {
            shared,
            files,
            written,
            batch: BatchBuilder::default(),
            placed: Vec::new(),
            refusing: false,
        }
    }

    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let cause = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(cause)) => cause,
            // A mistake of ours; the files are as after a kill.
            Err(_) => LogError::Closed,
        };
        tracing::error!(%cause, "the log stops");
        shared.poison(&cause);
    }

    /// Serves until closed. An error poisons the log.
    fn serve(&mut self) -> Result<(), LogError> {
        self.remove_purged()?;
        while let Some(group) = self.shared.next_group() {
            self.process(group)?;
        }
        Ok(())
    }

    fn process(&mut self, mut group: Vec<Queued>) -> Result<(), LogError> {
        let started = Instant::now();
        let outcome = self.write(&mut group);
        let written = match outcome {
            Ok(written) => written,
            Err(cause) => {
                // First close the door, so that a callback sees the log as it will stay.
                self.shared.poison(&cause);
                for queued in group {
                    queued.complete(Err(LogError::poisoned(cause.clone())));
                }
                return Err(cause);
            }
        };
        let purges = self.note_written(&group);
        self.publish(&group, written, started);
        for queued in group {
            queued.complete(Ok(()));
        }
        if purges { self.remove_purged() } else { Ok(()) }
    }

    /// Writes the group as one batch; answers its length. Appends that find no space are answered
    /// and taken out of the group. An error is for ever.
    fn write(&mut self, group: &mut Vec<Queued>) -> Result<u64, LogError> {
        if has_appends(group) {
            match self.files.ensure_reserve() {
                Err(full @ LogError::DiskFull { .. }) => self.refuse_appends(group, &full)?,
                other => other?,
            }
        }
        loop {
            self.encode(group, self.files.at_segment_start());
            if self.batch.is_empty() {
                return Ok(0);
            }
            if !self.files.fits(self.batch.batch_len()) {
                self.rotate(group)?;
                continue;
            }
            match self.files.write_batch(&mut self.batch) {
                Ok(written) => return Ok(written),
                Err(BatchError::Write(full @ LogError::DiskFull { .. })) => {
                    self.make_do(group, full)?;
                }
                Err(BatchError::Write(cause) | BatchError::Sync(cause)) => return Err(cause),
            }
        }
    }

    /// A new segment for a group that doesn't fit into the present one.
    fn rotate(&mut self, group: &mut Vec<Queued>) -> Result<(), LogError> {
        let needed = self.batch.batch_len() + self.prelude_len();
        let appends = has_appends(group);
        match self.files.rotate(needed, !appends) {
            Err(full @ LogError::DiskFull { .. }) if appends => self.refuse_appends(group, &full),
            other => other,
        }
    }

    /// The disk refused space that was already allocated (it copies on write): give up appends
    /// first, then go to the reserve, then give up.
    fn make_do(&mut self, group: &mut Vec<Queued>, full: LogError) -> Result<(), LogError> {
        if has_appends(group) {
            return self.refuse_appends(group, &full);
        }
        if !self.files.has_reserve() {
            return Err(full);
        }
        self.files
            .rotate(self.batch.batch_len() + self.prelude_len(), true)
    }

    /// Answers all appends that wait with `full`, and takes their entries out of the view.
    fn refuse_appends(&mut self, group: &mut Vec<Queued>, full: &LogError) -> Result<(), LogError> {
        let (mut refused, rest): (Vec<Queued>, Vec<Queued>) = group
            .drain(..)
            .partition(|q| matches!(q.op, Op::Append(_) | Op::Committed(_)));
        *group = rest;
        self.refusing = true;
        {
            let mut inner = self.shared.lock();
            refused.append(&mut inner.queue.take_dependents());
            inner.totals.disk_full = true;
            self.roll_back(&mut inner)?;
        }
        tracing::warn!(refused = refused.len(), error = %full, "appends are refused");
        for queued in refused {
            queued.complete(Err(full.clone()));
        }
        Ok(())
    }

    fn roll_back(&self, inner: &mut Inner) -> Result<(), LogError> {
        inner.view.drop_unwritten();
        inner.view.committed = self.written.committed.clone();
        let (first, end) = inner.view.bounds();
        inner.view.last = match end.checked_sub(1).filter(|last| *last >= first) {
            Some(last) => position_of(inner, &self.files.dir, last)?,
            None => inner.view.purged.clone(),
        };
        Ok(())
    }

    fn encode(&mut self, group: &[Queued], opens_segment: bool) {
        self.batch.reset(self.shared.config.group_bytes * 2);
        self.placed.clear();
        if opens_segment && group.iter().any(|q| !matches!(q.op, Op::Barrier)) {
            self.encode_prelude();
        }
        let mut next = self.written.next;
        for queued in group {
            next = self.encode_op(queued, next);
        }
    }

    /// A segment stands alone: it begins with everything that earlier ones say and that isn't an
    /// entry. So earlier ones can be removed.
    fn encode_prelude(&mut self) {
        let Written {
            next,
            purged,
            vote,
            committed,
        } = &self.written;
        self.batch
            .push(RecordKind::Base, next.unwrap_or(ANY_INDEX), &[], &[]);
        if let Some((index, log_id)) = purged {
            self.batch.push(RecordKind::Purge, *index, log_id, &[]);
        }
        if let Some(vote) = vote {
            self.batch.push(RecordKind::Vote, 0, &[], vote);
        }
        if let Some(committed) = committed {
            self.batch.push(RecordKind::Committed, 0, &[], committed);
        }
    }

    /// At least what the prelude takes.
    fn prelude_len(&self) -> usize {
        let len = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let purged = self.written.purged.as_ref().map_or(0, |(_, id)| id.len());
        128 + len(&self.written.vote) + len(&self.written.committed) + purged
    }

    fn encode_op(&mut self, queued: &Queued, next: Option<u64>) -> Option<u64> {
        match &queued.op {
            Op::Append(records) => {
                for record in records {
                    let place = self.batch.push(
                        RecordKind::Entry,
                        record.index,
                        &record.log_id,
                        &record.payload,
                    );
                    self.placed
                        .push((queued.id, record.index, place.0, place.1));
                }
                records.last().map(|r| r.index + 1)
            }
            Op::Vote(vote) => {
                self.batch.push(RecordKind::Vote, 0, &[], vote);
                next
            }
            Op::Committed(committed) => {
                self.batch.push(RecordKind::Committed, 0, &[], committed);
                next
            }
            Op::Truncate {
                first_removed,
                last,
            } => self.encode_truncate(*first_removed, last, next),
            Op::Purge { index, log_id } => {
                self.batch.push(RecordKind::Purge, *index, log_id, &[]);
                Some(next.unwrap_or(0).max(index + 1))
            }
            Op::Barrier => next,
        }
    }

    fn encode_truncate(
        &mut self,
        first_removed: u64,
        last: &Option<Position>,
        next: Option<u64>,
    ) -> Option<u64> {
        // Nothing to remove: also if the entries it speaks of were refused.
        if next.is_none_or(|next| first_removed >= next) {
            return next;
        }
        let (log_id, marker): (&[u8], &[u8]) = match last {
            Some((_, log_id)) => (log_id, &[1]),
            None => (&[], &[]),
        };
        self.batch
            .push(RecordKind::Truncate, first_removed, log_id, marker);
        last.as_ref().map(|_| first_removed)
    }

    /// Follows the group in what the writer knows to be on disk. True if it purges.
    fn note_written(&mut self, group: &[Queued]) -> bool {
        let mut purges = false;
        for queued in group {
            match &queued.op {
                Op::Append(records) => {
                    if let Some(last) = records.last() {
                        self.written.next = Some(last.index + 1);
                        self.files.note_entry(last.index);
                    }
                }
                Op::Vote(vote) => self.written.vote = Some(vote.clone()),
                Op::Committed(committed) => self.written.committed = Some(committed.clone()),
                Op::Truncate {
                    first_removed,
                    last,
                } => {
                    if self.written.next.is_some_and(|next| *first_removed < next) {
                        self.written.next = last.as_ref().map(|_| *first_removed);
                    }
                }
                Op::Purge { index, log_id } => {
                    self.written.next = Some(self.written.next.unwrap_or(0).max(index + 1));
                    self.written.purged = Some((*index, log_id.clone()));
                    purges = true;
                }
                Op::Barrier => {}
            }
        }
        purges
    }

    /// Tells readers where the group's entries lie, and what is durable now.
    fn publish(&mut self, group: &[Queued], written: u64, started: Instant) {
        let (segment, end) = self.files.current();
        let start = end - written as u32;
        let mut inner = self.shared.lock();
        if let Some(last) = self.files.segments.back() {
            inner
                .view
                .files
                .entry(last.id)
                .or_insert_with(|| Arc::clone(&last.file));
        }
        for (op, index, offset, len) in self.placed.drain(..) {
            inner.view.written(
                op,
                index,
                Slot {
                    segment,
                    offset: start + offset,
                    len,
                },
            );
        }
        for queued in group {
            flush(&mut inner, queued);
        }
        self.shared.group_finished(&inner);
        inner.view.trim_cache(self.shared.config.cache_bytes);
        self.refusing &= !has_appends(group);
        inner.totals.disk_full = self.refusing || !self.files.has_reserve();
        inner.totals.bytes_on_disk = self.files.bytes_on_disk();
        if written > 0 {
            let took = started.elapsed();
            inner.totals.sync_count += 1;
            inner.totals.bytes_written += written;
            inner.totals.sync_last = took;
            inner.totals.syncs.record(took);
            inner.totals.sync_max = inner.totals.sync_max.max(took);
        }
    }

    /// Removes segments whose entries are all purged.
    fn remove_purged(&mut self) -> Result<(), LogError> {
        let Some((purged, _)) = &self.written.purged else {
            return Ok(());
        };
        let gone = match self.files.strike_out(*purged) {
            // Costs space, nothing else: the next purge tries again.
            Err(LogError::DiskFull { .. }) => return Ok(()),
            other => other?,
        };
        if gone.is_empty() {
            return Ok(());
        }
        {
            let mut inner = self.shared.lock();
            for id in &gone {
                inner.view.files.remove(id);
            }
            inner.totals.bytes_on_disk = self.files.bytes_on_disk();
        }
        self.files.remove(&gone);
        Ok(())
    }
}

fn has_appends(group: &[Queued]) -> bool {
    group.iter().any(|q| q.op.is_append())
}

/// Moves the durable position on by one operation.
fn flush(inner: &mut Inner, queued: &Queued) {
    let view = &mut inner.view;
    match &queued.op {
        Op::Append(records) => {
            if let Some(record) = records.last() {
                view.flushed = Some((record.index, record.log_id.clone()));
            }
        }
        Op::Truncate {
            first_removed,
            last,
        } => {
            view.truncate_written(queued.id);
            if view
                .flushed
                .as_ref()
                .is_some_and(|(index, _)| index >= first_removed)
            {
                view.flushed = last.clone();
            }
        }
        Op::Purge { index, log_id } => {
            if view
                .flushed
                .as_ref()
                .is_none_or(|(flushed, _)| flushed <= index)
            {
                view.flushed = Some((*index, log_id.clone()));
            }
        }
        Op::Vote(_) | Op::Committed(_) | Op::Barrier => {}
    }
}

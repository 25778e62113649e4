//! What the log holds as its callers see it: an index of all entries, a bounded cache of the newest,
//! and the values beside them. Changed when an operation is *issued*; the writer adds where an entry
//! came to lie on disk. Does no IO.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::LogRecord;
use super::disk::DiskFile;

/// Index and opaque log id of an entry.
pub type Position = (u64, Bytes);

/// Segments by number.
pub(crate) type OpenFiles = BTreeMap<u32, Arc<dyn DiskFile>>;

/// Where an entry's record lies; `segment` 0 says not yet written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Slot {
    const UNWRITTEN: Slot = Slot {
        segment: 0,
        offset: 0,
        len: 0,
    };
}

/// One entry, found in memory or to be read.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Cached(LogRecord),
    OnDisk(u64, Slot),
}

/// A truncation that was issued but not yet written: entries of operations before `op` and from
/// `first_removed` on are superseded.
#[derive(Debug, Clone, Copy)]
struct PendingTruncate {
    op: u64,
    first_removed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct View {
    /// Index of `slots[0]`.
    first: u64,
    slots: VecDeque<Slot>,
    /// The newest entries, as many as the cache's bytes allow, and all that are unwritten.
    cache: VecDeque<LogRecord>,
    cache_bytes: usize,
    /// How many of the last slots have no place on disk yet.
    unwritten: usize,
    pending_truncates: VecDeque<PendingTruncate>,
    pub(crate) last: Option<Position>,
    pub(crate) purged: Option<Position>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) flushed: Option<Position>,
    pub(crate) files: OpenFiles,
}

impl View {
    /// The index that the next entry must have; `None` if any will do.
    pub(crate) fn next_index(&self) -> Option<u64> {
        match (self.slots.is_empty(), &self.last) {
            (true, None) => None,
            (true, Some((purged, _))) => Some(purged + 1),
            (false, _) => Some(self.end()),
        }
    }

    /// First index and one past the last.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.first, self.end())
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Adds entries that follow the last one.
    pub(crate) fn append(&mut self, records: &[LogRecord]) {
        let Some(newest) = records.last() else { return };
        if self.slots.is_empty() {
            self.first = records[0].index;
        }
        debug_assert_eq!(records[0].index, self.end());
        for record in records {
            self.slots.push_back(Slot::UNWRITTEN);
            self.cache_bytes += record.memory();
            self.cache.push_back(record.clone());
        }
        self.unwritten += records.len();
        self.last = Some((newest.index, newest.log_id.clone()));
    }

    /// Adds an entry that was found on disk while opening.
    pub(crate) fn append_found(&mut self, index: u64, log_id: Bytes, slot: Slot) {
        if self.slots.is_empty() {
            self.first = index;
        }
        self.slots.push_back(slot);
        self.last = Some((index, log_id));
    }

    /// Removes entries from `first_removed` on. `last` is the position that is now the last.
    pub(crate) fn truncate(&mut self, op: u64, first_removed: u64, last: Option<Position>) {
        self.drop_tail(first_removed);
        self.last = last;
        if op > 0 {
            self.pending_truncates
                .push_back(PendingTruncate { op, first_removed });
        }
    }

    /// The same while opening, when entries before the first segment's are already gone.
    pub(crate) fn replay_truncate(&mut self, first_removed: u64, last: Option<Position>) {
        self.drop_tail(first_removed);
        self.last = last;
    }

    fn drop_tail(&mut self, first_removed: u64) {
        let keep = first_removed
            .saturating_sub(self.first)
            .min(self.slots.len() as u64) as usize;
        let removed = self.slots.len() - keep;
        for _ in 0..removed.min(self.cache.len()) {
            self.forget_cached(VecDeque::pop_back);
        }
        self.slots.truncate(keep);
        self.unwritten = self.unwritten.saturating_sub(removed);
    }

    fn forget_cached(&mut self, pop: fn(&mut VecDeque<LogRecord>) -> Option<LogRecord>) {
        if let Some(record) = pop(&mut self.cache) {
            self.cache_bytes -= record.memory();
        }
    }

    /// Removes entries up to and including `index`. False if there was nothing to do.
    pub(crate) fn purge(&mut self, index: u64, log_id: Bytes) -> bool {
        let done = self
            .purged
            .as_ref()
            .is_some_and(|(purged, _)| *purged >= index);
        if done || (!self.slots.is_empty() && index + 1 < self.first) {
            return false;
        }
        let gone = (index + 1)
            .saturating_sub(self.first)
            .min(self.slots.len() as u64) as usize;
        self.slots.drain(..gone);
        self.first = index + 1;
        while self.cache.len() > self.slots.len() {
            self.forget_cached(VecDeque::pop_front);
        }
        self.unwritten = self.unwritten.min(self.slots.len());
        if self.slots.is_empty() {
            self.last = Some((index, log_id.clone()));
        }
        self.purged = Some((index, log_id));
        true
    }

    /// Notes where operation `op` put an entry, unless the entry has been replaced or purged since.
    pub(crate) fn written(&mut self, op: u64, index: u64, slot: Slot) {
        let superseded = |t: &PendingTruncate| t.op > op && t.first_removed <= index;
        if index < self.first || self.pending_truncates.iter().any(superseded) {
            return;
        }
        let at = (index - self.first) as usize;
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
            self.unwritten = self.slots.len() - at - 1;
        }
    }

    /// Notes that truncation `op` is durable.
    pub(crate) fn truncate_written(&mut self, op: u64) {
        self.pending_truncates.retain(|t| t.op != op);
    }

    /// Takes back all entries that were never written. The caller sets `last` afterwards.
    pub(crate) fn drop_unwritten(&mut self) {
        let keep = self.end() - self.unwritten as u64;
        self.drop_tail(keep);
    }

    /// Shrinks the cache to `bytes_max`; entries not yet written stay.
    pub(crate) fn trim_cache(&mut self, bytes_max: usize) {
        while self.cache_bytes > bytes_max && self.cache.len() > self.unwritten {
            self.forget_cached(VecDeque::pop_front);
        }
    }

    /// Where to find the entry; `None` if the log doesn't hold it.
    pub(crate) fn find(&self, index: u64) -> Option<Found> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let slot = *self.slots.get(at)?;
        let uncached = self.slots.len() - self.cache.len();
        Some(match at.checked_sub(uncached) {
            Some(cached) => Found::Cached(self.cache[cached].clone()),
            None => Found::OnDisk(index, slot),
        })
    }

    /// Bytes of payload and log ids held in memory.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }
}

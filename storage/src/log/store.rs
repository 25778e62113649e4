//! The handle that callers hold. Every operation is taken under one short lock (so that the order of
//! calls is the order on disk), changes the view at once, and is written by the writer's thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;

use super::disk::{Disk, StdDisk, read_exact_at};
use super::error::LogError;
use super::format::slice_record;
use super::queue::{Callback, Completion, Op, Receipt};
use super::recover::{self, CutTail};
use super::segment::segment_path;
use super::shared::{Inner, Shared, Totals};
use super::view::{Found, OpenFiles, Position, Slot};
use super::writer::Writer;
use super::{LogConfig, LogMetrics, LogRecord, LogState};

/// Bytes read from a segment at once.
const READ_SPAN: u64 = 1 << 20;

/// An open log. Clones are handles of the same log; when the last one goes, what is queued is
/// written and the files are closed.
#[derive(Debug, Clone)]
pub struct LogStore {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    dir: PathBuf,
    shared: Arc<Shared>,
    cut: Option<CutTail>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogStore {
    /// Opens the log in `dir`, or makes a new one there.
    pub fn open(dir: impl AsRef<Path>, config: LogConfig) -> Result<LogStore, LogError> {
        LogStore::open_on(Arc::new(StdDisk), dir, config)
    }

    /// The same on another kind of disk: for tests and simulation.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        config: LogConfig,
    ) -> Result<LogStore, LogError> {
        let dir = dir.as_ref().to_path_buf();
        let recovered = recover::open(disk, &dir, &config)?;
        let cut = recovered.cut;
        let totals = Totals {
            bytes_on_disk: recovered.files.bytes_on_disk(),
            disk_full: !recovered.files.has_reserve(),
            ..Totals::default()
        };
        let shared = Arc::new(Shared::new(config, recovered.view, totals));
        let writer = Writer::new(Arc::clone(&shared), recovered.files, recovered.written);
        let thread = std::thread::Builder::new()
            .name("regent-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|e| LogError::io("start the writer of", &dir, e))?;
        let thread = Mutex::new(Some(thread));
        Ok(LogStore {
            handle: Arc::new(Handle {
                dir,
                shared,
                cut,
                thread,
            }),
        })
    }

    /// What opening cut off as a write torn by a crash, if anything.
    pub fn cut_tail(&self) -> Option<&CutTail> {
        self.handle.cut.as_ref()
    }

    /// Adds entries, which must follow the last one. Readable when this returns; durable when the
    /// callback gets `Ok`.
    pub fn append(&self, records: Vec<LogRecord>, callback: Callback) {
        let done = Completion::new(callback);
        match self.try_append(records) {
            Ok(Some(records)) => self.finish_append(records, done),
            Ok(None) => self.shared().enqueue(Op::Barrier, done),
            Err(error) => done.call(Err(error)),
        }
    }

    /// The same, answered by a receipt.
    pub fn append_receipt(&self, records: Vec<LogRecord>) -> Receipt {
        let (done, receipt) = Receipt::pair();
        self.append(records, Box::new(move |result| done.call(result)));
        receipt
    }

    fn try_append(&self, records: Vec<LogRecord>) -> Result<Option<Vec<LogRecord>>, LogError> {
        let Some(first) = records.first() else {
            return Ok(None);
        };
        let first = first.index;
        let mut total = 0u64;
        for (expected, record) in (first..).zip(&records) {
            if record.index != expected {
                return Err(LogError::NotContiguous {
                    expected,
                    found: record.index,
                });
            }
            check_size(record.payload.len(), self.shared().config.record_bytes_max)?;
            check_size(record.log_id.len(), usize::from(u16::MAX))?;
            total += record.memory() as u64;
        }
        check_size(total as usize, APPEND_BYTES_MAX)?;
        Ok(Some(records))
    }

    fn finish_append(&self, records: Vec<LogRecord>, done: Completion) {
        let mut inner = self.shared().lock();
        if let Some(refusal) = self.append_refusal(&inner, records[0].index) {
            drop(inner);
            return done.call(Err(refusal));
        }
        inner.view.append(&records);
        self.shared()
            .push(&mut inner, Op::Append(records), Some(done));
        drop(inner);
        self.shared().wake_writer();
    }

    fn append_refusal(&self, inner: &Inner, found: u64) -> Option<LogError> {
        if let Some(refusal) = inner.refusal() {
            return Some(refusal);
        }
        if let Some(expected) = inner.view.next_index().filter(|next| *next != found) {
            return Some(LogError::NotContiguous { expected, found });
        }
        let queued = inner.queue.bytes();
        (queued > self.shared().config.queue_bytes_max).then_some(LogError::Overloaded {
            queued: queued as u64,
        })
    }

    /// Saves the vote.
    pub fn save_vote(&self, vote: Bytes) -> Receipt {
        let (done, receipt) = Receipt::pair();
        let mut inner = self.shared().lock();
        if let Some(refusal) = inner.refusal() {
            drop(inner);
            done.call(Err(refusal));
            return receipt;
        }
        inner.view.vote = Some(vote.clone());
        self.shared().push(&mut inner, Op::Vote(vote), Some(done));
        drop(inner);
        self.shared().wake_writer();
        receipt
    }

    /// Saves the committed position: in order, but not at once. It is written with the next other
    /// operation, or when the log is closed.
    pub fn save_committed(&self, committed: Bytes) -> Result<(), LogError> {
        let mut inner = self.shared().lock();
        if let Some(refusal) = inner.refusal() {
            return Err(refusal);
        }
        inner.view.committed = Some(committed.clone());
        self.shared()
            .push(&mut inner, Op::Committed(committed), None);
        Ok(())
    }

    /// Removes all entries after `keep`; `None` removes all. Gone when this returns; durably so when
    /// the receipt says `Ok`.
    pub fn truncate_after(&self, keep: Option<u64>) -> Receipt {
        let (done, receipt) = Receipt::pair();
        let mut inner = self.shared().lock();
        match self.truncate_locked(&mut inner, keep) {
            Ok(op) => {
                let first_removed = first_removed(keep);
                let last = op.clone();
                let id = self.shared().push(
                    &mut inner,
                    Op::Truncate {
                        first_removed,
                        last,
                    },
                    Some(done),
                );
                inner.view.truncate(id, first_removed, op);
                drop(inner);
                self.shared().wake_writer();
            }
            Err(error) => {
                drop(inner);
                done.call(Err(error));
            }
        }
        receipt
    }

    /// The position that is last after the truncation.
    fn truncate_locked(
        &self,
        inner: &mut Inner,
        keep: Option<u64>,
    ) -> Result<Option<Position>, LogError> {
        if let Some(refusal) = inner.refusal() {
            return Err(refusal);
        }
        let (first, end) = inner.view.bounds();
        match keep {
            Some(keep) if keep + 1 >= end => Ok(inner.view.last.clone()),
            Some(keep) if keep >= first => position_of(inner, &self.handle.dir, keep),
            _ => Ok(inner.view.purged.clone()),
        }
    }

    /// Removes all entries up to and including `index`, which may lie beyond the last one (after a
    /// snapshot was installed). Segments are removed once this is durable.
    pub fn purge(&self, index: u64, log_id: Bytes) -> Receipt {
        let (done, receipt) = Receipt::pair();
        let mut inner = self.shared().lock();
        if let Some(refusal) = inner.refusal() {
            drop(inner);
            done.call(Err(refusal));
            return receipt;
        }
        let op = match inner.view.purge(index, log_id.clone()) {
            true => Op::Purge { index, log_id },
            false => Op::Barrier,
        };
        self.shared().push(&mut inner, op, Some(done));
        drop(inner);
        self.shared().wake_writer();
        receipt
    }

    /// Answered when everything issued before is durable.
    pub fn barrier(&self) -> Receipt {
        let (done, receipt) = Receipt::pair();
        self.shared().enqueue(Op::Barrier, done);
        receipt
    }

    /// Entries of `from..to` that are in the log, at least one if there is any, and then as many as
    /// fit into `bytes_max`. Older entries are read from disk: this may block.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<LogRecord>, LogError> {
        let (found, files) = self.find(from, to, bytes_max)?;
        let mut records = Vec::with_capacity(found.len());
        let mut reader = SpanReader {
            dir: &self.handle.dir,
            files,
            span: None,
        };
        for (at, entry) in found.iter().enumerate() {
            records.push(match entry {
                Found::Cached(record) => record.clone(),
                Found::OnDisk(index, slot) => reader.read(*index, *slot, &found[at..])?,
            });
        }
        Ok(records)
    }

    fn find(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<(Vec<Found>, OpenFiles), LogError> {
        let inner = self.shared().lock();
        if let Some(refusal @ LogError::Poisoned { .. }) = inner.refusal() {
            return Err(refusal);
        }
        let (first, end) = inner.view.bounds();
        let (mut found, mut files, mut bytes) = (Vec::new(), OpenFiles::new(), 0usize);
        for index in from.max(first)..to.min(end) {
            let Some(entry) = inner.view.find(index) else {
                break;
            };
            bytes += match &entry {
                Found::Cached(record) => record.memory(),
                Found::OnDisk(_, slot) => slot.len as usize,
            };
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            if let Found::OnDisk(_, slot) = &entry
                && let Some(file) = inner.view.files.get(&slot.segment)
            {
                files
                    .entry(slot.segment)
                    .or_insert_with(|| Arc::clone(file));
            }
            found.push(entry);
        }
        Ok((found, files))
    }

    /// What the log holds, as of the last operation issued.
    pub fn state(&self) -> LogState {
        let inner = self.shared().lock();
        LogState {
            last_purged: inner.view.purged.clone(),
            last: inner.view.last.clone(),
            vote: inner.view.vote.clone(),
            committed: inner.view.committed.clone(),
            last_flushed: inner.view.flushed.clone(),
        }
    }

    /// When the oldest operation was issued that isn't durable yet. For the watchdog: takes no lock,
    /// so it answers whatever the disk does.
    pub fn outstanding_since(&self) -> Option<Instant> {
        self.shared().outstanding_since()
    }

    /// True once a write or sync has failed (see [`LogError::Poisoned`]). Takes no lock.
    pub fn is_poisoned(&self) -> bool {
        self.shared().is_poisoned()
    }

    /// Numbers for metrics. Does no IO, but may wait for somebody who reads.
    pub fn metrics(&self) -> LogMetrics {
        self.shared().metrics()
    }

    /// Writes what is queued, closes the files, and waits for that. Later operations on any handle
    /// answer [`LogError::Closed`].
    pub fn close(&self) {
        self.handle.close();
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

/// Largest append: offsets within a segment are 32 bits.
const APPEND_BYTES_MAX: usize = 1 << 30;

fn check_size(bytes: usize, limit: usize) -> Result<(), LogError> {
    if bytes > limit {
        return Err(LogError::TooLarge {
            bytes: bytes as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}

fn first_removed(keep: Option<u64>) -> u64 {
    keep.map_or(0, |keep| keep + 1)
}

/// Index and log id of an entry, read from disk if it is old.
pub(crate) fn position_of(
    inner: &Inner,
    dir: &Path,
    index: u64,
) -> Result<Option<Position>, LogError> {
    match inner.view.find(index) {
        None => Ok(None),
        Some(Found::Cached(record)) => Ok(Some((record.index, record.log_id))),
        Some(found @ Found::OnDisk(_, slot)) => {
            let files = inner.view.files.clone();
            let mut reader = SpanReader {
                dir,
                files,
                span: None,
            };
            let record = reader.read(index, slot, &[found])?;
            // A copy, so that the whole span isn't kept for a few bytes.
            Ok(Some((index, Bytes::copy_from_slice(&record.log_id))))
        }
    }
}

/// Reads neighbouring records with few reads.
struct SpanReader<'a> {
    dir: &'a Path,
    files: OpenFiles,
    span: Option<(u32, u64, Bytes)>,
}

impl SpanReader<'_> {
    /// `rest` starts with the wanted entry; its neighbours are read ahead.
    fn read(&mut self, index: u64, slot: Slot, rest: &[Found]) -> Result<LogRecord, LogError> {
        if !self.holds(slot) {
            self.load(slot, rest)?;
        }
        let path = segment_path(self.dir, slot.segment);
        let corrupt = |reason: &str| LogError::corrupt(&path, u64::from(slot.offset), reason);
        let Some((_, start, bytes)) = &self.span else {
            return Err(corrupt("nothing was read"));
        };
        let at = (u64::from(slot.offset) - start) as usize;
        let record = bytes.slice(at..at + slot.len as usize);
        let (found, log_id, payload) = slice_record(&record).map_err(corrupt)?;
        if found != index {
            return Err(corrupt("another entry lies here"));
        }
        Ok(LogRecord {
            index,
            log_id,
            payload,
        })
    }

    fn holds(&self, slot: Slot) -> bool {
        self.span.as_ref().is_some_and(|(segment, start, bytes)| {
            let end = u64::from(slot.offset) + u64::from(slot.len);
            *segment == slot.segment
                && *start <= u64::from(slot.offset)
                && end <= start + bytes.len() as u64
        })
    }

    fn load(&mut self, slot: Slot, rest: &[Found]) -> Result<(), LogError> {
        let path = segment_path(self.dir, slot.segment);
        let start = u64::from(slot.offset);
        let Some(file) = self.files.get(&slot.segment) else {
            return Err(LogError::corrupt(&path, start, "the segment isn't open"));
        };
        let mut end = start + u64::from(slot.len);
        for next in rest {
            let Found::OnDisk(_, next) = next else { break };
            let next_end = u64::from(next.offset) + u64::from(next.len);
            if next.segment != slot.segment || next_end < end || next_end > start + READ_SPAN {
                break;
            }
            end = next_end;
        }
        // Starting at the wanted record, the span holds it whole even if it alone is larger.
        end = end.max(start + u64::from(slot.len));
        let mut bytes = vec![0u8; (end - start) as usize];
        read_exact_at(file.as_ref(), &mut bytes, start)
            .map_err(|e| LogError::io("read", &path, e))?;
        self.span = Some((slot.segment, start, Bytes::from(bytes)));
        Ok(())
    }
}

impl Handle {
    fn close(&self) {
        self.shared.close();
        let mut thread = self
            .thread
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        let Some(running) = thread.take() else { return };
        // The last handle may be dropped by a callback, on the writer's own thread.
        if running.thread().id() != std::thread::current().id() && running.join().is_err() {
            tracing::error!(dir = %self.dir.display(), "the log's writer panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

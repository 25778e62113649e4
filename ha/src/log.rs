//! openraft's log storage over the log of `regent-storage`.
//!
//! Order and durability are the log's: one writer, group commit, every callback called exactly once.
//! This adapter encodes, keeps the newest entries decoded (replication and applying mostly read those),
//! and refuses a purge beyond what a snapshot file covers.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use regent_storage::codec::CodecError;
use regent_storage::log::{LogMetrics, LogRecord, LogStore, Position};

use crate::entry;
use crate::memory::Reached;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// About how many bytes of entries one replication request carries.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// About how many bytes of entries are applied as one read.
const APPLY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of entries kept decoded.
const RECENT_BYTES: usize = 4 * 1024 * 1024;

/// The index up to which a durable snapshot file covers the log.
pub(crate) type Covered = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// The Raft log as openraft sees it. Clones share everything.
#[derive(Clone)]
pub(crate) struct RaftLog {
    store: LogStore,
    recent: Arc<Mutex<Recent>>,
    // The log's own state has a vote as soon as it is issued; claims must not run ahead of the disk.
    durable_vote: Arc<Mutex<Option<Vote>>>,
    covered: Covered,
}

impl Debug for RaftLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftLog")
            .field("store", &self.store)
            .finish()
    }
}

/// The newest entries, contiguous.
#[derive(Debug, Default)]
struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, entry: Entry) {
        let follows = self
            .entries
            .back()
            .is_none_or(|last| last.log_id.index + 1 == entry.log_id.index);
        if !follows {
            self.clear();
        }
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
        while self.bytes > RECENT_BYTES && self.entries.len() > 1 {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= weight(&entry);
        }
    }

    fn truncate_after(&mut self, keep: Option<u64>) {
        while self
            .entries
            .back()
            .is_some_and(|entry| keep.is_none_or(|keep| entry.log_id.index > keep))
        {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= weight(&entry);
            }
        }
    }

    fn purge(&mut self, upto: u64) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.log_id.index <= upto)
        {
            self.drop_front();
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The entries of `from..to` up to about `bytes_max`, if the first of them is here.
    fn get(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            bytes += weight(entry);
            let enough = !found.is_empty() && bytes > bytes_max;
            if entry.log_id.index >= to || enough {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn weight(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(data) => data.sealed().len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 256,
    };
    payload + 64
}

fn bad_data(error: CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn log_id_of(position: Position) -> io::Result<LogId> {
    entry::decode_log_id(&position.1).map_err(bad_data)
}

fn decode(record: &LogRecord) -> io::Result<Entry> {
    let log_id = entry::decode_log_id(&record.log_id).map_err(bad_data)?;
    entry::decode_payload(log_id, &record.payload).map_err(bad_data)
}

fn encode(entry: &Entry) -> io::Result<LogRecord> {
    Ok(LogRecord {
        index: entry.log_id.index,
        log_id: entry::encode_log_id(&entry.log_id).map_err(bad_data)?,
        payload: entry::encode_payload(&entry.payload).map_err(bad_data)?,
    })
}

impl RaftLog {
    /// Adapts an open log. `covered` says what a purge may remove.
    pub(crate) fn new(store: LogStore, covered: Covered) -> io::Result<Self> {
        let vote = store.state().vote;
        let vote = vote.map(|bytes| entry::decode_vote(&bytes).map_err(bad_data));
        Ok(Self {
            store,
            recent: Arc::default(),
            durable_vote: Arc::new(Mutex::new(vote.transpose()?)),
            covered,
        })
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        lock(&self.recent)
    }

    /// What this node may claim to have on disk.
    pub(crate) fn reached(&self) -> io::Result<Reached> {
        let state = self.store.state();
        let vote = *lock(&self.durable_vote);
        Ok(Reached {
            vote: vote.map(|vote| vote.leader_id),
            last: state.last_flushed.map(log_id_of).transpose()?,
        })
    }

    /// The last durable entry, or the last purged one.
    pub(crate) fn last_durable(&self) -> io::Result<Option<LogId>> {
        let state = self.store.state();
        let flushed = state.last_flushed.map(log_id_of).transpose()?;
        let purged = state.last_purged.map(log_id_of).transpose()?;
        Ok(flushed.max(purged))
    }

    /// The last entry that was purged.
    pub(crate) fn last_purged(&self) -> io::Result<Option<LogId>> {
        let purged = self.store.state().last_purged;
        purged.map(log_id_of).transpose()
    }

    /// What the disk is doing.
    /// When the oldest write was issued that isn't durable. Takes no lock and does no IO.
    pub(crate) fn outstanding_since(&self) -> Option<std::time::Instant> {
        self.store.outstanding_since()
    }

    pub(crate) fn metrics(&self) -> LogMetrics {
        self.store.metrics()
    }

    /// Writes what is queued and closes the files; later operations fail.
    pub(crate) fn close(&self) {
        self.store.close();
    }

    /// The last entry of the log, durable or not.
    pub(crate) fn last(&self) -> io::Result<Option<LogId>> {
        self.store.state().last.map(log_id_of).transpose()
    }

    /// Entries of `from..to` up to about `bytes_max`, at least one if there is one.
    pub(crate) async fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(found) = self.recent().get(from, to, bytes_max) {
            return Ok(found);
        }
        // Older entries come from disk: never on a Raft thread.
        let store = self.store.clone();
        let records = tokio::task::spawn_blocking(move || store.read(from, to, bytes_max))
            .await
            .map_err(io::Error::other)??;
        records.iter().map(decode).collect()
    }

    fn take(&self, entries: impl IntoIterator<Item = Entry>) -> io::Result<Vec<LogRecord>> {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let records = entries.iter().map(encode).collect::<io::Result<_>>()?;
        let mut recent = self.recent();
        entries.into_iter().for_each(|entry| recent.push(entry));
        Ok(records)
    }

    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        (from, to)
    }

    // The committed position is written in order with the entries it speaks of. Should it name one that
    // isn't here, nothing is lost by starting lower: applying catches up.
    fn checked_committed(&self, committed: LogId, last: Option<LogId>) -> Option<LogId> {
        let last = last?;
        if committed <= last {
            return Some(committed);
        }
        (last.leader_id == committed.leader_id).then_some(last)
    }
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        let mut entries = self.read(from, to, usize::MAX).await?;
        // The newest may have been in memory only in part.
        while let Some(last) = entries.last().map(|entry| entry.log_id.index) {
            let more = self.read(last + 1, to, usize::MAX).await?;
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, REQUEST_BYTES).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = self.bounds(&range);
        let pieces = stream::unfold((self.clone(), from), move |(log, from)| async move {
            let piece = match log.read(from, to, APPLY_BYTES).await {
                Ok(entries) => entries,
                Err(error) => return Some((vec![Err(error)], (log, to))),
            };
            let next = piece.last()?.log_id.index + 1;
            Some((piece.into_iter().map(Ok).collect(), (log, next)))
        });
        Box::pin(pieces.flat_map(stream::iter))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.store.state().vote;
        vote.map(|bytes| entry::decode_vote(&bytes).map_err(bad_data))
            .transpose()
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.store.state();
        Ok(LogState {
            last_purged_log_id: state.last_purged.map(log_id_of).transpose()?,
            last_log_id: state.last.map(log_id_of).transpose()?,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let bytes = entry::encode_vote(vote).map_err(bad_data)?;
        self.store.save_vote(bytes).await?;
        *lock(&self.durable_vote) = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            let bytes = entry::encode_log_id(&committed).map_err(bad_data)?;
            self.store.save_committed(bytes)?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let state = self.store.state();
        let Some(committed) = state.committed else {
            return Ok(None);
        };
        let committed = entry::decode_log_id(&committed).map_err(bad_data)?;
        let last = state.last.map(log_id_of).transpose()?;
        Ok(self.checked_committed(committed, last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = match self.take(entries) {
            Ok(records) => records,
            Err(error) => {
                // openraft waits for ever on a callback that nobody calls.
                callback.io_completed(Err(io::Error::new(error.kind(), error.to_string())));
                return Err(error);
            }
        };
        // The store calls back exactly once, whatever happens.
        let done = move |result: Result<(), regent_storage::log::LogError>| {
            callback.io_completed(result.map_err(io::Error::from));
        };
        self.store.append(records, Box::new(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let keep = last_log_id.map(|id| id.index);
        self.recent().truncate_after(keep);
        Ok(self.store.truncate_after(keep).await?)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let covered = (self.covered)();
        if covered.is_none_or(|covered| covered < log_id.index) {
            return Err(io::Error::other(format!(
                "refused to purge the log up to {log_id}: snapshot files cover it up to {covered:?}"
            )));
        }
        self.recent().purge(log_id.index);
        // Not waited for: a purge that comes late only costs space, and a failing log says so anyway.
        let bytes = entry::encode_log_id(&log_id).map_err(bad_data)?;
        let receipt = self.store.purge(log_id.index, bytes);
        tokio::spawn(async move {
            if let Err(error) = receipt.await {
                tracing::error!(%log_id, %error, "purging the log failed");
            }
        });
        Ok(())
    }
}

/// Nothing to cover: for stores whose purges are not bound to snapshot files.
#[cfg(test)]
pub(crate) fn covers_everything() -> Covered {
    Arc::new(|| Some(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderId;
    use bytes::Bytes;
    use openraft::vote::RaftLeaderId;

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: LogId::new(LeaderId::new(1, 1), index),
            payload: EntryPayload::Normal(entry::seal_command(&Bytes::from(vec![0; 100])).unwrap()),
        }
    }

    fn indexes(entries: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        entries.map(|entries| entries.iter().map(|e| e.log_id.index).collect())
    }

    #[test]
    fn recent_entries_answer_only_what_they_hold() {
        let mut recent = Recent::default();
        (5..10).for_each(|index| recent.push(entry(index)));
        assert_eq!(indexes(recent.get(4, 8, usize::MAX)), None);
        assert_eq!(indexes(recent.get(7, 9, usize::MAX)), Some(vec![7, 8]));
        assert_eq!(indexes(recent.get(8, 20, usize::MAX)), Some(vec![8, 9]));
        assert_eq!(indexes(recent.get(5, 20, 1)), Some(vec![5]));
        assert_eq!(indexes(recent.get(10, 20, usize::MAX)), None);
        recent.truncate_after(Some(7));
        recent.purge(5);
        assert_eq!(indexes(recent.get(6, 20, usize::MAX)), Some(vec![6, 7]));
        recent.push(entry(20));
        assert_eq!(indexes(recent.get(6, 20, usize::MAX)), None);
        assert_eq!(recent.entries.len(), 1);
    }

    #[test]
    fn recent_entries_are_bounded_in_bytes() {
        let mut recent = Recent::default();
        (0..100_000).for_each(|index| recent.push(entry(index)));
        assert!(recent.bytes <= RECENT_BYTES);
        recent.truncate_after(None);
        assert_eq!((recent.bytes, recent.entries.len()), (0, 0));
    }
}

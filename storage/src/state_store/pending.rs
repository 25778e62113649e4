//! Changes that wait to be written, coalesced per key, and the store's state shared with the writer.
//! Two locks that are never held together by `enqueue`: the waiting changes (moments), and the
//! database (as long as a batch takes).

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::database::Database;
use super::{Change, Marker, StateStoreConfig, StateStoreError, StateStoreMetrics};

/// What one batch will hold.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) marker: Option<Marker>,
    bytes: usize,
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Batch,
    /// Somebody waits for all of it.
    hurry: bool,
    closed: bool,
    stopped: Option<String>,
    writing: bool,
    /// Rises when the content is replaced: a batch taken before must not be written after.
    epoch: u64,
    durable_index: Option<u64>,
    batches: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
    idle: Condvar,
    database: Mutex<Database>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Shared {
    pub(super) fn new(database: Database, durable_index: Option<u64>) -> Shared {
        Shared {
            inner: Mutex::new(Inner {
                durable_index,
                ..Inner::default()
            }),
            wake: Condvar::new(),
            idle: Condvar::new(),
            database: Mutex::new(database),
        }
    }

    pub(super) fn enqueue(&self, changes: Vec<Change>, marker: Marker, bytes_max: usize) {
        let mut inner = lock(&self.inner);
        if inner.closed || inner.stopped.is_some() {
            return;
        }
        let waiting = &mut inner.waiting;
        let first = waiting.since.is_none();
        for Change { key, value } in changes {
            let key_len = key.len();
            waiting.bytes += key_len + value.as_ref().map_or(0, Vec::len);
            if let Some(before) = waiting.changes.insert(key, value) {
                waiting.bytes -= key_len + before.map_or(0, |value| value.len());
            }
        }
        waiting.marker = Some(marker);
        waiting.since.get_or_insert_with(Instant::now);
        if first || waiting.bytes >= bytes_max {
            self.wake.notify_one();
        }
    }

    /// Waits until there is something to write and it is due. `None`: closed and all written.
    pub(super) fn next_batch(&self, config: &StateStoreConfig) -> Option<(u64, Batch)> {
        let mut inner = lock(&self.inner);
        loop {
            let due = inner.waiting.since.map(|since| since + config.delay_max);
            let now = Instant::now();
            let full = inner.waiting.bytes >= config.behind_bytes_max;
            let wait = match due {
                Some(_) if full || inner.hurry || inner.closed => Duration::ZERO,
                Some(due) => due.saturating_duration_since(now),
                None if inner.closed => return None,
                None => Duration::MAX,
            };
            if wait.is_zero() {
                inner.writing = true;
                return Some((inner.epoch, std::mem::take(&mut inner.waiting)));
            }
            inner = match wait {
                Duration::MAX => self.wake.wait(inner).unwrap_or_else(|p| p.into_inner()),
                _ => {
                    self.wake
                        .wait_timeout(inner, wait)
                        .unwrap_or_else(|p| p.into_inner())
                        .0
                }
            };
        }
    }

    /// True if a batch may still be written: nothing replaced the content since it was taken. Asked
    /// while holding the database.
    pub(super) fn is_current(&self, epoch: u64) -> bool {
        lock(&self.inner).epoch == epoch
    }

    pub(super) fn batch_done(&self, outcome: Result<Option<u64>, String>) {
        let mut inner = lock(&self.inner);
        inner.writing = false;
        match outcome {
            Ok(index) => {
                inner.durable_index = index.or(inner.durable_index);
                inner.batches += 1;
            }
            Err(reason) => {
                inner.stopped = Some(reason);
                inner.waiting = Batch::default();
            }
        }
        if inner.waiting.since.is_none() {
            inner.hurry = false;
        }
        self.idle.notify_all();
    }

    pub(super) fn flush(&self) -> Result<(), StateStoreError> {
        let mut inner = lock(&self.inner);
        inner.hurry = inner.waiting.since.is_some();
        self.wake.notify_one();
        while inner.stopped.is_none() && (inner.writing || inner.waiting.since.is_some()) {
            if inner.waiting.since.is_some() {
                inner.hurry = true;
            }
            inner = self.idle.wait(inner).unwrap_or_else(|p| p.into_inner());
        }
        match &inner.stopped {
            Some(reason) => Err(StateStoreError::Stopped {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Forgets what waits and what is being written: the content has been replaced.
    pub(super) fn drop_pending(&self, durable_index: Option<u64>) {
        let mut inner = lock(&self.inner);
        inner.waiting = Batch::default();
        inner.epoch += 1;
        inner.stopped = None;
        inner.durable_index = durable_index;
        self.idle.notify_all();
    }

    pub(super) fn close(&self) {
        lock(&self.inner).closed = true;
        self.wake.notify_all();
    }

    pub(super) fn lock_database(&self) -> MutexGuard<'_, Database> {
        lock(&self.database)
    }

    pub(super) fn database(&self) -> Database {
        self.lock_database().clone()
    }

    pub(super) fn metrics(&self) -> StateStoreMetrics {
        let inner = lock(&self.inner);
        StateStoreMetrics {
            behind_bytes: inner.waiting.bytes,
            behind_since: inner.waiting.since,
            durable_index: inner.durable_index,
            batches: inner.batches,
            stopped: inner.stopped.clone(),
        }
    }
}

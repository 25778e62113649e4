//! What callers and the writer share: the view, the queue, and the state of the log as a whole.
//! One mutex, held for moments; callbacks run outside it.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::error::LogError;
use super::queue::{Op, Queue, Queued};
use super::view::View;
use super::{LogConfig, LogMetrics};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) view: View,
    pub(crate) queue: Queue,
    /// Why nothing works any more.
    failed: Option<LogError>,
    closed: bool,
    /// When the oldest operation of the group being written was issued.
    pub(crate) in_flight_since: Option<Instant>,
    pub(crate) totals: Totals,
}

/// Numbers that the writer keeps for [`LogMetrics`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) sync_count: u64,
    pub(crate) sync_last: Duration,
    pub(crate) sync_max: Duration,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_on_disk: u64,
    pub(crate) disk_full: bool,
}

impl Inner {
    /// Why an operation can't be taken now.
    pub(crate) fn refusal(&self) -> Option<LogError> {
        match &self.failed {
            Some(cause) => Some(LogError::poisoned(cause.clone())),
            None if self.closed => Some(LogError::Closed),
            None => None,
        }
    }
}

impl Shared {
    pub(crate) fn new(config: LogConfig, view: View, totals: Totals) -> Shared {
        let inner = Inner {
            view,
            queue: Queue::default(),
            failed: None,
            closed: false,
            in_flight_since: None,
            totals,
        };
        Shared {
            config,
            inner: Mutex::new(inner),
            wake: Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while holding the lock; if it did, the data is still what was last set.
        self.inner
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    pub(crate) fn wake_writer(&self) {
        self.wake.notify_one();
    }

    /// Waits for something to write. `None`: closed and everything written.
    pub(crate) fn next_group(&self) -> Option<Vec<Queued>> {
        let mut inner = self.lock();
        loop {
            let closing = inner.closed && !inner.queue.is_empty();
            if inner.queue.has_urgent() || closing {
                let group = inner.queue.take_group(self.config.group_bytes);
                inner.in_flight_since = group.first().map(|q| q.at);
                return Some(group);
            }
            if inner.closed {
                return None;
            }
            inner = self
                .wake
                .wait(inner)
                .unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// No further operations; the writer ends when the queue is written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Marks the log as unusable and answers everything that waits.
    pub(crate) fn poison(&self, cause: &LogError) {
        let waiting = {
            let mut inner = self.lock();
            inner.failed.get_or_insert_with(|| cause.clone());
            inner.queue.take_group(usize::MAX)
        };
        for queued in waiting {
            queued.complete(Err(LogError::poisoned(cause.clone())));
        }
    }

    pub(crate) fn metrics(&self) -> LogMetrics {
        let inner = self.lock();
        LogMetrics {
            sync_count: inner.totals.sync_count,
            sync_last: inner.totals.sync_last,
            sync_max: inner.totals.sync_max,
            bytes_written: inner.totals.bytes_written,
            outstanding_since: inner
                .in_flight_since
                .or_else(|| inner.queue.oldest_urgent()),
            queued_bytes: inner.queue.bytes(),
            cache_bytes: inner.view.cache_bytes(),
            bytes_on_disk: inner.totals.bytes_on_disk,
            segments: inner.view.files.len(),
            poisoned: inner.failed.is_some(),
            disk_full: inner.totals.disk_full,
        }
    }

    /// Queues an operation that changes nothing in the view.
    pub(crate) fn enqueue(&self, op: Op, done: super::queue::Completion) {
        let mut inner = self.lock();
        if let Some(refusal) = inner.refusal() {
            drop(inner);
            return done.call(Err(refusal));
        }
        inner.queue.push(op, Some(done));
        drop(inner);
        self.wake_writer();
    }
}

//! What callers and the writer share: the view, the queue, and the state of the log as a whole.
//! One mutex, held for moments; callbacks run outside it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::error::LogError;
use super::queue::{Completion, Op, Queue, Queued};
use super::view::View;
use super::{LogConfig, LogMetrics};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: LogConfig,
    inner: Mutex<Inner>,
    wake: Condvar,
    pulse: Pulse,
}

/// What a watchdog looks at. Without a lock: somebody may hold it while reading from a stalled disk.
#[derive(Debug)]
struct Pulse {
    base: Instant,
    /// When the oldest unfinished operation was issued, in nanoseconds after `base`; 0 is "none".
    oldest: AtomicU64,
    poisoned: AtomicBool,
}

impl Pulse {
    fn set_oldest(&self, at: Option<Instant>) {
        let nanos = at.map_or(0, |at| {
            at.saturating_duration_since(self.base).as_nanos() as u64 + 1
        });
        self.oldest.store(nanos, Ordering::Release);
    }

    fn oldest(&self) -> Option<Instant> {
        let nanos = self.oldest.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.base + Duration::from_nanos(nanos))
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) view: View,
    pub(crate) queue: Queue,
    /// Why nothing works any more.
    failed: Option<LogError>,
    closed: bool,
    pub(crate) totals: Totals,
}

/// Numbers that the writer keeps for [`LogMetrics`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) sync_count: u64,
    pub(crate) sync_last: Duration,
    pub(crate) sync_max: Duration,
    pub(crate) syncs: crate::latency::Latencies,
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
            totals,
        };
        Shared {
            config,
            inner: Mutex::new(inner),
            wake: Condvar::new(),
            pulse: Pulse {
                base: Instant::now(),
                oldest: AtomicU64::new(0),
                poisoned: AtomicBool::new(false),
            },
        }
    }

    /// When the oldest operation was issued that isn't finished. Takes no lock.
    pub(crate) fn outstanding_since(&self) -> Option<Instant> {
        self.pulse.oldest()
    }

    /// Takes no lock.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.pulse.poisoned.load(Ordering::Acquire)
    }

    /// Queues an operation and answers its number.
    pub(crate) fn push(&self, inner: &mut Inner, op: Op, done: Option<Completion>) -> u64 {
        let id = inner.queue.push(op, done);
        if self.pulse.oldest().is_none() {
            self.pulse.set_oldest(inner.queue.oldest_urgent());
        }
        id
    }

    /// The group that was taken is finished: what is left is younger.
    pub(crate) fn group_finished(&self, inner: &Inner) {
        self.pulse.set_oldest(inner.queue.oldest_urgent());
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
                return Some(inner.queue.take_group(self.config.group_bytes));
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
            self.pulse.poisoned.store(true, Ordering::Release);
            self.pulse.set_oldest(None);
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
            syncs: inner.totals.syncs.clone(),
            bytes_written: inner.totals.bytes_written,
            outstanding_since: self.outstanding_since(),
            queued_bytes: inner.queue.bytes(),
            cache_bytes: inner.view.cache_bytes(),
            bytes_on_disk: inner.totals.bytes_on_disk,
            segments: inner.view.files.len(),
            poisoned: inner.failed.is_some(),
            disk_full: inner.totals.disk_full,
        }
    }

    /// Queues an operation that changes nothing in the view.
    pub(crate) fn enqueue(&self, op: Op, done: Completion) {
        let mut inner = self.lock();
        if let Some(refusal) = inner.refusal() {
            drop(inner);
            return done.call(Err(refusal));
        }
        self.push(&mut inner, op, Some(done));
        drop(inner);
        self.wake_writer();
    }
}

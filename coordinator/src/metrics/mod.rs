//! Counters of this process, and what `/metrics` answers with: `table.rs` says what there is, `page.rs`
//! fills it in.
//!
//! Gauges are read from the applied state when asked; counters start at 0 with each process, as
//! Prometheus expects.

mod page;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cleaner::plan::FailureKind;
pub(crate) use page::render;
pub use table::TABLE;

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What this process has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Reigns begun here.
    pub(crate) reigns: Counter,
    /// Checkpoints completed under this process's leadership.
    pub(crate) checkpoints_completed: Counter,
    /// Checkpoints declined, timed out or not written.
    pub(crate) checkpoints_failed: Counter,
    /// Deletions and sweeps begun.
    pub(crate) cleanup_attempts: Counter,
    /// Deletions and sweeps that failed.
    pub(crate) cleanup_failures: Failures,
}

/// Failed deletions by kind.
#[derive(Debug, Default)]
pub(crate) struct Failures([Counter; FailureKind::ALL.len()]);

impl Failures {
    pub(crate) fn add(&self, kind: FailureKind) {
        self.0[kind as usize].add(1);
    }

    fn by_kind(&self) -> impl Iterator<Item = (FailureKind, u64)> {
        let get = |kind: FailureKind| (kind, self.0[kind as usize].get());
        FailureKind::ALL.into_iter().map(get)
    }
}

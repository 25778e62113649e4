//! Counters of this process, and what `/metrics` answers with: `table.rs` says what there is, `page.rs`
//! fills it in.
//!
//! Gauges are read from the applied state when asked; counters start at 0 with each process, as
//! Prometheus expects.

mod page;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Deletions that failed and are tried again.
    pub(crate) cleanup_retries: Counter,
}

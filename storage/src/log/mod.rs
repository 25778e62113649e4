//! The Raft log: entries, the vote and the committed position, in preallocated segments.
//!
//! One writer thread owns the files. It takes everything that is queued, writes it as one batch,
//! syncs once, and then answers all of it: group commit without a timer. Operations become durable
//! in the order in which they were issued. Entries can be read as soon as `append` returns.
//!
//! # What the log promises
//! - What was acknowledged is there after a crash, a kill and a power cut (as far as the device
//!   honours `fdatasync`).
//! - Every callback is called exactly once; with [`LogError::Closed`] if the log went away.
//! - After a failed write or sync nothing is tried again: the log is *poisoned*, every later
//!   operation answers [`LogError::Poisoned`], and the process has to start again.
//! - A damaged or missing file is refused at opening, with file, offset and remedy. **One exception
//!   that can't be told apart:** damage in the very last batch looks like a write torn by a crash
//!   and is cut off, since a torn write was never acknowledged.
//!
//! # Full disk
//! Space is needed only for a new segment. If there is none, waiting appends are refused with
//! [`LogError::DiskFull`] and leave no trace, later appends too, while votes, truncation and purging
//! go on: they fit into the present segment, or into the `RESERVE`, a segment's worth of space
//! allocated at opening for exactly this. Once the reserve is used, appending works again only when
//! space for a new one was found (tried with each append).
//!
//! # Files
//! `segment-NNNNNNNNNN.log` (`format.rs`), `MANIFEST` (`segment.rs`), `RESERVE`, `LOCK`.

pub mod disk;
mod error;
mod files;
mod format;
mod queue;
mod recover;
mod segment;
mod shared;
#[cfg(test)]
mod sim;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub(crate) use error::is_disk_full;
pub use error::{LogError, REPLACE_REPLICA};
pub(crate) use format::{u32_at, u64_at};
pub use queue::{Callback, Receipt};
pub use recover::CutTail;
pub use store::LogStore;
pub use view::Position;

use std::time::{Duration, Instant};

use bytes::Bytes;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Position in the log; entries are contiguous.
    pub index: u64,
    /// The owner's name for the entry (term and leader, encoded); at most 64 KiB, meant to be small.
    pub log_id: Bytes,
    /// The entry, encoded.
    pub payload: Bytes,
}

impl LogRecord {
    /// About what the record takes in memory and on disk.
    pub(crate) fn memory(&self) -> usize {
        self.log_id.len() + self.payload.len() + 96
    }
}

/// Sizes. The defaults suit a JobManager; tests take small ones.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Space allocated per segment. A batch that is larger gets a larger segment.
    pub segment_bytes: u64,
    /// Entries kept in memory for reading, beyond those not yet written.
    pub cache_bytes: usize,
    /// About how much is written with one sync.
    pub group_bytes: usize,
    /// Largest single payload.
    pub record_bytes_max: usize,
    /// Bytes that may wait for the disk before appends are refused as [`LogError::Overloaded`].
    pub queue_bytes_max: usize,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 16 << 20,
            cache_bytes: 8 << 20,
            group_bytes: 4 << 20,
            record_bytes_max: 64 << 20,
            queue_bytes_max: 256 << 20,
        }
    }
}

/// What the log holds, as of the last operation issued (not: written).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogState {
    /// The last position removed by `purge`.
    pub last_purged: Option<Position>,
    /// The last entry; if there is none, `last_purged`.
    pub last: Option<Position>,
    /// The last vote saved.
    pub vote: Option<Bytes>,
    /// The last committed position saved.
    pub committed: Option<Bytes>,
    /// The last entry that is durable.
    pub last_flushed: Option<Position>,
}

/// Numbers for metrics and for the watchdog.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    /// Syncs of batches so far.
    pub sync_count: u64,
    /// How long the last one took, with its write.
    pub sync_last: Duration,
    /// The longest so far.
    pub sync_max: Duration,
    /// All of them, by how long they took.
    pub syncs: crate::latency::Latencies,
    /// Bytes written in batches.
    pub bytes_written: u64,
    /// When the oldest operation was issued that isn't durable yet. `None`: nothing outstanding.
    pub outstanding_since: Option<Instant>,
    /// Bytes waiting for the writer.
    pub queued_bytes: usize,
    /// Bytes of entries in memory.
    pub cache_bytes: usize,
    /// Space taken on disk, reserve included.
    pub bytes_on_disk: u64,
    /// Segments on disk.
    pub segments: usize,
    /// A write or sync failed: see [`LogError::Poisoned`].
    pub poisoned: bool,
    /// Appends are being refused for want of space.
    pub disk_full: bool,
}

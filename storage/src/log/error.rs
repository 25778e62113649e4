//! What can go wrong with the log, and what its owner can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What an operator does about a damaged log: printed with every corruption.
pub const REPLACE_REPLICA: &str = "this replica can't go on with a damaged log: remove it and add \
     it again with an empty data directory (`regent members remove`, then `regent members add`); \
     if a majority is damaged, restore a snapshot (`regent snapshot restore`)";

/// An error of the log. Cloneable, since one failed write fails many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Something that was acknowledged is damaged or missing. The log isn't opened.
    #[error("{} is damaged at offset {offset}: {reason}; {REPLACE_REPLICA}", file.display())]
    Corrupt {
        /// The damaged (or missing) file.
        file: PathBuf,
        /// Bytes from the file's start.
        offset: u64,
        /// What was expected there.
        reason: String,
    },
    /// No space for new entries. Nothing of the refused operation was kept; votes, truncation and
    /// purging still work on the reserve, and appending works again once space is free.
    #[error("no space left for the log in {}: free space or purge the log", dir.display())]
    DiskFull {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A write or sync failed earlier. Nothing is tried again on those pages: the process must stop
    /// and open the log again.
    #[error("the log stopped after a failed write: {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<LogError>,
    },
    /// The log was closed before the operation was written.
    #[error("the log is closed")]
    Closed,
    /// An append that doesn't follow the last entry: a mistake of the caller, or a consequence of
    /// an earlier append that was refused.
    #[error("entry {found} appended where {expected} was due")]
    NotContiguous {
        /// The index that was due.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// One record or one append is larger than the limit.
    #[error("{bytes} bytes are more than the log's limit of {limit}")]
    TooLarge {
        /// Size asked for.
        bytes: u64,
        /// Size allowed.
        limit: u64,
    },
    /// More bytes wait to be written than `LogConfig::queue_bytes_max`.
    #[error("{queued} bytes already wait for the disk")]
    Overloaded {
        /// Bytes waiting.
        queued: u64,
    },
    /// Another process, or another handle in this one, has the log open.
    #[error("the log in {} is already open", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
}

impl LogError {
    /// Wraps an IO error, telling "no space" from everything else.
    pub(crate) fn io(action: &'static str, file: &Path, source: io::Error) -> LogError {
        if is_disk_full(&source) {
            let dir = file.parent().unwrap_or(file).to_path_buf();
            return LogError::DiskFull { dir };
        }
        LogError::Io {
            action,
            file: file.to_path_buf(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, reason: impl Into<String>) -> LogError {
        LogError::Corrupt {
            file: file.to_path_buf(),
            offset,
            reason: reason.into(),
        }
    }

    pub(crate) fn poisoned(cause: LogError) -> LogError {
        match cause {
            LogError::Poisoned { .. } => cause,
            other => LogError::Poisoned {
                cause: Arc::new(other),
            },
        }
    }

    /// True if the same operation may succeed later on this open log.
    pub fn retryable(&self) -> bool {
        match self {
            LogError::DiskFull { .. } | LogError::Overloaded { .. } => true,
            LogError::Corrupt { .. }
            | LogError::Poisoned { .. }
            | LogError::Closed
            | LogError::NotContiguous { .. }
            | LogError::TooLarge { .. }
            | LogError::Locked { .. }
            | LogError::Io { .. } => false,
        }
    }
}

/// For owners whose interface is `std::io` (openraft's storage traits).
impl From<LogError> for io::Error {
    fn from(error: LogError) -> io::Error {
        let kind = match &error {
            LogError::Corrupt { .. } => io::ErrorKind::InvalidData,
            LogError::DiskFull { .. } => io::ErrorKind::StorageFull,
            LogError::NotContiguous { .. } | LogError::TooLarge { .. } => {
                io::ErrorKind::InvalidInput
            }
            LogError::Io { source, .. } => source.kind(),
            LogError::Poisoned { .. }
            | LogError::Closed
            | LogError::Overloaded { .. }
            | LogError::Locked { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// True for "no space left" and "quota exceeded".
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

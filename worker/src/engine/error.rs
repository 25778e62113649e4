//! Why a task ended, in the words and kinds that reports carry.

use std::path::Path;

/// A task's failure. The kind tells the leader whether the cause lies in the task itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TaskError {
    /// The task's own data, configuration or files.
    #[error("{0}")]
    Task(String),
    /// A file lacks a column that the job file names.
    #[error("{message}")]
    NoColumn {
        message: String,
        column: String,
        /// Names that the file has, as far as they are of a usual length and number.
        header: Vec<String>,
    },
    /// A data channel broke or could not be opened; the cause lies elsewhere.
    #[error("{0}")]
    Channel(String),
    /// State could not be restored.
    #[error("{0}")]
    Restore(String),
    /// A task of an earlier attempt doesn't end, so its slot can't be used.
    #[error("{0}")]
    Stuck(String),
    /// The worker's lease is over, so nothing may be done any more.
    #[error("the worker's lease is over")]
    Lease,
}

impl TaskError {
    /// `TaskReport.failure_kind`.
    #[must_use]
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Task(_) | Self::NoColumn { .. } => "task",
            Self::Channel(_) => "channel",
            Self::Restore(_) => "restore",
            Self::Stuck(_) => "stuck",
            Self::Lease => "lease",
        }
    }

    pub(crate) fn task(message: impl Into<String>) -> Self {
        Self::Task(message.into())
    }

    /// An IO failure of the task's own files: what was tried, on which path, and the answer.
    pub(crate) fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::Task(format!("{what} {}: {error}", path.display()))
    }
}

impl From<arrow::error::ArrowError> for TaskError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Task(error.to_string())
    }
}

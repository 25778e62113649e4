//! Why a TaskManager could not start or had to stop. Each message is one line with the remedy, for
//! it is what the operator sees last.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;

/// What ends [`run`](crate::run) with an error.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration breaks a rule.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The data directory can't be used: in use, another's, or not writable.
    #[error("data-dir {path}: {message}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An address can't be listened on.
    #[error("can't listen on {address} ({key}): {source}; free the port or choose another")]
    Listen {
        /// Key in the configuration.
        key: &'static str,
        /// The address.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The checkpoint directory can't be used.
    #[error("storage.checkpoint-dir {path}: {message}")]
    Storage {
        /// The directory.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// What was learnt of the cluster can't be kept, so older leaders couldn't be refused.
    #[error("can't record the leader's epoch in {path}: {source}; check the disk and start again")]
    Memory {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A part of the worker ended by itself.
    #[error("the worker's {0} ended unexpectedly; see the log")]
    Ended(&'static str),
}

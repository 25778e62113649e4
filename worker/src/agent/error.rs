//! Why a TaskManager could not start or had to stop. Each message is one line with the remedy, for
//! it is what the operator sees last.

use std::io;
use std::path::PathBuf;

use regent_storage::identity::IdentityError;

use crate::config::ConfigError;

/// What ends [`run`](crate::run) with an error.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificate, key, CA or a token can't be used.
    #[error("configuration: {0}")]
    Security(#[from] regent_security::SecurityError),
    /// The data directory is in use, another worker's, or can't be written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What an earlier process learnt of the cluster can't be read.
    #[error("can't read {path}: {message}; remove it once no older leader can be running")]
    Unreadable {
        /// The file.
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
    #[error("{message}")]
    Storage {
        /// Key, directory and cause.
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

//! Why a JobManager didn't start or came to an end.

use crate::config::ConfigError;

/// Why `run` returned early.
#[derive(Debug, thiserror::Error)]
pub enum JobManagerError {
    /// The configuration is refused.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// Certificate, key, CA or a token can't be used.
    #[error("configuration: {0}")]
    Security(#[from] regent_security::SecurityError),
    /// The API address can't be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The replica didn't start; the text names the remedy.
    #[error(transparent)]
    Replica(#[from] regent_ha::StartError),
    /// Raft has stopped for good.
    #[error("raft has stopped: {0}; mend the cause and start this JobManager again")]
    Raft(String),
    /// The API server ended by itself.
    #[error("the API server ended: {0}")]
    Server(String),
}

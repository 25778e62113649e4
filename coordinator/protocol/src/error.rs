//! Errors that reach a client: what went wrong, what to do, and the exit code that scripts rely on.
//! They travel inside a gRPC status as JSON details.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

/// Class of a failure; each has its exit code in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// It was tried and failed (exit 1), for example an unknown job.
    Failed,
    /// The request or its file is invalid (exit 2). Nothing was stored.
    Invalid,
    /// A majority answers but nobody leads (exit 3).
    NoLeader,
    /// A majority doesn't answer (exit 4).
    NoQuorum,
    /// Refused for safety (exit 5).
    Refused,
    /// It may or may not have happened; repeat with the same request id (exit 6).
    UnknownOutcome,
    /// The caller isn't allowed to (exit 5).
    Denied,
}

impl ErrorKind {
    /// The process exit code of the contract.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::NoLeader => 3,
            Self::NoQuorum => 4,
            Self::Refused | Self::Denied => 5,
            Self::UnknownOutcome => 6,
        }
    }

    /// Whether another replica, or the same one a little later, may answer differently.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::NoLeader | Self::NoQuorum | Self::UnknownOutcome => true,
            Self::Failed | Self::Invalid | Self::Refused | Self::Denied => false,
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Failed => Code::Aborted,
            Self::Invalid => Code::InvalidArgument,
            Self::NoLeader | Self::NoQuorum => Code::Unavailable,
            Self::Refused => Code::FailedPrecondition,
            Self::UnknownOutcome => Code::Unknown,
            Self::Denied => Code::PermissionDenied,
        }
    }
}

/// A failure as a client sees it: one line with cause and remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Class, which decides the exit code.
    pub kind: ErrorKind,
    /// Cause and remedy; the first line stands alone.
    pub message: String,
}

impl ApiError {
    /// An error of this class.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let details = serde_json::to_vec(&error).unwrap_or_default();
        Self::with_details(error.kind.code(), error.message, Bytes::from(details))
    }
}

impl ApiError {
    /// Reads the error back from a status. `None`: it came from the transport, not from Regent.
    #[must_use]
    pub fn from_status(status: &Status) -> Option<Self> {
        serde_json::from_slice(status.details()).ok()
    }
}

//! Why an operation on an object didn't succeed, and how the stores' own errors are told apart.

use std::time::Duration;

use super::{AccessError, Location, LocationError};

/// Why an operation didn't succeed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No such object.
    #[error("{location} doesn't exist")]
    NotFound {
        /// The object.
        location: Location,
    },
    /// The name is taken by other bytes.
    #[error("{location} already exists with other content")]
    AlreadyExists {
        /// The object.
        location: Location,
    },
    /// The process may not do that there.
    #[error("permission denied: {location}: {source}")]
    PermissionDenied {
        /// The object.
        location: Location,
        /// The store's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time: whether it was done is unknown.
    #[error("{action} {location}: no answer within {} ms", limit.as_millis())]
    Timeout {
        /// What was tried.
        action: &'static str,
        /// On what.
        location: Location,
        /// The time allowed.
        limit: Duration,
    },
    /// More objects than were asked for at most.
    #[error("there are more than {most} files below {location}")]
    TooMany {
        /// The directory.
        location: Location,
        /// The number allowed.
        most: usize,
    },
    /// Not a usable location.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The store can't be spoken to with what is configured.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Anything else.
    #[error("{action} {location}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        location: Location,
        /// The store's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ObjectError {
    /// True if the same operation may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            ObjectError::Timeout { .. } | ObjectError::Io { .. } => true,
            // An operator may repair it meanwhile.
            ObjectError::PermissionDenied { .. } | ObjectError::Access(_) => true,
            ObjectError::NotFound { .. }
            | ObjectError::AlreadyExists { .. }
            | ObjectError::TooMany { .. }
            | ObjectError::Location(_) => false,
        }
    }
}

pub(super) fn map_error(
    action: &'static str,
    location: &Location,
    error: object_store::Error,
) -> ObjectError {
    let location = location.clone();
    match error {
        object_store::Error::NotFound { .. } => ObjectError::NotFound { location },
        object_store::Error::AlreadyExists { .. } => ObjectError::AlreadyExists { location },
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ObjectError::PermissionDenied {
            location,
            source: error.into(),
        },
        // Local files hide the system's answer within "generic".
        other => match io_kind(&other) {
            Some(std::io::ErrorKind::PermissionDenied) => ObjectError::PermissionDenied {
                location,
                source: other.into(),
            },
            _ => ObjectError::Io {
                action,
                location,
                source: other.into(),
            },
        },
    }
}

pub(super) fn is_timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    io_kind(error) == Some(std::io::ErrorKind::TimedOut)
}

/// The kind of the innermost IO error.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

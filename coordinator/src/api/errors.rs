//! From refusals of the machine and failures of replication to what a client is told. Pure.

use regent_ha::{ProposeError, ReadError};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_state::Rejection;

/// What a client is told about a refused command: cause, remedy and exit code.
pub(crate) fn rejected(rejection: &Rejection) -> ApiError {
    let (kind, remedy) = advice(rejection);
    let message = match remedy {
        Some(remedy) => format!("{rejection}; {remedy}"),
        None => rejection.to_string(),
    };
    ApiError::new(kind, message)
}

/// Exhaustive, so that a new reason forces an answer.
fn advice(rejection: &Rejection) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind::{Failed, Invalid, NoLeader, Refused};
    match rejection {
        Rejection::Expired { .. } | Rejection::BaseAhead { .. } => (
            Refused,
            Some("look whether it was done, then repeat it without --request-id"),
        ),
        Rejection::JobIdConflict { .. } => (Refused, Some("leave --job-id out, or take another")),
        Rejection::SinkClaimed { .. } => (
            Refused,
            Some("cancel that job, wait until it is clean, or write elsewhere"),
        ),
        Rejection::SinkOccupied { .. } => (
            Refused,
            Some(
                "write elsewhere, or dispose of it first if it is a savepoint or a retained checkpoint",
            ),
        ),
        Rejection::SavepointWithin { .. } => (
            Refused,
            Some("name a folder outside of checkpoints, savepoints and sinks"),
        ),
        Rejection::RestoreMustAppend { .. } => (Refused, Some("set if-exists: append")),
        Rejection::TooManySavepoints { .. } => (Refused, Some("repeat it later")),
        Rejection::SavepointPending { .. }
        | Rejection::SavepointGone { .. }
        | Rejection::ForeignCluster { .. }
        | Rejection::ArtefactInUse { .. }
        | Rejection::RestorePointInUse { .. }
        | Rejection::Pinned { .. }
        | Rejection::NotDisposable { .. }
        | Rejection::FeatureLevelFalls { .. } => (Refused, None),
        Rejection::MemberRemoved { .. } => (
            Refused,
            Some("empty its data directory and give the replica a new node-id"),
        ),
        Rejection::MemberElsewhere { .. } => (
            Refused,
            Some("remove that member first, and use another node-id"),
        ),
        Rejection::InvalidGraph(_) | Rejection::Invalid(_) => (Invalid, None),
        Rejection::StaleEpoch { .. } | Rejection::LeaderNotAnnounced => {
            (NoLeader, Some("repeat it"))
        }
        Rejection::WrongAuthority(_)
        | Rejection::UnknownJob(_)
        | Rejection::ResultExpired(_)
        | Rejection::WrongRun { .. }
        | Rejection::AlreadyTerminal { .. }
        | Rejection::WrongState { .. }
        | Rejection::WrongToken { .. }
        | Rejection::AttemptEnded { .. }
        | Rejection::NotDue { .. }
        | Rejection::WrongPlacement { .. }
        | Rejection::SinkNotPrepared { .. }
        | Rejection::UnknownSink { .. }
        | Rejection::CheckpointPending { .. }
        | Rejection::CheckpointNotPending { .. }
        | Rejection::WrongPath { .. }
        | Rejection::UnknownCheckpoint { .. }
        | Rejection::UnknownSavepointRequest { .. }
        | Rejection::OutputNotCommitted { .. }
        | Rejection::UnknownArtefact(_) => (Failed, None),
    }
}

/// What a proposal that got no answer means for the client.
pub(crate) fn not_proposed(error: &ProposeError) -> ApiError {
    let kind = match error {
        ProposeError::NotLeader { .. } => ErrorKind::NoLeader,
        ProposeError::NoQuorum => ErrorKind::NoQuorum,
        ProposeError::Overloaded => ErrorKind::Failed,
        ProposeError::Refused(_) => ErrorKind::Invalid,
        ProposeError::OutcomeUnknown(_) | ProposeError::Shutdown(_) => ErrorKind::UnknownOutcome,
    };
    ApiError::new(kind, error.to_string())
}

/// What a read that got no answer means for the client.
pub(crate) fn not_read(error: &ReadError) -> ApiError {
    let kind = match error {
        ReadError::NoLeader | ReadError::NotLeader { .. } | ReadError::Shutdown => {
            ErrorKind::NoLeader
        }
        ReadError::NoQuorum | ReadError::Timeout => ErrorKind::NoQuorum,
        ReadError::Failed(_) => ErrorKind::Failed,
    };
    ApiError::new(kind, error.to_string())
}

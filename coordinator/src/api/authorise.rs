//! The one place where it is decided who may do what, keyed on the decoded request.
//!
//! Without TLS and tokens every caller on the (trusted) network is an administrator. The match is
//! exhaustive, so that a new change can't be served before its role is decided.

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::change_request::Change;

/// What a caller must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Runs and ends jobs.
    Operator,
    /// Gives up artefacts, moves leadership.
    Admin,
}

/// The role that a change needs.
pub(crate) fn needed(change: &Change) -> Role {
    match change {
        Change::SubmitJob(_)
        | Change::CancelJob(_)
        | Change::StopJob(_)
        | Change::Savepoint(_)
        | Change::CleanupRetry(_)
        | Change::DrainWorker(_) => Role::Operator,
        Change::TransferLeader(_)
        | Change::CleanupForget(_)
        | Change::DisposeSavepoint(_)
        | Change::Member(_)
        | Change::ResumeJobs(_) => Role::Admin,
    }
}

/// Whether a caller of this role may do it.
pub(crate) fn authorise(caller: Role, change: &Change) -> Result<(), ApiError> {
    let needed = needed(change);
    if caller >= needed {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorKind::Refused,
        format!("this needs the role {needed:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_protocol::v1;

    #[test]
    fn an_operator_may_not_give_up_artefacts() {
        let forget = Change::CleanupForget(v1::ForgetArtefact { artefact: 1 });
        let cancel = Change::CancelJob(v1::JobRef { job: "a".into() });
        assert!(authorise(Role::Operator, &cancel).is_ok());
        assert!(authorise(Role::Operator, &forget).is_err());
        assert!(authorise(Role::Admin, &forget).is_ok());
    }
}

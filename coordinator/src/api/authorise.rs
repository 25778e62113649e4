//! What a request to a JobManager is, as the one table of who may do what knows it
//! (`regent_security::allowed`): by its path, and where one path carries many, by the decoded command.
//!
//! The matches over commands are exhaustive, so that a new one can't be served before its deed is named; a
//! path that isn't listed is refused.

use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_security::{Caller, Deed, Denied, Rule};
use tonic::Status;

/// What each path needs.
pub(crate) fn rule(path: &str) -> Option<Rule> {
    let deed = match path {
        "/livez" | "/readyz" | "/leader" => Deed::LookAtHealth,
        "/metrics" => Deed::ReadMetrics,
        "/regent.v1.JobManagerApi/Read" | "/regent.v1.JobManagerApi/Change" => {
            return Some(Rule::Decoded);
        }
        "/regent.v1.JobManagerApi/Forward" => Deed::Forward,
        "/regent.v1.JobManagerApi/NodeStatus" => Deed::ReadStatus,
        "/regent.v1.JobManagerApi/SaveSnapshot" => Deed::SaveState,
        "/regent.v1.WorkerGateway/Session" => Deed::HoldSession,
        "/regent.v1.WorkerGateway/WatchLeader" => Deed::WatchLeader,
        "/regent.v1.WorkerGateway/ReportWorkerDeath" => Deed::ReportDeath,
        _ => return None,
    };
    Some(Rule::Deed(deed))
}

/// A refusal as clients are told it.
pub(crate) fn status(denied: Denied) -> Status {
    Status::from(ApiError::new(ErrorKind::Denied, denied.to_string()))
}

/// What a change is.
fn of_change(change: &Change) -> Deed {
    match change {
        Change::SubmitJob(_)
        | Change::CancelJob(_)
        | Change::StopJob(_)
        | Change::Savepoint(_)
        | Change::CleanupRetry(_)
        | Change::DrainWorker(_) => Deed::Operate,
        Change::TransferLeader(_)
        | Change::CleanupForget(_)
        | Change::DisposeSavepoint(_)
        | Change::Member(_)
        | Change::ResumeJobs(_) => Deed::Administer,
    }
}

/// What a read is.
fn of_query(query: &Query) -> Deed {
    match query {
        Query::JobList(_)
        | Query::JobShow(_)
        | Query::JobResult(_)
        | Query::JobHistory(_)
        | Query::JobExplain(_)
        | Query::CheckpointList(_)
        | Query::CheckpointShow(_)
        | Query::RetainedList(_)
        | Query::WorkerList(_)
        | Query::CleanupList(_)
        | Query::CleanupShow(_)
        | Query::LeaderHistory(_)
        | Query::MembersPlan(_)
        | Query::Overview(_) => Deed::Read,
        Query::LogTail(_) | Query::LogShow(_) | Query::StateAt(_) => Deed::ReadLog,
        Query::CleanupVerify(_) => Deed::CompareStore,
    }
}

/// Whether the caller may have this changed. What a replica passes on, it has authorised itself.
pub(crate) fn authorise_change(
    caller: &Caller,
    change: &Change,
    forwarded: bool,
) -> Result<(), ApiError> {
    authorise(caller, of_change(change), forwarded)
}

/// Whether the caller may read this.
pub(crate) fn authorise_read(
    caller: &Caller,
    query: &Query,
    forwarded: bool,
) -> Result<(), ApiError> {
    authorise(caller, of_query(query), forwarded)
}

fn authorise(caller: &Caller, deed: Deed, forwarded: bool) -> Result<(), ApiError> {
    let deed = match caller.is_peer() && forwarded {
        true => Deed::Forward,
        false => deed,
    };
    caller.may(deed).map_err(|denied| {
        tracing::info!(%caller, ?deed, "refused: {denied}");
        ApiError::new(ErrorKind::Denied, denied.to_string())
    })
}

/// Who an entry of the log says it was: by certificate, else as the caller calls itself.
pub(crate) fn actor(caller: &Caller, told: &str) -> String {
    let told: String = told.chars().take(128).collect();
    match caller.identity() {
        // Its client's, which it has found out.
        Some(_) if caller.is_peer() => told,
        Some(identity) => identity.to_string(),
        None if told.is_empty() => "client".to_owned(),
        None => told,
    }
}

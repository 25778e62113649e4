//! Applying an entry: one door, one small file behind it per command.
//!
//! [`apply`] checks who may propose the command, answers repeated requests from memory, and calls
//! the command's file. A handler checks everything first and changes the state only then, so that
//! a refusal leaves nothing behind.

mod announce_leader;
mod attempts;
mod authority;
mod checkpoints;
mod claims;
mod cleanup;
mod context;
mod dedup;
mod jobs;
mod ledger;
mod operations;
mod pending;
mod rebirth;
mod settle;

pub(crate) use announce_leader::REIGNS_MAX;
pub(crate) use checkpoints::complete_checkpoint::SAVEPOINTS_LISTED_MAX;
pub(crate) use context::Context;
pub(crate) use dedup::WINDOW as REQUEST_WINDOW;
pub(crate) use jobs::request_savepoint::KEPT_MAX as SAVEPOINT_REQUESTS_MAX;
pub use rebirth::Rebirth;
pub(crate) use settle::is_open;

use crate::command::{Authority, Command, Envelope};
use crate::ids::EntryId;
use crate::machine::Machine;
use crate::response::{Applied, Rejection, Response};

/// Applies a committed entry.
pub(crate) fn apply(machine: &mut Machine, entry: EntryId, envelope: &Envelope) -> Applied {
    let mut ctx = Context::new(machine, entry, envelope);
    dedup::evict(&mut ctx);
    let response = respond(&mut ctx, envelope);
    ctx.finish(response)
}

fn respond(ctx: &mut Context<'_>, envelope: &Envelope) -> Response {
    if let Err(rejection) = authority::check(ctx, envelope) {
        return rejection.into();
    }
    let request = match envelope.command.authority() {
        Authority::Client => envelope.request,
        Authority::NewLeader | Authority::Reconciler => None,
    };
    let Some(request) = request else {
        return dispatch(ctx, &envelope.command).unwrap_or_else(Response::Rejected);
    };
    if let Some(answer) = dedup::recall(ctx, request) {
        return answer;
    }
    let response = dispatch(ctx, &envelope.command).unwrap_or_else(Response::Rejected);
    dedup::remember(ctx, request, &response);
    response
}

/// The table of contents.
fn dispatch(ctx: &mut Context<'_>, command: &Command) -> Result<Response, Rejection> {
    match command {
        Command::AnnounceLeader(c) => announce_leader::apply(ctx, c),
        Command::SubmitJob(c) => jobs::submit_job::apply(ctx, c),
        Command::DeployAttempt(c) => attempts::deploy_attempt::apply(ctx, c),
        Command::AttemptRunning(c) => attempts::attempt_running::apply(ctx, c),
        Command::AttemptAdopted(c) => attempts::attempt_adopted::apply(ctx, c),
        Command::AttemptFailed(c) => attempts::attempt_failed::apply(ctx, c),
        Command::AttemptsOver(c) => attempts::attempts_over::apply(ctx, c),
        Command::CancelJob(c) => jobs::cancel_job::apply(ctx, c),
        Command::StopJob(c) => jobs::stop_job::apply(ctx, c),
        Command::RequestSavepoint(c) => jobs::request_savepoint::apply(ctx, c),
        Command::FailJob(c) => jobs::fail_job::apply(ctx, c),
        Command::JobWaiting(c) => jobs::job_waiting::apply(ctx, c),
        Command::SinkPrepared(c) => jobs::sink_prepared::apply(ctx, c),
        Command::SinksCommitted(c) => checkpoints::sinks_committed::apply(ctx, c),
        Command::JobTerminated(c) => jobs::job_terminated::apply(ctx, c),
        Command::BeginCheckpoint(c) => checkpoints::begin_checkpoint::apply(ctx, c),
        Command::CompleteCheckpoint(c) => checkpoints::complete_checkpoint::apply(ctx, c),
        Command::AbortCheckpoint(c) => checkpoints::abort_checkpoint::apply(ctx, c),
        Command::CleanupAttempted(c) => cleanup::cleanup_attempted::apply(ctx, c),
        Command::CleanupSwept(c) => cleanup::cleanup_swept::apply(ctx, c),
        Command::RetryCleanup(c) => cleanup::retry_cleanup::apply(ctx, c),
        Command::ForgetArtefact(c) => cleanup::forget_artefact::apply(ctx, c),
        Command::DisposeSavepoint(c) => cleanup::dispose_savepoint::apply(ctx, c),
        Command::ExpireResults(c) => cleanup::expire_results::apply(ctx, c),
        Command::SetFeatureLevel(c) => authority::set_feature_level(ctx, c),
        Command::ChangeMember(c) => operations::change_member(ctx, c),
        Command::DrainWorker(c) => operations::drain_worker(ctx, c),
        Command::ResumeJobs(c) => rebirth::resume(ctx, c),
    }
}

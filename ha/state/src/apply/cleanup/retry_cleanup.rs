//! `RetryCleanup`.

use super::super::{Context, ledger};
use crate::command::RetryCleanup;
use crate::model::JobEventKind;
use crate::response::{Effect, JobAnswer, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &RetryCleanup,
) -> Result<Response, Rejection> {
    let retried = ledger::retry_all(ctx, command.job);
    ctx.effect(Effect::Cleanup);
    match ctx.job(command.job) {
        Ok(job) => {
            let actor = ctx.actor;
            ctx.event(&job, JobEventKind::CleanupRetried, Some(actor));
            let (run, state) = (job.run, job.state);
            Ok(Response::Job(JobAnswer {
                job: job.id,
                run,
                state,
                already: false,
            }))
        }
        // Its result has expired, but a savepoint of it that was disposed of later may be stuck.
        Err(_) if retried > 0 => Ok(Response::Done),
        Err(unknown) => Err(unknown),
    }
}

//! `FailJob`.

use super::super::{Context, pending};
use super::wrong_state;
use crate::command::{FailJob, FailureKind};
use crate::model::{AttemptState, Failure, JobEventKind, Wanted, clip};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &FailJob,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_of_run(command.job, command.run)?;
    let Some(state) = moves::next(job.state, Move::Fails) else {
        return Err(wrong_state(&job, "a job that is not being ended already"));
    };
    pending::abort(ctx, &mut job);
    job.state = state;
    job.wanted = Wanted::Fail;
    job.reason = Some(clip(&command.cause));
    job.attempt_state = job.attempt_state.map(|_| AttemptState::Ended);
    let failure = Failure {
        at_ms: ctx.wall_ms(),
        token: job.token,
        attempt: job.attempt,
        cause: clip(&command.cause),
        kind: FailureKind::Unrecoverable,
        worker: None,
        vertex: None,
        subtask: None,
    };
    ctx.failure(job.id, failure);
    ctx.event(&job, JobEventKind::Failing, Some(&command.cause));
    ctx.effect(Effect::Schedule(job.id));
    ctx.put_job(job);
    Ok(Response::Done)
}

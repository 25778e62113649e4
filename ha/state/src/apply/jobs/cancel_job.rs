//! `CancelJob`.

use super::super::{Context, pending};
use super::answer;
use crate::command::CancelJob;
use crate::model::{AttemptState, JobEventKind, JobState, Wanted};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &CancelJob,
) -> Result<Response, Rejection> {
    let mut job = ctx.job(command.job)?;
    if matches!(job.state, JobState::Cancelling | JobState::Canceled) {
        return Ok(answer(&job, true));
    }
    let Some(state) = moves::next(job.state, Move::CancelAsked) else {
        return Err(Rejection::AlreadyTerminal {
            job: job.id,
            state: job.state,
        });
    };
    pending::abort(ctx, &mut job);
    job.state = state;
    job.wanted = Wanted::Cancel;
    job.attempt_state = job.attempt_state.map(|_| AttemptState::Ended);
    let actor = ctx.actor;
    ctx.event(&job, JobEventKind::Cancelling, Some(actor));
    ctx.effect(Effect::Schedule(job.id));
    let response = answer(&job, false);
    ctx.put_job(job);
    Ok(response)
}

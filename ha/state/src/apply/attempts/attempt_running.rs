//! `AttemptRunning`.

use super::super::Context;
use super::wrong_state;
use crate::command::AttemptRunning;
use crate::model::{AttemptState, JobEventKind};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &AttemptRunning,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_at(command.job, command.token)?;
    let Some(state) = moves::next(job.state, Move::Runs) else {
        return Err(wrong_state(&job, "a job whose attempt is being deployed"));
    };
    job.state = state;
    job.attempt_state = Some(AttemptState::Running);
    job.started_ms = job.started_ms.or(Some(ctx.wall_ms()));
    ctx.event(&job, JobEventKind::Running, None);
    ctx.effect(Effect::Checkpoints(job.id));
    ctx.put_job(job);
    Ok(Response::Done)
}

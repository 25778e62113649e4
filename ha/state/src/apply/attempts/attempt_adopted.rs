//! `AttemptAdopted`.

use super::super::Context;
use super::{count_in_reign, wrong_state};
use crate::command::AttemptAdopted;
use crate::model::{AttemptState, JobEventKind};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &AttemptAdopted,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_at(command.job, command.token)?;
    let Some(state) = moves::next(job.state, Move::Adopted) else {
        return Err(wrong_state(&job, "a job that waits to be adopted"));
    };
    job.state = state;
    job.attempt_state = Some(AttemptState::Running);
    job.started_ms = job.started_ms.or(Some(ctx.wall_ms()));
    job.adoptions += 1;
    count_in_reign(ctx, |reign| reign.jobs_adopted += 1);
    ctx.event(&job, JobEventKind::Adopted, None);
    ctx.effect(Effect::Checkpoints(job.id));
    ctx.put_job(job);
    Ok(Response::Done)
}

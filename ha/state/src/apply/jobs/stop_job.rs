//! `StopJob`.

use super::super::Context;
use super::{answer, check_target, wrong_state};
use crate::command::StopJob;
use crate::model::{JobEventKind, Wanted};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &StopJob,
) -> Result<Response, Rejection> {
    let mut job = ctx.job(command.job)?;
    if job.is_terminal() {
        return Err(Rejection::AlreadyTerminal {
            job: job.id,
            state: job.state,
        });
    }
    let wanted = Wanted::Stop {
        target: command.target.clone(),
        drain: command.drain,
    };
    if job.wanted == wanted {
        return Ok(answer(&job, true));
    }
    if job.wanted != Wanted::Run {
        return Err(wrong_state(&job, "a job that is not being ended already"));
    }
    check_target(ctx, &command.target)?;
    job.wanted = wanted;
    let actor = ctx.actor;
    ctx.event(&job, JobEventKind::Stopping, Some(actor));
    ctx.effect(Effect::Checkpoints(job.id));
    ctx.effect(Effect::Schedule(job.id));
    let response = answer(&job, false);
    ctx.put_job(job);
    Ok(response)
}

//! `JobWaiting`.

use super::super::Context;
use super::wrong_state;
use crate::command::JobWaiting;
use crate::model::clip;
use crate::response::{Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &JobWaiting,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_of_run(command.job, command.run)?;
    if !job.awaits_deployment() {
        return Err(wrong_state(&job, "a job that waits for deployment"));
    }
    job.reason = command.reason.as_deref().map(clip);
    ctx.put_job(job);
    Ok(Response::Done)
}

//! `ExpireResults`.

use super::super::Context;
use crate::command::ExpireResults;
use crate::graph::JobGraph;
use crate::ids::JobId;
use crate::model::{Checkpoint, Job, JobHistory};
use crate::response::{Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &ExpireResults,
) -> Result<Response, Rejection> {
    let expired = ctx.machine.expired(command, ctx.now_ms());
    let mut expired: Vec<JobId> = expired.take(ExpireResults::BATCH + 1).collect();
    let more = expired.len() > ExpireResults::BATCH;
    expired.truncate(ExpireResults::BATCH);
    for job in &expired {
        drop_job(ctx, *job);
    }
    Ok(Response::ResultsExpired {
        expired: expired.len() as u64,
        more,
    })
}

/// Retained checkpoints and savepoints are artefacts of their own: they stay, listed under the job's id.
fn drop_job(ctx: &mut Context<'_>, id: JobId) {
    let checkpoints: Vec<_> = ctx
        .machine
        .checkpoints(id)
        .filter(|each| !each.is_retained())
        .map(|each| (each.job, each.run, each.id))
        .collect();
    for checkpoint in checkpoints {
        ctx.remove::<Checkpoint>(&checkpoint);
    }
    ctx.remove::<JobHistory>(&id);
    ctx.remove::<JobGraph>(&id);
    ctx.remove::<Job>(&id);
}

//! `AbortCheckpoint`.

use super::super::Context;
use super::super::pending as pending_checkpoint;
use super::{answer_savepoint, pending};
use crate::command::{AbortCheckpoint, CheckpointKind};
use crate::model::{SavepointState, clip};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &AbortCheckpoint,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_at(command.job, command.token)?;
    let kind = pending(&job, command.id)?.kind;
    let tolerable = ctx.graph(job.id)?.tolerable_failed_checkpoints();
    pending_checkpoint::abort(ctx, &mut job);
    job.checkpoints.failed += u64::from(command.counts);
    if command.counts && kind == CheckpointKind::Checkpoint {
        job.checkpoints.failed_in_a_row = job.checkpoints.failed_in_a_row.saturating_add(1);
    }
    let cause = clip(&command.cause);
    answer_savepoint(&mut job, kind, SavepointState::Failed { cause });
    let too_many = job.checkpoints.failed_in_a_row > tolerable;
    ctx.effect(Effect::Checkpoints(job.id));
    ctx.put_job(job);
    Ok(Response::CheckpointAborted { too_many })
}

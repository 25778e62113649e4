//! `SinksCommitted`.

use super::super::{Context, settle};
use super::commit_through;
use crate::command::SinksCommitted;
use crate::model::{Job, JobEventKind};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &SinksCommitted,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_of_run(command.job, command.run)?;
    commit_through(&mut job, command.through)?;
    complete_output(ctx, &mut job);
    let cleaned = settle::settle(ctx, &mut job);
    let cleaned = if cleaned { vec![job.id] } else { Vec::new() };
    ctx.effect(Effect::Schedule(job.id));
    ctx.put_job(job);
    Ok(Response::Ledger { cleaned })
}

/// An ended job's output may have become complete by it.
fn complete_output(ctx: &mut Context<'_>, job: &mut Job) {
    let committed = job.uncommitted().is_none();
    let Some(result) = &mut job.result else {
        return;
    };
    if committed && !result.output_complete && !result.output_abandoned {
        result.output_complete = true;
        ctx.event(job, JobEventKind::OutputCommitted, None);
    }
}

//! `RequestSavepoint`.

use super::super::Context;
use super::{check_target, wrong_state};
use crate::command::RequestSavepoint;
use crate::model::{Job, SavepointRequest, SavepointState, Wanted};
use crate::response::{Effect, JobAnswer, Rejection, Response};

/// Requests that may wait at once.
const WAITING_MAX: usize = 8;
/// Requests that are remembered, waiting ones included.
pub(crate) const KEPT_MAX: usize = 16;

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &RequestSavepoint,
) -> Result<Response, Rejection> {
    let mut job = ctx.job(command.job)?;
    if job.is_terminal() {
        return Err(Rejection::AlreadyTerminal {
            job: job.id,
            state: job.state,
        });
    }
    if job.wanted != Wanted::Run || job.only_commits() {
        return Err(wrong_state(&job, "a job that goes on running"));
    }
    check_target(ctx, &command.target)?;
    let waits = |request: &&SavepointRequest| request.state == SavepointState::Waiting;
    let waiting = job.savepoints.iter().filter(waits).count();
    if waiting >= WAITING_MAX {
        return Err(Rejection::TooManySavepoints {
            job: job.id,
            waiting: waiting as u64,
        });
    }
    let request = ctx.entry.index;
    remember(
        &mut job,
        SavepointRequest {
            request,
            target: command.target.clone(),
            state: SavepointState::Waiting,
        },
    );
    ctx.effect(Effect::Checkpoints(job.id));
    let answer = JobAnswer {
        job: job.id,
        run: job.run,
        state: job.state,
        already: false,
    };
    ctx.put_job(job);
    Ok(Response::SavepointRequested {
        job: answer,
        request,
    })
}

/// Makes room by forgetting the oldest request that is answered.
fn remember(job: &mut Job, request: SavepointRequest) {
    if job.savepoints.len() >= KEPT_MAX {
        let answered = |request: &SavepointRequest| request.state != SavepointState::Waiting;
        if let Some(oldest) = job.savepoints.iter().position(answered) {
            job.savepoints.remove(oldest);
        }
    }
    job.savepoints.push(request);
}

//! `AttemptFailed`: the restart strategy decides what follows.

use super::super::{Context, pending};
use super::{count_in_reign, wrong_state};
use crate::command::{AttemptFailed, FailureKind};
use crate::ids::WorkerRef;
use crate::model::{AttemptState, Failure, Job, JobEventKind, Wanted, clip};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response, Verdict};
use crate::restart::{self, Failed};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &AttemptFailed,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_at(command.job, command.token)?;
    if moves::next(job.state, Move::Restarts).is_none() {
        return Err(wrong_state(&job, "a job whose attempt is to go on"));
    }
    let graph = ctx.graph(job.id)?;
    pending::abort(ctx, &mut job);
    job.attempt_state = Some(AttemptState::Ended);
    job.reason = Some(clip(&command.cause));
    record(ctx, &job, command);

    let failed = Failed {
        kind: command.kind,
        only_commits: job.only_commits(),
        jitter_permille: command.jitter_permille,
        now_ms: ctx.now_ms(),
    };
    let (restart, verdict) = restart::decide(&graph.restart_strategy, &job.restart, failed);
    job.restart = restart;
    follow(ctx, &mut job, command, &verdict);
    ctx.effect(Effect::Schedule(job.id));
    ctx.put_job(job);
    Ok(Response::AttemptFailed(verdict))
}

fn record(ctx: &mut Context<'_>, job: &Job, command: &AttemptFailed) {
    let failure = Failure {
        at_ms: ctx.wall_ms(),
        token: Some(command.token),
        attempt: job.attempt,
        cause: clip(&command.cause),
        kind: command.kind,
        worker: command.worker.as_ref().map(clip_worker),
        vertex: command.vertex.as_deref().map(clip),
        subtask: command.subtask,
    };
    ctx.failure(job.id, failure);
}

/// The name came from the worker itself.
fn clip_worker(worker: &WorkerRef) -> WorkerRef {
    WorkerRef {
        worker: clip(&worker.worker),
        incarnation: worker.incarnation,
    }
}

fn follow(ctx: &mut Context<'_>, job: &mut Job, command: &AttemptFailed, verdict: &Verdict) {
    let (event, kind) = match verdict {
        Verdict::Restart { .. } => (Move::Restarts, JobEventKind::Restarting),
        Verdict::Fail => (Move::Fails, JobEventKind::Failing),
    };
    job.state = moves::next(job.state, event).unwrap_or(job.state);
    match verdict {
        Verdict::Fail => job.wanted = Wanted::Fail,
        Verdict::Restart { .. } if command.kind == FailureKind::IncompleteAfterTakeover => {
            count_in_reign(ctx, |reign| reign.jobs_restarted += 1);
        }
        Verdict::Restart { .. } => {}
    }
    ctx.event(job, kind, Some(&command.cause));
}

//! `JobTerminated`: the result, dirty, and the cleanup plan, in one entry.

use super::super::{Context, attempts, pending, settle};
use super::wrong_state;
use crate::command::{JobTerminated, Outcome};
use crate::model::{
    ArtefactState, AttemptState, Job, JobEventKind, JobResult, JobState, SavepointState, Wanted,
};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &JobTerminated,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_of_run(command.job, command.run)?;
    if job.is_terminal() {
        return Err(Rejection::AlreadyTerminal {
            job: job.id,
            state: job.state,
        });
    }
    let (given, current) = (command.token, job.token);
    if given != current {
        return Err(Rejection::WrongToken {
            job: job.id,
            given,
            current,
        });
    }
    let Some(state) = moves::next(job.state, Move::Ends(command.outcome)) else {
        return Err(wrong_state(&job, needs(command.outcome)));
    };
    if command.outcome == Outcome::Finished {
        check_output(ctx, &job)?;
    }
    end(ctx, &mut job, state, command.outcome);
    settle::settle(ctx, &mut job);
    let response = plan(ctx, &job);
    ctx.effect(Effect::JobEnded(job.id));
    ctx.effect(Effect::Schedule(job.id));
    ctx.effect(Effect::Cleanup);
    ctx.put_job(job);
    Ok(response)
}

fn needs(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Finished => "RUNNING, or a committed last checkpoint",
        Outcome::Failed => "FAILING",
        Outcome::Canceled => "CANCELLING",
    }
}

/// FINISHED means that all output is visible. A job with an exactly-once sink, and one that was
/// stopped, has completed its last checkpoint; whatever the latest checkpoint names is committed.
/// A job that has none of this is finished when its running tasks are.
fn check_output(ctx: &Context<'_>, job: &Job) -> Result<(), Rejection> {
    let stops = matches!(job.wanted, Wanted::Stop { .. });
    let needs_last = stops || ctx.graph(job.id)?.has_exactly_once_sink();
    let has_last = job.final_checkpoint.is_some();
    if (needs_last && !has_last) || job.uncommitted().is_some() {
        return Err(Rejection::OutputNotCommitted { job: job.id });
    }
    if !has_last && job.state != JobState::Running {
        return Err(wrong_state(job, needs(Outcome::Finished)));
    }
    Ok(())
}

fn end(ctx: &mut Context<'_>, job: &mut Job, state: JobState, outcome: Outcome) {
    pending::abort(ctx, job);
    attempts::retire(ctx, job);
    job.attempt_state = job.attempt_state.map(|_| AttemptState::Ended);
    job.state = state;
    job.pinned = false;
    job.unprepared_sinks.clear();
    for request in &mut job.savepoints {
        if request.state == SavepointState::Waiting {
            let cause = format!("the job is {state}");
            request.state = SavepointState::Failed { cause };
        }
    }
    let cause = job.reason.clone().filter(|_| outcome == Outcome::Failed);
    job.result = Some(JobResult {
        outcome,
        cause: cause.clone(),
        ended_ms: ctx.wall_ms(),
        ended_clock_ms: ctx.now_ms(),
        clean: false,
        output_complete: job.uncommitted().is_none(),
        output_abandoned: false,
    });
    let text = cause.map_or_else(
        || outcome.to_string(),
        |cause| format!("{outcome}: {cause}"),
    );
    ctx.event(job, JobEventKind::Ended, Some(&text));
}

fn plan(ctx: &Context<'_>, job: &Job) -> Response {
    let mut counts = (0, 0);
    for artefact in ctx.machine.artefacts_of(job.id, job.run) {
        counts.0 += u64::from(artefact.state.is_undone());
        counts.1 += u64::from(artefact.state == ArtefactState::Retained);
    }
    let clean = !job.is_dirty();
    Response::Terminated {
        clean,
        given_up: counts.0,
        retained: counts.1,
    }
}

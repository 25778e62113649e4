//! `AttemptsOver`: nothing of these attempts can write any more.

use super::super::{Context, ledger, settle};
use crate::command::AttemptsOver;
use crate::ids::{ArtefactId, AttemptToken};
use crate::model::{Attempt, Job};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &AttemptsOver,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_of_run(command.job, command.run)?;
    let attempts = ctx.attempts(&job).into_iter();
    for attempt in attempts.filter(|attempt| command.tokens.contains(&attempt.token)) {
        let over = Attempt {
            over: true,
            ..Attempt::clone(&attempt)
        };
        ctx.put::<Attempt>((job.id, attempt.token), over);
        open_last_sweeps(ctx, &job, attempt.token);
    }
    let cleaned = settle::settle(ctx, &mut job);
    let cleaned = if cleaned { vec![job.id] } else { Vec::new() };
    ctx.effect(Effect::Cleanup);
    ctx.put_job(job);
    Ok(Response::Ledger { cleaned })
}

/// One more look at each directory that this attempt's tasks might have written to late.
fn open_last_sweeps(ctx: &mut Context<'_>, job: &Job, token: AttemptToken) {
    let owned = ctx.machine.artefacts_of(job.id, job.run);
    let swept = owned.filter(|artefact| artefact.token == Some(token) && artefact.sweep.is_some());
    let ids: Vec<ArtefactId> = swept.map(|artefact| artefact.id).collect();
    for id in ids {
        ledger::change(ctx, id, |artefact| {
            if let Some(sweep) = &mut artefact.sweep {
                sweep.attempt_over = true;
            }
        });
    }
}

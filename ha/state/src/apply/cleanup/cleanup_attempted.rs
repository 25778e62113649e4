//! `CleanupAttempted`: outcomes of deletions, many in one entry.

use std::collections::BTreeSet;

use super::super::{Context, ledger};
use super::settle_run;
use crate::command::{CleanupAttempted, CleanupOutcome};
use crate::model::{Artefact, ArtefactState, JobEventKind, clip};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &CleanupAttempted,
) -> Result<Response, Rejection> {
    let mut owners = BTreeSet::new();
    for report in &command.outcomes {
        let artefact = ctx.get::<Artefact>(&report.artefact);
        let Some(artefact) = artefact.filter(|artefact| artefact.state.is_undone()) else {
            continue;
        };
        match &report.outcome {
            CleanupOutcome::Gone => ledger::done(ctx, &artefact),
            CleanupOutcome::Failed {
                error,
                next_retry_ms,
            } => {
                failed(ctx, &artefact, error, *next_retry_ms);
            }
        }
        owners.extend(
            artefact
                .owner
                .filter(|_| ledger::owner_is_dirty(ctx, &artefact)),
        );
    }
    let cleaned = owners.into_iter().filter(|owner| settle_run(ctx, *owner));
    Ok(Response::Ledger {
        cleaned: cleaned.map(|(job, _)| job).collect(),
    })
}

fn failed(ctx: &mut Context<'_>, artefact: &Artefact, error: &str, next_retry_ms: Option<u64>) {
    ledger::change(ctx, artefact.id, |artefact| {
        artefact.attempts = artefact.attempts.saturating_add(1);
        artefact.last_error = Some(clip(error));
        match next_retry_ms {
            Some(due_ms) => {
                artefact.state = ArtefactState::Retrying;
                artefact.next_retry_ms = due_ms;
            }
            None => artefact.state = ArtefactState::Dirty,
        }
    });
    if next_retry_ms.is_none() {
        ctx.effect(Effect::CleanupStuck(artefact.id));
        tell_job(ctx, artefact, error);
    }
}

fn tell_job(ctx: &mut Context<'_>, artefact: &Artefact, error: &str) {
    let Some((job, run)) = artefact.owner else {
        return;
    };
    if let Ok(job) = ctx.job_of_run(job, run) {
        let text = format!("{}: {error}", artefact.path);
        ctx.event(&job, JobEventKind::CleanupStuck, Some(&text));
    }
}

//! `CleanupSwept`: second looks at the directories of aborted checkpoints.

use std::sync::Arc;

use super::super::{Context, ledger};
use crate::command::{CleanupSwept, SweepOutcome, SweepReport};
use crate::model::{Artefact, ArtefactState, Sweep, clip};
use crate::response::{Rejection, Response};

/// Directories of one run that wait for the end of their attempts. Beyond it the oldest waits no more: it was
/// aborted a thousand aborts ago and swept after its writers' deadline; `cleanup verify` names what a process
/// that was frozen since may still write there. Why that is safe: `docs/decisions/0002-sweeps-that-wait.md`.
const WAITING_MAX: usize = 1_000;

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &CleanupSwept,
) -> Result<Response, Rejection> {
    for report in &command.sweeps {
        if let Some(artefact) = ctx.get::<Artefact>(&report.artefact) {
            swept(ctx, &artefact, report);
        }
    }
    Ok(Response::Ledger {
        cleaned: Vec::new(),
    })
}

fn swept(ctx: &mut Context<'_>, artefact: &Artefact, report: &SweepReport) {
    let now_ms = ctx.now_ms();
    let Some(sweep) = artefact
        .sweep
        .filter(|_| artefact.state == ArtefactState::Done)
    else {
        return;
    };
    if now_ms < sweep.due_ms {
        return;
    }
    match &report.outcome {
        SweepOutcome::Gone if report.last && sweep.attempt_over => owes_nothing(ctx, artefact),
        SweepOutcome::Gone => {
            ledger::change(ctx, artefact.id, |artefact| {
                artefact.sweep = Some(Sweep {
                    after_deadline: true,
                    ..sweep
                });
                artefact.last_error = None;
            });
            bound_waiting(ctx, artefact);
        }
        SweepOutcome::Failed {
            error,
            next_retry_ms,
        } => {
            ledger::change(ctx, artefact.id, |artefact| {
                artefact.sweep = Some(Sweep {
                    due_ms: *next_retry_ms,
                    ..sweep
                });
                artefact.last_error = Some(clip(error));
            });
        }
    }
}

fn owes_nothing(ctx: &mut Context<'_>, artefact: &Artefact) {
    let artefact = Artefact {
        sweep: None,
        ..artefact.clone()
    };
    ctx.put::<Artefact>(artefact.id, artefact.clone());
    ledger::done(ctx, &artefact);
}

/// An attempt may live for years, and abort a checkpoint every minute.
fn bound_waiting(ctx: &mut Context<'_>, swept: &Artefact) {
    let Some((job, run)) = swept.owner else {
        return;
    };
    let waits = |artefact: &&Arc<Artefact>| {
        let sweep = artefact.sweep.filter(|sweep| sweep.after_deadline);
        artefact.state == ArtefactState::Done && sweep.is_some_and(|sweep| !sweep.attempt_over)
    };
    let of_run = ctx.machine.artefacts_of(job, run);
    let waiting: Vec<Arc<Artefact>> = of_run.filter(waits).cloned().collect();
    let surplus = waiting.len().saturating_sub(WAITING_MAX);
    for artefact in waiting.iter().take(surplus) {
        owes_nothing(ctx, artefact);
    }
}

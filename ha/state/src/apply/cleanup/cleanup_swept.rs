//! `CleanupSwept`: second looks at the directories of aborted checkpoints.

use super::super::{Context, ledger};
use crate::command::{CleanupSwept, SweepOutcome, SweepReport};
use crate::model::{Artefact, ArtefactState, Sweep, clip};
use crate::response::{Rejection, Response};

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
        SweepOutcome::Gone if report.last && sweep.attempt_over => {
            let artefact = Artefact {
                sweep: None,
                ..artefact.clone()
            };
            ctx.put::<Artefact>(artefact.id, artefact.clone());
            ledger::done(ctx, &artefact);
        }
        SweepOutcome::Gone => ledger::change(ctx, artefact.id, |artefact| {
            artefact.sweep = Some(Sweep {
                after_deadline: true,
                ..sweep
            });
            artefact.last_error = None;
        }),
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

//! `ForgetArtefact`.

use super::super::{Context, ledger};
use super::settle_run;
use crate::command::ForgetArtefact;
use crate::model::{Artefact, ArtefactKind, ArtefactState, Job, JobEventKind};
use crate::response::{Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &ForgetArtefact,
) -> Result<Response, Rejection> {
    let id = command.artefact;
    let artefact = ctx
        .get::<Artefact>(&id)
        .ok_or(Rejection::UnknownArtefact(id))?;
    let owner = artefact
        .owner
        .and_then(|(job, run)| ctx.job_of_run(job, run).ok());
    match artefact.state {
        ArtefactState::Pending
        | ArtefactState::Retrying
        | ArtefactState::Dirty
        | ArtefactState::Done => forget(ctx, &artefact, owner.as_ref()),
        // Kept on purpose: it is disposed of instead.
        ArtefactState::Live | ArtefactState::Retained => {
            let job = owner.filter(|job| holds_uncommitted(job, &artefact));
            let job = job.ok_or(Rejection::ArtefactInUse { artefact: id })?;
            abandon_output(ctx, &artefact, job);
        }
    }
    let dirty = artefact
        .owner
        .filter(|_| ledger::owner_is_dirty(ctx, &artefact));
    let cleaned = dirty.filter(|owner| settle_run(ctx, *owner));
    Ok(Response::Ledger {
        cleaned: cleaned.into_iter().map(|(job, _)| job).collect(),
    })
}

fn forget(ctx: &mut Context<'_>, artefact: &Artefact, owner: Option<&Job>) {
    ctx.remove::<Artefact>(&artefact.id);
    if let Some(job) = owner {
        ctx.event(job, JobEventKind::Forgotten, Some(&artefact.path));
    }
}

/// Staging of an ended job, or the checkpoint that lists what is in it.
fn holds_uncommitted(job: &Job, artefact: &Artefact) -> bool {
    let Some(latest) = job.uncommitted().filter(|_| job.is_terminal()) else {
        return false;
    };
    let is_staging = matches!(artefact.kind, ArtefactKind::Staging { .. });
    is_staging || artefact.path == latest.path
}

/// No worker can commit these transactions: they are given up, and the job never says that its
/// output is complete. The files are still deleted like any other's once nothing can write them.
fn abandon_output(ctx: &mut Context<'_>, artefact: &Artefact, mut job: Job) {
    if let Some(result) = &mut job.result {
        result.output_abandoned = true;
    }
    ctx.event(&job, JobEventKind::Forgotten, Some(&artefact.path));
    ctx.put_job(job);
}

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
        ArtefactState::Pending | ArtefactState::Retrying | ArtefactState::Dirty => {}
        ArtefactState::Done => {}
        ArtefactState::Live => return abandon_output(ctx, &artefact, owner),
        // A savepoint or retained checkpoint is disposed of, or deleted by its user and then
        // disposed of: its restore point must not be forgotten unseen.
        ArtefactState::Retained => return Err(Rejection::ArtefactInUse { artefact: id }),
    }
    ctx.remove::<Artefact>(&id);
    if let Some(job) = &owner {
        ctx.event(job, JobEventKind::Forgotten, Some(&artefact.path));
    }
    settle_owner(ctx, &artefact)
}

/// Staging of an ended job that no worker can commit: the transactions in it are given up, and the
/// job never says that its output is complete.
fn abandon_output(
    ctx: &mut Context<'_>,
    artefact: &Artefact,
    owner: Option<Job>,
) -> Result<Response, Rejection> {
    let in_use = Rejection::ArtefactInUse {
        artefact: artefact.id,
    };
    let is_staging = matches!(artefact.kind, ArtefactKind::Staging { .. });
    let Some(mut job) = owner.filter(|job| is_staging && job.uncommitted().is_some()) else {
        return Err(in_use);
    };
    let Some(result) = &mut job.result else {
        return Err(in_use);
    };
    result.output_abandoned = true;
    ctx.event(&job, JobEventKind::Forgotten, Some(&artefact.path));
    ctx.put_job(job);
    // Its files are still deleted like any other's once the attempt is over.
    settle_owner(ctx, artefact)
}

fn settle_owner(ctx: &mut Context<'_>, artefact: &Artefact) -> Result<Response, Rejection> {
    let dirty = artefact
        .owner
        .filter(|_| ledger::owner_is_dirty(ctx, artefact));
    let cleaned = dirty.filter(|owner| settle_run(ctx, *owner));
    Ok(Response::Ledger {
        cleaned: cleaned.into_iter().map(|(job, _)| job).collect(),
    })
}

//! `DisposeSavepoint`.

use super::super::jobs::check_path;
use super::super::{Context, ledger};
use crate::command::DisposeSavepoint;
use crate::ids::{ArtefactId, CheckpointId};
use crate::model::{Artefact, ArtefactKind, ArtefactState, Checkpoint};
use crate::path;
use crate::response::{Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &DisposeSavepoint,
) -> Result<Response, Rejection> {
    check_path(&command.path)?;
    let path = command.path.clone();
    if let Some(job) = ctx.machine.pinned_by(&path) {
        return Err(Rejection::Pinned { path, job });
    }
    let known = ctx.machine.artefact_at(&path).cloned();
    let artefact = match known {
        None => declare_foreign(ctx, &path)?,
        Some(artefact) => dispose_known(ctx, &artefact)?,
    };
    ledger::give_up(ctx, artefact, None);
    Ok(Response::Disposing { artefact })
}

/// Written by another cluster: its files are named by its own `_metadata`, and only those go.
fn declare_foreign(ctx: &mut Context<'_>, path: &str) -> Result<ArtefactId, Rejection> {
    let path = path::normalise(path);
    if path.is_empty() {
        return Err(Rejection::NotDisposable {
            path: "/".to_owned(),
        });
    }
    let kind = ArtefactKind::Savepoint {
        id: None,
        completed: true,
    };
    let artefact = ledger::declare(ctx, None, kind, path, None);
    ledger::change(ctx, artefact, |artefact| artefact.disposed = true);
    Ok(artefact)
}

fn dispose_known(ctx: &mut Context<'_>, artefact: &Artefact) -> Result<ArtefactId, Rejection> {
    let not_disposable = Rejection::NotDisposable {
        path: artefact.path.clone(),
    };
    let Some(checkpoint) = checkpoint_id(&artefact.kind) else {
        return Err(not_disposable);
    };
    if artefact.disposed {
        // Asked again: tried again.
        ledger::retry(ctx, artefact.id);
        return Ok(artefact.id);
    }
    if artefact.state != ArtefactState::Retained {
        return Err(not_disposable);
    }
    check_restore_point(ctx, artefact)?;
    if let (Some((job, run)), Some(id)) = (artefact.owner, checkpoint) {
        ctx.remove::<Checkpoint>(&(job, run, id));
    }
    ledger::change(ctx, artefact.id, |artefact| artefact.disposed = true);
    Ok(artefact.id)
}

/// `None`: neither a checkpoint nor a savepoint.
fn checkpoint_id(kind: &ArtefactKind) -> Option<Option<CheckpointId>> {
    match kind {
        ArtefactKind::Checkpoint { id } => Some(Some(*id)),
        ArtefactKind::Savepoint { id, .. } => Some(*id),
        _ => None,
    }
}

/// A job that goes on may be restored from it; one that ended may still have to commit it.
fn check_restore_point(ctx: &Context<'_>, artefact: &Artefact) -> Result<(), Rejection> {
    let owner = artefact
        .owner
        .and_then(|(job, run)| ctx.job_of_run(job, run).ok());
    let Some(job) = owner else { return Ok(()) };
    let is_latest = job
        .latest
        .as_ref()
        .is_some_and(|latest| latest.path == artefact.path);
    if is_latest && (!job.is_terminal() || job.uncommitted().is_some()) {
        let path = artefact.path.clone();
        return Err(Rejection::RestorePointInUse { path, job: job.id });
    }
    Ok(())
}

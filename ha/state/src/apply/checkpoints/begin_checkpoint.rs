//! `BeginCheckpoint`: an id and a declared directory.

use super::super::{Context, ledger};
use crate::command::{BeginCheckpoint, CheckpointKind};
use crate::ids::CheckpointId;
use crate::model::{
    ArtefactKind, Checkpoint, CheckpointStatus, Job, JobState, PendingCheckpoint, SavepointState,
    Wanted,
};
use crate::response::{Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &BeginCheckpoint,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_at(command.job, command.token)?;
    check(&job)?;
    let (id, path) = vacant(ctx, &job, command)?;
    let kind = match command.kind.is_savepoint() {
        true => ArtefactKind::Savepoint {
            id: Some(id),
            completed: false,
        },
        false => ArtefactKind::Checkpoint { id },
    };
    let owner = Some((job.id, job.run));
    let artefact = ledger::declare(ctx, owner, kind, path.clone(), Some(command.token));
    job.next_checkpoint = CheckpointId(id.0 + 1);
    let pending = PendingCheckpoint {
        id,
        kind: command.kind,
        token: command.token,
        artefact,
        path: path.clone(),
        begun_ms: ctx.now_ms(),
    };
    put_checkpoint(ctx, &job, &pending);
    job.pending = Some(pending);
    ctx.put_job(job);
    Ok(Response::CheckpointBegun { id, path, artefact })
}

fn check(job: &Job) -> Result<(), Rejection> {
    if job.state != JobState::Running || job.only_commits() {
        let needs = "RUNNING, before the last checkpoint".to_owned();
        return Err(Rejection::WrongState {
            job: job.id,
            state: job.state,
            needs,
        });
    }
    match &job.pending {
        Some(pending) => Err(Rejection::CheckpointPending {
            job: job.id,
            pending: pending.id,
        }),
        None => Ok(()),
    }
}

/// The first id whose directory would hold nothing that is known already: users name folders and sinks as they
/// like, this one too. Each such id costs them one, so the search ends.
fn vacant(
    ctx: &Context<'_>,
    job: &Job,
    command: &BeginCheckpoint,
) -> Result<(CheckpointId, String), Rejection> {
    let mut id = job.next_checkpoint;
    loop {
        let path = path(job, command, id)?;
        if ctx.machine.is_vacant(&path) {
            return Ok((id, path));
        }
        id = CheckpointId(id.0 + 1);
    }
}

/// The directory that nothing else will ever use, if this kind is wanted now.
fn path(job: &Job, command: &BeginCheckpoint, id: CheckpointId) -> Result<String, Rejection> {
    match (command.kind, &job.wanted) {
        (CheckpointKind::Checkpoint | CheckpointKind::Final, Wanted::Run) => {
            let root = command.root.trim_end_matches('/');
            Ok(format!("{root}/{}/{}/chk-{id}", job.id, job.run))
        }
        (CheckpointKind::Savepoint { request: number }, Wanted::Run) => {
            let mut waiting = job
                .savepoints
                .iter()
                .filter(|r| r.state == SavepointState::Waiting);
            let request = waiting.find(|request| request.request == number);
            let request = request.ok_or(Rejection::UnknownSavepointRequest {
                job: job.id,
                request: number,
            })?;
            Ok(savepoint_path(&request.target, job, id))
        }
        (CheckpointKind::StopSavepoint, Wanted::Stop { target, .. }) => {
            Ok(savepoint_path(target, job, id))
        }
        (kind, _) => {
            let needs = format!("a job of which a {kind} is wanted");
            Err(Rejection::WrongState {
                job: job.id,
                state: job.state,
                needs,
            })
        }
    }
}

fn savepoint_path(target: &str, job: &Job, id: CheckpointId) -> String {
    format!(
        "{}/savepoint-{}-{id}",
        target.trim_end_matches('/'),
        job.run
    )
}

fn put_checkpoint(ctx: &mut Context<'_>, job: &Job, pending: &PendingCheckpoint) {
    let checkpoint = Checkpoint {
        job: job.id,
        run: job.run,
        id: pending.id,
        kind: pending.kind,
        token: pending.token,
        artefact: pending.artefact,
        path: pending.path.clone(),
        begun_ms: pending.begun_ms,
        status: CheckpointStatus::Pending,
    };
    ctx.put::<Checkpoint>((job.id, job.run, pending.id), checkpoint);
}

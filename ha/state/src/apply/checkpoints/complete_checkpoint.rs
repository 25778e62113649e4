//! `CompleteCheckpoint`: a new restore point; the evicted ones move to the ledger.

use super::super::{Context, ledger, settle};
use super::{answer_savepoint, commit_through, pending};
use crate::command::CompleteCheckpoint;
use crate::ids::ArtefactId;
use crate::model::{
    ArtefactKind, Checkpoint, CheckpointStatus, Job, JobEventKind, LatestCheckpoint,
    PendingCheckpoint, SavepointState,
};
use crate::response::{Effect, Rejection, Response};

/// Savepoints that a job lists; older ones stay in the ledger only.
pub(crate) const SAVEPOINTS_LISTED_MAX: usize = 16;

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &CompleteCheckpoint,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_at(command.job, command.token)?;
    let pending = pending(&job, command.id)?;
    if pending.path != command.pointer.path {
        let declared = pending.path;
        return Err(Rejection::WrongPath {
            job: job.id,
            id: command.id,
            declared,
        });
    }
    if let Some(through) = command.sinks_committed_through {
        commit_through(&mut job, through)?;
    }
    job.pending = None;
    store(ctx, &job, &pending, command);
    let evicted = match pending.kind.is_savepoint() {
        true => hand_to_user(ctx, &mut job, &pending),
        false => evict(ctx, &job)?,
    };
    take_note(ctx, &mut job, &pending, command);
    settle::settle(ctx, &mut job);
    ctx.effect(Effect::Checkpoints(job.id));
    let last = pending.kind.ends_job();
    if last {
        ctx.event(&job, JobEventKind::LastCheckpoint, None);
        ctx.effect(Effect::Schedule(job.id));
    }
    ctx.put_job(job);
    Ok(Response::CheckpointCompleted { evicted, last })
}

fn store(
    ctx: &mut Context<'_>,
    job: &Job,
    pending: &PendingCheckpoint,
    command: &CompleteCheckpoint,
) {
    let checkpoint = Checkpoint {
        job: job.id,
        run: job.run,
        id: pending.id,
        kind: pending.kind,
        token: pending.token,
        artefact: pending.artefact,
        path: pending.path.clone(),
        begun_ms: pending.begun_ms,
        status: CheckpointStatus::Completed {
            pointer: command.pointer.clone(),
            completed_at_ms: ctx.wall_ms(),
            retained: pending.kind.is_savepoint(),
        },
    };
    ctx.put::<Checkpoint>((job.id, job.run, pending.id), checkpoint);
}

/// The job's own record of its new restore point.
fn take_note(
    ctx: &Context<'_>,
    job: &mut Job,
    pending: &PendingCheckpoint,
    command: &CompleteCheckpoint,
) {
    let pointer = &command.pointer;
    job.latest = Some(LatestCheckpoint {
        id: pending.id,
        kind: pending.kind,
        path: pending.path.clone(),
        size_bytes: pointer.size_bytes,
        duration_ms: pointer.duration_ms,
        completed_at_ms: ctx.wall_ms(),
        has_transactions: pointer.has_transactions,
    });
    if !pointer.has_transactions {
        // It lists every uncommitted transaction up to its barrier: there are none.
        job.committed_through = Some(pending.id);
    }
    if pending.kind.ends_job() {
        job.final_checkpoint = Some(pending.id);
    }
    job.checkpoints.completed += 1;
    job.checkpoints.failed_in_a_row = 0;
    job.checkpoints.last_ended_ms = ctx.now_ms();
    job.pinned = false;
}

/// Completed checkpoints beyond `num-retained`, oldest first. Never savepoints.
fn evict(ctx: &mut Context<'_>, job: &Job) -> Result<Vec<ArtefactId>, Rejection> {
    let keep = ctx.graph(job.id)?.num_retained();
    let completed = ctx.completed(job);
    let own: Vec<_> = completed
        .iter()
        .filter(|each| !each.kind.is_savepoint())
        .collect();
    let surplus = own.len().saturating_sub(keep);
    for checkpoint in &own[..surplus] {
        ctx.drop_checkpoint(job, checkpoint.id);
        ledger::give_up(ctx, checkpoint.artefact, None);
    }
    Ok(own[..surplus]
        .iter()
        .map(|checkpoint| checkpoint.artefact)
        .collect())
}

/// A completed savepoint is its user's: kept in the ledger until disposed. Nothing is evicted.
fn hand_to_user(
    ctx: &mut Context<'_>,
    job: &mut Job,
    pending: &PendingCheckpoint,
) -> Vec<ArtefactId> {
    ledger::change(ctx, pending.artefact, |artefact| {
        artefact.kind = ArtefactKind::Savepoint {
            id: Some(pending.id),
            completed: true,
        };
    });
    ledger::retain(ctx, pending.artefact);
    let path = pending.path.clone();
    answer_savepoint(job, pending.kind, SavepointState::Completed { path });
    ctx.event(job, JobEventKind::Savepoint, Some(&pending.path));

    let completed = ctx.completed(job);
    let savepoints: Vec<_> = completed
        .iter()
        .filter(|each| each.kind.is_savepoint())
        .collect();
    let surplus = savepoints.len().saturating_sub(SAVEPOINTS_LISTED_MAX);
    for savepoint in &savepoints[..surplus] {
        ctx.drop_checkpoint(job, savepoint.id);
    }
    Vec::new()
}

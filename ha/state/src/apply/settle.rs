//! What follows once conditions hold: staging is given up, checkpoints of an ended job are kept or
//! given up, claims are released, the result becomes clean.
//!
//! Called after every entry that may fulfil a condition; harmless if it did not.

use super::{Context, claims, ledger};
use crate::command::Outcome;
use crate::graph::Retention;
use crate::model::{
    Artefact, ArtefactKind, ArtefactState, Attempt, Checkpoint, CheckpointStatus, Job, JobEventKind,
};
use crate::response::Effect;
use crate::retention;

/// Does what has become possible for a job; tells whether its result became clean by it.
pub(super) fn settle(ctx: &mut Context<'_>, job: &mut Job) -> bool {
    release_attempts(ctx, job);
    if !job.is_dirty() {
        return false;
    }
    release_checkpoints(ctx, job);
    if job.uncommitted().is_some() || !ctx.attempts(job).is_empty() {
        return false;
    }
    release_rest(ctx, job);
    claims::release(ctx, job);
    if has_open_artefacts(ctx, job) {
        return false;
    }
    become_clean(ctx, job);
    true
}

/// Staging goes when its attempt is replaced or the job ended, every task of it is proved ended,
/// and everything that a checkpoint names of it is committed.
fn release_attempts(ctx: &mut Context<'_>, job: &Job) {
    let abandoned = job
        .result
        .as_ref()
        .is_some_and(|result| result.output_abandoned);
    for attempt in ctx.attempts(job) {
        let retired = job.is_terminal() || job.token != Some(attempt.token);
        let committed = abandoned || attempt.commit_through <= job.committed_through;
        if !(retired && attempt.over && committed) {
            continue;
        }
        for staging in &attempt.staging {
            ledger::give_up(ctx, *staging, None);
        }
        ctx.remove::<Attempt>(&(job.id, attempt.token));
    }
}

/// By the retention matrix; the one that still has to be committed waits.
fn release_checkpoints(ctx: &mut Context<'_>, job: &Job) {
    let Some(outcome) = job.result.as_ref().map(|result| result.outcome) else {
        return;
    };
    let setting = ctx
        .graph(job.id)
        .map_or(Retention::default(), |graph| graph.retention());
    let waits = job.uncommitted().map(|latest| latest.id);
    for checkpoint in ctx.completed(job) {
        if checkpoint.kind.is_savepoint() || Some(checkpoint.id) == waits {
            continue;
        }
        release_checkpoint(ctx, job, &checkpoint, (outcome, setting));
    }
}

fn release_checkpoint(
    ctx: &mut Context<'_>,
    job: &Job,
    checkpoint: &Checkpoint,
    (outcome, setting): (Outcome, Retention),
) {
    if !retention::keeps_checkpoints(outcome, setting) {
        ctx.drop_checkpoint(job, checkpoint.id);
        ledger::give_up(ctx, checkpoint.artefact, None);
        return;
    }
    let mut kept = checkpoint.clone();
    if let CheckpointStatus::Completed { retained, .. } = &mut kept.status
        && !*retained
    {
        *retained = true;
        ctx.put::<Checkpoint>((job.id, job.run, checkpoint.id), kept);
        ledger::retain(ctx, checkpoint.artefact);
    }
}

/// Whatever else the run declared goes once no task of it can live.
fn release_rest(ctx: &mut Context<'_>, job: &Job) {
    for artefact in owned(ctx, job) {
        let by_retention = matches!(
            artefact.kind,
            ArtefactKind::Checkpoint { .. } | ArtefactKind::Savepoint { .. }
        );
        if artefact.state == ArtefactState::Live && !by_retention {
            ledger::give_up(ctx, artefact.id, None);
        }
    }
}

fn has_open_artefacts(ctx: &Context<'_>, job: &Job) -> bool {
    ctx.machine
        .artefacts_of(job.id, job.run)
        .any(|artefact| is_open(artefact))
}

/// Whether the run can't be clean while this is so.
pub(crate) fn is_open(artefact: &Artefact) -> bool {
    let open = artefact.state == ArtefactState::Live || artefact.state.is_undone();
    open && !artefact.disposed
}

fn become_clean(ctx: &mut Context<'_>, job: &mut Job) {
    if let Some(result) = &mut job.result {
        result.clean = true;
    }
    for artefact in owned(ctx, job) {
        if artefact.state == ArtefactState::Done && artefact.sweep.is_none() {
            ctx.remove::<Artefact>(&artefact.id);
        }
    }
    ctx.event(job, JobEventKind::Clean, None);
    ctx.effect(Effect::Schedule(job.id));
}

fn owned(ctx: &Context<'_>, job: &Job) -> Vec<std::sync::Arc<Artefact>> {
    ctx.machine.artefacts_of(job.id, job.run).cloned().collect()
}

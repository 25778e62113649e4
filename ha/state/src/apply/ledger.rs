//! Moves of the artefact ledger: declared, retained, given up, done. Never back to life.

use super::Context;
use crate::ids::{ArtefactId, AttemptToken, JobId, Run};
use crate::model::{Artefact, ArtefactKind, ArtefactState, Sweep};
use crate::response::Effect;

/// Declares something before it is created.
pub(super) fn declare(
    ctx: &mut Context<'_>,
    owner: Option<(JobId, Run)>,
    kind: ArtefactKind,
    path: String,
    token: Option<AttemptToken>,
) -> ArtefactId {
    let id = ctx.meta.next_artefact;
    ctx.meta.next_artefact = ArtefactId(id.0 + 1);
    let artefact = Artefact {
        id,
        owner,
        kind,
        path,
        token,
        state: ArtefactState::Live,
        attempts: 0,
        next_retry_ms: 0,
        last_error: None,
        sweep: None,
        given_up_ms: None,
        disposed: false,
    };
    ctx.put::<Artefact>(id, artefact);
    id
}

/// Hands a live or retained artefact to the cleaner.
pub(super) fn give_up(ctx: &mut Context<'_>, id: ArtefactId, sweep: Option<Sweep>) {
    let (now_ms, wall_ms) = (ctx.now_ms(), ctx.wall_ms());
    change(ctx, id, |artefact| {
        if !matches!(
            artefact.state,
            ArtefactState::Live | ArtefactState::Retained
        ) {
            return;
        }
        artefact.state = ArtefactState::Pending;
        artefact.next_retry_ms = now_ms;
        artefact.given_up_ms = Some(wall_ms);
        artefact.sweep = sweep;
    });
    ctx.effect(Effect::Cleanup);
}

/// Keeps a live artefact on purpose.
pub(super) fn retain(ctx: &mut Context<'_>, id: ArtefactId) {
    change(ctx, id, |artefact| {
        if artefact.state == ArtefactState::Live {
            artefact.state = ArtefactState::Retained;
        }
    });
}

/// Tries what failed again, now, with a fresh count. Tells how many.
pub(super) fn retry_all(ctx: &mut Context<'_>, job: JobId) -> u64 {
    let all = (job, Run::default(), ArtefactId(0))..;
    let owned = ctx
        .machine
        .index
        .owned
        .range(all)
        .take_while(|(owner, ..)| *owner == job);
    let ids: Vec<ArtefactId> = owned.map(|(.., id)| *id).collect();
    ids.into_iter().map(|id| u64::from(retry(ctx, id))).sum()
}

/// Tries it again, now, with a fresh count, if it failed before.
pub(super) fn retry(ctx: &mut Context<'_>, id: ArtefactId) -> bool {
    let now_ms = ctx.now_ms();
    let Some(artefact) = ctx.machine.artefact(id) else {
        return false;
    };
    if !matches!(
        artefact.state,
        ArtefactState::Retrying | ArtefactState::Dirty
    ) {
        return false;
    }
    change(ctx, id, |artefact| {
        artefact.state = ArtefactState::Pending;
        artefact.attempts = 0;
        artefact.next_retry_ms = now_ms;
    });
    ctx.effect(Effect::Cleanup);
    true
}

/// Nothing of it is left. It stays listed while its run is dirty or it owes a sweep.
pub(super) fn done(ctx: &mut Context<'_>, artefact: &Artefact) {
    if artefact.sweep.is_none() && !owner_is_dirty(ctx, artefact) {
        ctx.remove::<Artefact>(&artefact.id);
        return;
    }
    change(ctx, artefact.id, |artefact| {
        artefact.state = ArtefactState::Done;
        artefact.last_error = None;
    });
}

/// Whether the artefact belongs to a run that has ended and is not clean.
pub(super) fn owner_is_dirty(ctx: &Context<'_>, artefact: &Artefact) -> bool {
    let Some((job, run)) = artefact.owner.filter(|_| !artefact.disposed) else {
        return false;
    };
    ctx.machine
        .job(job)
        .is_some_and(|job| job.run == run && job.is_dirty())
}

pub(super) fn change(ctx: &mut Context<'_>, id: ArtefactId, change: impl FnOnce(&mut Artefact)) {
    if let Some(artefact) = ctx.get::<Artefact>(&id) {
        let mut artefact = Artefact::clone(&artefact);
        change(&mut artefact);
        ctx.put::<Artefact>(id, artefact);
    }
}

//! Giving up the pending checkpoint of a job, whatever the reason.

use super::{Context, ledger};
use crate::ids::CheckpointId;
use crate::model::{Attempt, Job, Sweep};

/// How long a writer that was told of an abort may go on writing; a directory given up before is
/// looked at again after this time.
pub(super) const WRITE_DEADLINE_MS: u64 = 30_000;

/// Moves the directory of the pending checkpoint to the ledger, with the sweeps it owes.
pub(super) fn abort(ctx: &mut Context<'_>, job: &mut Job) -> Option<CheckpointId> {
    let pending = job.pending.take()?;
    ctx.drop_checkpoint(job, pending.id);
    job.checkpoints.last_ended_ms = ctx.now_ms();
    let attempt = ctx.get::<Attempt>(&(job.id, pending.token));
    let sweep = Sweep {
        due_ms: ctx.now_ms().saturating_add(WRITE_DEADLINE_MS),
        after_deadline: false,
        attempt_over: attempt.is_none_or(|attempt| attempt.over),
    };
    ledger::give_up(ctx, pending.artefact, Some(sweep));
    Some(pending.id)
}

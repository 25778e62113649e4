//! Commands about the artefact ledger and about results that have had their time.

pub(super) mod cleanup_attempted;
pub(super) mod cleanup_swept;
pub(super) mod dispose_savepoint;
pub(super) mod expire_results;
pub(super) mod forget_artefact;
pub(super) mod retry_cleanup;

use super::{Context, settle};
use crate::ids::{JobId, Run};

/// Settles a run if it is still there; tells whether it became clean.
fn settle_run(ctx: &mut Context<'_>, (job, run): (JobId, Run)) -> bool {
    let Ok(mut job) = ctx.job_of_run(job, run) else {
        return false;
    };
    let cleaned = settle::settle(ctx, &mut job);
    if cleaned {
        ctx.put_job(job);
    }
    cleaned
}

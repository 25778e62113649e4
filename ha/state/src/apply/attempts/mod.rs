//! Commands about attempts.

pub(super) mod attempt_adopted;
pub(super) mod attempt_failed;
pub(super) mod attempt_running;
pub(super) mod attempts_over;
pub(super) mod deploy_attempt;

use super::Context;
use crate::model::{Attempt, Job, Reign};
use crate::response::Rejection;

fn wrong_state(job: &Job, needs: &str) -> Rejection {
    Rejection::WrongState {
        job: job.id,
        state: job.state,
        needs: needs.to_owned(),
    }
}

/// The current attempt stops being current: what a checkpoint names of it has to be committed
/// before its staging may go. All of that is in the restore point.
pub(super) fn retire(ctx: &mut Context<'_>, job: &Job) {
    let Some(token) = job.token else { return };
    let Some(attempt) = ctx.get::<Attempt>(&(job.id, token)) else {
        return;
    };
    let mut attempt = Attempt::clone(&attempt);
    attempt.commit_through = job.uncommitted().map(|latest| latest.id);
    ctx.put::<Attempt>((job.id, token), attempt);
}

/// Counts a takeover's outcome in the present line of the timeline.
fn count_in_reign(ctx: &mut Context<'_>, count: impl FnOnce(&mut Reign)) {
    let number = ctx.meta.reign;
    if let Some(reign) = ctx.get::<Reign>(&number) {
        let mut reign = Reign::clone(&reign);
        count(&mut reign);
        ctx.put::<Reign>(number, reign);
    }
}

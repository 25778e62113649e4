//! `AnnounceLeader`: the first entry of a reign.

use super::{Context, pending};
use crate::command::AnnounceLeader;
use crate::ids::JobId;
use crate::model::{JobEventKind, Reign, clip};
use crate::moves::{self, Move};
use crate::response::{Announced, Effect, Rejection, Response};

/// Lines of the leadership timeline that are kept.
pub(crate) const REIGNS_MAX: u64 = 256;

pub(super) fn apply(
    ctx: &mut Context<'_>,
    command: &AnnounceLeader,
) -> Result<Response, Rejection> {
    check(ctx, command)?;
    if ctx.meta.epoch == Some(command.epoch) {
        return Ok(announced(ctx, (0, 0), true));
    }
    ctx.meta.cluster_id = Some(command.cluster_id);
    ctx.meta.generation = command.epoch.generation;
    ctx.meta.epoch = Some(command.epoch);
    close_last_reign(ctx, command);
    open_reign(ctx, command);
    let counts = take_over_jobs(ctx);
    ctx.effect(Effect::LeaderAnnounced(command.epoch));
    Ok(announced(ctx, counts, false))
}

fn check(ctx: &Context<'_>, command: &AnnounceLeader) -> Result<(), Rejection> {
    let epoch = command.epoch;
    if (epoch.term, epoch.node) != (ctx.entry.term, ctx.entry.node) {
        let why = format!("epoch {epoch} is not that of entry {}", ctx.entry);
        return Err(Rejection::WrongAuthority(why));
    }
    if epoch.generation == 0 {
        return Err(Rejection::WrongAuthority(
            "generations start at 1".to_owned(),
        ));
    }
    if let Some(ours) = ctx.meta.cluster_id {
        let generation = ctx.meta.generation;
        if (ours, generation) != (command.cluster_id, epoch.generation) {
            return Err(Rejection::ForeignCluster {
                ours: ours.to_string(),
                generation,
            });
        }
    }
    match ctx.meta.epoch {
        Some(current) if epoch < current => Err(Rejection::StaleEpoch {
            given: epoch,
            current,
        }),
        _ => Ok(()),
    }
}

fn announced(ctx: &Context<'_>, (aborted, reconciling): (u64, u64), already: bool) -> Response {
    Response::Announced(Announced {
        clock_ms: ctx.now_ms(),
        aborted,
        reconciling,
        already,
    })
}

/// The successor saw the last leader's end when its own leaderless time began.
fn close_last_reign(ctx: &mut Context<'_>, command: &AnnounceLeader) {
    let number = ctx.meta.reign;
    let Some(last) = ctx.get::<Reign>(&number) else {
        return;
    };
    let mut last = Reign::clone(&last);
    let end_ms = ctx.wall_ms().saturating_sub(command.leaderless_ms);
    last.to_ms = Some(end_ms.max(last.from_ms));
    ctx.put::<Reign>(number, last);
}

fn open_reign(ctx: &mut Context<'_>, command: &AnnounceLeader) {
    ctx.meta.reign += 1;
    let reign = Reign {
        epoch: command.epoch,
        node_name: clip(&command.node_name),
        api: clip(&command.api),
        cause: clip(&command.cause),
        from_ms: ctx.wall_ms(),
        to_ms: None,
        leaderless_ms: command.leaderless_ms,
        failover: command.failover,
        jobs_adopted: 0,
        jobs_restarted: 0,
        from_clock_ms: ctx.now_ms(),
    };
    let number = ctx.meta.reign;
    ctx.put::<Reign>(number, reign);
    if let Some(oldest) = number.checked_sub(REIGNS_MAX) {
        ctx.remove::<Reign>(&oldest);
    }
}

/// Aborts every pending checkpoint; running jobs wait to be adopted.
fn take_over_jobs(ctx: &mut Context<'_>) -> (u64, u64) {
    let jobs: Vec<JobId> = ctx.machine.active_jobs().map(|job| job.id).collect();
    let mut counts = (0, 0);
    for id in jobs {
        let Ok(mut job) = ctx.job(id) else { continue };
        let aborted = pending::abort(ctx, &mut job).is_some();
        let looks = moves::next(job.state, Move::NewLeader);
        if let Some(state) = looks {
            job.state = state;
            ctx.event(&job, JobEventKind::Reconciling, None);
        }
        counts.0 += u64::from(aborted);
        counts.1 += u64::from(looks.is_some());
        if aborted || looks.is_some() {
            ctx.put_job(job);
        }
    }
    counts
}

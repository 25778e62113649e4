//! Claims of sink paths: who may write where. What else a sink's path may meet is in `occupied.rs`.

use super::Context;
use crate::graph::{IfExists, JobGraph};
use crate::model::{Claim, ClaimHolder, Job};
use crate::path;
use crate::response::Rejection;

/// Refuses a graph one of whose sinks meets another job's claim, at its path, above or below it; or what the
/// ledger holds there.
pub(super) fn check(ctx: &Context<'_>, graph: &JobGraph) -> Result<(), Rejection> {
    for (_, sink) in graph.path_sinks() {
        let path = path::normalise(&sink.path);
        if let Some(holder) = conflict(ctx, &path, sink.mode) {
            return Err(Rejection::SinkClaimed {
                path: sink.path.clone(),
                job: holder.job,
            });
        }
        if let Some(by) = ctx.machine.met_by_sink(&path) {
            let path = sink.path.clone();
            return Err(Rejection::SinkOccupied { path, by });
        }
    }
    Ok(())
}

/// The first claim in the way; appending beside appending is none.
fn conflict(ctx: &Context<'_>, path: &str, mode: IfExists) -> Option<ClaimHolder> {
    let claims = &ctx.machine.tables.claims;
    let at_or_above = std::iter::once(path).chain(path::above(path));
    let at_or_above = at_or_above.filter_map(|path| claims.get(path));
    let below = claims.range(path::below(path)).map(|(_, claim)| claim);
    let mut holders = at_or_above.chain(below).flat_map(|claim| &claim.holders);
    holders
        .find(|holder| !both_append(holder.mode, mode))
        .cloned()
}

fn both_append(a: IfExists, b: IfExists) -> bool {
    a == IfExists::Append && b == IfExists::Append
}

/// Claims the paths of all sinks.
pub(super) fn claim(ctx: &mut Context<'_>, job: &Job, graph: &JobGraph) {
    for (_, sink) in graph.path_sinks() {
        let path = path::normalise(&sink.path);
        let old = ctx.get::<Claim>(&path);
        let mut claim = old.map(|claim| Claim::clone(&claim)).unwrap_or_default();
        claim.holders.push(ClaimHolder {
            job: job.id,
            run: job.run,
            mode: sink.mode,
        });
        ctx.put::<Claim>(path, claim);
    }
}

/// Gives up the claims of a run; nothing happens if it has none.
pub(super) fn release(ctx: &mut Context<'_>, job: &Job) {
    let Ok(graph) = ctx.graph(job.id) else { return };
    for (_, sink) in graph.path_sinks() {
        let path = path::normalise(&sink.path);
        let Some(claim) = ctx.get::<Claim>(&path) else {
            continue;
        };
        let ours = |holder: &ClaimHolder| (holder.job, holder.run) == (job.id, job.run);
        if !claim.holders.iter().any(ours) {
            continue;
        }
        let mut claim = Claim::clone(&claim);
        claim.holders.retain(|holder| !ours(holder));
        if claim.holders.is_empty() {
            ctx.remove::<Claim>(&path);
        } else {
            ctx.put::<Claim>(path, claim);
        }
    }
}

//! A new life of an old state: what restoring a snapshot and recovering from a lost majority do to it, and
//! `ResumeJobs`.
//!
//! A rebirth is no entry of a log: it happens between two lives, while no replica runs. It names another
//! cluster or a higher generation, so that nothing of the old life is believed any more, and suspends every
//! job that could act. What the old life created outside stays untouched until an operator resumes.

use super::{Context, pending};
use crate::command::{Command, Envelope, ResumeJobs, SetFeatureLevel};
use crate::ids::{ClusterId, EntryId, Epoch, JobId, NodeId};
use crate::machine::Machine;
use crate::model::{AttemptState, JobEventKind, JobState, MemberWish, Reborn, Reign, clip};
use crate::moves::{self, Move};
use crate::response::{Effect, Rejection, Response};

/// What the new life is called, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebirth {
    /// The cluster from now on: a new one for a restored snapshot, the same after a lost majority.
    pub cluster_id: ClusterId,
    /// Above every earlier generation.
    pub generation: u64,
    /// The place in the log from which the new life counts.
    pub entry: EntryId,
    /// Wall time, for people.
    pub wall_ms: u64,
    /// Who did it and why, for people.
    pub cause: String,
}

impl Machine {
    /// Begins a new life of this state.
    ///
    /// # Errors
    /// The generation doesn't rise, or the state never had a leader.
    pub fn reborn(&self, rebirth: &Rebirth) -> Result<Machine, Rejection> {
        let mut machine = self.clone();
        let envelope = Envelope {
            epoch: None,
            request: None,
            proposed_at_ms: 0,
            wall_ms: rebirth.wall_ms,
            actor: rebirth.cause.clone(),
            command: Command::SetFeatureLevel(SetFeatureLevel { level: 0 }),
        };
        let mut ctx = Context::new(&mut machine, rebirth.entry, &envelope);
        begin(&mut ctx, rebirth)?;
        drop(ctx.finish(Response::Done));
        Ok(machine)
    }
}

fn begin(ctx: &mut Context<'_>, rebirth: &Rebirth) -> Result<(), Rejection> {
    let Some(from_cluster) = ctx.meta.cluster_id else {
        return Err(Rejection::Invalid(
            "the state is empty: nobody has led yet".to_owned(),
        ));
    };
    let from_generation = ctx.meta.generation;
    if rebirth.generation <= from_generation {
        return Err(Rejection::Invalid(format!(
            "generation {} is not above {from_generation}",
            rebirth.generation
        )));
    }
    let reborn = Reborn {
        from_cluster,
        from_generation,
        cause: clip(&rebirth.cause),
        at_ms: rebirth.wall_ms,
        inherited_before: ctx.meta.next_artefact,
        resumed: false,
    };
    ctx.put::<Reborn>(rebirth.generation, reborn);
    ctx.meta.cluster_id = Some(rebirth.cluster_id);
    ctx.meta.generation = rebirth.generation;
    ctx.meta.epoch = Some(Epoch {
        generation: rebirth.generation,
        term: 0,
        node: NodeId(0),
    });
    forget_members(ctx);
    close_last_reign(ctx);
    suspend_jobs(ctx, &rebirth.cause);
    Ok(())
}

/// What was wanted of the old members must not be done by the new life: it begins with one.
fn forget_members(ctx: &mut Context<'_>) {
    let members: Vec<NodeId> = ctx.machine.member_wishes().map(|(node, _)| node).collect();
    for node in members {
        ctx.remove::<MemberWish>(&node);
    }
}

fn close_last_reign(ctx: &mut Context<'_>) {
    let number = ctx.meta.reign;
    if let Some(last) = ctx.get::<Reign>(&number) {
        let mut last = Reign::clone(&last);
        last.to_ms = last.to_ms.or(Some(ctx.wall_ms().max(last.from_ms)));
        ctx.put::<Reign>(number, last);
    }
}

fn suspend_jobs(ctx: &mut Context<'_>, cause: &str) {
    let jobs: Vec<JobId> = ctx.machine.active_jobs().map(|job| job.id).collect();
    for id in jobs {
        let Ok(mut job) = ctx.job(id) else { continue };
        pending::abort(ctx, &mut job);
        job.attempt_state = job.attempt_state.map(|_| AttemptState::Ended);
        if let Some(state) = moves::next(job.state, Move::Suspends) {
            job.state = state;
            job.reason = Some("inherited; waits for: regent recover resume".to_owned());
            ctx.event(&job, JobEventKind::Suspended, Some(cause));
        }
        ctx.put_job(job);
    }
}

pub(super) fn resume(ctx: &mut Context<'_>, _: &ResumeJobs) -> Result<Response, Rejection> {
    let generation = ctx.meta.generation;
    let Some(reborn) = ctx.get::<Reborn>(&generation) else {
        return Err(Rejection::Invalid(
            "nothing is suspended: this state was never restored".to_owned(),
        ));
    };
    let mut reborn = Reborn::clone(&reborn);
    reborn.resumed = true;
    ctx.put::<Reborn>(generation, reborn);
    let suspended = ctx
        .machine
        .active_jobs()
        .filter(|job| job.state == JobState::Suspended);
    let jobs: Vec<JobId> = suspended.map(|job| job.id).collect();
    for id in jobs {
        let mut job = ctx.job(id)?;
        let how = match job.attempt {
            0 => Move::ResumesNew,
            _ => Move::Restarts,
        };
        if let Some(state) = moves::next(job.state, how) {
            job.state = state;
            job.reason = None;
            job.restart.due_ms = ctx.now_ms();
            let actor = ctx.actor;
            ctx.event(&job, JobEventKind::Resumed, Some(actor));
            ctx.effect(Effect::Schedule(id));
            ctx.put_job(job);
        }
    }
    ctx.effect(Effect::Cleanup);
    Ok(Response::Done)
}

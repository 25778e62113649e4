//! Tasks that nobody wants any more, and the proof that an attempt can't write any more. Pure.
//!
//! A worker's tasks are wanted only if they belong to the live attempt of a job that is to run, and the
//! log places them there. All others are cancelled; once the log knows their end, they are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regent_state::Command;
use regent_state::JobGraph;
use regent_state::command::AttemptsOver;
use regent_state::ids::WorkerRef;
use regent_state::model::{Attempt, Job, JobState};

use super::plan::{Plan, Step};
use super::slots::attempt_ref;
use super::standing::{DEPLOY_GRACE, expected};
use super::world::{Facts, World};
use crate::leader::seen::{Moment, Phase, Presence, WorkerSeen};
use crate::wire::{AttemptRef, TaskId};

/// A cancel order is repeated after this long without an effect.
const CANCEL_AGAIN: Duration = Duration::from_secs(5);

/// What the log says of tasks that a worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Title {
    /// They belong there.
    Wanted,
    /// They are to end, and the log still counts on hearing of it.
    Unwanted,
    /// They are to end, and nobody waits for it.
    Unknown,
}

/// The title of one attempt's tasks on one worker.
pub(crate) fn title(job: Option<&Job>, attempt: Option<&Attempt>, worker: &WorkerRef) -> Title {
    let (Some(job), Some(attempt)) = (job, attempt) else {
        return Title::Unknown;
    };
    if attempt.over {
        return Title::Unknown;
    }
    let runs = job.wanted.keeps_running() && !job.is_terminal() && job.state != JobState::Suspended;
    let live = job.is_current(attempt.token);
    let placed = attempt
        .placement
        .iter()
        .any(|place| place.worker == *worker);
    if runs && live && placed {
        Title::Wanted
    } else {
        Title::Unwanted
    }
}

/// Cancels or forgets what one worker holds of an attempt without being wanted to. `placed`: what the
/// log places there; absent if nobody waits for the end of the tasks.
pub(crate) fn plan_held(
    world: &World<'_>,
    worker: &WorkerRef,
    seen: &WorkerSeen,
    attempt: AttemptRef,
    placed: Option<&BTreeSet<TaskId>>,
    plan: &mut Plan,
) {
    let placed_here = placed.cloned().unwrap_or_default();
    if holds(world, worker, &attempt, &placed_here) {
        plan_cancel(world, worker, seen.session, attempt, plan);
    } else if placed.is_none() {
        plan.steps.push(Step::Forget {
            attempts: vec![attempt],
            worker: worker.clone(),
        });
    }
}

/// An order that nobody wants any more and of which the worker has reported nothing in that session:
/// cancelled too. If even that gets no word, a new session has to tell what the worker holds.
pub(crate) fn plan_unreported(
    world: &World<'_>,
    worker: &WorkerRef,
    session: u64,
    attempt: AttemptRef,
    at: Moment,
    plan: &mut Plan,
) {
    let open = world.seen.worker(worker).filter(|seen| seen.present());
    let silent = |seen: &&WorkerSeen| seen.session == session && !seen.tasks.contains_key(&attempt);
    if open.filter(silent).is_none() {
        return;
    }
    if world.now >= at + DEPLOY_GRACE {
        plan.steps.push(Step::Disconnect {
            worker: worker.clone(),
        });
        return;
    }
    plan_cancel(world, worker, session, attempt, plan);
    plan.wake_at(at + DEPLOY_GRACE);
}

fn plan_cancel(
    world: &World<'_>,
    worker: &WorkerRef,
    session: u64,
    attempt: AttemptRef,
    plan: &mut Plan,
) {
    let key = (attempt, worker.clone(), session);
    match world
        .memory
        .cancelled
        .get(&key)
        .map(|at| *at + CANCEL_AGAIN)
    {
        Some(again_at) if again_at > world.now => plan.wake_at(again_at),
        Some(_) | None => {
            plan.steps.push(Step::Cancel {
                attempt,
                worker: worker.clone(),
            });
            plan.wake_at(world.now + CANCEL_AGAIN);
        }
    }
}

/// Workers of an attempt that may still act for it.
pub(crate) fn unfenced(world: &World<'_>, graph: &JobGraph, attempt: &Attempt) -> Vec<WorkerRef> {
    let key = attempt_ref(attempt);
    let parts = expected(graph, attempt);
    let acting = parts
        .into_iter()
        .filter(|(worker, placed)| match world.seen.presence(worker) {
            Presence::Present => holds(world, worker, &key, placed),
            Presence::Dead => false,
            Presence::Broken { .. } | Presence::Unheard | Presence::Superseded => {
                !world.seen.cannot_act(worker, world.now, world.lease)
            }
        });
    acting.map(|(worker, _)| worker).collect()
}

/// Whether a worker with an open session holds tasks that have not ended, or was ordered in that session
/// to hold `placed` and hasn't said of each that it has ended: a task tells nothing before it runs, and one
/// that reads a large state may begin long after another of its attempt has failed.
pub(crate) fn holds(
    world: &World<'_>,
    worker: &WorkerRef,
    attempt: &AttemptRef,
    placed: &BTreeSet<TaskId>,
) -> bool {
    let reported = world.seen.tasks_of(worker, attempt);
    if !reported.is_none_or(all_ended) {
        return true;
    }
    let session = world.seen.worker(worker).map_or(0, |seen| seen.session);
    let order = (*attempt, worker.clone(), session);
    let told = |task| reported.is_some_and(|reported| reported.contains_key(task));
    world.memory.ordered.contains_key(&order) && !placed.iter().all(told)
}

fn all_ended(tasks: &BTreeMap<TaskId, Phase>) -> bool {
    tasks.values().all(Phase::ended)
}

/// Tells the log of attempts that are proved over.
pub(crate) fn plan_over(world: &World<'_>, facts: &Facts, plan: &mut Plan) {
    let ended = facts.attempts.iter().filter(|attempt| {
        !attempt.over && (!facts.job.is_current(attempt.token) || facts.job.is_terminal())
    });
    let mut tokens = Vec::new();
    for attempt in ended {
        let acting = unfenced(world, &facts.graph, attempt);
        if acting.is_empty() {
            tokens.push(attempt.token);
        }
        for worker in acting {
            if world.seen.presence(&worker) != Presence::Present {
                plan.wake_at(world.seen.lease_over_at(&worker, world.lease));
            }
        }
    }
    if !tokens.is_empty() {
        let (job, run) = (facts.job.id, facts.job.run);
        plan.propose(Command::AttemptsOver(AttemptsOver { job, run, tokens }));
    }
}

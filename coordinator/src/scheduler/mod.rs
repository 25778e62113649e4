//! The scheduler: keeps what workers run equal to what the log wants. Liveness is part of it: a worker's
//! silence is one of the things seen.
//!
//! Each pass reads a snapshot of the machine and of what was seen, plans (`plan.rs`, `leftovers.rs`,
//! `ending.rs`, all pure), and acts (`act.rs`). It takes no arguments and keeps no retry loop: the next
//! pass is the retry.

pub(crate) mod act;
mod ending;
pub(crate) mod leftovers;
pub(crate) mod offers;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod slots;
pub(crate) mod standing;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use std::sync::Arc;
use std::time::Duration;

use regent_ha::Hints;
use regent_state::model::Job;
use regent_state::{Effect, Machine};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::leader::rule::Rule;
use crate::leader::seen::Seen;
use act::Hands;
use plan::Plan;
use slots::{Slots, live_attempts};
use world::{Facts, Memory, World};

/// A pass is made at least this often, whatever hints got lost.
const TICK: Duration = Duration::from_secs(1);
/// Answers of inspections that may wait.
const ANSWERS_MAX: usize = 1_024;

/// Runs until the reign is over.
pub(crate) async fn run(rule: Arc<Rule>) {
    let mut effects = rule.effects();
    let mut changes = rule.hub.changes();
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let mut hands = Hands {
        rule: Arc::clone(&rule),
        memory: Memory::default(),
        answers,
    };
    loop {
        changes.mark_unchanged();
        let wake = pass(&rule, &mut hands).await;
        tokio::select! {
            () = rule.stop.cancelled() => return,
            _ = changes.changed() => {}
            () = relevant(&mut effects) => {}
            Some((job, inspection)) = answered.recv() => {
                hands.memory.inspections.insert(job, inspection);
            }
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Waits for a hint that concerns the scheduler.
async fn relevant(effects: &mut regent_ha::EffectHints) {
    loop {
        let hints: Hints = effects.next().await;
        let mine = |effect: &Effect| match effect {
            Effect::LeaderAnnounced(_)
            | Effect::Schedule(_)
            | Effect::JobEnded(_)
            | Effect::Workers => true,
            Effect::Checkpoints(_)
            | Effect::Cleanup
            | Effect::CleanupStuck(_)
            | Effect::Members => false,
        };
        if hints.overflowed || hints.effects.iter().any(mine) {
            return;
        }
    }
}

/// Plans and acts once; answers when to look again.
async fn pass(rule: &Arc<Rule>, hands: &mut Hands) -> Instant {
    let view = rule.view();
    let machine = &view.machine;
    let seen = rule.hub.seen();
    hands.refresh(machine, &seen);
    let plans = plan_all(rule, machine, &seen, &hands.memory);
    let wake = plans.iter().filter_map(|(_, plan)| plan.wake).min();
    let again = hands.carry_out(&view, plans).await;
    if again {
        return Instant::now();
    }
    let ahead = wake
        .map_or(TICK, |wake| wake.saturating_sub(rule.hub.now()))
        .min(TICK);
    // A moment that has passed was planned for already; the hub or the log will wake the next pass.
    Instant::now() + ahead.max(Duration::from_millis(5))
}

/// Plans for each worker and for each job that isn't done with.
fn plan_all(
    rule: &Rule,
    machine: &Machine,
    seen: &Seen,
    memory: &Memory,
) -> Vec<(Option<Facts>, Plan)> {
    let world = World {
        seen,
        memory,
        now: rule.hub.now(),
        clock_ms: rule.clock_ms(),
        epoch: rule.reign.epoch,
        lease: rule.lease(),
    };
    let mut plans = vec![(None, plan_workers(&world, machine))];
    let mut slots = Slots::count(seen, live_attempts(machine)).without_drained(machine);
    for job in machine.active_jobs().chain(machine.dirty_jobs()) {
        if machine.is_job_withheld(job) {
            continue;
        }
        let Some(graph) = machine.graph(job.id) else {
            continue;
        };
        let facts = Facts {
            job: Arc::clone(job),
            graph: Arc::clone(graph),
            attempts: machine.attempts(job.id).cloned().collect(),
            drained_at_ms: drained_at_ms(machine, job),
        };
        let plan = plan::plan(&world, &mut slots, &facts);
        plans.push((Some(facts), plan));
    }
    plans
}

/// Since when the job's current attempt has tasks on a drained worker.
fn drained_at_ms(machine: &Machine, job: &Job) -> Option<u64> {
    let attempt = machine.current_attempt(job.id)?;
    machine.drained_at_ms(attempt)
}

fn plan_workers(world: &World<'_>, machine: &Machine) -> Plan {
    let mut plan = Plan::default();
    let lookup = |attempt: &crate::wire::AttemptRef| {
        let job = machine
            .job(attempt.job)
            .filter(|job| job.run == attempt.run);
        let known = machine.attempt(attempt.job, attempt.token);
        (job.map(AsRef::as_ref), known.map(AsRef::as_ref))
    };
    for (name, worker) in world
        .seen
        .workers
        .iter()
        .filter(|(_, worker)| worker.present())
    {
        leftovers::plan_worker(world, name, worker, lookup, &mut plan);
    }
    plan
}

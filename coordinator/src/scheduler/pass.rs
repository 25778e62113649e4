//! One pass of the scheduler, planned: which facts are put together for which jobs. Decides nothing about a
//! job itself (`plan.rs`) and carries nothing out (`act.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regent_state::Machine;
use regent_state::ids::{JobId, WorkerRef};
use regent_state::model::{Attempt, Job};

use super::Scope;
use super::leftovers;
use super::plan::{self, Plan};
use super::slots::{Room, Slots, live_attempts};
use super::standing::expected;
use super::world::{Facts, Memory, World};
use crate::leader::rule::Rule;
use crate::leader::seen::{Moment, Seen, WorkerSeen};
use crate::wire::{AttemptRef, TaskId};

/// The plans of one pass.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// For what workers hold without a title, by the job that it is of.
    pub(super) leftovers: BTreeMap<JobId, Plan>,
    pub(super) jobs: Vec<(Facts, Plan)>,
}

impl Plans {
    /// When to look again at a job, if nothing happens before.
    pub(super) fn wakes(&self) -> BTreeMap<JobId, Moment> {
        let leftovers = self.leftovers.iter().map(|(job, plan)| (*job, plan.wake));
        let jobs = self
            .jobs
            .iter()
            .map(|(facts, plan)| (facts.job.id, plan.wake));
        let mut wakes = BTreeMap::new();
        for (job, wake) in leftovers.chain(jobs) {
            let Some(at) = wake else { continue };
            let earliest = wakes.entry(job).or_insert(at);
            *earliest = at.min(*earliest);
        }
        wakes
    }

    /// Jobs for which there is no room.
    pub(super) fn blocked(&self) -> impl Iterator<Item = JobId> {
        let blocked = self.jobs.iter().filter(|(_, plan)| plan.blocked);
        blocked.map(|(facts, _)| facts.job.id)
    }
}

/// Plans for what workers hold, and for each job that isn't done with.
pub(super) fn plan_all(
    rule: &Rule,
    machine: &Machine,
    seen: &Seen,
    memory: &Memory,
    scope: &Scope,
) -> Plans {
    let world = World {
        seen,
        memory,
        now: rule.hub.now(),
        clock_ms: rule.clock_ms(),
        epoch: rule.reign.epoch,
        lease: rule.lease(),
    };
    let mut plans = Plans {
        leftovers: plan_leftovers(&world, machine, scope),
        jobs: Vec::new(),
    };
    let count = || Slots::count(seen, live_attempts(machine)).without_drained(machine);
    let mut room = Room::counted_by(&count);
    for job in jobs(machine, scope) {
        let Some(facts) = facts(machine, job) else {
            continue;
        };
        let plan = plan::plan(&world, &mut room, &facts);
        plans.jobs.push((facts, plan));
    }
    plans
}

/// The jobs of that scope that are not done with, by id.
fn jobs<'a>(machine: &'a Machine, scope: &'a Scope) -> Box<dyn Iterator<Item = &'a Arc<Job>> + 'a> {
    let undone = |job: &&Arc<Job>| !job.is_terminal() || job.is_dirty();
    let named = |jobs: &'a BTreeSet<JobId>| jobs.iter().filter_map(|job| machine.job(*job));
    match scope {
        Scope::All => Box::new(machine.active_jobs().chain(machine.dirty_jobs())),
        Scope::Jobs(jobs) => Box::new(named(jobs).filter(undone)),
    }
}

fn facts(machine: &Machine, job: &Arc<Job>) -> Option<Facts> {
    if machine.is_job_withheld(job) {
        return None;
    }
    let graph = machine.graph(job.id)?;
    Some(Facts {
        job: Arc::clone(job),
        graph: Arc::clone(graph),
        attempts: machine.attempts(job.id).cloned().collect(),
        drained_at_ms: drained_at_ms(machine, job),
    })
}

/// Since when the job's current attempt has tasks on a drained worker.
fn drained_at_ms(machine: &Machine, job: &Job) -> Option<u64> {
    let attempt = machine.current_attempt(job.id)?;
    machine.drained_at_ms(attempt)
}

/// Plans for everything that workers hold, or were ordered to, of the jobs in scope.
pub(super) fn plan_leftovers(
    world: &World<'_>,
    machine: &Machine,
    scope: &Scope,
) -> BTreeMap<JobId, Plan> {
    let mut plans = BTreeMap::new();
    let workers = world.seen.workers.iter();
    for (name, worker) in workers.filter(|(_, worker)| worker.present()) {
        let held = Held::new(world, machine, name, worker);
        match scope {
            Scope::All => held.plan(held.seen.tasks.keys(), &mut plans),
            Scope::Jobs(jobs) => {
                let of = |job: &JobId| worker.tasks.range(AttemptRef::all_of(*job));
                let attempts = jobs.iter().flat_map(of).map(|(attempt, _)| attempt);
                held.plan(attempts, &mut plans);
            }
        }
    }
    plan_unreported(world, machine, scope, &mut plans);
    plans
}

/// One worker and what the log says of what it holds.
struct Held<'a> {
    world: &'a World<'a>,
    machine: &'a Machine,
    worker: WorkerRef,
    seen: &'a WorkerSeen,
}

impl<'a> Held<'a> {
    fn new(world: &'a World<'a>, machine: &'a Machine, name: &str, seen: &'a WorkerSeen) -> Self {
        let worker = WorkerRef {
            worker: name.to_owned(),
            incarnation: seen.incarnation,
        };
        Self {
            world,
            machine,
            worker,
            seen,
        }
    }

    fn plan<'b>(
        &self,
        attempts: impl Iterator<Item = &'b AttemptRef>,
        plans: &mut BTreeMap<JobId, Plan>,
    ) {
        for attempt in attempts {
            let (job, known) = known(self.machine, attempt);
            let title = leftovers::title(job, known, &self.worker);
            if title == leftovers::Title::Wanted {
                continue;
            }
            let awaited = known.filter(|_| title == leftovers::Title::Unwanted);
            let placed = awaited.map(|attempt| self.placed(attempt));
            let plan = plans.entry(attempt.job).or_default();
            let (world, worker) = (self.world, &self.worker);
            leftovers::plan_held(world, worker, self.seen, *attempt, placed.as_ref(), plan);
        }
    }

    /// The tasks that the log places on this worker.
    fn placed(&self, attempt: &Attempt) -> BTreeSet<TaskId> {
        let graph = self.machine.graph(attempt.job);
        let mut by_worker = graph.map_or_else(BTreeMap::new, |graph| expected(graph, attempt));
        by_worker.remove(&self.worker).unwrap_or_default()
    }
}

fn plan_unreported(
    world: &World<'_>,
    machine: &Machine,
    scope: &Scope,
    plans: &mut BTreeMap<JobId, Plan>,
) {
    let mut plan = |(attempt, worker, session): &(AttemptRef, WorkerRef, u64), at: &Moment| {
        let (job, attempt_known) = known(machine, attempt);
        if leftovers::title(job, attempt_known, worker) == leftovers::Title::Unwanted {
            let plan = plans.entry(attempt.job).or_default();
            leftovers::plan_unreported(world, worker, *session, *attempt, *at, plan);
        }
    };
    match scope {
        Scope::All => world
            .memory
            .ordered
            .iter()
            .for_each(|(key, at)| plan(key, at)),
        Scope::Jobs(jobs) => {
            for job in jobs {
                let of_job = world.memory.ordered_of(*job);
                of_job.for_each(|(key, at)| plan(key, at));
            }
        }
    }
}

/// The job and the attempt, as far as the log still has this run of it.
fn known<'a>(machine: &'a Machine, of: &AttemptRef) -> (Option<&'a Job>, Option<&'a Attempt>) {
    let job = machine.job(of.job).filter(|job| job.run == of.run);
    let attempt = machine.attempt(of.job, of.token);
    (job.map(AsRef::as_ref), attempt.map(AsRef::as_ref))
}

//! How a live attempt stands: what its committed placement says against what its workers report. Pure.
//!
//! `docs/protocol.md` §4 and §5: an attempt is complete only if exactly the committed worker processes
//! report each of its subtasks running or finished. Whether to act on the answer is `plan.rs`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regent_state::JobGraph;
use regent_state::ids::WorkerRef;
use regent_state::model::{Attempt, AttemptState};

use super::slots::attempt_ref;
use super::world::{Facts, World};
use crate::leader::seen::{Moment, Phase, Presence};
use crate::wire::TaskId;

/// A worker that never spoke to this leader is waited for this long.
pub(crate) const UNHEARD_GRACE: Duration = Duration::from_secs(3);
/// A worker whose session with this leader broke is waited for this long.
pub(crate) const BROKEN_GRACE: Duration = Duration::from_secs(1);
/// A broken channel is often another failure's shadow; that one gets this long to be reported.
pub(crate) const SHADOW_GRACE: Duration = Duration::from_millis(250);
/// A worker that took an order but reports nothing of it is waited for this long.
pub(crate) const DEPLOY_GRACE: Duration = Duration::from_secs(60);

/// A task that failed, by its worker's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskFailure {
    pub(crate) task: TaskId,
    pub(crate) worker: WorkerRef,
    pub(crate) cause: String,
    pub(crate) kind: String,
    pub(crate) at: Moment,
}

/// How an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Every subtask runs or has finished, where the log says.
    Complete { all_finished: bool },
    /// Workers are to be ordered (again); the others are waited for.
    Starting {
        order: Vec<WorkerRef>,
        wake: Option<Moment>,
    },
    /// Workers are silent, but not for long enough.
    Waiting { until: Moment },
    /// A task failed.
    Failed(TaskFailure),
    /// It is not whole and can't become so in this reign.
    Incomplete { lost: Vec<WorkerRef>, cause: String },
}

/// What an attempt's workers report, added up.
#[derive(Debug, Default)]
struct Tally {
    failures: Vec<TaskFailure>,
    canceled: Vec<(TaskId, WorkerRef)>,
    silent: BTreeSet<WorkerRef>,
    unreported: BTreeSet<WorkerRef>,
    unready: u64,
    finished: u64,
    tasks: u64,
}

/// The subtasks that belong in a slot.
pub(crate) fn tasks_in_slot(graph: &JobGraph, slot: u32) -> impl Iterator<Item = TaskId> {
    let inside = graph
        .vertices
        .iter()
        .filter(move |vertex| vertex.parallelism > slot);
    inside.map(move |vertex| TaskId::new(vertex.id.clone(), slot))
}

/// The subtasks of an attempt by worker.
pub(crate) fn expected(
    graph: &JobGraph,
    attempt: &Attempt,
) -> BTreeMap<WorkerRef, BTreeSet<TaskId>> {
    let mut by_worker: BTreeMap<WorkerRef, BTreeSet<TaskId>> = BTreeMap::new();
    for place in &attempt.placement {
        let tasks = by_worker.entry(place.worker.clone()).or_default();
        tasks.extend(tasks_in_slot(graph, place.slot));
    }
    by_worker
}

fn tally(world: &World<'_>, graph: &JobGraph, attempt: &Attempt) -> Tally {
    let mut tally = Tally::default();
    let key = attempt_ref(attempt);
    for (worker, tasks) in expected(graph, attempt) {
        if world.seen.presence(&worker) != Presence::Present {
            tally.silent.insert(worker);
            continue;
        }
        let reported = world.seen.tasks_of(&worker, &key);
        for task in tasks {
            tally.tasks += 1;
            let phase = reported.and_then(|reported| reported.get(&task));
            tally.add(&worker, task, phase);
        }
    }
    tally
}

impl Tally {
    fn add(&mut self, worker: &WorkerRef, task: TaskId, phase: Option<&Phase>) {
        match phase {
            None => {
                self.unreported.insert(worker.clone());
            }
            Some(Phase::Deploying) => self.unready += 1,
            Some(Phase::Running) => {}
            Some(Phase::Finished) => self.finished += 1,
            Some(Phase::Canceled) => self.canceled.push((task, worker.clone())),
            Some(Phase::Stuck { cause, at }) => self.failures.push(TaskFailure {
                task,
                worker: worker.clone(),
                cause: cause.clone(),
                kind: "stuck".to_owned(),
                at: *at,
            }),
            Some(Phase::Failed { cause, kind, at }) => self.failures.push(TaskFailure {
                task,
                worker: worker.clone(),
                cause: cause.clone(),
                kind: kind.clone(),
                at: *at,
            }),
        }
    }

    /// The failure to blame: the earliest of those that are not another's shadow.
    fn blamed(&self) -> Option<&TaskFailure> {
        let root = self
            .failures
            .iter()
            .filter(|failure| failure.kind != "channel");
        let first = root.min_by_key(|failure| failure.at);
        first.or_else(|| self.failures.iter().min_by_key(|failure| failure.at))
    }
}

/// How this live attempt stands now.
pub(crate) fn judge(world: &World<'_>, facts: &Facts, attempt: &Attempt) -> Standing {
    let tally = tally(world, &facts.graph, attempt);
    if let Some(failure) = tally.blamed() {
        return shadow_or_failure(world, &tally, failure);
    }
    if let Some((task, worker)) = tally.canceled.first() {
        let cause = format!(
            "{}/{} was stopped by worker {worker}",
            task.vertex, task.subtask
        );
        return Standing::Incomplete {
            lost: Vec::new(),
            cause,
        };
    }
    if !tally.silent.is_empty() {
        return silent(world, attempt, &tally);
    }
    if !tally.unreported.is_empty() {
        return unreported(world, facts, attempt, &tally);
    }
    match tally.unready {
        0 => Standing::Complete {
            all_finished: tally.finished == tally.tasks,
        },
        _ if attempt.epoch != world.epoch => deploying_after_takeover(world),
        _ => Standing::Starting {
            order: Vec::new(),
            wake: None,
        },
    }
}

/// A task that was being deployed for the last leader gets the grace of an unheard worker.
fn deploying_after_takeover(world: &World<'_>) -> Standing {
    if world.now < UNHEARD_GRACE {
        return Standing::Waiting {
            until: UNHEARD_GRACE,
        };
    }
    let cause = "tasks were still being deployed when the leader changed".to_owned();
    Standing::Incomplete {
        lost: Vec::new(),
        cause,
    }
}

fn shadow_or_failure(world: &World<'_>, tally: &Tally, failure: &TaskFailure) -> Standing {
    if failure.kind != "channel" {
        return Standing::Failed(failure.clone());
    }
    if let Some(lost) = tally.silent.first() {
        return Standing::Failed(behind(world, lost, failure));
    }
    let until = failure.at + SHADOW_GRACE;
    if world.now < until {
        return Standing::Waiting { until };
    }
    Standing::Failed(failure.clone())
}

/// A channel broke because this worker is gone: who reports it is not to blame.
fn behind(world: &World<'_>, lost: &WorkerRef, failure: &TaskFailure) -> TaskFailure {
    let (fate, reporter) = (fate(world, lost), &failure.worker.worker);
    TaskFailure {
        worker: lost.clone(),
        cause: format!("worker {lost} {fate}; {reporter}: {}", failure.cause),
        kind: "worker".to_owned(),
        ..failure.clone()
    }
}

fn fate(world: &World<'_>, worker: &WorkerRef) -> &'static str {
    match world.seen.presence(worker) {
        Presence::Dead => "died",
        Presence::Superseded => "was started again",
        Presence::Broken { .. } => "is silent",
        Presence::Unheard | Presence::Present => "did not come back after the leader changed",
    }
}

/// When this silent worker's tasks count as lost.
fn lost_at(world: &World<'_>, worker: &WorkerRef) -> Moment {
    match world.seen.presence(worker) {
        Presence::Present | Presence::Dead | Presence::Superseded => Moment::ZERO,
        Presence::Broken { since } => since + BROKEN_GRACE,
        Presence::Unheard => UNHEARD_GRACE,
    }
}

fn silent(world: &World<'_>, attempt: &Attempt, tally: &Tally) -> Standing {
    let is_lost = |worker: &&WorkerRef| world.now >= lost_at(world, worker);
    let lost: Vec<WorkerRef> = tally.silent.iter().filter(is_lost).cloned().collect();
    let Some(first) = lost.first() else {
        let until = tally
            .silent
            .iter()
            .map(|worker| lost_at(world, worker))
            .min();
        return Standing::Waiting {
            until: until.unwrap_or(UNHEARD_GRACE),
        };
    };
    let fate = fate(world, first);
    let cause = format!("worker {first} {fate} (attempt {})", attempt.number);
    Standing::Incomplete { lost, cause }
}

/// Orders are given only by the leader that wrote the attempt, and only until it ran once: tasks that
/// run and are gone can't be started again beside those that went on.
fn unreported(world: &World<'_>, facts: &Facts, attempt: &Attempt, tally: &Tally) -> Standing {
    let ran = facts.job.attempt_state != Some(AttemptState::Deploying);
    if ran || attempt.epoch != world.epoch {
        let workers: Vec<String> = tally.unreported.iter().map(ToString::to_string).collect();
        let cause = format!(
            "worker {} holds not all of the attempt's tasks",
            workers.join(", ")
        );
        return Standing::Incomplete {
            lost: Vec::new(),
            cause,
        };
    }
    let mut order = Vec::new();
    let mut wake: Option<Moment> = None;
    for worker in &tally.unreported {
        let session = world.seen.worker(worker).map_or(0, |seen| seen.session);
        let key = (attempt_ref(attempt), worker.clone(), session);
        let Some(at) = world.memory.ordered.get(&key) else {
            order.push(worker.clone());
            continue;
        };
        let until = *at + DEPLOY_GRACE;
        if world.now >= until {
            let cause = format!("worker {worker} did not take the deployment");
            return Standing::Incomplete {
                lost: Vec::new(),
                cause,
            };
        }
        wake = Some(wake.map_or(until, |wake| wake.min(until)));
    }
    Standing::Starting { order, wake }
}

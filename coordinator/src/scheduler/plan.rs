//! What to do next for one job. Pure: facts and sightings in, steps out; nothing is remembered here.
//!
//! The order of steps that keeps a job correct over failures is `docs/protocol.md` §4-§6. A step is
//! either a proposal, or an order whose entry is applied already. Orphaned tasks are `leftovers.rs`'s,
//! the ways a job ends `ending.rs`'s, checkpoints the checkpoint coordinators'.

use std::fmt;
use std::time::Duration;

use regent_state::Command;
use regent_state::command::{
    AttemptAdopted, AttemptFailed, AttemptRunning, DeployAttempt, FailJob, FailureKind, JobWaiting,
    SinkPrepared,
};
use regent_state::graph::RestartStrategy;
use regent_state::ids::{CheckpointId, WorkerRef};
use regent_state::model::{Attempt, AttemptState, JobState, Wanted};

use super::ending;
use super::leftovers;
use super::offers::offers_all;
use super::slots::Room;
use super::standing::{self, Standing, TaskFailure};
use super::world::{Facts, Inspection, World};
use crate::leader::seen::Moment;
use crate::wire::AttemptRef;

/// How often a job on a drained worker is looked at until it has the checkpoint to leave by.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into the log.
    Propose(Command),
    /// The worker's part of an attempt that the log has.
    Deploy {
        attempt: AttemptRef,
        worker: WorkerRef,
    },
    /// End the worker's tasks of an attempt.
    Cancel {
        attempt: AttemptRef,
        worker: WorkerRef,
    },
    /// Ended tasks whose end the log has.
    Forget {
        attempts: Vec<AttemptRef>,
        worker: WorkerRef,
    },
    /// End the worker's session: it comes again and reports everything it holds.
    Disconnect { worker: WorkerRef },
    /// Look at the job's paths before its first attempt.
    Inspect { worker: WorkerRef },
    /// Commit what a checkpoint lists, without running anything.
    CommitOnly {
        checkpoint: CheckpointId,
        worker: WorkerRef,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Propose(command) => write!(f, "propose: {command}"),
            Self::Deploy { attempt, worker } => write!(f, "deploy {} on {worker}", attempt.token),
            Self::Cancel { attempt, worker } => write!(f, "cancel {} on {worker}", attempt.token),
            Self::Forget { attempts, worker } => {
                write!(f, "let {worker} forget {} attempts", attempts.len())
            }
            Self::Disconnect { worker } => write!(f, "end the session of {worker}"),
            Self::Inspect { worker } => write!(f, "let {worker} inspect paths"),
            Self::CommitOnly { checkpoint, worker } => {
                write!(f, "let {worker} commit checkpoint {checkpoint}")
            }
        }
    }
}

/// Steps for one job, and when to look again if nothing happens before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) wake: Option<Moment>,
    /// There was no room for it: worth another look whenever others may have made some.
    pub(crate) blocked: bool,
}

impl Plan {
    pub(crate) fn propose(&mut self, command: Command) {
        self.steps.push(Step::Propose(command));
    }

    pub(crate) fn wake_at(&mut self, at: Moment) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Wakes at a moment of the machine's clock.
    fn wake_at_clock(&mut self, world: &World<'_>, at_ms: u64) {
        let ahead = Duration::from_millis(at_ms.saturating_sub(world.clock_ms) + 1);
        self.wake_at(world.now + ahead);
    }
}

/// What to do next for this job. Slots that a proposed attempt takes are taken in `room`.
pub(crate) fn plan(world: &World<'_>, room: &mut Room<'_>, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    leftovers::plan_over(world, facts, &mut plan);
    match facts.job.state {
        JobState::Suspended => {}
        JobState::Finished | JobState::Failed | JobState::Canceled => {
            ending::plan_commit(world, facts, &mut plan);
        }
        JobState::Cancelling | JobState::Failing => ending::plan_stop(world, facts, &mut plan),
        JobState::Created | JobState::Running | JobState::Restarting | JobState::Reconciling => {
            plan_run(world, room, facts, &mut plan)
        }
    }
    plan
}

fn plan_run(world: &World<'_>, room: &mut Room<'_>, facts: &Facts, plan: &mut Plan) {
    if ending::plan_finish(facts, plan) {
        return;
    }
    match facts.live() {
        Some(attempt) => plan_live(world, room, facts, attempt, plan),
        None if facts.job.only_commits() => ending::plan_commit(world, facts, plan),
        None => plan_deploy(world, room, facts, plan),
    }
}

fn plan_live(
    world: &World<'_>,
    room: &Room<'_>,
    facts: &Facts,
    attempt: &Attempt,
    plan: &mut Plan,
) {
    let key = facts.reference(attempt.token);
    match standing::judge(world, facts, attempt) {
        Standing::Complete { all_finished } => {
            plan_complete(world, facts, attempt, plan);
            if all_finished {
                ending::plan_all_finished(facts, plan);
            } else {
                plan_drain(world, room, facts, attempt, plan);
            }
        }
        Standing::Starting { order, wake } => {
            let orders = order.into_iter().map(|worker| Step::Deploy {
                attempt: key,
                worker,
            });
            plan.steps.extend(orders);
            wake.into_iter().for_each(|at| plan.wake_at(at));
        }
        Standing::Waiting { until } => plan.wake_at(until),
        Standing::Failed(failure) => plan.propose(task_failed(facts, attempt, &failure)),
        Standing::Incomplete { lost, cause } => {
            plan_incomplete(world, room, facts, attempt, &lost, &cause, plan);
        }
    }
}

/// Whether the attempt was ordered by an earlier leader and this one has not adopted it.
fn inherited(world: &World<'_>, facts: &Facts, attempt: &Attempt) -> bool {
    let deploying = facts.job.attempt_state == Some(AttemptState::Deploying);
    facts.job.state == JobState::Reconciling || (deploying && attempt.epoch != world.epoch)
}

fn plan_complete(world: &World<'_>, facts: &Facts, attempt: &Attempt, plan: &mut Plan) {
    let (job, token) = (facts.job.id, attempt.token);
    if inherited(world, facts, attempt) {
        plan.propose(Command::AttemptAdopted(AttemptAdopted { job, token }));
    } else if facts.job.attempt_state == Some(AttemptState::Deploying) {
        plan.propose(Command::AttemptRunning(AttemptRunning { job, token }));
    }
}

/// Moves an attempt off a drained worker: by a checkpoint completed since the drain, and only if there
/// is room elsewhere. Until then it stays where it is.
fn plan_drain(
    world: &World<'_>,
    room: &Room<'_>,
    facts: &Facts,
    attempt: &Attempt,
    plan: &mut Plan,
) {
    let Some(drained_at_ms) = facts.drained_at_ms else {
        return;
    };
    let job = &facts.job;
    if job.state != JobState::Running || job.wanted != Wanted::Run {
        return;
    }
    if !job.has_checkpoint_since(drained_at_ms) {
        // The checkpoint that it waits for is no news to the scheduler.
        plan.wake_at(world.now + CHECKPOINT_LOOK);
    } else if room.place(job.id, &facts.graph, world.seen).is_err() {
        plan.blocked = true;
    } else {
        plan.propose(Command::AttemptFailed(AttemptFailed {
            job: job.id,
            token: attempt.token,
            cause: "its worker is drained".to_owned(),
            kind: FailureKind::Drained,
            worker: None,
            vertex: None,
            subtask: None,
            jitter_permille: 0,
        }));
    }
}

fn task_failed(facts: &Facts, attempt: &Attempt, failure: &TaskFailure) -> Command {
    let kind = match failure.kind.as_str() {
        "channel" => FailureKind::ChannelBroken,
        // A slot is lost, and the job can't help it.
        "lease" | "stuck" | "worker" => FailureKind::WorkerLost,
        "unrecoverable" => FailureKind::Unrecoverable,
        _ => FailureKind::TaskFailure,
    };
    // The task that noticed that a worker is gone is only a witness.
    let task = Some(&failure.task).filter(|_| failure.kind != "worker");
    Command::AttemptFailed(AttemptFailed {
        job: facts.job.id,
        token: attempt.token,
        cause: failure.cause.clone(),
        kind,
        worker: Some(failure.worker.clone()),
        vertex: task.map(|task| task.vertex.clone()),
        subtask: task.map(|task| task.subtask),
        jitter_permille: 0,
    })
}

/// Until the next attempt is ordered, the lost workers may still come back with everything: so the
/// attempt is given up only when it can be replaced now, or can't come back any more.
fn plan_incomplete(
    world: &World<'_>,
    room: &Room<'_>,
    facts: &Facts,
    attempt: &Attempt,
    lost: &[WorkerRef],
    cause: &str,
    plan: &mut Plan,
) {
    let may_return = |worker: &&WorkerRef| !world.seen.cannot_act(worker, world.now, world.lease);
    let hopes: Vec<&WorkerRef> = lost.iter().filter(may_return).collect();
    let replaceable = facts.graph.all_zombie_safe()
        && facts.graph.restart_strategy != RestartStrategy::None
        && room.place(facts.job.id, &facts.graph, world.seen).is_ok();
    if !hopes.is_empty() && !replaceable {
        let over = hopes
            .iter()
            .map(|worker| world.seen.lease_over_at(worker, world.lease))
            .min();
        over.into_iter().for_each(|at| plan.wake_at(at));
        plan.blocked = true;
        return;
    }
    let kind = match inherited(world, facts, attempt) {
        true => FailureKind::IncompleteAfterTakeover,
        false => FailureKind::WorkerLost,
    };
    plan.propose(Command::AttemptFailed(AttemptFailed {
        job: facts.job.id,
        token: attempt.token,
        cause: cause.to_owned(),
        kind,
        worker: lost.first().cloned(),
        vertex: None,
        subtask: None,
        jitter_permille: 0,
    }));
}

fn plan_deploy(world: &World<'_>, room: &mut Room<'_>, facts: &Facts, plan: &mut Plan) {
    let job = &facts.job;
    if job.restart.due_ms > world.clock_ms {
        plan.wake_at_clock(world, job.restart.due_ms);
        return;
    }
    if !may_replace(world, facts, plan) {
        return;
    }
    let placement = match room.place(job.id, &facts.graph, world.seen) {
        Ok(placement) => placement,
        Err(reason) => {
            plan.blocked = true;
            return wait_for(facts, Some(reason), plan);
        }
    };
    if job.attempt == 0 && !inspected(world, facts, plan) {
        return;
    }
    // The placement is good for this pass only: nobody else may plan with the same slots.
    room.take(facts.reference(Default::default()), &placement);
    let deploy = DeployAttempt {
        job: job.id,
        prior: job.token,
        placement,
    };
    plan.propose(Command::DeployAttempt(deploy));
}

fn wait_for(facts: &Facts, reason: Option<String>, plan: &mut Plan) {
    if facts.job.reason != reason {
        let (job, run) = (facts.job.id, facts.job.run);
        plan.propose(Command::JobWaiting(JobWaiting { job, run, reason }));
    }
}

/// Tasks that may still live are replaced at once only where zombies do no harm; else no earlier
/// attempt's worker may be able to act any more.
fn may_replace(world: &World<'_>, facts: &Facts, plan: &mut Plan) -> bool {
    if facts.graph.all_zombie_safe() {
        return true;
    }
    let mut free = true;
    for attempt in facts.attempts.iter().filter(|attempt| !attempt.over) {
        for worker in leftovers::unfenced(world, &facts.graph, attempt) {
            free = false;
            plan.wake_at(world.seen.lease_over_at(&worker, world.lease));
        }
    }
    free
}

/// Whether a worker has looked at the job's paths, and what is to be done about what it found.
fn inspected(world: &World<'_>, facts: &Facts, plan: &mut Plan) -> bool {
    let (job, run) = (facts.job.id, facts.job.run);
    match world.memory.inspections.get(&(job, run)) {
        Some(Inspection::Asked) => false,
        Some(Inspection::Unanswered { again_at }) if *again_at > world.now => {
            plan.wake_at(*again_at);
            false
        }
        Some(Inspection::Answered { problems, .. }) if !problems.is_empty() => {
            let cause = problems.join("; ");
            plan.propose(Command::FailJob(FailJob { job, run, cause }));
            false
        }
        Some(Inspection::Answered { existing, .. }) => sinks_prepared(facts, existing, plan),
        None | Some(Inspection::Unanswered { .. }) => {
            let mut present = world
                .seen
                .workers
                .iter()
                .filter(|(_, worker)| worker.present());
            let able = present.find(|(_, worker)| offers_all(&facts.graph, Some(worker)));
            if let Some((name, worker)) = able {
                let incarnation = worker.incarnation;
                plan.steps.push(Step::Inspect {
                    worker: WorkerRef {
                        worker: name.clone(),
                        incarnation,
                    },
                });
            }
            false
        }
    }
}

fn sinks_prepared(facts: &Facts, existing: &[String], plan: &mut Plan) -> bool {
    let (job, run) = (facts.job.id, facts.job.run);
    for name in &facts.job.unprepared_sinks {
        let sink = facts
            .graph
            .vertex(name)
            .and_then(|vertex| vertex.sink.as_ref());
        let Some(sink) = sink else { continue };
        let prefix = format!("{}/", sink.path.trim_end_matches('/'));
        let below = existing
            .iter()
            .filter_map(|path| path.strip_prefix(&prefix));
        let files: Vec<String> = below.map(str::to_owned).collect();
        if files.len() > SinkPrepared::FILES_MAX {
            let cause = format!(
                "sink {name} would replace {} files below {}; at most {} are replaced by one job",
                files.len(),
                sink.path,
                SinkPrepared::FILES_MAX
            );
            plan.propose(Command::FailJob(FailJob { job, run, cause }));
            return false;
        }
        let vertex = name.clone();
        plan.propose(Command::SinkPrepared(SinkPrepared {
            job,
            run,
            vertex,
            files,
        }));
    }
    facts.job.unprepared_sinks.is_empty()
}

//! Why a job is as it is, and what to do about it. Pure: the machine and what the leader sees in, causes
//! out. It asks the planners' own questions (slots, leases, due times), so that it can't tell another
//! story than the scheduler acts by.

mod time;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use regent_protocol::view::{Cause, JobExplained};
use regent_state::Machine;
use regent_state::graph::JobGraph;
use regent_state::ids::WorkerRef;
use regent_state::model::{Artefact, ArtefactState, Attempt, AttemptState, Job, JobState, Wanted};

use crate::api::documents::{Live, slots};
use crate::leader::seen::{Moment, Phase, Presence};
use crate::scheduler::slots::{Slots, attempt_ref};
use crate::scheduler::standing::{BROKEN_GRACE, UNHEARD_GRACE, expected};
use crate::wire::TaskId;
use words::{join, plural, span};

/// What is known when a job is to be explained.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) job: &'a Job,
    /// Workers; absent where this replica doesn't lead.
    pub(crate) live: Option<&'a Live>,
    /// The machine's clock.
    pub(crate) clock_ms: u64,
}

/// Explains the job.
pub(crate) fn explain(known: &Known<'_>) -> JobExplained {
    let job = known.job;
    let mut causes = state_causes(known);
    causes.extend(known.live.and_then(|live| stuck_tasks(job, live)));
    if job.state == JobState::Running {
        let seen = known.graph().zip(known.live);
        causes.extend(seen.and_then(|(graph, live)| time::waiting_windows(graph, live)));
    }
    causes.extend(stuck_checkpoints(job));
    causes.extend(dirty(known));
    if known.live.is_none() && !job.is_terminal() {
        causes.push(unknown_workers());
    }
    JobExplained {
        job_id: job.id.to_string(),
        name: job.name.clone(),
        state: job.state.to_string(),
        running: job.state == JobState::Running,
        causes,
        slots_needed: known.graph().map_or(0, JobGraph::slots_needed),
        slots_free: known.live.map(|live| free_for(known, live)),
        stale: known.live.is_none(),
    }
}

impl<'a> Known<'a> {
    fn graph(&self) -> Option<&'a JobGraph> {
        self.machine.graph(self.job.id).map(AsRef::as_ref)
    }

    fn attempt(&self) -> Option<&'a Attempt> {
        self.machine.current_attempt(self.job.id).map(AsRef::as_ref)
    }

    /// Why the last attempt failed.
    fn last_failure(&self) -> Option<&'a str> {
        let history = self.machine.history(self.job.id)?;
        history
            .failures
            .last()
            .map(|failure| failure.cause.as_str())
    }
}

fn unknown_workers() -> Cause {
    Cause::new(
        "no-leader-asked",
        "this is what a replica has stored: what workers hold, and which slots are free, only the leader knows",
    )
    .remedy("regent leader explain")
}

fn state_causes(known: &Known<'_>) -> Vec<Cause> {
    let job = known.job;
    match job.state {
        JobState::Suspended => vec![suspended()],
        JobState::Cancelling | JobState::Failing => vec![ending(known)],
        JobState::Finished | JobState::Failed | JobState::Canceled => ended(known),
        JobState::Reconciling => vec![reconciling(known)],
        JobState::Running => vec![running(job)],
        JobState::Created | JobState::Restarting if job.awaits_deployment() => waiting(known),
        JobState::Created | JobState::Restarting => vec![deploying(known)],
    }
}

fn suspended() -> Cause {
    Cause::new(
        "suspended",
        "it came with a restored snapshot; nothing runs until an operator says that the old cluster is stopped",
    )
    .remedy("make sure that the old cluster is stopped, then: regent recover resume --yes")
}

fn running(job: &Job) -> Cause {
    match &job.wanted {
        Wanted::Stop { target, .. } => Cause::new(
            "stopping",
            format!("it runs until its last savepoint, below {target}, is complete and committed"),
        ),
        Wanted::Run | Wanted::Cancel | Wanted::Fail => Cause::new(
            "running",
            format!(
                "it runs: all tasks of attempt {} run or have finished",
                job.attempt
            ),
        ),
    }
}

/// Waits for an attempt: for time, for old tasks to be fenced, for workers, for slots.
fn waiting(known: &Known<'_>) -> Vec<Cause> {
    let job = known.job;
    if job.restart.due_ms > known.clock_ms {
        return vec![backoff(known)];
    }
    let Some((live, graph)) = known.live.zip(known.graph()) else {
        let reason = job.reason.clone();
        let text = reason.unwrap_or_else(|| "it waits to be deployed".to_owned());
        return vec![Cause::new("waiting", text)];
    };
    if let Some(cause) = unfenced(known, live, graph) {
        return vec![cause];
    }
    let free = slots(known.machine, &live.seen);
    match free.place(job.id, graph, &live.seen) {
        Ok(_) => vec![Cause::new(
            "being-deployed",
            "it can be placed and is being deployed now, or its paths are being looked at by a worker",
        )],
        Err(reason) => vec![unplaced(known, live, &free, &reason)],
    }
}

fn backoff(known: &Known<'_>) -> Cause {
    let left = span(known.job.restart.due_ms.saturating_sub(known.clock_ms));
    let because = known.last_failure().unwrap_or("it failed");
    Cause::new(
        "backoff",
        format!(
            "attempt {} failed ({because}); its restart strategy waits for {left} more",
            known.job.attempt
        ),
    )
    .remedy(format!(
        "nothing for the restart itself; mend what failed: regent job history {}",
        known.job.id
    ))
}

/// Tasks of earlier attempts that may still act, where that would do harm.
fn unfenced(known: &Known<'_>, live: &Live, graph: &JobGraph) -> Option<Cause> {
    if graph.all_zombie_safe() {
        return None;
    }
    let over = known.machine.attempts(known.job.id).filter(|a| !a.over);
    let mut acting: BTreeSet<WorkerRef> = BTreeSet::new();
    for attempt in over {
        let workers = expected(graph, attempt).into_keys();
        acting.extend(workers.filter(|worker| may_act(live, worker, attempt)));
    }
    let last = acting
        .iter()
        .map(|w| live.seen.lease_over_at(w, live.lease))
        .max()?;
    let left = span(millis(last.saturating_sub(live.now)));
    let names = join(acting.iter().map(|worker| worker.worker.clone()));
    Some(
        Cause::new(
            "old-tasks-may-live",
            format!(
                "tasks of an earlier attempt may still run on {names}, and its sinks can't bear two writers; \
                 their leases are over in {left} at the latest"
            ),
        )
        .remedy(format!("wait, or end the process of {names} for good")),
    )
}

fn may_act(live: &Live, worker: &WorkerRef, attempt: &Attempt) -> bool {
    let holds = || live.seen.tasks_of(worker, &attempt_ref(attempt));
    match live.seen.presence(worker) {
        Presence::Present => holds().is_some_and(|tasks| !tasks.values().all(|t| t.ended())),
        Presence::Dead => false,
        Presence::Broken { .. } | Presence::Unheard | Presence::Superseded => {
            !live.seen.cannot_act(worker, live.now, live.lease)
        }
    }
}

fn unplaced(known: &Known<'_>, live: &Live, free: &Slots, reason: &str) -> Cause {
    let needed = known.graph().map_or(0, JobGraph::slots_needed);
    let present = live.seen.workers.values().filter(|w| w.present()).count();
    if present == 0 {
        return Cause::new(
            "no-workers",
            format!(
                "no TaskManager is registered, and it needs {}",
                plural(needed, "slot")
            ),
        )
        .remedy(
            "start TaskManagers: regent taskmanager --config FILE; it is deployed by itself then",
        );
    }
    if !reason.starts_with("not-enough-slots") {
        return Cause::new("no-worker-offers", format!("it can't be placed: {reason}")).remedy(
            "start a TaskManager whose program has that operator, or take the vertex out of the job",
        );
    }
    let (all, _) = free.totals();
    let room = free_for(known, live);
    let missing = needed.saturating_sub(room);
    Cause::new(
        "not-enough-slots",
        format!(
            "it needs {} and {room} are free, of {all}{}",
            plural(needed, "slot"),
            holders(known)
        ),
    )
    .remedy(format!(
        "start TaskManagers with {} more, cancel a job that holds some, or lower its parallelism; it is \
         deployed by itself when there are enough",
        plural(missing, "slot")
    ))
}

/// Which jobs hold slots, the greediest first.
fn holders(known: &Known<'_>) -> String {
    let holding = crate::scheduler::slots::live_attempts(known.machine);
    let mut others: Vec<(usize, String)> = holding
        .filter_map(|attempt| {
            let name = known.machine.job(attempt.job)?.name.clone();
            Some((attempt.placement.len(), name))
        })
        .collect();
    others.sort_by_key(|(slots, _)| std::cmp::Reverse(*slots));
    if others.is_empty() {
        return String::new();
    }
    let named = others
        .iter()
        .take(3)
        .map(|(n, name)| format!("{name} holds {n}"));
    format!(" ({})", join(named))
}

fn free_for(known: &Known<'_>, live: &Live) -> u32 {
    slots(known.machine, &live.seen).room_for(known.job.id)
}

fn deploying(known: &Known<'_>) -> Cause {
    let number = known.job.attempt;
    let text = match silent_workers(known) {
        Some(silent) => format!("attempt {number} is being deployed, and {silent}"),
        None => format!(
            "attempt {number} is being deployed: {} start, or restore their state",
            starting(known).unwrap_or_else(|| "its tasks".to_owned())
        ),
    };
    Cause::new("deploying", text)
        .remedy("wait; if it takes minutes, see the logs of its workers: regent job show")
}

/// Tasks of the current attempt that don't run yet, a few by name, with where they are.
fn starting(known: &Known<'_>) -> Option<String> {
    const NAMED: usize = 3;
    let (live, graph) = known.live.zip(known.graph())?;
    let attempt = known.attempt()?;
    let key = attempt_ref(attempt);
    let mut names = Vec::new();
    for (worker, tasks) in expected(graph, attempt) {
        let told = live.seen.tasks_of(&worker, &key);
        let starts = |task: &TaskId| {
            let phase = told.and_then(|told| told.get(task));
            matches!(phase, None | Some(Phase::Deploying))
        };
        let tasks = tasks.into_iter().filter(starts);
        names.extend(tasks.map(|t| format!("{}/{} on {}", t.vertex, t.subtask, worker.worker)));
    }
    let more = names.len().saturating_sub(NAMED);
    let rest = (more > 0).then(|| format!("{more} more"));
    let named = names.into_iter().take(NAMED).chain(rest);
    Some(join(named)).filter(|names| !names.is_empty())
}

/// Workers of the current attempt that have no session, with how long they are waited for.
fn silent_workers(known: &Known<'_>) -> Option<String> {
    let (live, graph) = known.live.zip(known.graph())?;
    let attempt = known.attempt()?;
    let waits = expected(graph, attempt).into_keys().filter_map(|worker| {
        let until = match live.seen.presence(&worker) {
            Presence::Present => return None,
            Presence::Dead | Presence::Superseded => Moment::ZERO,
            Presence::Broken { since } => since + BROKEN_GRACE,
            Presence::Unheard => UNHEARD_GRACE,
        };
        Some((worker.worker, until.saturating_sub(live.now)))
    });
    let waits: Vec<_> = waits.collect();
    let longest = waits.iter().map(|(_, left)| *left).max()?;
    let names = join(waits.into_iter().map(|(name, _)| name));
    let left = span(millis(longest));
    Some(format!(
        "{names} has not reported; it is waited for {left} more"
    ))
}

fn reconciling(known: &Known<'_>) -> Cause {
    let silent = silent_workers(known)
        .unwrap_or_else(|| "its workers have reported and are being compared".to_owned());
    Cause::new(
        "reconciling",
        format!(
            "the leader changed, and the new one looks for the tasks of attempt {}: {silent}",
            known.job.attempt
        ),
    )
    .remedy(
        "wait a few seconds: it is adopted as it runs, or deployed again from its last checkpoint",
    )
}

fn ending(known: &Known<'_>) -> Cause {
    let (code, verb) = match known.job.state {
        JobState::Failing => ("failing", "it has failed for good"),
        _ => ("cancelling", "it is being cancelled"),
    };
    let why = known
        .job
        .reason
        .clone()
        .or_else(|| known.last_failure().map(str::to_owned));
    let why = why
        .filter(|_| code == "failing")
        .map_or_else(String::new, |why| format!(" ({why})"));
    let waits = match silent_workers(known) {
        Some(silent) => silent,
        None => "its tasks are being stopped".to_owned(),
    };
    Cause::new(code, format!("{verb}{why}, and {waits}"))
}

fn ended(known: &Known<'_>) -> Vec<Cause> {
    let job = known.job;
    let why = job.result.as_ref().and_then(|result| result.cause.clone());
    let mut causes = vec![match (job.state, why) {
        (JobState::Failed, why) => {
            let why = why.or_else(|| known.last_failure().map(str::to_owned));
            let why = why.unwrap_or_else(|| "no cause was kept".to_owned());
            Cause::new("failed", format!("it has failed for good: {why}")).remedy(format!(
                "mend that and submit it again under a new id; see regent job history {}",
                job.id
            ))
        }
        (JobState::Canceled, _) => Cause::new("canceled", "it was cancelled by its user"),
        (..) => Cause::new("finished", "it has finished: all its output is visible"),
    }];
    causes.extend(uncommitted(known));
    causes
}

/// Output of an ended job that a checkpoint lists and nobody has committed yet.
fn uncommitted(known: &Known<'_>) -> Option<Cause> {
    let latest = known.job.uncommitted()?;
    let cause = Cause::new(
        "output-uncommitted",
        "what its latest checkpoint lists is not committed yet, so a part of its output isn't visible",
    );
    let by_itself = "a worker that offers its sinks commits it by itself: regent worker list";
    let checkpoint = known.machine.artefact_at(&latest.path);
    let remedy = match checkpoint {
        Some(checkpoint) => format!(
            "{by_itself}; if there will never be one, give that output up: regent cleanup forget {}",
            checkpoint.id
        ),
        None => by_itself.to_owned(),
    };
    Some(cause.remedy(remedy))
}

/// Tasks of the job, of whatever attempt, that were told to end and don't.
fn stuck_tasks(job: &Job, live: &Live) -> Option<Cause> {
    let present = live.seen.workers.iter().filter(|(_, w)| w.present());
    let mut stuck = present.flat_map(|(worker, seen)| {
        let mine = seen.tasks.iter().filter(|(of, _)| of.job == job.id);
        let tasks = mine.flat_map(|(_, tasks)| tasks);
        tasks.filter_map(move |(task, phase)| match phase {
            Phase::Stuck { cause, .. } => Some((worker, task, cause)),
            _ => None,
        })
    });
    let (worker, task, cause) = stuck.next()?;
    let more = match stuck.count() {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    let (vertex, subtask) = (&task.vertex, task.subtask);
    Some(
        Cause::new(
            "task-stuck",
            format!("{vertex}/{subtask} on {worker} doesn't end{more}: {cause}"),
        )
        .remedy(format!(
            "end the process of {worker}: it comes back with all of its slots; its other tasks restart \
             from their last checkpoints. Then mend the code of {vertex}, which waits or runs for ever"
        )),
    )
}

fn stuck_checkpoints(job: &Job) -> Option<Cause> {
    let failed = job.checkpoints.failed_in_a_row;
    let active = job.attempt_state == Some(AttemptState::Running);
    (failed > 0 && active && !job.is_terminal()).then(|| {
        Cause::new(
            "checkpoints-failing",
            format!("its last {} failed", plural(failed, "checkpoint")),
        )
        .remedy("see the leader's log for the cause; a full or slow checkpoint directory is the usual one")
    })
}

/// Files of the job that can't be removed.
fn dirty(known: &Known<'_>) -> Option<Cause> {
    let owned = |artefact: &&std::sync::Arc<Artefact>| {
        artefact.owner.is_some_and(|(job, _)| job == known.job.id)
    };
    let stuck: Vec<_> = known
        .machine
        .artefacts()
        .filter(owned)
        .filter(|a| a.state == ArtefactState::Dirty || a.state == ArtefactState::Retrying)
        .collect();
    let first = stuck
        .iter()
        .max_by_key(|a| a.state == ArtefactState::Dirty)?;
    let error = first.last_error.as_deref().unwrap_or("no error was kept");
    let given_up = first.state == ArtefactState::Dirty;
    let count = plural(u32::try_from(stuck.len()).unwrap_or(u32::MAX), "artefact");
    let how = if given_up {
        "retries are used up"
    } else {
        "it is tried again by itself"
    };
    let cause = Cause::new(
        "dirty-cleanup",
        format!(
            "{count} of it can't be removed: {}: {error}; {how}",
            first.path
        ),
    );
    Some(cause.remedy(format!(
        "mend that (rights, a missing mount, a full disk), then: regent cleanup retry {}",
        known.job.id
    )))
}

fn millis(duration: Moment) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The checkpoint coordinators: one for each attempt that runs, all in one task.
//!
//! `plan.rs` decides (pure); `act.rs` proposes, writes `_metadata` and orders. Deeds that wait (a
//! proposal, a write) run beside the loop and come back as outcomes, so that no job holds up another.
//! Only jobs are looked at for which something happened or is due (`leader/agenda.rs`).

mod act;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regent_ha::View;
use regent_protocol::v1;
use regent_state::command::CheckpointKind;
use regent_state::ids::{CheckpointId, JobId, WorkerRef};
use regent_state::model::{Attempt, AttemptState, Job, JobState};
use regent_state::{Effect, JobGraph};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::leader::agenda::Agenda;
use crate::leader::hub::CheckpointEvent;
use crate::leader::rule::Rule;
use crate::leader::seen::{Phase, Seen};
use crate::scheduler::slots::attempt_ref;
use crate::scheduler::standing::expected;
use crate::wire::{self, AttemptRef};
use plan::{Action, Coordinator, Look};

/// A look is taken this often, whatever hints got lost.
const TICK: Duration = Duration::from_secs(1);
/// With very many jobs less often: looking at all of them takes a twentieth of the time at most.
const TICK_MAX: Duration = Duration::from_secs(10);
const TICK_SHARE: u32 = 20;
/// Events taken in before the next look.
const EVENTS_BATCH: usize = 1_024;

/// How a deed ended.
#[derive(Debug)]
enum Outcome {
    Begun(Option<plan::Pending>),
    Completed(Result<(), NotCompleted>),
    Aborted { id: CheckpointId, applied: bool },
    Reported(bool),
}

/// Why a checkpoint with all acknowledgements isn't complete.
#[derive(Debug)]
struct NotCompleted {
    cause: String,
    /// Its files could not be written; a cluster that can't commit is no failure of the job.
    counts: bool,
}

struct Coordinators {
    rule: Arc<Rule>,
    by_attempt: BTreeMap<AttemptRef, Coordinator>,
    deeds: JoinSet<(AttemptRef, Outcome)>,
    /// By the machine's clock, in ms.
    agenda: Agenda<u64>,
}

/// What calls for a look.
enum Wake {
    All,
    Jobs(BTreeSet<JobId>),
}

/// Runs until the reign is over.
pub(crate) async fn run(rule: Arc<Rule>, mut events: mpsc::Receiver<CheckpointEvent>) {
    let mut effects = rule.effects();
    let mut changes = rule.hub.changes();
    let mut all = Coordinators {
        rule: Arc::clone(&rule),
        by_attempt: BTreeMap::new(),
        deeds: JoinSet::new(),
        agenda: Agenda::default(),
    };
    all.look_at_all();
    let mut tick = Instant::now() + TICK;
    loop {
        let wake = all.next_look().min(tick);
        tokio::select! {
            () = rule.stop.cancelled() => return,
            Some(event) = events.recv() => {
                all.event(event);
                for _ in 0..EVENTS_BATCH {
                    let Ok(event) = events.try_recv() else { break };
                    all.event(event);
                }
            }
            Some(ended) = all.deeds.join_next() => match ended {
                Ok((key, outcome)) => all.ended(key, outcome),
                // Its coordinator would wait for ever: the reign's hands are started anew.
                Err(error) => return tracing::error!(%error, "a checkpoint's deed broke off"),
            },
            wake = relevant(&mut effects) => match wake {
                Wake::All => all.look_at_all(),
                Wake::Jobs(jobs) => all.agenda.touch(jobs),
            },
            seen = changes.next() => match seen.overflowed {
                true => all.look_at_all(),
                false => all.agenda.touch(seen.about),
            },
            () = tokio::time::sleep_until(wake) => {}
        }
        let full = Instant::now() >= tick;
        if full {
            all.look_at_all();
        }
        let begun = Instant::now();
        all.look();
        if full {
            tick = Instant::now() + pause_after(begun.elapsed());
        }
    }
}

/// Until everything is looked at again, after a look that took this long.
pub(crate) fn pause_after(look: Duration) -> Duration {
    look.saturating_mul(TICK_SHARE).clamp(TICK, TICK_MAX)
}

async fn relevant(effects: &mut regent_ha::EffectHints) -> Wake {
    loop {
        let hints = effects.next().await;
        let workers = |effect: &Effect| matches!(effect, Effect::Workers);
        if hints.overflowed || hints.about.iter().any(workers) {
            return Wake::All;
        }
        let mine = |effect: &Effect| match effect {
            Effect::Checkpoints(job) | Effect::Schedule(job) | Effect::JobEnded(job) => Some(*job),
            Effect::LeaderAnnounced(_)
            | Effect::Cleanup
            | Effect::CleanupStuck(_)
            | Effect::Members
            | Effect::Workers => None,
        };
        let jobs: BTreeSet<JobId> = hints.about.iter().filter_map(mine).collect();
        if !jobs.is_empty() {
            return Wake::Jobs(jobs);
        }
    }
}

/// What a look at one attempt needs, put together.
struct Sight {
    job: Arc<Job>,
    graph: Arc<JobGraph>,
    attempt: Arc<Attempt>,
    all_finished: bool,
    present: Vec<(WorkerRef, u64)>,
    drained_at_ms: Option<u64>,
}

impl Sight {
    fn of(view: &View, seen: &Seen, key: &AttemptRef) -> Option<Self> {
        let machine = &view.machine;
        let job = machine.job(key.job).filter(|job| job.run == key.run)?;
        let graph = machine.graph(key.job)?;
        let attempt = machine.attempt(key.job, key.token)?;
        let parts = expected(graph, attempt);
        let finished = |(worker, tasks): (&WorkerRef, &BTreeSet<_>)| {
            let held = seen.tasks_of(worker, key);
            let phase = |task| held.and_then(|held| held.get(task));
            tasks
                .iter()
                .all(|task| phase(task) == Some(&Phase::Finished))
        };
        let present = parts.keys().filter_map(|worker| {
            let open = seen.worker(worker).filter(|seen| seen.present())?;
            Some((worker.clone(), open.session))
        });
        Some(Self {
            all_finished: parts.iter().all(finished),
            present: present.collect(),
            job: Arc::clone(job),
            graph: Arc::clone(graph),
            attempt: Arc::clone(attempt),
            drained_at_ms: machine.drained_at_ms(attempt),
        })
    }

    fn look(&self, clock_ms: u64) -> Look<'_> {
        Look {
            job: &self.job,
            graph: &self.graph,
            all_finished: self.all_finished,
            present: &self.present,
            placed: self.workers().len(),
            drained_at_ms: self.drained_at_ms,
            clock_ms,
        }
    }

    /// The course of the checkpoint that is announced.
    fn latest_course(&self) -> &'static str {
        let latest = self.job.latest.as_ref();
        latest.map_or("", |latest| course(latest.kind))
    }

    fn workers(&self) -> BTreeSet<WorkerRef> {
        self.attempt
            .placement
            .iter()
            .map(|place| place.worker.clone())
            .collect()
    }
}

/// The attempt of a job whose checkpoints are coordinated: the current one, while it runs.
fn running(view: &View, job: JobId) -> Option<AttemptRef> {
    let machine = &view.machine;
    let job = machine.job(job)?;
    if job.state != JobState::Running || job.attempt_state != Some(AttemptState::Running) {
        return None;
    }
    machine
        .attempt(job.id, job.token?)
        .map(|attempt| attempt_ref(attempt))
}

impl Coordinators {
    /// Has every job looked at that runs or whose attempt is still coordinated.
    fn look_at_all(&mut self) {
        let view = self.rule.view();
        let active = view.machine.active_jobs().map(|job| job.id);
        let coordinated = self.by_attempt.keys().map(|key| key.job);
        self.agenda.touch(active.chain(coordinated));
    }

    /// When something falls due.
    fn next_look(&self) -> Instant {
        let clock_ms = self.rule.clock_ms();
        let due_ms = self.agenda.next_due();
        let ahead = due_ms.map(|at| Duration::from_millis(at.saturating_sub(clock_ms)));
        Instant::now() + ahead.unwrap_or(TICK).clamp(Duration::from_millis(1), TICK)
    }

    /// Looks at the jobs for which something happened or is due.
    fn look(&mut self) {
        let clock_ms = self.rule.clock_ms();
        let jobs = self.agenda.take(clock_ms);
        if jobs.is_empty() {
            return;
        }
        let view = self.rule.view();
        let seen = self.rule.hub.seen();
        for job in jobs {
            let key = running(&view, job);
            self.drop_others(&view, job, key);
            let due_ms = key.and_then(|key| self.look_at(&view, &seen, key, clock_ms));
            // What is due already and wasn't begun waits for a worker, whose coming is a change.
            self.agenda
                .set_due(job, due_ms.filter(|at_ms| *at_ms > clock_ms));
        }
    }

    /// Looks at one attempt; answers when to look again.
    fn look_at(&mut self, view: &View, seen: &Seen, key: AttemptRef, clock_ms: u64) -> Option<u64> {
        let sight = Sight::of(view, seen, &key)?;
        let coordinator = self
            .by_attempt
            .entry(key)
            .or_insert_with(|| Coordinator::new(&sight.graph, &sight.job, &sight.attempt));
        let look = sight.look(clock_ms);
        let actions = coordinator.look(&look);
        let due_ms = coordinator.next_look_ms(&look);
        self.act(key, &sight, actions);
        due_ms
    }

    /// Attempts of the job that run no more: the log has aborted what was pending; their workers are told.
    fn drop_others(&mut self, view: &View, job: JobId, running: Option<AttemptRef>) {
        let of_job = self.by_attempt.range(AttemptRef::all_of(job));
        let gone: Vec<AttemptRef> = of_job
            .map(|(key, _)| *key)
            .filter(|key| Some(*key) != running)
            .collect();
        for key in gone {
            let Some(coordinator) = self.by_attempt.remove(&key) else {
                continue;
            };
            let latest = view
                .machine
                .job(key.job)
                .and_then(|job| job.latest.as_ref());
            let complete = latest.map(|latest| latest.id);
            let pending = coordinator.pending_id().filter(|id| Some(*id) != complete);
            let Some(id) = pending else { continue };
            let attempt = view.machine.attempt(key.job, key.token);
            let placement = attempt.map_or(&[][..], |attempt| &attempt.placement);
            let workers: BTreeSet<WorkerRef> =
                placement.iter().map(|place| place.worker.clone()).collect();
            self.rule.order_all(workers, &act::aborted(key, id));
        }
    }

    fn event(&mut self, event: CheckpointEvent) {
        let key = match &event {
            CheckpointEvent::Ack(ack) => wire::attempt_from(ack.attempt.as_ref()),
            CheckpointEvent::Declined(declined) => wire::attempt_from(declined.attempt.as_ref()),
            CheckpointEvent::SinkCommitted(done) => wire::attempt_from(done.attempt.as_ref()),
        };
        let Some(key) = key else { return };
        let Some(coordinator) = self.by_attempt.get_mut(&key) else {
            return;
        };
        let action = match event {
            CheckpointEvent::Ack(ack) => acked(coordinator, *ack),
            CheckpointEvent::Declined(declined) => {
                let task = wire::task_from(declined.task.as_ref());
                let id = CheckpointId(declined.checkpoint_id);
                task.and_then(|task| coordinator.declined(id, &task, &declined.cause))
            }
            CheckpointEvent::SinkCommitted(done) => {
                if let Some(task) = wire::task_from(done.task.as_ref()) {
                    coordinator.sink_committed(CheckpointId(done.checkpoint_id), &task);
                    if coordinator.all_committed() {
                        self.agenda.touch([key.job]);
                    }
                }
                None
            }
        };
        self.act_alone(key, action);
    }

    fn ended(&mut self, key: AttemptRef, outcome: Outcome) {
        self.agenda.touch([key.job]);
        let clock_ms = self.rule.clock_ms();
        let Some(coordinator) = self.by_attempt.get_mut(&key) else {
            return;
        };
        let action = match outcome {
            Outcome::Begun(Some(pending)) => coordinator.begun(pending),
            Outcome::Begun(None) => {
                coordinator.not_begun(clock_ms);
                None
            }
            Outcome::Completed(Ok(())) => {
                coordinator.completed();
                None
            }
            Outcome::Completed(Err(failed)) => {
                coordinator.not_completed(&failed.cause, failed.counts)
            }
            Outcome::Aborted { id, applied } => coordinator.aborted(id, applied, clock_ms),
            Outcome::Reported(true) => None,
            Outcome::Reported(false) => {
                coordinator.not_reported();
                None
            }
        };
        self.act_alone(key, action);
    }

    fn act_alone(&mut self, key: AttemptRef, action: Option<Action>) {
        let Some(action) = action else { return };
        let view = self.rule.view();
        let seen = self.rule.hub.seen();
        if let Some(sight) = Sight::of(&view, &seen, &key) {
            self.act(key, &sight, vec![action]);
        }
    }
}

fn acked(coordinator: &mut Coordinator, ack: v1::CheckpointAck) -> Option<Action> {
    let task = wire::task_from(ack.task.as_ref())?;
    coordinator.acked(CheckpointId(ack.checkpoint_id), task, ack.handle?)
}

/// The word of the wire for what a checkpoint is for.
pub(crate) fn kind_name(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Checkpoint => "checkpoint",
        CheckpointKind::Savepoint { .. } | CheckpointKind::StopSavepoint => "savepoint",
        CheckpointKind::Final => "final",
    }
}

/// The course whose dangerous moments a checkpoint of this kind passes.
fn course(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Checkpoint => "checkpoint",
        CheckpointKind::Savepoint { .. } => "savepoint",
        CheckpointKind::StopSavepoint => "stop",
        CheckpointKind::Final => "last",
    }
}

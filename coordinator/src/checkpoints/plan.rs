//! The course of one attempt's checkpoints: when to begin one, when it is whole, when to give it up.
//!
//! Pure: facts and events in, actions out. `docs/protocol.md` §5-§7 give the order of steps; a deed and
//! its outcome are two separate moments here, so that nothing is done before its entry is applied.

use std::collections::{BTreeMap, BTreeSet};

use regent_protocol::v1::SubtaskHandle;
use regent_state::JobGraph;
use regent_state::command::CheckpointKind;
use regent_state::graph::VertexKind;
use regent_state::ids::{CheckpointId, WorkerRef};
use regent_state::model::{Attempt, Job, JobState, Wanted};

use crate::wire::TaskId;

/// Timeout of checkpoints of jobs that configure none (milliseconds).
const TIMEOUT_DEFAULT_MS: u64 = 600_000;
/// Pause after a failed last checkpoint or savepoint, which ignore interval and min-pause.
const RETRY_PAUSE_MS: u64 = 500;

/// A checkpoint that workers are writing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    pub(crate) id: CheckpointId,
    pub(crate) kind: CheckpointKind,
    pub(crate) path: String,
    pub(crate) begun_ms: u64,
    pub(crate) handles: BTreeMap<TaskId, SubtaskHandle>,
}

/// What is under way. Between the `-ing` stages and their outcome nothing else is begun.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Idle,
    Beginning,
    /// With the sessions that the trigger went into: an acknowledgement can't be expected of others.
    Collecting(Pending, BTreeSet<(WorkerRef, u64)>),
    Completing(Pending),
    Aborting,
}

/// One thing to do for this attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Propose `BeginCheckpoint`; answer with `begun` or `not_begun`.
    Begin(CheckpointKind),
    /// Tell all workers of the attempt to take it.
    Trigger(Pending),
    /// Write `_metadata` and propose `CompleteCheckpoint`; answer with `completed` or `not_completed`.
    Complete {
        pending: Pending,
        sinks_committed_through: Option<CheckpointId>,
    },
    /// Propose `AbortCheckpoint`; answer with `aborted`.
    Abort {
        id: CheckpointId,
        cause: String,
        counts: bool,
    },
    /// Tell all workers that it will not be completed.
    AnnounceAborted(CheckpointId),
    /// Tell this worker that it is completed.
    AnnounceCompleted {
        id: CheckpointId,
        path: String,
        worker: WorkerRef,
    },
    /// Propose `SinksCommitted`.
    SinksCommitted(CheckpointId),
}

/// What the coordinator is shown at each look.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    pub(crate) job: &'a Job,
    pub(crate) graph: &'a JobGraph,
    /// Every task reports that it has finished.
    pub(crate) all_finished: bool,
    /// The attempt's workers that have an open session, with its number.
    pub(crate) present: &'a [(WorkerRef, u64)],
    /// How many workers the attempt is placed on.
    pub(crate) placed: usize,
    /// Since when the attempt has tasks on a drained worker (wall time).
    pub(crate) drained_at_ms: Option<u64>,
    /// The machine's clock.
    pub(crate) clock_ms: u64,
}

/// The coordinator of one attempt.
#[derive(Debug)]
pub(crate) struct Coordinator {
    tasks: BTreeSet<TaskId>,
    sinks: BTreeSet<TaskId>,
    stage: Stage,
    begun_ms: u64,
    retry_ms: u64,
    announced: BTreeSet<(WorkerRef, u64)>,
    announced_id: Option<CheckpointId>,
    committing: BTreeSet<TaskId>,
    committed: Option<CheckpointId>,
    reporting: bool,
}

impl Coordinator {
    /// For an attempt that runs; its first checkpoint is due one interval after the last one ended,
    /// or after it began to run.
    pub(crate) fn new(graph: &JobGraph, job: &Job, runs: &Attempt) -> Self {
        let tasks = |sinks_only: bool| {
            let wanted = graph
                .vertices
                .iter()
                .filter(move |vertex| !sinks_only || vertex.kind == VertexKind::Sink);
            wanted
                .flat_map(|v| (0..v.parallelism).map(|n| TaskId::new(v.id.clone(), n)))
                .collect::<BTreeSet<_>>()
        };
        Self {
            tasks: tasks(false),
            sinks: tasks(true),
            stage: Stage::Idle,
            begun_ms: runs.deployed_ms.max(job.checkpoints.last_ended_ms),
            retry_ms: 0,
            announced: BTreeSet::new(),
            announced_id: None,
            committing: BTreeSet::new(),
            committed: None,
            reporting: false,
        }
    }

    /// Looks at the facts: what is due now?
    pub(crate) fn look(&mut self, look: &Look<'_>) -> Vec<Action> {
        let mut actions = self.announce(look);
        actions.extend(self.report_committed(look));
        match &self.stage {
            Stage::Idle => actions.extend(self.begin_or_clear(look)),
            Stage::Collecting(..) => actions.extend(self.still_collecting(look)),
            Stage::Beginning | Stage::Completing(_) | Stage::Aborting => {}
        }
        actions
    }

    fn still_collecting(&mut self, look: &Look<'_>) -> Option<Action> {
        let Stage::Collecting(pending, sessions) = &self.stage else {
            return None;
        };
        let id = pending.id;
        if look.job.pending.as_ref().map(|pending| pending.id) != Some(id) {
            self.stage = Stage::Idle;
            return Some(Action::AnnounceAborted(id));
        }
        let broke = |session: &&(WorkerRef, u64)| !look.present.contains(session);
        if let Some((worker, _)) = sessions.iter().find(broke) {
            // Trigger or acknowledgements may be lost with it, and its alignments are cancelled.
            let cause = format!("the session of worker {worker} ended");
            return self.give_up(id, &cause, false);
        }
        if look.clock_ms >= pending.begun_ms + timeout_ms(look.graph) {
            return self.give_up(id, "timed out", true);
        }
        None
    }

    /// When to look again, by the machine's clock.
    pub(crate) fn next_look_ms(&self, look: &Look<'_>) -> Option<u64> {
        match &self.stage {
            Stage::Idle if look.job.state == JobState::Running => self.due_ms(look),
            Stage::Collecting(pending, _) => Some(pending.begun_ms + timeout_ms(look.graph)),
            Stage::Idle | Stage::Beginning | Stage::Completing(_) | Stage::Aborting => None,
        }
    }

    fn due_ms(&self, look: &Look<'_>) -> Option<u64> {
        let job = look.job;
        if job.final_checkpoint.is_some() {
            return None;
        }
        let urgent = look.all_finished && look.graph.has_exactly_once_sink()
            || matches!(job.wanted, Wanted::Stop { .. })
            || job.waiting_savepoint().is_some()
            || must_move(look);
        if urgent {
            return Some(self.retry_ms);
        }
        let config = look
            .graph
            .checkpointing
            .as_ref()
            .filter(|_| !look.all_finished)?;
        let paused = job.checkpoints.last_ended_ms + config.min_pause_ms;
        Some(
            (self.begun_ms + config.interval_ms?)
                .max(paused)
                .max(self.retry_ms),
        )
    }

    fn kind(&self, look: &Look<'_>) -> CheckpointKind {
        let waiting = look.job.waiting_savepoint();
        match &look.job.wanted {
            Wanted::Stop { .. } => CheckpointKind::StopSavepoint,
            _ if look.all_finished && look.graph.has_exactly_once_sink() => CheckpointKind::Final,
            _ => waiting.map_or(CheckpointKind::Checkpoint, |request| {
                CheckpointKind::Savepoint {
                    request: request.request,
                }
            }),
        }
    }

    fn begin_or_clear(&mut self, look: &Look<'_>) -> Option<Action> {
        if look.job.state != JobState::Running {
            return None;
        }
        if let Some(stray) = &look.job.pending {
            // Its `BeginCheckpoint` was applied although the answer got lost: nobody writes it.
            return self.give_up(stray.id, "its begin was not confirmed", false);
        }
        // Without one of its workers it could never be complete.
        let whole = look.present.len() == look.placed;
        if !whole || self.due_ms(look)? > look.clock_ms {
            return None;
        }
        self.stage = Stage::Beginning;
        self.begun_ms = look.clock_ms;
        Some(Action::Begin(self.kind(look)))
    }

    fn give_up(&mut self, id: CheckpointId, cause: &str, counts: bool) -> Option<Action> {
        self.stage = Stage::Aborting;
        Some(Action::Abort {
            id,
            cause: cause.to_owned(),
            counts,
        })
    }

    /// `BeginCheckpoint` is applied; answer the trigger with `triggered`.
    pub(crate) fn begun(&mut self, pending: Pending) -> Option<Action> {
        if self.stage != Stage::Beginning {
            return None;
        }
        self.stage = Stage::Collecting(pending.clone(), BTreeSet::new());
        Some(Action::Trigger(pending))
    }

    /// The trigger is queued in these sessions; `None`: a worker has none.
    pub(crate) fn triggered(
        &mut self,
        sessions: Option<BTreeSet<(WorkerRef, u64)>>,
    ) -> Option<Action> {
        let Stage::Collecting(pending, into) = &mut self.stage else {
            return None;
        };
        let id = pending.id;
        match sessions {
            Some(sessions) => {
                *into = sessions;
                None
            }
            None => self.give_up(id, "a worker has no session", false),
        }
    }

    /// `BeginCheckpoint` was refused or its outcome is unknown.
    pub(crate) fn not_begun(&mut self, clock_ms: u64) {
        self.stage = Stage::Idle;
        self.retry_ms = clock_ms + RETRY_PAUSE_MS;
    }

    /// A subtask's state is durable. Late and foreign acknowledgements change nothing.
    pub(crate) fn acked(
        &mut self,
        id: CheckpointId,
        task: TaskId,
        handle: SubtaskHandle,
    ) -> Option<Action> {
        let Stage::Collecting(pending, _) = &mut self.stage else {
            return None;
        };
        if pending.id != id || !self.tasks.contains(&task) {
            return None;
        }
        pending.handles.insert(task, handle);
        if pending.handles.len() < self.tasks.len() {
            return None;
        }
        let pending = pending.clone();
        self.stage = Stage::Completing(pending.clone());
        Some(Action::Complete {
            pending,
            sinks_committed_through: self.committed,
        })
    }

    /// A subtask can't contribute.
    pub(crate) fn declined(
        &mut self,
        id: CheckpointId,
        task: &TaskId,
        cause: &str,
    ) -> Option<Action> {
        let Stage::Collecting(pending, _) = &self.stage else {
            return None;
        };
        if pending.id != id || !self.tasks.contains(task) {
            return None;
        }
        let cause = format!("{}/{} declined: {cause}", task.vertex, task.subtask);
        self.give_up(id, &cause, true)
    }

    /// `CompleteCheckpoint` is applied; the next look announces it.
    pub(crate) fn completed(&mut self) {
        self.stage = Stage::Idle;
        self.retry_ms = 0;
    }

    /// `_metadata` could not be written (which counts), or `CompleteCheckpoint` got no good answer.
    /// In the latter case it may still be applied: the abort that follows it in the log is refused then.
    pub(crate) fn not_completed(&mut self, cause: &str, counts: bool) -> Option<Action> {
        let Stage::Completing(pending) = &self.stage else {
            return None;
        };
        let id = pending.id;
        self.give_up(id, cause, counts)
    }

    /// How the proposed `AbortCheckpoint` ended. Only an applied one may be announced: a refused one can
    /// mean that the checkpoint is complete. If the outcome is unknown the next look sees what the log has.
    pub(crate) fn aborted(
        &mut self,
        id: CheckpointId,
        applied: bool,
        clock_ms: u64,
    ) -> Option<Action> {
        self.stage = Stage::Idle;
        self.retry_ms = clock_ms + RETRY_PAUSE_MS;
        applied.then_some(Action::AnnounceAborted(id))
    }

    /// A sink subtask has committed everything that this checkpoint lists for it.
    pub(crate) fn sink_committed(&mut self, id: CheckpointId, task: &TaskId) {
        if self.announced_id != Some(id) || !self.committing.remove(task) {
            return;
        }
        if self.committing.is_empty() {
            self.committed = self.committed.max(Some(id));
        }
    }

    /// Announces the latest completed checkpoint to every session that has not been told: also after
    /// a takeover, so that sinks commit what an earlier leader could not tell them.
    fn announce(&mut self, look: &Look<'_>) -> Vec<Action> {
        let Some(latest) = &look.job.latest else {
            return Vec::new();
        };
        if self.announced_id != Some(latest.id) {
            self.announced_id = Some(latest.id);
            self.announced.clear();
            self.committing = self.sinks.clone();
        }
        let mut actions = Vec::new();
        for (worker, session) in look.present {
            if self.announced.insert((worker.clone(), *session)) {
                let (id, path) = (latest.id, latest.path.clone());
                actions.push(Action::AnnounceCompleted {
                    id,
                    path,
                    worker: worker.clone(),
                });
            }
        }
        actions
    }

    /// The last checkpoint's commit ends the job, so it is reported at once; others travel with the
    /// next completion.
    fn report_committed(&mut self, look: &Look<'_>) -> Option<Action> {
        let last = look.job.final_checkpoint?;
        let nothing_to_commit = self.sinks.is_empty();
        let committed = self.committed >= Some(last) || nothing_to_commit;
        if !committed || self.reporting || look.job.committed_through >= Some(last) {
            return None;
        }
        self.reporting = true;
        Some(Action::SinksCommitted(last))
    }

    /// All sinks have committed the checkpoint that was announced last.
    pub(crate) fn all_committed(&self) -> bool {
        self.announced_id.is_some() && self.committed >= self.announced_id
    }

    /// The checkpoint that workers may be writing.
    pub(crate) fn pending_id(&self) -> Option<CheckpointId> {
        match &self.stage {
            Stage::Collecting(pending, _) | Stage::Completing(pending) => Some(pending.id),
            Stage::Idle | Stage::Beginning | Stage::Aborting => None,
        }
    }

    /// `SinksCommitted` was refused or its outcome is unknown: report again.
    pub(crate) fn not_reported(&mut self) {
        self.reporting = false;
    }
}

fn timeout_ms(graph: &JobGraph) -> u64 {
    graph
        .checkpointing
        .as_ref()
        .map_or(TIMEOUT_DEFAULT_MS, |config| config.timeout_ms)
}

/// Whether the tasks wait for a fresh checkpoint to leave a drained worker.
fn must_move(look: &Look<'_>) -> bool {
    let drained = look.drained_at_ms.filter(|_| !look.all_finished);
    drained.is_some_and(|at_ms| !look.job.has_checkpoint_since(at_ms))
}

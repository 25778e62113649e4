//! Where the leader and its workers' sessions meet: sessions report here, reconcilers order here.
//!
//! Holds what was seen (`seen.rs`) and the open sessions' outgoing queues behind one lock that is never
//! held over an await. Decides nothing: it stores, routes, and wakes whoever may have to look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regent_ha::{Announcer, Listener};
use regent_protocol::v1;
use regent_protocol::v1::leader_message::Message as Order;
use regent_state::ids::{Epoch, JobId, WorkerRef};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

use super::figures::Figures;
use super::seen::{Moment, Phase, Seen, WorkerSeen};
use crate::config::Workers;
use crate::wire::{self, AttemptRef, TaskId};

/// Orders that may wait in one session; a worker that doesn't take them is disconnected.
const ORDERS_MAX: usize = 4_096;
/// Events for the checkpoint coordinators that may wait.
const EVENTS_MAX: usize = 16_384;
/// Heartbeats that may fail to come, and the least time for that: a busy machine is no dead one.
const SILENT_BEATS: u32 = 4;
const SILENCE_MIN: Duration = Duration::from_secs(2);
/// Path inspections that may be outstanding.
const INSPECTIONS_MAX: usize = 256;

/// The outgoing half of a session.
pub(crate) type Outgoing = mpsc::Sender<Result<v1::LeaderMessage, Status>>;
/// The stream's end of that half.
pub(crate) type Orders = mpsc::Receiver<Result<v1::LeaderMessage, Status>>;

/// What the checkpoint coordinators are told by workers.
#[derive(Debug)]
pub(crate) enum CheckpointEvent {
    Ack(Box<v1::CheckpointAck>),
    Declined(v1::CheckpointDeclined),
    SinkCommitted(v1::SinkCommitted),
}

/// An open session as its task knows it.
#[derive(Debug, Clone)]
pub(crate) struct SessionKey {
    pub(crate) worker: WorkerRef,
    pub(crate) session: u64,
}

struct Inner {
    seen: Seen,
    outgoing: BTreeMap<String, (u64, Outgoing)>,
    figures: Figures,
    inspections: BTreeMap<u64, oneshot::Sender<v1::PathsInspected>>,
    commits: Vec<v1::CommitOnlyDone>,
    /// Why output of an ended job is not committed yet.
    commit_problems: BTreeMap<JobId, String>,
    sessions: u64,
    requests: u64,
    closed: bool,
}

/// The meeting place of one reign.
pub(crate) struct Hub {
    epoch: Epoch,
    lease: Duration,
    /// A session over which nothing comes for this long counts as broken.
    silence: Duration,
    began: Instant,
    inner: Mutex<Inner>,
    /// Jobs of whose tasks something was seen.
    changes: Announcer<JobId>,
    events: mpsc::Sender<CheckpointEvent>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// The hub of this reign, and the queue of what workers tell the checkpoint coordinators.
    pub(crate) fn new(
        epoch: Epoch,
        began: Instant,
        workers: &Workers,
    ) -> (Self, mpsc::Receiver<CheckpointEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let inner = Inner {
            seen: Seen::default(),
            outgoing: BTreeMap::new(),
            figures: Figures::default(),
            inspections: BTreeMap::new(),
            commits: Vec::new(),
            commit_problems: BTreeMap::new(),
            sessions: 0,
            requests: 0,
            closed: false,
        };
        let hub = Self {
            epoch,
            lease: workers.lease,
            silence: (workers.heartbeat * SILENT_BEATS).max(SILENCE_MIN),
            began,
            inner: Mutex::new(inner),
            changes: Announcer::default(),
            events,
        };
        (hub, receiver)
    }

    /// Tells of everything seen from now on that may call for a deed.
    pub(crate) fn changes(&self) -> Listener<JobId> {
        self.changes.subscribe()
    }

    // A panic while the lock was held left plain data behind that is still consistent.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since this reign began.
    pub(crate) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// What has been seen so far; a clone that shares the bulky parts.
    pub(crate) fn seen(&self) -> Seen {
        let now = self.now();
        self.lock().seen.shown(now, self.silence)
    }

    /// Latest figures of the tasks of an attempt; of one that is over they are kept for a while.
    pub(crate) fn metrics_of(&self, attempt: &AttemptRef) -> Vec<(TaskId, v1::TaskMetrics)> {
        self.lock().figures.of(attempt)
    }

    /// Closes every session and accepts none from now on: the reign is over.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for (_, (_, outgoing)) in std::mem::take(&mut inner.outgoing) {
            // If the queue is full the stream just ends when the sender goes.
            outgoing.try_send(Err(not_leading())).ok();
        }
        inner.inspections.clear();
    }

    /// Opens a session, in place of an older one of that worker. The greeting is its first order.
    pub(crate) fn open(
        &self,
        register: &v1::Register,
        tasks: super::seen::Tasks,
        greeting: v1::Registered,
    ) -> Result<(SessionKey, Orders), Status> {
        let worker = WorkerRef {
            worker: register.worker_id.clone(),
            incarnation: register.incarnation,
        };
        let (outgoing, orders) = mpsc::channel(ORDERS_MAX);
        // The queue is new and empty, so the greeting always fits.
        outgoing
            .try_send(Ok(self.order(Order::Registered(greeting))))
            .ok();
        let now = self.now();
        let mut inner = self.lock();
        if inner.closed {
            return Err(not_leading());
        }
        let new = worker_seen(register, inner.sessions + 1, now, tasks);
        if let Some(why) = inner.seen.refuses(&worker.worker, &new, now, self.lease) {
            return Err(Status::failed_precondition(format!(
                "worker {worker}: {why}; if two workers share this id, give one another worker-id"
            )));
        }
        inner.sessions += 1;
        let session = inner.sessions;
        inner.seen.register(worker.worker.clone(), new);
        inner
            .outgoing
            .insert(worker.worker.clone(), (session, outgoing));
        drop(inner);
        self.changes.send_everything();
        Ok((SessionKey { worker, session }, orders))
    }

    /// The session's stream has ended, for whatever reason.
    pub(crate) fn broke(&self, key: &SessionKey) {
        let now = self.now();
        let mut inner = self.lock();
        inner.seen.broke(&key.worker.worker, key.session, now);
        let current = inner
            .outgoing
            .get(&key.worker.worker)
            .map(|(session, _)| *session);
        if current == Some(key.session) {
            inner.outgoing.remove(&key.worker.worker);
        }
        let Inner { seen, figures, .. } = &mut *inner;
        figures.end_unless(|attempt| seen.is_held(attempt));
        drop(inner);
        self.changes.send_everything();
    }

    /// Proof that this incarnation's last effect is past.
    pub(crate) fn died(&self, worker: WorkerRef) {
        let now = self.now();
        self.lock().seen.died(worker, now);
        self.changes.send_everything();
    }

    /// Anything arrived in that session.
    pub(crate) fn heard(&self, key: &SessionKey) {
        let now = self.now();
        if let Some(seen) = self
            .lock()
            .seen
            .session_mut(&key.worker.worker, key.session)
        {
            seen.last_heard = now;
        }
    }

    /// A heartbeat is about to be answered: the worker's lease may count from now at the latest.
    pub(crate) fn lease_granted(&self, key: &SessionKey) {
        let now = self.now();
        if let Some(seen) = self
            .lock()
            .seen
            .session_mut(&key.worker.worker, key.session)
        {
            seen.lease_from = now;
        }
    }

    /// Figures that came with a heartbeat; those of tasks that the worker never reported are ignored.
    pub(crate) fn measured(&self, key: &SessionKey, metrics: Vec<v1::TaskMetrics>) {
        let mut inner = self.lock();
        let Some(seen) = inner.seen.session_mut(&key.worker.worker, key.session) else {
            return;
        };
        let held = Arc::clone(&seen.tasks);
        for one in metrics {
            let attempt = wire::attempt_from(one.attempt.as_ref());
            let (Some(attempt), Some(task)) = (attempt, wire::task_from(one.task.as_ref())) else {
                continue;
            };
            if held
                .get(&attempt)
                .is_some_and(|tasks| tasks.contains_key(&task))
            {
                inner.figures.measured(attempt, task, one);
            }
        }
    }

    /// A task's state changed.
    pub(crate) fn task(&self, key: &SessionKey, report: &v1::TaskReport) {
        let Some((attempt, task, phase)) = read_report(report, self.now()) else {
            return;
        };
        let mut inner = self.lock();
        let Some(seen) = inner.seen.session_mut(&key.worker.worker, key.session) else {
            return;
        };
        let tasks = Arc::make_mut(&mut seen.tasks).entry(attempt).or_default();
        tasks.insert(task.clone(), phase);
        if let Some(last) = &report.metrics {
            inner.figures.measured(attempt, task, (**last).clone());
        }
        drop(inner);
        self.changes.send(&[attempt.job]);
    }

    /// Hands an event to the checkpoint coordinators; `false`: too many wait, the session must end so
    /// that its worker reports everything anew.
    pub(crate) fn checkpoint_event(&self, event: CheckpointEvent) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// An answer to `CommitOnly`.
    pub(crate) fn commit_done(&self, done: v1::CommitOnlyDone) {
        let job = done.job_id.parse::<JobId>();
        let mut inner = self.lock();
        if inner.commits.len() < EVENTS_MAX {
            inner.commits.push(done);
        }
        drop(inner);
        if let Ok(job) = job {
            self.changes.send(&[job]);
        }
    }

    /// For the user who asks why a result isn't clean.
    pub(crate) fn note_commit_problem(&self, job: JobId, cause: String) {
        self.lock().commit_problems.insert(job, cause);
    }

    /// Why the job's output is not committed yet, if that failed.
    pub(crate) fn commit_problem(&self, job: JobId) -> Option<String> {
        self.lock().commit_problems.get(&job).cloned()
    }

    /// Forgets the problems of jobs for which this doesn't hold.
    pub(crate) fn keep_commit_problems(&self, wanted: impl Fn(JobId) -> bool) {
        self.lock().commit_problems.retain(|job, _| wanted(*job));
    }

    /// Takes the answers to `CommitOnly` that came since the last call.
    pub(crate) fn take_commits(&self) -> Vec<v1::CommitOnlyDone> {
        std::mem::take(&mut self.lock().commits)
    }

    /// Queues an order for that very incarnation; the session it went to, or `None` if it has none.
    pub(crate) fn send(&self, worker: &WorkerRef, order: Order) -> Option<u64> {
        let mut inner = self.lock();
        inner.seen.worker(worker).filter(|seen| seen.present())?;
        let (session, outgoing) = inner.outgoing.get(&worker.worker)?.clone();
        if outgoing.try_send(Ok(self.order(order))).is_ok() {
            return Some(session);
        }
        // Full or closed: without this session's queue its stream ends and the worker comes again.
        inner.outgoing.remove(&worker.worker);
        None
    }

    /// Answers a heartbeat in the session that it came in; never in a later one, where the same number
    /// belongs to a heartbeat that was sent after the round that confirmed this one.
    pub(crate) fn answer(&self, key: &SessionKey, sequence: u64) {
        let inner = self.lock();
        let Some((session, outgoing)) = inner.outgoing.get(&key.worker.worker) else {
            return;
        };
        if *session == key.session {
            let beat = Order::Heartbeat(v1::HeartbeatAnswer { sequence });
            // A queue that is full ends the session with the next order.
            outgoing.try_send(Ok(self.order(beat))).ok();
        }
    }

    /// Ends the worker's session: it comes again and reports everything it holds.
    pub(crate) fn disconnect(&self, worker: &WorkerRef) {
        let mut inner = self.lock();
        if inner.seen.worker(worker).is_some() {
            inner.outgoing.remove(&worker.worker);
        }
    }

    fn order(&self, order: Order) -> v1::LeaderMessage {
        v1::LeaderMessage {
            epoch: Some(wire::epoch_to(self.epoch)),
            message: Some(order),
        }
    }

    /// Ended tasks that the worker was told to forget.
    pub(crate) fn forgotten(&self, worker: &WorkerRef, attempts: &[AttemptRef]) {
        let mut inner = self.lock();
        inner.figures.ended(attempts);
        let Some(seen) = inner.seen.workers.get_mut(&worker.worker) else {
            return;
        };
        if seen.incarnation == worker.incarnation {
            Arc::make_mut(&mut seen.tasks).retain(|attempt, _| !attempts.contains(attempt));
        }
        drop(inner);
        // Their slots are free: jobs that wait for room are looked at with these.
        let jobs: Vec<JobId> = attempts.iter().map(|attempt| attempt.job).collect();
        self.changes.send(&jobs);
    }

    /// Asks a worker to look at paths; the answer comes through the receiver.
    pub(crate) fn inspect(
        &self,
        worker: &WorkerRef,
        vertices: Vec<v1::VertexPlan>,
    ) -> Option<oneshot::Receiver<v1::PathsInspected>> {
        let order = v1::InspectPaths {
            vertices,
            ..v1::InspectPaths::default()
        };
        self.ask(worker, order)
    }

    /// Asks a worker's own code what it makes of these vertices.
    pub(crate) fn describe(
        &self,
        worker: &WorkerRef,
        describe: Vec<v1::OwnVertex>,
    ) -> Option<oneshot::Receiver<v1::PathsInspected>> {
        let order = v1::InspectPaths {
            describe,
            ..v1::InspectPaths::default()
        };
        self.ask(worker, order)
    }

    fn ask(
        &self,
        worker: &WorkerRef,
        mut order: v1::InspectPaths,
    ) -> Option<oneshot::Receiver<v1::PathsInspected>> {
        let (sender, receiver) = oneshot::channel();
        let request = {
            let mut inner = self.lock();
            inner.inspections.retain(|_, waiting| !waiting.is_closed());
            if inner.inspections.len() >= INSPECTIONS_MAX {
                return None;
            }
            inner.requests += 1;
            let request = inner.requests;
            inner.inspections.insert(request, sender);
            request
        };
        order.request = request;
        self.send(worker, Order::Inspect(order))?;
        Some(receiver)
    }

    /// An answer to `inspect`.
    pub(crate) fn inspected(&self, answer: v1::PathsInspected) {
        let waiting = self.lock().inspections.remove(&answer.request);
        if let Some(waiting) = waiting {
            // Whoever asked may have given up.
            waiting.send(answer).ok();
        }
    }
}

/// The refusal that tells a worker to look for the leader again.
pub(crate) fn not_leading() -> Status {
    Status::failed_precondition("this JobManager does not lead")
}

fn worker_seen(
    register: &v1::Register,
    session: u64,
    now: Duration,
    tasks: super::seen::Tasks,
) -> WorkerSeen {
    WorkerSeen {
        incarnation: register.incarnation,
        machine_id: register.machine_id.clone(),
        data_dir: register.data_dir.clone(),
        slots: register.slots,
        data_address: register.data_address.clone(),
        offers: Arc::from(register.offers.as_slice()),
        session,
        broke_at: None,
        dead: false,
        last_heard: now,
        lease_from: now,
        tasks: Arc::new(tasks),
    }
}

/// Reads a task's report; `None` if it names no task of an attempt.
pub(crate) fn read_report(
    report: &v1::TaskReport,
    at: Moment,
) -> Option<(AttemptRef, TaskId, Phase)> {
    let attempt = wire::attempt_from(report.attempt.as_ref())?;
    let task = wire::task_from(report.task.as_ref())?;
    let phase = match report.phase() {
        v1::TaskPhase::Unspecified => return None,
        v1::TaskPhase::Deploying | v1::TaskPhase::Running | v1::TaskPhase::Finished
            if report.stuck =>
        {
            Phase::Stuck {
                cause: report.cause.clone(),
                at,
            }
        }
        v1::TaskPhase::Deploying => Phase::Deploying,
        v1::TaskPhase::Running => Phase::Running,
        v1::TaskPhase::Finished => Phase::Finished,
        v1::TaskPhase::Failed => Phase::Failed {
            cause: report.cause.clone(),
            kind: report.failure_kind.clone(),
            at,
        },
        v1::TaskPhase::Canceled => Phase::Canceled,
    };
    Some((attempt, task, phase))
}

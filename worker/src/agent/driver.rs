//! The hands of [`SessionPlan`]: feeds it what happens and does what it says, in order. The only
//! decisions here are how to do a thing, never whether.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use regent_protocol::v1::leader_message::Message as Order;
use regent_protocol::v1::worker_message::Message as Report;
use regent_protocol::v1::{
    AttemptKey, Deploy, Goodbye, Heartbeat, InspectPaths, LeaderView, Register, TaskReport,
};
use regent_security::Dialer;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::deployment::failed_reports;
use super::error::WorkerError;
use super::lease::{Lease, boottime};
use super::lease_guard::LeaseGuard;
use super::memory::Memory;
use super::session::{Numbered, Session};
use super::session_plan::SessionPlan;
use super::session_words::{Action, Facts, Input, Target};
use super::status::Status;
use crate::engine::{Engine, EngineEvent};

/// Heartbeats, retries and timeouts are at most this late.
const TICK: Duration = Duration::from_millis(50);
/// Tasks get this long to end when the worker shuts down.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// The leader gets this long to read the goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Path inspections that run at once; more wait for their turn.
const INSPECTIONS: usize = 4;

/// What the driver works with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Connections to JobManagers.
    pub(crate) dialer: Dialer,
    /// The machine.
    pub(crate) plan: SessionPlan,
    /// Who this worker is, as it registers.
    pub(crate) base: Register,
    /// The tasks.
    pub(crate) engine: Engine,
    /// The right to act.
    pub(crate) lease: Arc<Lease>,
    /// Stops everything when that is over.
    pub(crate) guard: LeaseGuard,
    /// What must survive a restart.
    pub(crate) memory: Memory,
    /// What the pages show.
    pub(crate) status: Arc<Status>,
}

/// Where things come from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Who leads.
    pub(crate) views: mpsc::Receiver<LeaderView>,
    /// What tasks report.
    pub(crate) events: mpsc::Receiver<EngineEvent>,
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Driver {
    parts: Parts,
    sources: Sources,
    session: Option<Session>,
    sessions: u64,
    inbox: mpsc::Receiver<Numbered>,
    inbox_sender: mpsc::Sender<Numbered>,
    inspections: Arc<Semaphore>,
    /// Inputs that doing an action brought about.
    follow_ups: VecDeque<Input>,
}

impl Driver {
    /// Without session.
    pub(crate) fn new(parts: Parts, sources: Sources) -> Self {
        let (inbox_sender, inbox) = mpsc::channel(1024);
        Self {
            parts,
            sources,
            session: None,
            sessions: 0,
            inbox,
            inbox_sender,
            inspections: Arc::new(Semaphore::new(INSPECTIONS)),
            follow_ups: VecDeque::new(),
        }
    }

    /// Works until `shutdown`, then stops all tasks and says goodbye.
    pub(crate) async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), WorkerError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let input = tokio::select! {
                () = &mut shutdown => return self.close().await,
                _ = ticks.tick() => Input::Tick,
                input = self.next() => input?,
            };
            self.step(input).await?;
        }
    }

    /// The next thing that happened to the present session or the tasks.
    async fn next(&mut self) -> Result<Input, WorkerError> {
        loop {
            let (number, input) = tokio::select! {
                Some(numbered) = self.inbox.recv() => numbered,
                Some(view) = self.sources.views.recv() => (0, Input::View(view)),
                event = self.sources.events.recv() => match event {
                    Some(event) => (0, Input::Engine(self.explain(event))),
                    None => return Err(WorkerError::Ended("engine")),
                },
            };
            let present = self.session.as_ref().map(Session::number);
            if number == 0 || Some(number) == present {
                return Ok(input);
            }
        }
    }

    async fn step(&mut self, input: Input) -> Result<(), WorkerError> {
        self.follow_ups.push_back(input);
        while let Some(input) = self.follow_ups.pop_front() {
            log_input(&input);
            let facts = self.facts();
            for action in self.parts.plan.handle(input, facts) {
                self.act(action).await?;
            }
        }
        let plan = &self.parts.plan;
        self.parts.status.update(|shown| {
            shown.stepped_at = boottime();
            shown.registered = plan.is_registered();
            shown.counters = plan.counters();
            shown.reports_dropped = plan.reports_dropped();
        });
        Ok(())
    }

    fn facts(&self) -> Facts {
        Facts {
            now: boottime(),
            lease_holds: self.parts.lease.holds(),
            lease_lapsed: self.parts.lease.lapsed(),
            chance: rand::random(),
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), WorkerError> {
        let engine = &self.parts.engine;
        match action {
            Action::Connect(target) => self.connect(target),
            Action::Disconnect => self.session = None,
            Action::Remember(fence) => {
                let cluster_id = fence.cluster_id.clone();
                self.parts.memory.write(fence).await?;
                self.parts
                    .status
                    .update(|shown| shown.cluster_id = cluster_id);
            }
            Action::ObserveEpoch(epoch) => engine.observe_epoch(&epoch),
            Action::StopAll(why) => self.stop_all(why),
            Action::ForgetAll => {
                let attempts = self.held_attempts();
                self.forget(&attempts);
            }
            Action::AbortAlignments => engine.abort_alignments(),
            Action::Grant { sent_at, length } => {
                // Refused when it ran out meanwhile: the next step sees that and stops everything.
                self.parts.lease.grant(sent_at, length);
                self.follow_ups.push_back(Input::Tick);
            }
            Action::ClearLease => self.parts.lease.clear(),
            Action::Heartbeat(sequence) => self.heartbeat(sequence),
            Action::Send(report) => self.send(report),
            Action::Order(order) => self.obey(order),
        }
        Ok(())
    }

    fn connect(&mut self, target: Target) {
        let held = self.parts.engine.held_tasks();
        let held = held
            .into_iter()
            .map(|report| self.parts.guard.explain(report))
            .collect();
        let register = self.parts.plan.register(&self.parts.base, held);
        self.sessions += 1;
        tracing::info!(
            session = self.sessions,
            leader = target.api,
            term = target.epoch.term,
            tasks = register.tasks.len(),
            "registering"
        );
        let inbox = self.inbox_sender.clone();
        let dialer = self.parts.dialer.clone();
        let to = (target.api, register);
        self.session = Some(Session::open(self.sessions, dialer, to, inbox));
    }

    fn stop_all(&self, why: &'static str) {
        tracing::warn!(why, "stopping_every_task");
        self.parts.engine.stop_all();
        let (engine, inbox) = (self.parts.engine.clone(), self.inbox_sender.clone());
        tokio::spawn(async move {
            engine.stopped().await;
            // A closed inbox means that the driver has ended: nobody waits for this.
            let _ = inbox.send((0, Input::Stopped)).await;
        });
    }

    fn heartbeat(&mut self, sequence: u64) {
        let metrics = self.parts.engine.metrics();
        let stuck = self.parts.engine.stuck() as u64;
        self.parts.status.update(|shown| {
            shown.tasks.clone_from(&metrics);
            shown.stuck = stuck;
        });
        for report in self.parts.engine.newly_stuck() {
            let task = report.task.as_ref().map(ToString::to_string);
            tracing::error!(task, cause = report.cause, "task_stuck");
            self.follow_ups
                .push_back(Input::Engine(EngineEvent::Task(report)));
        }
        for report in self.parts.engine.newly_slow() {
            let task = report.task.as_ref().map(ToString::to_string);
            tracing::info!(task, "task_still_starts");
            self.follow_ups
                .push_back(Input::Engine(EngineEvent::Task(report)));
        }
        self.send(Report::Heartbeat(Heartbeat { sequence, metrics }));
    }

    fn send(&mut self, report: Report) {
        let Some(session) = &self.session else {
            return;
        };
        if !session.send(report) {
            self.follow_ups
                .push_back(Input::Ended("the leader doesn't read".to_owned()));
        }
    }

    fn obey(&mut self, order: Order) {
        let engine = &self.parts.engine;
        match order {
            Order::Deploy(order) => self.deploy(order),
            Order::Cancel(order) => {
                if let Some(attempt) = &order.attempt {
                    engine.cancel(attempt);
                }
            }
            Order::Trigger(order) => engine.trigger(order),
            Order::Completed(order) => engine.completed(order),
            Order::Aborted(order) => engine.aborted(order),
            Order::CommitOnly(order) => engine.commit_only(order),
            Order::Forget(order) => self.forget(&order.attempts),
            Order::Inspect(order) => self.inspect(order),
            Order::Registered(_) | Order::Heartbeat(_) | Order::Refused(_) => {}
        }
    }

    fn deploy(&mut self, order: Deploy) {
        let Err(cause) = self.parts.engine.deploy(order.clone()) else {
            return;
        };
        tracing::warn!(job = order.job_name, cause, "deployment_refused");
        let base = &self.parts.base;
        let reports = failed_reports(&order, &base.worker_id, base.incarnation, &cause);
        let inputs = reports
            .into_iter()
            .map(|r| Input::Engine(EngineEvent::Task(r)));
        self.follow_ups.extend(inputs);
    }

    fn inspect(&self, order: InspectPaths) {
        let Some(number) = self.session.as_ref().map(Session::number) else {
            return;
        };
        let (engine, inbox) = (self.parts.engine.clone(), self.inbox_sender.clone());
        let inspections = Arc::clone(&self.inspections);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _turn = inspections.acquire().await;
            let inspected = engine.inspect(order).await;
            // A closed inbox means that the driver has ended: nobody waits for this.
            let _ = inbox.send((number, Input::Inspected(inspected))).await;
        });
    }

    fn forget(&self, attempts: &[AttemptKey]) {
        self.parts.engine.forget(attempts);
        self.parts.guard.forget(attempts);
    }

    fn held_attempts(&self) -> Vec<AttemptKey> {
        let held: Vec<TaskReport> = self.parts.engine.held_tasks();
        let mut attempts: Vec<AttemptKey> = held.into_iter().filter_map(|r| r.attempt).collect();
        attempts.dedup();
        attempts
    }

    fn explain(&self, event: EngineEvent) -> EngineEvent {
        match event {
            EngineEvent::Task(report) => EngineEvent::Task(self.parts.guard.explain(report)),
            other => other,
        }
    }

    /// Stops all tasks and, once the last effect has ended, gives the leader proof of it.
    async fn close(mut self) -> Result<(), WorkerError> {
        self.parts.plan.close();
        self.parts.engine.stop_all();
        let engine = self.parts.engine.clone();
        let drained = self.drain_until(async move { engine.stopped().await });
        let ended = timeout(STOP_WITHIN, drained).await;
        self.parts.lease.give_up();
        let registered = self.parts.plan.is_registered();
        match (ended, self.session.take()) {
            (Ok(Ok(())), Some(session)) if registered => {
                session
                    .finish(Report::Goodbye(Goodbye {}), GOODBYE_WITHIN)
                    .await;
                tracing::info!("goodbye");
            }
            (Ok(Ok(())), _) => tracing::info!("stopped without a leader to tell"),
            (Ok(Err(error)), _) => return Err(error),
            (Err(_), _) => tracing::warn!("tasks didn't end in time; no goodbye"),
        }
        Ok(())
    }

    /// Goes on taking inputs (the queues of tasks are bounded) until `done`.
    async fn drain_until(&mut self, done: impl Future<Output = ()>) -> Result<(), WorkerError> {
        let mut done = std::pin::pin!(done);
        let mut ticks = interval(TICK);
        loop {
            let input = tokio::select! {
                () = &mut done => return Ok(()),
                _ = ticks.tick() => Input::Tick,
                input = self.next() => input?,
            };
            self.step(input).await?;
        }
    }
}

fn log_input(input: &Input) {
    match input {
        Input::Ended(reason) => tracing::info!(reason, "session_ended"),
        Input::Message(message) => match &message.message {
            Some(Order::Registered(answer)) => {
                tracing::info!(cluster = answer.cluster_id, "registered");
            }
            Some(Order::Refused(refused)) => {
                tracing::warn!(
                    reason = refused.reason,
                    stop = refused.stop_tasks,
                    "refused"
                );
            }
            _ => {}
        },
        _ => {}
    }
}

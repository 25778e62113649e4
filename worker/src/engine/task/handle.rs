//! What others hold of a task: its command queue, its kill switch and its status.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use regent_protocol::units::format_duration;
use regent_protocol::v1::{AttemptKey, TaskMetrics, TaskPhase, TaskReport};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::error::TaskError;
use crate::engine::ids::TaskId;
use crate::engine::memory::TaskMemory;
use crate::engine::meter::{Meter, Seen};

/// Commands that wait while a task is busy.
pub(crate) const COMMANDS_MAX: usize = 256;

/// A task that prepares for so long tells that it does: its leader would else think that it was never begun.
const SLOW_START: Duration = Duration::from_secs(5);

/// What a task is told. The order of a trigger lies with the attempt's orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Trigger(u64),
    Completed(u64),
    Aborted(u64),
    AbortAlignments,
}

/// Why a task is ended from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kill {
    Cancel,
    Fail(TaskError),
}

/// Ends a task whatever it waits for. The first reason counts.
#[derive(Debug, Default)]
pub(crate) struct KillSwitch {
    why: OnceLock<Kill>,
    at: OnceLock<Instant>,
    fired: CancellationToken,
}

impl KillSwitch {
    pub(crate) fn kill(&self, why: Kill) {
        // A second reason changes nothing.
        let _ = self.why.set(why);
        let _ = self.at.set(Instant::now());
        self.fired.cancel();
    }

    /// How long ago it was fired, and why.
    fn since(&self) -> Option<(Duration, &Kill)> {
        Some((self.at.get()?.elapsed(), self.why.get()?))
    }

    /// Waits for the reason.
    pub(crate) async fn fired(&self) -> Kill {
        self.fired.cancelled().await;
        self.why.get().cloned().unwrap_or(Kill::Cancel)
    }
}

#[derive(Debug)]
struct Told {
    phase: TaskPhase,
    cause: String,
    kind: &'static str,
}

/// A task's phase as it is reported.
#[derive(Debug)]
pub(crate) struct Status {
    told: Mutex<Told>,
    pending: AtomicU32,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            told: Mutex::new(Told {
                phase: TaskPhase::Deploying,
                cause: String::new(),
                kind: "",
            }),
            pending: AtomicU32::new(0),
        }
    }
}

impl Status {
    pub(crate) fn set(&self, phase: TaskPhase, error: Option<&TaskError>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.phase = phase;
        told.cause = error.map(ToString::to_string).unwrap_or_default();
        told.kind = error.map_or("", TaskError::kind);
    }

    /// Transactions that aren't committed.
    pub(crate) fn set_pending(&self, pending: u32) {
        self.pending.store(pending, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> TaskPhase {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .phase
    }

    pub(crate) fn report(&self, attempt: &AttemptKey, task: &TaskId) -> TaskReport {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        TaskReport {
            attempt: Some(attempt.clone()),
            task: Some(task.key()),
            phase: told.phase.into(),
            cause: told.cause.clone(),
            pending_transactions: self.pending.load(Ordering::Relaxed),
            failure_kind: told.kind.to_owned(),
            stuck: false,
            metrics: None,
        }
    }
}

/// One task as its attempt holds it.
#[derive(Debug)]
pub(crate) struct TaskHandle {
    pub(crate) id: TaskId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) kill: Arc<KillSwitch>,
    pub(crate) status: Arc<Status>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) memory: Arc<TaskMemory>,
    /// Cancelled when the task is over and has reported it.
    pub(crate) ended: CancellationToken,
    made: Instant,
    seen: Mutex<Seen>,
    told_slow: AtomicBool,
    told_stuck: AtomicBool,
}

impl TaskHandle {
    /// A handle and the receiving end of its commands.
    pub(crate) fn new(id: TaskId, memory: Arc<TaskMemory>) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let handle = Self {
            id,
            commands,
            kill: Arc::default(),
            status: Arc::default(),
            meter: Arc::default(),
            memory,
            ended: CancellationToken::new(),
            made: Instant::now(),
            seen: Mutex::default(),
            told_slow: AtomicBool::new(false),
            told_stuck: AtomicBool::new(false),
        };
        (handle, receiver)
    }

    /// Tells the task. One that hasn't listened for so long that its queue is full can't go on
    /// correctly, and is failed.
    pub(crate) fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.commands.try_send(command) {
            let error = TaskError::task(format!("{COMMANDS_MAX} commands wait for the task"));
            self.kill.kill(Kill::Fail(error));
        }
    }

    /// It was told to end at least so long ago and hasn't: its code holds a thread and doesn't come back.
    pub(crate) fn is_stuck(&self, within: Duration) -> bool {
        let since = self.kill.since();
        !self.ended.is_cancelled() && since.is_some_and(|(since, _)| since >= within)
    }

    /// How the task stands. `within`: how long it may take to end.
    pub(crate) fn report(&self, attempt: &AttemptKey, within: Duration) -> TaskReport {
        let mut report = self.status.report(attempt, &self.id);
        if self.is_stuck(within) {
            let why = match self.kill.since() {
                Some((_, Kill::Fail(error))) => format!("it failed ({error})"),
                _ => "it was cancelled".to_owned(),
            };
            report.stuck = true;
            report.failure_kind = "stuck".to_owned();
            report.cause = format!(
                "{why} and doesn't end within task-cancellation-timeout ({}); its slot isn't used again \
                 until its worker is restarted",
                format_duration(within)
            );
        }
        report
    }

    /// The leader was told that it is stuck, and counts on its slot no more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.told_stuck.load(Ordering::Relaxed) && !self.ended.is_cancelled()
    }

    /// The report of a task that has become stuck since the last question.
    pub(crate) fn newly_stuck(&self, attempt: &AttemptKey, within: Duration) -> Option<TaskReport> {
        let newly = self.is_stuck(within) && !self.told_stuck.swap(true, Ordering::Relaxed);
        newly.then(|| self.report(attempt, within))
    }

    /// The report of a task that turns out to start slowly: it restores much, or waits for what it reads.
    pub(crate) fn newly_slow(&self, attempt: &AttemptKey) -> Option<TaskReport> {
        let slow = self.status.phase() == TaskPhase::Deploying && self.made.elapsed() >= SLOW_START;
        let newly = slow && !self.told_slow.swap(true, Ordering::Relaxed);
        let report = newly.then(|| self.status.report(attempt, &self.id))?;
        // It may have begun to run in between, and said so.
        (report.phase() == TaskPhase::Deploying).then_some(report)
    }

    pub(crate) fn metrics(&self, attempt: &AttemptKey) -> TaskMetrics {
        let mut metrics = TaskMetrics {
            attempt: Some(attempt.clone()),
            task: Some(self.id.key()),
            ..TaskMetrics::default()
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.meter.sample(&mut seen, &mut metrics);
        metrics.state_bytes = self.memory.state();
        metrics.buffer_bytes = self.memory.buffers();
        metrics
    }
}

//! Stops every task when the lease runs out, from a thread of its own: neither a busy runtime nor a
//! session that hangs can delay it. It also remembers whom it stopped, so that those tasks are
//! reported as failed by the lease and not as cancelled by an order.

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regent_protocol::v1::{AttemptKey, TaskPhase, TaskReport};

use super::lease::Lease;
use super::outbox::is_active;
use crate::engine::{Authority, Engine};

/// Effects check the lease themselves; this bounds how long a task without effects outlives it.
const EVERY: Duration = Duration::from_millis(100);

impl Authority for Lease {
    fn may_act(&self) -> bool {
        self.holds()
    }
}

type Tokens = Arc<Mutex<HashSet<(u64, u64)>>>;

/// The thread, and the attempts it stopped. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct LeaseGuard {
    stopped: Tokens,
    _alive: Sender<()>,
}

impl LeaseGuard {
    /// Starts the thread.
    pub(crate) fn start(lease: Arc<Lease>, engine: Engine) -> io::Result<Self> {
        let stopped = Tokens::default();
        let (alive, ended) = channel();
        let tokens = Arc::clone(&stopped);
        std::thread::Builder::new()
            .name("lease-guard".to_owned())
            .spawn(move || watch(&lease, &engine, &tokens, &ended))?;
        Ok(Self {
            stopped,
            _alive: alive,
        })
    }

    /// Gives a report of a task that the lease stopped its true cause.
    pub(crate) fn explain(&self, mut report: TaskReport) -> TaskReport {
        let token = report.attempt.as_ref().map(AttemptKey::token_rank);
        let ours = token.is_some_and(|token| self.tokens(|set| set.contains(&token)));
        if ours && report.phase() == TaskPhase::Canceled {
            report.set_phase(TaskPhase::Failed);
            report.failure_kind = "lease".to_owned();
            report.cause = "no leader answered for as long as the lease".to_owned();
        }
        report
    }

    /// The leader knows how these attempts ended.
    pub(crate) fn forget(&self, attempts: &[AttemptKey]) {
        self.tokens(|set| {
            for attempt in attempts {
                set.remove(&attempt.token_rank());
            }
        });
    }

    fn tokens<T>(&self, step: impl FnOnce(&mut HashSet<(u64, u64)>) -> T) -> T {
        step(&mut self.stopped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn watch(lease: &Lease, engine: &Engine, stopped: &Tokens, ended: &Receiver<()>) {
    while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        if lease.check() {
            let held = engine.held_tasks();
            let active = held.iter().filter(|report| is_active(report));
            let tokens = active
                .filter_map(|r| r.attempt.as_ref())
                .map(AttemptKey::token_rank);
            let mut set = stopped.lock().unwrap_or_else(PoisonError::into_inner);
            set.extend(tokens);
            tracing::warn!(tasks = set.len(), "lease_over: stopping every task");
            drop(set);
            engine.stop_all();
        }
    }
}

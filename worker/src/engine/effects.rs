//! External effects: blocking work on files, begun only while the worker's lease holds and counted,
//! so that a task says that it ended only after its last effect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::Authority;
use super::error::TaskError;
use super::remote::{Remote, is_remote};

/// A task that is cancelled waits this long for a file operation in progress (a sync on a slow
/// disk). What lands later is harmless: names are of the attempt's token and never used again.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// And this long for a write of its state, which may be large: a restart doesn't wait for it. What lands later is swept.
const STATE_DRAIN_MAX: Duration = Duration::from_millis(500);

/// The door to effects of one task or order.
#[derive(Clone)]
pub(crate) struct Effects {
    authority: Arc<dyn Authority>,
    remote: Option<Remote>,
    tracker: TaskTracker,
    /// Writes of state, which are waited for less long.
    states: TaskTracker,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects")
            .field("in_progress", &(self.tracker.len() + self.states.len()))
            .finish_non_exhaustive()
    }
}

impl Effects {
    pub(crate) fn new(authority: Arc<dyn Authority>) -> Self {
        Self {
            authority,
            remote: None,
            tracker: TaskTracker::new(),
            states: TaskTracker::new(),
        }
    }

    /// Effects that reach buckets as well.
    pub(crate) fn with_remote(authority: Arc<dyn Authority>, remote: Remote) -> Self {
        Self {
            remote: Some(remote),
            ..Self::new(authority)
        }
    }

    /// The door to buckets, for work that may wait.
    pub(crate) fn remote(&self) -> Result<Remote, TaskError> {
        let remote = self.remote.clone();
        remote.ok_or_else(|| TaskError::task("there is no object store here"))
    }

    /// Asked right before each effect.
    pub(crate) fn allowed(&self) -> Result<(), TaskError> {
        if self.authority.may_act() {
            Ok(())
        } else {
            Err(TaskError::Lease)
        }
    }

    /// Runs blocking work. The work asks [`Effects::allowed`] itself before each effect in it.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, TaskError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, TaskError> + Send + 'static,
    {
        let effects = self.clone();
        let running = self.tracker.spawn_blocking(move || work(&effects));
        match running.await {
            Ok(result) => result,
            Err(error) => Err(TaskError::task(format!("file work ended early: {error}"))),
        }
    }

    /// Runs the write of a state. Where it can't be taken back once begun, as on local files, it goes on when the
    /// caller goes away, and is waited for.
    pub(crate) async fn write_state<T: Send + 'static>(
        &self,
        path: &str,
        write: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, TaskError> {
        if is_remote(path) {
            return Ok(write.await);
        }
        let written = self.states.spawn(write).await;
        written.map_err(|error| TaskError::task(format!("the write ended early: {error}")))
    }

    /// Waits for the work in progress. False if it takes too long.
    pub(crate) async fn drain(&self) -> bool {
        self.drain_within(STATE_DRAIN_MAX).await
    }

    async fn drain_within(&self, states_max: Duration) -> bool {
        let work = wait(&self.tracker, DRAIN_MAX);
        let (work, states) = tokio::join!(work, wait(&self.states, states_max));
        work && states
    }
}

async fn wait(tracker: &TaskTracker, most: Duration) -> bool {
    tracker.close();
    tokio::time::timeout(most, tracker.wait()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    struct Switch(AtomicBool);
    impl Authority for Switch {
        fn may_act(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_dropped_effect_is_still_waited_for() {
        let authority = Arc::new(Switch(AtomicBool::new(true)));
        let effects = Effects::new(authority.clone());
        let (go, gate) = mpsc::channel::<()>();
        let mut work = Box::pin(effects.run(move |effects| {
            gate.recv().map_err(|e| TaskError::task(e.to_string()))?;
            effects.allowed()
        }));
        assert!(futures::poll!(work.as_mut()).is_pending());
        drop(work);
        let mut drained = Box::pin(effects.drain());
        assert!(futures::poll!(drained.as_mut()).is_pending());
        authority.0.store(false, Ordering::SeqCst);
        go.send(()).unwrap();
        assert!(drained.await);
        assert_eq!(effects.allowed(), Err(TaskError::Lease));
    }

    #[tokio::test]
    async fn a_state_that_is_written_when_its_task_ends_is_waited_for() {
        let effects = Effects::new(Arc::new(Switch(AtomicBool::new(true))));
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let mut local = Box::pin(effects.write_state("/c/chk-1/a", gate));
        assert!(futures::poll!(local.as_mut()).is_pending());
        drop(local);
        let (_never, gate) = tokio::sync::oneshot::channel::<()>();
        let mut in_bucket = Box::pin(effects.write_state("s3://b/c/chk-1/a", gate));
        assert!(futures::poll!(in_bucket.as_mut()).is_pending());
        drop(in_bucket);
        // With patience: how long is another test's matter.
        let mut drained = Box::pin(effects.drain_within(DRAIN_MAX));
        assert!(futures::poll!(drained.as_mut()).is_pending());
        go.send(()).unwrap();
        assert!(drained.await, "what goes to a bucket is taken back");
    }

    #[tokio::test]
    async fn a_state_that_takes_long_is_not_waited_for() {
        let effects = Effects::new(Arc::new(Switch(AtomicBool::new(true))));
        let mut stuck = Box::pin(effects.write_state("/c/chk-1/a", std::future::pending::<()>()));
        assert!(futures::poll!(stuck.as_mut()).is_pending());
        let drained = tokio::time::timeout(DRAIN_MAX, effects.drain()).await;
        assert_eq!(drained, Ok(false), "not as long as for other work");
    }
}

//! External effects: blocking work on files, begun only while the worker's lease holds and counted,
//! so that a task says that it ended only after its last effect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::Authority;
use super::error::TaskError;
use super::remote::Remote;

/// A task that is cancelled waits this long for a file operation in progress (a sync on a slow
/// disk). What lands later is harmless: names are of the attempt's token and never used again.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The door to effects of one task or order.
#[derive(Clone)]
pub(crate) struct Effects {
    authority: Arc<dyn Authority>,
    remote: Option<Remote>,
    tracker: TaskTracker,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects")
            .field("in_progress", &self.tracker.len())
            .finish_non_exhaustive()
    }
}

impl Effects {
    pub(crate) fn new(authority: Arc<dyn Authority>) -> Self {
        Self {
            authority,
            remote: None,
            tracker: TaskTracker::new(),
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

    /// Waits for the work in progress. False if it takes too long.
    pub(crate) async fn drain(&self) -> bool {
        self.tracker.close();
        tokio::time::timeout(DRAIN_MAX, self.tracker.wait())
            .await
            .is_ok()
    }
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
}

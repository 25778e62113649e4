//! What this worker holds: attempts by name, and the highest epoch that gave orders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use regent_protocol::v1::{AttemptKey, Epoch};
use tokio::sync::watch;

use super::attempt::Attempt;
use super::ids::AttemptId;

/// The highest epoch that orders came with.
#[derive(Debug, Default)]
pub(crate) struct EpochCell(Mutex<Option<Epoch>>);

impl EpochCell {
    pub(crate) fn observe(&self, epoch: &Epoch) {
        let mut highest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if highest.is_none_or(|highest| highest.rank() < epoch.rank()) {
            *highest = Some(*epoch);
        }
    }

    pub(crate) fn get(&self) -> Option<Epoch> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True unless a higher epoch than that is known here.
    pub(crate) fn admits(&self, epoch: Option<&Epoch>) -> bool {
        let highest = self.get().map(|e| e.rank());
        epoch.map(Epoch::rank) >= highest
    }
}

/// Attempts by name.
#[derive(Default)]
pub(crate) struct Registry {
    epoch: Arc<EpochCell>,
    attempts: Mutex<BTreeMap<AttemptId, Arc<Attempt>>>,
    changed: watch::Sender<u64>,
}

/// What became of a new attempt.
pub(crate) enum Added {
    /// It is registered; these attempts of the same job come before it.
    New {
        attempt: Arc<Attempt>,
        older: Vec<Arc<Attempt>>,
    },
    /// It was registered before.
    Known,
    /// A later attempt of the same job is known.
    Stale(AttemptId),
}

impl Registry {
    pub(crate) fn epoch(&self) -> &Arc<EpochCell> {
        &self.epoch
    }

    /// Registers an attempt that is made only if it is new.
    pub(crate) fn add(
        &self,
        id: &AttemptId,
        make: impl FnOnce() -> Result<Arc<Attempt>, String>,
    ) -> Result<Added, String> {
        let mut attempts = self.lock();
        if attempts.contains_key(id) {
            return Ok(Added::Known);
        }
        if let Some(later) = attempts.keys().find(|other| id.precedes(other)) {
            return Ok(Added::Stale(later.clone()));
        }
        let older = attempts.iter().filter(|(other, _)| other.precedes(id));
        let older = older.map(|(_, attempt)| attempt.clone()).collect();
        let attempt = make()?;
        attempts.insert(id.clone(), attempt.clone());
        drop(attempts);
        self.changed.send_modify(|version| *version += 1);
        Ok(Added::New { attempt, older })
    }

    pub(crate) fn get(&self, key: &AttemptKey) -> Option<Arc<Attempt>> {
        self.lock().get(&AttemptId::of(key)?).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Attempt>> {
        self.lock().values().cloned().collect()
    }

    /// Lets go of an attempt if all its tasks have ended.
    pub(crate) fn forget(&self, key: &AttemptKey) {
        let Some(id) = AttemptId::of(key) else {
            return;
        };
        let mut attempts = self.lock();
        if attempts.get(&id).is_some_and(|attempt| attempt.all_ended()) {
            attempts.remove(&id);
        }
    }

    /// The attempt, waited for if it isn't known yet.
    pub(crate) async fn await_attempt(
        &self,
        id: &AttemptId,
        within: Duration,
    ) -> Result<Arc<Attempt>, String> {
        let mut changed = self.changed.subscribe();
        let found = tokio::time::timeout(within, async {
            loop {
                if let Some(found) = self.find(id) {
                    return found;
                }
                // The sender lives as long as `self`.
                let _ = changed.changed().await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => Err(format!("{id} was not deployed here within {within:?}")),
        }
    }

    /// The attempt, or why it will never come.
    fn find(&self, id: &AttemptId) -> Option<Result<Arc<Attempt>, String>> {
        let attempts = self.lock();
        if let Some(attempt) = attempts.get(id) {
            return Some(Ok(attempt.clone()));
        }
        let later = attempts.keys().find(|other| id.precedes(other));
        later.map(|later| Err(format!("{id} is over, {later} is deployed here")))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Arc<Attempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

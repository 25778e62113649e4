//! Since when the disk has been busy with a snapshot, for whoever watches whether disks hang.
//!
//! Only single operations count (a chunk, a sync, a rename), never the time between them: a snapshot that
//! arrives slowly over the network is no sign of a bad disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Operations under way, by a number of their own. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Outstanding(Arc<Mutex<Operations>>);

#[derive(Debug, Default)]
struct Operations {
    next: u64,
    begun: BTreeMap<u64, Instant>,
}

/// An operation under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Operation {
    of: Outstanding,
    number: u64,
}

impl Outstanding {
    fn lock(&self) -> MutexGuard<'_, Operations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while the disk is asked.
    pub(super) fn begin(&self) -> Operation {
        let mut operations = self.lock();
        let number = operations.next;
        operations.next += 1;
        operations.begun.insert(number, Instant::now());
        drop(operations);
        Operation {
            of: self.clone(),
            number,
        }
    }

    /// When the oldest began that hasn't ended.
    pub(super) fn since(&self) -> Option<Instant> {
        self.lock().begun.values().min().copied()
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.of.lock().begun.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_ended_is_told() {
        let outstanding = Outstanding::default();
        assert_eq!(outstanding.since(), None);
        let first = outstanding.begin();
        let since = outstanding.since();
        assert!(since.is_some());
        let second = outstanding.begin();
        assert_eq!(outstanding.since(), since);
        drop(first);
        assert!(outstanding.since() >= since, "the second's");
        drop(second);
        assert_eq!(outstanding.since(), None);
    }
}

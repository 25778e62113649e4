//! Tells reconcilers which jobs something was seen of: bounded, merged, never waited for.
//!
//! The hub (`hub.rs`) announces, each reconciler has a mailbox. What isn't taken merges; beyond a bound it
//! becomes "look at everything". Hints of what was applied come apart from this, from the replica.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use regent_state::ids::JobId;
use tokio::sync::Notify;

/// Different jobs that one reconciler may have waiting.
const JOBS_MAX: usize = 65_536;

/// What something was seen of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Of a worker, or of more jobs than are listed: look at everything.
    pub(crate) all: bool,
    pub(crate) jobs: BTreeSet<JobId>,
}

impl Changed {
    fn is_empty(&self) -> bool {
        !self.all && self.jobs.is_empty()
    }
}

#[derive(Debug, Default)]
struct Mailbox {
    changed: Mutex<Changed>,
    wake: Notify,
}

impl Mailbox {
    // A panic while the lock was held left plain data behind that is still consistent.
    fn lock(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: Option<JobId>) {
        let mut changed = self.lock();
        match job {
            Some(job) if changed.jobs.len() < JOBS_MAX => {
                changed.jobs.insert(job);
            }
            Some(_) | None => changed.all = true,
        }
        drop(changed);
        self.wake.notify_one();
    }
}

/// The announcing end.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
}

impl Announcer {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Mailbox>>> {
        self.mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was seen that may concern every job.
    pub(crate) fn all(&self) {
        self.put(None);
    }

    /// Something was seen of this job's tasks.
    pub(crate) fn job(&self, job: JobId) {
        self.put(Some(job));
    }

    fn put(&self, job: Option<JobId>) {
        for mailbox in self.lock().iter().filter_map(Weak::upgrade) {
            mailbox.put(job);
        }
    }

    /// A new listener; it hears what is announced from now on.
    pub(crate) fn subscribe(&self) -> Changes {
        let mailbox = Arc::new(Mailbox::default());
        let mut mailboxes = self.lock();
        mailboxes.retain(|mailbox| mailbox.strong_count() > 0);
        mailboxes.push(Arc::downgrade(&mailbox));
        Changes { mailbox }
    }
}

/// A listener's end.
#[derive(Debug)]
pub(crate) struct Changes {
    mailbox: Arc<Mailbox>,
}

impl Changes {
    /// Waits until something was announced, then takes all of it. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Changed {
        loop {
            let changed = std::mem::take(&mut *self.mailbox.lock());
            if !changed.is_empty() {
                return changed;
            }
            self.mailbox.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u32) -> JobId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        JobId(id)
    }

    #[tokio::test]
    async fn what_is_not_taken_merges_and_each_listener_has_its_own() {
        let announcer = Announcer::default();
        let (mut one, mut other) = (announcer.subscribe(), announcer.subscribe());
        announcer.job(job(1));
        announcer.job(job(2));
        announcer.job(job(1));
        let both = BTreeSet::from([job(1), job(2)]);
        for listener in [&mut one, &mut other] {
            let changed = listener.next().await;
            assert_eq!((changed.all, changed.jobs), (false, both.clone()));
        }
        announcer.all();
        assert!(one.next().await.all);
    }

    #[tokio::test]
    async fn too_many_jobs_become_all_of_them() {
        let announcer = Announcer::default();
        let mut changes = announcer.subscribe();
        for number in 0..=u32::try_from(JOBS_MAX).unwrap() {
            announcer.job(job(number));
        }
        let changed = changes.next().await;
        assert!(changed.all);
        assert_eq!(changed.jobs.len(), JOBS_MAX);
    }
}

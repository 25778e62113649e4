//! Which jobs a reconciler looks at next: those for which something happened or is due. Pure; what a look
//! does is each reconciler's own.

use std::collections::{BTreeMap, BTreeSet};

use regent_state::ids::JobId;

/// Which jobs are to be looked at, with due times `T` of any one clock. Looking at one costs the same
/// however many there are.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    /// Something happened that only a look can act upon.
    touched: BTreeSet<JobId>,
    /// When something falls due by itself: in order, and for each job.
    due: BTreeSet<(T, JobId)>,
    due_of: BTreeMap<JobId, T>,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            touched: BTreeSet::new(),
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
        }
    }
}

impl<T: Ord + Copy> Agenda<T> {
    /// Something happened to these jobs.
    pub(crate) fn touch(&mut self, jobs: impl IntoIterator<Item = JobId>) {
        self.touched.extend(jobs);
    }

    /// Looks at the job at that moment, or never.
    pub(crate) fn set_due(&mut self, job: JobId, at: Option<T>) {
        if let Some(before) = self.due_of.remove(&job) {
            self.due.remove(&(before, job));
        }
        if let Some(at) = at {
            self.due_of.insert(job, at);
            self.due.insert((at, job));
        }
    }

    /// What was touched and what is due now; both are forgotten.
    pub(crate) fn take(&mut self, now: T) -> BTreeSet<JobId> {
        while let Some((at, job)) = self.due.first().copied() {
            if at > now {
                break;
            }
            self.set_due(job, None);
            self.touched.insert(job);
        }
        std::mem::take(&mut self.touched)
    }

    /// Whether something happened to a job that nobody has looked at since.
    pub(crate) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// When the next job is due.
    pub(crate) fn next_due(&self) -> Option<T> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u8) -> JobId {
        JobId([n; 16])
    }

    #[test]
    fn only_what_is_touched_or_due_is_taken_and_once() {
        let mut agenda = Agenda::<u64>::default();
        agenda.set_due(job(1), Some(100));
        agenda.set_due(job(2), Some(200));
        agenda.touch([job(3)]);
        assert_eq!(agenda.next_due(), Some(100));
        assert_eq!(agenda.take(99), BTreeSet::from([job(3)]));
        assert_eq!(agenda.take(100), BTreeSet::from([job(1)]));
        assert!(agenda.take(199).is_empty());
        assert_eq!(agenda.next_due(), Some(200));
    }

    #[test]
    fn a_later_word_replaces_the_earlier_one() {
        let mut agenda = Agenda::<u64>::default();
        agenda.set_due(job(1), Some(100));
        agenda.set_due(job(1), Some(300));
        assert!(agenda.take(200).is_empty());
        agenda.set_due(job(1), None);
        assert_eq!(agenda.next_due(), None);
        assert!(agenda.take(u64::MAX).is_empty());
    }
}

//! Which jobs the checkpoint coordinators look at next. Pure; what a look does is `plan.rs`'s.

use std::collections::{BTreeMap, BTreeSet};

use regent_state::ids::JobId;

/// Which jobs are to be looked at. Looking at one costs the same however many there are.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Something happened that only a look can act upon.
    touched: BTreeSet<JobId>,
    /// When something falls due by itself, by the machine's clock: in order, and for each job.
    due: BTreeSet<(u64, JobId)>,
    due_of: BTreeMap<JobId, u64>,
}

impl Agenda {
    /// Something happened to these jobs.
    pub(super) fn touch(&mut self, jobs: impl IntoIterator<Item = JobId>) {
        self.touched.extend(jobs);
    }

    /// Looks at the job at that moment, or never.
    pub(super) fn set_due(&mut self, job: JobId, at_ms: Option<u64>) {
        if let Some(before) = self.due_of.remove(&job) {
            self.due.remove(&(before, job));
        }
        if let Some(at_ms) = at_ms {
            self.due_of.insert(job, at_ms);
            self.due.insert((at_ms, job));
        }
    }

    /// What was touched and what is due now; both are forgotten.
    pub(super) fn take(&mut self, clock_ms: u64) -> BTreeSet<JobId> {
        while let Some((at_ms, job)) = self.due.first().copied() {
            if at_ms > clock_ms {
                break;
            }
            self.set_due(job, None);
            self.touched.insert(job);
        }
        std::mem::take(&mut self.touched)
    }

    /// When the next job is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
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
        let mut agenda = Agenda::default();
        agenda.set_due(job(1), Some(100));
        agenda.set_due(job(2), Some(200));
        agenda.touch([job(3)]);
        assert_eq!(agenda.next_ms(), Some(100));
        assert_eq!(agenda.take(99), BTreeSet::from([job(3)]));
        assert_eq!(agenda.take(100), BTreeSet::from([job(1)]));
        assert!(agenda.take(199).is_empty());
        assert_eq!(agenda.next_ms(), Some(200));
    }

    #[test]
    fn a_later_word_replaces_the_earlier_one() {
        let mut agenda = Agenda::default();
        agenda.set_due(job(1), Some(100));
        agenda.set_due(job(1), Some(300));
        assert!(agenda.take(200).is_empty());
        agenda.set_due(job(1), None);
        assert_eq!(agenda.next_ms(), None);
        assert!(agenda.take(u64::MAX).is_empty());
    }
}

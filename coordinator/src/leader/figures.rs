//! Figures of tasks, as their workers told them last; those of attempts that are over too, as far as there
//! is room. They are for people: a new leader begins without any.

use std::collections::{BTreeMap, BTreeSet};

use regent_protocol::v1::TaskMetrics;
use regent_state::ids::JobId;

use crate::wire::{AttemptRef, TaskId};

/// Tasks of attempts that are over whose figures are kept.
const ENDED_TASKS_MAX: usize = 8_192;

/// What tasks have told.
#[derive(Debug, Default)]
pub(super) struct Figures {
    latest: BTreeMap<(AttemptRef, TaskId), TaskMetrics>,
    /// Of each job the attempt that was over last.
    ended: BTreeMap<JobId, Ended>,
    /// The same jobs in the order in which their figures came here.
    order: BTreeMap<u64, JobId>,
    /// Tasks in `ended`.
    kept: usize,
}

#[derive(Debug)]
struct Ended {
    attempt: AttemptRef,
    place: u64,
    tasks: BTreeMap<TaskId, TaskMetrics>,
}

impl Figures {
    /// A task told this.
    pub(super) fn measured(&mut self, attempt: AttemptRef, task: TaskId, told: TaskMetrics) {
        self.latest.insert((attempt, task), told);
    }

    /// The latest of each task of an attempt.
    pub(super) fn of(&self, attempt: &AttemptRef) -> Vec<(TaskId, TaskMetrics)> {
        let ended = self.ended.get(&attempt.job);
        let ended = ended.filter(|ended| ended.attempt == *attempt);
        let mut tasks = ended.map_or_else(BTreeMap::new, |ended| ended.tasks.clone());
        let latest = self.latest_of(attempt);
        tasks.extend(latest.map(|(task, told)| (task.clone(), told.clone())));
        tasks.into_iter().collect()
    }

    fn latest_of(&self, attempt: &AttemptRef) -> impl Iterator<Item = (&TaskId, &TaskMetrics)> {
        let latest = self.latest.range((*attempt, TaskId::new("", 0))..);
        let latest = latest.take_while(move |((of, _), _)| of == attempt);
        latest.map(|((_, task), told)| (task, told))
    }

    /// These attempts are over; a worker more was told to forget them.
    pub(super) fn ended(&mut self, attempts: &[AttemptRef]) {
        for attempt in attempts {
            let tasks: Vec<TaskId> = self
                .latest_of(attempt)
                .map(|(task, _)| task.clone())
                .collect();
            for task in tasks {
                if let Some(told) = self.latest.remove(&(*attempt, task.clone())) {
                    self.keep(*attempt, task, told);
                }
            }
        }
        while self.kept > ENDED_TASKS_MAX {
            let Some((_, job)) = self.order.pop_first() else {
                break;
            };
            self.drop_job(job);
        }
    }

    /// The attempts of which nobody holds a task any more are over.
    pub(super) fn end_unless(&mut self, held: impl Fn(&AttemptRef) -> bool) {
        let attempts: BTreeSet<AttemptRef> =
            self.latest.keys().map(|(attempt, _)| *attempt).collect();
        let over: Vec<AttemptRef> = attempts
            .into_iter()
            .filter(|attempt| !held(attempt))
            .collect();
        self.ended(&over);
    }

    fn keep(&mut self, attempt: AttemptRef, task: TaskId, told: TaskMetrics) {
        let kept = self.ended.get(&attempt.job).map(|kept| kept.attempt);
        // Of a job that goes on the attempts before are nobody's question any more.
        if kept.is_some_and(|kept| kept > attempt) {
            return;
        }
        if kept.is_some_and(|kept| kept < attempt) {
            self.drop_job(attempt.job);
        }
        let next = self
            .order
            .last_key_value()
            .map_or(0, |(place, _)| place + 1);
        let ended = self.ended.entry(attempt.job).or_insert_with(|| {
            self.order.insert(next, attempt.job);
            Ended {
                attempt,
                place: next,
                tasks: BTreeMap::new(),
            }
        });
        self.kept += usize::from(ended.tasks.insert(task, told).is_none());
    }

    fn drop_job(&mut self, job: JobId) {
        if let Some(gone) = self.ended.remove(&job) {
            self.order.remove(&gone.place);
            self.kept -= gone.tasks.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use regent_state::ids::{AttemptToken, LogIndex, Run};

    use super::*;

    fn attempt(job: u8, index: u64) -> AttemptRef {
        let run = Run {
            generation: 1,
            index: LogIndex(1),
        };
        let token = AttemptToken {
            generation: 1,
            index: LogIndex(index),
        };
        AttemptRef {
            job: JobId([job; 16]),
            run,
            token,
        }
    }

    fn told(figures: &mut Figures, attempt: AttemptRef, subtask: u32, records_in: u64) {
        let metrics = TaskMetrics {
            records_in,
            ..TaskMetrics::default()
        };
        figures.measured(attempt, TaskId::new("v", subtask), metrics);
    }

    fn rows(figures: &Figures, attempt: AttemptRef) -> Vec<u64> {
        let of = figures.of(&attempt).into_iter();
        of.map(|(_, metrics)| metrics.records_in).collect()
    }

    #[test]
    fn the_last_figures_of_an_attempt_outlive_it() {
        let (mut figures, one, next) = (Figures::default(), attempt(1, 5), attempt(1, 6));
        told(&mut figures, one, 0, 10);
        told(&mut figures, one, 1, 20);
        told(&mut figures, attempt(2, 5), 0, 7);
        figures.ended(&[one]);
        assert_eq!(rows(&figures, one), [10, 20]);
        // Another worker of the same attempt says its last word later.
        told(&mut figures, one, 1, 25);
        assert_eq!(rows(&figures, one), [10, 25]);
        figures.ended(&[one]);
        assert_eq!(rows(&figures, one), [10, 25]);
        told(&mut figures, next, 0, 3);
        figures.ended(&[next]);
        assert_eq!(rows(&figures, one), [0; 0], "the job has a later one");
        assert_eq!(rows(&figures, next), [3]);
        assert_eq!(rows(&figures, attempt(2, 5)), [7], "it runs on");
    }

    #[test]
    fn there_is_a_bound() {
        let mut figures = Figures::default();
        for job in 0..3 {
            for subtask in 0..ENDED_TASKS_MAX as u32 / 2 {
                told(&mut figures, attempt(job, 1), subtask, 1);
            }
            figures.ended(&[attempt(job, 1)]);
        }
        assert!(
            rows(&figures, attempt(0, 1)).is_empty(),
            "the oldest is gone"
        );
        assert_eq!(rows(&figures, attempt(2, 1)).len(), ENDED_TASKS_MAX / 2);
        assert_eq!((figures.kept, figures.order.len()), (ENDED_TASKS_MAX, 2));
    }
}

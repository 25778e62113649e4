//! Figures of tasks, as their workers told them last; those of attempts that are over too, as far as there
//! is room. They are for people: a new leader begins without any.

use std::collections::{BTreeMap, VecDeque};

use regent_protocol::v1::TaskMetrics;

use crate::wire::{AttemptRef, TaskId};

/// Tasks of attempts that are over whose figures are kept.
const ENDED_TASKS_MAX: usize = 8_192;

/// What tasks have told.
#[derive(Debug, Default)]
pub(super) struct Figures {
    latest: BTreeMap<(AttemptRef, TaskId), TaskMetrics>,
    /// One attempt of each job at most, the one that was over last behind.
    ended: VecDeque<(AttemptRef, BTreeMap<TaskId, TaskMetrics>)>,
}

impl Figures {
    /// A task told this.
    pub(super) fn measured(&mut self, attempt: AttemptRef, task: TaskId, told: TaskMetrics) {
        self.latest.insert((attempt, task), told);
    }

    /// The latest of each task of an attempt.
    pub(super) fn of(&self, attempt: &AttemptRef) -> Vec<(TaskId, TaskMetrics)> {
        let ended = self.ended.iter().find(|(of, _)| of == attempt);
        let mut tasks = ended.map_or_else(BTreeMap::new, |(_, tasks)| tasks.clone());
        let from = (*attempt, TaskId::new("", 0));
        let latest = self.latest.range(from..);
        let latest = latest.take_while(|((of, _), _)| of == attempt);
        tasks.extend(latest.map(|((_, task), told)| (task.clone(), told.clone())));
        tasks.into_iter().collect()
    }

    /// These attempts are over; a worker more was told to forget them.
    pub(super) fn ended(&mut self, attempts: &[AttemptRef]) {
        self.end_unless(|attempt| !attempts.contains(attempt));
    }

    /// The attempts of which nobody holds a task any more are over.
    pub(super) fn end_unless(&mut self, held: impl Fn(&AttemptRef) -> bool) {
        let over = self.latest.keys().filter(|(attempt, _)| !held(attempt));
        for key in over.cloned().collect::<Vec<_>>() {
            if let Some(told) = self.latest.remove(&key) {
                self.keep(key, told);
            }
        }
        while self.kept() > ENDED_TASKS_MAX {
            self.ended.pop_front();
        }
    }

    fn kept(&self) -> usize {
        self.ended.iter().map(|(_, tasks)| tasks.len()).sum()
    }

    fn keep(&mut self, (attempt, task): (AttemptRef, TaskId), told: TaskMetrics) {
        if let Some((_, tasks)) = self.ended.iter_mut().find(|(of, _)| *of == attempt) {
            tasks.insert(task, told);
            return;
        }
        // Of a job that goes on the attempts before are nobody's question any more.
        if self
            .ended
            .iter()
            .any(|(of, _)| of.job == attempt.job && *of > attempt)
        {
            return;
        }
        self.ended.retain(|(of, _)| of.job != attempt.job);
        self.ended
            .push_back((attempt, BTreeMap::from([(task, told)])));
    }
}

#[cfg(test)]
mod tests {
    use regent_state::ids::{AttemptToken, JobId, LogIndex, Run};

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
    }
}

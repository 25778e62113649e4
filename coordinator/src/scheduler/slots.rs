//! Which slots are free, and how a job is spread over them. Pure.
//!
//! A slot holds one subtask of every vertex of one job. A slot counts as used if the log places a
//! living attempt in it, or if its worker still holds something there.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use regent_state::command::SlotPlacement;
use regent_state::ids::{JobId, WorkerRef};
use regent_state::model::Attempt;
use regent_state::{JobGraph, Machine};

use super::offers::{missing_offer, offers_all};
use crate::leader::seen::{Phase, Seen, WorkerSeen};
use crate::wire::AttemptRef;

/// The slots of all workers that have an open session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    workers: BTreeMap<WorkerRef, Worker>,
}

#[derive(Debug, Clone)]
struct Worker {
    slots: u32,
    address: String,
    used: BTreeSet<(AttemptRef, u32)>,
    /// Those of them that hold a task which doesn't end.
    stuck: BTreeSet<(AttemptRef, u32)>,
    /// Nothing new goes there.
    drained: bool,
}

impl Worker {
    /// Slots that nobody holds but, perhaps, this job. Asked for every job that waits, so it counts only
    /// that job's own.
    fn free(&self, but: Option<JobId>) -> u32 {
        if self.drained {
            return 0;
        }
        let own = but.map_or(0, |job| {
            let (first, last) = AttemptRef::all_of(job).into_inner();
            let own = self.used.range((first, 0)..=(last, u32::MAX));
            // A task that doesn't end gives its slot to nobody, its own job included.
            own.filter(|slot| !self.stuck.contains(slot)).count()
        });
        let used = self.used.len() - own;
        self.slots
            .saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }
}

impl Slots {
    /// Counts what the log places (`live` attempts) and what workers report.
    pub(crate) fn count<'a>(seen: &Seen, live: impl Iterator<Item = &'a Attempt>) -> Self {
        let mut slots = Self {
            workers: BTreeMap::new(),
        };
        for (name, worker) in seen.workers.iter().filter(|(_, worker)| worker.present()) {
            let key = WorkerRef {
                worker: name.clone(),
                incarnation: worker.incarnation,
            };
            slots.workers.insert(key, reported(worker));
        }
        for attempt in live {
            slots.take(attempt_ref(attempt), &attempt.placement);
        }
        slots
    }

    /// Withholds the slots of drained workers.
    pub(crate) fn without_drained(mut self, machine: &Machine) -> Self {
        for (name, worker) in &mut self.workers {
            worker.drained = machine.drain(&name.worker).is_some();
        }
        self
    }

    /// Marks a placement as used.
    pub(crate) fn take(&mut self, attempt: AttemptRef, placement: &[SlotPlacement]) {
        for place in placement {
            if let Some(worker) = self.workers.get_mut(&place.worker) {
                worker.used.insert((attempt, place.slot));
            }
        }
    }

    /// (all slots, free slots).
    pub(crate) fn totals(&self) -> (u32, u32) {
        let all = self.workers.values().map(|worker| worker.slots).sum();
        (
            all,
            self.workers.values().map(|worker| worker.free(None)).sum(),
        )
    }

    /// Free slots of a worker.
    pub(crate) fn free_of(&self, worker: &WorkerRef) -> u32 {
        self.workers
            .get(worker)
            .map_or(0, |worker| worker.free(None))
    }

    /// Free slots of all workers, those included that this job's own earlier attempts hold.
    pub(crate) fn room_for(&self, job: JobId) -> u32 {
        self.workers.values().map(|w| w.free(Some(job))).sum()
    }

    /// A worker for each slot of the job, spread evenly, or why there is none. Slots that the job's
    /// own earlier attempts still hold count as free: the worker ends those before it starts.
    pub(crate) fn place(
        &self,
        job: JobId,
        graph: &JobGraph,
        seen: &Seen,
    ) -> Result<Vec<SlotPlacement>, String> {
        let needed = graph.slots_needed();
        let mut free: BTreeMap<&WorkerRef, u32> = BTreeMap::new();
        for (name, worker) in &self.workers {
            if offers_all(graph, seen.worker(name)) {
                free.insert(name, worker.free(Some(job)));
            }
        }
        if free.is_empty() && !self.workers.is_empty() {
            return Err(missing_offer(graph, seen));
        }
        let sum: u32 = free.values().sum();
        if sum < needed {
            let stuck: usize = self.workers.values().map(|w| w.stuck.len()).sum();
            let held = match stuck {
                0 => String::new(),
                stuck => format!("; {stuck} held by tasks that don't end"),
            };
            return Err(format!(
                "not-enough-slots (needs {needed}, free {sum}{held})"
            ));
        }
        Ok((0..needed)
            .filter_map(|slot| self.next_slot(&mut free, slot))
            .collect())
    }

    /// The worker with the most room; of equals the first by name.
    fn next_slot(&self, free: &mut BTreeMap<&WorkerRef, u32>, slot: u32) -> Option<SlotPlacement> {
        let most = free.values().copied().max().filter(|room| *room > 0)?;
        let (name, room) = free.iter_mut().find(|(_, room)| **room == most)?;
        *room -= 1;
        let address = self.workers.get(*name)?.address.clone();
        Some(SlotPlacement {
            slot,
            worker: (*name).clone(),
            address,
        })
    }
}

fn reported(worker: &WorkerSeen) -> Worker {
    let held = worker.tasks.iter().flat_map(|(attempt, tasks)| {
        let holding = tasks.iter().filter(|(_, phase)| !phase.ended());
        holding.map(|(task, _)| (*attempt, task.subtask))
    });
    let stuck = worker.tasks.iter().flat_map(|(attempt, tasks)| {
        let stuck = tasks
            .iter()
            .filter(|(_, phase)| matches!(phase, Phase::Stuck { .. }));
        stuck.map(|(task, _)| (*attempt, task.subtask))
    });
    Worker {
        slots: worker.slots,
        address: worker.data_address.clone(),
        used: held.collect(),
        stuck: stuck.collect(),
        drained: false,
    }
}

/// Slots that are counted only when somebody asks: most passes place nothing.
pub(crate) struct Room<'a> {
    count: &'a dyn Fn() -> Slots,
    counted: OnceCell<Slots>,
}

impl<'a> Room<'a> {
    pub(crate) fn counted_by(count: &'a dyn Fn() -> Slots) -> Self {
        Self {
            count,
            counted: OnceCell::new(),
        }
    }

    fn slots(&self) -> &Slots {
        self.counted.get_or_init(self.count)
    }

    /// `Slots::place`.
    pub(crate) fn place(
        &self,
        job: JobId,
        graph: &JobGraph,
        seen: &Seen,
    ) -> Result<Vec<SlotPlacement>, String> {
        self.slots().place(job, graph, seen)
    }

    /// `Slots::take`.
    pub(crate) fn take(&mut self, attempt: AttemptRef, placement: &[SlotPlacement]) {
        self.slots();
        if let Some(slots) = self.counted.get_mut() {
            slots.take(attempt, placement);
        }
    }
}

/// The attempts that count: of jobs that have not ended, and not given up.
pub(crate) fn live_attempts(machine: &Machine) -> impl Iterator<Item = &Attempt> {
    let current = machine.active_jobs().filter_map(|job| {
        let token = job.token.filter(|token| job.is_current(*token))?;
        machine.attempt(job.id, token)
    });
    current.map(AsRef::as_ref)
}

pub(crate) fn attempt_ref(attempt: &Attempt) -> AttemptRef {
    AttemptRef {
        job: attempt.job,
        run: attempt.run,
        token: attempt.token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_state::ids::{AttemptToken, LogIndex, Run};

    #[test]
    fn only_the_jobs_own_slots_are_not_counted() {
        let attempt = |job: u8, index: u64| AttemptRef {
            job: JobId([job; 16]),
            run: Run {
                generation: 1,
                index: LogIndex(index),
            },
            token: AttemptToken {
                generation: u64::MAX,
                index: LogIndex(u64::MAX),
            },
        };
        let used = [
            (attempt(1, 5), 0),
            (attempt(2, 1), 0),
            (attempt(2, 9), u32::MAX),
            (attempt(3, 1), 3),
        ];
        let worker = Worker {
            drained: false,
            slots: 6,
            address: String::new(),
            used: used.into(),
            stuck: BTreeSet::new(),
        };
        let free = |job: u8| worker.free(Some(JobId([job; 16])));
        assert_eq!(worker.free(None), 2);
        assert_eq!([free(1), free(2), free(3), free(4)], [3, 4, 3, 2]);
        let worker = Worker {
            stuck: [(attempt(2, 9), u32::MAX)].into(),
            ..worker
        };
        let own = worker.free(Some(JobId([2; 16])));
        assert_eq!(own, 3, "a slot whose task doesn't end is nobody's");
    }
}

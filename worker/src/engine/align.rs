//! Alignment of checkpoint barriers over the inputs of one task, as a pure decision: which inputs
//! wait, and when the task's state belongs to a checkpoint. Reading the inputs, taking the state and
//! passing the barrier on are the task's.
//!
//! Rules: an input that brought the barrier waits until all others brought it or ended. A barrier
//! with a higher id cancels a lower alignment; barriers up to the *floor* (completed, cancelled or
//! aborted) are let through unseen.

/// What the task has to do after an input brought a barrier or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on reading the inputs that don't wait.
    Continue,
    /// Every input is at this checkpoint's barrier: take the state now. All inputs are free again.
    Aligned(u64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Input {
    at_barrier: bool,
    ended: bool,
}

/// The inputs of one task and the alignment in progress.
#[derive(Debug, Clone)]
pub(crate) struct Alignment {
    inputs: Vec<Input>,
    current: Option<u64>,
    floor: u64,
}

impl Alignment {
    /// No alignment in progress; checkpoints up to `floor` belong to the past.
    pub(crate) fn new(inputs: usize, floor: u64) -> Self {
        Self {
            inputs: vec![Input::default(); inputs],
            current: None,
            floor,
        }
    }

    /// An input brought the barrier of checkpoint `id`.
    pub(crate) fn barrier(&mut self, input: usize, id: u64) -> Step {
        debug_assert!(!self.waits(input), "a waiting input is not read");
        debug_assert!(!self.inputs[input].ended, "nothing follows the end");
        if self.current != Some(id) && !self.begin(id) {
            return Step::Continue;
        }
        self.inputs[input].at_barrier = true;
        self.complete_if_aligned()
    }

    /// An input ended: it counts as aligned for every checkpoint from now on.
    pub(crate) fn end(&mut self, input: usize) -> Step {
        debug_assert!(!self.waits(input), "a waiting input is not read");
        self.inputs[input].ended = true;
        self.complete_if_aligned()
    }

    /// Checkpoint `id` was aborted: it will never be aligned here.
    pub(crate) fn abort(&mut self, id: u64) {
        if self.current == Some(id) {
            self.cancel();
        }
        if self.current.is_none_or(|current| current > id) {
            self.floor = self.floor.max(id);
        }
    }

    /// Cancels the alignment in progress, if any.
    pub(crate) fn cancel(&mut self) {
        if let Some(id) = self.current.take() {
            self.floor = self.floor.max(id);
            self.release();
        }
    }

    /// True if the input has to wait at its barrier.
    pub(crate) fn waits(&self, input: usize) -> bool {
        self.inputs[input].at_barrier
    }

    /// True when every input ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.inputs.iter().all(|input| input.ended)
    }

    /// Checkpoints up to this id are completed, cancelled or aborted here. A task that ends may
    /// answer only later ones with its final state: data behind a barrier of an earlier one may be
    /// in that state already.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Starts an alignment, cancelling a lower one. False if the barrier belongs to the past.
    fn begin(&mut self, id: u64) -> bool {
        let lowest = self.current.map_or(self.floor, |c| c.max(self.floor));
        if id <= lowest {
            return false;
        }
        self.cancel();
        // A checkpoint below one that began can't be aligned any more.
        self.floor = self.floor.max(id - 1);
        self.current = Some(id);
        true
    }

    fn complete_if_aligned(&mut self) -> Step {
        let Some(id) = self.current else {
            return Step::Continue;
        };
        if self.inputs.iter().any(|i| !i.at_barrier && !i.ended) {
            return Step::Continue;
        }
        self.cancel();
        Step::Aligned(id)
    }

    fn release(&mut self) {
        for input in &mut self.inputs {
            input.at_barrier = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Barrier(usize, u64),
        End(usize),
        Abort(u64),
        Cancel,
    }
    use Event::{Abort, Barrier, Cancel, End};

    /// Plays events on `inputs` inputs; answers the aligned ids and who waits at the end.
    fn play(inputs: usize, floor: u64, events: &[Event]) -> (Vec<u64>, Vec<usize>) {
        let mut alignment = Alignment::new(inputs, floor);
        let mut aligned = Vec::new();
        for event in events {
            let step = match *event {
                Barrier(input, id) => alignment.barrier(input, id),
                End(input) => alignment.end(input),
                Abort(id) => {
                    alignment.abort(id);
                    Step::Continue
                }
                Cancel => {
                    alignment.cancel();
                    Step::Continue
                }
            };
            if let Step::Aligned(id) = step {
                aligned.push(id);
            }
        }
        let waiting = (0..inputs).filter(|i| alignment.waits(*i)).collect();
        (aligned, waiting)
    }

    /// Name, inputs, events; aligned ids, inputs that wait at the end.
    type Case<'a> = (&'a str, usize, &'a [Event], &'a [u64], &'a [usize]);
    const TABLE: &[Case<'_>] = &[
        ("one input aligns at once", 1, &[Barrier(0, 1)], &[1], &[]),
        ("the first of two waits", 2, &[Barrier(1, 1)], &[], &[1]),
        (
            "the last frees all",
            3,
            &[Barrier(1, 1), Barrier(0, 1), Barrier(2, 1)],
            &[1],
            &[],
        ),
        (
            "an ended input counts as aligned",
            2,
            &[End(0), Barrier(1, 1)],
            &[1],
            &[],
        ),
        (
            "an input that ends meanwhile completes it",
            2,
            &[Barrier(1, 1), End(0)],
            &[1],
            &[],
        ),
        (
            "ends alone complete nothing",
            2,
            &[End(1), End(0)],
            &[],
            &[],
        ),
        (
            "a higher id cancels a lower alignment",
            2,
            &[Barrier(0, 1), Barrier(1, 2)],
            &[],
            &[1],
        ),
        (
            "and the lower is never aligned",
            3,
            &[Barrier(0, 1), Barrier(1, 2), Barrier(2, 1), Barrier(2, 2)],
            &[],
            &[1, 2],
        ),
        (
            "abort frees the waiting",
            2,
            &[Barrier(0, 1), Abort(1)],
            &[],
            &[],
        ),
        (
            "an aborted barrier passes unseen, the next aligns",
            2,
            &[
                Barrier(0, 1),
                Abort(1),
                Barrier(1, 1),
                Barrier(0, 2),
                Barrier(1, 2),
            ],
            &[2],
            &[],
        ),
        (
            "abort before any barrier came",
            2,
            &[Abort(1), Barrier(0, 1)],
            &[],
            &[],
        ),
        (
            "abort of a later one leaves the present one",
            2,
            &[Barrier(0, 1), Abort(2), Barrier(1, 1)],
            &[1],
            &[],
        ),
        (
            "session over: free, and the rest of it passes",
            2,
            &[Barrier(0, 1), Cancel, Barrier(1, 1)],
            &[],
            &[],
        ),
    ];

    #[test]
    fn table() {
        for (name, inputs, events, aligned, waiting) in TABLE {
            let got = play(*inputs, 0, events);
            assert_eq!(got, (aligned.to_vec(), waiting.to_vec()), "{name}");
        }
    }

    #[test]
    fn the_floor_of_a_restored_task_lets_old_barriers_pass() {
        assert_eq!(play(2, 5, &[Barrier(0, 5)]), (vec![], vec![]));
        assert_eq!(play(2, 5, &[Barrier(0, 6)]), (vec![], vec![0]));
    }

    #[test]
    fn a_cancelled_or_aligned_id_is_below_the_floor() {
        let mut alignment = Alignment::new(2, 0);
        alignment.barrier(0, 4);
        assert_eq!(alignment.floor(), 3, "lower ones can't be aligned any more");
        alignment.cancel();
        assert_eq!(alignment.floor(), 4);
    }

    proptest! {
        /// Each input brings barriers 1..=n in order and may end; whatever the interleaving, aligned
        /// ids rise strictly, and without aborts every id that all unended inputs bring is aligned.
        #[test]
        fn any_interleaving_aligns_each_once(
            inputs in 1usize..5,
            barriers in 1u64..6,
            ends in proptest::collection::vec(proptest::option::of(0u64..6), 4),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 64),
        ) {
            let mut queues: Vec<Vec<Event>> = (0..inputs).map(|input| {
                let last = ends[input % 4].unwrap_or(barriers).min(barriers);
                let mut queue: Vec<Event> = (1..=last).map(|id| Barrier(input, id)).collect();
                queue.push(End(input));
                queue.reverse();
                queue
            }).collect();
            let longest = queues.iter().map(|q| q.len() as u64 - 1).max().unwrap_or(0);
            let mut alignment = Alignment::new(inputs, 0);
            let mut aligned = Vec::new();
            for turn in 0.. {
                let ready: Vec<usize> = (0..inputs)
                    .filter(|i| !alignment.waits(*i) && !queues[*i].is_empty())
                    .collect();
                if ready.is_empty() {
                    break;
                }
                let input = ready[picks[turn % picks.len()].index(ready.len())];
                let step = match queues[input].pop() {
                    Some(Barrier(input, id)) => alignment.barrier(input, id),
                    _ => alignment.end(input),
                };
                if let Step::Aligned(id) = step {
                    aligned.push(id);
                }
            }
            prop_assert!(queues.iter().all(Vec::is_empty), "an input was left waiting");
            prop_assert_eq!(aligned, (1..=longest).collect::<Vec<_>>());
            prop_assert!(alignment.all_ended());
        }
    }
}

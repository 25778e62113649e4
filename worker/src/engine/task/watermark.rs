//! The watermark of a task: the lowest of its inputs', which never goes back. Inputs that are idle or
//! ended don't hold it back; when all that haven't ended are idle, the highest of theirs counts.

/// An input that ended stands at this watermark.
const END: i64 = i64::MAX;

#[derive(Debug, Clone, Copy)]
struct Input {
    micros: i64,
    idle: bool,
}

/// What an element of an input means for the task downstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The task's watermark rose to this.
    pub(super) rose: Option<i64>,
    /// The task was idle and is no more; its watermark says so.
    pub(super) woke: bool,
    /// The task has become idle.
    pub(super) idle: bool,
}

/// Watermarks of the inputs of one task.
#[derive(Debug, Clone)]
pub(super) struct Watermarks {
    inputs: Vec<Input>,
    lowest: i64,
    idle: bool,
}

impl Watermarks {
    pub(super) fn new(inputs: usize) -> Self {
        let input = Input {
            micros: i64::MIN,
            idle: false,
        };
        Self {
            inputs: vec![input; inputs],
            lowest: i64::MIN,
            idle: false,
        }
    }

    /// The task's watermark.
    pub(super) fn lowest(&self) -> i64 {
        self.lowest
    }

    /// An input's watermark.
    pub(super) fn advance(&mut self, input: usize, micros: i64) -> Mark {
        let input = &mut self.inputs[input];
        input.micros = input.micros.max(micros);
        input.idle = false;
        self.settle()
    }

    /// An input brought rows.
    pub(super) fn rows(&mut self, input: usize) -> Mark {
        if !self.inputs[input].idle {
            return Mark::default();
        }
        self.inputs[input].idle = false;
        self.settle()
    }

    /// An input has nothing for a while.
    pub(super) fn idle(&mut self, input: usize) -> Mark {
        self.inputs[input].idle = true;
        self.settle()
    }

    /// An input ended.
    pub(super) fn end(&mut self, input: usize) -> Mark {
        self.advance(input, END)
    }

    fn settle(&mut self) -> Mark {
        let open = || self.inputs.iter().filter(|input| input.micros != END);
        let awake = open().filter(|input| !input.idle);
        let lowest = awake.map(|input| input.micros).min();
        let highest = open().map(|input| input.micros).max();
        let idle = lowest.is_none() && highest.is_some();
        let target = lowest.or(highest).unwrap_or(END);
        let mark = Mark {
            rose: (target > self.lowest).then_some(target),
            woke: self.idle && !idle,
            idle: idle && !self.idle,
        };
        self.lowest = self.lowest.max(target);
        self.idle = idle;
        mark
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rose(micros: i64) -> Mark {
        Mark {
            rose: Some(micros),
            ..Mark::default()
        }
    }
    const NOTHING: Mark = Mark {
        rose: None,
        woke: false,
        idle: false,
    };

    #[test]
    fn the_lowest_counts_and_never_falls() {
        let mut marks = Watermarks::new(2);
        assert_eq!(marks.advance(0, 5), NOTHING);
        assert_eq!(marks.advance(1, 3), rose(3));
        assert_eq!(marks.advance(1, 2), NOTHING);
        assert_eq!(marks.advance(1, 9), rose(5));
        assert_eq!(marks.end(0), rose(9));
        assert_eq!(marks.end(1), rose(i64::MAX));
    }

    #[test]
    fn idle_inputs_hold_nothing_back_until_they_bring_something() {
        let mut marks = Watermarks::new(2);
        marks.advance(0, 5);
        marks.advance(1, 3);
        assert_eq!(marks.idle(1), rose(5));
        assert_eq!(marks.advance(0, 7), rose(7));
        assert_eq!(
            marks.rows(1),
            NOTHING,
            "it is behind, and nothing goes back"
        );
        assert_eq!(marks.advance(0, 9), NOTHING, "held back again");
        assert_eq!(marks.advance(1, 8), rose(8));
    }

    #[test]
    fn when_all_are_idle_the_highest_counts_and_it_is_told_once() {
        let mut marks = Watermarks::new(3);
        marks.advance(0, 5);
        marks.advance(1, 3);
        marks.end(2);
        assert_eq!(marks.idle(0), NOTHING);
        let idle = Mark {
            idle: true,
            ..rose(5)
        };
        assert_eq!(marks.idle(1), idle);
        assert_eq!(marks.idle(1), NOTHING);
        let woke = Mark {
            woke: true,
            ..NOTHING
        };
        assert_eq!(marks.rows(1), woke);
        assert_eq!(marks.lowest(), 5);
    }

    proptest! {
        /// Whatever comes, the watermark never falls and is MAX only when all inputs have ended.
        #[test]
        fn never_back_and_the_end_last(
            events in proptest::collection::vec((0usize..3, 0u8..3, -50i64..50), 0..60),
        ) {
            let mut marks = Watermarks::new(3);
            let mut last = i64::MIN;
            for (input, kind, micros) in events {
                let mark = match kind {
                    0 => marks.advance(input, micros),
                    1 => marks.idle(input),
                    _ => marks.rows(input),
                };
                if let Some(rose) = mark.rose {
                    prop_assert!(rose > last && rose < i64::MAX);
                    last = rose;
                }
                prop_assert_eq!(marks.lowest(), last);
            }
            for input in 0..3 {
                prop_assert!(marks.lowest() < i64::MAX);
                marks.end(input);
            }
            prop_assert_eq!(marks.lowest(), i64::MAX);
        }
    }
}

//! Timers by key: when they are due. What is done then is the operator's.

use std::collections::BTreeSet;

/// The watermark after the last row of bounded input, in microseconds: a timer for it is due when no
/// row of any key follows.
pub const END_OF_INPUT: i64 = i64::MAX;

/// What a timer is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The watermark.
    Event,
    /// The worker's own clock.
    Processing,
}

/// Timers of one subtask, each (time in microseconds, slot of the key). One that is set twice is due
/// once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    event: BTreeSet<(i64, u32)>,
    processing: BTreeSet<(i64, u32)>,
    /// Set while timers fire, and not later than the one that fires: due the next time.
    deferred: Vec<(Clock, i64, u32)>,
}

impl Timers {
    fn of(&mut self, clock: Clock) -> &mut BTreeSet<(i64, u32)> {
        match clock {
            Clock::Event => &mut self.event,
            Clock::Processing => &mut self.processing,
        }
    }

    /// `fired`: clock and time of the timers that fire at this moment.
    pub(crate) fn set(&mut self, clock: Clock, at: i64, slot: u32, fired: Option<(Clock, i64)>) {
        match fired {
            Some((of, until)) if of == clock && at <= until => {
                self.deferred.push((clock, at, slot));
            }
            _ => {
                self.of(clock).insert((at, slot));
            }
        }
    }

    /// True if it was set.
    pub(crate) fn cancel(&mut self, clock: Clock, at: i64, slot: u32) -> bool {
        self.of(clock).remove(&(at, slot))
    }

    pub(crate) fn first(&self, clock: Clock) -> Option<i64> {
        let timers = match clock {
            Clock::Event => &self.event,
            Clock::Processing => &self.processing,
        };
        timers.first().map(|(at, _)| *at)
    }

    /// Moves the slots of the earliest time that is due into `slots`, at most `most`.
    pub(crate) fn take(
        &mut self,
        clock: Clock,
        until: i64,
        most: usize,
        slots: &mut Vec<u32>,
    ) -> Option<i64> {
        slots.clear();
        let timers = self.of(clock);
        let (earliest, _) = *timers.first()?;
        if earliest > until {
            return None;
        }
        while slots.len() < most {
            match timers.first() {
                Some((at, slot)) if *at == earliest => slots.push(*slot),
                _ => break,
            }
            timers.pop_first();
        }
        Some(earliest)
    }

    /// The firing is over: what was put off counts from now on.
    pub(crate) fn settle(&mut self) {
        for (clock, at, slot) in std::mem::take(&mut self.deferred) {
            self.of(clock).insert((at, slot));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.event.len() + self.processing.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Every timer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Clock, i64, u32)> {
        let event = self.event.iter();
        let event = event.map(|(at, slot)| (Clock::Event, *at, *slot));
        let processing = self.processing.iter();
        event.chain(processing.map(|(at, slot)| (Clock::Processing, *at, *slot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_in_order_and_once() {
        let mut timers = Timers::default();
        for (at, slot) in [(5, 1), (3, 2), (5, 1), (5, 0), (9, 3)] {
            timers.set(Clock::Event, at, slot, None);
        }
        let mut slots = Vec::new();
        assert_eq!(timers.take(Clock::Event, 5, 8, &mut slots), Some(3));
        assert_eq!(slots, [2]);
        assert_eq!(timers.take(Clock::Event, 5, 1, &mut slots), Some(5));
        assert_eq!(slots, [0]);
        assert_eq!(timers.take(Clock::Event, 5, 8, &mut slots), Some(5));
        assert_eq!(slots, [1]);
        assert_eq!(timers.take(Clock::Event, 5, 8, &mut slots), None);
        assert_eq!(timers.first(Clock::Event), Some(9));
        assert_eq!(timers.first(Clock::Processing), None);
        assert!(timers.cancel(Clock::Event, 9, 3));
        assert!(!timers.cancel(Clock::Event, 9, 3));
    }

    #[test]
    fn a_timer_that_sets_itself_again_does_not_fire_for_ever() {
        let mut timers = Timers::default();
        let fired = Some((Clock::Event, 5));
        timers.set(Clock::Event, 5, 0, fired);
        timers.set(Clock::Event, 6, 0, fired);
        timers.set(Clock::Processing, 1, 0, fired);
        assert_eq!(timers.first(Clock::Event), Some(6));
        assert_eq!(timers.first(Clock::Processing), Some(1));
        timers.settle();
        assert_eq!(timers.first(Clock::Event), Some(5));
    }
}

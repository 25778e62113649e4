//! Event time of a source's subtask that reads several splits side by side, such as partitions: each has
//! its own time, and the lowest counts. A split that is read faster than another closes no window before
//! the other's rows. Pure; sending is the task's.

use std::collections::BTreeMap;
use std::time::Instant;

use super::SourceStep;
use crate::engine::clock::EventTime;

/// One split.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The highest time among its rows.
    highest: i64,
    /// Everything was read, and nothing came since.
    quiet_since: Option<Instant>,
    ended: bool,
}

/// Times of the splits of one subtask.
#[derive(Debug)]
pub(super) struct SplitClock {
    time: EventTime,
    splits: BTreeMap<i32, Place>,
    /// The watermark that was told last.
    told: i64,
    /// Idleness was told last.
    idle: bool,
}

impl SplitClock {
    pub(super) fn new(time: EventTime) -> Self {
        Self {
            time,
            splits: BTreeMap::new(),
            told: i64::MIN,
            idle: false,
        }
    }

    /// Where rows have their time.
    pub(super) fn column(&self) -> usize {
        self.time.column
    }

    /// What that column is called.
    pub(super) fn name(&self) -> &str {
        &self.time.name
    }

    /// A split is read from now on; its rows had come so far before.
    pub(super) fn add(&mut self, split: i32, highest: Option<i64>) {
        let place = Place {
            highest: highest.unwrap_or(i64::MIN),
            quiet_since: None,
            ended: false,
        };
        self.splits.insert(split, place);
    }

    /// A row of a split; without a time it only ends the split's silence.
    pub(super) fn row(&mut self, split: i32, micros: Option<i64>) {
        if let Some(place) = self.splits.get_mut(&split) {
            place.highest = place.highest.max(micros.unwrap_or(i64::MIN));
            place.quiet_since = None;
        }
    }

    /// There is nothing further in a split now.
    pub(super) fn quiet(&mut self, split: i32, now: Instant) {
        if let Some(place) = self.splits.get_mut(&split) {
            place.quiet_since.get_or_insert(now);
        }
    }

    /// Nothing will ever come of a split.
    pub(super) fn end(&mut self, split: i32) {
        if let Some(place) = self.splits.get_mut(&split) {
            place.ended = true;
        }
    }

    /// How far a split's rows have come.
    pub(super) fn highest(&self, split: i32) -> Option<i64> {
        let highest = self.splits.get(&split)?.highest;
        (highest > i64::MIN).then_some(highest)
    }

    /// What is to be said before the next rows, until it is `None`. When all splits are idle, the highest of
    /// their times counts. When all have ended, that is the task's to say.
    pub(super) fn tell(&mut self, now: Instant) -> Option<SourceStep> {
        let open = || self.splits.values().filter(|place| !place.ended);
        let awake = open().filter(|place| self.idle_at(place).is_none_or(|at| now < at));
        if let Some(lowest) = awake.map(|place| place.highest).min() {
            return self.rise(lowest, true);
        }
        let highest = open().map(|place| place.highest).max();
        if highest.is_none() && !self.splits.is_empty() {
            return None;
        }
        if let Some(step) = self.rise(highest.unwrap_or(i64::MIN), false) {
            return Some(step);
        }
        let first = !std::mem::replace(&mut self.idle, true);
        first.then_some(SourceStep::Idle)
    }

    /// When the next split becomes idle, if nothing comes.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let open = self.splits.values().filter(|place| !place.ended);
        let at = open.filter_map(|place| self.idle_at(place));
        at.filter(|at| *at > now).min()
    }

    fn idle_at(&self, place: &Place) -> Option<Instant> {
        place.quiet_since?.checked_add(self.time.idle_after?)
    }

    /// The watermark, if it has risen, or if that has to be said to end the silence.
    fn rise(&mut self, to: i64, awake: bool) -> Option<SourceStep> {
        let woke = awake && std::mem::take(&mut self.idle);
        if to <= self.told && !woke {
            return None;
        }
        self.told = self.told.max(to);
        Some(SourceStep::Watermark(self.told))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn clock(idle_ms: Option<u64>, splits: i32) -> SplitClock {
        let mut clock = SplitClock::new(EventTime {
            column: 0,
            name: "at".to_owned(),
            idle_after: idle_ms.map(Duration::from_millis),
        });
        (0..splits).for_each(|split| clock.add(split, None));
        clock
    }

    /// All that there is to say now: watermarks, and -1 for idleness.
    fn said(clock: &mut SplitClock, now: Instant) -> Vec<i64> {
        let step = |step| match step {
            SourceStep::Watermark(micros) => micros,
            SourceStep::Idle => -1,
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| clock.tell(now)).map(step).collect()
    }

    #[test]
    fn the_slowest_split_counts_and_one_without_rows_holds_all_back() {
        let now = Instant::now();
        let mut clock = clock(None, 2);
        clock.row(0, Some(900));
        assert!(said(&mut clock, now).is_empty());
        clock.row(1, Some(5));
        clock.row(1, None);
        assert_eq!(said(&mut clock, now), [5]);
        clock.row(1, Some(3));
        assert!(said(&mut clock, now).is_empty(), "it never falls");
        clock.quiet(1, now);
        let later = now + Duration::from_secs(3600);
        assert!(said(&mut clock, later).is_empty(), "without a time-out");
        clock.end(1);
        assert_eq!(said(&mut clock, now), [900]);
        clock.end(0);
        assert!(said(&mut clock, now).is_empty(), "the end is the task's");
    }

    #[test]
    fn a_split_is_idle_when_all_of_it_was_read_long_ago() {
        let now = Instant::now();
        let after = now + Duration::from_millis(100);
        let mut clock = clock(Some(100), 2);
        clock.row(0, Some(7));
        clock.quiet(1, now);
        assert_eq!(clock.due(now), Some(after));
        assert!(said(&mut clock, now).is_empty());
        assert_eq!(
            said(&mut clock, after),
            [7],
            "one that isn't read up counts"
        );
        assert_eq!(clock.due(after), None);
        clock.quiet(0, now);
        assert_eq!(said(&mut clock, after), [-1]);
        assert!(said(&mut clock, after).is_empty(), "told once");
        clock.row(1, Some(2));
        assert_eq!(said(&mut clock, after), [7], "awake, though no later");
        clock.row(1, Some(9));
        assert_eq!(said(&mut clock, after), [9], "the other is idle");
    }

    #[test]
    fn when_all_are_idle_the_highest_counts() {
        let now = Instant::now();
        let after = now + Duration::from_millis(100);
        let mut clock = clock(Some(100), 2);
        clock.row(0, Some(7));
        clock.row(1, Some(4));
        (0..2).for_each(|split| clock.quiet(split, now));
        assert_eq!(said(&mut clock, now), [4]);
        assert_eq!(said(&mut clock, after), [7, -1]);
    }

    #[test]
    fn a_subtask_without_splits_holds_nothing_back() {
        let now = Instant::now();
        let mut clock = clock(None, 0);
        assert_eq!(said(&mut clock, now), [-1]);
        clock.add(3, None);
        assert_eq!(said(&mut clock, now), [i64::MIN], "awake");
    }

    #[test]
    fn a_restored_split_goes_on_from_its_time() {
        let now = Instant::now();
        let mut clock = clock(None, 0);
        clock.add(0, Some(8));
        clock.add(1, Some(5));
        assert_eq!(said(&mut clock, now), [5]);
        assert_eq!((clock.highest(0), clock.highest(2)), (Some(8), None));
        assert_eq!((clock.column(), clock.name()), (0, "at"));
    }

    proptest! {
        /// Splits in order of time, read at any pace: no row is behind the watermark that was told before it.
        #[test]
        fn no_row_of_an_ordered_split_is_late(turns in proptest::collection::vec((0i32..4, 1i64..50), 1..200)) {
            let now = Instant::now();
            let mut clock = clock(None, 4);
            let mut next = [0i64; 4];
            let mut watermark = i64::MIN;
            for (split, step) in turns {
                let at = &mut next[split as usize];
                *at += step;
                prop_assert!(*at >= watermark);
                clock.row(split, Some(*at));
                for told in said(&mut clock, now) {
                    prop_assert!(told > watermark);
                    watermark = told;
                }
            }
        }
    }
}

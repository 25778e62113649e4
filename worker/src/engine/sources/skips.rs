//! Which skipped rows are named in the log: the first few of a subtask, then one a minute with how many
//! weren't. Counting them all is the source's. Pure.

use std::fmt;
use std::time::{Duration, Instant};

/// Rows that are named at once.
const NAMED: u32 = 5;
/// Then one in so much time.
const EVERY: Duration = Duration::from_secs(60);

/// The skipped rows of one subtask.
#[derive(Debug, Default)]
pub(super) struct Skips {
    named: u32,
    last: Option<Instant>,
    unnamed: u64,
}

impl Skips {
    /// A row is skipped: how many went unnamed before it, if it is to be named.
    pub(super) fn names(&mut self, now: Instant) -> Option<u64> {
        let due = self.last.is_none_or(|last| now >= last + EVERY);
        if self.named >= NAMED && !due {
            self.unnamed += 1;
            return None;
        }
        self.named = self.named.saturating_add(1);
        self.last = Some(now);
        Some(std::mem::take(&mut self.unnamed))
    }

    /// A row is skipped: says so, if it is its turn. `place` names file and line, or partition and offset.
    pub(super) fn skip(&mut self, vertex: &str, place: fmt::Arguments<'_>, why: &str) {
        if let Some(unnamed) = self.names(Instant::now()) {
            tracing::warn!(vertex, %place, why, unnamed_before = unnamed, "row skipped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_then_one_a_minute() {
        let begin = Instant::now();
        let mut skips = Skips::default();
        let named = (0..100).filter(|_| skips.names(begin).is_some());
        assert_eq!(named.count(), 5);
        assert_eq!(skips.names(begin + EVERY / 2), None);
        assert_eq!(skips.names(begin + EVERY), Some(96));
        assert_eq!(skips.names(begin + EVERY), None);
        assert_eq!(skips.names(begin + EVERY * 2), Some(1));
    }
}
